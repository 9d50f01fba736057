//! Whether each value is one that its key accepts.

use chrono::NaiveDate;
use toml::{Table, Value};

use super::choices::{BestMetric, ColumnRole, LossType, MetricName, Truncation};
use super::elsewhere;
use super::keys::{Kind, REQUIRED, SET_KEYS, SET_REQUIRED, SOURCE_KEYS, kind, quoted};
use super::modules::Modules;
use super::nearest::nearest_word;
use super::sections::{DataSection, DpoSection, EvalSection, LoraSection, TrainSection};
use super::typed::{Entry, Source};
use crate::bail_input;
use crate::error::{InputError, shown};

/// Longest name of an evaluation set: it becomes a part of file names.
const LONGEST_NAME: usize = 100;

/// Checks the value of one entry whose key is known.
pub(super) fn entry(entry: &Entry<'_>) -> anyhow::Result<()> {
    let at = At { source: entry.source, key: entry.key.clone() };
    match kind(&entry.key) {
        Some(kind) => value(&at, kind, &entry.value),
        None => Err(at.wrong_type("a table", &entry.value).into()),
    }
}

/// Checks that every key without a default is given.
pub(super) fn nothing_missing(entries: &[Entry<'_>], name: &str) -> anyhow::Result<()> {
    let missing: Vec<_> = REQUIRED
        .iter()
        .filter(|(required, _)| !entries.iter().any(|entry| entry.key == *required))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let plural = if missing.len() == 1 { "" } else { "s" };
    let examples: Vec<_> = missing
        .iter()
        .map(|(key, example)| {
            format!("`{example}` under `[{}]`", key.split('.').next().unwrap_or_default())
        })
        .collect();
    Err(InputError::new(format!(
        "{name}: missing key{plural} {}",
        quoted(missing.iter().map(|(key, _)| key))
    ))
    .hint(format!("add, for example, {}", examples.join(", ")))
    .into())
}

/// Checks that the loss reads every key that is set for it, and has those it needs.
pub(super) fn loss(dpo: &DpoSection, name: &str) -> anyhow::Result<()> {
    let word = dpo.loss.name();
    let (set, unset) = (Table::try_from(dpo)?, Table::try_from(DpoSection::default())?);
    for (key, readers) in LossType::keys() {
        if !dpo.loss.reads(key) && set.get(key) != unset.get(key) {
            let message =
                format!("{name}: `dpo.{key}` is set, but `dpo.loss = \"{word}\"` ignores it");
            let readers = quoted(readers.iter().map(|loss| loss.name()));
            let hint = format!("leave it out; it is read by {readers}");
            return Err(InputError::new(message).hint(hint).into());
        }
    }
    if dpo.loss == LossType::ExoPair && dpo.label_smoothing <= 0.0 {
        let message =
            format!("{name}: `dpo.loss = \"{word}\"` needs `dpo.label_smoothing` above 0");
        return Err(InputError::new(message).hint("its paper sets 0.001").into());
    }
    Ok(())
}

/// Checks that the keys that choose modules go together, as PEFT does.
pub(super) fn adapter(lora: &LoraSection, name: &str) -> anyhow::Result<()> {
    let LoraSection { target_modules, layers_to_transform, layers_pattern, .. } = lora;
    let is_pattern = matches!(target_modules, Modules::Pattern(_));
    for (key, is_set) in [
        ("layers_to_transform", !layers_to_transform.is_empty()),
        ("layers_pattern", !layers_pattern.is_empty()),
    ] {
        if is_pattern && is_set {
            let message = format!(
                "{name}: `lora.{key}` is set, but `lora.target_modules` is a text, which chooses the layers itself"
            );
            let hint = "give the list of names, such as `[\"q_proj\", \"v_proj\"]`, or write the layers into the regular expression";
            return Err(InputError::new(message).hint(hint).into());
        }
    }
    if !layers_pattern.is_empty() && layers_to_transform.is_empty() {
        return Err(InputError::new(format!(
            "{name}: `lora.layers_pattern` needs `lora.layers_to_transform`"
        ))
        .hint("leave it out, or set both")
        .into());
    }
    Ok(())
}

/// Checks that TRL 0.6.0's cutting leaves an answer at least one token.
pub(super) fn truncation(data: &DataSection, name: &str) -> anyhow::Result<()> {
    let DataSection { truncation, max_prompt_tokens, max_length, .. } = *data;
    let fits = (1..max_length).contains(&max_prompt_tokens);
    if truncation != Truncation::Trl06 || max_length == 0 || fits {
        return Ok(());
    }
    let message = format!(
        "{name}: `data.truncation = \"{truncation}\"` needs `data.max_prompt_tokens` in 1..{max_length} \
         (`data.max_length`), got `{max_prompt_tokens}`"
    );
    let hint = "it cuts answers to `data.max_length - data.max_prompt_tokens` tokens; `data.max_length = 0` cuts nothing";
    Err(InputError::new(message).hint(hint).into())
}

/// Checks that the warm-up is given once.
pub(super) fn warmup(train: &TrainSection, name: &str) -> anyhow::Result<()> {
    if train.warmup_ratio <= 0.0 || train.warmup_steps == 0 {
        return Ok(());
    }
    let TrainSection { warmup_steps, warmup_ratio, .. } = train;
    let message = format!(
        "{name}: `train.warmup_ratio` and `train.warmup_steps` are both set, got `{warmup_ratio}` and `{warmup_steps}`"
    );
    Err(InputError::new(message).hint("leave one of them at 0").into())
}

/// Checks that the pairs of a step are whole batches.
pub(super) fn total_batch(train: &TrainSection, name: &str) -> anyhow::Result<()> {
    let TrainSection { total_batch_size, per_device_batch_size, .. } = *train;
    if total_batch_size.is_multiple_of(per_device_batch_size.max(1)) {
        return Ok(());
    }
    let message = format!(
        "{name}: `train.total_batch_size` must be a multiple of `train.per_device_batch_size`, got `{total_batch_size}` and \
         `{per_device_batch_size}`"
    );
    Err(InputError::new(message)
        .hint("a step's loss is the mean over batches of each batch's mean")
        .into())
}

/// Checks that the keys of evaluations during training have the keys they need.
pub(super) fn evaluation(eval: &EvalSection, name: &str) -> anyhow::Result<()> {
    let needs = |key: &str, needed: &str, hint: &str| {
        InputError::new(format!("{name}: `eval.{key}` needs {needed}")).hint(hint)
    };
    if eval.every > 0 && eval.sets.is_empty() && !eval.samples.is_on() {
        let hint = "add `[[eval.sets]]`, or prompts to answer with `eval.samples.prompts`";
        return Err(needs("every", "a set to evaluate", hint).into());
    }
    let judged = eval.best_metric != BestMetric::None;
    if judged && eval.every == 0 {
        let hint = "set `eval.every` to the optimizer steps between two evaluations";
        return Err(needs("best_metric", "evaluations during training", hint).into());
    }
    if !judged {
        for (key, set) in [("best_set", !eval.best_set.is_empty()), ("patience", eval.patience > 0)]
        {
            if set {
                let hint = "set `eval.best_metric`, for example to `\"preference_accuracy\"`, and `eval.every`";
                return Err(needs(key, "a metric to compare", hint).into());
            }
        }
    }
    if eval.min_delta > 0.0 && eval.patience == 0 {
        return Err(needs("min_delta", "`eval.patience`", "leave it out, or set both").into());
    }
    let names: Vec<&str> = eval.sets.iter().map(|set| set.name.as_str()).collect();
    if !eval.best_set.is_empty() && !names.contains(&eval.best_set.as_str()) {
        let message = format!("{name}: `eval.best_set` names no set, got `\"{}\"`", eval.best_set);
        let hint = match nearest_word(&eval.best_set, &names) {
            Some(nearest) => format!("did you mean `\"{nearest}\"`?"),
            None => format!("the sets are {}", quoted(names)),
        };
        return Err(InputError::new(message).hint(hint).into());
    }
    Ok(())
}

/// A key and its place.
struct At<'a> {
    source: Source<'a>,
    key: String,
}

