#!/usr/bin/env python3
"""Makes tests/data/encoder: a random BERT of 8 thousand parameters as a sentence-transformers folder, and what sentence-transformers
computes with it (golden.json). tests/it/eval/encoder.rs holds our embeddings to that.

    pip install sentence-transformers==6.2.0 transformers==5.23.0 torch==2.15.0
    python scripts/make_tiny_encoder.py

The layout is that of all-MiniLM-L6-v2: pooling flags, `max_seq_length` in sentence_bert_config.json, and a tokenizer.json that cuts and
pads to other lengths than that. golden.json also has the embeddings with other poolings, with a Dense module, and without Normalize's
effect undone; the test makes those folders from the first one.
"""

import json
import pathlib
import shutil
import tempfile

import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "encoder"
MAX_SEQ_LENGTH = 16
WORDS = "a be cat dog eat friend good happy i is it like not of person run sad that the they to very was we with you".split()
TEXTS = [
    "That is a happy person",
    "That is a happy dog",
    "",
    "  the DOG  was\nnot sad.  ",
    "we like to run with the cat " * 6,
    "Ünknown wörds, ünd 東京 and emoji \N{GRINNING FACE}!",
    "a",
    "they run to eat, and it is very good of you to be with that sad friend",
]
DENSE_WIDTH = 6


def tokenizer():
    pieces = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list(".,!?'")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + pieces
    vocab += [f"##{letter}" for letter in pieces[:26]] + [word for word in WORDS if len(word) > 1]
    ids = {token: i for i, token in enumerate(vocab)}
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    made.enable_truncation(8)
    made.enable_padding(length=24, pad_id=0, pad_token="[PAD]")
    return made, len(vocab)


def write(folder, pooling, dense):
    """Writes the folder of a variant; the weights of the BERT are the same in all."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules += [("2_Dense", "Dense")] if dense else []
    modules += [(f"{len(modules)}_Normalize", "Normalize")]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    put(folder / "modules.json", listed)
    put(folder / "sentence_bert_config.json", {"max_seq_length": MAX_SEQ_LENGTH, "do_lower_case": False})
    flags = {f"pooling_mode_{mode}": mode.startswith(pooling) for mode in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")}
    flags["pooling_mode_mean_sqrt_len_tokens"] = False
    put(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, **flags})
    if dense:
        put(folder / "2_Dense" / "config.json", {
            "in_features": 16, "out_features": DENSE_WIDTH, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh",
        })


def put(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def encode(folder):
    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS, convert_to_numpy=True).astype(float).tolist()


def main():
    torch.manual_seed(12)
    made, vocab_size = tokenizer()
    config = BertConfig(
        vocab_size=vocab_size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, initializer_range=0.4,
    )
    bert = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():  # biases and norms that are not their starting values
        for name, tensor in bert.named_parameters():
            if tensor.dim() == 1:
                tensor.add_(0.2 * torch.randn_like(tensor))
    shutil.rmtree(FOLDER, ignore_errors=True)
    bert.save_pretrained(FOLDER)
    made.save(str(FOLDER / "tokenizer.json"))
    put(FOLDER / "tokenizer_config.json", {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512,
        "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]",
    })
    write(FOLDER, "mean", dense=False)

    weight, bias = torch.randn(DENSE_WIDTH, 16), torch.randn(DENSE_WIDTH)
    golden = {
        "versions": {"sentence-transformers": sentence_transformers.__version__, "transformers": transformers.__version__, "torch": torch.__version__},
        "texts": TEXTS,
        "max_seq_length": MAX_SEQ_LENGTH,
        "dense": {"weight": weight.flatten().tolist(), "bias": bias.tolist(), "shape": [DENSE_WIDTH, 16]},
        "embeddings": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name, pooling, dense in [("mean", "mean", False), ("cls", "cls", False), ("max", "max", False), ("dense", "mean", True)]:
            folder = pathlib.Path(scratch) / name
            shutil.copytree(FOLDER, folder)
            write(folder, pooling, dense)
            if dense:
                from safetensors.torch import save_file
                save_file({"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "model.safetensors")
            golden["embeddings"][name] = encode(folder)
    put(FOLDER / "golden.json", golden)


if __name__ == "__main__":
    main()
