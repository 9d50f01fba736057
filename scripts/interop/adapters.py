#!/usr/bin/env python3
"""Gives adapters of PEFT to ours and adapters of ours to PEFT, and compares the sums of the same pairs, and the merged weights.

  pip install -r scripts/interop/requirements.txt
  cargo build --release
  python scripts/interop/adapters.py [--bin target/release] [--output FILE.md] [--only NAME]

The interpreter needs the versions of requirements.txt, and the script stops on others. PEFT makes each adapter on a tiny random Llama,
its trainable weights are then random, and it is saved and loaded again as a user does. `same`: every summed log-probability is within
3e-5, in nats or as a share of the sum. `refused`: ours ends with exit status 2 and a message. `lenient`: ours computes what PEFT refuses.
Anything else is `WRONG`. The script exits with 1 where an adapter has another verdict than is stated for it.
"""

import json
import shutil
import tempfile
from pathlib import Path

import sides

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS = ["q_proj", "v_proj"]
# As unsloth's `get_peft_regex` writes it.
UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\.(?:(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)))"
)
BOS = 1
# The ids of `### Response:`, near the end of every prompt.
INVOCATION = [429, 378]
RUN = """
[model]
path = "{model}"
[lora]
{lora}
dropout = 0.0
[data]
train = ["pairs.jsonl"]
max_prompt_tokens = 0
max_length = 0
[train]
epochs = 1
max_steps = 4
learning_rate = 2e-2
per_device_batch_size = 1
gradient_accumulation_steps = 1
[[eval.sets]]
name = "t"
files = ["pairs.jsonl"]
[output]
dir = "{output}"
"""


class Case:
    """An adapter of PEFT. `config`: a function that gives its configuration; `prepare`: what is done with the base and the configuration
    before the adapter is made; `save`: how it is saved, by default with `save_pretrained`; `change`: of the saved folder; `merged`: whether
    ours names merging in PEFT as the remedy, which is then followed."""

    def __init__(self, name, expected, config, prepare=None, save=None, change=None, scale=0.05, merged=False):
        self.name, self.expected, self.config = name, expected, config
        self.prepare, self.save, self.change, self.scale, self.merged = prepare, save, change, scale, merged


def lora(**settings):
    def config(peft):
        made = {name: value(peft) if callable(value) else value for name, value in settings.items()}
        return peft.LoraConfig(**{**dict(r=4, lora_alpha=10, target_modules=TARGETS, task_type="CAUSAL_LM"), **made})

    return config


def other(kind, **settings):
    return lambda peft: getattr(peft, f"{kind}Config")(**{**dict(task_type="CAUSAL_LM"), **settings})


def converted(model, folder):
    """Saves as plain LoRA: the difference to the start."""
    model.save_pretrained(folder, path_initial_model_for_weight_conversion=str(folder.parent / "start"))


def of_a_name(model, folder):
    """An adapter that PEFT knows under another name than `default`, which it saves in a folder of that name."""
    model.save_pretrained(folder.parent / "named")
    shutil.copytree(folder.parent / "named/mine", folder)


def combined(how):
    """Two adapters as one, by PEFT's `add_weighted_adapter`."""

    def save(model, folder):
        import peft

        model.add_adapter("second", peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, task_type="CAUSAL_LM"))
        randomise(model, 8, 0.05)
        model.add_weighted_adapter(["default", "second"], [0.7, 0.5], "both", combination_type=how)
        model.set_adapter("both")
        model.save_pretrained(folder.parent / "combined", selected_adapters=["both"])
        shutil.copytree(folder.parent / "combined/both", folder)

    return save


def stored_as(dtype):
    def change(folder):
        import torch
        from safetensors.torch import load_file, save_file

        path = folder / "adapter_model.safetensors"
        save_file({name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(path).items()}, path)

    return change


def as_pickle(folder):
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def fields(*kept, **changed):
    """Changes adapter_config.json: keeps only some fields, if any are named, and sets others."""

    def change(folder):
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text())
        config = {name: value for name, value in config.items() if not kept or name in kept}
        path.write_text(json.dumps({**config, **changed}))

    return change


