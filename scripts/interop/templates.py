#!/usr/bin/env python3
"""Renders conversations with chat templates in transformers and in ours, and compares the texts and the token ids.

  pip install -r scripts/interop/requirements.txt
  cargo build --release
  python scripts/interop/templates.py [--bin target/release] [--output FILE.md] [--only NAME] [--templates FOLDER]

The interpreter needs the versions of requirements.txt, and the script stops on others. By default the templates are those of
written_templates.py, one feature of Jinja each. FOLDER has others: files `*.jinja`, and folders of tokenizers (tokenizer_config.json, and
tokenizer.json or else the tiny tokenizer). Each template meets each conversation. Compared are the prompt's text, as `mvpbench generate` writes
it, and the ids of prompt and answers, as `mvpbench eval` caches them, with those by TRL's rules. `same`: all are equal. `refused`: ours
ends with exit status 2 and a message for at least one conversation, and is the same for the others. `lenient`: ours renders
what transformers refuses. `WRONG`: another text or other ids. The script exits with 1 where a written template has another verdict than is
stated for it, and where one of FOLDER is `WRONG` or `lenient`.
"""

import collections
import json
import shutil
import sys
import tempfile
from pathlib import Path

import sides
from written_templates import CHAT, written

CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "find", "arguments": {"word": "ça", "most": 2}}}],
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "description": 'Find a "word" <here>.',
            "parameters": {
                "type": "object",
                "required": ["word"],
                "properties": {
                    "word": {"type": "string"},
                    "most": {"type": "integer", "default": 5},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    }
]
DOCUMENTS = [{"title": "Ünï", "text": "a\nb"}, {"title": "two", "text": ""}]


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def system(content):
    return {"role": "system", "content": content}


# Name: the messages of the prompt, and the other columns of the record.
CONVERSATIONS = {
    "question": ([user("Why is the sky blue?")], {}),
    "system": ([system("Be brief."), user(" Hello there!\n")], {}),
    "many turns": ([user("a"), assistant("b"), user("c"), assistant("<think>\nhm\n</think>\n\nd"), user("e")], {}),
    "ends in assistant": ([user("a"), assistant("b")], {}),
    "empty": ([user("")], {}),
    "white space": ([system("\n"), user("\t x \n\n y\r\n")], {}),
    "unicode": ([user("naïve 東京 😀 \u2028 'q' \"p\" <b> & \\n {{ x }} {% y %}")], {}),
    "special tokens": ([user("a</s> <s>b")], {}),
    "tools": ([user("Find it."), CALL, {"role": "tool", "name": "find", "content": '{"n": 1}'}], {"tools": TOOLS}),
    "variables": ([user("Read it.")], {"chat_template_kwargs": {"documents": DOCUMENTS, "enable_thinking": False, "depth": 3, "rate": 0.5}}),
    "reasoning": ([user("a"), {**assistant("b"), "reasoning_content": "because"}, user("c")], {}),
    "other fields": ([{**user("a"), "name": "Ann", "weight": None}], {}),
    "parts": ([{"role": "user", "content": [{"type": "text", "text": "in parts"}]}], {}),
}
ANSWERS = ([assistant("Yes, of course.")], [assistant("no")])


def record(name):
    prompt, columns = CONVERSATIONS[name]
    return {"id": "one", "prompt": prompt, "chosen": ANSWERS[0], "rejected": ANSWERS[1], **columns}


def theirs(tokenizer, record):
    """The prompt's text and the ids, as transformers and TRL have them; raises what they raise."""
    variables = record.get("chat_template_kwargs", {})

    def text(messages, add_generation_prompt):
        return tokenizer.apply_chat_template(
            messages, tools=record.get("tools"), tokenize=False, add_generation_prompt=add_generation_prompt, **variables
        )

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    prompt = text(record["prompt"], True)
    wholes = [text(record["prompt"] + record[side], False) for side in ("chosen", "rejected")]
    return prompt, sides.split(ids(prompt), *map(ids, wholes))


def mine(ours, model, file, settings):
    """The same of ours; raises `Refused`."""
    output = ours.fresh("answers")
    ours.must("mvpbench", "generate", "--model", model, "--prompts", file, "--output", output, "--max-new-tokens", "1", "--device", "cpu", "-q")
    text = json.loads(output.read_text())["prompt"]
    ours.scores(model, file, settings=settings)
    return text, ours.token_ids()[0]


def judge(tokenizer, ours, model, name, settings, folder):
    """The verdict of one conversation, and what to say of it."""
    file = folder / "conversation.jsonl"
    sides.write_pairs(file, [record(name)])
    try:
        wanted, why = theirs(tokenizer, record(name)), ""
    except Exception as error:  # Any refusal of the peer is a cell of the table.
        wanted, why = None, f"{type(error).__name__}: {error}"
    try:
        got = mine(ours, model, file, settings)
    except sides.Refused as refused:
        message = str(refused).replace(f"{file}:1: ", "").replace(f"{model}/", "")
        if not refused.is_clear:
            return "WRONG", f"unclear: {message}"
        return ("refused by both", why) if wanted is None else ("refused", message)
    if wanted is None:
        return "lenient", f"transformers: {why}; ours: {quoted(got[0])}"
    if got[0] != wanted[0]:
        return "WRONG", difference(wanted[0], got[0])
    if tuple(map(list, wanted[1])) != tuple(map(list, got[1])):
        return "WRONG", f"the texts of the prompt are equal; ids {wanted[1]}, ours {got[1]}"
    return "same", ""


