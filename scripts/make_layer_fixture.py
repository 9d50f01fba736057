#!/usr/bin/env python3
"""Writes tests/data/golden/layer.safetensors: one decoder layer of the specification in float64, its output and its gradients.

  python scripts/make_layer_fixture.py --specification packed_dpo.py

packed_dpo.py is the engine as an executable specification in NumPy. Its layer runs on the golden models and adapters in
tests/data/golden, on a pack of three pairs with a seeded input and output gradient. Needs numpy and safetensors.

Each case has the ids of the pairs (`prompt.0`, `chosen.0`, ...); `x`, `dy`: input and output gradient, [tokens, hidden]; `y`: output;
`dx` and `q_proj.A`, `q_proj.B`, ...: gradients; and under `kept.` the same with a `dy` that reaches only the rows that predict
something, as in the last layer.
"""
import argparse
import importlib.util
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

GOLDEN = Path(__file__).resolve().parent.parent / "tests/data/golden"
CASES = {"tiny-gqa": ("tiny-gqa", 0), "tiny-alllinear": ("tiny", 1)}
LENGTHS = [(5, 3, 4), (1, 2, 1), (9, 4, 6)]


def of_case(spec, name, model, layer):
    rng = np.random.default_rng(12)
    llama = spec.Llama(GOLDEN / "models" / model)
    adapter, scale = spec.load_adapter(GOLDEN / "adapters" / f"{name}-nonzero")
    pairs = [tuple(rng.integers(3, 500, n).tolist() for n in lengths) for lengths in LENGTHS]
    pack = spec.pack(pairs)
    tokens, hidden = len(pack["ids"]), llama.c["hidden_size"]
    x, dy = rng.normal(size=(tokens, hidden)), rng.normal(size=(tokens, hidden))
    only = np.zeros_like(dy)
    only[np.unique(pack["rows"])] = dy[np.unique(pack["rows"])]

    # The specification runs whole models: here one of this layer alone. Its embedding is the input, and its final norm is undone.
    prefix = f"model.layers.{layer}."
    alone = {f"model.layers.0.{k[len(prefix):]}": w for k, w in llama.w.items() if k.startswith(prefix)}
    llama.w = {**alone, "model.norm.weight": np.ones(hidden), "model.embed_tokens.weight": x}
    llama.c = {**llama.c, "num_hidden_layers": 1}
    adapter = {(0, p): ab for (i, p), ab in adapter.items() if i == layer}
    _, kept = llama.forward({**pack, "ids": np.arange(tokens)}, adapter, scale)

    out = {"x": x, "dy": dy, "y": kept["x"]}
    for i, pair in enumerate(pairs):
        out |= {f"{part}.{i}": np.array(ids, dtype=np.uint32) for part, ids in zip(("prompt", "chosen", "rejected"), pair)}
    for prefix, gradient in (("", dy), ("kept.", only)):
        # A final norm with inv = 1 and a zero stream, which cancels its mean term, passes the gradient on unchanged.
        straight = {**kept, "x": np.zeros_like(x), "inv": np.ones((tokens, 1))}
        seen = []
        inner = spec.rms_norm_backward
        spec.rms_norm_backward = lambda *a: seen.append(inner(*a)) or seen[-1]
        grads = llama.backward(gradient, straight, adapter, scale)
        spec.rms_norm_backward = inner
        # The norms' backward passes in order: final, after the attention, input. dx = dh + the last; dh = dy + the one before.
        out[f"{prefix}dx"] = gradient + seen[1] + seen[2]
        for (_, projection), (da, db) in grads.items():
            out |= {f"{prefix}{projection}.A": da, f"{prefix}{projection}.B": db}
    return {f"{name}.{key}": np.ascontiguousarray(value) for key, value in out.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--specification", required=True, type=Path)
    path = parser.parse_args().specification
    loader = importlib.util.spec_from_file_location("specification", path)
    spec = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(spec)
    tensors = {}
    for name, (model, layer) in CASES.items():
        tensors |= of_case(spec, name, model, layer)
    save_file(tensors, GOLDEN / "layer.safetensors")


main()