def default_keys(folder):
    """Tensors as the state of a wrapped model has them. PEFT finds none of them and warns, so that its sums are taken before."""
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    save_file({name.replace(".weight", ".default.weight"): tensor for name, tensor in load_file(path).items()}, path)


def corda(base, config, ids):
    from peft.tuners.lora.corda import preprocess_corda

    preprocess_corda(base, config, run_model=lambda: base(input_ids=ids))


def loraga(base, config, ids):
    from peft.tuners.lora.loraga import preprocess_loraga

    def step():
        base(input_ids=ids, labels=ids).loss.backward()

    preprocess_loraga(base, config, step)


def sub(name, **settings):
    return lambda peft: getattr(__import__("peft.tuners.lora.config", fromlist=[name]), name)(**settings)


def cases():
    yield Case("plain, q and v", "same", lora())
    yield Case("plain, all seven projections", "same", lora(target_modules=ALL))
    yield Case("target_modules all-linear", "same", lora(target_modules="all-linear"))
    yield Case("rank 1, alpha 0.5", "same", lora(r=1, lora_alpha=0.5, target_modules=["down_proj"]))
    yield Case("rank above the width", "same", lora(r=96, lora_alpha=16, target_modules=ALL))
    yield Case("dropout 0.3", "same", lora(lora_dropout=0.3))
    yield Case("use_rslora", "same", lora(use_rslora=True, target_modules=ALL))
    yield Case("another adapter name", "same", lora(), save=of_a_name)
    for how in ("linear", "cat", "svd"):
        yield Case(f"add_weighted_adapter, {how}", "same", lora(), save=combined(how))
    for dtype in ("bfloat16", "float16"):
        yield Case(f"stored as {dtype}", "same", lora(target_modules=ALL), change=stored_as(dtype))
    yield Case(
        "a configuration of PEFT 0.4",
        "same",
        lora(),
        change=fields(
            "auto_mapping",
            "base_model_name_or_path",
            "bias",
            "fan_in_fan_out",
            "inference_mode",
            "init_lora_weights",
            "layers_pattern",
            "layers_to_transform",
            "lora_alpha",
            "lora_dropout",
            "modules_to_save",
            "peft_type",
            "r",
            "revision",
            "target_modules",
            "task_type",
        ),
    )
    yield Case("adapter_model.bin alone", "refused", lora(), change=as_pickle)
    # Initialisations. The weights are random after it, as if trained.
    for start in (False, "gaussian", "orthogonal", "mica"):
        yield Case(f"init_lora_weights {start}", "same", lora(init_lora_weights=start))
    yield Case(
        "init_lora_weights eva, ranks as given",
        "same",
        lora(init_lora_weights="eva", eva_config=sub("EvaConfig", rho=1.0, adjust_scaling_factors=False)),
    )
    yield Case("init_lora_weights eva, ranks redistributed", "same", lora(init_lora_weights="eva", eva_config=sub("EvaConfig")))
    yield Case("init_lora_weights lora_ga", "same", lora(init_lora_weights="lora_ga", lora_ga_config=sub("LoraGAConfig")), prepare=loraga)
    for start in ("pissa", "pissa_niter_4", "olora"):
        yield Case(f"init_lora_weights {start}", "refused", lora(init_lora_weights=start), merged=start != "pissa_niter_4")
    yield Case(
        "init_lora_weights corda", "refused", lora(init_lora_weights="corda", corda_config=sub("CordaConfig", corda_method="kpm")), prepare=corda
    )
    yield Case("init_lora_weights loftq", "refused", lora(), change=fields(init_lora_weights="loftq", loftq_config=dict(loftq_bits=4, loftq_iter=1)))
    for start in ("pissa", "olora"):
        yield Case(f"init_lora_weights {start}, converted", "same", lora(init_lora_weights=start), save=converted)
    yield Case(
        "init_lora_weights corda, converted", "same", lora(init_lora_weights="corda", corda_config=sub("CordaConfig")), prepare=corda, save=converted
    )
    # Variants.
    yield Case("use_dora", "refused", lora(use_dora=True), merged=True)
    yield Case("use_qalora", "refused", lora(use_qalora=True, qalora_group_size=16))
    yield Case("lora_bias", "refused", lora(lora_bias=True))
    yield Case("bias lora_only", "refused", lora(bias="lora_only"), merged=True)
    yield Case("bias all", "refused", lora(bias="all"), merged=True)
    yield Case("alora_invocation_tokens", "refused", lora(alora_invocation_tokens=INVOCATION))
    yield Case(
        "use_bdlora", "refused", lora(use_bdlora=sub("BdLoraConfig", target_modules_bd_a=["q_proj"], target_modules_bd_b=["v_proj"], nblocks=2))
    )
    yield Case("kasa_config", "refused", lora(kasa_config=sub("KasaConfig")))
    yield Case("velora_config", "refused", lora(velora_config=sub("VeloraConfig")))
    yield Case("monteclora_config", "refused", lora(monteclora_config=sub("MontecloraConfig")))
    yield Case("megatron_config", "refused", lora(), change=fields(megatron_config=dict(tensor_model_parallel_size=1)))
    yield Case("fan_in_fan_out", "refused", lora(), change=fields(fan_in_fan_out=True))
    yield Case("an unknown field that is set", "refused", lora(), change=fields(scale_by_depth=True))
    yield Case("an unknown field that is false", "same", lora(), change=fields(scale_by_depth=False))
    # Which modules.
    yield Case("target_modules, a regex", "same", lora(target_modules=r".*\.(q|v)_proj"))
    yield Case("target_modules, a regex of one layer", "same", lora(target_modules=r"model\.layers\.(?!0)\d+\.(self_attn|mlp)\.(?P<m>q|up)_proj"))
    yield Case("target_modules, unsloth's regex", "same", lora(target_modules=UNSLOTH))
    yield Case("target_modules, a regex with lookbehind and a flag", "same", lora(target_modules=r"(?i).*(?<!0)\.self_attn\.[KQ]_PROJ"))
    yield Case("target_modules, a regex of a property", "refused", lora(), change=fields(target_modules=r"\p{L}+.*"))
    yield Case("target_modules, the word q_proj", "refused", lora(), change=fields(target_modules="q_proj"))
    yield Case("target_modules, the word all-linear in the file", "same", lora(target_modules=ALL), change=fields(target_modules="all-linear"))
    yield Case("target_modules with a layer's path", "same", lora(target_modules=["layers.0.self_attn.q_proj", "v_proj"]))
    yield Case("target_modules, whole names", "same", lora(target_modules=["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"]))
    yield Case("target_modules all-linear less one", "same", lora(target_modules="all-linear", exclude_modules=["layers.0.mlp.gate_proj"]))
    yield Case("target_modules with lm_head", "refused", lora(target_modules=["q_proj", "lm_head"]))
    yield Case("target_modules embed_tokens", "refused", lora(target_modules=["q_proj", "embed_tokens"]))
    yield Case("target_modules a regex of everything", "refused", lora(), change=fields(target_modules=".*"))
    yield Case(
        "target_modules with a name that nothing has",
        "same",
        lora(target_modules=["q_proj", "v_proj"]),
        change=fields(target_modules=["q_proj", "v_proj", "c_attn"]),
    )
    yield Case(
        "target_modules with a name that the tensors lack",
        "refused",
        lora(target_modules=["q_proj", "v_proj"]),
        change=fields(target_modules=["q_proj", "v_proj", "o_proj"]),
    )
    yield Case("exclude_modules", "same", lora(target_modules=ALL, exclude_modules=["layers.0.self_attn.q_proj"]))
    yield Case("exclude_modules, a regex", "same", lora(target_modules=ALL, exclude_modules=r".*\.(0\.mlp|1\.self_attn)\..*"))
    yield Case("exclude_modules that match nothing", "same", lora(target_modules=ALL, exclude_modules=["vision"]))
    yield Case("rank_pattern", "same", lora(rank_pattern={"q_proj": 2}))
    yield Case("rank_pattern, use_rslora", "same", lora(rank_pattern={r"layers\.1\.self_attn\.\w+": 9}, use_rslora=True))
    yield Case("rank_pattern that matches nothing", "same", lora(rank_pattern={"k_proj": 2}))
    yield Case("alpha_pattern", "same", lora(alpha_pattern={"q_proj": 3}))
    yield Case("alpha_pattern, two that match", "same", lora(alpha_pattern={"q_proj": 3, r".*\.1\.self_attn\.q_proj": 20}))
    yield Case("alpha_pattern, an end of a name", "same", lora(alpha_pattern={"_proj": 30, "v_proj": 0.5}))
    yield Case(
        "rank_pattern and alpha_pattern by whole names",
        "same",
        lora(target_modules=ALL, rank_pattern={"model.layers.0.self_attn.q_proj": 8}, alpha_pattern={"^model.layers.0.self_attn.q_proj": 32}),
    )
    yield Case("layers_to_transform", "same", lora(layers_to_transform=[1]))
    yield Case("layers_to_transform, a number", "same", lora(layers_to_transform=0))
    yield Case("layers_to_transform, layers_pattern", "same", lora(layers_to_transform=[1], layers_pattern="layers"))
    yield Case("layers_to_transform, another layer than the tensors", "refused", lora(layers_to_transform=[1]), change=fields(layers_to_transform=[0]))
    yield Case("keys with `.default.` in them, beside the sums without", "same", lora(), change=default_keys)
    yield Case("layer_replication", "refused", lora(layer_replication=[[0, 2], [1, 2]]))
    yield Case("modules_to_save", "refused", lora(modules_to_save=["lm_head"]), merged=True)
    yield Case("trainable_token_indices", "refused", lora(trainable_token_indices=[BOS, 9]), merged=True)
    yield Case("target_parameters", "refused", lora(target_modules=["q_proj"], target_parameters=["mlp.up_proj.weight"]), merged=True)
    # Other methods.
    yield Case("IA3", "refused", other("IA3", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]))
    for kind in ("LoHa", "LoKr", "HRA", "Miss", "Shira"):
        yield Case(kind, "refused", other(kind, target_modules=TARGETS, r=4))
    yield Case("LNTuning", "refused", other("LNTuning", target_modules=["input_layernorm"]))
    yield Case("BOFT", "refused", other("BOFT", target_modules=TARGETS, boft_block_size=4))
    yield Case("RoAd", "refused", other("Road", target_modules=TARGETS, group_size=16))
    yield Case("OFT", "refused", other("OFT", target_modules=TARGETS, oft_block_size=8))
    yield Case("Vera", "refused", other("Vera", target_modules=["q_proj", "o_proj"], r=4))
    yield Case("AdaLoRA", "refused", other("AdaLora", target_modules=TARGETS, init_r=6, target_r=4, total_step=10))
    yield Case("FourierFT", "refused", other("FourierFT", target_modules=TARGETS, n_frequency=20))
    yield Case("prompt tuning", "refused", other("PromptTuning", num_virtual_tokens=3))
    yield Case("p-tuning", "refused", other("PromptEncoder", num_virtual_tokens=3, encoder_hidden_size=16))
    yield Case("prefix tuning", "refused", other("PrefixTuning", num_virtual_tokens=3))
    yield Case("trainable tokens", "refused", other("TrainableTokens", token_indices=[BOS, 9]))


