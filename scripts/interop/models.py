#!/usr/bin/env python3
"""Makes tiny random checkpoints of many configurations, scores the same pairs with transformers and with ours, and compares the sums.

  pip install -r scripts/interop/requirements.txt
  cargo build --release
  python scripts/interop/models.py [--bin target/release] [--output FILE.md] [--only NAME]

The interpreter needs the versions of requirements.txt, and the script stops on others. Each case is one checkpoint: a configuration of
transformers with random weights of a seed, and changes of its config.json or its files, as older versions and other programs write
them. `same`: every summed log-probability is within 3e-5, in nats or as a share of the sum, with as many scored tokens. `refused`: ours
ends with exit status 2 and a message. `lenient`: ours computes what transformers refuses. Anything else is `WRONG`. The script exits with 1
where a case has another verdict than is stated for it.
"""

import json
import shutil
import tempfile
from pathlib import Path

import sides

SHAPE = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4)
FIRST = 128  # tokens of the first context, where a kind of RoPE has one
VOCAB = dict(vocab_size=512, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2, pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
DYNAMIC = dict(rope_type="dynamic", factor=2.0)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=FIRST)
SHORT, LONG = [1.0 + 0.1 * i for i in range(8)], [2.0 + 0.3 * i for i in range(8)]
LONGROPE = dict(rope_type="longrope", factor=4.0, short_factor=SHORT, long_factor=LONG, original_max_position_embeddings=FIRST)
DEFAULT = dict(rope_type="default", rope_theta=500000.0)
LINEAR = dict(rope_type="linear", factor=4.0)
REMOVED = object()


class Case:
    """A checkpoint. `shape`: of the configuration's class; `config`: changes of config.json after it is saved; `files`: a change of the
    folder; `dtype`: of the stored weights; `shard`: the largest file; `part`: whether the peer turns a part of each head as its Phi-3 does,
    since its Llama fails on the shapes."""

    def __init__(self, name, expected="same", kind="Llama", shape=None, config=None, files=None, dtype="float32", shard="5GB", part=False):
        self.part = part
        self.name, self.expected, self.kind = name, expected, kind
        self.shape, self.config, self.files = shape or {}, config or {}, files
        self.dtype, self.shard = dtype, shard


def old_rope(scaling=None, **more):
    """RoPE as config.json had it before transformers 5."""
    return dict(rope_parameters=REMOVED, rope_scaling=scaling, **more)


def change_tensors(change):
    """A change of the checkpoint's tensors, in its one file."""

    def files(folder):
        from safetensors.torch import load_file, save_file

        path = folder / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})

    return files


def random_tensor(like, seed):
    import torch

    return (torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)) * 0.12).to(like.dtype)


def another_head(tensors):
    tensors["lm_head.weight"] = random_tensor(tensors["model.embed_tokens.weight"], 77)


def equal_head(tensors):
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()


def rotary_buffers(tensors):
    import torch

    for layer in range(2):
        tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(8)


def third_layer(tensors):
    tensors.update(
        {name.replace("layers.1.", "layers.2."): random_tensor(tensor, 78) for name, tensor in list(tensors.items()) if "layers.1." in name}
    )


def biases(tensors):
    import torch

    for layer in range(2):
        tensors[f"model.layers.{layer}.self_attn.q_proj.bias"] = torch.ones(64)


def without_prefix(tensors):
    for name in list(tensors):
        tensors[name.removeprefix("model.")] = tensors.pop(name)


def as_inner_model(tensors):
    """As `LlamaModel.save_pretrained` writes it."""
    tensors.pop("lm_head.weight", None)
    without_prefix(tensors)


def half_without_prefix(tensors):
    for name in list(tensors):
        if "layers.0." in name:
            tensors[name.removeprefix("model.")] = tensors.pop(name)


def without_index(folder):
    (folder / "model.safetensors.index.json").unlink()


def without_index_and_a_shard(folder):
    without_index(folder)
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def half_in_bf16(tensors):
    import torch

    for name in tensors:
        if "layers.0." in name:
            tensors[name] = tensors[name].to(torch.bfloat16)


