#!/usr/bin/env python3
"""Write survey.jsonl and conversations.jsonl in the layout of PRISM, with PRISM's counts and nobody's words.

    python3 scripts/make_prism.py target/prism                       # the real counts: 1,500 users, 8,011 conversations
    python3 scripts/make_prism.py target/prism --users 60 --conversations 200 --broken 2

Counts, answers and moments are those of prism_facts.toml, shared out exactly and each apart from the others, so that a user may be
retired at twenty. Every text is made of sample_topics.toml and sample_frames.toml. `--facts` takes another table of the same form.
Standard library only; the same options give the same bytes.
"""
import argparse
import collections
import datetime
import json
import os
import random
import statistics
import tomllib
from pathlib import Path

from make_sample import FRAMES, TOPICS, capital, spoken_country

HERE = Path(__file__).resolve().parent
EMPTY = "EMPTY STRING"  # what PRISM writes for a text that was left empty
MODELS = [(f"model-{letter}", f"provider-{1 + at // 3}") for at, letter in enumerate("abcdefghijkl")]
USE_CASES = ["advice", "coding", "homework", "language", "recipes", "research", "stories", "work"]
CONTINENT = {
    "Northern America": "Americas", "Latin America and the Caribbean": "Americas", "Australia and New Zealand": "Oceania", "Polynesia": "Oceania",
    "Prefer not to say": "Prefer not to say",
}
FOLLOW_UPS = [
    "Thank you. How long does {noun} take?", "And what if {trouble}?", "I have heard that {myth}. Is that so?", "Could you say more about the first point?",
    "Why should I {a}?", "Which of these matters most if I want to {goal}?", "That sounds hard. Is there an easier way to {goal}?", "What do other people say?",
]
PROMPTS = {
    "unguided": ["How can I {goal}?", "Help me, please: {trouble}.", "Is it true that {fact}?"],
    "values guided": ["Does it matter whether I {a} or {b}?", "I believe that {fact}. Do you agree?", "What do you think of people who want to {goal}?"],
    "controversy guided": ["Some say that {myth}. What is right?", "Should there be a law about {noun}?", "Why do people quarrel about {noun}?"],
}
FEEDBACK = ["It was clear and friendly.", "The second answer repeated itself.", "I would have liked an example.", "Good, but a bit long.", "It did not fit what I asked."]


# ---------------------------------------------------------------- exact shares
def shared_out(rng, counts, n):
    """`n` values in the proportions of `counts` (value: count), by largest remainders, shuffled."""
    total = sum(counts.values())
    exact = {value: count * n / total for value, count in counts.items()}
    drawn = {value: int(share) for value, share in exact.items()}
    short = n - sum(drawn.values())
    for value in sorted(exact, key=lambda value: drawn[value] - exact[value])[:short]:
        drawn[value] += 1
    values = [value for value, times in drawn.items() for _ in range(times)]
    rng.shuffle(values)
    return values


def rounded(quantile, low, high):
    return min(high, max(low, round(quantile)))


def ratings(rng, mean, std, low, high, n):
    """`n` whole ratings of a normal distribution cut to `low` and `high`, which are both there, with that mean and deviation."""
    shape = statistics.NormalDist()
    quantiles = [shape.inv_cdf((i + 0.5) / 500) for i in range(500)]
    centre, width = mean, std
    for _ in range(60):  # the cut moves both moments, so the uncut ones are sought
        cut = [rounded(centre + width * z, low, high) for z in quantiles]
        centre += mean - statistics.fmean(cut)
        width = min(4 * std, width * std / max(statistics.pstdev(cut), 1e-9))
    values = [rounded(centre + width * shape.inv_cdf((i + 0.5) / n), low, high) for i in range(n)]
    if n > 1:
        values[0], values[-1] = low, high
    rng.shuffle(values)
    return values


def spread(rng, least, total, weights):
    """Whole numbers with the sum `total`, each at least its `least`; what is more goes by `weights`."""
    numbers = list(least)
    for at in rng.choices(range(len(numbers)), weights, k=total - sum(numbers)):
        numbers[at] += 1
    return numbers


def conversations_of(rng, facts, users, conversations):
    """How many conversations each of `users` has, in PRISM's proportions, with that sum."""
    table = {count: times for count, times in enumerate(facts["conversations_of_a_user"], 1)}
    held = shared_out(rng, table, users)
    order, step = list(range(users)), 1 if sum(held) < conversations else -1
    rng.shuffle(order)
    at = 0
    while sum(held) != conversations:
        user = order[at % users]
        at += 1
        if held[user] + step >= 1:
            held[user] += step
    return held