# Settings of our runs, whose adapters PEFT reads.
RUNS = {
    "rank 4 on q and v": 'rank = 4\nalpha = 8.0\ntarget_modules = ["q_proj", "v_proj"]',
    "rank 3, alpha 5.5, all seven": f"rank = 3\nalpha = 5.5\ntarget_modules = {json.dumps(ALL)}",
    "rsLoRA, rank 16, all seven": f"rank = 16\nalpha = 4.0\nuse_rslora = true\ntarget_modules = {json.dumps(ALL)}",
    "rank 1 on down": 'rank = 1\nalpha = 1.0\ntarget_modules = ["down_proj"]',
    "all-linear": 'rank = 2\nalpha = 4.0\ntarget_modules = "all-linear"',
    "all-linear less a list": 'rank = 2\nalpha = 4.0\ntarget_modules = "all-linear"\nexclude_modules = ["lm_head", "0.mlp.up_proj"]',
    "a regex less a regex": r"""rank = 2
alpha = 4.0
target_modules = 'model\.layers\.\d\..*_proj'
exclude_modules = '.*\.1\.mlp\..*'""",
    "whole names and ends": 'rank = 2\nalpha = 4.0\ntarget_modules = ["model.layers.0.mlp.down_proj", "self_attn.k_proj"]',
    "the upper layer": 'rank = 4\nalpha = 8.0\ntarget_modules = ["q_proj", "up_proj"]\nlayers_to_transform = [1]\nlayers_pattern = ["layers"]',
    "ranks and alphas by module, rsLoRA": r"""rank = 4
alpha = 8.0
use_rslora = true
target_modules = ["q_proj", "v_proj", "up_proj"]
rank_pattern = { q_proj = 7, '1\.mlp\.\w+' = 1 }
alpha_pattern = { "layers.0.self_attn.q_proj" = 20.5 }""",
    "started from an adapter of PEFT": 'rank = 4\nalpha = 10.0\ntarget_modules = ["q_proj", "v_proj"]\ninit_from = "plain"',
}