def as_pickle(folder):
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cases():
    yield Case("plain")
    yield Case("GQA, 2 of 4", shape=dict(num_key_value_heads=2))
    yield Case("MQA", shape=dict(num_key_value_heads=1))
    yield Case("MQA, head_dim 32", shape=dict(num_key_value_heads=1, head_dim=32))
    yield Case(
        "head_dim 20, hidden 72 with 6 heads and 3 of keys", shape=dict(hidden_size=72, num_attention_heads=6, num_key_value_heads=3, head_dim=20)
    )
    yield Case("head_dim null", config=dict(head_dim=None))
    yield Case("num_key_value_heads null", config=dict(num_key_value_heads=None))
    yield Case("num_key_value_heads missing", config=dict(num_key_value_heads=REMOVED))
    yield Case("odd widths", shape=dict(intermediate_size=97, hidden_size=66, num_attention_heads=3, num_key_value_heads=3))
    yield Case("hidden 128, one layer, GQA", shape=dict(hidden_size=128, num_hidden_layers=1, num_key_value_heads=2))
    yield Case("embedding beyond the tokenizer", shape=dict(vocab_size=576))
    yield Case("context shorter than the texts", shape=dict(max_position_embeddings=32))
    # The output layer.
    yield Case("tied", shape=dict(tie_word_embeddings=True))
    yield Case("tied, an equal head in the file", shape=dict(tie_word_embeddings=True), files=change_tensors(equal_head))
    yield Case("tied, another head in the file", "refused", shape=dict(tie_word_embeddings=True), files=change_tensors(another_head))
    yield Case("tie_word_embeddings missing", config=dict(tie_word_embeddings=REMOVED))
    yield Case("untied, no head in the file", "refused", files=change_tensors(lambda tensors: tensors.pop("lm_head.weight")))
    # RoPE.
    yield Case("rope_theta 500000, old form", config=old_rope(rope_theta=500000.0))
    yield Case("rope_theta 1000000 as an integer, old form", config=old_rope(rope_theta=1000000))
    yield Case("no RoPE field", config=old_rope())
    yield Case("rope_parameters default, base 500000", shape=dict(rope_parameters=DEFAULT))
    yield Case("rope_parameters without a base, rope_theta beside", config=dict(rope_parameters=dict(rope_type="default"), rope_theta=500000.0))
    yield Case("rope_parameters with a base, another rope_theta beside", config=dict(rope_parameters=DEFAULT, rope_theta=3000.0))
    yield Case("rope_parameters empty, rope_theta beside", config=dict(rope_parameters={}, rope_theta=500000.0))
    yield Case("linear, old form with `type`", config=old_rope(dict(type="linear", factor=4.0)))
    yield Case("linear, old form with both `type` and `rope_type`", config=old_rope(dict(LINEAR, type="linear"), rope_theta=500000.0))
    yield Case("linear, rope_parameters", shape=dict(rope_parameters=dict(LINEAR, rope_theta=10000.0)))
    yield Case("dynamic, all texts in the context", config=old_rope(DYNAMIC))
    yield Case("dynamic, texts on both sides", config=dict(old_rope(DYNAMIC), max_position_embeddings=FIRST))
    yield Case("dynamic, old form with `type`, base 500000", config=old_rope(dict(type="dynamic", factor=4.0), rope_theta=500000.0, max_position_embeddings=FIRST))
    yield Case("dynamic, rope_parameters", shape=dict(rope_parameters=dict(DYNAMIC, rope_theta=20000.0), max_position_embeddings=FIRST))
    yield Case("dynamic, GQA", shape=dict(num_key_value_heads=2), config=dict(old_rope(DYNAMIC), max_position_embeddings=FIRST))
    yield Case("dynamic without a factor", "refused", config=old_rope(dict(rope_type="dynamic")))
    yield Case("llama3, old form", config=old_rope(dict(LLAMA3, original_max_position_embeddings=64), rope_theta=500000.0))
    yield Case("llama3, rope_parameters", shape=dict(rope_parameters=dict(LLAMA3, original_max_position_embeddings=64, rope_theta=500000.0)))
    yield Case(
        "llama3, its first context beside and inside",
        config=dict(old_rope(dict(LLAMA3, original_max_position_embeddings=512)), original_max_position_embeddings=64),
    )
    yield Case("llama3 without its first context", config=old_rope(LLAMA3))
    yield Case("llama3 without `rope_type`", config=old_rope(dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)))
    yield Case("llama3 without a factor", "refused", config=old_rope(dict(rope_type="llama3", low_freq_factor=1.0, high_freq_factor=4.0)))
    yield Case("yarn", config=old_rope(YARN))
    yield Case("yarn, rope_parameters", shape=dict(rope_parameters=dict(YARN, rope_theta=500000.0)))
    yield Case("yarn as its authors write it", config=old_rope(dict(type="yarn", factor=16.0, original_max_position_embeddings=FIRST, finetuned=True)))
    yield Case("yarn, not fine-tuned", "refused", config=old_rope(dict(YARN, finetuned=False)))
    yield Case("yarn, beta_fast 8 and beta_slow 2", config=old_rope(dict(YARN, beta_fast=8, beta_slow=2)))
    yield Case("yarn, truncate false", config=old_rope(dict(YARN, truncate=False)))
    yield Case("yarn, attention_factor 1.5", config=old_rope(dict(YARN, attention_factor=1.5)))
    yield Case("yarn, mscale and mscale_all_dim", config=old_rope(dict(YARN, mscale=0.7, mscale_all_dim=1.3)))
    yield Case("yarn, mscale alone", config=old_rope(dict(YARN, mscale=0.7)))
    yield Case("yarn, factor null", config=old_rope(dict(YARN, factor=None)))
    yield Case("yarn, factor 0.5", config=old_rope(dict(YARN, factor=0.5)))
    yield Case("yarn without a factor", "refused", config=old_rope(dict(rope_type="yarn", original_max_position_embeddings=FIRST)))
    yield Case("yarn without its first context", config=old_rope(dict(rope_type="yarn", factor=4.0), max_position_embeddings=FIRST))
    yield Case("yarn, its first context beside and inside", config=dict(old_rope(dict(YARN, original_max_position_embeddings=512)), original_max_position_embeddings=FIRST))
    yield Case("yarn, head_dim 20", shape=dict(head_dim=20), config=old_rope(YARN))
    yield Case("longrope, texts on both sides", config=old_rope(LONGROPE))
    yield Case("longrope, all texts short", config=old_rope(dict(LONGROPE, original_max_position_embeddings=2048)))
    yield Case("longrope, rope_parameters", shape=dict(rope_parameters=dict(LONGROPE, rope_theta=500000.0)))
    yield Case("longrope without a factor", config=old_rope({key: value for key, value in LONGROPE.items() if key != "factor"}))
    yield Case("longrope, its first context beside", config=dict(old_rope(dict(LONGROPE, original_max_position_embeddings=512)), original_max_position_embeddings=FIRST))
    yield Case("longrope, attention_factor 0.9", config=old_rope(dict(LONGROPE, attention_factor=0.9)))
    yield Case("longrope, a list too short", "refused", config=old_rope(dict(LONGROPE, long_factor=LONG[:7])))
    yield Case("longrope without long_factor", "refused", config=old_rope(dict(LONGROPE, long_factor=None)))
    yield Case("longrope with a field of Phi-3.5-MoE", "refused", config=old_rope(dict(LONGROPE, short_mscale=1.2)))
    yield Case("proportional", "refused", config=old_rope(dict(rope_type="proportional", factor=2.0)))
    yield Case("rope_scaling beside rope_parameters", config=dict(rope_parameters=DEFAULT, rope_scaling=LINEAR))
    yield Case("rope_scaling with a base of its own", config=old_rope(dict(LINEAR, rope_theta=500000.0), rope_theta=20000.0))
    yield Case("rope_scaling empty beside rope_parameters", config=dict(rope_parameters=DEFAULT, rope_scaling={}))
    yield Case("linear with `type` default", config=old_rope(dict(LINEAR, type="default")))
    yield Case("linear, factor 0.5", config=old_rope(dict(LINEAR, factor=0.5)))
    yield Case("llama3 with equal limits", "refused", config=old_rope(dict(LLAMA3, low_freq_factor=4.0)))
    yield Case("an unknown kind", "refused", config=old_rope(dict(type="su", factor=2.0)))
    yield Case("rope_theta null", "lenient", config=old_rope(rope_theta=None))
    yield Case("rope_scaling `default` with a factor", config=old_rope(dict(rope_type="default", factor=8.0)))
    yield Case("partial_rotary_factor 0.5", config=dict(partial_rotary_factor=0.5))
    yield Case("partial_rotary_factor 0.5 inside", shape=dict(rope_parameters=dict(DEFAULT, partial_rotary_factor=0.5)))
    yield Case("partial_rotary_factor 0.5, linear, Llama as it is", "lenient", config=dict(old_rope(LINEAR), partial_rotary_factor=0.5))
    for name, rope in (("linear", LINEAR), ("dynamic", DYNAMIC), ("yarn", YARN), ("llama3", dict(LLAMA3, original_max_position_embeddings=64))):
        config = dict(old_rope(rope), partial_rotary_factor=0.5, max_position_embeddings=FIRST)
        yield Case(f"partial_rotary_factor 0.5, {name}, as Phi-3 turns it", config=config, part=True)
    rope = dict(LONGROPE, short_factor=SHORT[:6], long_factor=LONG[:6], partial_rotary_factor=0.75)
    yield Case("partial_rotary_factor 0.75 inside, longrope, as Phi-3 turns it", config=old_rope(rope), part=True)
    yield Case("partial_rotary_factor 0.5, linear, GQA, as Phi-3 turns it", shape=dict(num_key_value_heads=2), config=dict(old_rope(LINEAR), partial_rotary_factor=0.5), part=True)
    yield Case("partial_rotary_factor 1.5", "refused", config=dict(partial_rotary_factor=1.5))
    yield Case("rope_parameters for each kind of layer", "refused", config=dict(rope_parameters=dict(full_attention=DEFAULT)))
    # Norms, biases, activation, attention.
    yield Case("rms_norm_eps 1e-2", shape=dict(rms_norm_eps=1e-2))
    yield Case("rms_norm_eps missing", config=dict(rms_norm_eps=REMOVED))
    yield Case("rms_norm_eps 0", "refused", config=dict(rms_norm_eps=0.0))
    yield Case("attention_bias", shape=dict(attention_bias=True))
    yield Case("attention_bias, GQA, yarn", shape=dict(attention_bias=True, num_key_value_heads=2), config=old_rope(YARN))
    yield Case("mlp_bias", shape=dict(mlp_bias=True))
    yield Case("attention_bias and mlp_bias, tied, bf16", shape=dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True), dtype="bfloat16")
    yield Case("attention_bias, no biases in the file", "refused", config=dict(attention_bias=True))
    yield Case("hidden_act swish", config=dict(hidden_act="swish"))
    yield Case("hidden_act gelu", "refused", shape=dict(hidden_act="gelu"))
    yield Case("attention_dropout 0.1", shape=dict(attention_dropout=0.1))
    yield Case("sliding_window 16", "refused", config=dict(sliding_window=16))
    yield Case("layer_types full_attention", config=dict(layer_types=["full_attention"] * 2))
    yield Case("layer_types sliding_attention", "refused", config=dict(layer_types=["sliding_attention"] * 2))
    yield Case("is_causal false", "refused", config=dict(is_causal=False))
    yield Case("is_causal true", config=dict(is_causal=True))
    # Fields without effect, and unknown ones.
    yield Case("pretraining_tp 2", shape=dict(pretraining_tp=2))
    yield Case("several end tokens", config=dict(eos_token_id=[2, 3]))
    yield Case("tie_word_embeddings null", "lenient", config=dict(tie_word_embeddings=None))
    yield Case("use_bidirectional_attention", "refused", config=dict(use_bidirectional_attention=True))
    yield Case("an unknown field that is set", "refused", config=dict(residual_multiplier=0.5))
    yield Case("an unknown field that is false", config=dict(use_residual_gate=False))
    yield Case("model_type missing", "refused", config=dict(model_type=REMOVED))
    yield Case("quantization_config", "refused", config=dict(quantization_config=dict(quant_method="bitsandbytes", load_in_4bit=True)))
    # Files.
    yield Case("f16 file", dtype="float16")
    yield Case("bf16 file", dtype="bfloat16")
    yield Case("f32 and bf16 in one file", files=change_tensors(half_in_bf16))
    yield Case("bf16 file, torch_dtype float16", dtype="bfloat16", config=dict(dtype=REMOVED, torch_dtype="float16"))
    yield Case("several shards, tied, GQA", shape=dict(tie_word_embeddings=True, num_key_value_heads=2), shard="60KB")
    yield Case("old buffers rotary_emb.inv_freq in the file", files=change_tensors(rotary_buffers))
    yield Case("biases in the file, attention_bias false", "refused", files=change_tensors(biases))
    yield Case("a layer more in config.json", "refused", config=dict(num_hidden_layers=3))
    yield Case("vocab_size above the embedding's rows", "refused", config=dict(vocab_size=600))
    yield Case("f64 file", dtype="float64")
    yield Case("several shards without their index", "lenient", shard="60KB", files=without_index)
    yield Case("shards without their index and without the second", "refused", shard="60KB", files=without_index_and_a_shard)
    yield Case("a layer more in the file", "refused", files=change_tensors(third_layer))
    yield Case("names without `model.`", files=change_tensors(without_prefix))
    yield Case("names without `model.`, biases", shape=dict(attention_bias=True), files=change_tensors(without_prefix))
    yield Case("names of LlamaModel, tied", shape=dict(tie_word_embeddings=True), files=change_tensors(as_inner_model))
    yield Case("names of LlamaModel, not tied", "refused", files=change_tensors(as_inner_model))
    yield Case("names without `model.` in one layer", "refused", files=change_tensors(half_without_prefix))
    yield Case("pytorch_model.bin alone", "refused", files=as_pickle)
    # Other families.
    for kind in ("Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2", "Phi3", "Olmo2", "Granite", "Cohere", "SmolLM3", "Arcee"):
        yield Case(f"{kind}", "refused", kind=kind, shape=dict(head_dim=16) if kind in ("Gemma", "Gemma2", "Qwen3") else {})
    yield Case("Mistral's configuration as `llama`, window null", kind="Mistral", shape=dict(sliding_window=None), config=dict(model_type="llama"))
    yield Case("Mistral's configuration as `llama`", "refused", kind="Mistral", shape=dict(sliding_window=16), config=dict(model_type="llama"))
    yield Case("Qwen2's configuration as `llama`", "refused", kind="Qwen2", config=dict(model_type="llama"))