# ---------------------------------------------------------------- survey
def simplified(facts, what, answer):
    return facts["simplified"][what].get(answer, answer)


def moment(rng):
    return (datetime.datetime(2023, 11, 22, 9) + datetime.timedelta(seconds=rng.randrange(2_500_000))).strftime("%Y-%m-%d %H:%M:%S")


def location(rng, country, elsewhere, countries):
    name, iso, subregion, special, _ = country
    home = country
    while elsewhere and home[0] == name and len(countries) > 1:
        home = rng.choices(countries, [row[4] for row in countries])[0]
    region = lambda row: CONTINENT.get(row[2], row[2].split()[-1])
    return {
        "birth_country": name, "birth_countryISO": iso, "birth_region": region(country), "birth_subregion": subregion,
        "reside_country": home[0], "reside_countryISO": home[1], "reside_region": region(home), "reside_subregion": home[2],
        "same_birth_reside_country": name if name == "Prefer not to say" else "No" if home is not country else "Yes", "special_region": special,
    }


def survey(rng, facts, n, held):
    """Rows of the survey; `held`: conversations of each user, 0 for those who answered the survey alone."""
    answers = {name: shared_out(rng, counts, n) for name, counts in facts["survey"].items()}
    stated = {name: ratings(rng, *moments, n) for name, moments in facts["stated_prefs"].items()}
    countries = facts["birth"]["countries"]
    born = shared_out(rng, {at: row[4] for at, row in enumerate(countries)}, n)
    # A country's only user has conversations, so that no country is lost.
    times = collections.Counter(born)
    only = [user for user in range(n) if times[born[user]] == 1 and held[user] == 0]
    free = [user for user in range(n) if times[born[user]] > 5 and held[user] > 0]
    for user, other in zip(only, free):
        born[user], born[other] = born[other], born[user]
    moved = facts["birth"]["live_elsewhere"] / facts["users"]
    elsewhere = set(rng.sample(range(n), round(moved * n)))
    words = FRAMES["user"]
    rows = []
    for user in range(n):
        mine = {name: values[user] for name, values in answers.items()}
        prefs = {name: values[user] for name, values in stated.items()}
        country = countries[born[user]]
        silent = rng.random()
        prefs["other_text"] = rng.choice(words["other_text"]) if silent < 0.2 else EMPTY if silent < 0.8 else None
        if silent >= 0.8:
            prefs["other"] = None
        description = rng.choice(words["description"]).format(stage="new here", country=spoken_country(country[0]), hobby=rng.choice(words["hobby"]))
        wishes = [rng.choice(list(words["wish"][level].values())) for level in ("high", "low")]
        religion, ethnicity = mine["religion.categorised"], mine["ethnicity.categorised"]
        rows.append({
            "user_id": f"user{user}", "survey_only": held[user] == 0, "num_completed_conversations": held[user],
            "consent": "Yes, I consent to take part", "consent_age": "Yes, I am 18 or older",
            **{name: mine[name] for name in ("lm_familiarity", "lm_indirect_use", "lm_direct_use")},
            "lm_frequency_use": mine["lm_frequency_use"] or None,
            "self_description": f"{description} {rng.choice(words['value'])}" if rng.random() < 0.97 else EMPTY,
            "system_string": " ".join([rng.choice(words["system"])] + wishes) if rng.random() < 0.95 else EMPTY,
            **{name: mine[name] for name in ("age", "gender", "employment_status", "education", "marital_status", "english_proficiency")},
            "study_id": f"study{user % 7}", "study_locale": country[3].lower(),
            "religion": {"self_described": religion.lower(), "categorised": religion, "simplified": simplified(facts, "religion", religion)},
            "ethnicity": {"self_described": ethnicity.lower(), "categorised": ethnicity, "simplified": simplified(facts, "ethnicity", ethnicity)},
            "location": location(rng, country, user in elsewhere, countries),
            "lm_usecases": {**{name: int(rng.random() < 0.3) for name in USE_CASES}, "other_text": None},
            "stated_prefs": prefs,
            "order_lm_usecases": rng.sample(USE_CASES, len(USE_CASES)), "order_stated_prefs": rng.sample(list(stated), len(stated)),
            "generated_datetime": moment(rng), "timing_duration_s": (seconds := rng.randint(240, 2400)), "timing_duration_mins": round(seconds / 60, 2),
            "included_in_US_REP": country[1] == "USA", "included_in_UK_REP": country[1] == "GBR", "included_in_balanced_subset": rng.random() < 0.5,
        })
    return rows