def make_base(folder, dtype="float32", tied=False, shard="5GB"):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=512,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            tie_word_embeddings=tied,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    sides.randomise(model, seed=6)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    sides.add_tokenizer(folder)
    return folder


def load_base(folder, dtype="float32"):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))


def randomise(model, seed, scale):
    """Moves every trainable weight, as training does."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.add_(torch.randn(parameter.shape, dtype=torch.float32).to(parameter.dtype) * scale)


def make(case, base, folder, ids):
    """The folder of an adapter that PEFT made."""
    import peft
    import torch

    for name in ("start", "adapter", "named", "combined"):
        shutil.rmtree(folder / name, ignore_errors=True)
    torch.manual_seed(9)
    model, config = load_base(base), case.config(peft)
    if case.prepare:
        case.prepare(model, config, ids)
    name = "mine" if case.save is of_a_name else "default"
    model = peft.get_peft_model(model, config, adapter_name=name)
    if config.peft_type == "LORA" and config.init_lora_weights == "eva":
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        peft.initialize_lora_eva_weights(model, [batch] * 8, show_progress_bar=False)
    if case.save is converted:
        start = model.peft_config["default"].init_lora_weights
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(folder / "start")
        model.peft_config["default"].init_lora_weights = start
    randomise(model, 7, case.scale)
    adapter = folder / "adapter"
    (case.save or (lambda model, folder: model.save_pretrained(folder)))(model, adapter)
    if case.change and case.change is not default_keys:
        case.change(adapter)
    return adapter


def from_peft(case, base, ours, pairs, file, plain, folder):
    """The cells of an adapter of PEFT: how far it moves PEFT's sums, how far ours are from them, our message, the verdict."""
    import peft
    import torch

    ids = [sides.token_ids(tokenizer_of(base), pair) for pair in pairs]
    adapter = make(case, base, folder, torch.tensor([ids[0][0] + ids[0][1]]))
    try:
        theirs = sides.peer_scores(peft.PeftModel.from_pretrained(load_base(base), adapter), ids)
        moved = sides.nats(sides.distance(theirs, plain)[0])
    except Exception as error:  # Any refusal of the peer is a cell of the table.
        theirs, moved = None, sides.shortened(f"{type(error).__name__}: {error}", folder)
    if case.change is default_keys:
        default_keys(adapter)
    try:
        mine = ours.scores(base, file, adapter)
    except sides.Refused as refused:
        message, clear = sides.shortened(refused, folder), refused.is_clear
        if not case.merged:
            return (moved, "-", message), "refused" if clear else "WRONG"
        worst, same = merged_in_peft(base, adapter, ours, file, theirs)
        return (moved, f"{sides.nats(worst)} merged in PEFT", message), "refused" if clear and same else "WRONG"
    if theirs is None:
        return (moved, "-", "computes"), "lenient"
    worst, same = sides.distance(mine, theirs)
    return (moved, sides.nats(worst), ""), "same" if same else "WRONG"