impl At<'_> {
    fn inside(&self, key: &str) -> Self {
        Self { key: format!("{}{key}", self.key), ..*self }
    }

    fn wrong_type(&self, expected: &str, found: &Value) -> InputError {
        let line = self.source.line_of(&self.key);
        InputError::new(format!(
            "{line}: `{}` must be {expected}, got `{}`",
            self.key,
            shown(found)
        ))
    }

    fn wrong_value(&self, expected: &str, found: &Value) -> InputError {
        InputError::new(format!(
            "{}: `{}` must be {expected}, got `{}`",
            self.source,
            self.key,
            shown(found)
        ))
    }

    /// The error for a key inside this one that is none of `known`.
    fn unknown(&self, key: &str, known: &[&str]) -> InputError {
        let error = InputError::new(format!("{}: unknown key `{}.{key}`", self.source, self.key));
        error.hint(match nearest_word(key, known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("the keys are {}", quoted(known)),
        })
    }

    fn empty(&self) -> InputError {
        InputError::new(format!("{}: `{}` must not be empty", self.source, self.key))
    }

    fn text<'v>(&self, found: &'v Value) -> Result<&'v str, InputError> {
        found.as_str().ok_or_else(|| self.wrong_type("a string", found))
    }

    /// Refuses a path that a shell would have expanded: a configuration is not read by one.
    fn expanded(&self, found: &Value) -> Result<(), InputError> {
        let text = self.text(found)?;
        if text != "~" && !text.starts_with("~/") && !text.starts_with('$') {
            return Ok(());
        }
        let error =
            self.wrong_value("a path without `~` and variables, which are not expanded", found);
        let home = std::env::var("HOME").ok();
        let rest = ["~", "$HOME", "${HOME}"].iter().find_map(|home| text.strip_prefix(home));
        Err(match home.zip(rest).filter(|(_, rest)| rest.is_empty() || rest.starts_with('/')) {
            Some((home, rest)) => error.hint(format!("write `{home}{rest}`")),
            None => error,
        })
    }

    /// A list that may be empty.
    fn list_or_empty<'v>(
        &self,
        expected: &str,
        found: &'v Value,
    ) -> Result<&'v [Value], InputError> {
        match found {
            Value::Array(list) => Ok(list),
            Value::Table(_) => Err(self.wrong_type(expected, found)),
            _ => Err(self.wrong_type(expected, found).hint(format!("write `[{}]`", shown(found)))),
        }
    }

    /// Refuses the item `i` of `list` if an earlier one is the same.
    fn refuse_twice(&self, list: &[Value], i: usize) -> anyhow::Result<()> {
        if list[..i].contains(&list[i]) {
            bail_input!("{}: `{}` has `{}` twice", self.source, self.key, list[i]);
        }
        Ok(())
    }

    fn list<'v>(&self, found: &'v Value) -> Result<&'v [Value], InputError> {
        match found {
            Value::Array(list) if list.is_empty() => Err(self.empty()),
            Value::Array(list) => Ok(list),
            Value::String(_) => Err(self
                .wrong_type("a list of strings", found)
                .hint(format!("write `[{}]`", shown(found)))),
            _ => Err(self.wrong_type("a list of strings", found)),
        }
    }
}

