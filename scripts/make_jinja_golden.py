#!/usr/bin/env python3
"""Renders the templates of the tests with Jinja2 and writes the texts into the goldens: every template of jinja.json, and every file of
tests/data/chat_templates with every conversation of chat_templates.json.

The environment is the one in which transformers 5.23 renders a chat template, rebuilt from Jinja2's own parts: immutable and sandboxed,
trim_blocks, lstrip_blocks, loop controls, a tag `generation` that changes nothing, `tojson` without HTML escapes, and
`raise_exception`. The third column of jinja.json, whether ours renders the template too, is not touched. A new row is
[template, null, true]. The files are whole templates in the forms that families of models have, written for this project.

    pip install jinja2==3.1.6
    python3 scripts/make_jinja_golden.py
"""

import json
import pathlib
import sys

import jinja2
from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

VERSION = "3.1.6"
DATA = pathlib.Path(__file__).parent.parent / "tests/data"
GOLDEN = DATA / "golden/jinja.json"
FILES = DATA / "chat_templates"
WHOLE = DATA / "golden/chat_templates.json"


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
    """The texts of a conversation are two: without and with the beginning of an answer."""
    golden = json.loads(WHOLE.read_text())
    before = golden["texts"]
    golden["texts"] = {}
    for file in sorted(FILES.glob("*.jinja")):
        golden["texts"][file.stem] = {
            name: [
                rendered(
                    environment,
                    file.read_text(),
                    {"tools": None, "documents": None, **golden["special"], **conversation, "add_generation_prompt": is_open},
                )
                for is_open in (False, True)
            ]
            for name, conversation in golden["conversations"].items()
        }
    WHOLE.write_text(json.dumps(golden, indent=1) + "\n")
    changed = [name for name, texts in golden["texts"].items() if before.get(name) != texts]
    print(f"{len(golden['texts'])} whole templates, {len(changed)} changed")


def main():
    if jinja2.__version__ != VERSION:
        sys.exit(f"needs jinja2 {VERSION}, found {jinja2.__version__}: pip install jinja2=={VERSION}")
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    short_templates(environment)
    whole_templates(environment)


if __name__ == "__main__":
    main()