def merged_in_peft(base, adapter, ours, file, theirs):
    """Follows the remedy for an adapter that ours does not compute: how far our sums of the merged model are from PEFT's of the adapter."""
    import peft

    folder = ours.fresh("merged-in-peft")
    peft.PeftModel.from_pretrained(load_base(base), adapter).merge_and_unload().save_pretrained(folder)
    sides.add_tokenizer(folder)
    return sides.distance(ours.scores(folder, file), theirs)


def tokenizer_of(base):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


def to_peft(name, settings, base, ours, pairs, plain, folder):
    """The cells of an adapter that our `train` made: PEFT's sums beside ours, and the merged weights of both."""
    import peft

    output = ours.fresh("run")
    (folder / "run.toml").write_text(RUN.format(model=base, lora=settings, output=output))
    ours.must("train", "--config", folder / "run.toml", "--device", "cpu", "-q")
    lines = (output / "eval/scores-t-after.jsonl").read_text().splitlines()
    mine = [sides.scored(json.loads(line)) for line in lines]
    ids = [sides.token_ids(tokenizer_of(base), pair) for pair in pairs]
    model = peft.PeftModel.from_pretrained(load_base(base), output / "adapter")
    theirs = sides.peer_scores(model, ids)
    worst, same = sides.distance(mine, theirs)
    merged = ours.fresh("merged")
    ours.must("mvpbench", "merge", "--model", base, "--adapter", output / "adapter", "--output", merged, "--dtype", "f32", "-q")
    ours_merged = load_base(merged)
    merged_worst, merged_same = sides.distance(sides.peer_scores(ours_merged, ids), theirs)
    weights = model.merge_and_unload().state_dict()
    apart = max((tensor - weights[key]).abs().max().item() for key, tensor in ours_merged.state_dict().items())
    verdict = "same" if same and merged_same and apart <= 1e-6 else "WRONG"
    return (
        sides.nats(sides.distance(theirs, plain)[0]),
        sides.nats(max(worst, merged_worst)),
        f"merged weights {sides.nats(apart)} from PEFT's",
    ), verdict


