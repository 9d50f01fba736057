#!/usr/bin/env python3
"""Measures what rounding to bf16 costs a log-probability, in ours and in transformers, with the residual stream in bf16 and in f32, and
sets a bound from the arithmetic beside it.

  pip install -r scripts/interop/requirements.txt
  cargo build --release
  python scripts/interop/rounding.py [--bin target/release] [--stories FOLDER] [--output FILE.md] [--only NAME]

Each case is one checkpoint whose weights are numbers of bf16, so that activations alone are rounded: random ones of several depths, and
with `--stories` a trained one. The answers are drawn from the model itself, so that their log-probabilities are those of likely tokens.
Truth is transformers in f64. Ours must lie within the bound; beside it stand transformers with all of the model in bf16, and under autocast, which
computes products in bf16 and keeps stream and norms in f32. The case of 32 layers takes a quarter of an hour.
"""

import math
import tempfile
from pathlib import Path

import sides

# depth, width, answers: random Llamas. An error's size is known to one part in the root of twice the answers.
MODELS = ((2, 128, 96), (8, 128, 96), (32, 128, 96), (8, 512, 24))
TRAINED_ANSWERS = 96
VOCAB = 512
PROMPT, ANSWER = 16, 96
# Spread of the logits that a random model is given, nats: about that of a trained one.
SPREAD = 3.0
# RMS error of a number that is rounded to bf16, as a share of it: an ulp of 2^-7 evenly spread, mantissas as Benford has them.
ROUNDED = 2**-7 / math.sqrt(12) * math.sqrt(0.75 / (2 * math.log(2)))
# Roundings in the two branches of a layer (norm, q k v, probabilities, their combination, its product; norm, gate, up, the two combined, their
# product), where the branches are added to the stream, and after the layers: stream, norm, logits, and what reaches the last layer's scores.
IN_BRANCHES, IN_STREAM, AFTER = 10, 2, 4

NOTES = """Weights are numbers of bf16, activations are rounded; truth is transformers in f64. The figures are root mean squares over answers of
the error of a summed log-probability, divided by the square root of its tokens: nats per token, as far as the errors of tokens are
independent. The bound: a number is rounded with a relative error of r = 0.00166 (RMS). A layer rounds ten times in its branches and twice as they
are added to the stream; if each reached the whole stream, the last hidden state were off by r sqrt(12 L + 4). A token's log-probability
is the difference of its logit and of their mean: sqrt(2) times that, times the spread of the logits (root mean square about their mean, largest
over answers). A stream in f32 saves 2 of the 12."""


def random_llama(folder, depth, width):
    """A random Llama whose logits have a spread of about [`SPREAD`]."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=width, intermediate_size=width * 11 // 4, num_hidden_layers=depth, num_attention_heads=width // 32,
        num_key_value_heads=width // 32, vocab_size=VOCAB, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, dtype=torch.float32)
            if parameter.dim() == 1:
                parameter.copy_(1 + 0.1 * noise)
            else:
                scale = SPREAD if "lm_head" in name else 1.0
                parameter.copy_(noise * (1.0 if "embed" in name else scale / math.sqrt(parameter.shape[1])))
    save(model, folder)
    sides.add_tokenizer(folder)


def stories(source):
    def make(folder):
        from transformers import LlamaForCausalLM

        save(LlamaForCausalLM.from_pretrained(source), folder)
        for name in sides.TOKENIZER_FILES:
            (folder / name).write_bytes((source / name).read_bytes())

    return make


def save(model, folder):
    import torch

    model.to(torch.bfloat16).save_pretrained(folder)


def sampled(model, tokenizer, answers):
    """Pairs of so many answers that the model gives, as texts."""
    import torch

    def continued(ids, count):
        for _ in range(count):
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False).logits[:, -1]
            logits[:, :3] = -math.inf  # the tokens that begin and end a text
            ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)], 1)
        return ids

    torch.manual_seed(2)
    prompts = continued(torch.ones(answers // 2, 1, dtype=torch.long), PROMPT)
    wholes = [continued(prompts, ANSWER) for _ in "ab"]
    pairs = []
    for row, prompt in enumerate(prompts):
        prompt, *answers = (tokenizer.decode(ids[1:]) for ids in (prompt, *(whole[row] for whole in wholes)))
        chosen, rejected = (answer[len(prompt) :] for answer in answers)
        if chosen.strip() and rejected.strip() and chosen != rejected:
            pairs.append(dict(id=f"r:{row}", prompt=prompt, chosen=chosen, rejected=rejected))
    return pairs


def spread(model, ids):
    """Root mean square of the logits about their mean, over an answer's tokens; the largest of all answers."""
    import torch

    worst = 0.0
    for prompt, *answers in ids:
        for answer in answers:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + answer]), use_cache=False).logits[0, len(prompt) - 1 : -1].double()
            worst = max(worst, logits.var(-1).mean().sqrt().item())
    return worst


