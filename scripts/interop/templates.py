#!/usr/bin/env python3
"""Renders conversations with chat templates in transformers and in ours, and compares the texts and the token ids.

  pip install -r scripts/interop/requirements.txt
  cargo build --release
  python scripts/interop/templates.py [--bin target/release] [--output FILE.md] [--only NAME] [--templates FOLDER | --trl] [--without-parts]

The interpreter needs the versions of requirements.txt, and the script stops on others. By default the templates are those of
written_templates.py, one feature of Jinja each. FOLDER has others: files `*.jinja`, and folders of tokenizers (tokenizer_config.json, and
tokenizer.json or else the tiny tokenizer). `--trl`: those of the installed TRL. A tokenizer that a template does not come with is the tiny one
with the special tokens that the templates of the folder write, so that each of them is one id. Each template meets each conversation. Compared
are the prompt's text, as `mvpbench generate` writes it, and the ids of prompt and answers, as `mvpbench eval` caches them, with those that TRL's
DPOTrainer makes by its own functions. `same`: all are equal. `refused`: ours ends with exit status 2 and a message for at least one conversation,
and is the same for the others. `lenient`: ours renders what transformers refuses. `WRONG`: another text or other ids. The script exits with 1
where a written template has another verdict than is stated for it, and where one of FOLDER or of TRL is `WRONG`, `lenient` or `refused`.
"""

import collections
import datetime
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import sides
from conversations import CONVERSATIONS, record
from written_templates import CHAT, written

# What `strftime_now` gives both sides.
DAY = datetime.datetime(2026, 1, 5)
SPECIAL = re.compile(r"<[|｜][^<>\n]{1,40}[|｜]>|</?[A-Za-z_0-9]{2,30}>|<[|][\"a-z_]+>|<[\"a-z_]+[|]>|\[/?[A-Z_]{3,20}\]")

def set_day():
    """Gives the templates of transformers the day `DAY`."""
    from transformers.utils import chat_template_utils

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return DAY

    chat_template_utils.datetime = Fixed


def theirs(tokenizer, record):
    """The prompt's text and the ids, as transformers and TRL's DPOTrainer have them; raises what they raise."""
    from trl.data_utils import _tokenize, common_prefix_length

    variables = {"tools": record.get("tools"), **record.get("chat_template_kwargs", {})}
    text = tokenizer.apply_chat_template(record["prompt"], tokenize=False, add_generation_prompt=True, **variables)
    prompt = _tokenize(tokenizer, record["prompt"], add_generation_prompt=True, **variables)["input_ids"]
    chosen, rejected = (_tokenize(tokenizer, record["prompt"] + record[side], **variables)["input_ids"] for side in ("chosen", "rejected"))
    end = min(common_prefix_length(prompt, chosen), common_prefix_length(prompt, rejected))
    return text, (prompt[:end], chosen[end:], rejected[end:]), end < len(prompt)


class Mine:
    """The same of ours for one template: `chosen` is the value of `data.chat_template`, none for the model's own."""

    def __init__(self, ours, model, chosen, settings, folder):
        self.ours, self.model, self.folder = ours, model, folder
        self.settings = [*settings, f"data.template_date={DAY:%Y-%m-%d}"] + ([f"data.chat_template={chosen}"] if chosen else [])
        self.options = ["--template-date", f"{DAY:%Y-%m-%d}"] + (["--chat-template", chosen] if chosen else [])

    def ids(self, names):
        file = sides.write_pairs(self.folder / "conversations.jsonl", [record(name) for name in names])
        self.ours.scores(self.model, file, settings=self.settings)
        return self.ours.token_ids()

    def all(self, names):
        """Text and ids of each conversation; raises `Refused` where ours refuses one of them."""
        ids = self.ids(names)
        file, output = self.folder / "conversations.jsonl", self.ours.fresh("answers")
        command = ["generate", "--model", self.model, "--prompts", file, "--output", output, "--max-new-tokens", "1", "--device", "cpu", "-q"]
        self.ours.must("mvpbench", *command, *self.options)
        lines = output.read_text().rstrip("\n").split("\n")
        if not len(lines) == len(ids) == len(names):
            raise RuntimeError(f"{len(names)} conversations, {len(lines)} texts and {len(ids)} ids")
        return [(json.loads(line)["prompt"], of) for line, of in zip(lines, ids)]


