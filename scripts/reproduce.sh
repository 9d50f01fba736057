#!/usr/bin/env bash
# The whole paper as one command: build the benchmark and UF-P-4, train each model, OPA and SPMR before and after on both sets, PAA of each
# model by each judge, one report. docs/reproduce.md has the tree that it writes and how each cell is traced.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/reproduce.sh [tiny|paper] [--output DIR] [--server auto|llama|scripted] [--yes]

tiny   runs offline in minutes: files in PRISM's and UltraFeedback's layout made of this project's own sentences, two tiny models, and on
       loopback llama.cpp's server where it can be installed. Its figures say nothing about alignment. The benchmark itself is built by
       scripts/serve_scripted.py, for a model of 0.9 M parameters cannot write JSON.
paper  prints what is missing and the plan with time, disk and cost, and with --yes (or MVPBENCH_YES=1) and nothing missing runs it.

Exit status: 0 done, or for `paper` without --yes nothing missing; 2 an argument is wrong or something is missing; 130 and 143 after Ctrl-C
and SIGTERM; 1 anything else, such as an empty cell.

The same command resumes, and in a finished folder changes nothing. The folder is runs/reproduce-tiny or runs/reproduce-paper by default.

  MVPBENCH_BIN            folder of `train` and `mvpbench` (default: target/release, built if it is not there)
  MVPBENCH_SURVEY, MVPBENCH_CONVERSATIONS, MVPBENCH_ULTRAFEEDBACK
                          the downloads of `paper`: files, or hf://datasets/OWNER/NAME/FILE (UltraFeedback: several, by blanks)
  MVPBENCH_MODELS         its models, NAME=PRESET ..., with a `MVPBENCH_PATH_NAME` (- as _) for weights in a folder
  MVPBENCH_CHAT_MODELS    the models of Figures 2 to 4, NAME=ENDPOINT,CHAT_MODEL ...; ENDPOINT as of `mvpbench generate`
  MVPBENCH_JUDGES         its judges, in the same form
  MVPBENCH_BUILDER        the model that writes the benchmark, in the same form
  MVPBENCH_PROTOCOL       PAA's protocol (default: paa-paper.toml; a copy may add prices)
  MVPBENCH_STAND_IN       counts of the stand-in that the plan reckons with (default: scripts/prism_facts.toml, those of PRISM)

Paths are as seen from where the command is called.
TEXT
}

fail() {
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '\nhint: %s\n' "$2" >&2
  exit 2
}

mode=tiny output='' server=auto yes="${MVPBENCH_YES:-}"
while [ $# -gt 0 ]; do
  case "$1" in
    tiny | paper) mode="$1" ;;
    --output | --server)
      [ $# -gt 1 ] || fail "\`$1\` needs a value"
      printf -v "${1#--}" %s "$2"
      shift
      ;;
    --yes) yes=1 ;;
    -h | --help) usage && exit 0 ;;
    *) fail "unknown argument \`$1\`" 'scripts/reproduce.sh --help' ;;
  esac
  shift
done
case "$server" in auto | llama | scripted) ;; *) fail "\`--server\` must be auto, llama or scripted, got \`$server\`" ;; esac
command -v python3 >/dev/null || fail 'python3 is not on the path' 'install Python 3.11 or later'

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
here="$PWD"
output="${output:-runs/reproduce-$mode}"
mkdir -p "$output"

