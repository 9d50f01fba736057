#!/usr/bin/env python3
"""Runs the fuzz targets, each for some seconds, and writes what became of them as a table. See README.md here.

  python3 fuzz/run.py --seconds 300 --output FILE.md         # every target, one after another
  python3 fuzz/run.py --seconds 60 config template           # some of them
  python3 fuzz/run.py --seeds                                # writes seeds and dictionaries, and builds nothing

Seeds are taken from the repository each time: tests/data, configs, documents and the samples in the sources. A dictionary holds the words
in quotes of the sources that a target reaches, beside a few signs of its syntax. Both are written to fuzz/seeds; what libFuzzer finds is
kept in fuzz/corpus, so that the next run begins there, and inputs that broke something in fuzz/artifacts.

Exit status 1 where a target found something.
"""
import argparse
import concurrent.futures
import csv
import datetime
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
ROOT = FUZZ.parent
TRIPLE = f"{platform.machine()}-unknown-linux-gnu"

# Seconds for one input, and MiB for the process.
TIMEOUT, MEMORY = 10, 2048
# The exit status of a program that ends because a file asks for more memory than its like may take; a promise, not a finding.
BOUNDED = 2


@dataclass
class Target:
    """How a target is run."""
    seeds: object
    longest: int
    # Files or folders whose words in quotes make the dictionary, and signs beside them.
    words: list
    signs: list = field(default_factory=list)
    # Whether an input may rightly end the process, so that libFuzzer runs children of its own.
    may_end: bool = False


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def files(pattern):
    return sorted(path for path in ROOT.glob(pattern) if path.is_file())


def strings(paths):
    """The words in quotes of Rust sources, without those of tests."""
    found = {}
    for path in paths:
        for file in files(f"{path}/**/*.rs") if (ROOT / path).is_dir() else [ROOT / path]:
            if file.name == "tests.rs" or "tests" in file.parts[len(ROOT.parts):]:
                continue
            source = file.read_text(encoding="utf-8").split("#[cfg(test)]\nmod tests {")[0]
            source = re.sub(r"^\s*//.*$", "", source, flags=re.M)
            for word in re.findall(r'"((?:[^"\\\n]|\\[nt"\\]){1,40})"', source):
                word = word.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"').replace("\\\\", "\\")
                # Sentences are messages.
                if word.count(" ") <= 1 and "{}" not in word:
                    found[word] = None
    return list(found)


def raw_strings(pattern):
    """The texts `r#"..."#` of Rust sources."""
    return [found for path in files(pattern) for found in re.findall(r'r#"(.*?)"#', path.read_text(encoding="utf-8"), flags=re.S)]


def config():
    return [path.read_bytes() for path in files("configs/*.toml")]


YAML = [
    "model_name_or_path: a/b\nuse_peft: true\nlora_r: 8\nloss_type: [sigmoid, sft]\nloss_weights: [1, 2]\ndatasets:\n- path: a/b\n  split: train\n"
    "  columns: [x]\nwarmup_ratio: 0.1\neval_strategy: steps\neval_steps: 5\nload_best_model_at_end: true\n",
    "base_model: a/b\nrl: dpo\nadapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_modules: [q_proj]\nlearning_rate: 1e-5\ndatasets:\n- path: a/b\n"
    "  type: chatml.intel\n  roles: {user: [human]}\nspecial_tokens: {eos_token: x}\nlora_rank_pattern: {a: 1}\n",
    "model_name_or_path: a/b\nstage: dpo\nfinetuning_type: lora\ndataset: x, y\ndataset_dir: no/such\nlora_target: all\npref_loss: simpo\n"
    "warmup_steps: 3\ncutoff_len: 10\n",
    '{"model_name_or_path": "a/b", "dataset_name": "a/b", "use_peft": true}',
]


def known_keys():
    """The keys that other programs document, with their defaults."""
    lines = [line for path in files("src/config/import/known/*.txt") for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if not line.startswith("#")]


