//! Python's operators and loops, as filters that [`rewrite`](super::rewrite) puts into a template.

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Environment, Error, State};

use super::python_compare::{equal, numbers};
use super::python_values::{Odd, is_dict, is_list, items, refused, text};

/// Adds the filters.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("_slice", slice);
    environment.add_filter("_iter", iterable);
    environment.add_filter("_lazy", lazy);
    environment.add_filter("_given", |value: Value| match value.is_undefined() {
        true => Value::from_object(Odd::Undefined),
        false => value,
    });
    environment.add_filter("_taken", |value: Value| match Odd::of(&value) {
        Some(Odd::Undefined) => Value::UNDEFINED,
        _ => value,
    });
    environment.add_filter("_text", |left: &Value, right: &Value| -> Result<String, Error> {
        Ok(text(left)? + &text(right)?)
    });
    environment.add_filter("_in", contains);
    environment.add_filter("_add", plus);
    environment.add_filter("_mod", modulo);
}

/// `value[start:stop:step]`.
fn slice(value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let bound = |bound: &Value| match bound.as_i64().filter(|_| bound.is_integer()) {
        Some(bound) => Ok(Some(bound)),
        None if bound.is_none() => Ok(None),
        None => Err(refused(format!("a slice with the bound `{bound}`"))),
    };
    let items: Vec<Value> = match value.as_str() {
        Some(text) => text.chars().map(Value::from).collect(),
        None if is_list(value) => value.try_iter()?.checked().collect::<Result<_, _>>()?,
        None => return Err(refused(format!("a slice of a value that is {}", value.kind()))),
    };
    let length = i64::try_from(items.len()).map_err(|e| refused(e.to_string()))?;
    let step = bound(step)?.unwrap_or(1);
    if step == 0 {
        return Err(refused("a slice with the step 0"));
    }
    let forward = step > 0;
    let (least, most) = if forward { (0, length) } else { (-1, length - 1) };
    let place = |at: Option<i64>, absent: i64| match at {
        None => absent,
        Some(at) if at < 0 => at.saturating_add(length).clamp(least, most),
        Some(at) => at.clamp(least, most),
    };
    let (mut at, stop) = if forward {
        (place(bound(start)?, 0), place(bound(stop)?, length))
    } else {
        (place(bound(start)?, length - 1), place(bound(stop)?, -1))
    };
    let mut taken = Vec::new();
    while if forward { at < stop } else { at > stop } {
        taken.extend(usize::try_from(at).ok().and_then(|at| items.get(at).cloned()));
        at = at.saturating_add(step);
    }
    Ok(match value.as_str() {
        Some(_) => Value::from(taken.iter().filter_map(Value::as_str).collect::<String>()),
        None if value.is_tuple() => Value::from(Tuple::from(taken)),
        None => Value::from(taken),
    })
}

/// What a loop or a filter of the engine reads, item by item.
fn iterable(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => Ok(value),
        _ => items(&value).map(Value::from),
    }
}

/// The result of a lazy filter.
fn lazy(value: Value) -> Result<Value, Error> {
    Ok(Odd::generator(items(&value)?))
}

/// `value in container`.
pub(super) fn contains(value: &Value, container: &Value) -> Result<bool, Error> {
    match (container.kind(), value.as_str()) {
        (ValueKind::Undefined, _) => Ok(false),
        (ValueKind::String, Some(part)) => {
            Ok(container.as_str().unwrap_or_default().contains(part))
        }
        (ValueKind::Map, _) if is_dict(container) => {
            if is_dict(value) || (is_list(value) && !value.is_tuple()) {
                return Err(refused("a list or mapping `in` a mapping"));
            }
            let mut keys = container.try_iter()?.checked();
            Ok(keys.any(|key| key.is_ok_and(|key| equal(&key, value))))
        }
        (ValueKind::Seq | ValueKind::Iterable, _) => {
            for item in container.try_iter()?.checked() {
                if equal(&item?, value) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (kind, _) => Err(refused(format!("{} `in` {kind}", value.kind()))),
    }
}

/// `left + right`.
fn plus(left: &Value, right: &Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        return Ok(Value::from([left, right].concat()));
    }
    if is_list(left) && is_list(right) && left.is_tuple() == right.is_tuple() {
        let items = left.try_iter()?.checked().chain(right.try_iter()?.checked());
        let items = items.collect::<Result<Vec<_>, _>>()?;
        return Ok(if left.is_tuple() { Tuple::from(items).into() } else { items.into() });
    }
    let Some([a, b]) = numbers(left, right) else {
        return Err(refused(format!("a sum of {} and {}", left.kind(), right.kind())));
    };
    if a.is_integer() && b.is_integer() {
        return integer(i128::try_from(a)?.checked_add(i128::try_from(b)?));
    }
    Ok(Value::from(f64::try_from(a)? + f64::try_from(b)?))
}

/// `left % right`: the rest of a division, or a text with its fields filled in.
fn modulo(state: &mut State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    if left.as_str().is_some() {
        let mut args = vec![left.clone()];
        match right.is_tuple() {
            true => args.extend(right.try_iter()?),
            false if is_dict(right) => return Err(refused("`%` of a text and a mapping")),
            false => args.push(right.clone()),
        }
        return state.apply_filter("format", &args);
    }
    remainder(left, right)
}

/// The rest of a division, with the sign of its divisor.
pub(super) fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    let Some([a, b]) = numbers(left, right) else {
        return Err(refused(format!("`%` of {} and {}", left.kind(), right.kind())));
    };
    if a.is_integer() && b.is_integer() {
        let (a, b) = (i128::try_from(a)?, i128::try_from(b)?);
        let rest = a.checked_rem(b);
        return integer(
            rest.map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
        );
    }
    let (a, b) = (f64::try_from(a)?, f64::try_from(b)?);
    if b == 0.0 {
        return Err(refused("a division by 0"));
    }
    let rest = a % b;
    Ok(Value::from(match rest == 0.0 {
        true => 0f64.copysign(b),
        false if (rest < 0.0) != (b < 0.0) => rest + b,
        false => rest,
    }))
}

fn integer(value: Option<i128>) -> Result<Value, Error> {
    let value = value.ok_or_else(|| refused("an integer that cannot be computed here"))?;
    Ok(i64::try_from(value).map_or_else(|_| Value::from(value), Value::from))
}
