//! Python's order and equality of values.

use std::cmp::Ordering;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error};

use super::python_values::{is_list, refused};

/// The filter of each operator, the names of its tests, and whether it holds of equal values.
const EQUALITIES: [(&str, &[&str], bool); 2] =
    [("_eq", &["eq", "equalto", "=="], true), ("_ne", &["ne", "!="], false)];

/// The same, with the orders of which it holds.
const ORDERS: [(&str, &[&str], &[Ordering]); 4] = [
    ("_lt", &["lt", "lessthan", "<"], &[Ordering::Less]),
    ("_le", &["le", "<="], &[Ordering::Less, Ordering::Equal]),
    ("_gt", &["gt", "greaterthan", ">"], &[Ordering::Greater]),
    ("_ge", &["ge", ">="], &[Ordering::Greater, Ordering::Equal]),
];

/// Adds comparisons as filters, which stand for operators, and as tests.
pub(super) fn add(environment: &mut Environment<'static>) {
    for (filter, tests, wanted) in EQUALITIES {
        let holds = move |left: &Value, right: &Value| equal(left, right) == wanted;
        environment.add_filter(filter, holds);
        tests.iter().for_each(|name| environment.add_test(*name, holds));
    }
    for (filter, tests, wanted) in ORDERS {
        let holds = move |left: &Value, right: &Value| {
            compare(left, right).map(|order| order.is_some_and(|order| wanted.contains(&order)))
        };
        environment.add_filter(filter, holds);
        tests.iter().for_each(|name| environment.add_test(*name, holds));
    }
}

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
