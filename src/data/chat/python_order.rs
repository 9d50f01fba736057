//! Filters of Jinja2 that compare items: `sort`, `min`, `max`, `unique`, `dictsort`, by Python's order.

use std::cmp::Ordering;

use minijinja::value::{Kwargs, Tuple, Value, ValueKind};
use minijinja::{Environment, Error};

use super::attributes::item;
use super::python_compare::{compare, equal};
use super::python_values::{is_dict, items, refused};

/// Adds the filters.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("sort", sort);
    environment.add_filter("dictsort", dictsort);
    environment.add_filter("unique", unique);
    let extreme = |wanted: Ordering| {
        move |value: Value, case: Option<bool>, attribute: Option<Value>, options: Kwargs| {
            extreme(value, By::of(case, attribute, &options)?, wanted)
        }
    };
    environment.add_filter("min", extreme(Ordering::Less));
    environment.add_filter("max", extreme(Ordering::Greater));
}

/// What of an item is compared.
struct By {
    is_case_sensitive: bool,
    attribute: Option<Value>,
}

impl By {
    fn of(case: Option<bool>, attribute: Option<Value>, options: &Kwargs) -> Result<Self, Error> {
        let by = Self {
            is_case_sensitive: case.or(options.get("case_sensitive")?).unwrap_or(false),
            attribute: attribute.or(options.get("attribute")?).filter(|name| !name.is_none()),
        };
        options.assert_all_used()?;
        Ok(by)
    }

    /// The key of an item: one of its attributes, or itself, in lower case if it is a text.
    fn key(&self, value: &Value, path: Option<&str>) -> Result<Value, Error> {
        let found = match (path, &self.attribute) {
            (Some(path), _) => at_path(value, path)?,
            (None, Some(place)) => item(value, place)?,
            (None, None) => value.clone(),
        };
        Ok(match found.as_str().filter(|_| !self.is_case_sensitive) {
            Some(text) => Value::from(text.to_lowercase()),
            None => found,
        })
    }
}

/// `value.a.0.b`, as the filters of Jinja2 read an attribute.
pub(super) fn at_path(value: &Value, path: &str) -> Result<Value, Error> {
    path.split('.').try_fold(value.clone(), |value, name| {
        let place = name.parse::<u32>().map_or_else(|_| Value::from(name), Value::from);
        item(&value, &place)
    })
}

fn sort(
    value: Value,
    reverse: Option<bool>,
    case: Option<bool>,
    attribute: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let reverse = reverse.or(options.get("reverse")?).unwrap_or(false);
    let by = By::of(case, attribute, &options)?;
    let paths = by.attribute.as_ref().and_then(Value::as_str).unwrap_or_default();
    let key = |value: &Value| match paths {
        "" => by.key(value, None),
        paths => paths.split(',').map(|path| by.key(value, Some(path))).collect(),
    };
    let keyed = items(&value)?.into_iter().map(|item| Ok((key(&item)?, item)));
    sorted(keyed.collect::<Result<_, Error>>()?, reverse)
}

fn dictsort(
    value: &Value,
    case: Option<bool>,
    by: Option<String>,
    reverse: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let column = by.or(options.get("by")?).unwrap_or_else(|| "key".to_owned());
    let reverse = reverse.or(options.get("reverse")?).unwrap_or(false);
    let by = By::of(case, None, &options)?;
    if !is_dict(value) || !["key", "value"].contains(&column.as_str()) {
        return Err(refused(format!("`dictsort` of a {} by `{column}`", value.kind())));
    }
    let mut keyed = Vec::new();
    for key in items(value)? {
        let found = value.get_item(&key)?;
        let compared = by.key(if column == "key" { &key } else { &found }, None)?;
        keyed.push((compared, Value::from(Tuple::from([key, found]))));
    }
    sorted(keyed, reverse)
}

/// The items in the order of their keys, those with equal keys as they were.
fn sorted(mut keyed: Vec<(Value, Value)>, reverse: bool) -> Result<Value, Error> {
    let mut failure = None;
    keyed.sort_by(|(left, _), (right, _)| {
        let order = ordered(left, right).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            Ordering::Equal
        });
        if reverse { order.reverse() } else { order }
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(keyed.into_iter().map(|(_, item)| item).collect()),
    }
}

fn ordered(left: &Value, right: &Value) -> Result<Ordering, Error> {
    if equal(left, right) {
        return Ok(Ordering::Equal);
    }
    compare(left, right)?.ok_or_else(|| refused("an order of what is not a number"))
}

/// A value of an attribute, and the items that have it.
type Group = (Value, Vec<Value>);

/// The items by the value of an attribute, in the order of the values; `default`: for an item without it. Where case does not matter, the
/// value of a group is that of its first item.
pub(super) fn grouped(
    value: &Value,
    attribute: &Value,
    default: Option<&Value>,
    is_case_sensitive: bool,
) -> Result<Vec<Group>, Error> {
    let by = By { is_case_sensitive, attribute: None };
    let found = |one: &Value| {
        let found = match attribute.as_str() {
            Some(path) => at_path(one, path)?,
            None => item(one, attribute)?,
        };
        Ok::<_, Error>(default.filter(|_| found.is_undefined()).cloned().unwrap_or(found))
    };
    let mut keyed = Vec::new();
    for one in items(value)? {
        let found = found(&one)?;
        let key = by.key(&found, None)?;
        keyed.push((key.clone(), Value::from(Tuple::from([key, found, one]))));
    }
    let mut groups: Vec<(Value, Group)> = Vec::new();
    for row in sorted(keyed, false)?.try_iter()? {
        let [key, found, one] = [0, 1, 2].map(|place| row.get_item_by_index(place));
        let (key, found, one) = (key?, found?, one?);
        match groups.last_mut() {
            Some((known, (_, items))) if equal(known, &key) => items.push(one),
            _ => groups.push((key, (found, vec![one]))),
        }
    }
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}

/// The first of the smallest or largest items; undefined if there is none.
fn extreme(value: Value, by: By, wanted: Ordering) -> Result<Value, Error> {
    let path = by.attribute.as_ref().and_then(Value::as_str);
    let mut best: Option<(Value, Value)> = None;
    for item in items(&value)? {
        let key = by.key(&item, path)?;
        let is_better = match &best {
            None => true,
            Some((least, _)) => ordered(&key, least)? == wanted,
        };
        if is_better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Value::UNDEFINED, |(_, item)| item))
}

fn unique(
    value: Value,
    case: Option<bool>,
    attribute: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let by = By::of(case, attribute, &options)?;
    let path = by.attribute.as_ref().and_then(Value::as_str);
    let (mut seen, mut kept): (Vec<Value>, _) = (Vec::new(), Vec::new());
    for item in items(&value)? {
        let key = by.key(&item, path)?;
        if matches!(key.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map)
            && !key.is_tuple()
        {
            return Err(refused("`unique` of lists or mappings"));
        }
        if !seen.iter().any(|other| equal(other, &key)) {
            seen.push(key);
            kept.push(item);
        }
    }
    Ok(Value::from(kept))
}