fn value(at: &At<'_>, kind: &Kind, found: &Value) -> anyhow::Result<()> {
    match kind {
        Kind::Text if at.text(found)?.trim().is_empty() => return Err(at.empty().into()),
        Kind::Text | Kind::OptionalText => at.expanded(found)?,
        Kind::OptionalDay => {
            let text = at.text(found)?;
            let is_day = text.len() == "YYYY-MM-DD".len() && text.parse::<NaiveDate>().is_ok();
            if !text.is_empty() && !is_day {
                return Err(at.wrong_value("a day as `YYYY-MM-DD`, or empty", found).into());
            }
        }
        Kind::Flag if !found.is_bool() => {
            return Err(at.wrong_type("`true` or `false`", found).into());
        }
        Kind::Flag => {}
        Kind::Integer(range) => match found.as_integer() {
            None => return Err(at.wrong_type("an integer", found).into()),
            Some(integer) if range.contains(&integer) => {}
            Some(_) if *range.end() == i64::MAX => {
                return Err(at.wrong_value(&format!("at least {}", range.start()), found).into());
            }
            Some(_) => return Err(at.wrong_value(&format!("in {range:?}"), found).into()),
        },
        Kind::Number(interval) => {
            match found.as_float().or(found.as_integer().map(|integer| integer as f64)) {
                None => return Err(at.wrong_type("a number", found).into()),
                Some(number) if (interval.holds)(number) => {}
                Some(_) => return Err(at.wrong_value(interval.text, found).into()),
            }
        }
        Kind::Choice(words) => choice(at, words, found)?,
        Kind::Choices(words) => {
            let list = at.list(found)?;
            for (i, word) in list.iter().enumerate() {
                choice(&at.inside(&format!("[{i}]")), words, word)?;
                at.refuse_twice(list, i)?;
            }
        }
        Kind::Files => {
            for (i, file) in at.list(found)?.iter().enumerate() {
                value(&at.inside(&format!("[{i}]")), &Kind::Text, file)?;
            }
        }
        Kind::Sources => {
            for (i, source) in at.list(found)?.iter().enumerate() {
                self::source(&at.inside(&format!("[{i}]")), source)?;
            }
        }
        Kind::Columns(roles) => columns(at, roles, found)?,
        Kind::Modules { is_required } => modules(at, *is_required, found)?,
        Kind::Words => {
            for (i, word) in at.list_or_empty("a list of words", found)?.iter().enumerate() {
                value(&at.inside(&format!("[{i}]")), &Kind::Text, word)?;
            }
        }
        Kind::Counts => {
            let list = at.list_or_empty("a list of whole numbers", found)?;
            for (i, count) in list.iter().enumerate() {
                value(&at.inside(&format!("[{i}]")), &Kind::Integer(0..=i64::MAX), count)?;
                at.refuse_twice(list, i)?;
            }
        }
        Kind::Table(of) => {
            let Value::Table(table) = found else {
                return Err(at.wrong_type("a table of patterns", found).into());
            };
            for (pattern, found) in table {
                if pattern.trim().is_empty() {
                    return Err(at.inside(".\"\"").empty().into());
                }
                value(&at.inside(&format!(".{}", Value::from(pattern.as_str()))), of, found)?;
            }
        }
        Kind::Sets => sets(at, found)?,
    }
    Ok(())
}

