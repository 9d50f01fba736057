#!/usr/bin/env python3
"""Reads preference files of every layout with TRL and with ours, and compares the token ids and which of them are scored.

  pip install -r scripts/interop/requirements.txt
  cargo build --release
  python scripts/interop/layouts.py [--bin target/release] [--output FILE.md] [--only NAME]
  python scripts/interop/layouts.py --golden     writes tests/data/extract_prompt.json

The interpreter needs the versions of requirements.txt, and the script stops on others. Each case is one file of records. The peer's side is TRL's
own `DPOTrainer` up to its token ids: its `_prepare_dataset` on the records as they stand where TRL takes the layout (`by TRL`), and otherwise on
the records that its users write of them (`by hand`: the mapping that LLaMA-Factory, Axolotl or the data set's card has, in a line of this file). Ours
are the ids that `mvpbench eval` caches and the layout that `mvpbench data inspect` recognises. `same`: layout, number of pairs, ids of
every prompt and answer are equal. `other`: TRL does otherwise, for the reason that is stated. `refused`: ours ends with exit status 2 and a message.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import sides

# A chat template of strings, which writes tools and calls, and one that iterates over parts.
TEXTS = (
    "{{ bos_token }}{% for t in tools or [] %}<tool>{{ t | tojson }}</tool>{% endfor %}{% for m in messages %}<|{{ m.role }}|>{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PARTS = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}"
    "{% endif %}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TOOLS = [{"type": "function", "function": {"name": "find", "description": "d", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}}}]
CALL = {"name": "find", "arguments": {"word": "oak"}}


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def said(who, value):
    return {"from": who, "value": value}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def pair(prompt, chosen, rejected, **columns):
    """A record of TRL: texts, or a question and answers as messages."""
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **columns}


def chat(question, chosen, rejected, system="", before=(), **columns):
    messages = [turn("system", system)] if system else []
    messages += [*before, turn("user", question)]
    return pair(messages, [turn("assistant", chosen)], [turn("assistant", rejected)], **columns)


def with_system(record, question):
    """The plain text of a question after its system text, as `profile` and prompt."""
    system = record.get("system", "").strip()
    return f"{system}\n{record[question]}" if system else record[question]


def alpaca(record):
    """LLaMA-Factory's `AlpacaDatasetConverter`: the texts that are not empty, a line break between."""
    return "\n".join(text for text in (record["instruction"], record.get("input", "")) if text)


def unturned(turn_):
    """LLaMA-Factory's `SharegptDatasetConverter`: speakers as roles; a call as OpenAI has it."""
    roles = {"human": "user", "gpt": "assistant", "system": "system", "observation": "tool"}
    if turn_["from"] == "function_call":
        return {"role": "assistant", "tool_calls": [{"type": "function", "function": json.loads(turn_["value"])}]}
    return turn(roles[turn_["from"]], turn_["value"])


def best_worst(prompt, answers):
    """The answer of the highest score against that of the lowest; none for a tie."""
    best, worst = max(answers, key=lambda a: a[1]), min(answers, key=lambda a: a[1])
    return [pair(prompt, best[0], worst[0])] if best[1] > worst[1] else []


def all_pairs(prompt, answers, margin=0):
    found = []
    for i, a in enumerate(answers):
        for b in answers[i + 1 :]:
            better, worse = (a, b) if a[1] >= b[1] else (b, a)
            if better[1] - worse[1] > margin:
                found.append(pair(prompt, better[0], worse[0]))
    return found


