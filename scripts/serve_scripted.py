#!/usr/bin/env python3
"""Answers chat completions by a script: a stand-in for a model in tests and in `reproduce.sh tiny`. No model is behind it, and no figure
made with it says anything about a model.

    python3 scripts/serve_scripted.py                  # prints the base URL; ends when its standard input is closed

On loopback alone, POST /v1/chat/completions. What it is asked is recognised by its words:

  a request that names `answer_w`           a JSON array of three questions, each with answer_w and answer_l, made of sample_topics.toml
                                            and sample_frames.toml for the preferences that the request states (High safety, Low creativity)
  "(Yes/No)" or "one word, Yes or No"       Yes or No: more often Yes the more words of the reference answer the answer has
  `score_1`                                 scores of three answers as JSON
  ratings without any of these              the preferences in words: "High fluency, Low creativity"
  anything else                             an answer to the question of the last message

The same request and model name give the same reply, whenever and however often it is asked. The options of failure spoil a share of the
requests, chosen by their text.
"""
import argparse
import hashlib
import http.server
import json
import os
import random
import re
import socketserver
import sys
import threading
import time

from make_sample import DIMENSIONS, HIGH, LOW, TOPICS, answers, question

STATED = re.compile(r"\b(high|low)\s+(" + "|".join(DIMENSIONS) + r")\b", re.IGNORECASE)
RATED = re.compile(r"\b(" + "|".join(DIMENSIONS) + r")\b[\"'`]?\s*[:=]\s*[\"']?(\d+(?:\.\d+)?)", re.IGNORECASE)
# What `make_sample` says of a user where nothing is known.
NOBODY = {"words": {"stage": "of your age", "life": "with days like yours", "Life": "With days like yours", "country": "your country"}}
CALM = [("factuality", "high"), ("helpfulness", "high")]  # what an answer turns on where a request states nothing


def seed_of(*parts):
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")


def share(*parts):
    """A number in 0..1 that these texts give."""
    return seed_of(*parts) / 2**64


def levels(text):
    """The dimensions that a text states, in its order: from words such as `High safety`, else from ratings."""
    found = {name.lower(): level.lower() for level, name in STATED.findall(text)}
    if not found:
        for name, rating in RATED.findall(text):
            if float(rating) >= HIGH or float(rating) <= LOW:
                found[name.lower()] = "high" if float(rating) >= HIGH else "low"
    return found


# ---------------------------------------------------------------- replies
def benchmark(text, rng):
    """Three questions about different things; the answers differ in two or three of the stated dimensions."""
    stated = list(levels(text).items())
    stated += [pair for pair in CALM if pair[0] not in dict(stated)][: max(0, 2 - len(stated))]
    items = []
    for topic in rng.sample(TOPICS, len(TOPICS)):
        differing = rng.sample(stated, min(len(stated), rng.choice([2, 3])))
        pair = answers(rng, topic, NOBODY, differing)
        if pair:
            items.append({"question": question(rng, topic, differing), "answer_w": pair[0], "answer_l": pair[1]})
        if len(items) == 3:
            break
    return json.dumps(items, ensure_ascii=False)


def preferences(text):
    """High ones first, each by its rating, as the paper's mapping orders them."""
    rated = {name.lower(): float(rating) for name, rating in RATED.findall(text)}
    high = sorted((name for name in rated if rated[name] >= HIGH), key=lambda name: -rated[name])
    low = sorted((name for name in rated if rated[name] <= LOW), key=lambda name: -rated[name])
    return ", ".join([f"High {name}" for name in high] + [f"Low {name}" for name in low])


def plain(text, rng):
    """An answer about what the question is about."""
    topic = next((topic for topic in TOPICS if topic["goal"] in text or topic["noun"] in text), None) or rng.choice(TOPICS)
    stated = list(levels(text).items()) or [(name, "high") for name in DIMENSIONS]
    pair = answers(rng, topic, NOBODY, rng.sample(stated, min(2, len(stated)))) or ("That depends on what you like.",) * 2
    return pair[rng.random() < 0.3]


def between(text, begin, end):
    """The last text after `begin` and before `end`."""
    return text.rpartition(begin)[2].partition(end)[0].strip()


def overlap(answer, reference):
    """Share of the words of the reference that the answer has."""
    words = lambda text: set(re.findall(r"\w+", text.lower()))
    wanted = words(reference)
    return len(wanted & words(answer)) / max(1, len(wanted))


