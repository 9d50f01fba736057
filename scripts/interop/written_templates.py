"""Chat templates of our own, one feature of Jinja each, with the verdict that templates.py gives.

A template that only states something writes it before `CHAT`, so that an answer follows its prompt.
"""

CHAT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"

WHOLE = {
    "plain": CHAT,
    "BOS of its own": "{{ bos_token }}" + CHAT,
    "Llama 2's form": """{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set first = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set first = false %}{% endif %}{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if loop.index0 == 0 and first != false %}{% set content = '<<SYS>>\\n' + first + '\\n<</SYS>>\\n\\n' + m['content'] %}{% else %}{% set content = m['content'] %}{% endif %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "ChatML on lines of its own": """{% for m in messages %}
    {%- if loop.first and m.role != 'system' %}
        {{- '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + m.role + '\\n' + (m.content or '') + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "blocks on lines, lstrip and trim": """{# a comment #}
{% for m in messages %}
    {% if m.role == 'user' %}
USER: {{ m.content }}
    {% elif m.role == 'system' %}
	{{ m.content }}
    {% else %}
ANSWER: {{ m.content }}
    {%- endif +%}
{% endfor %}
{% if add_generation_prompt %}
{{ 'ANSWER: ' }}
{%- endif %}""",
    "generation tag": "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}\n  {%- generation %}{{ m.content }}{{ eos_token }}{% endgeneration -%}\n{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "loop controls": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{% if loop.index > 9 %}{% break %}{% endif %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "namespace over a loop": "{% set ns = namespace(system='', n=0) %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.system = m.content %}{% else %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ ns.system | trim }}<|{{ m.role }}|>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ ns.n + 1 }}{{ ns.system | trim }}<|assistant|>{% endif %}",
    "neighbours in a loop": "{% for m in messages %}{% if loop.previtem is not defined or loop.previtem.role != m.role %}<|{{ m.role }}|>{% endif %}{{ loop.cycle('a', 'b') }}{{ loop.index0 }}{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{{ ['a', 'b'][messages | length % 2] }}{{ messages | length }}{% endif %}",
    "thoughts are left out": "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% else %}{{ m.content }}{% endif %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "reasoning": "{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content is defined and m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}{{ m.thinking }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "tools as JSON": "{% if tools %}{{ tools | tojson }}\n{{ tools | tojson(indent=4) }}\n{% for t in tools %}{{ t.function.name }}: {{ t['function']['description'] }}\n{% endfor %}{% endif %}{% for m in messages %}<|{{ m.role }}|>{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function | tojson }}{{ c.function.arguments.items() | list }}{% endfor %}{% endif %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "parameters of tools": "{% macro show(properties, required) %}{% for name, p in properties | items %}{{ name }}{{ '!' if name in required else '?' }}: {{ p.type | upper }}{{ ' = ' ~ p.default if p.default is defined }}\n{% endfor %}{% endmacro %}{% for t in tools or [] %}{{ show(t.function.parameters.properties, t.function.parameters.required) }}{% endfor %}"
    + CHAT,
    "documents and variables": "{% for d in documents or [] %}{{ loop.index }}. {{ d.title }}: {{ d.text | default('-', true) }}\n{% endfor %}{% if enable_thinking is defined and enable_thinking is false %}/no_think{% endif %}{{ depth | default(1) * 2 }}{{ rate }}"
    + CHAT,
    "content as text or parts": "{% for m in messages %}<|{{ m.role }}|>{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "a thought first": "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}",
    "a thought that is switched off": CHAT + "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}",
    "recursive loop": "{% for m in messages recursive %}<|{{ m.role }}|>{{ m.content }}{{ loop.depth }}{% if m.tool_calls is defined %}{{ loop([{'role': 'call', 'content': 'x'}]) }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
}

# Feature, verdict, source that is written before `CHAT`.
BEFORE = [
    (
        "filters map, select, reject",
        "same",
        "{% set first = messages[:1] %}{{ first | map(attribute='role') | join(',') }}{{ first | selectattr('role', 'equalto', 'user') | list | length }}{{ first | rejectattr('role', 'in', ['system']) | map(attribute='content') | list | length }}{{ first | map(attribute='name', default='-') | list }}",
    ),
    (
        "slices",
        "same",
        "{{ messages[:1] | length }}{{ messages[0].content[:3] }}{{ messages[1:][-1:] | length > 5 }}{{ 'abc'[::-1] }}{{ messages[0]['role'][1:-1] }}{{ (messages | list)[0].role[-1] }}",
    ),
    (
        "is defined and default",
        "same",
        "{{ nobody is defined }}{{ messages[0].name is defined and messages[0].name is not none }}{{ messages[0].name | default('?') }}{{ '' | default('d', true) }}{{ messages[0].get('name', 'n') }}{{ 'weight' in messages[0] }}",
    ),
    (
        "methods of text",
        "same",
        "{{ ' a b '.strip() }}{{ 'a,b'.split(',') }}{{ messages[0].content.startswith('W') }}{{ 'abc'.endswith(('c', 'd')) }}{{ 'aXa'.replace('a', 'b', 1) }}{{ 'xay'.strip('xy') }}{{ 'a b'.title() }}{{ 'aB'.upper() }}{{ 'éa'.find('a') }}{{ '-'.join(['a', 'b']) }}{{ 'aa'.count('a') }}",
    ),
    (
        "methods of a dictionary",
        "same",
        "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{{ messages[0].keys() | list }}{{ messages[0].get('x') is none }}{{ {'a': 1}.values() | list }}",
    ),
    (
        "conditions and operands",
        "same",
        "{{ 'a' if messages[0].content | length > 1 else 'b' }}{{ 0 or 'z' }}{{ '' and 'z' }}{{ 1 < 2 < 3 }}{{ not 'a' in 'abc' }}{{ 'x' if false }}{{ messages[0].role not in ['user'] }}",
    ),
    (
        "integers and floats",
        "same",
        "{{ 7 // 2 }}{{ -7 // 2 }}{{ -7 % 3 }}{{ 4 / 2 }}{{ 1 / 3 }}{{ 2 ** 10 }}{{ 2.5 | round }}{{ 0.1 + 0.2 }}{{ 1.0 }}{{ '12' | int + 1 }}{{ 10 ** 30 }}",
    ),
    ("formats", "same", "{{ '%.2f' | format(1.005) }}{{ '%s-%d' | format('a', 3) }}{{ '{}:{:>3}'.format('a', 7) }}{{ '{:,}'.format(12345) }}"),
    (
        "values as text",
        "same",
        "{{ [messages[0].role] }}{{ [none, true, 1.5, \"it's\"] }}{{ (1, 2) }}{{ {'a': 'b'} }}{{ none }}{{ true ~ 1 ~ none }}",
    ),
    (
        "JSON",
        "same",
        "{{ {'a': [1, {'b': none}], 'é': '<b>\\\"'} | tojson }}{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}{{ 'é' | tojson(ensure_ascii=true) }}{{ messages[:1] | tojson(indent=2) }}{{ 1e16 | tojson }}",
    ),
    (
        "macros and calls",
        "same",
        "{% macro a(x, y='d') %}{{ x }}{{ y }}{% if x is number and x > 0 %}{{ a(x - 1) }}{% endif %}{% endmacro %}{{ a(2) }}{{ a('x', y='z') }}{% macro b() %}[{{ caller('c') }}]{% endmacro %}{% call(u) b() %}{{ u }}!{% endcall %}",
    ),
    (
        "set blocks and filters",
        "same",
        "{% set x | upper %} abc {% endset %}{{ x }}{% filter replace('a', 'b') %}aa{% endfilter %}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% with c = 3 %}{{ c }}{% endwith %}",
    ),
    ("scopes", "same", "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{% endfor %}{{ x }}{% if true %}{% set x = 7 %}{% endif %}{{ x }}"),
    ("raw", "same", "{% raw %}{{ x }} {% y %}{% endraw %}{{ '{{' }}{% raw -%}  {% generation %}  {%- endraw %}"),
    (
        "sorting and grouping",
        "same",
        "{% for role, group in messages[:1] | groupby('role') %}{{ role }}{{ group | length }}{% endfor %}{{ ['b', 'A'] | sort }}{{ {'b': 1, 'a': 2} | dictsort }}{{ [3, 1] | min }}{{ [1, 2] | sum }}{{ ['a', 'a'] | unique | list }}{{ [1, 2, 3] | batch(2) | list }}",
    ),
    ("unicode", "same", "{{ 'naïve' | length }}{{ 'ß' | upper }}{{ '\\u00e9' }}{{ '東京' | list }}{{ 'É'.lower() }}{{ '  é ' | trim }}"),
    (
        "tests of kinds",
        "same",
        "{{ messages is iterable }}{{ messages[0] is mapping }}{{ 1 is number }}{{ 'a' is string }}{{ none is none }}{{ true is boolean }}{{ 3 is odd }}{{ 4 is divisibleby 2 }}{{ messages is sequence }}",
    ),
    ("blocks", "same", "{% block head %}x{% endblock %}{{ self.head() }}"),
    (
        "special tokens",
        "same",
        "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token is defined }}{{ tools is none }}{{ documents is defined }}",
    ),
    # Refused by ours, or by both (`none`).
    ("strftime_now", "same", "{{ strftime_now('%Y') }}"),
    ("raise_exception", "none", "{{ raise_exception('never') }}"),
    ("include", "none", "{% include 'other' %}"),
    ("import", "none", "{% import 'other' as o %}"),
    ("extends", "none", "{% extends 'other' %}"),
    ("do", "none", "{% do messages.append({}) %}"),
    ("append", "none", "{% set x = [] %}{% set _ = x.append(1) %}"),
    ("an unknown filter", "none", "{{ 'a' | nothing }}"),
    ("a missing value's field", "none", "{{ nobody.field }}"),
    ("text and a number", "none", "{{ 'x' + 1 }}"),
    ("percent of text", "same", "{{ '%s' % 'a' }}"),
    ("varargs of a macro", "refused", "{% macro a() %}{{ varargs }}{% endmacro %}{{ a(1) }}"),
    ("cycler and joiner", "same", "{% set j = joiner(',') %}{{ j() }}{{ j() }}"),
    ("filters that are not here", "refused", "{{ 'a b' | wordwrap(1) }}"),
    ("filters that were not here", "same", "{{ 'a b' | wordcount }}{{ 'one two three' | truncate(7, leeway=0) }}{{ 'ab' | center(7) }}{{ messages[0] | attr('role') }}"),
    ("groups by name", "same", "{% for g in messages[:1] | groupby('role') %}{{ g.grouper }}{{ g.list | length }}{{ g[0] }}{% endfor %}"),
    ("JSON by place", "same", "{{ {'é': [1]} | tojson(true, 1) }}{{ {1: none, 2.5: true} | tojson }}"),
    ("the time of day", "refused", "{{ strftime_now('%H') }}"),
    ("a date of many kinds", "same", "{{ strftime_now('%A, %-d. %B %Y, %j, %V, %y/%m/%d%%') }}"),
    ("methods that are not here", "same", "{{ 'abc'.removeprefix('a') }}"),
    ("length of what is missing", "same", "{{ nobody | length }}"),
    # What differed once.
    ("line ends of Windows", "same", "{% if true %}\r\na\r\n{% endif %}\r\n"),
    ("raw before a line end", "same", "{% raw %}\n{% endraw %}"),
    (
        "a key that is a method's name, by a dot",
        "same",
        "{% for t in tools or [] %}{{ t.function.parameters.properties.tags.items.type }}{% endfor %}",
    ),
    (
        "a key that is a method's name, missing",
        "same",
        "{% for t in tools or [] %}{{ t.function.parameters.properties.word['items'] is defined }}{% endfor %}",
    ),
    ("a method that is not called", "same", "{{ messages[0].content.upper is defined }}"),
    ("is sequence, of text", "same", "{{ messages[0].content is sequence }}"),
    ("is iterable, of none", "same", "{{ none is iterable }}"),
    ("a loop over none", "same", "{% for d in documents %}{{ d.title }}{% endfor %}"),
    ("a default that names a parameter", "same", "{% macro a(x, y=x) %}{{ y }}{% endmacro %}{{ a(1) }}"),
    ("with, one after the other", "same", "{% with a = 1, b = a %}{{ b }}{% endwith %}"),
    ("an order of unlike values", "none", "{{ none < 1 }}"),
    ("large and small floats", "same", "{{ 1e16 }}{{ 1e-5 }}"),
    ("title() after an apostrophe", "same", '{{ "it\'s".title() }}'),
    ("strip() of separators", "same", "{{ '\\x1ca'.strip() | length }}"),
    ("splitlines() of other line ends", "same", "{{ 'a\\rb'.splitlines() | length }}"),
    ("escape", "same", '{{ messages[0].content | e }}{{ "\'" | e }}'),
    ("indent of a last line end", "same", "{{ 'a\\nb\\n' | indent(2) }}"),
    ("a namespace, views and ranges as text", "refused", "{{ namespace(a=1) }}{{ {'a': 1}.keys() }}{{ range(2) }}"),
    ("an unprintable character in a list", "same", "{{ [messages[0].content] }}"),
    ("today's date where there is one", "same", "{% if strftime_now is defined %}today{% else %}26 Jul 2024{% endif %}"),
    ("escapes that Python has", "same", "{{ '\\U0001F600' }}{{ '\\v' }}"),
]


def written():
    """`(name, verdict, source)` of each."""
    for name, source in WHOLE.items():
        yield name, "same", source
    for name, verdict, source in BEFORE:
        yield name, verdict, source + CHAT