def import_config():
    # The least of each program, with every fortieth of its keys.
    least = dict(zip(("trl", "axolotl", "llama_factory"), YAML))
    seeds = list(YAML)
    for path in files("src/config/import/known/*.txt"):
        start = least[path.stem.removesuffix("_older")]
        lines = [line.replace(" = ", ": ") if " = " in line else f"{line}: 1" for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if line[0] != "#" and "." not in line.split(":")[0] and f"\n{line.split(':')[0]}:" not in f"\n{start}"]
        seeds += [start + "\n".join(lines[n::40]) + "\n" for n in range(40)]
    return seeds


def yaml():
    signs = ["a: &x [1, *x]\n", "a: &x {k: 1}\nb:\n  <<: *x\n  c: |\n    text\n  d: >-\n    folded\n    text\n",
             "? a\n: !!str 1\n", "--- # c\na: 'it''s'\n...\n", "a: \"\\u00e9\\x41\"\n", "%YAML 1.1\n---\na: 1:30\n", "<<: [{a: 1}, {a: 2}]\n"]
    scalars = "".join(f"k{n}: {row[0]}\n" for n, row in enumerate(json.loads(text("tests/data/yaml_scalars.json"))) if "\n" not in row[0])
    cards = ["configs:\n- config_name: a\n  default: true\n  data_files:\n  - split: train\n    path: [\"a/*.json\", b]\n"]
    return YAML + signs + cards + [scalars[:2000], scalars[2000:4000]]