/// Checks names of modules, or a pattern of them.
fn modules(at: &At<'_>, is_required: bool, found: &Value) -> anyhow::Result<()> {
    let list = match found {
        Value::String(pattern) if pattern.trim().is_empty() => return Err(at.empty().into()),
        Value::String(_) => return Ok(()),
        Value::Array(list) if list.is_empty() && is_required => return Err(at.empty().into()),
        found => at.list_or_empty("a list of names or a pattern", found)?,
    };
    for (i, name) in list.iter().enumerate() {
        value(&at.inside(&format!("[{i}]")), &Kind::Text, name)?;
        at.refuse_twice(list, i)?;
    }
    Ok(())
}

fn choice(at: &At<'_>, words: &[&str], found: &Value) -> Result<(), InputError> {
    let text = at.text(found)?;
    if words.contains(&text) {
        return Ok(());
    }
    let elsewhere = if at.key == "dpo.loss" { elsewhere::loss(text) } else { None };
    let nearest = elsewhere.map(str::to_owned).or_else(|| nearest_word(text, words));
    let words: Vec<_> = words.iter().map(|word| Value::from(*word).to_string()).collect();
    let one_of = if words.len() == 1 { "" } else { "one of " };
    let error = at.wrong_value(&format!("{one_of}{}", quoted(&words)), found);
    Err(match nearest {
        Some(nearest) => error.hint(format!("did you mean `{}`?", Value::from(nearest))),
        None => error,
    })
}

