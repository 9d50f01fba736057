//! Filters and tests of Jinja2 whose engine's version differs, and functions that transformers has.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error};

use super::operators;
use super::python_compare;
use super::python_numbers;
use super::python_order::{self, at_path};
use super::python_text::{capitalize, lines};
use super::python_values::{Odd, is_dict, is_list, items, refused, text};
use crate::data::format::fields::is_space;

/// What the engine has and Jinja2 has not, or otherwise.
const FOREIGN_FILTERS: [&str; 8] =
    ["attr", "bool", "chain", "groupby", "lines", "pprint", "split", "zip"];
const FOREIGN_TESTS: [&str; 3] = ["endingwith", "safe", "startingwith"];

type OfText = fn(&Value) -> Result<String, Error>;

/// Filters of a value's text alone.
const TEXTS: [(&str, OfText); 8] = [
    ("string", text),
    ("upper", |value| text(value).map(|text| text.to_uppercase())),
    ("lower", |value| text(value).map(|text| text.to_lowercase())),
    ("capitalize", |value| text(value).map(|text| capitalize(&text))),
    ("title", title),
    ("escape", escape),
    ("e", escape),
    ("forceescape", escape),
];

/// Widest indentation, in characters.
const WIDEST_INDENT: usize = 1000;

/// Replaces filters and tests.
pub(super) fn add(environment: &mut Environment<'static>) {
    FOREIGN_FILTERS.iter().for_each(|name| environment.remove_filter(name));
    FOREIGN_TESTS.iter().for_each(|name| environment.remove_test(name));
    environment.remove_global("debug");
    environment.add_global("self", Value::from_object(Odd::Method));
    environment.add_function("lipsum", || -> Result<(), Error> {
        Err(refused("`lipsum()`, which draws at random"))
    });
    TEXTS.iter().for_each(|(name, filter)| environment.add_filter(*name, *filter));
    environment.add_filter("trim", trim);
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("indent", indent);
    ["default", "d"].iter().for_each(|name| environment.add_filter(*name, default));
    ["length", "count"].iter().for_each(|name| environment.add_filter(*name, length));
    environment.add_filter("first", |value: &Value| -> Result<Value, Error> {
        Ok(items(value)?.into_iter().next().unwrap_or(Value::UNDEFINED))
    });
    environment.add_filter("last", |value: &Value| match Odd::of(value) {
        Some(Odd::Generator { .. }) => Err(refused("`last` of the result of a lazy filter")),
        _ => Ok(items(value)?.pop().unwrap_or(Value::UNDEFINED)),
    });
    environment.add_filter("reverse", reverse);
    environment.add_function("range", |from: isize, to: Option<isize>, step: Option<isize>| {
        let range = minijinja::functions::range(from, to, step)?;
        Ok::<_, Error>(Value::from_object(Odd::Range(items(&range)?)))
    });
    python_compare::add(environment);
    python_order::add(environment);
    python_numbers::add(environment);
    tests(environment);
}

fn default(
    value: Value,
    other: Option<Value>,
    boolean: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let other = other.or(options.get("default_value")?).unwrap_or_else(|| Value::from(""));
    let boolean = boolean.or(options.get("boolean")?).unwrap_or(false);
    options.assert_all_used()?;
    Ok(if value.is_undefined() || (boolean && !value.is_true()) { other } else { value })
}

fn length(value: &Value) -> Result<usize, Error> {
    let has_length = value.as_str().is_some() || is_dict(value) || value.as_object().is_some();
    match value.len().filter(|_| has_length) {
        Some(length) => Ok(length),
        None if value.is_undefined() => Ok(0),
        None => Err(refused(format!("`length` of a value that is {}", value.kind()))),
    }
}

fn reverse(value: &Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(Value::from(text.chars().rev().collect::<String>()));
    }
    let mut reversed = items(value)?;
    reversed.reverse();
    Ok(match Odd::of(value) {
        Some(Odd::Generator { .. }) => Value::from(reversed),
        _ => Odd::generator(reversed),
    })
}

fn tests(environment: &mut Environment<'static>) {
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    environment.add_test("number", is_number);
    environment.add_test("sequence", |value: &Value| {
        let is_range = matches!(Odd::of(value), Some(Odd::Range(_)));
        is_range
            || value.is_undefined()
            || value.as_str().is_some()
            || is_dict(value)
            || is_list(value)
    });
    environment.add_test("iterable", |value: &Value| {
        let is_view =
            matches!(Odd::of(value), Some(Odd::Generator { .. } | Odd::View(_) | Odd::Range(_)));
        is_view
            || value.is_undefined()
            || value.as_str().is_some()
            || is_dict(value)
            || is_list(value)
    });
    environment.add_test("mapping", is_dict);
    environment.add_test("callable", |value: &Value| {
        matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined)
    });
    environment.add_test("in", operators::contains);
}

/// `title`: upper case where a word begins, which here is after white space or an opening bracket.
fn title(value: &Value) -> Result<String, Error> {
    let mut begins = true;
    let value = text(value)?;
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match begins {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        begins = is_space(c) || "-({[<".contains(c);
    }
    Ok(out)
}

fn trim(value: &Value, chars: Option<&str>) -> Result<String, Error> {
    let taken = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    Ok(text(value)?.trim_matches(taken).to_owned())
}

/// markupsafe's `escape`.
fn escape(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    for c in text(value)?.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn replace(value: &Value, old: &Value, new: &Value, count: Option<i64>) -> Result<String, Error> {
    let (value, old, new) = (text(value)?, text(old)?, text(new)?);
    Ok(match count.map(usize::try_from) {
        Some(Ok(count)) => value.replacen(&old, &new, count),
        _ => value.replace(&old, &new),
    })
}

fn join(value: &Value, between: Option<&Value>, options: Kwargs) -> Result<String, Error> {
    let named = options.get::<Option<Value>>("d")?;
    let between = between.or(named.as_ref()).map_or_else(|| Ok(String::new()), text)?;
    let attribute = options.get::<Option<String>>("attribute")?;
    options.assert_all_used()?;
    let mut parts = Vec::new();
    for part in items(value)? {
        parts.push(text(
            &attribute.as_ref().map_or(Ok(part.clone()), |path| at_path(&part, path))?,
        )?);
    }
    Ok(parts.join(&between))
}

fn indent(
    value: &Value,
    width: Option<&Value>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let named = options.get::<Option<Value>>("width")?;
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = blank.or(options.get("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    let width = width.or(named.as_ref());
    let indent = match width {
        None => " ".repeat(4),
        Some(width) => match (width.as_str(), width.as_usize()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(width)) if width <= WIDEST_INDENT => " ".repeat(width),
            _ => return Err(refused(format!("`indent` with the width `{width}`"))),
        },
    };
    let value = text(value)? + "\n";
    let mut out = if first { indent.clone() } else { String::new() };
    for (place, line) in lines(&value, false).iter().enumerate() {
        if place > 0 {
            out.push('\n');
            out.push_str(if blank || !line.is_empty() { &indent } else { "" });
        }
        out.push_str(line);
    }
    Ok(out)
}