HH = [
    {"chosen": "\n\nHuman: How do I water a cactus?\n\nAssistant: Rarely, and only when dry.", "rejected": "\n\nHuman: How do I water a cactus?\n\nAssistant: Twice every hour."},
    {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Name a tree\n\nAssistant: Oak.", "rejected": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Name a tree\n\nAssistant: A stone."},
]
HH_INSIDE = [{"chosen": "\n\nHuman: Name a tree\n\nAssistant: An oak.", "rejected": "\n\nHuman: Name a tree\n\nAssistant: An otter."}]
IMPLICIT = [
    {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    {"chosen": "Say: naïve 😀 yes", "rejected": "Say: naïve 😀 no"},
    {"chosen": "One two.", "rejected": "One two. Three."},
]
Q, A, B = turn("user", "Name a river."), turn("assistant", "The Rhine."), turn("assistant", "A chair.")
LONG = [turn("system", "Be brief."), turn("user", "Hi"), turn("assistant", "Hello!"), Q]
ORCA = [
    {"system": "You are a careful clerk.", "question": "What is 2+2?", "chosen": "4", "rejected": "5"},
    {"system": "", "question": "Name a colour.", "chosen": "Blue.", "rejected": "Seven."},
]
ALPACA = [
    {"instruction": "Translate.", "input": "Guten Tag", "chosen": "Good day", "rejected": "Hello"},
    {"instruction": "Name a tree.", "input": "", "chosen": "An oak.", "rejected": "An otter."},
]
SHAREGPT = [
    {
        "conversations": [said("system", "Be brief."), said("human", "Name a river.")],
        "chosen": said("gpt", "The Rhine."),
        "rejected": said("gpt", "A chair."),
    }
]
SHAREGPT_TOOLS = [
    {
        "conversations": [said("human", "Find oak."), said("function_call", json.dumps(CALL)), said("observation", '{"n": 1}')],
        "tools": json.dumps(TOOLS),
        "chosen": said("gpt", "One."),
        "rejected": said("gpt", "None."),
    }
]
CALLS = [
    {
        "tools": TOOLS,
        "prompt": [turn("user", "Find oak.")],
        "chosen": [turn("assistant", None, tool_calls=[{"type": "function", "function": CALL}])],
        "rejected": [turn("assistant", "No.")],
    }
]
RANKED = [
    {"prompt": "Name a tree.", "responses": ["A tree.", "An oak.", "An otter.", "A plant."], "scores": [5, 9.5, 1, 5]},
    {"prompt": "Name a fish.", "responses": ["A cod.", "A carp."], "scores": [3, 3]},
]
ULTRAFEEDBACK = [
    {"source": "s", "instruction": "Name a tree.", "completions": [{"response": "An otter.", "overall_score": 1.0}, {"response": "An oak.", "overall_score": 8.5}]}
]
NECTAR = [{"prompt": "\n\nHuman: Name a tree.\n\nAssistant: ", "answers": [{"answer": "A stone.", "rank": 2.0}, {"answer": "An oak.", "rank": 1.0}]}]
PKU = [{"prompt": "Name a tree.", "response_0": "An otter.", "response_1": "An oak.", "better_response_id": 1, "safer_response_id": 0}]
SHP = [
    {"history": "How long do eggs keep?", "human_ref_A": "Three weeks.", "human_ref_B": "Eggs?", "labels": 1},
    {"history": "Why?", "human_ref_A": "No.", "human_ref_B": "So.", "labels": 0},
]
ARENA = [{"conversation_a": [Q, B], "conversation_b": [Q, A], "winner": "model_b"}, {"conversation_a": [Q, B], "conversation_b": [Q, A], "winner": "tie"}]
SWIFT = [{"messages": [*LONG, A], "rejected_response": "A chair."}]
SWIFT_MESSAGES = [{"messages": [*LONG, A], "rejected_messages": [*LONG, B]}]
TRUTHY = [{"system": "Answer as a pirate.", "prompt": "Who are you?", "chosen": "Arr, a sailor!", "rejected": "A computer."}]
ULTRA_BINARIZED = [{"prompt": "Name a river.", "prompt_id": "x", "chosen": [Q, A], "rejected": [Q, B], "messages": [Q, A], "score_chosen": 8.5}]
ALIGNX = [
    {
        "prompt": "Tea or coffee?",
        "chosen": "Tea.",
        "rejected": "Coffee.",
        "Preference Direction": [0, 0.5, 1],
        "Demographic Information": "A sailor.",
        "User-Generated Content": [{"prompt": "Cats?", "comment": "Yes."}],
        "Pair-wise Comparative Feedback": [{"prompt": "Dogs?", "chosen": "No.", "rejected": "Maybe."}],
    }
]
# The user's message of the authors' evaluation script for this record.
ALIGNX_PROMPT = (
    "***Task***\n\n**Post:**\nTea or coffee?\n\n***Historical Behavior and User Preferences***\n\n**This person has commented on some posts:**\n\n"
    "1. *Post:*\nCats?\n\n*Comment:*\nYes.\n\n**This person has chosen or rejected comments on some posts:**\n\n1. *Post:*\nDogs?\n\n"
    "*Chosen:*\nNo.\n\n*Rejected:*\nMaybe.\n\nA sailor.\n\n***Response:***\n\n"
)
IN_PARTS = [pair([turn("user", parts("Name", " a fruit."))], [turn("assistant", parts("A pear."))], [turn("assistant", parts("A brick."))])]
ONE_PART = [pair([turn("user", parts("Name a fruit."))], [turn("assistant", parts("A pear."))], [turn("assistant", parts("A brick."))])]
NAMED = [{"persona": "Be kind.", "query": "Name a river.", "good": "The Rhine.", "bad": "A chair."}]


def hh_prompt(record):
    """The mapping of TRL's own script for HH-RLHF: the prompt ends after the last `Assistant:`."""
    end = record["chosen"].rfind("\n\nAssistant:") + len("\n\nAssistant:")
    return pair(record["chosen"][:end], record["chosen"][end:], record["rejected"][end:])


# Name, layout that is recognised, records, the peer's records (None: the same, by TRL), settings, template, why TRL's are other.
CASES = [
    ("HH-RLHF, answers that part at their first word", "hh-rlhf", HH, None, [], None, ""),
    ("HH-RLHF, answers that begin the same", "hh-rlhf", HH_INSIDE, [hh_prompt(r) for r in HH_INSIDE], [], None, ""),
    ("the same, by TRL", "hh-rlhf", HH_INSIDE, None, [], None, "TRL's prompt ends inside the answers, after `An o`"),
    ("the same, pinned", "implicit-prompt", HH_INSIDE, None, ["data.layout=implicit-prompt"], None, ""),
    ("texts that begin the same", "implicit-prompt", IMPLICIT, None, [], None, ""),
    ("messages that begin the same", "implicit-prompt", [{"chosen": [*LONG, A], "rejected": [*LONG, B]}], None, [], TEXTS, ""),
    ("prompt, chosen, rejected as texts", "preference", [pair("Name a river.", " The Rhine.", " A chair.")], None, [], None, ""),
    ("prompt, chosen, rejected as messages", "preference", [pair(LONG, [A], [B])], None, [], TEXTS, ""),
    ("ultrafeedback_binarized", "preference", ULTRA_BINARIZED, [pair([Q], [A], [B])], [], TEXTS, ""),
    ("text prompt, answers as messages", "preference", [pair("Name a river.", [A], [B])], [pair([Q], [A], [B])], [], TEXTS, ""),
    ("prompt as messages, answers as texts", "preference", [pair([Q], "The Rhine.", "A chair.")], [pair([Q], [A], [B])], [], TEXTS, ""),
    ("truthy-dpo, py-dpo: `system`, as a chat", "preference", TRUTHY, [chat("Who are you?", "Arr, a sailor!", "A computer.", "Answer as a pirate.")], ["data.prompt_format=chat"], TEXTS, ""),
    ("the same, plain", "preference", TRUTHY, [pair(with_system(r, "prompt"), r["chosen"], r["rejected"]) for r in TRUTHY], [], None, ""),
    ("orca, as a chat", "orca", ORCA, [chat(r["question"], r["chosen"], r["rejected"], r["system"]) for r in ORCA], ["data.prompt_format=chat"], TEXTS, ""),
    ("orca, plain", "orca", ORCA, [pair(with_system(r, "question"), r["chosen"], r["rejected"]) for r in ORCA], [], None, ""),
    ("icr", "icr", [{**r, "input": r["question"], "question": None} for r in ORCA], [chat(r["question"], r["chosen"], r["rejected"], r["system"]) for r in ORCA], ["data.prompt_format=chat"], TEXTS, ""),
    ("Alpaca ranking", "alpaca-ranking", ALPACA, [pair(alpaca(r), r["chosen"], r["rejected"]) for r in ALPACA], [], None, ""),
    ("Alpaca ranking, a history", "alpaca-ranking", [{**ALPACA[0], "history": [["Hi", "Hello!"]]}], [chat("Translate.\nGuten Tag", "Good day", "Hello", before=LONG[1:3])], [], TEXTS, ""),
    ("Alpaca ranking, two outputs", "alpaca-output", [{"instruction": r["instruction"], "input": r["input"], "output": [r["chosen"], r["rejected"]]} for r in ALPACA], [pair(alpaca(r), r["chosen"], r["rejected"]) for r in ALPACA], [], None, ""),
    ("Argilla", "argilla", [{"instruction": "Name a tree.", "chosen_response": "An oak.", "rejected_response": "An otter."}], [pair("Name a tree.", "An oak.", "An otter.")], [], None, ""),
    ("ShareGPT ranking", "sharegpt-ranking", SHAREGPT, [chat("Name a river.", "The Rhine.", "A chair.", "Be brief.")], [], TEXTS, ""),
    ("ShareGPT ranking, role and content", "sharegpt-ranking", [{"conversations": LONG, "chosen": A, "rejected": B}], [pair(LONG, [A], [B])], [], TEXTS, ""),
    ("ShareGPT ranking, tools and a call", "sharegpt-ranking", SHAREGPT_TOOLS, [pair([unturned(t) for t in r["conversations"]], [unturned(r["chosen"])], [unturned(r["rejected"])], tools=r["tools"]) for r in SHAREGPT_TOOLS], [], TEXTS, ""),
    ("messages, one answer each", "messages", [{"messages": LONG, "chosen": A, "rejected": B}], [pair(LONG, [A], [B])], [], TEXTS, ""),
    ("messages, answers as texts", "messages", [{"messages": LONG, "chosen": "The Rhine.", "rejected": "A chair."}], [pair(LONG, [A], [B])], [], TEXTS, ""),
    ("ms-swift, `rejected_response`", "ms-swift", SWIFT, [pair(LONG, [A], [B])], [], TEXTS, ""),
    ("ms-swift, `rejected_messages`", "ms-swift-messages", SWIFT_MESSAGES, [pair(LONG, [A], [B])], [], TEXTS, ""),
    ("tool calls", "preference", CALLS, None, [], TEXTS, ""),
    ("text parts, a template that iterates", "preference", IN_PARTS, None, [], PARTS, ""),
    ("text parts, a template of strings", "preference", ONE_PART, [chat("Name a fruit.", "A pear.", "A brick.")], [], TEXTS, ""),
    ("the same, by TRL", "preference", ONE_PART, None, [], TEXTS, "transformers writes Python's text of the list"),
    ("PKU-SafeRLHF, better", "pku-better", PKU, [pair("Name a tree.", "An oak.", "An otter.")], ["data.layout=pku-better"], None, ""),
    ("PKU-SafeRLHF, safer", "pku-safer", PKU, [pair("Name a tree.", "An otter.", "An oak.")], ["data.layout=pku-safer"], None, ""),
    ("SHP", "shp", SHP, [pair("How long do eggs keep?", "Three weeks.", "Eggs?"), pair("Why?", "So.", "No.")], [], None, ""),
    ("Chatbot Arena, a tie among them", "arena", ARENA, [pair([Q], [A], [B])], [], TEXTS, ""),
    ("responses and scores, best and worst", "ranked", RANKED, [p for r in RANKED for p in best_worst(r["prompt"], list(zip(r["responses"], r["scores"])))], [], None, ""),
    ("responses and scores, all pairs", "ranked", RANKED, [p for r in RANKED for p in all_pairs(r["prompt"], list(zip(r["responses"], r["scores"])))], ["data.ranked_pairs=all"], None, ""),
    ("responses and scores, all beyond 4", "ranked", RANKED, [p for r in RANKED for p in all_pairs(r["prompt"], list(zip(r["responses"], r["scores"])), 4)], ["data.ranked_pairs=all", "data.ranked_margin=4"], None, ""),
    ("UltraFeedback", "ultrafeedback", ULTRAFEEDBACK, [pair("Name a tree.", "An oak.", "An otter.")], [], None, ""),
    ("Nectar", "nectar", NECTAR, [pair(NECTAR[0]["prompt"], "An oak.", "A stone.")], [], None, ""),
    ("AlignX", "alignx", ALIGNX, [pair(ALIGNX_PROMPT, "Tea.", "Coffee.")], [], None, ""),
    ("columns by name", "preference", NAMED, [chat("Name a river.", "The Rhine.", "A chair.", "Be kind.")], ["data.prompt_format=chat", 'data.columns={prompt="query",chosen="good",rejected="bad",system="persona"}'], TEXTS, ""),
    ("PKU-SafeRLHF, both labels", "refused", PKU, [], [], None, ""),
    ("question and instruction", "refused", [{**ORCA[0], "instruction": "p"}], [], [], None, ""),
    ("an unknown name of the prompt", "refused", NAMED, [], [], None, ""),
    ("parts with an image", "refused", [pair([turn("user", [{"type": "image", "image": "a.png"}, *parts("What?")])], [A], [B])], [], [], TEXTS, ""),
    ("messages without a template", "refused", [pair([Q], [A], [B])], [], [], None, ""),
]


def theirs(model, records):
    """Prompt, chosen and rejected ids of each pair by TRL's DPOTrainer."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(model)
    trainer = SimpleNamespace(_tokenizer=tokenizer)
    args = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode=DPOConfig.truncation_mode)
    rows = DPOTrainer._prepare_dataset(trainer, Rows(records), tokenizer, args, "train")
    return [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in rows]


class Rows:
    """Records with the `map` of a data set, which keeps the keys of each as they stand (Arrow would give every record those of all)."""

    def __init__(self, rows):
        self.rows = [json.loads(json.dumps(row)) for row in rows]

    def __iter__(self):
        return iter(self.rows)

    def map(self, function, fn_kwargs=None, **_):
        return Rows([{**row, **function(dict(row), **(fn_kwargs or {}))} for row in self.rows])


def mine(ours, model, file, settings):
    """The same ids of ours, and the layouts that were recognised; raises `Refused`."""
    chosen = [part for setting in settings for part in ("--set", setting)]
    files = json.dumps([str(file)])
    command = ["data", "inspect", "--config", "tiny.toml", "--set", f"model.path={model}", "--set", f"data.train={files}", *chosen]
    status, error = ours.run("mvpbench", *command)
    if status != 0:
        raise sides.Refused(status, error)
    ours.scores(model, file, settings=settings)
    return ours.token_ids(), re.findall(r"^ *(?:note: )?layout ([a-z-]+):", error, re.M)


def judge(ours, model, layout, records, peers, settings, file):
    """Verdict and what to say of it."""
    sides.write_pairs(file, records)
    try:
        got, layouts = mine(ours, model, file, settings)
    except sides.Refused as refused:
        message = str(refused).replace(f"{file}:1: ", "")
        return ("refused" if refused.is_clear else "WRONG"), message
    if layouts != [layout]:
        return "WRONG", f"recognised as {layouts}"
    wanted = theirs(model, records if peers is None else peers)
    got, wanted = ([tuple(map(list, ids)) for ids in side] for side in (got, wanted))
    return ("same", "") if got == wanted else ("other", f"TRL {wanted}, ours {got}")


def golden():
    """Writes what TRL extracts of pairs of texts."""
    from trl.data_utils import extract_prompt

    pairs = [
        ("The sky is blue.", "The sky is green."),
        ("a b", "a c"),
        ("ab", "ac"),
        ("aab", "aac"),
        ("same", "same"),
        ("short", "shorter"),
        ("shorter", "short"),
        ("x yes", "x no"),
        ("x  yes", "x  no"),
        ("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: q\n\nAssistant: b"),
        ("é\u0301a", "é\u0301b"),
        ("😀 x", "😀 y"),
        ("one two three", "one two four"),
        ("one two ", "one two three"),
        ("line\nend", "line\nand"),
        ("a\u00a0b", "a\u00a0c"),
    ]
    cases = []
    for chosen, rejected in pairs:
        found = extract_prompt({"chosen": chosen, "rejected": rejected})
        answers = {"chosen_answer": found["chosen"], "rejected_answer": found["rejected"]}
        cases.append({"chosen": chosen, "rejected": rejected, "prompt": found["prompt"], **answers})
    path = sides.ROOT / "tests/data/extract_prompt.json"
    path.write_text("[\n" + ",\n".join(f"  {json.dumps(case, ensure_ascii=False)}" for case in cases) + "\n]\n")


def make_model(folder, template):
    from templates import make_model

    return make_model(folder, sides.GOLDEN / "models/tiny", template)[0]


def main():
    parser = sides.arguments(__doc__)
    parser.add_argument("--golden", action="store_true", help="write tests/data/extract_prompt.json instead")
    args = parser.parse_args()
    versions = sides.check_versions()
    if args.golden:
        return golden()
    table = sides.Table("Layouts of preference files beside TRL", ["pairs", "the peer's records", "message of ours, or why TRL's are other"], "layouts.py")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours = sides.Ours(args.bin, folder)
        models = {template: make_model(folder / f"model-{at}", template) for at, template in enumerate((None, TEXTS, PARTS))}
        for name, layout, records, peers, settings, template, why in CASES:
            if args.only not in name:
                continue
            verdict, told = judge(ours, models[template], layout, records, peers, settings, folder / "records.jsonl")
            expected = "refused" if layout == "refused" else "other" if why else "same"
            if verdict == expected == "other":
                told = why
            by = "" if layout == "refused" else "by TRL" if peers is None else "by hand"
            title = f"{name} (`{layout}`)" if layout != "refused" else name
            table.add(title, verdict, expected, len(records if peers is None else peers), by, sides.shortened(told, folder))
    table.finish(args, ours, versions, NOTES)


NOTES = (
    "Compared are the layout that is recognised, the number of pairs, and the ids of each prompt, chosen and rejected answer: the scored tokens are those of "
    "the answers. `by TRL`: TRL's `DPOTrainer` prepares the file's records as they stand. `by hand`: TRL takes no such file, and prepares the records that the "
    "converter of LLaMA-Factory, of Axolotl or of the data set's card makes of it. `other`: TRL does otherwise on purpose of ours, for the reason stated."
)

if __name__ == "__main__":
    sys.exit(main())