def long_pair():
    """A pair whose prompt takes most of the context, since an error of RoPE grows with the position."""
    prompt = " ".join(pair["prompt"] + pair["chosen"] for pair in sides.texts() * 2)
    return {"id": "long", "prompt": prompt, "chosen": "Yes, at the end.", "rejected": "No."}


def across_pair(tokenizer):
    """A pair whose answers end on both sides of the first context."""
    prompt = ""
    for word in long_pair()["prompt"].split():
        if len(tokenizer(prompt + " " + word)["input_ids"]) > FIRST - 20:
            break
        prompt = (prompt + " " + word).strip()
    return {"id": "across", "prompt": prompt, "chosen": " Eight minutes in boiling water, then cold water at once.", "rejected": " No."}


def renewed(model):
    """A rotary embedding that has seen nothing: `dynamic` keeps the angles of the longest sequence so far."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    if isinstance(getattr(getattr(model, "model", None), "rotary_emb", None), LlamaRotaryEmbedding):
        model.model.rotary_emb = LlamaRotaryEmbedding(model.config)


def make(case, folder):
    """Writes the checkpoint of a case."""
    import torch
    import transformers

    config = getattr(transformers, f"{case.kind}Config")(**{**SHAPE, **VOCAB, **case.shape})
    model = getattr(transformers, f"{case.kind}ForCausalLM")(config)
    sides.randomise(model, seed=5)
    model.to(getattr(torch, case.dtype)).save_pretrained(folder, max_shard_size=case.shard)
    sides.add_tokenizer(folder)
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    for name, value in case.config.items():
        fields.pop(name, None)
        if value is not REMOVED:
            fields[name] = value
    path.write_text(json.dumps(fields, indent=1))
    if case.files:
        case.files(folder)


def theirs(case, folder, pairs):
    """The sums of transformers, or why it has none."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.models.llama import modeling_llama
    from transformers.models.phi3 import modeling_phi3

    whole = modeling_llama.apply_rotary_pos_emb
    try:
        if case.part:
            modeling_llama.apply_rotary_pos_emb = modeling_phi3.apply_rotary_pos_emb
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return sides.peer_scores(model, [sides.token_ids(tokenizer, pair) for pair in pairs], renewed), ""
    except Exception as error:  # Any refusal of the peer is a cell of the table.
        return None, f"{type(error).__name__}: {error}"
    finally:
        modeling_llama.apply_rotary_pos_emb = whole


