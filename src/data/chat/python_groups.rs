//! What Jinja2 has and the engine has not: `groupby`, `attr`, `center`, `truncate`, `wordcount`, `cycler` and `joiner`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use minijinja::value::{
    Enumerator, Kwargs, Object, ObjectRepr, Rest, Value, ValueOrKwargs, from_args,
};
use minijinja::{Environment, Error, State};

use super::attributes::attribute_alone;
use super::python_order::grouped;
use super::python_padding::centered;
use super::python_values::{Odd, refused, text};

/// What `truncate` lets a text be too long, in characters.
const LEEWAY: usize = 5;

/// The letters that Python and Rust count as parts of a word alike: Latin, without what may stand above a letter.
const LAST_OF_LATIN: char = '\u{24f}';

/// Adds the filters and functions.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("groupby", groupby);
    environment.add_filter("attr", attribute_alone);
    environment.add_filter("center", center);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", wordcount);
    environment.add_function("joiner", |separator: Option<Value>, options: Kwargs| {
        let separator = separator.or(options.get("sep")?);
        options.assert_all_used()?;
        let separator = separator.unwrap_or_else(|| Value::from(", "));
        Ok::<_, Error>(Value::from_object(Joiner { separator, is_used: AtomicBool::new(false) }))
    });
    environment.add_function("cycler", |items: Rest<Value>| match items.is_empty() {
        true => Err(refused("a `cycler` of nothing")),
        false => Ok(Value::from_object(Cycler { items: items.0, at: AtomicUsize::new(0) })),
    });
}

/// `joiner(sep)`: nothing where it is called first, the separator where it is called again.
#[derive(Debug)]
struct Joiner {
    separator: Value,
    is_used: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let () = from_args(args)?;
        let is_used = self.is_used.swap(true, Ordering::Relaxed);
        Ok(if is_used { self.separator.clone() } else { Value::from("") })
    }
}

/// `cycler(...)`: its items again and again.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        match name.as_str()? {
            "current" => self.items.get(self.at.load(Ordering::Relaxed)).cloned(),
            "next" | "reset" => Some(Value::from_object(Odd::Method)),
            _ => None,
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        name: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let () = from_args(args)?;
        let at = self.at.load(Ordering::Relaxed);
        match name {
            "next" => {
                self.at.store((at + 1) % self.items.len(), Ordering::Relaxed);
                Ok(self.items[at].clone())
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(refused(format!("`{name}()` of a cycler"))),
        }
    }
}

/// `groupby`: a group for each value of an attribute, in the order of the values.
fn groupby(
    value: Value,
    attribute: Option<Value>,
    default: Option<Value>,
    case: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let attribute = attribute.or(options.get("attribute")?);
    let attribute = attribute.ok_or_else(|| refused("`groupby` without an attribute"))?;
    let default = default.or(options.get("default")?);
    let case = case.or(options.get("case_sensitive")?).unwrap_or(false);
    options.assert_all_used()?;
    let groups = grouped(&value, &attribute, default.as_ref(), case)?;
    let group = |(key, items)| Value::from_object(Odd::Group([key, Value::from(items)]));
    Ok(groups.into_iter().map(group).collect())
}

/// `center`: spaces on both sides, as Python's method.
fn center(value: &Value, width: Option<usize>) -> Result<String, Error> {
    centered(&text(value)?, width.unwrap_or(80), ' ')
}

type OfTruncate<'a> = (Option<usize>, Option<bool>, Option<&'a str>, Option<usize>, Kwargs);

/// `truncate`: the first characters, up to the end of a word, and the text `end`.
fn truncate(value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = args.into_values();
    let (length, kill, end, leeway, options): OfTruncate<'_> = from_args(&args)?;
    let named_end = options.get::<Option<String>>("end")?;
    let length = length.or(options.get("length")?).unwrap_or(255);
    let kills_words = kill.or(options.get("killwords")?).unwrap_or(false);
    let end = end.or(named_end.as_deref()).unwrap_or("...");
    let leeway = leeway.or(options.get("leeway")?).unwrap_or(LEEWAY);
    options.assert_all_used()?;
    let value = text(value)?;
    let Some(kept) = length.checked_sub(end.chars().count()) else {
        return Err(refused(format!("`truncate` to {length} characters, fewer than `{end}` has")));
    };
    if value.chars().count() <= length.saturating_add(leeway) {
        return Ok(value);
    }
    let begin: String = value.chars().take(kept).collect();
    let begin = match begin.rsplit_once(' ') {
        Some((words, _)) if !kills_words => words,
        _ => &begin,
    };
    Ok([begin, end].concat())
}

fn wordcount(value: &Value) -> Result<usize, Error> {
    let value = text(value)?;
    if value.chars().any(|c| c > LAST_OF_LATIN && c.is_alphanumeric()) {
        return Err(refused("`wordcount` of letters beyond Latin"));
    }
    let words = value.split(|c: char| !c.is_alphanumeric() && c != '_');
    Ok(words.filter(|word| !word.is_empty()).count())
}