# ---------------------------------------------------------------- conversations
def stock(rng, topic):
    """Sentences about a topic that answers are drawn from, each with its number of words."""
    fields = {**topic, **{"abc"[at]: step for at, step in enumerate(topic["steps"][:3])}, "A": capital(topic["steps"][0]), "B": capital(topic["steps"][1])}
    fields |= {f"v{at + 1}": view for at, view in enumerate(topic["views"])}
    fields |= {"stage": "of any age", "life": "with little time", "Life": "With little time", "country": "any country"}
    frames = [line for lines in FRAMES["answer"].values() for line in lines]
    for dimension in ("creativity", "fluency", "factuality", "diversity", "safety", "helpfulness"):
        frames += [line for level in ("high", "low") for side in "wl" for line in FRAMES[dimension][level][side]]
    sentences = [line.format(**fields) for line in frames]
    rng.shuffle(sentences)
    return [(line, len(line.split())) for line in sentences], fields


def answer(rng, sentences, words):
    """Consecutive sentences from a random place on, about `words` words."""
    at, wanted, parts = rng.randrange(len(sentences)), max(1, rng.gauss(words, words / 4)), []
    while wanted > 0:
        line, length = sentences[at % len(sentences)]
        parts.append(line)
        wanted -= length
        at += 1
    return " ".join(parts)


def history(rng, topic, kind, turns, first, words):
    """Items of a conversation with `turns` turns, `first` answers in the first and two in the others."""
    sentences, fields = topic
    items, models = [], rng.sample(MODELS, 4)
    for turn in range(turns):
        frames = FOLLOW_UPS if turn else PROMPTS[kind]
        items.append({"turn": turn, "role": "user", "content": rng.choice(frames).format(**fields)})
        count = 2 if turn else first
        scores = [rng.randint(1, 100) for _ in range(count)]
        best = max(range(count), key=lambda at: scores[at])
        both = rng.random() < 0.02  # PRISM has turns in which two answers are marked
        if turn == 0:
            leader = models[best]
        for at in range(count):
            name, provider = leader if turn else models[at]
            drawn = rng.random()
            items.append({
                "turn": turn, "role": "model", "content": EMPTY if drawn < 0.002 else answer(rng, sentences, words), "model_name": name,
                "model_provider": provider, "score": None if 0.002 <= drawn < 0.004 and at != best else scores[at],
                "if_chosen": at == best or (both and at == (best + 1) % count), "within_turn_id": at,
            })
    return items


def conversations(rng, facts, people, n, words):
    """Rows of the conversations of the people of the survey."""
    owners = [row for row in people for _ in range(row["num_completed_conversations"])]
    scale = lambda count: round(count * n / facts["conversations"])
    turns = spread(rng, [1 if rng.random() < 0.05 else 2 for _ in range(n)], scale(facts["interactions"]), [rng.expovariate(1) for _ in range(n)])
    # Some first turns have three answers, as many as the sum of all answers asks for.
    missing = 4 * n + 2 * (sum(turns) - n) - scale(facts["utterances"])
    short = set(rng.sample(range(n), min(max(missing, 0), n)))
    firsts = [3 if at in short else 4 for at in range(n)]
    kinds = shared_out(rng, facts["conversation_type"], n)
    rated = {group: {name: ratings(rng, *moments, n) for name, moments in facts[group].items()} for group in ("performance_attributes", "choice_attributes")}
    topics = [stock(rng, topic) for topic in TOPICS]
    rows = []
    for at, owner in enumerate(owners):
        items = history(rng, rng.choice(topics), kinds[at], turns[at], firsts[at], words)
        # A user may leave a rating out.
        given = {group: {name: None if rng.random() < 0.03 else values[at] for name, values in table.items()} for group, table in rated.items()}
        rows.append({
            "conversation_id": f"c{at}", "user_id": owner["user_id"], "conversation_type": kinds[at], "opening_prompt": items[0]["content"],
            "conversation_turns": turns[at], "conversation_history": items, **given,
            "open_feedback": rng.choice(FEEDBACK) if rng.random() < 0.9 else EMPTY, "generated_datetime": moment(rng),
            "timing_duration_s": (seconds := rng.randint(90, 1800)), "timing_duration_mins": round(seconds / 60, 2),
            "included_in_balanced_subset": owner["included_in_balanced_subset"],
        })
    return rows


# ---------------------------------------------------------------- broken rows
def with_rating(row, name, value):
    return row | {"stated_prefs": row["stated_prefs"] | {name: value}}