def main():
    args = sides.arguments(__doc__).parse_args()
    versions = sides.check_versions()
    table = sides.Table(
        "Adapters beside PEFT", ["the adapter moves PEFT's sums by, nats", "largest distance, nats", "message of ours"], "adapters.py"
    )
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours = sides.Ours(args.bin, folder)
        pairs = sides.texts()
        file = sides.write_pairs(folder / "pairs.jsonl", pairs)
        bases = {"f32": make_base(folder / "f32"), "bf16, tied, several shards": make_base(folder / "bf16", "bfloat16", True, "60KB")}
        ids = [sides.token_ids(tokenizer_of(folder / "f32"), pair) for pair in pairs]
        plain = {name: sides.peer_scores(load_base(base), ids) for name, base in bases.items()}
        first, *_ = cases()
        shutil.copytree(make(first, bases["f32"], folder, None), folder / "plain")
        for case in cases():
            if args.only in case.name:
                cells, verdict = from_peft(case, bases["f32"], ours, pairs, file, plain["f32"], folder)
                table.add(f"PEFT to ours: {case.name}", verdict, case.expected, *cells)
        for on, base in bases.items():
            for name, settings in RUNS.items():
                if args.only in name:
                    cells, verdict = to_peft(name, settings, base, ours, pairs, plain[on], folder)
                    table.add(f"ours to PEFT: {name}, base {on}", verdict, "same", *cells)
    largest = max((float(row[2]) for row in table.rows if row[-1] == "same"), default=0.0)
    table.finish(args, ours, versions, f"The largest distance among the same is {sides.nats(largest)} nats. {NOTES}")


NOTES = (
    f"The base is a random Llama of two layers with grouped heads; the sums are those of {2 * sides.PAIRS} answers. `same`: within "
    f"{sides.TOLERANCE:g}, in nats or as a share of the sum. PEFT to ours: PEFT makes the adapter, its trainable weights are moved at random, and "
    "both score it as saved. Ours to PEFT: `train` makes it in four steps, `merge` merges it; compared are PEFT's sums with those of the run, "
    "transformers' sums of our merged folder, and its weights with PEFT's own (within 1e-6)."
)

if __name__ == "__main__":
    main()
