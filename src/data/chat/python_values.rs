//! What Python has and the engine has not: a method that is not called, a generator, a view of a dict; and the text of any value.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Deepest value that is written as text or as JSON.
pub(super) const DEEPEST: usize = 100;

/// An error that names what is refused.
pub(super) fn refused(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// A value that Python has for an expression, though a template can do little with it.
#[derive(Debug)]
pub(super) enum Odd {
    /// A method of a value that is read and not called: true, defined, without text.
    Method,
    /// The items of a lazy filter, which are there once.
    Generator { items: Vec<Value>, is_read: AtomicBool },
    /// `keys()`, `values()` and `items()` of a dict: no sequence, without text here.
    View(Vec<Value>),
    /// `range(...)`: a sequence without text here.
    Range(Vec<Value>),
    /// A value of an attribute and the items that have it, from `groupby`: a tuple with names.
    Group([Value; 2]),
    /// An argument that is given to a macro and not defined, until the macro takes it.
    Undefined,
}

impl Odd {
    pub(super) fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref()
    }

    pub(super) fn generator(items: Vec<Value>) -> Value {
        Value::from_object(Self::Generator { items, is_read: AtomicBool::new(false) })
    }

    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Method => "a method that is not called",
            Self::Generator { .. } => "the result of a lazy filter; `| list` it first",
            Self::View(_) => "a view of a mapping; `| list` it first",
            Self::Range(_) => "a range; `| list` it first",
            Self::Group(_) => "a group",
            Self::Undefined => "a value that is not defined",
        }
    }
}

impl Object for Odd {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match **self {
            Self::Method | Self::Undefined => ObjectRepr::Plain,
            Self::Generator { .. } | Self::View(_) | Self::Range(_) => ObjectRepr::Iterable,
            Self::Group(_) => ObjectRepr::Seq,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &**self {
            Self::Method | Self::Undefined => Enumerator::NonEnumerable,
            Self::View(items) | Self::Range(items) => Enumerator::Values(items.clone()),
            Self::Group(both) => Enumerator::Values(both.to_vec()),
            Self::Generator { items, is_read } => {
                if is_read.swap(true, Ordering::Relaxed) {
                    let error = refused(
                        "the result of a lazy filter that is read twice, of which Python keeps nothing; `| list` it first",
                    );
                    return Enumerator::Values(vec![Value::from(error)]);
                }
                Enumerator::Values(items.clone())
            }
        }
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let Self::Group(both) = &**self else { return None };
        let place = match name.as_str() {
            Some("grouper") => 0,
            Some("list") => 1,
            Some(_) => return None,
            None => name.as_usize()?,
        };
        both.get(place).cloned()
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        match &**self {
            Self::Group(both) => Some(both.len()),
            Self::View(items) | Self::Range(items) => Some(items.len()),
            Self::Method | Self::Generator { .. } | Self::Undefined => None,
        }
    }
}

/// Whether a value is a dict, and not a namespace or another object with attributes.
pub(super) fn is_dict(value: &Value) -> bool {
    let of_engine = |name: &str| name.starts_with("minijinja::vm") || name.ends_with("Namespace");
    value.kind() == ValueKind::Map
        && value.as_object().is_some_and(|object| !of_engine(object.type_name()))
}

/// Whether a value is a list, or one of the engine's lazy ones, such as `a + b`.
pub(super) fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
        && Odd::of(value).is_none()
        && value.len().is_some()
}

/// What Python reads of a value, item by item: nothing of one that is not defined, and an error for none or a number.
pub(super) fn items(value: &Value) -> Result<Vec<Value>, Error> {
    match (value.kind(), Odd::of(value)) {
        (ValueKind::None | ValueKind::Bool | ValueKind::Number, _) => {
            Err(refused(format!("a loop over a value that is {}", value.kind())))
        }
        (_, Some(Odd::Method)) => Err(refused(format!("a loop over {}", Odd::Method.noun()))),
        _ => value.try_iter()?.checked().collect(),
    }
}

/// Python's `str`.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    if value.is_undefined() {
        return Ok(String::new());
    }
    let mut text = String::new();
    repr(value, 0, &mut text)?;
    Ok(text)
}

/// Python's `repr`.
fn repr(value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
    if depth > DEEPEST {
        return Err(refused(format!("the text of a value nested more than {DEEPEST} deep")));
    }
    match Odd::of(value) {
        None => {}
        Some(Odd::Group([key, items])) => {
            text.push('(');
            repr(key, depth + 1, text)?;
            text.push_str(", ");
            repr(items, depth + 1, text)?;
            text.push(')');
            return Ok(());
        }
        Some(odd) => return Err(refused(format!("the text of {}", odd.noun()))),
    }
    match value.kind() {
        ValueKind::Undefined => text.push_str("Undefined"),
        ValueKind::None => text.push_str("None"),
        ValueKind::Bool => text.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if !value.is_integer() => {
            let float = f64::try_from(value.clone())?;
            text.push_str(&python_float(float));
        }
        ValueKind::Number => {
            let _ = write!(text, "{value}");
        }
        ValueKind::String => quoted(value.as_str().unwrap_or_default(), text),
        ValueKind::Map if is_dict(value) => {
            text.push('{');
            for (place, key) in value.try_iter()?.checked().enumerate() {
                let key = key?;
                text.push_str(if place > 0 { ", " } else { "" });
                repr(&key, depth + 1, text)?;
                text.push_str(": ");
                repr(&value.get_item(&key)?, depth + 1, text)?;
            }
            text.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable if is_list(value) => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            text.push(open);
            for (place, item) in value.try_iter()?.checked().enumerate() {
                text.push_str(if place > 0 { ", " } else { "" });
                repr(&item?, depth + 1, text)?;
            }
            text.push_str(if value.is_tuple() && value.len() == Some(1) { "," } else { "" });
            text.push(close);
        }
        other => return Err(refused(format!("the text of a {other}"))),
    }
    Ok(())
}

/// Python's `repr` of a string.
fn quoted(string: &str, text: &mut String) {
    let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for c in string.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c == quote => {
                text.push('\\');
                text.push(c);
            }
            c if is_printable(c) => text.push(c),
            c if u32::from(c) < 0x100 => {
                let _ = write!(text, "\\x{:02x}", u32::from(c));
            }
            c if u32::from(c) < 0x10000 => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(text, "\\U{:08x}", u32::from(c));
            }
        }
    }
    text.push(quote);
}

/// Whether Python shows a character as it is: no control, no space but `' '`, none that only formats.
fn is_printable(c: char) -> bool {
    let formats = matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{10ffff}');
    c == ' ' || !(c.is_control() || c.is_whitespace() || formats)
}

/// Python's `repr` of a float.
pub(super) fn python_float(float: f64) -> String {
    if float.is_nan() {
        return "nan".to_owned();
    }
    let text = format!("{float:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}