def records():
    """A byte for the layout (0: recognised), one for the file's name and reading, and the file."""
    samples = [one for one in raw_strings("src/data/format/*.rs") if one.startswith("{")]
    samples += text("tests/data/golden/pairs.jsonl").splitlines()[:3]
    fences = [one for path in files("docs/*.md") for one in re.findall(r"```json\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S)]
    seeds = []
    for n, sample in enumerate(samples):
        line = sample.encode()
        seeds += [bytes([0, how]) + line for how in (0, 4, 16, 32)]
        seeds += [bytes([0, 0]) + b"[" + line + b",\n" + line + b"]", bytes([n % 22, 8]) + line + b"\n" + line]
        try:
            record = json.loads(sample)
        except ValueError:
            continue
        for how, delimiter in ((1, ","), (2, "\t")):
            out = io.StringIO()
            rows = csv.writer(out, delimiter=delimiter)
            rows.writerow(record)
            rows.writerow([value if isinstance(value, str) else json.dumps(value) for value in record.values()])
            seeds.append(bytes([0, how]) + out.getvalue().encode())
    seeds += [bytes([0, 0]) + one.encode() for one in fences]
    seeds += [bytes([0, 3]) + b"What is 2 + 2?\nName a river.\n"]
    seeds += [bytes([0, 0]) + path.read_bytes() for path in files("tests/data/sources/**/*") if path.suffix in (".arrow", ".jsonl", ".parquet")]
    return seeds + [bytes([0, 0]) + gzip.compress(samples[0].encode(), mtime=0)]


def template():
    hub = [path.read_bytes() for path in files("tests/data/chat_templates/*.jinja")]
    return hub + [row[0] for row in json.loads(text("tests/data/golden/jinja.json"))["templates"]]


def judge_reply():
    scores = '{"score_1": 90, "score_2": "20", "score_3": 85.5, "dimensions": ["safety"], "hard_violation": false, "reason": "It {fits}."}'
    tests = strings_of_tests("src/judge/reply/yes_no.rs")
    return tests + [scores, f"```json\n{scores}\n```", f"Here you are {{as asked}}:\n{scores}\n{scores}", f"<think>{scores}</think>{scores}"]


def strings_of_tests(path):
    tests = text(path).split("#[cfg(test)]\nmod tests {")[1]
    return [one.replace("\\n", "\n").replace('\\"', '"') for one in re.findall(r'"((?:[^"\\\n]|\\[n"])*)"', tests)]


def header(tensors, metadata=None):
    """The header of a safetensors file of f32 tensors, and its data."""
    at, parts = 0, {} if metadata is None else {"__metadata__": metadata}
    for name, shape in tensors:
        size = 4
        for n in shape:
            size *= n
        parts[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return json.dumps(parts).encode(), struct.pack("<f", 0.5) * (at // 4)


# The adapter of rank 1 on `q_proj` of the model of one layer in lib.rs.
NAMES = [(f"base_model.model.model.layers.0.self_attn.q_proj.lora_{letter}.weight", shape) for letter, shape in (("A", [1, 8]), ("B", [8, 1]))]


def adapter():
    weights = b"\0".join(header(NAMES, {"format": "pt"}))
    least = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"]}
    configs = [json.loads(path.read_bytes()) for path in files("tests/data/**/adapter_config.json")]
    configs += [least] + [dict(one, r=1, target_modules=["q_proj"]) for one in configs]
    configs += [dict(least, rank_pattern={"q_proj": 1}, alpha_pattern={r"0\.self_attn\.q_proj": 0.5}, use_rslora=True),
                dict(least, target_modules=r".*\.(q|v)_proj", exclude_modules=r".*v_proj"),
                dict(least, layers_to_transform=[0], layers_pattern="layers")]
    f16 = b"\0".join((header(NAMES)[0].replace(b"F32", b"F16"), header(NAMES)[1][:32]))
    return [json.dumps(one).encode() + b"\0" + weights for one in configs] + [json.dumps(least).encode() + b"\0" + f16]


def checkpoint():
    state = b'{"step": 3, "updates": 3, "skipped_in_a_row": 0, "num_tokens": 99}'
    weights = b"\0".join(header(NAMES, {"format": "pt"}))
    names = ["state.json", *(f"{one}.safetensors" for one in ("adapter_model", "first_moments", "second_moments"))]
    manifest = json.dumps({name: hashlib.sha256(state).hexdigest() for name in names}).encode()
    return [bytes([seal]) + state for seal in (0, 128)] + [bytes([n]) + weights for n in (1, 2, 3, 129)] + [b"\x04" + manifest, b"\x04{}"]


def run_files():
    """A byte for the kind of file, in the order of the target, and lines without their digests."""
    interval = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 3}
    share = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 3, "ties": 1}
    overall = {"opa": share, "preference_accuracy": share, "opa_margin_mean": interval, "dpo_loss": interval}
    axes = [{"metric": "opa", "consistency": {"agreement": interval, "by_chance": 1.0}, "fairness": [
        {"attribute": "age", "groups": 2, "gap": interval, "best": {"label": "a", "value": 0.5, "n": 2},
         "worst": {"label": "b", "value": 0.0, "n": 1}, "shuffled_gap": 0.0, "p_value": 1.0, "p_adjusted": 1.0}]}]
    one_set = {"name": "a", "n": 3, "clusters": 2, "chosen_tokens": 9, "rejected_tokens": 8, "unscored_answers": 0, "overall": overall,
               "sources": {"a": overall}, "kl": {"value": 0.0, "standard_error": 0.0, "answers": 6, "tokens": 17},
               "groups": [{"attribute": "age", "label": "x", "n": 3, "clusters": 1}], "axes": axes}
    evaluation = {"version": "0.1.0", "model": "m", "adapter": None, "beta": 0.1, "seed": 250908022, "resamples": 1000, "sets": [one_set],
                  "files": {"scores-a-before.jsonl": "7d" * 32}}
    step = {"step": 1, "epoch": 0.5, "loss": 0.69, "grad_norm": 1.5, "learning_rate": 5e-5, "num_tokens": 99, "pairs": 2, "step_time_s": 1.5, "since_last_s": 1.75,
            "rewards/chosen": 0.0, "rewards/rejected": 0.0, "rewards/margins": 0.0, "rewards/accuracies": 0.0, "logps/chosen": -38.5,
            "logps/rejected": -44.0, "logratios/chosen": 0.0, "logratios/rejected": 0.0, "lengths/chosen": 14.5, "lengths/rejected": 15.0,
            "tokens_computed": 80, "tokens_per_second": 53.3, "model_tflops": 0.1, "mfu": 0.5, "peak_memory_gib": 0.1, "skipped": False}
    measured = {"step": 0, "epoch": 0.0, "set": "a", "pairs": 3, "dpo_loss": 0.69, "kl": 0.0, "kl_stderr": 0.0, "logps/chosen": -38.5,
                "logps/rejected": -44.0, "loss": 0.69, "opa": 0.0, "preference_accuracy": 0.5, "reward_margin_mean": 0.0,
                "rewards/accuracies": 0.0, "rewards/chosen": 0.0, "rewards/margins": 0.0, "rewards/rejected": 0.0}
    scores = {"id": "a:1", "source": "a", "policy_chosen_logps": -19.5, "policy_rejected_logps": -9.0, "reference_chosen_logps": -19.5,
              "reference_rejected_logps": -9.0, "chosen_tokens": 7, "rejected_tokens": 4, "groups": {"age": "x"}}
    documented = [one for one in re.findall(r"```json\n(\{.*?)```", text("docs/files.md"), flags=re.S) if "prompt" in one]
    journal = [{"key": "k", "prompts": 3}, {"row": 2, "ids": [5, 6], "stop": "eos"}]
    kinds = [[step, dict(step, step=2)], [measured], [evaluation], [scores, dict(scores, id="a:2")], documented, journal, documented,
             [{"wall_time_s": 297.5, "step": 2}]]
    lines = ["\n".join(one if isinstance(one, str) else json.dumps(one) for one in kind) + "\n" for kind in kinds]
    # Each kind also as a file of every other.
    return [bytes([kind]) + line.encode() for line in lines for kind in range(len(kinds))]


def safetensors():
    parts = [header(NAMES), header(NAMES, {"format": "pt"}), header([]), header([("a", [0]), ("b", [])]), header([("x", [2, 3])], {"a": "b"})]
    return [b"\1" + head + b"\0" + data for head, data in parts] + [b"\0" + struct.pack("<Q", len(head)) + head + data for head, data in parts]


def model_config():
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "beta_fast": 32, "beta_slow": 1}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128}
    configs = [json.loads(path.read_bytes()) for path in files("tests/data/*/models/*/config.json") + files("configs/tiny/model/config.json")]
    kinds = [{"rope_scaling": yarn}, {"rope_scaling": llama3}, {"rope_scaling": {"type": "linear", "factor": 2.0}},
             {"rope_parameters": {"rope_theta": 1e6, **yarn}},
             {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}, {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
             {"head_dim": 8}]
    return [json.dumps(one) for one in configs] + [json.dumps(dict(configs[0], **kind)) for kind in kinds]


def tokenizer():
    special = [{"id": n, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for n, text in enumerate(("<unk>", "<s>", "</s>"))]
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4, "\u2581": 5, "ab": 6, "\u2581a": 7, "##b": 8, "\u0120": 9}
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    models = [
        ({"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocab,
          "merges": ["a b", "\u2581 a"]}, metaspace),
        ({"type": "BPE", "vocab": vocab, "merges": [["a", "b"]]}, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}),
        ({"type": "Unigram", "unk_id": 0, "vocab": [[text, -float(n)] for text, n in vocab.items()], "byte_fallback": False}, metaspace),
        ({"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab},
         {"type": "BertPreTokenizer"}),
        ({"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}, {"type": "Split", "pattern": {"Regex": "\\s+|a"}, "behavior": "Isolated",
                                                                      "invert": False}),
    ]
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    normalizers = [None, {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "NFKC"},
                   {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}, {"type": "BertNormalizer", "lowercase": True}]
    decoders = [None, {"type": "ByteLevel"}, {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}]
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    configs = [names, dict(names, add_bos_token=True, add_eos_token=False, legacy=False, tokenizer_class="LlamaTokenizer"),
               dict(names, tokenizer_class="GPT2Tokenizer", added_tokens_decoder={"2": special[2], "11": dict(special[2], content="<x>")})]
    seeds = []
    for n, (model, split) in enumerate(models * 3):
        whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": normalizers[n // 5],
                 "pre_tokenizer": split, "post_processor": template if n % 2 else None, "decoder": decoders[n // 5], "model": model}
        seeds.append(b"\0".join((json.dumps(whole).encode(), json.dumps(configs[n % 3]).encode(), "a b</s> ab\u00e9".encode())))
    return seeds


def listing():
    """A byte for what is wanted, the card, a zero byte and the names of the files."""
    cards = [
        "---\nconfigs:\n- config_name: a\n  default: true\n  data_files: \"data/*.jsonl\"\n- config_name: b\n  data_dir: data\n---\n# Pairs\n",
        "---\nconfigs:\n- config_name: b\n  data_files:\n  - split: train\n    path: [\"train-*\", \"**/*.json\"]\n  - split: test\n"
        "    path: data/test-[0-9]?.parquet\n---\n",
        "---\nlicense: mit\n---\n", "# Pairs\n",
        '{"splits": ["train", "test"]}', '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": null}',
    ]
    names = [
        "README.md\ntrain-0.json\ntrain-1.json\ntest-0.json\n", "README.md\ndata/train.jsonl\ndata/test.jsonl\nb/c/d.json\n.git/x.json\n",
        "README.md\ndata/train-00000-of-00001.parquet\ndata/test-00.parquet\na/b/c/d/e/f/g/h/i/j/train.json\n",
        "dataset_dict.json\ntrain/state.json\ntrain/data-00000-of-00001.arrow\ntest/state.json\ntest/data-00000-of-00001.arrow\n",
        "state.json\ndata-00000-of-00001.arrow\n",
    ]
    return [bytes([n % 8]) + f"{card}\0{names}".encode() for n, (card, names) in enumerate((card, some) for card in cards for some in names)]


JSON = r"{ } [ ] : , null true false 1e999 -0 18446744073709551615 \u0000 \ud83d".split()
TOML = "[[ ]] \"\"\" ''' = nan inf -inf 0x 1979-05-27 1e999 { } 9223372036854775807".split()
OF_YAML = "&a *a <<: !! !!str !!int !!float !!null ---\n ...\n ? - | >- %YAML 0x 0o .inf .nan 1:30 ~".split(" ")
JINJA = """{{ }} {% %} {%- -%} {# #} if elif else endif for in endfor set endset macro endmacro call endcall filter endfilter namespace( loop.
    loop.index0 loop.previtem cycle( is not and or defined none recursive raw endraw break continue range( messages ['role'] ['content']
    add_generation_prompt tools bos_token |tojson [::-1] [1:] ** // % ~ import include extends block do with autoescape generation
    endgeneration strftime_now( raise_exception( .items() .split( .strip() .format( .replace( |join( |selectattr( |map( |batch( |slice( |round(
    |indent( |format( |groupby( |unique |sort( |int( |float |length |reverse |replace( dict( lipsum joiner 1e308 9223372036854775807""".split()

TARGETS = {
    "config": Target(config, 8192, [f"src/config/{one}.rs" for one in ("keys", "choices", "check", "elsewhere")], TOML),
    "import_config": Target(import_config, 4096, ["src/config/import", "src/disk/yaml"], OF_YAML),
    "yaml": Target(yaml, 4096, ["src/disk/yaml", "src/data/listing"], OF_YAML),
    "records": Target(records, 16384, ["src/data/format", "src/data/file.rs", "src/data/csv.rs", "src/data/groups.rs"], JSON, may_end=True),
    "template": Target(template, 4096, ["src/data/chat"], JINJA, may_end=True),
    "judge_reply": Target(judge_reply, 4096, ["src/judge/reply"], JSON + ["yes", "no", "ja", "Não", "**", "\n"]),
    "listing": Target(listing, 2048, ["src/data/listing"], OF_YAML + "** * [!a-z] ? / .. {a,b}".split()),
    "tokenizer": Target(tokenizer, 6144, ["src/data/tokenizer_files.rs", "src/data/tokenizer_config.rs", "src/data/transformers5.rs"],
                        JSON + """BPE Unigram WordPiece WordLevel ByteLevel Metaspace Sequence Split Replace Regex String Prepend Append NFKC NFD
        Lowercase StripAccents Nmt Precompiled BertNormalizer BertPreTokenizer Whitespace Digits Punctuation CharDelimiterSplit UnicodeScripts
        FixedLength TemplateProcessing BertProcessing RobertaProcessing ByteFallback Fuse CTC WordPiece Strip Isolated MergedWithPrevious
        Removed Contiguous precompiled_charsmap added_tokens byte_fallback ignore_merges end_of_word_suffix max_input_chars_per_word""".split()),
    "adapter": Target(adapter, 8192, ["src/model/adapter", "src/model/plan", "src/model/family.rs"], JSON),
    "checkpoint": Target(checkpoint, 2048, ["src/train/checkpoint.rs", "src/model/adapter/tensors.rs"],
                         JSON + "step updates num_tokens skipped_in_a_row F32 F16".split()),
    "run_files": Target(run_files, 6144, ["src/run_folder", "src/metrics/metric.rs"], JSON),
    "safetensors": Target(safetensors, 2048, ["src/model/shard.rs"],
                          JSON + "__metadata__ dtype shape data_offsets F32 F64 BF16 I8 F4 F6_E2M3 BOOL".split()),
    "model_config": Target(model_config, 4096, [f"src/model/{one}.rs" for one in ("shape", "family", "config_fields", "rope_fields")], JSON),
}


def escaped(word):
    return "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\' else f"\\x{b:02X}" for b in word.encode())


def write_seeds(name, folder):
    """The seeds and the dictionary of a target."""
    target = TARGETS[name]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for seed in target.seeds():
        seed = seed.encode() if isinstance(seed, str) else seed
        (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    words = dict.fromkeys(target.signs + strings(target.words))
    if name == "import_config":
        words |= dict.fromkeys(line.split(" = ")[0] + ": " for line in known_keys())
    dictionary = folder.parent / f"{name}.dict"
    dictionary.write_text("".join(f'"{escaped(word)}"\n' for word in words if len(word) < 64), encoding="utf-8")
    return dictionary


@dataclass
class Outcome:
    name: str
    executions: int = 0
    corpus: int = 0
    edges: int = 0
    ended: int = 0
    # What was found, each with the input that shows it.
    found: dict = field(default_factory=dict)
    seconds: float = 0.0


def what(log, artifact):
    """One line for a finding: where it panicked and why, or what libFuzzer says."""
    panic = re.search(r"panicked at ([^\n]*?):\d+:\n(.*)", log)
    if panic:
        return f"panic at {panic[1].removeprefix(str(ROOT) + '/')}: {panic[2][:160]}"
    error = re.search(r"ERROR: libFuzzer: ([^\n]*)", log) or re.search(r"ERROR: ([^\n]*)", log)
    return error[1][:200] if error else f"the process ended: {artifact}"


def run(name, binary, seconds, work, target_seed):
    """Runs a target until its time is over; a finding ends libFuzzer, which is then started again."""
    target, outcome = TARGETS[name], Outcome(name)
    seeds = FUZZ / "seeds" / name
    dictionary = write_seeds(name, seeds)
    corpus, artifacts, here = FUZZ / "corpus" / name, FUZZ / "artifacts" / name, work / name
    for folder in (corpus, artifacts, here, here / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    flags = [f"-max_len={target.longest}", f"-timeout={TIMEOUT}", f"-rss_limit_mb={MEMORY}", f"-dict={dictionary}", f"-artifact_prefix={artifacts}/",
             f"-seed={target_seed}", "-print_final_stats=1"]
    if target.may_end:
        # No other status can be ignored; a time-out leaves its input, and so is found below.
        flags += ["-fork=1", f"-timeout_exitcode={BOUNDED}", "-ignore_timeouts=1", "-ignore_ooms=0"]
    begun = time.monotonic()
    for _ in range(50):
        left = int(seconds - (time.monotonic() - begun))
        if left < 1:
            break
        before = set(artifacts.iterdir())
        command = [binary, f"-max_total_time={left}", *flags, corpus, seeds]
        done = subprocess.run(command, cwd=here, env={**os.environ, "TMPDIR": str(here / "tmp")}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        log = done.stdout.decode(errors="replace")
        (here / "log").write_text(log)
        counts = re.findall(r"^#(\d+):?\s.*?cov: (\d+) ft: \d+ corp: (\d+)", log, flags=re.M)
        units = re.search(r"stat::number_of_executed_units: (\d+)", log)
        outcome.executions += int(units[1]) if units else max((int(one[0]) for one in counts), default=0)
        outcome.edges = max([outcome.edges, *(int(one[1]) for one in counts)])
        outcome.corpus = int(counts[-1][2]) if counts else outcome.corpus
        new = sorted(set(artifacts.iterdir()) - before)
        ends = re.findall(r"oom/timeout/crash: \d+/(\d+)/", log)
        timeouts = sum(artifact.name.startswith("timeout-") for artifact in new)
        outcome.ended += max(0, int(ends[-1]) - timeouts) if ends else 0
        for artifact in new:
            # In a log of children the reason is that of the child; the input alone says it again.
            again = subprocess.run([binary, f"-timeout={TIMEOUT}", f"-rss_limit_mb={MEMORY}", artifact], cwd=here,
                                   env={**os.environ, "TMPDIR": str(here / "tmp")}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            said = what(again.stdout.decode(errors="replace"), artifact.name)
            kind = artifact.name.split("-")[0]
            if kind in ("slow", "leak"):
                continue
            outcome.found.setdefault(f"{kind}: {said}", artifact)
        ended = target.may_end and done.returncode == BOUNDED
        if done.returncode != 0 and not ended and not new:
            # An input that is known by now, such as a seed, or an end that left none.
            if "Test unit written to" not in log:
                outcome.found.setdefault(f"status {done.returncode}: {what(log, 'no input was kept')}", here / "log")
            break
    outcome.seconds = time.monotonic() - begun
    return outcome


def machine():
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return f"{platform.system()} {platform.machine()}, {model[1] if model else 'CPU'}, {os.cpu_count()} cores, {memory} GiB"


def table(outcomes, arguments):
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    found = sum(len(one.found) for one in outcomes)
    executions = sum(one.executions for one in outcomes)
    lines = [f"# Fuzzing, {datetime.date.today()}", "",
             f"{len(outcomes)} targets, {executions:,} executions, {found} findings. A finding is a panic, an abort, an input that takes more than",
             f"{TIMEOUT} s or the process more than {MEMORY} MiB, or a false assertion of the target; `fuzz/fuzz_targets` has what each asserts.", "",
             f"Commit {commit}, {machine()}. libFuzzer without a sanitizer, with debug assertions and checks of overflow. Command:", "",
             "```", f"scripts/fuzz.sh {arguments.seconds} FILE.md", "```", "",
             "Edges are those that the inputs of the corpus reach, in the program and its libraries. *Bounded* counts inputs at which the process",
             "ended as the programs do where a file asks for more memory than its like may take; `-` where that may not happen.", "",
             "| target | seconds | executions | corpus | edges | bounded | findings |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for one in outcomes:
        ended = one.ended if TARGETS[one.name].may_end else "-"
        cells = [one.name, f"{one.seconds:.0f}", f"{one.executions:,}", one.corpus, f"{one.edges:,}", ended, len(one.found)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    if found:
        lines += ["", "## Findings", ""]
        for one in outcomes:
            for said, artifact in one.found.items():
                lines.append(f"- `{one.name}`: {said} (`{artifact.name}`)")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=300, help="for each target")
    parser.add_argument("--output", type=Path, metavar="FILE.md")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer's draws")
    parser.add_argument("--target-dir", type=Path, default=FUZZ / "target")
    parser.add_argument("--no-build", action="store_true", help="run what was built before")
    parser.add_argument("--seeds", action="store_true", help="write seeds and dictionaries, and run nothing")
    arguments = parser.parse_args()
    names = arguments.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no target {', '.join(unknown)}")
    if arguments.seeds:
        for name in names:
            write_seeds(name, FUZZ / "seeds" / name)
        return 0
    # The versions of the program's own dependencies.
    if not (FUZZ / "Cargo.lock").exists():
        shutil.copy(ROOT / "Cargo.lock", FUZZ / "Cargo.lock")
    build = ["cargo", "fuzz", "build", "--fuzz-dir", FUZZ, "--sanitizer", "none", "--target-dir", arguments.target_dir]
    if not arguments.no_build and subprocess.run(build, cwd=ROOT).returncode != 0:
        return 2
    binaries = arguments.target_dir / TRIPLE / "release"
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="mvpbench-fuzz-", dir=memory) as work, concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        def one(name):
            outcome = run(name, binaries / name, arguments.seconds, Path(work), arguments.seed)
            print(f"{name}: {outcome.executions:,} executions, {outcome.edges:,} edges, {len(outcome.found)} findings", flush=True)
            for said, artifact in outcome.found.items():
                print(f"  {said}\n    {artifact}", flush=True)
            return outcome
        outcomes = list(pool.map(one, names))
    if arguments.output:
        arguments.output.write_text(table(outcomes, arguments), encoding="utf-8")
    return 1 if any(one.found for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