def judged(tokenizer, mine, names):
    """Verdict of each conversation, what to say of it, and whether TRL cuts its prompt.

    Of a conversation with parts there are two readings: the parts as they are, and their texts joined with line breaks where the template was made for texts.
    """
    wanted, why, found = {}, {}, {}
    for name in names:
        for reading in readings(name):
            try:
                rendered = theirs(tokenizer, reading)
                wanted.setdefault(name, []).append(rendered)
            except Exception as error:  # Any refusal of the peer is a cell of the table.
                why.setdefault(name, f"{type(error).__name__}: {error}")
    try:
        got = dict(zip(wanted, mine.all(list(wanted)))) if wanted else {}
    except sides.Refused:
        got = {}
        for name in wanted:
            try:
                got[name] = mine.all([name])[0]
            except sides.Refused as refused:
                found[name] = refusal(mine, refused, "refused", str(refused))
    for name, (text, ids) in got.items():
        differences = [differing(one, text, ids) for one in wanted[name]]
        found[name] = ("same", "") if "" in differences else ("WRONG", differences[0])
    for name in set(names) - set(wanted):
        try:
            mine.ids([name])
            found[name] = "lenient", f"transformers: {why[name]}"
        except sides.Refused as refused:
            found[name] = refusal(mine, refused, "refused by both", why[name])
    return {name: (*found[name], name in wanted and wanted[name][0][2]) for name in names}


def readings(name):
    yield record(name)
    if has_parts(name):
        yield record(name, joined)


def has_parts(name):
    return any(isinstance(message["content"], list) for message in CONVERSATIONS[name].prompt)


def joined(message):
    content = message["content"]
    return {**message, "content": "\n".join(part["text"] for part in content)} if isinstance(content, list) else message


def differing(wanted, text, ids):
    """What differs; empty where nothing does."""
    if text != wanted[0]:
        return difference(wanted[0], text)
    if list(map(list, ids)) != list(map(list, wanted[1])):
        return f"the texts of the prompt are equal; ids {wanted[1]}, ours {ids}"
    return ""


def refusal(mine, refused, verdict, told):
    told = told.replace(f"{mine.folder}/conversations.jsonl:1: ", "").replace(f"{mine.model}/", "")
    return (verdict, told) if refused.is_clear else ("WRONG", f"unclear: {refused}")


def difference(wanted, got):
    at = next((i for i, (a, b) in enumerate(zip(wanted, got)) if a != b), min(len(wanted), len(got)))
    begin = max(0, at - 10)
    return f"transformers {quoted(wanted[begin : at + 30])}, ours {quoted(got[begin : at + 30])}"


def quoted(text):
    return f"`{json.dumps(text[:60], ensure_ascii=False)}`"


