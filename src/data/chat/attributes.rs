//! Attributes, items and methods of values, as filters that [`rewrite`](super::rewrite) puts into a template.

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State};

use super::python_text;
use super::python_values::{Odd, is_dict, is_list, refused};

/// Methods of a dict. Of those that change it transformers' sandbox says that they are not defined.
const OF_DICT: [&str; 6] = ["keys", "values", "items", "get", "copy", "fromkeys"];
const CHANGE_DICT: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
/// Methods of a list and of a tuple.
const OF_LIST: [&str; 3] = ["count", "index", "copy"];
/// Methods of a string.
const OF_STRING: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
/// Attributes of a number.
const OF_NUMBER: [&str; 12] = [
    "real",
    "imag",
    "numerator",
    "denominator",
    "conjugate",
    "bit_length",
    "bit_count",
    "to_bytes",
    "from_bytes",
    "as_integer_ratio",
    "is_integer",
    "hex",
];

/// Adds the filters.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("_attr", attribute);
    environment.add_filter("_item", item);
    environment.add_filter("_call", call);
}

/// `value.name`: the attribute before the key.
fn attribute(value: &Value, name: &str) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(refused(format!("`.{name}` of a value that is not defined")));
    }
    if let Some(method) = method(value, name)? {
        return Ok(method);
    }
    value.get_attr(name)
}

/// The filter `attr`: the attribute alone, and no key of a mapping.
pub(super) fn attribute_alone(value: &Value, name: &str) -> Result<Value, Error> {
    if is_dict(value) && !is_method_of_a_dict(name) {
        return Ok(Value::UNDEFINED);
    }
    attribute(value, name)
}

/// `value[key]`: the key before the attribute.
pub(super) fn item(value: &Value, key: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(refused(format!("`[{key}]` of a value that is not defined")));
    }
    match Odd::of(value) {
        Some(Odd::Range(_)) | None => {}
        // The names of a group are attributes, which Jinja2 looks for after the keys.
        Some(Odd::Group(_)) => return value.get_item(key),
        Some(_) => return Ok(Value::UNDEFINED),
    }
    let by_index = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::String);
    let found = match key.kind() {
        ValueKind::Bool if by_index => value.get_item(&Value::from(u8::from(key.is_true())))?,
        ValueKind::Number if by_index && !key.is_integer() => Value::UNDEFINED,
        _ => value.get_item(key)?,
    };
    match key.as_str() {
        Some(name) if found.is_undefined() => Ok(method(value, name)?.unwrap_or(found)),
        _ => Ok(found),
    }
}

/// Whether Python takes a name for a dict's own method, whatever keys it has.
pub(super) fn is_method_of_a_dict(name: &str) -> bool {
    OF_DICT.contains(&name) || CHANGE_DICT.contains(&name)
}

/// The method `name` that Python has for a value, unless it has none; one that the sandbox hides is not defined.
fn method(value: &Value, name: &str) -> Result<Option<Value>, Error> {
    let has = match value.kind() {
        ValueKind::String => OF_STRING.contains(&name),
        ValueKind::Map if is_dict(value) && CHANGE_DICT.contains(&name) => {
            return Ok(Some(Value::UNDEFINED));
        }
        ValueKind::Map if is_dict(value) => OF_DICT.contains(&name),
        ValueKind::Seq | ValueKind::Iterable if is_list(value) => {
            OF_LIST.contains(&name) && !(value.is_tuple() && name == "copy")
        }
        ValueKind::Number | ValueKind::Bool if OF_NUMBER.contains(&name) => {
            return Err(refused(format!("`.{name}` of a number")));
        }
        _ => false,
    };
    Ok(has.then(|| Value::from_object(Odd::Method)))
}

/// `value.name(...)`.
fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(refused(format!("`.{name}()` of a value that is not defined")));
    }
    let args = args.into_values();
    match python_text::call(value, name, &args)? {
        Some(result) => Ok(result),
        None => value.call_method(state, name, &args),
    }
}
