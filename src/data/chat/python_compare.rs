//! Python's order and equality of values.

use std::cmp::Ordering;

use minijinja::Error;
use minijinja::value::{Value, ValueKind};

use super::python_values::{is_list, refused};

/// A bool as the number it is in Python; any other value as it is.
fn number(value: &Value) -> Value {
    match value.kind() {
        ValueKind::Bool => Value::from(u8::from(value.is_true())),
        _ => value.clone(),
    }
}

/// Two numbers, if both are.
pub(super) fn numbers(left: &Value, right: &Value) -> Option<[Value; 2]> {
    let pair = [number(left), number(right)];
    pair.iter().all(|value| value.kind() == ValueKind::Number).then_some(pair)
}

pub(super) fn equal(left: &Value, right: &Value) -> bool {
    left.is_tuple() == right.is_tuple() && number(left) == number(right)
}

/// How two values compare, if Python compares them; none with a NaN.
pub(super) fn compare(left: &Value, right: &Value) -> Result<Option<Ordering>, Error> {
    if let Some([left, right]) = numbers(left, right) {
        if left.is_integer() && right.is_integer() {
            return Ok(Some(left.cmp(&right)));
        }
        return Ok(f64::try_from(left)?.partial_cmp(&f64::try_from(right)?));
    }
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        return Ok(Some(left.cmp(right)));
    }
    if is_list(left) && is_list(right) && left.is_tuple() == right.is_tuple() {
        let (mut lefts, mut rights) = (left.try_iter()?.checked(), right.try_iter()?.checked());
        loop {
            match (lefts.next().transpose()?, rights.next().transpose()?) {
                (Some(left), Some(right)) if equal(&left, &right) => {}
                (Some(left), Some(right)) => return compare(&left, &right),
                (left, right) => return Ok(Some(left.is_some().cmp(&right.is_some()))),
            }
        }
    }
    Err(refused(format!("a comparison of {} and {} by size", left.kind(), right.kind())))
}