def judge(case, ours, pairs, file, plain, folder):
    """The cells of a case: what the setting does to the peer's sums, how far ours are, and the verdict."""
    checkpoint = folder / "model"
    shutil.rmtree(checkpoint, ignore_errors=True)
    make(case, checkpoint)
    peer, why = theirs(case, checkpoint, pairs)
    moved = sides.nats(max(abs(a - b) for p, q in zip(peer, plain) for a, b in zip(p[:2], q[:2]))) if peer and plain else "-"
    try:
        mine = ours.scores(checkpoint, file)
    except sides.Refused as refused:
        message = sides.shortened(refused, folder)
        said = sides.shortened(why, folder) if why else moved
        return peer, (said, "-", message), "refused" if refused.is_clear else "WRONG"
    if peer is None:
        return peer, (sides.shortened(why, folder), "-", "computes"), "lenient"
    worst, same = sides.distance(mine, peer)
    return peer, (moved, sides.nats(worst), ""), "same" if same else "WRONG"


def main():
    args = sides.arguments(__doc__).parse_args()
    versions = sides.check_versions()
    table = sides.Table(
        "Checkpoints beside transformers", ["the setting moves transformers' sums by, nats", "largest distance, nats", "message of ours"], "models.py"
    )
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours = sides.Ours(args.bin, folder)
        sides.add_tokenizer(folder)
        from transformers import AutoTokenizer, LlamaConfig

        LlamaConfig(**{**SHAPE, **VOCAB}).save_pretrained(folder)
        pairs = [*sides.texts(), long_pair(), across_pair(AutoTokenizer.from_pretrained(folder))]
        file = sides.write_pairs(folder / "pairs.jsonl", pairs)
        plain = None
        for case in cases():
            if args.only not in case.name and case.name != "plain":
                continue
            peer, cells, verdict = judge(case, ours, pairs, file, plain, folder)
            plain = plain or peer
            table.add(case.name, verdict, case.expected, *cells)
    largest = max((float(row[2]) for row in table.rows if row[-1] == "same"), default=0.0)
    table.finish(args, ours, versions, f"The largest distance among the same is {sides.nats(largest)} nats. {NOTES}")


NOTES = (
    "Each case is a random Llama of two layers, saved by transformers, its config.json or files changed as the name says; the sums are those of "
    f"{2 * sides.PAIRS + 4} answers, two of them to a prompt of about 1,600 tokens, and two that end on both sides of {FIRST} tokens. `same`: within {sides.TOLERANCE:g}, in nats or as a share of the sum. `lenient`: ours computes what transformers "
    "refuses. The first column is the distance of transformers' sums from those of the case `plain`, since a setting that moves nothing proves "
    "nothing; where it has a message, transformers refuses the checkpoint."
)

if __name__ == "__main__":
    main()
