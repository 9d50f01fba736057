#!/usr/bin/env python3
"""Writes tests/data/golden/rope.json: what transformers computes with each kind of RoPE, with biases and with heads of which a part turns.

  pip install -r scripts/interop/requirements.txt
  python scripts/interop/rope_golden.py

Each case is tests/data/golden/models/tiny with changes of its config.json, and with the biases of `bias` where it asks for them. It has
the inverse frequencies that transformers' own rotary embedding has for sequences of `lengths` tokens and its factor on cosines and sines;
the log-probability of every fifth token of two sequences of `ids`, 24 and 90 tokens; and the tokens of `generate` after 28 and 50 of them.
Weights and products are float64, angles float32 as in transformers. `dynamic` keeps the angles of the longest sequence so far, so every
sequence begins with a new rotary embedding here.
"""

import json
import logging
import math
import re

import sides

CONTEXT = 32  # of the cases, beyond which the angles change
LENGTHS = [1, CONTEXT, CONTEXT + 1, 90]
SHORT, LONG = [1.0 + 0.1 * i for i in range(8)], [2.0 + 0.3 * i for i in range(8)]
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=CONTEXT)
LONGROPE = dict(rope_type="longrope", short_factor=SHORT, long_factor=LONG, original_max_position_embeddings=CONTEXT)


def parameters(**fields):
    return dict(rope_parameters=fields)


CASES = {
    "default": {},
    "linear": dict(rope_scaling=dict(type="linear", factor=4.0)),
    "llama3": parameters(**LLAMA3, original_max_position_embeddings=CONTEXT, rope_theta=500000.0),
    "llama3 without its first context": dict(rope_scaling=LLAMA3, max_position_embeddings=CONTEXT),
    "dynamic": dict(rope_scaling=dict(type="dynamic", factor=2.0), max_position_embeddings=CONTEXT),
    "dynamic, a base of 500000": parameters(rope_type="dynamic", factor=4.0, rope_theta=500000.0) | dict(max_position_embeddings=CONTEXT),
    "yarn": dict(rope_scaling=YARN),
    "yarn, its authors' fields": dict(rope_scaling=dict(type="yarn", factor=16.0, original_max_position_embeddings=CONTEXT, finetuned=True)),
    "yarn with every field": parameters(**YARN, beta_fast=8.0, beta_slow=2.0, truncate=False, attention_factor=1.1, rope_theta=20000.0),
    "yarn, mscale": parameters(**YARN, mscale=0.7, mscale_all_dim=1.3, rope_theta=10000.0),
    "yarn, factor null": dict(rope_scaling=YARN | dict(factor=None), max_position_embeddings=8 * CONTEXT),
    "yarn without its first context": dict(rope_scaling=dict(type="yarn", factor=4.0), max_position_embeddings=CONTEXT),
    "longrope": dict(rope_scaling=LONGROPE | dict(factor=4.0)),
    "longrope, first context beside": dict(rope_scaling=LONGROPE | dict(original_max_position_embeddings=7), original_max_position_embeddings=CONTEXT),
    "longrope, attention_factor": parameters(**LONGROPE, attention_factor=0.9, rope_theta=10000.0),
    "partial, default": dict(partial_rotary_factor=0.5),
    "partial, linear": dict(partial_rotary_factor=0.5, rope_scaling=dict(type="linear", factor=1.0)),
    "partial, yarn": parameters(**YARN, partial_rotary_factor=0.25, rope_theta=10000.0),
    "partial, dynamic": dict(
        partial_rotary_factor=0.75, rope_scaling=dict(type="dynamic", factor=2.0), max_position_embeddings=CONTEXT
    ),
    "attention_bias": dict(attention_bias=True),
    "mlp_bias": dict(mlp_bias=True),
    "both, yarn, swish": dict(attention_bias=True, mlp_bias=True, rope_scaling=YARN, hidden_act="swish"),
}
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def ids(count):
    return [1] + [3 + (i * i * 7 + 11 * i) % 500 for i in range(count - 1)]


def bias(layer, projection, out):
    """Numbers that the test makes too."""
    return [0.2 * math.sin(1 + i + 7 * layer + 31 * projection) for i in range(out)]


def load(config):
    """The golden model with another configuration, in float64."""
    import torch
    from safetensors.torch import load_file
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(config).double().eval()
    tensors = {name: tensor.double() for name, tensor in load_file(sides.GOLDEN / "models/tiny/model.safetensors").items()}
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            _, _, layer, _, projection, _ = name.split(".")
            tensors[name] = torch.tensor(bias(int(layer), PROJECTIONS.index(projection), len(parameter)), dtype=torch.float64)
    model.load_state_dict(tensors)
    return model


def renew(model):
    """As if the model had seen nothing."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    model.model.rotary_emb = LlamaRotaryEmbedding(model.config)


def of_case(changes):
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama import modeling_llama
    from transformers.models.phi3 import modeling_phi3

    fields = json.loads((sides.GOLDEN / "models/tiny/config.json").read_text()) | json.loads(json.dumps(changes))
    config = LlamaConfig.from_dict(fields)
    model = load(config)
    # Where a part of each head turns, the rotation is Phi-3's, which is Llama's but for the rest of the head.
    whole, factor = modeling_llama.apply_rotary_pos_emb, config.rope_parameters.get("partial_rotary_factor", 1.0)
    if factor < 1.0 and config.rope_parameters["rope_type"] != "default":
        modeling_llama.apply_rotary_pos_emb = modeling_phi3.apply_rotary_pos_emb
    frequencies, logps, generated = [], [], []
    with torch.no_grad():
        for length in LENGTHS:
            renew(model)
            model.model.rotary_emb(torch.zeros(1, dtype=torch.float64), torch.arange(length)[None])
            frequencies.append([float(f"{f:.7e}") for f in model.model.rotary_emb.inv_freq.tolist()])
        attention_factor = float(model.model.rotary_emb.attention_scaling)
        for count in (24, 90):
            renew(model)
            sequence = torch.tensor([ids(count)])
            of_all = model(input_ids=sequence, use_cache=False).logits[0].log_softmax(-1)
            logps.append([round(of_all[i - 1, sequence[0, i]].item(), 7) for i in range(1, count, 5)])
        for count in (28, 50):
            renew(model)
            prompt = torch.tensor([ids(count)])
            whole_text = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=12, eos_token_id=None, pad_token_id=0
            )
            generated.append(whole_text[0, count:].tolist())
    modeling_llama.apply_rotary_pos_emb = whole
    return dict(
        config=changes, inverse_frequencies=frequencies, attention_factor=attention_factor, logps=logps, generated=generated
    )


def main():
    sides.check_versions()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    cases = {name: of_case(changes) for name, changes in CASES.items()}
    golden = dict(lengths=LENGTHS, short=ids(24), long=ids(90), prompts=[28, 50], cases=cases)
    text = json.dumps(golden, indent=1)
    # Lists of numbers on one line.
    text = re.sub(r"\[([-\d.,e+\s]*)\]", lambda found: "[" + ", ".join(found[1].replace(",", " ").split()) + "]", text)
    (sides.GOLDEN / "rope.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