def each_token(got, want):
    """Errors of sums, each by the root of its tokens: root mean square."""
    errors = []
    for mine, exact in zip(got, want, strict=True):
        if mine[2:] != exact[2:]:
            raise RuntimeError(f"{mine[2:]} tokens are scored, expected {exact[2:]}")
        errors += [(mine[side] - exact[side]) / math.sqrt(exact[2 + side]) for side in (0, 1)]
    return math.sqrt(sum(error**2 for error in errors) / len(errors))


def compare(name, make, answers, ours, folder, table):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = folder / name.replace(" ", "-").replace(",", "")
    path.mkdir()
    make(path)
    tokenizer = AutoTokenizer.from_pretrained(path)

    def peer(dtype):
        return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="eager")

    exact = peer(torch.float64)
    pairs = sampled(exact, tokenizer, answers)
    ids = [sides.token_ids(tokenizer, pair) for pair in pairs]
    want = sides.peer_scores(exact, ids, exact=True)
    file = sides.write_pairs(path / "pairs.jsonl", pairs)
    errors = {}
    for dtype in ("f32", "bf16"):
        errors[f"ours {dtype}"] = each_token(ours.scores(path, file, settings=[f"model.dtype={dtype}"]), want)
    errors["bf16"] = each_token(sides.peer_scores(peer(torch.bfloat16), ids, exact=True), want)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        errors["autocast"] = each_token(sides.peer_scores(peer(torch.float32), ids, exact=True), want)
    layers, logits = exact.config.num_hidden_layers, spread(exact, ids)
    bound, with_f32 = (math.sqrt(2 * (layers * count + AFTER)) * ROUNDED * logits for count in (IN_BRANCHES + IN_STREAM, IN_BRANCHES))
    good = errors["ours bf16"] <= bound and errors["ours f32"] <= 1e-4
    cells = [f"{logits:.1f}", *(f"{errors[key]:.1e}" for key in ("ours f32", "ours bf16", "bf16", "autocast")), f"{bound:.1e}", f"{with_f32:.1e}"]
    table.add(name, "within" if good else "beyond", "within", *cells)


def main():
    parser = sides.arguments(__doc__)
    parser.add_argument("--stories", type=Path, help="folder of the trained stories260K in the hub's layout")
    args = parser.parse_args()
    versions = sides.check_versions()
    columns = ["spread of logits", "ours f32", "ours bf16", "transformers bf16", "transformers autocast", "bound", "bound, f32 stream"]
    table = sides.Table("Rounding to bf16, nats per token", columns, "rounding.py")
    cases = {}
    for depth, width, answers in MODELS:
        cases[f"{depth} layers of {width}"] = (lambda folder, of=(depth, width): random_llama(folder, *of)), answers
    if args.stories:
        cases["stories260K, 5 layers of 64"] = stories(args.stories), TRAINED_ANSWERS
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours = sides.Ours(args.bin, folder)
        for name, (make, answers) in cases.items():
            if args.only in name:
                compare(name, make, answers, ours, folder, table)
    table.finish(args, ours, versions, NOTES)


if __name__ == "__main__":
    main()