# A path of the user's, seen from where the command was called. What is no file there stays, for it may be a hub id or a preset; with a
# second argument it can be nothing but a path.
from_here() {
  case "$1" in
    '' | /* | hf://* | embedded:*) printf %s "$1" ;;
    *)
      if [ $# -gt 1 ] || [ -e "$here/$1" ]; then printf '%s/%s' "$here" "$1"; else printf %s "$1"; fi
      ;;
  esac
}
for variable in CARGO_TARGET_DIR MVPBENCH_BIN MVPBENCH_CACHE MVPBENCH_LLAMA_PACKAGES HF_HOME HF_HUB_CACHE; do
  [ -z "${!variable:-}" ] || export "$variable=$(from_here "${!variable}" path)"
done

# ---------------------------------------------------------------- programs and servers
bin="${MVPBENCH_BIN:-${CARGO_TARGET_DIR:-$root/target}/release}"
if [ -n "${MVPBENCH_BIN:-}" ] || [ -x "$bin/mvpbench" ]; then
  [ -x "$bin/mvpbench" ] && [ -x "$bin/train" ] || fail "\`$bin\` has no \`train\` and \`mvpbench\`" 'MVPBENCH_BIN is the folder of both'
else
  (cd "$root" && cargo build --release)
fi
bin="$(cd "$bin" && pwd)"
# Every path below is relative to the output, so that the folder may be moved.
cd "$output"

current=0 temporary="$(mktemp -d)"
declare -A held=()
finish() {
  local status=$?
  trap - EXIT INT TERM
  [ "$current" -eq 0 ] || kill "$current" 2>/dev/null || true
  [ "$current" -eq 0 ] || wait "$current" 2>/dev/null || true
  # A server ends with its standard input.
  for descriptor in "${held[@]}"; do exec {descriptor}>&-; done
  rm -rf "$temporary"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a program in the foreground, so that a signal reaches it through us; the servers' pipes stay ours.
run() {
  local closed=("$@")
  (
    for descriptor in "${held[@]}"; do exec {descriptor}>&-; done
    exec "${closed[@]}"
  ) &
  current=$!
  local status=0
  wait "$current" || status=$?
  current=0
  return "$status"
}
mvpbench() { run "$bin/mvpbench" "$@"; }
train() { run "$bin/train" "$@"; }
python() { run env PYTHONDONTWRITEBYTECODE=1 python3 "$root/scripts/$1" "${@:2}"; }
say() { printf '\n== %s\n' "$*"; }

# The base URL of a server of ours: its port is kept, for the address is a part of what answers depend on.
url_of() { printf 'http://127.0.0.1:%s/v1' "$(<"servers/$1.port")"; }

# Starts the server NAME with the command that follows, on its port or a free one, unless it runs already.
start() {
  local name="$1" port=0 address=''
  shift
  [ -z "${held[$name]:-}" ] || return 0
  mkdir -p servers
  [ ! -f "servers/$name.port" ] || port="$(<"servers/$name.port")"
  for _ in 1 2 3 4 5; do
    exec {descriptor}> >(exec "$@" "$port" >"$temporary/$name.url" 2>"$temporary/$name.log")
    local child=$!
    while kill -0 "$child" 2>/dev/null && [ ! -s "$temporary/$name.url" ]; do sleep 0.1; done
    if read -r address <"$temporary/$name.url"; then
      held[$name]=$descriptor
      if [ ! -f "servers/$name.port" ]; then
        port="${address##*:}"
        printf '%s\n' "${port%%/*}" >"servers/.$name.port" && mv "servers/.$name.port" "servers/$name.port"
      fi
      return 0
    fi
    exec {descriptor}>&-
    sleep 1 # a server that was killed may still hold the port
  done
  tail -n 5 "$temporary/$name.log" >&2
  fail "the server \`$name\` did not start on port $port" "end what holds the port, or give another folder with --output"
}
start_scripted() { start scripted env PYTHONDONTWRITEBYTECODE=1 python3 "$root/scripts/serve_scripted.py" --port; }
start_llama() { start llama env PYTHONPATH="${llama_packages:-}" PYTHONDONTWRITEBYTECODE=1 python3 "$root/scripts/serve_llama.py" "$root/configs/tiny/model"; }

# ---------------------------------------------------------------- steps, the same for both
# Each verb resumes by itself and leaves a finished output as it is. A server is started where a step that asks it is not finished.

# NAME=ENDPOINT,CHAT_MODEL[,KEY_ENV] -> endpoint, chat_model and key_options; `tiny` names its servers in place of an endpoint.
endpoint='' chat_model='' key_options=()
split_endpoint() {
  local rest="${1#*=}" key=''
  IFS=, read -r endpoint chat_model key <<<"$rest"
  key_options=()
  [ -z "$key" ] || key_options=(--key-env "$key")
}
# Resolves `scripted` and `llama`; starts them unless FILE, what the step makes last, is there.
resolve() {
  case "$endpoint" in
    scripted | llama)
      [ -f "$1" ] && [ -f "servers/$endpoint.port" ] || "start_$endpoint"
      endpoint="$(url_of "$endpoint")"
      ;;
  esac
}

# The sets that every run is evaluated on, as `train --set` takes them: those of the folder `$1`.
eval_sets() {
  local files='' name
  for name in helpfulness honesty instruction_following truthfulness; do files+="${files:+,}\"$1/uf-p-4/$ufp4_side$name.json\""; done
  printf '[{name="MVP_test",files=["%s/mvpbench/test.json"],metrics=["opa","spmr"]},{name="UF-P-4",files=[%s],metrics=["opa"]}]' "$1" "$files"
}

build() {
  say "build: MVPBench of $survey and $conversations, by $builder"
  split_endpoint "$builder"
  resolve data/mvpbench/manifest.json
  mvpbench data build-mvpbench --survey "$survey" --conversations "$conversations" --config "$build_config" \
    --endpoint "$endpoint" --chat-model "$chat_model" "${key_options[@]}" --output data/mvpbench
  say "build: UF-P-4 of ${ultrafeedback[*]}"
  mvpbench data build-ufp4 --ultrafeedback "${ultrafeedback[@]}" "${ufp4_options[@]}" --output data/uf-p-4
}

# Trains NAME by the preset CONFIG, with further options of `train`.
train_model() {
  say "train: $1"
  train --config "$2" --set 'data.train=["data/mvpbench/train.json"]' --set "eval.sets=$(eval_sets data)" "${@:3}" --output "runs/$1"
}

# Answers of a local model: SET of data/mvpbench, NAME, options that name the model.
answer_locally() {
  say "answers to $1: $2"
  mvpbench generate "${@:3}" --data "data/mvpbench/$1.json" --config "$protocol" --output "answers/$1/$2"
}

# Answers of chat endpoints: SET, then NAME=ENDPOINT,CHAT_MODEL ...
answer_by_endpoints() {
  local set="$1" one
  for one in "${@:2}"; do
    say "answers to $set: ${one%%=*}"
    split_endpoint "$one"
    resolve "answers/$set/${one%%=*}/answers.json"
    mvpbench generate --endpoint "$endpoint" --chat-model "$chat_model" "${key_options[@]}" --data "data/mvpbench/$set.json" \
      --config "$protocol" --output "answers/$set/${one%%=*}"
  done
}

# Verdicts of each judge on SET's answers of the models that follow.
judge_answers() {
  local set="$1" one who folders=() name
  for name in "${@:2}"; do folders+=("answers/$set/$name"); done
  for one in "${judges[@]}"; do
    name="${one%%=*}"
    say "verdicts of $name on $set"
    if [ "$one" = rule ]; then
      who=(--judge rule)
    else
      split_endpoint "$one"
      resolve "paa/$set-by-$name/paa.json"
      who=(--endpoint "$endpoint" --chat-model "$chat_model" "${key_options[@]}")
    fi
    mvpbench judge "${who[@]}" --answers "${folders[@]}" --config "$protocol" --output "paa/$set-by-$name"
  done
}

# Table 1 of the runs named, Figures 2 to 4 of the verdicts; then every cell counted again from the lines behind it.
report() {
  local runs=() verdicts=() name one
  for name in "$@"; do runs+=("runs/$name"); done
  for one in "${judges[@]}"; do verdicts+=("paa/MVPBench-by-${one%%=*}"); done
  for one in "${judges[@]}"; do verdicts+=("paa/test-by-${one%%=*}"); done
  say 'report'
  mvpbench report "${runs[@]}" "${verdicts[@]}" --output report
  say 'every cell, counted again'
  python check_reproduction.py . --runs "$@" --models "${chat_models[@]%%=*}" --judges "${judges[@]%%=*}" "${check_options[@]}"
  printf '\nreport: %s/report.html\ncells:  %s/cells.csv\n' "$PWD/report" "$PWD/report"
}

# ---------------------------------------------------------------- tiny
# The real server where its packages are there or can be installed, else the scripted one; what was chosen first stays.
choose_server() {
  mkdir -p servers
  local wanted="$server" need=(xllamacpp==2026.10.11549 gguf==0.19.0 safetensors==0.8.0 numpy==2.4.6)
  [ ! -f servers/kind ] || server="$(<servers/kind)"
  [ "$wanted" = auto ] || [ "$wanted" = "$server" ] || fail "\`$PWD\` was begun with the $server server, not with $wanted" 'give another folder with --output'
  llama_packages="${MVPBENCH_LLAMA_PACKAGES:-$PWD/servers/packages}"
  usable() { PYTHONPATH="$llama_packages" PYTHONDONTWRITEBYTECODE=1 python3 -c 'import gguf, numpy, safetensors, xllamacpp' 2>/dev/null; }
  if [ "$server" != scripted ] && ! usable; then
    say 'llama.cpp: installing its server'
    if ! run python3 -m pip install --quiet --disable-pip-version-check --no-compile --retries=1 --upgrade --target "$llama_packages" "${need[@]}" || ! usable; then
      [ "$server" = auto ] || fail "the packages of llama.cpp's server cannot be installed: ${need[*]}" 'use --server scripted in a new folder'
      echo 'not installed: the scripted server stands in its place' >&2
      server=scripted
    fi
  fi
  [ "$server" != auto ] || server=llama
  [ -f servers/kind ] || { printf '%s\n' "$server" >servers/.kind && mv servers/.kind servers/kind; }
}

# A second base model: the tiny model with an adapter merged that learnt from the preferred answers of the embedded sample, and a chat
# template. Its weights and its prompts are others than the first one's.
second_model() {
  [ ! -f models/tiny-chat/config.json ] || return 0
  say 'model: tiny-chat'
  train --config tiny.toml --set 'data.train=["embedded:tiny/data/uf-p-4/honesty.json","embedded:tiny/data/uf-p-4/helpfulness.json"]' \
    --set eval.sets=[] --set dpo.sft_weight=1.0 --set lora.rank=8 --set train.epochs=2 --output models/warm-up
  [ -f models/merged/merge.json ] || mvpbench merge --model embedded:tiny/model --adapter models/warm-up/adapter --output models/merged
  rm -rf models/.tiny-chat
  cp -r models/merged models/.tiny-chat
  python3 - models/.tiny-chat/tokenizer_config.json <<'PYTHON'
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
config = json.loads(path.read_text(encoding="utf-8"))
config["chat_template"] = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ message['content'] }}\n{% endif %}{% endfor %}"
)
path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
PYTHON
  mv models/.tiny-chat models/tiny-chat
}

tiny() {
  choose_server
  mkdir -p input models
  if [ ! -f input/ultrafeedback.jsonl ]; then
    say 'input: files in the layout of the downloads, of sentences of our own'
    python make_prism.py input --facts "$root/scripts/prism_facts_tiny.toml" --seed 5
    python make_ultrafeedback.py input/ultrafeedback.jsonl --records 160
  fi
  survey=input/survey.jsonl conversations=input/conversations.jsonl ultrafeedback=(input/ultrafeedback.jsonl)
  ufp4_options=(--max-pairs 40) ufp4_side=''
  builder=scripted=scripted,scripted build_config=input/build-mvpbench.toml
  if [ ! -f input/protocol.toml ]; then
    # A test side of so few users needs a larger share of them.
    sed -e 's/^test_share = 0.1$/test_share = 0.25/' "$root/configs/build-mvpbench.toml" >"$build_config"
    # Short answers and few reference answers; a grammar holds so small a judge to a word.
    sed -e '/^max_tokens = 512$/s/512/40/' -e 's/^calibrate = 200$/calibrate = 20/' "$root/configs/paa-paper.toml" >input/.protocol.toml
    # shellcheck disable=SC2016
    printf '\n[judge.extra]\ngrammar = %s\n' "'root ::= \"Yes\" | \"No\"'" >>input/.protocol.toml
    mv input/.protocol.toml input/protocol.toml
  fi
  protocol=input/protocol.toml
  [ -d models/encoder ] || { cp -r "$root/tests/data/encoder" models/.encoder && mv models/.encoder models/encoder; }

  # Every group is large enough for a figure.
  check_options=(--figures-only)
  judges=("scripted=scripted,scripted-judge" rule)
  chat_models=("scripted-a=scripted,scripted-a" "scripted-b=scripted,scripted-b")
  if [ "$server" = llama ]; then
    # A model of 0.9 M parameters accepts everything or nothing, so its verdicts come last.
    judges+=("llama.cpp=llama,tiny")
    chat_models=("llama.cpp=llama,tiny" "${chat_models[@]}")
  else
    chat_models+=("scripted-c=scripted,scripted-c")
  fi
  build
  second_model
  local common=(--set eval.spmr.embedder=models/encoder --set eval.spmr.max_new_tokens=48 --set train.epochs=2 --set train.checkpoint_every=10)
  train_model tiny tiny.toml "${common[@]}"
  train_model tiny-chat tiny.toml --set model.path=models/tiny-chat "${common[@]}"
  answer_by_endpoints MVPBench "${chat_models[@]}"
  answer_locally test tiny --model embedded:tiny/model
  answer_locally test tiny-tuned --model embedded:tiny/model --adapter runs/tiny/adapter
  answer_locally test tiny-chat --model models/tiny-chat
  answer_locally test tiny-chat-tuned --model models/tiny-chat --adapter runs/tiny-chat/adapter
  judge_answers MVPBench "${chat_models[@]%%=*}"
  judge_answers test tiny tiny-tuned tiny-chat tiny-chat-tuned
  report tiny tiny-chat
}

# ---------------------------------------------------------------- paper
# The environment variable that holds the key of an endpoint as split; empty where it needs none.
key_variable() {
  [ ${#key_options[@]} -eq 0 ] || { printf %s "${key_options[1]}" && return; }
  case "$endpoint" in
    openai) printf OPENAI_API_KEY ;;
    deepseek) printf DEEPSEEK_API_KEY ;;
    ark) printf ARK_API_KEY ;;
  esac
}

# Weights of model NAME by the preset or file CONFIG: a folder from the environment, else what CONFIG names; empty where there is none such.
path_of() {
  local variable="MVPBENCH_PATH_${1//[^a-zA-Z0-9]/_}"
  if [ -n "${!variable:-}" ]; then
    from_here "${!variable}"
  else
    from_here "$({ if [ -f "$2" ]; then cat "$2"; else "$bin/train" --print-config "$2" 2>/dev/null; fi; } |
      python3 -c 'import sys, tomllib; print(tomllib.loads(sys.stdin.read()).get("model", {}).get("path", ""), end="")')"
  fi
}

# What the plan reckons with: the benchmark once it is built, until then one of the real counts and of sentences of our own.
stand_in() {
  planned=data
  [ ! -f data/mvpbench/manifest.json ] || [ ! -f data/uf-p-4/manifest.json ] || return 0
  planned=plan
  if [ ! -f plan/uf-p-4/manifest.json ]; then
    say 'plan: the benchmark is not built yet, so the plan reckons with a stand-in of sentences of our own, which takes a minute to build'
    start_scripted
    python make_prism.py plan/input --facts "$(from_here "${MVPBENCH_STAND_IN:-$root/scripts/prism_facts.toml}" path)"
    python make_ultrafeedback.py plan/input/ultrafeedback.jsonl --records 2000
    mvpbench data build-mvpbench --survey plan/input/survey.jsonl --conversations plan/input/conversations.jsonl --config "$build_config" \
      --endpoint "$(url_of scripted)" --chat-model scripted --output plan/mvpbench
    mvpbench data build-ufp4 --ultrafeedback plan/input/ultrafeedback.jsonl "${ufp4_options[@]}" --output plan/uf-p-4
  fi
}

missing=()
# Adds what is missing, once.
lacks() {
  local known
  for known in "${missing[@]}"; do [ "$known" != "$1" ] || return 0; done
  missing+=("$1")
}
# Why a program failed: its first message.
reason() { { grep -m 1 '^error: ' "$temporary/said" || echo 'error: it failed without a message'; } | cut -c 8-; }

# What can be known before anything is built: data, keys, and the weights of each model on this machine.
look_for() {
  local one name variable
  for one in "$survey" "$conversations" "${ultrafeedback[@]}"; do
    case "$one" in hf://*) ;; *) [ -e "$one" ] || lacks "data: \`$one\`: no such file or folder" ;; esac
  done
  for one in "$builder" "${chat_models[@]}" "${judges[@]}"; do
    [ "$one" != rule ] || continue
    split_endpoint "$one"
    variable="$(key_variable)"
    [ -z "$variable" ] || [ -n "${!variable:-}" ] || lacks "key of \`$endpoint\` for ${one%%=*}: set $variable"
  done
  # A plan of a few pairs that the program holds opens the model as the training does.
  for one in "${models[@]}"; do
    name="${one%%=*}"
    "$bin/train" --config "${one#*=}" --set "model.path=$(path_of "$name" "${one#*=}")" --set 'data.train=["embedded:tiny/data/uf-p-4/honesty.json"]' \
      --set eval.sets=[] ${MVPBENCH_CARD:+--card "$MVPBENCH_CARD"} --output "plan/none/$name" --dry-run >/dev/null 2>"$temporary/said" ||
      lacks "weights of $name: $(reason)"
  done
}

# Prints a part of the plan; what it cannot plan is missing, unless that is known.
part_of_plan() {
  say "plan: $1"
  local said
  if said="$("${@:2}" 2>"$temporary/said")"; then
    printf '%s\n' "$said" | tee -a "$temporary/plan"
  else
    printf 'not planned: %s\n' "$(reason)"
    case "${missing[*]}" in *"$(reason)"*) ;; *) lacks "$1: $(reason)" ;; esac
  fi
}

# Answers that judges are planned on, into the array `folders`: those of the models that follow to SET where they are there, else the scripted
# server's.
answers_to_plan() {
  local set="$1" name
  folders=()
  for name in "${@:2}"; do
    folders+=("answers/$set/$name")
    [ ! -f "answers/$set/$name/answers.json" ] || continue
    folders[-1]="plan/answers/$set/$name"
    [ -f "plan/answers/$set/$name/answers.json" ] || start_scripted
    mvpbench generate --quiet --endpoint "$(url_of scripted)" --chat-model "$name" --data "$planned/mvpbench/$set.json" --config "$protocol" \
      --output "plan/answers/$set/$name" >/dev/null
  done
}

# The verdicts of each judge on SET's answers in `folders`.
plan_judges() {
  local one
  for one in "${judges[@]}"; do
    [ "$one" != rule ] || continue
    split_endpoint "$one"
    part_of_plan "verdicts of ${one%%=*} on ${#folders[@]} sets of answers to $1" "$bin/mvpbench" judge --endpoint "$endpoint" --chat-model "$chat_model" \
      "${key_options[@]}" --answers "${folders[@]}" --config "$protocol" --output "plan/none/$1-by-${one%%=*}" --dry-run
  done
}

# The prices of all parts together, and what they are reckoned on.
plan_cost() {
  say 'plan: cost'
  python3 - "$temporary/plan" "$planned" <<'PYTHON'
import json, pathlib, re, sys
plan, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
costs = [line for line in plan.read_text(encoding="utf-8").splitlines() if line.startswith("cost:")] if plan.exists() else []
priced = [float(found[1].replace(",", "")) for found in (re.search(r"USD ([\d,]+(?:\.\d+)?)", line) for line in costs) if found]
print(f"about USD {sum(priced):,.2f} for the {len(priced)} parts above that have a price, without second tries; {len(costs) - len(priced)} parts have none")
words = lambda texts: sum(len(text.split()) for text in texts) / max(len(texts), 1)
records = json.loads((folder / "mvpbench" / "MVPBench.json").read_text(encoding="utf-8"))
answers = [json.loads(line)["answer"] for path in sorted(pathlib.Path().glob("plan/answers/MVPBench/*/answers.jsonl")) for line in path.open(encoding="utf-8")]
print(f"reckoned on {len(records):,} items in {folder}/mvpbench, {words([one['question'] for one in records]):.0f} words a question and {words([one['answer_w'] for one in records]):.0f} a reference answer;")
if answers:
    print(f"judges read scripted answers of {words(answers):.0f} words. Models' answers are longer, and verdicts on them cost more in proportion;")
print("what a model writes is counted at its longest")
PYTHON
}

