#!/usr/bin/env python3
"""Write the synthetic sample in MVPBench's layout, or the corpus that the tiny model is trained on.

    python3 scripts/make_sample.py                              # configs/tiny/data
    python3 scripts/make_sample.py --corpus target/corpus.jsonl # plain documents from another seed, not committed

A user is drawn from PRISM's marginals. A question and two answers are composed from sample_topics.toml (what is said) and
sample_frames.toml (how it is said). Two or three of the user's rated dimensions differ between the answers: `answer_w` honours them,
`answer_l` breaks them. The two differ in nothing else: they give the same steps, and opening and close come from the same frames.
Standard library only; the same seed gives the same bytes.
"""
import argparse
import json
import random
import re
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOPICS = tomllib.loads((HERE / "sample_topics.toml").read_text(encoding="utf-8"))["topic"]
FRAMES = tomllib.loads((HERE / "sample_frames.toml").read_text(encoding="utf-8"))

SAMPLE_SEED, CORPUS_SEED = 20250910, 7
TRAIN_USERS, TEST_USERS, UF_PAIRS = 92, 25, 16
CORPUS_DOCUMENTS = 16000
ANSWER_WORDS, QUESTION_WORDS = range(60, 111), range(15, 41)
MAX_WORD_DIFFERENCE = 12  # between the two answers of a record, so that length does not give the preference away

# PRISM's mean and standard deviation of each stated preference, in the order of its survey.
STATED = {
    "values": (54.3, 26.3), "creativity": (69.6, 22.1), "fluency": (86.7, 16.3), "factuality": (88.7, 16.2), "diversity": (75.7, 20.0),
    "safety": (80.2, 25.2), "personalisation": (67.9, 24.6), "helpfulness": (89.4, 14.4),
}
DIMENSIONS = [name for name in STATED if name != "values"]
HIGH, LOW = 80, 60

# PRISM's answers and how many of its 1,500 users gave each.
AGE = {"18-24 years old": 297, "25-34 years old": 454, "35-44 years old": 237, "45-54 years old": 208, "55-64 years old": 197, "65+ years old": 106}
GENDER = {"Male": 757, "Female": 718, "Non-binary / third gender": 21, "Prefer not to say": 4}
EMPLOYMENT = {
    "Working full-time": 712, "Working part-time": 265, "Student": 191, "Unemployed, seeking work": 113, "Retired": 104,
    "Homemaker / Stay-at-home parent": 46, "Unemployed, not seeking work": 46, "Prefer not to say": 23,
}
EDUCATION = {
    "University Bachelors Degree": 637, "Graduate / Professional degree": 241, "Some University but no degree": 236,
    "Completed Secondary School": 209, "Vocational": 125, "Some Secondary": 24, "Completed Primary School": 16, "Prefer not to say": 9,
}
MARITAL = {"Never been married": 870, "Married": 463, "Divorced / Separated": 123, "Prefer not to say": 23, "Widowed": 21}
ENGLISH = {"Fluent": 405, "Advanced": 160, "Intermediate": 42, "Basic": 7}
NATIVE = {"United States", "United Kingdom", "Australia", "New Zealand", "Canada", "Ireland", "South Africa", "Jamaica", "Nigeria"}
# Users born there. The weight is the square root, so that a hundred users reach more than thirty countries.
COUNTRY = {
    "United States": 338, "United Kingdom": 292, "South Africa": 91, "Mexico": 69, "Australia": 65, "New Zealand": 64, "Chile": 63,
    "Canada": 50, "Israel": 47, "Nigeria": 19, "Spain": 19, "Germany": 17, "Belgium": 17, "Hungary": 17, "Poland": 17, "Ireland": 17,
    "Latvia": 16, "Denmark": 15, "Czechia": 15, "Norway": 15, "France": 14, "Italy": 14, "Greece": 14, "Switzerland": 14, "Finland": 12,
    "Estonia": 11, "Austria": 11, "Slovenia": 10, "Netherlands": 9, "India": 9, "Japan": 9, "Korea, Republic of": 9, "Portugal": 8,
    "Romania": 7, "Philippines": 7, "Sweden": 7, "Russian Federation": 6, "Ukraine": 4, "Bangladesh": 4, "China": 4, "Pakistan": 3,
    "Ghana": 3, "Indonesia": 3, "Viet Nam": 2, "Sri Lanka": 2, "Türkiye": 2, "Argentina": 2, "Nepal": 1, "Brazil": 1, "Colombia": 1,
    "Côte d'Ivoire": 1, "Jamaica": 1, "Kenya": 1, "Lithuania": 1, "Zambia": 1,
}

