#!/usr/bin/env python3
"""Renders the templates of the tests with Jinja2 and writes the texts into the goldens: every template of jinja.json, and every file of
tests/data/chat_templates with every conversation of chat_templates.json; with tokenizers, the ids of its pairs too, by the rule of TRL 1.16:
an answer begins where the ids of the prompt alone and those of the whole differ, so that a prompt may lose its end. And writes days by
Python's strftime into strftime.json.

The environment is the one in which transformers 5.23 renders a chat template, rebuilt from Jinja2's own parts: immutable and sandboxed,
trim_blocks, lstrip_blocks, loop controls, a tag `generation` that changes nothing, `tojson` without HTML escapes,
`raise_exception`, and `strftime_now` of one day. The third column of jinja.json, whether ours renders the template too, is not touched. A new row is
[template, null, true]. The files are whole templates in the forms that families of models have, written for this project.

    pip install jinja2==3.1.6 tokenizers==0.23.3
    python3 scripts/make_jinja_golden.py
"""

import datetime
import json
import pathlib
import sys

import jinja2
import tokenizers
from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

VERSIONS = {jinja2: "3.1.6", tokenizers: "0.23.3"}
DAY = datetime.date(2026, 11, 27)
DAYS = ("2026-11-27", "2024-02-29", "2025-01-05", "1999-12-31", "2000-01-01", "2027-01-01")
FORMATS = [
    *(f"%{c}" for c in "aAbBhCdDeFgGjmntuUVwWxyY%zZ"),
    *(f"%{flag}{c}" for flag in "-_0" for c in "dejmCgGUVWuwyY"),
    "%d %b %Y", "%-d. %B %Y", "é %% %A%n", "",
]  # fmt: skip
DATA = pathlib.Path(__file__).parent.parent / "tests/data"
GOLDEN = DATA / "golden/jinja.json"
FILES = DATA / "chat_templates"
WHOLE = DATA / "golden/chat_templates.json"
STRFTIME = DATA / "golden/strftime.json"
TOKENIZER = DATA / "golden/models/tiny/tokenizer.json"


class Generation(Extension):
    """`{% generation %}` marks what the assistant says; the text inside stays as it is."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("inside"), [], [], body).set_lineno(line)

    def inside(self, caller):
        return caller()


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise TemplateError(message)


def strftime_now(format):
    return DAY.strftime(format)


def rendered(environment, source, variables):
    try:
        return environment.from_string(source).render(**variables)
    except Exception:  # whatever it is, transformers renders nothing either
        return None


def short_templates(environment):
    golden = json.loads(GOLDEN.read_text())
    changed = 0
    for row in golden["templates"]:
        text = rendered(environment, row[0], golden["variables"])
        changed += text != row[1]
        row[1] = text
    rows = ",\n".join(json.dumps(row) for row in golden["templates"])
    variables = json.dumps(golden["variables"])
    GOLDEN.write_text(f'{{"variables": {variables}, "templates": [\n{rows}\n]}}\n')
    print(f"{len(golden['templates'])} templates, {changed} changed")


def whole_templates(environment):
    """The texts of a conversation are two: without and with the beginning of an answer. The ids of a pair are three lists."""
    golden = json.loads(WHOLE.read_text())
    before = golden["texts"]
    golden["texts"], golden["ids"] = {}, {}
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))

    def text(file, conversation, is_open):
        variables = {"tools": None, "documents": None, **golden["special"], **conversation, "add_generation_prompt": is_open}
        return rendered(environment, file.read_text(), variables)

    def ids(file, pair):
        pair = dict(pair)
        prompt, answers = pair.pop("prompt"), (pair.pop("chosen"), pair.pop("rejected"))
        texts = [text(file, {**pair, "messages": prompt}, True), *(text(file, {**pair, "messages": prompt + answer}, False) for answer in answers)]
        if None in texts:
            return None
        prompt, chosen, rejected = (tokenizer.encode(one, add_special_tokens=False).ids for one in texts)
        end = min(common_prefix_length(prompt, chosen), common_prefix_length(prompt, rejected))
        return [prompt[:end], chosen[end:], rejected[end:], len(prompt) - end]

    for file in sorted(FILES.glob("*.jinja")):
        golden["texts"][file.stem] = {
            name: [text(file, conversation, is_open) for is_open in (False, True)] for name, conversation in golden["conversations"].items()
        }
        golden["ids"][file.stem] = {name: ids(file, pair) for name, pair in golden["pairs"].items()}
    dumped = json.dumps({**golden, "ids": None}, indent=1).removesuffix("null\n}")
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(of, separators=(',', ':'))}" for name, of in golden["ids"].items())
    WHOLE.write_text(f"{dumped}{{\n{rows}\n }}\n}}\n")
    changed = [name for name, texts in golden["texts"].items() if before.get(name) != texts]
    cut = sum(bool(of and of[3]) for pairs in golden["ids"].values() for of in pairs.values())
    print(f"{len(golden['texts'])} whole templates, {len(changed)} changed; {cut} pairs with a prompt that loses its end")


def common_prefix_length(ids, others):
    """As TRL's data_utils has it."""
    return next((i for i, (a, b) in enumerate(zip(ids, others)) if a != b), min(len(ids), len(others)))


def days():
    texts = {day: {form: datetime.date.fromisoformat(day).strftime(form) for form in FORMATS} for day in DAYS}
    STRFTIME.write_text(json.dumps(texts, indent=1) + "\n")


def main():
    for package, version in VERSIONS.items():
        if package.__version__ != version:
            sys.exit(f"needs {package.__name__} {version}, found {package.__version__}")
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    days()
    short_templates(environment)
    whole_templates(environment)


if __name__ == "__main__":
    main()
