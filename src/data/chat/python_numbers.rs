//! Filters and tests of Jinja2 about numbers: `int` and `float` of any text, `odd`, `even`, `divisibleby`.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error};

use super::operators::remainder;
use super::python_values::refused;
use crate::data::format::fields::strip;

/// Adds them.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    let rest_is = |rest: i64| {
        move |value: &Value| Ok::<_, Error>(remainder(value, &Value::from(2))? == Value::from(rest))
    };
    environment.add_test("odd", rest_is(1));
    environment.add_test("even", rest_is(0));
    environment.add_test("divisibleby", |value: &Value, by: &Value| {
        Ok::<_, Error>(remainder(value, by)? == Value::from(0))
    });
}

fn int(
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    options: Kwargs,
) -> Result<Value, Error> {
    let default = default.or(options.get("default")?).unwrap_or_else(|| Value::from(0));
    let base = base.or(options.get("base")?).unwrap_or(10);
    options.assert_all_used()?;
    let from_float = |float: f64| match float.trunc() {
        // Every i64 below this is exact.
        float if float.abs() < 9e18 => Ok(Value::from(float as i64)),
        _ => Err(refused(format!("`int` of the number {float}"))),
    };
    match (value.as_str(), value.kind()) {
        (Some(text), _) => Ok(match (integer(text, base)?, number(text)?) {
            (Some(value), _) => value,
            (None, Some(float)) if float.is_finite() => from_float(float)?,
            _ => default,
        }),
        (None, ValueKind::Undefined) => Err(refused("`int` of a value that is not defined")),
        (None, ValueKind::Bool) => Ok(Value::from(u8::from(value.is_true()))),
        (None, ValueKind::Number) if value.is_integer() => Ok(value.clone()),
        (None, ValueKind::Number) => from_float(f64::try_from(value.clone())?),
        _ => Ok(default),
    }
}

fn float(value: &Value, default: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let default = default.or(options.get("default")?).unwrap_or_else(|| Value::from(0.0));
    options.assert_all_used()?;
    match (value.as_str(), value.kind()) {
        (Some(text), _) => Ok(number(text)?.map_or(default, Value::from)),
        (None, ValueKind::Undefined) => Err(refused("`float` of a value that is not defined")),
        (None, ValueKind::Bool) => Ok(Value::from(f64::from(u8::from(value.is_true())))),
        (None, ValueKind::Number) => Ok(Value::from(f64::try_from(value.clone())?)),
        _ => Ok(default),
    }
}

/// A text without the underscores between its digits; refused with digits that Rust does not read.
fn digits(text: &str) -> Result<Option<String>, Error> {
    let text = strip(text);
    if text.chars().any(|c| !c.is_ascii() && c.is_numeric()) {
        return Err(refused("a number in digits beyond ASCII"));
    }
    let bytes = text.as_bytes();
    let is_digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_hexdigit);
    let is_between = |(at, byte): (usize, &u8)| {
        *byte != b'_' || (at > 0 && is_digit(bytes.get(at - 1)) && is_digit(bytes.get(at + 1)))
    };
    Ok(bytes.iter().enumerate().all(is_between).then(|| text.replace('_', "")))
}

/// Python's `int(text, base)`.
fn integer(text: &str, base: u32) -> Result<Option<Value>, Error> {
    let Some(text) = digits(text)? else { return Ok(None) };
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        10 => "",
        _ => return Err(refused(format!("`int` with the base {base}"))),
    };
    let lower = unsigned.to_ascii_lowercase();
    let bare = lower.strip_prefix(prefix).unwrap_or(&lower);
    if bare.is_empty() || !bare.chars().all(|c| c.is_digit(base)) {
        return Ok(None);
    }
    match i128::from_str_radix(&format!("{sign}{bare}"), base) {
        Ok(value) => {
            Ok(Some(i64::try_from(value).map_or_else(|_| Value::from(value), Value::from)))
        }
        Err(_) => Err(refused("`int` of a number with so many digits")),
    }
}

/// Python's `float(text)`.
fn number(text: &str) -> Result<Option<f64>, Error> {
    Ok(digits(text)?.and_then(|text| text.parse().ok()))
}