/// Checks the list of `[[eval.sets]]`, which may be empty.
fn sets(at: &At<'_>, found: &Value) -> anyhow::Result<()> {
    let Value::Array(sets) = found else {
        return Err(at.wrong_type("a list of tables", found).into());
    };
    for (i, set) in sets.iter().enumerate() {
        let at = at.inside(&format!("[{i}]"));
        let Value::Table(table) = set else { return Err(at.wrong_type("a table", set).into()) };
        for (key, kind) in SET_KEYS {
            match table.get(*key) {
                Some(found) => value(&at.inside(&format!(".{key}")), kind, found)?,
                None if SET_REQUIRED.contains(key) => {
                    bail_input!("{}: missing key `{}.{key}`", at.source.line_of(&at.key), at.key)
                }
                None => {}
            }
        }
        if let Some(Value::Array(metrics)) = table.get("metrics")
            && !metrics.iter().any(|metric| metric.as_str() == Some(MetricName::Opa.name()))
        {
            let metrics = at.inside(".metrics");
            return Err(metrics
                .wrong_value("a list with `\"opa\"` in it", &table["metrics"])
                .hint(
                    "it costs a small part of what generation costs, and the report is built on it",
                )
                .into());
        }
        if let Some(Value::Array(files)) = table.get("files") {
            for (i, weight) in files.iter().map(|file| file.get("weight")).enumerate() {
                if let Some(weight) = weight {
                    let at = at.inside(&format!(".files[{i}].weight"));
                    let hint = "leave it out: an evaluation visits every pair once";
                    return Err(at.wrong_value("left out of a set", weight).hint(hint).into());
                }
            }
        }
        let name = name(table);
        let at = at.inside(".name");
        if !usable_in_a_file_name(name) {
            let expected = format!(
                "1 to {LONGEST_NAME} letters, digits, `-`, `_` or `.`, the first not a `.`"
            );
            let hint = "it becomes a part of file names, as `scores-<name>-before.jsonl`";
            return Err(at.wrong_value(&expected, &name.into()).hint(hint).into());
        }
        let earlier = sets[..i].iter().filter_map(Value::as_table).map(self::name);
        if let Some(twin) =
            earlier.into_iter().position(|earlier| earlier.eq_ignore_ascii_case(name))
        {
            let expected = format!("another name than `eval.sets[{twin}].name`, whatever the case");
            return Err(at.wrong_value(&expected, &name.into()).into());
        }
    }
    Ok(())
}

/// Checks one source of records.
fn source(at: &At<'_>, found: &Value) -> anyhow::Result<()> {
    let table = match found {
        Value::Table(table) => table,
        Value::String(_) => return value(at, &Kind::Text, found),
        _ => return Err(at.wrong_type("a string or a table with `files`", found).into()),
    };
    for key in table.keys() {
        if !SOURCE_KEYS.iter().any(|(known, _)| known == key) {
            let names: Vec<&str> = SOURCE_KEYS.iter().map(|(name, _)| *name).collect();
            return Err(at.unknown(key, &names).into());
        }
    }
    for (key, kind) in SOURCE_KEYS {
        match table.get(*key) {
            Some(name @ Value::String(_)) if *key == "files" => {
                value(&at.inside(".files"), &Kind::Text, name)?;
            }
            Some(found) => value(&at.inside(&format!(".{key}")), kind, found)?,
            None if *key == "files" => {
                bail_input!("{}: missing key `{}.files`", at.source.line_of(&at.key), at.key)
            }
            None => {}
        }
    }
    Ok(())
}

/// Checks a table of roles and columns.
fn columns(at: &At<'_>, roles: &[&str], found: &Value) -> anyhow::Result<()> {
    let Value::Table(table) = found else {
        let example = "`{prompt = \"question\"}`";
        return Err(at
            .wrong_type("a table of columns", found)
            .hint(format!("as in {example}"))
            .into());
    };
    for (role, column) in table {
        if !roles.contains(&&**role) {
            return Err(at.unknown(role, roles).into());
        }
        let is_none = column.as_str() == Some("") && ColumnRole::MAY_LACK.contains(&&**role);
        if !is_none {
            value(&at.inside(&format!(".{role}")), &Kind::Text, column)?;
        }
    }
    Ok(())
}

fn name(set: &Table) -> &str {
    set.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn usable_in_a_file_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