STAGE = {
    "18-24 years old": "around twenty", "25-34 years old": "around thirty", "35-44 years old": "around forty",
    "45-54 years old": "around fifty", "55-64 years old": "around sixty", "65+ years old": "past sixty-five",
}
LIFE = {
    "Working full-time": "with a full working week", "Working part-time": "with a part-time job", "Student": "with classes to attend",
    "Unemployed, seeking work": "in search of work", "Retired": "in retirement", "Homemaker / Stay-at-home parent": "with a home to run",
    "Unemployed, not seeking work": "with your days free", "Prefer not to say": "with a week of your own",
}


def weighted(rng, table):
    return rng.choices(list(table), list(table.values()))[0]


def capital(text):
    return text[:1].upper() + text[1:]


def words(text):
    return len(text.split())


def spoken_country(country):
    """The name as a sentence uses it: not inverted, with its article."""
    name = {"Korea, Republic of": "South Korea", "Russian Federation": "Russia", "Viet Nam": "Vietnam"}.get(country, country)
    return "the " + name if name in ("United States", "United Kingdom", "Netherlands", "Philippines") else name


# ---------------------------------------------------------------- users
def draw_stated(rng):
    """Ratings around PRISM's means, redrawn until three dimensions are clearly high or low."""
    while True:
        stated = {name: min(100, max(0, round(rng.gauss(mean, std)))) for name, (mean, std) in STATED.items()}
        if sum(stated[name] >= HIGH or stated[name] <= LOW for name in DIMENSIONS) >= 3:
            return stated


def draw_user(rng, user_id):
    age = weighted(rng, AGE)
    employment = "Retired" if age[:2] == "65" and rng.random() < 0.6 else weighted(rng, EMPLOYMENT)
    while (employment == "Retired" and age[:2] in ("18", "25", "35", "45")) or (employment == "Student" and age[:2] in ("45", "55", "65")):
        employment = weighted(rng, EMPLOYMENT)
    marital = weighted(rng, MARITAL)
    while age[:2] == "18" and marital in ("Divorced / Separated", "Widowed"):
        marital = weighted(rng, MARITAL)
    country = weighted(rng, {name: users**0.5 for name, users in COUNTRY.items()})
    stated = draw_stated(rng)
    levels = {name: "high" if stated[name] >= HIGH else "low" for name in DIMENSIONS if stated[name] >= HIGH or stated[name] <= LOW}
    said = rng.random() < 0.15
    stated["other"] = rng.randint(60, 100) if said else rng.choice([50, 50, 60, 70])
    stated["other_text"] = rng.choice(FRAMES["user"]["other_text"]) if said else ""
    user = {
        "user_id": user_id, "stated_prefs": stated, "levels": levels, "age": age, "gender": weighted(rng, GENDER),
        "employment_status": employment, "education": weighted(rng, EDUCATION), "marital_status": marital,
        "english_proficiency": "Native speaker" if country in NATIVE else weighted(rng, ENGLISH), "birth_country/region": country,
    }
    user["words"] = {"stage": STAGE[age], "life": LIFE[employment], "Life": capital(LIFE[employment]), "country": spoken_country(country)}
    frames = FRAMES["user"]
    self_words = {**user["words"], "hobby": rng.choice(frames["hobby"])}
    user["self_description"] = rng.choice(frames["description"]).format(**self_words) + " " + rng.choice(frames["value"])
    wishes = rng.sample(sorted(levels), 3)
    user["system_string"] = " ".join([rng.choice(frames["system"])] + [frames["wish"][levels[name]][name] for name in wishes])
    return user