def difference(wanted, got):
    at = next((i for i, (a, b) in enumerate(zip(wanted, got)) if a != b), min(len(wanted), len(got)))
    begin = max(0, at - 10)
    return f"transformers {quoted(wanted[begin : at + 30])}, ours {quoted(got[begin : at + 30])}"


def quoted(text):
    return f"`{json.dumps(text[:60], ensure_ascii=False)}`"


def make_model(folder, tokenizer_files, template):
    """A model for a tokenizer, as small as there can be, and its template."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    for name in sides.TOKENIZER_FILES:
        if (tokenizer_files / name).exists():
            shutil.copyfile(tokenizer_files / name, folder / name)
    if template is not None:
        (folder / "chat_template.jinja").write_bytes(template.encode())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=65536,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
        )
    )
    sides.randomise(model, seed=4)
    model.save_pretrained(folder)
    return folder, tokenizer


def supplied(folder):
    """Templates of a folder: name, folder of the tokenizer's files, source; none where the tokenizer has its own."""
    tiny = sides.GOLDEN / "models/tiny"
    for path in sorted(folder.iterdir()):
        if path.suffix == ".jinja":
            yield path.stem, tiny, path.read_bytes().decode()
        elif (path / "tokenizer_config.json").exists():
            jinja = path / "chat_template.jinja"
            own = jinja.read_bytes().decode() if jinja.exists() else None
            if (path / "tokenizer.json").exists():
                yield path.name, path, own
            else:
                source = own or json.loads((path / "tokenizer_config.json").read_text()).get("chat_template")
                if isinstance(source, str):
                    yield path.name, tiny, source


def asks_for_parts(tokenizer):
    """Whether the template tells a content of text from one of parts."""
    return "is string" in str(tokenizer.chat_template)


def all_of(verdicts):
    return (
        "WRONG" if verdicts["WRONG"] else "lenient" if verdicts["lenient"] else "refused" if verdicts["refused"] or not verdicts["same"] else "same"
    )


def main():
    parser = sides.arguments(__doc__)
    parser.add_argument("--templates", type=Path, help="folder of templates and tokenizers, instead of the written ones")
    args = parser.parse_args()
    versions = sides.check_versions()
    kinds = ["same", "refused", "refused by both", "lenient", "WRONG"]
    table = sides.Table(
        "Chat templates beside transformers",
        [*kinds[:1], "refused by ours alone", *kinds[2:], "message of ours, or the first difference"],
        "templates.py",
    )
    if args.templates:
        todo = [(name, files, source, None) for name, files, source in supplied(args.templates)]
    else:
        todo = [(name, sides.GOLDEN / "models/tiny", source, expected) for name, expected, source in written()]
    conversations = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours = sides.Ours(args.bin, folder)
        for number, (name, files, source, expected) in enumerate(todo):
            if args.only not in name:
                continue
            try:
                model, tokenizer = make_model(folder / f"model-{number}", files, source)
            except Exception as error:  # A folder of others may hold what transformers does not load.
                print(f"left out: {name}: transformers does not load it: {error}", file=sys.stderr)
                continue
            if not tokenizer.chat_template:
                continue
            own_class = json.loads((model / "tokenizer_config.json").read_text()).get("tokenizer_class", "")
            settings = ["model.tokenizer=transformers5"] if own_class.startswith("LlamaTokenizer") else []
            found = {
                name: judge(tokenizer, ours, model, name, settings, folder) for name in CONVERSATIONS if name != "parts" or asks_for_parts(tokenizer)
            }
            verdicts = collections.Counter(verdict for verdict, _ in found.values())
            conversations.update(verdicts)
            told = next(
                (
                    f"{name}: {text}"
                    for kind in ("WRONG", "lenient", "refused", "refused by both")
                    for name, (verdict, text) in found.items()
                    if verdict == kind
                ),
                "",
            )
            verdict = all_of(verdicts)
            table.add(
                name,
                verdict,
                expected or ("refused" if verdict == "refused" else "same"),
                *(verdicts[kind] for kind in kinds),
                sides.shortened(told, folder),
            )
    counts = ", ".join(f"{conversations[kind]} {kind}" for kind in kinds)
    table.finish(args, ours, versions, f"Of {conversations.total()} conversations: {counts}. {NOTES}")


NOTES = (
    f"Each template meets {len(CONVERSATIONS)} conversations ({', '.join(CONVERSATIONS)}), the last one only where it asks whether a content is text. "
    f"The written templates have one feature of Jinja each, most before the same chat of {len(CHAT)} characters; compared are the prompt's text and "
    "the ids of prompt, chosen and rejected answer by TRL's rules. `lenient`: ours renders what transformers refuses. The templates that are `WRONG` "
    "or `lenient` were written to show differences of the two engines that were found by trying, so their number says nothing about models' own "
    "templates, which `--templates FOLDER` tries."
)

if __name__ == "__main__":
    main()