plan() {
  local one name folders=() answered=()
  if [ ! -f data/mvpbench/manifest.json ]; then
    split_endpoint "$builder"
    part_of_plan "build the benchmark by ${builder%%=*}" "$bin/mvpbench" data build-mvpbench --survey "$survey" --conversations "$conversations" \
      --config "$build_config" --endpoint "$endpoint" --chat-model "$chat_model" "${key_options[@]}" --output data/mvpbench --dry-run
  fi
  stand_in
  for one in "${models[@]}"; do
    name="${one%%=*}"
    answered+=("$name" "$name-tuned")
    part_of_plan "train and evaluate $name" "$bin/train" --config "${one#*=}" --set "model.path=$(path_of "$name" "${one#*=}")" \
      --set "data.train=[\"$planned/mvpbench/train.json\"]" --set "eval.sets=$(eval_sets "$planned")" ${MVPBENCH_CARD:+--card "$MVPBENCH_CARD"} --output "runs/$name" --dry-run
  done
  for one in "${chat_models[@]}"; do
    name="${one%%=*}"
    split_endpoint "$one"
    part_of_plan "answers of $name to MVPBench" "$bin/mvpbench" generate --endpoint "$endpoint" --chat-model "$chat_model" "${key_options[@]}" \
      --data "$planned/mvpbench/MVPBench.json" --config "$protocol" --output "plan/none/$name" --dry-run
  done
  answers_to_plan MVPBench "${chat_models[@]%%=*}"
  plan_judges MVPBench
  answers_to_plan test "${answered[@]}"
  plan_judges test
  plan_cost
  say 'plan: disk'
  printf '%s free in %s\n' "$(df -hP . | awk 'NR == 2 { print $4 }')" "$PWD"
}

paper() {
  # The downloads; UltraFeedback's are the records with annotations.
  survey="${MVPBENCH_SURVEY:-hf://datasets/HannahRoseKirk/prism-alignment/survey.jsonl}"
  conversations="${MVPBENCH_CONVERSATIONS:-hf://datasets/HannahRoseKirk/prism-alignment/conversations.jsonl}"
  local defaults='evol_instruct false_qa flan sharegpt truthful_qa ultrachat'
  # shellcheck disable=SC2086
  defaults="$(printf 'hf://datasets/openbmb/UltraFeedback/%s.jsonl ' $defaults)"
  read -ra ultrafeedback <<<"${MVPBENCH_ULTRAFEEDBACK:-$defaults}"
  # The rules of the published set (Poddar et al. 2024); the test side is what is evaluated.
  ufp4_options=(--pairs best-random --complete --ties flip --controversial --without-source truthful_qa --test-share 0.1) ufp4_side=test/
  defaults='llama2-7b=paper-llama2-7b.toml llama2-13b=paper-llama2-13b.toml llama2-7b-chat=paper-llama2-7b-chat.toml llama2-13b-chat=paper-llama2-13b-chat.toml'
  read -ra models <<<"${MVPBENCH_MODELS:-$defaults}"
  # GPT-4o, Doubao-1.5-Pro and DeepSeek-v3: those that answer, and those that judge.
  defaults='gpt-4o=openai,gpt-4o doubao-1.5-pro=ark,doubao-1-5-pro-32k-250115 deepseek-v3=deepseek,deepseek-chat'
  read -ra chat_models <<<"${MVPBENCH_CHAT_MODELS:-$defaults}"
  read -ra judges <<<"${MVPBENCH_JUDGES:-$defaults}"
  builder="${MVPBENCH_BUILDER:-gpt-4o=openai,gpt-4o}"
  check_options=() build_config=build-mvpbench.toml protocol="$(from_here "${MVPBENCH_PROTOCOL:-paa-paper.toml}")"
  local i known
  survey="$(from_here "$survey" path)" conversations="$(from_here "$conversations" path)"
  for i in "${!ultrafeedback[@]}"; do ultrafeedback[i]="$(from_here "${ultrafeedback[i]}" path)"; done
  for i in "${!models[@]}"; do models[i]="${models[i]%%=*}=$(from_here "${models[i]#*=}")"; done
  look_for
  known=${#missing[@]}
  if [ "$known" -gt 0 ]; then
    say 'missing'
    printf -- '- %s\n' "${missing[@]}"
    cat <<'TEXT'

How to get it
- weights: accept the licence on https://huggingface.co/meta-llama, then `hf auth login`; or name folders, as in
  MVPBENCH_PATH_llama2_7b=DIR
- PRISM: https://huggingface.co/datasets/HannahRoseKirk/prism-alignment, fetched by itself where the hub can be reached
- UltraFeedback: https://huggingface.co/datasets/openbmb/UltraFeedback, fetched likewise
- keys: OPENAI_API_KEY, ARK_API_KEY, DEEPSEEK_API_KEY; or other endpoints in MVPBENCH_CHAT_MODELS, MVPBENCH_JUDGES, MVPBENCH_BUILDER
TEXT
  fi
  [ "$known" -eq 0 ] || [ -z "$yes" ] || fail "what the paper needs is not all there: $known missing" 'the list above says how to get it'
  plan
  if [ ${#missing[@]} -gt "$known" ]; then
    say 'missing, as the plan found'
    printf -- '- %s\n' "${missing[@]:known}"
  fi
  [ ${#missing[@]} -eq 0 ] || fail "what the paper needs is not all there: ${#missing[@]} missing" 'it is listed above, with how to get it'
  if [ -z "$yes" ]; then
    printf '\nnothing is missing; add --yes to run it\n'
    return 0
  fi
  build
  local one name path
  for one in "${models[@]}"; do
    name="${one%%=*}"
    train_model "$name" "${one#*=}" --set "model.path=$(path_of "$name" "${one#*=}")"
  done
  answer_by_endpoints MVPBench "${chat_models[@]}"
  local answered=()
  for one in "${models[@]}"; do
    name="${one%%=*}" path="$(path_of "${one%%=*}" "${one#*=}")"
    answer_locally test "$name" --model "$path"
    answer_locally test "$name-tuned" --model "$path" --adapter "runs/$name/adapter"
    answered+=("$name" "$name-tuned")
  done
  judge_answers MVPBench "${chat_models[@]%%=*}"
  judge_answers test "${answered[@]}"
  report "${models[@]%%=*}"
}

"$mode"