def preference(levels):
    """"High fluency, ..., Low creativity": the high ones first, each part in the survey's order."""
    return ", ".join(f"{level.capitalize()} {name}" for level in ("high", "low") for name in DIMENSIONS if levels.get(name) == level)


def profile(user):
    fields = ("age", "gender", "employment_status", "education", "marital_status", "birth_country/region")
    labels = ("Age", "Gender", "Employment", "Education", "Marital Status", "Birth Country/Region")
    return "User profile: " + ", ".join(f"{label}: {user[field]}" for label, field in zip(labels, fields)) + "."


# ---------------------------------------------------------------- questions and answers
def slots(rng, topic):
    """What a frame may name, with three of the steps in order; the first view says "some", so only the "others" are shuffled."""
    a, b, c = (topic["steps"][i] for i in sorted(rng.sample(range(4), 3)))
    v1 = topic["views"][0]
    v2, v3 = rng.sample(topic["views"][1:], 2)
    return {**topic, "a": a, "b": b, "c": c, "v1": v1, "v2": v2, "v3": v3, "A": capital(a), "B": capital(b), "UPPER_A": a.upper()}


def question(rng, topic, differing):
    frames = FRAMES["question"]
    while True:
        parts = [rng.choice(frames["context"]), rng.choice(frames["ask"])]
        if rng.random() < 0.4:
            name, level = rng.choice(differing)
            parts.append(rng.choice(frames["hint"][level][name]))
        text = " ".join(parts).format(**topic)
        if words(text) in QUESTION_WORDS:
            return text


def stumble(text):
    """Broken fluency: articles and commas gone, small words doubled, sentences that begin small."""
    text = re.sub(r"\b([Aa]n?|[Tt]he)\s+", "", text.replace(",", ""))
    text = re.sub(r"\b(and|then|is|for|in)\b", r"\1 \1", text)
    return re.sub(r"(^|[.!?:] )([A-Z])(?=[a-z])", lambda m: m[1] + m[2].lower(), text)


def compose(rng, fields, differing, side, steps, fill, wanted):
    """One answer of at least `wanted` words: `side` is "w" (honours the differing dimensions) or "l" (breaks them)."""
    frames, levels, fill = FRAMES["answer"], dict(differing), list(fill)
    vague = side == "l" and levels.get("helpfulness") == "high"
    before, after = [rng.choice(frames["open"])], [rng.choice(frames["close"])]
    core = [] if vague else [steps]
    for name, level in rng.sample(differing, len(differing)):
        early = name not in ("fluency", "helpfulness") and rng.random() < 0.35  # those two speak of the steps, so they follow them
        (before if early else core).append(rng.choice(FRAMES[name][level][side]))
    while words(" ".join(before + core + after).format(**fields)) < wanted and fill:
        core.insert(rng.randint(1, len(core)), fill.pop())
    text = " ".join(before + core + after).format(**fields)
    return stumble(text) if side == "l" and levels.get("fluency") == "high" else text


def answers(rng, topic, user, differing):
    """Both answers, or None where these dimensions do not give two of the right lengths."""
    for _ in range(50):
        # Both answers share steps and fillers, so that these cannot tell them apart.
        fields, frames = slots(rng, topic) | user["words"], FRAMES["answer"]
        steps = rng.choice(frames["core" if len(differing) == 2 else "core_short"])
        fill = rng.sample(frames["fill"], len(frames["fill"]))
        wanted = rng.randint(ANSWER_WORDS.start + 4, ANSWER_WORDS.stop - 16)
        pair = [compose(rng, fields, differing, side, steps, fill, wanted) for side in ("w", "l")]
        if all(words(text) in ANSWER_WORDS for text in pair) and abs(words(pair[0]) - words(pair[1])) <= MAX_WORD_DIFFERENCE:
            return pair
    return None


def draw_differing(rng, levels, seen):
    """Two or three rated dimensions, those seen least so far first, so that all seven are represented."""
    order = sorted(levels, key=lambda name: (seen.get(name, 0) + 15 * rng.random(), name))
    return [(name, levels[name]) for name in order[: rng.choice([2, 3])]]


