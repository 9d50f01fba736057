#!/usr/bin/env python3
"""Writes tests/data/peft_targets.json: which modules of a Llama PEFT adapts for a configuration, with the rank and the scale of each.

  pip install -r scripts/interop/requirements.txt
  python scripts/make_targets_golden.py

Each case has the fields of its configuration that differ from PEFT's defaults, and the adapted modules, layer and projection, as `[rank, scale]`; or
`refused` where PEFT raises an error. Where the order of a table counts, PEFT reads it in the order of its file, as the test does. `all`:
whether every name and pattern matches some module, which a configuration of ours must do.
"""

import json
import sys
import warnings
from pathlib import Path

import peft
import torch
from transformers import LlamaConfig, LlamaForCausalLM

OUTPUT = Path(__file__).resolve().parent.parent / "tests/data/peft_targets.json"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LAYERS = 12
SHAPE = dict(vocab_size=16, hidden_size=8, intermediate_size=12, num_hidden_layers=LAYERS, num_attention_heads=2, num_key_value_heads=1)
# As unsloth's `get_peft_regex` writes it for the language part of any model.
UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\.(?:(?:q_proj|k_proj|v_proj|o_proj|gate_proj)))"
)


def whole(names, layers=range(LAYERS)):
    """The whole names of these projections."""
    part = {name: "mlp" if name in ("gate_proj", "up_proj", "down_proj") else "self_attn" for name in ALL}
    return [f"model.layers.{layer}.{part[name]}.{name}" for layer in layers for name in names]


CASES = [
    dict(target_modules=["q_proj", "v_proj"]),
    dict(target_modules=ALL, use_rslora=True, r=4),
    dict(target_modules="all-linear"),
    dict(target_modules="All-Linear"),
    dict(target_modules="all-linear", exclude_modules=["lm_head", "layers.3.mlp.up_proj", "o_proj"]),
    dict(target_modules="all-linear", exclude_modules=r".*\.(1|3)\..*"),
    dict(target_modules=["self_attn.q_proj", "layers.2.mlp.down_proj"]),
    dict(target_modules=["model.layers.0.self_attn.q_proj", "v_proj"]),
    dict(target_modules=["0.self_attn.q_proj", "1.self_attn.q_proj"]),
    dict(target_modules=whole(["q_proj", "v_proj"])),
    dict(target_modules=whole(ALL, [1, 3])),
    dict(target_modules=["q_proj", "c_attn"]),
    dict(target_modules=["c_attn"]),
    dict(target_modules=["roj"]),
    dict(target_modules="q_proj"),
    dict(target_modules=r".*\.q_proj"),
    dict(target_modules=r".*q_proj|.*v_proj"),
    dict(target_modules=r"model\.layers\.[0-9]+\.self_attn\.(q_proj|v_proj)"),
    dict(target_modules=r"model\.layers\.[0-9]\.self_attn\.(q_proj|v_proj)"),
    dict(target_modules=r"model\.layers\.(?!1\.)\d+\.mlp\.(?P<which>gate|up)_proj"),
    dict(target_modules=r".*(?<!1)\.self_attn\.q_proj"),
    dict(target_modules=r"(?i).*\.Q_PROJ"),
    dict(target_modules=r".*\.(\d)\1\.self_attn\.[kq]_proj"),
    dict(target_modules=UNSLOTH),
    dict(target_modules=r".*self_attn"),
    dict(target_modules=r".*\.nothing"),
    dict(target_modules=r".*\.q_proj", exclude_modules=r".*\.q_proj"),
    dict(target_modules=["q_proj"], exclude_modules=["q_proj"]),
    dict(target_modules=["q_proj"], exclude_modules=["k_proj"]),
    dict(target_modules=["q_proj"], exclude_modules=["vision"]),
    dict(target_modules=["q_proj"], exclude_modules=["layers.1.self_attn.q_proj", "11.self_attn.q_proj"]),
    dict(target_modules=["q_proj", "up_proj"], layers_to_transform=[1, 3]),
    dict(target_modules=["q_proj", "up_proj"], layers_to_transform=2),
    dict(target_modules=["q_proj"], layers_to_transform=[0], layers_pattern="layers"),
    dict(target_modules=["q_proj"], layers_to_transform=[10, 1], layers_pattern=["h", "layers"]),
    dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern=["h"]),
    dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern=[r"model\.layers"]),
    dict(target_modules=["q_proj"], layers_to_transform=[40]),
    dict(target_modules=["q_proj"], layers_to_transform=[]),
    dict(target_modules=["model.layers.1.self_attn.q_proj"], layers_to_transform=[1]),
    dict(target_modules=r".*q_proj", layers_to_transform=[1]),
    dict(target_modules=["q_proj"], layers_pattern="layers"),
    dict(target_modules=ALL, rank_pattern={"q_proj": 2, "layers.0.mlp.up_proj": 3}, alpha_pattern={"q_proj": 7, "v_proj": 0.5}),
    dict(target_modules=ALL, use_rslora=True, rank_pattern={r"layers\.[13]\.self_attn\.\w+": 4}, alpha_pattern={"down_proj|up_proj": 3}),
    dict(target_modules=["q_proj"], rank_pattern={"model.layers.0.self_attn.q_proj": 5}, alpha_pattern={"^model.layers.0.self_attn.q_proj": 32}),
    dict(target_modules=["q_proj", "v_proj"], rank_pattern={"_proj": 2, "proj": 3, "q_proj": 5}),
    dict(target_modules=["q_proj"], rank_pattern={"q_proj": 2, r".*\.1\.self_attn\.q_proj": 9}),
    dict(target_modules=["q_proj"], rank_pattern={r".*\.1\.self_attn\.q_proj": 9, "q_proj": 2}),
    dict(target_modules=["q_proj"], rank_pattern={r"1\.self_attn\.q_proj": 9}),
    dict(target_modules=["q_proj"], alpha_pattern={"v_proj": 9}),
]


def adapted(fields):
    warned = []
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **fields))
        warned = [str(warning.message) for warning in caught]
    found = {}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            found[name.removeprefix("base_model.model.")] = [module.r["default"], module.scaling["default"]]
    return found, warned


def short(name):
    """`3.q_proj` of `model.layers.3.self_attn.q_proj`."""
    parts = name.split(".")
    return f"{parts[2]}.{parts[4]}"


def main():
    torch.manual_seed(1)
    cases = []
    for fields in CASES:
        case = {"config": fields}
        try:
            modules, warned = adapted(fields)
        except Exception as error:
            case["refused"] = f"{type(error).__name__}: {error}"[:120]
        else:
            names = fields["target_modules"]
            idle = isinstance(names, list) and any(not any(m == n or m.endswith(f".{n}") for m in modules) for n in names)
            case["modules"] = {short(name): value for name, value in modules.items()}
            case["all"] = not (idle or any("not match any" in w or "no modules were excluded" in w for w in warned))
        cases.append(case)
        print(json.dumps(fields)[:100], len(case.get("modules", ())), case.get("refused"), case.get("all"), file=sys.stderr)
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    OUTPUT.write_text(f'{{"peft":"{peft.__version__}","layers":{LAYERS},"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