def yes_or_no(text, model):
    reference, said = between(text, "Reference Answer:", "Model Answer:"), between(text, "Model Answer:", "Does the model's answer")
    chance = 0.93 if said == reference else 0.1 + 0.6 * overlap(said, reference)
    return "Yes" if share(model, reference, said) < chance else "No"


def scores(text, model):
    """Scores of 30 to 100: some for sentences that begin with capitals, the others by the text of answer and preferences."""
    stated = str(sorted(levels(text).items()))
    given = {}
    for at in (1, 2, 3):
        said = between(text, f"[Answer {at}]", "\n\n")
        begins = re.findall(r"(?:^|[.!?] )(\w)", said)
        order = sum(letter.isupper() for letter in begins) / max(1, len(begins))
        given[f"score_{at}"] = round(30 + 40 * share(model, stated, said) + 30 * order)
    return json.dumps(given | {"dimensions": [], "hard_violation": False, "reason": "by a script"})


def reply(messages, model):
    text = "\n".join(str(message.get("content") or "") for message in messages if message.get("role") != "assistant")
    rng = random.Random(seed_of(model, text))
    if "answer_w" in text and "answer_l" in text:
        return benchmark(text, rng)
    if "score_1" in text:
        return scores(text, model)
    if "(Yes/No)" in text or "Yes or No" in text:
        return yes_or_no(text, model)
    if "Question:" not in text and RATED.search(text):
        return preferences(text)
    return plain(text, rng)


# ---------------------------------------------------------------- server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def send(self, status, body, headers=()):
        raw = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(raw))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)
        self.wfile.flush()

    def error(self, status, message, headers=()):
        self.send(status, {"error": {"message": message, "type": "scripted", "code": status}}, headers)

    def do_GET(self):
        if self.path == "/v1/models":
            self.send(200, {"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "mvpbench"}]})
        else:
            self.error(404, f"nothing at {self.path}")

    def do_POST(self):
        options, counts = self.server.options, self.server.counts
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/v1/chat/completions":
            return self.error(404, f"nothing at {self.path}")
        try:
            body = json.loads(raw)
            messages, model = body["messages"], str(body["model"])
            asked = json.dumps(messages, sort_keys=True)
        except (ValueError, KeyError, TypeError) as error:
            return self.error(400, f"expected a chat completion, got {type(error).__name__}: {error}")
        key = seed_of(model, asked)
        with self.server.lock:
            counts[key] = tried = counts.get(key, 0) + 1
        if options.slow:
            time.sleep(options.slow)
        # The first try of a request fails; a further one is answered.
        if tried == 1 and share("fail", asked) < options.fail_share:
            kind = ("busy", "broken", "closed")[seed_of("kind", asked) % 3]
            if kind == "busy":
                return self.error(429, "too many requests", [("Retry-After", str(options.retry_after))])
            if kind == "broken":
                return self.error(503, "not now")
            self.close_connection = True
            return None
        text, finish = reply(messages, model), "stop"
        if share("malformed", asked) < options.malformed_share:
            text = text[: len(text) // 2] + "..."
        if share("cut", asked) < options.cut_share:
            text, finish = text[: len(text) // 2], "length"
        if self.server.log:
            with self.server.lock:
                self.server.log.write(json.dumps({"model": model, "messages": messages, "reply": text}, ensure_ascii=False) + "\n")
        prompt_tokens, completion_tokens = len(asked) // 4, len(text) // 4 + 1
        return self.send(200, {
            "id": f"chatcmpl-{key:016x}", "object": "chat.completion", "created": 1700000000, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": prompt_tokens + completion_tokens},
        })


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def handle_error(self, *_):
        pass  # a client that is killed leaves its connections


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="port of loopback (default: a free one)")
    parser.add_argument("--fail-share", type=float, default=0.0, help="share of requests whose first try gets a 429, a 503 or a closed connection")
    parser.add_argument("--retry-after", type=float, default=0, help="seconds that a 429 asks to wait (default 0)")
    parser.add_argument("--malformed-share", type=float, default=0.0, help="share of requests whose reply breaks off and says that it is whole")
    parser.add_argument("--cut-share", type=float, default=0.0, help="share of requests whose reply is cut by its length")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--log", help="file that every request and reply is appended to")
    options = parser.parse_args()

    server = Server(("127.0.0.1", options.port), Handler)
    server.options, server.counts, server.lock = options, {}, threading.Lock()
    server.log = open(options.log, "a", encoding="utf-8", buffering=1) if options.log else None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    while os.read(sys.stdin.fileno(), 4096):
        pass


if __name__ == "__main__":
    main()