def with_score(row, value):
    items = [dict(item) for item in row["conversation_history"]]
    items[1]["score"] = value
    return row | {"conversation_history": items}


# By file and kind: a good row, made new or broken. `row` is a copy with a name of its own.
BROKEN = {
    "survey.jsonl": {
        "bad JSON": lambda row: json.dumps(row)[:-20],
        "no object": lambda row: json.dumps([row["user_id"]]),
        "missing user": lambda row: {key: value for key, value in row.items() if key != "user_id"},
        "rating out of range": lambda row: with_rating(row, "safety", 101),
        "negative rating": lambda row: with_rating(row, "fluency", -1),
        "rating as a string": lambda row: with_rating(row, "helpfulness", "80"),
        "null ratings": lambda row: row | {"stated_prefs": None},
    },
    "conversations.jsonl": {
        "bad JSON": lambda row: json.dumps(row)[:-20],
        "no object": lambda row: json.dumps(row["conversation_id"]),
        "missing user": lambda row: {key: value for key, value in row.items() if key != "user_id"},
        "score out of range": lambda row: with_score(row, 1000),
        "score as a string": lambda row: with_score(row, "70"),
        "null history": lambda row: row | {"conversation_history": None},
        "empty history": lambda row: row | {"conversation_history": []},
        "unknown user": lambda row: row | {"user_id": "nobody"},
    },
}


def write(rng, folder, name, key, rows, broken):
    """Writes the rows, `broken` further ones of each kind among them; returns line and kind of each of these."""
    lines = [(json.dumps(row, ensure_ascii=False), None) for row in rows]
    for kind, spoil in BROKEN[name].items():
        for _ in range(broken):
            spoilt = spoil(rng.choice(rows) | {key: f"broken{rng.randrange(10**9)}"})
            text = spoilt if isinstance(spoilt, str) else json.dumps(spoilt, ensure_ascii=False)
            lines.insert(rng.randint(0, len(lines)), (text, kind))
    # The second row of a name stands behind the first.
    lines += [(json.dumps(row, ensure_ascii=False), "duplicate id") for row in rng.sample(rows, min(broken, len(rows)))]
    partial = folder / f".{name}.partial"
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line, _ in lines)
    os.replace(partial, folder / name)
    return [{"file": name, "line": at, "kind": kind} for at, (_, kind) in enumerate(lines, 1) if kind]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where survey.jsonl and conversations.jsonl go")
    parser.add_argument("--seed", type=int, default=13, help="of every draw (default 13)")
    parser.add_argument("--users", type=int, help="users of the survey (default: the real count)")
    parser.add_argument("--conversations", type=int, help="conversations of all users (default: the real count)")
    parser.add_argument("--words", type=int, default=40, help="mean words of a model's answer (default 40, which gives 37 MB; PRISM's are longer)")
    parser.add_argument("--broken", type=int, default=0, metavar="K", help="K further rows of each broken kind; broken.json has their lines")
    parser.add_argument("--facts", type=Path, default=HERE / "prism_facts.toml", help="table of counts (default prism_facts.toml)")
    arguments = parser.parse_args()
    facts = tomllib.loads(arguments.facts.read_text(encoding="utf-8"))
    users, n = arguments.users or facts["users"], arguments.conversations or facts["conversations"]
    talkers = min(n, max(1, round(users * facts["users_with_conversations"] / facts["users"])))
    if users < 1 or n < 1 or arguments.broken < 0 or arguments.words < 1:
        parser.error("--users, --conversations and --words must be at least 1, --broken at least 0")

    rng = random.Random(arguments.seed)
    held = conversations_of(rng, facts, talkers, n) + [0] * (users - talkers)
    rng.shuffle(held)
    people = survey(rng, facts, users, held)
    talks = conversations(rng, facts, people, n, arguments.words)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    broken = write(rng, arguments.folder, "survey.jsonl", "user_id", people, arguments.broken)
    broken += write(rng, arguments.folder, "conversations.jsonl", "conversation_id", talks, arguments.broken)
    if broken:
        (arguments.folder / "broken.json").write_text(json.dumps(broken, indent=1) + "\n", encoding="utf-8")
    items = [item for row in talks for item in row["conversation_history"]]
    replies = sum(item["role"] == "model" for item in items)
    print(f"{users} users, {talkers} with conversations, {n} conversations, {len(items) - replies} turns, {replies} answers, {len(broken)} broken rows")


if __name__ == "__main__":
    main()
