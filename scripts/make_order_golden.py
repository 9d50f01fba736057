"""Writes `tests/data/torch_order.json`: permutations and draws of PyTorch's CPU generator, and the orders of transformers' epochs.

    python scripts/make_order_golden.py tests/data/torch_order.json     # with torch 2.0.1

Of a permutation it keeps the first and last eight elements and the sum of `(place + 1) * element` modulo 2^64.
"""
import json
import sys

import torch

VERSION = "2.0.1"
SEEDS = [0, 1, 2, 12, 42, 2**31 + 5, 2**32 - 1, 2**32 + 12, 2**40, 2**63 - 1]
COUNTS = [0, 1, 2, 3, 24, 1000, 24020]
EPOCHS = [(24, 12, 3), (24020, 12, 3), (1, 7, 2), (1000, 2**31 + 5, 5)]


def summary(order):
    last = order[len(order) - min(8, len(order)):].tolist()
    places = torch.arange(1, len(order) + 1, dtype=torch.int64)
    total = int((places * order).sum()) % 2**64  # int64 wraps around, as the sum in Rust does
    return {"first": order[:8].tolist(), "last": last, "sum": [total]}


def permutation(count, seed):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def epochs(count, seed, number):
    torch.manual_seed(seed)
    draw = lambda: int(torch.empty((), dtype=torch.int64).random_().item())
    for _ in range(number):
        draw()
        yield summary(permutation(count, draw()))


def main():
    assert torch.__version__.split("+")[0] == VERSION, f"expected torch {VERSION}, found {torch.__version__}"
    draws = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        draws.append({"seed": seed, "draws": [int(torch.empty((), dtype=torch.int64).random_().item()) for _ in range(4)]})
    golden = {
        "torch": VERSION,
        "permutations": [{"seed": seed, "n": count, **summary(permutation(count, seed))} for seed in SEEDS for count in COUNTS],
        "int64": draws,
        "epochs": [{"seed": seed, "n": count, "orders": list(epochs(count, seed, number))} for count, seed, number in EPOCHS],
    }
    with open(sys.argv[1], "w") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
