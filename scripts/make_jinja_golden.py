#!/usr/bin/env python3
"""Renders every template of tests/data/golden/jinja.json with Jinja2 and writes the texts back into it.

The environment is the one in which transformers 5.23 renders a chat template, rebuilt from Jinja2's own parts: immutable and sandboxed,
trim_blocks, lstrip_blocks, loop controls, a tag `generation` that changes nothing, `tojson` without HTML escapes, and
`raise_exception`. The third column, whether ours renders the template too, is not touched. A new row is [template, null, true].

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
GOLDEN = pathlib.Path(__file__).parent.parent / "tests/data/golden/jinja.json"


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


def main():
    if jinja2.__version__ != VERSION:
        sys.exit(f"needs jinja2 {VERSION}, found {jinja2.__version__}: pip install jinja2=={VERSION}")
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    golden = json.loads(GOLDEN.read_text())
    changed = 0
    for row in golden["templates"]:
        try:
            text = environment.from_string(row[0]).render(**golden["variables"])
        except Exception:  # whatever it is, transformers renders nothing either
            text = None
        changed += text != row[1]
        row[1] = text
    rows = ",\n".join(json.dumps(row) for row in golden["templates"])
    variables = json.dumps(golden["variables"])
    GOLDEN.write_text(f'{{"variables": {variables}, "templates": [\n{rows}\n]}}\n')
    print(f"{len(golden['templates'])} templates, {changed} changed")


if __name__ == "__main__":
    main()