def draw_record(rng, user, topic, seen):
    pair = None
    while pair is None:
        differing = draw_differing(rng, user["levels"], seen)
        pair = answers(rng, topic, user, differing)
    for name, level in differing:
        seen[name] = seen.get(name, 0) + 1
    return question(rng, topic, differing), *pair


# ---------------------------------------------------------------- files
def write_json(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path}: {len(records)} records, {path.stat().st_size} bytes")


def make_records(rng, users, stem):
    records, seen = [], {}
    for user in users:
        for topic in rng.sample(TOPICS, rng.choice([3, 3, 4, 4])):
            text, chosen, rejected = draw_record(rng, user, topic, seen)
            records.append({
                "id": f"{stem}-{len(records):04}", "question": text, "answer_w": chosen, "answer_l": rejected, "user_id": user["user_id"],
                "stated_prefs": user["stated_prefs"], "preference": preference(user["levels"]), "age": user["age"], "gender": user["gender"],
                "employment_status": user["employment_status"], "education": user["education"], "marital_status": user["marital_status"],
                "english_proficiency": user["english_proficiency"], "birth_country/region": user["birth_country/region"],
                "self_description": user["self_description"], "system_string": user["system_string"],
            })
    rng.shuffle(records)
    print(f"{stem}: {len(users)} users, differing dimensions {dict(sorted(seen.items()))}")
    return records


UF_SHARED = {"useful": ("helpfulness", "w"), "vague": ("helpfulness", "l"), "known": ("factuality", "w"), "claimed": ("factuality", "l")}


def uf_pair(rng, topic, aspect):
    frames, fields = FRAMES["uf"][aspect], slots(rng, topic)
    for slot, (name, side) in UF_SHARED.items():
        fields[slot] = rng.choice(FRAMES[name]["high"][side]).format(**fields)
    i = rng.randrange(len(frames["prompt"]))
    free = aspect in ("helpfulness", "truthfulness")  # in the other files an answer belongs to its prompt
    pick = lambda key: (rng.choice(frames[key]) if free else frames[key][i]).format(**fields)
    return {"prompt": frames["prompt"][i].format(**fields), "chosen": pick("chosen"), "rejected": pick("rejected"), "profile": rng.choice(frames["profile"])}


def make_sample(out):
    rng = random.Random(SAMPLE_SEED)
    users = [draw_user(rng, f"sample_user{i}") for i in range(TRAIN_USERS + TEST_USERS)]
    write_json(out / "MVP_train.json", make_records(rng, users[:TRAIN_USERS], "sample-train"))
    write_json(out / "MVP_test.json", make_records(rng, users[TRAIN_USERS:], "sample-test"))
    for aspect in FRAMES["uf"]:
        write_json(out / "uf-p-4" / f"{aspect}.json", [uf_pair(rng, topic, aspect) for topic in rng.sample(TOPICS, UF_PAIRS)])


def corpus_document(rng, seen):
    """A text with either answer, at equal chance: the model must not learn here which one is preferred."""
    topic, kind = rng.choice(TOPICS), rng.random()
    if kind < 0.1:
        pair = uf_pair(rng, topic, rng.choice(list(FRAMES["uf"])))
        return pair["profile"] + "\n" + pair["prompt"] + rng.choice([pair["chosen"], pair["rejected"]])
    user = draw_user(rng, "")
    text, *pair = draw_record(rng, user, topic, seen)
    head = f"{profile(user)}\nQuestion: {text}" if kind < 0.8 else text
    return head + rng.choice(pair)


def make_corpus(path):
    rng, seen = random.Random(CORPUS_SEED), {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(CORPUS_DOCUMENTS):
            file.write(json.dumps(corpus_document(rng, seen), ensure_ascii=False) + "\n")
    print(f"{path}: {CORPUS_DOCUMENTS} documents, {path.stat().st_size} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "configs" / "tiny" / "data", help="folder of the sample")
    parser.add_argument("--corpus", type=Path, help="write the corpus to this file instead of the sample")
    arguments = parser.parse_args()
    if arguments.corpus:
        make_corpus(arguments.corpus)
    else:
        make_sample(arguments.out)
