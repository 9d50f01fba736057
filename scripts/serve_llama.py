#!/usr/bin/env python3
"""Serves a small Llama with llama.cpp's own server, which speaks OpenAI's chat completions: the real endpoint of the tests.

    python3 scripts/serve_llama.py configs/tiny/model [PORT]

Converts the folder (config.json, tokenizer.json, model.safetensors) to GGUF, prints the base URL once the server answers, and ends
when its standard input is closed. Needs xllamacpp==2026.10.11549 gguf==0.19.0 safetensors==0.8.0 numpy==2.4.6.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import gguf
import xllamacpp
from safetensors.numpy import load_file

# The texts of the messages, a blank line between two and a line break at the end, as `mvpbench generate` gives them to a model that
# has no template.
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% if not loop.last %}{{ '\\n\\n' }}{% endif %}{% endfor %}{{ '\\n' }}"


def convert(folder: Path, path: Path) -> None:
    """Writes the model in `folder` to the GGUF file `path`, in f32."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())["model"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head = config["hidden_size"] // heads
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(folder.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])

    vocabulary = sorted(tokenizer["vocab"].items(), key=lambda entry: entry[1])
    merges = [m.split(" ") if isinstance(m, str) else m for m in tokenizer["merges"]]
    # llama.cpp merges the pair of the highest score first.
    score = {"".join(merge): -float(rank) for rank, merge in enumerate(merges)}
    types = {"<unk>": gguf.TokenType.UNKNOWN, "<s>": gguf.TokenType.CONTROL, "</s>": gguf.TokenType.CONTROL}

    def kind(piece: str) -> int:
        is_byte = len(piece) == 6 and piece.startswith("<0x")
        return types.get(piece, gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL)

    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece.encode() for piece, _ in vocabulary])
    writer.add_token_scores([score.get(piece, -1e6) for piece, _ in vocabulary])
    writer.add_token_types([kind(piece) for piece, _ in vocabulary])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_chat_template(TEMPLATE)

    def paired(weight, count):
        """Rows in the order of llama.cpp's rotary embedding, which turns neighbours; Hugging Face turns halves."""
        rows = weight.reshape(count, 2, weight.shape[0] // count // 2, *weight.shape[1:])
        return rows.swapaxes(1, 2).reshape(weight.shape)

    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    weights = {name: weight.astype("float32") for name, weight in load_file(folder / "model.safetensors").items()}
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"])
    if not config.get("tie_word_embeddings") and "lm_head.weight" in weights:
        writer.add_tensor("output.weight", weights["lm_head.weight"])
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours in names.items():
            weight = weights[f"model.layers.{layer}.{theirs}.weight"]
            if ours == "attn_q":
                weight = paired(weight, heads)
            if ours == "attn_k":
                weight = paired(weight, kv_heads)
            writer.add_tensor(f"blk.{layer}.{ours}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model.gguf"
        convert(folder, path)
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
        parameters.n_ctx = 4 * 1024
        parameters.n_parallel = 4
        parameters.cpuparams.n_threads = 1  # a second one waits for the first more than it computes
        parameters.warmup = False
        parameters.use_jinja = True
        # What the server prints of itself goes to stderr.
        out = os.dup(1)
        os.dup2(2, 1)
        server = xllamacpp.Server(parameters)
        os.write(out, f"{server.listening_address}/v1\n".encode())
        sys.stdin.read()


if __name__ == "__main__":
    main()
