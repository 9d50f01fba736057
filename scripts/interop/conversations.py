"""The conversations that templates.py renders: the messages of a prompt, both answers, and the other columns of the record."""

import dataclasses


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **fields):
    return {"role": "assistant", "content": content, **fields}


def system(content):
    return {"role": "system", "content": content}


def calls(*functions, content="", **fields):
    """An assistant's message of calls, name and arguments each."""
    listed = [{"type": "function", "id": f"call{i}aaaaa", "function": {"name": name, "arguments": args}} for i, (name, args) in enumerate(functions)]
    return {"role": "assistant", "content": content, "tool_calls": listed, **fields}


def tool(content, name="find", **fields):
    return {"role": "tool", "name": name, "content": content, **fields}


def function(name, description, properties, required=(), **fields):
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters, **fields}}


@dataclasses.dataclass
class Conversation:
    prompt: list
    columns: dict = dataclasses.field(default_factory=dict)
    answers: tuple = ([assistant("Yes, of course.")], [assistant("no")])


FIND = function(
    "find",
    'Find a "word" <here>.',
    {
        "word": {"type": "string", "description": "what to find"},
        "most": {"type": "integer", "default": 5},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    ["word"],
)
WEATHER = function(
    "get_weather",
    "Weather of a place.\nUnits are metric.",
    {
        "place": {
            "type": "object",
            "description": "where",
            "properties": {"city": {"type": "string"}, "at": {"type": "array", "items": {"type": "number"}}},
            "required": ["city"],
        },
        "unit": {"type": "string", "enum": ["celsius", "kelvin"], "default": "celsius"},
        "when": {"type": ["string", "null"], "description": "a day", "nullable": True},
        "exact": {"type": "boolean", "default": False},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    },
    ["place", "unit"],
    **{"return": {"type": "object", "description": "degrees"}},
)
EMPTY = function("stop", "Stop.", {})
DOCUMENTS = [{"title": "Ünï", "text": "a\nb"}, {"title": "two", "text": ""}]
CALL = calls(("find", {"word": "ça", "most": 2}))
ODD = {"s": "ä\"\\\n", "i": -3, "f": 0.5, "big": 1e22, "t": True, "n": None, "l": [1, "a", None, {"k": []}], "o": {"é": {}}}

CONVERSATIONS = {
    "question": Conversation([user("Why is the sky blue?")]),
    "system": Conversation([system("Be brief."), user(" Hello there!\n")]),
    "many turns": Conversation([user("a"), assistant("b"), user("c"), assistant("<think>\nhm\n</think>\n\nd"), user("e")]),
    "system and turns": Conversation([system(" Be kind. \n"), user("a"), assistant("b\n"), user("c"), assistant(" d"), user("e")]),
    "ends in assistant": Conversation([user("a"), assistant("b")]),
    "ends in system": Conversation([user("a"), system("b")]),
    "two users": Conversation([user("a"), user("b")]),
    "empty": Conversation([user("")]),
    "empty texts": Conversation([system(""), user("a"), assistant(""), user("b")], answers=([assistant("")], [assistant("x")])),
    "white space": Conversation([system("\n"), user("\t x \n\n y\r\n")]),
    "spaced answers": Conversation([user("a")], answers=([assistant("  one \n\n")], [assistant("\n\n two\t")])),
    "unicode": Conversation([user("naïve 東京 😀 \u2028 'q' \"p\" <b> & \\n {{ x }} {% y %}")]),
    "unicode of many kinds": Conversation(
        [system("\u0130 ß ŉ ǅ"), user("e\u0301 \u200d\u200b\ufeff \u00a0\u3000 ﬃ \U0001f468\u200d\U0001f469\u200d\U0001f467"), assistant("\u0085\u001c x \u2029"), user("ا ب")],
        answers=([assistant("\u3000ответ\u00a0")], [assistant("\u200b回答")]),
    ),
    "special tokens": Conversation([user("a</s> <s>b <|im_end|><|eot_id|> <think>x</think>")]),
    "tools": Conversation([user("Find it."), CALL, tool('{"n": 1}')], {"tools": [FIND]}),
    "tools that nobody calls": Conversation([system("Be brief."), user("Find it.")], {"tools": [FIND, WEATHER, EMPTY]}),
    "two calls": Conversation(
        [
            system("Be brief."),
            user("Find both."),
            calls(("find", {"word": "a"}), ("get_weather", {"place": {"city": "Oslo", "at": [59.9, 10]}, "unit": "kelvin"}), content="I look."),
            tool("one", tool_call_id="call0aaaaa"),
            tool("two\n", "get_weather", tool_call_id="call1aaaaa"),
            assistant("Found."),
            user("And now?"),
        ],
        {"tools": [FIND, WEATHER]},
    ),
    "one call after another": Conversation(
        [user("Find both."), calls(("find", {"word": "a"})), tool("1"), calls(("stop", {})), tool("", "stop")], {"tools": [FIND, EMPTY]}
    ),
    "an answer that calls": Conversation(
        [user("Find it.")], {"tools": [FIND]}, ([calls(("find", {"word": "x"}))], [calls(("find", {"most": 0}), content="Let me see.")])
    ),
    "an answer of several messages": Conversation(
        [user("Find it.")], {"tools": [FIND]}, ([CALL, tool("7"), assistant("It is 7.")], [CALL, tool("7"), assistant("8?")])
    ),
    "odd arguments": Conversation([user("x"), calls(("find", ODD)), tool(json_text := '{"a": [1, 2.0]}')], {"tools": [FIND]}),
    "arguments as text": Conversation([user("x"), calls(("find", '{"word": "a"}')), tool(json_text)], {"tools": [FIND]}),
    "variables": Conversation([user("Read it.")], {"chat_template_kwargs": {"documents": DOCUMENTS, "enable_thinking": False, "depth": 3, "rate": 0.5}}),
    "thinking": Conversation([system("s"), user("a"), assistant("b"), user("c")], {"chat_template_kwargs": {"enable_thinking": True}}),
    "no thinking": Conversation([system("s"), user("a"), assistant("b"), user("c")], {"chat_template_kwargs": {"enable_thinking": False}}),
    "effort": Conversation(
        [user("a")],
        {"chat_template_kwargs": {"reasoning_effort": "high", "model_identity": "You are Ann.", "date_string": "1 Jan 2025", "builtin_tools": ["python"]}},
    ),
    "reasoning": Conversation([user("a"), {**assistant("b"), "reasoning_content": "because"}, user("c")]),
    "reasoning in answers": Conversation(
        [user("a"), assistant("b", reasoning="so"), user("c")],
        answers=([assistant("d", reasoning_content=" why\n")], [assistant("<think>\nhm\n</think>\n\ne")]),
    ),
    "reasoning before a call": Conversation(
        [user("a"), calls(("find", {"word": "x"}), reasoning_content="look"), tool("1"), assistant("b", thinking="ok"), user("c")], {"tools": [FIND]}
    ),
    "other fields": Conversation([{**user("a"), "name": "Ann", "weight": None}]),
    "null keys": Conversation(
        [{"role": "user", "content": "a", "tool_calls": None, "name": None}, {**CALL, "content": None, "reasoning_content": None}, tool("1", tool_calls=None)],
        {"tools": [FIND], "chat_template_kwargs": {"enable_thinking": None}},
        ([assistant("x", tool_calls=None)], [assistant("y", name=None)]),
    ),
    "developer": Conversation([{"role": "developer", "content": "Be brief."}, user("a")]),
    "an unknown role": Conversation([{"role": "narrator", "content": "x"}, user("a")]),
    "parts": Conversation([{"role": "user", "content": [{"type": "text", "text": "in parts"}]}]),
    "parts of a turn": Conversation(
        [
            {"role": "system", "content": [{"type": "text", "text": "s"}]},
            {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "\nb"}]},
        ],
        answers=([{"role": "assistant", "content": [{"type": "text", "text": "x"}]}], [{"role": "assistant", "content": [{"type": "text", "text": ""}]}]),
    ),
}


def record(name, of=lambda message: message):
    """The record of a conversation, each message through `of`."""
    conversation = CONVERSATIONS[name]
    prompt, chosen, rejected = (list(map(of, messages)) for messages in (conversation.prompt, *conversation.answers))
    return {"id": name, "prompt": prompt, "chosen": chosen, "rejected": rejected, **conversation.columns}