def make_model(folder, tokenizer_files, template, tokens=()):
    """A model for a tokenizer, as small as there can be, and its template. `tokens`: special tokens to add."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    for name in sides.TOKENIZER_FILES:
        if (tokenizer_files / name).exists():
            shutil.copyfile(tokenizer_files / name, folder / name)
    if tokens:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens(sorted(tokens), special_tokens=True)
        tokenizer.save_pretrained(folder)
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
            yield path.stem, None, path.read_bytes().decode()
        elif (path / "tokenizer_config.json").exists():
            jinja = path / "chat_template.jinja"
            own = jinja.read_bytes().decode() if jinja.exists() else None
            if (path / "tokenizer.json").exists():
                yield path.name, path, own
            else:
                source = own or json.loads((path / "tokenizer_config.json").read_text()).get("chat_template")
                if isinstance(source, str):
                    yield path.name, tiny, source


def all_of(verdicts):
    return (
        "WRONG" if verdicts["WRONG"] else "lenient" if verdicts["lenient"] else "refused" if verdicts["refused"] else "same" if verdicts["same"] else "none"
    )


def folder_of_trl():
    import trl

    return Path(trl.__file__).parent / "chat_templates"


def main():
    parser = sides.arguments(__doc__)
    parser.add_argument("--templates", type=Path, help="folder of templates and tokenizers, instead of the written ones")
    parser.add_argument("--without-parts", action="store_true", help="leave out the conversations whose contents are lists of parts")
    parser.add_argument("--trl", action="store_true", help="the templates of the installed TRL, instead of the written ones")
    args = parser.parse_args()
    versions = sides.check_versions()
    set_day()
    kinds = ["same", "refused", "refused by both", "lenient", "WRONG"]
    table = sides.Table(
        "Chat templates beside transformers",
        [*kinds[:1], "refused by ours alone", *kinds[2:], "cut", "message of ours, or the first difference"],
        "templates.py",
    )
    names = [name for name in CONVERSATIONS if not (args.without_parts and has_parts(name))]
    source_folder = folder_of_trl() if args.trl else args.templates
    if source_folder:
        todo = [(name, files, source, None) for name, files, source in supplied(source_folder)]
    else:
        todo = [(name, sides.GOLDEN / "models/tiny", source, expected) for name, expected, source in written()]
    conversations, cuts = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours = sides.Ours(args.bin, folder)
        shared = None
        for number, (name, files, source, expected) in enumerate(todo):
            if args.only not in name:
                continue
            chosen = None
            try:
                if files is None:
                    if shared is None:
                        tokens = {token for _, of, text, _ in todo if of is None for token in SPECIAL.findall(text)}
                        shared = make_model(folder / "model", sides.GOLDEN / "models/tiny", None, tokens)
                    model, tokenizer = shared
                    chosen = folder / f"{name}.jinja"
                    chosen.write_bytes(source.encode())
                    tokenizer.chat_template = source
                else:
                    model, tokenizer = make_model(folder / f"model-{number}", files, source)
            except Exception as error:  # A folder of others may hold what transformers does not load.
                print(f"left out: {name}: transformers does not load it: {error}", file=sys.stderr)
                continue
            if not tokenizer.chat_template:
                continue
            own_class = json.loads((model / "tokenizer_config.json").read_text()).get("tokenizer_class", "")
            settings = ["model.tokenizer=transformers5"] if own_class.startswith("LlamaTokenizer") else []
            found = judged(tokenizer, Mine(ours, model, chosen, settings, folder), names)
            verdicts = collections.Counter(verdict for verdict, *_ in found.values())
            conversations.update(verdicts)
            cut = sum(is_cut for *_, is_cut in found.values())
            cuts += cut
            told = next(
                (
                    f"{name}: {text}"
                    for kind in ("WRONG", "lenient", "refused", "refused by both")
                    for name, (verdict, text, _) in found.items()
                    if verdict == kind
                ),
                "",
            )
            verdict = all_of(verdicts)
            wished = expected or ("none" if verdict == "none" else "same")
            table.add(name, verdict, wished, *(verdicts[kind] for kind in kinds), cut, sides.shortened(told, folder))
    counts = ", ".join(f"{conversations[kind]} {kind}" for kind in kinds)
    met = f"Each template meets {len(names)} conversations ({', '.join(names)})."
    table.finish(args, ours, versions, f"Of {conversations.total()} conversations: {counts}; TRL cuts the prompts of {cuts}. {met} {NOTES}")


NOTES = (
    f"The written templates have one feature of Jinja each, most before the same chat of {len(CHAT)} characters. Compared are the prompt's text and "
    "the ids of prompt, chosen and rejected answer that TRL's DPOTrainer makes. `none`: TRL renders no conversation, with the error that is shown, and "
    "neither does ours. `refused by both` counts conversations that transformers refuses with the error that is shown. Text parts are the same as they "
    "are and, for a template that is made for texts, joined, which ours says. `cut`: conversations whose prompt does not stand at the beginning of the "
    "whole, so that TRL and ours cut its end. `lenient`: ours renders what transformers refuses. `strftime_now` gives both sides "
    f"{DAY:%Y-%m-%d}."
)

if __name__ == "__main__":
    main()
