//! Methods of strings, dicts and lists where Python's differ from those of the engine's own callback.

use minijinja::Error;
use minijinja::value::{Kwargs, Tuple, Value, from_args};

use super::python_compare::equal;
use super::python_padding::padded;
use super::python_values::{Odd, is_dict, is_list, items, refused};
use crate::data::format::fields::is_space;

/// `value.name(args)`; none when the engine's own method is right.
pub(super) fn call(value: &Value, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match value.as_str() {
        Some(text) => of_text(text, name, args),
        None if is_dict(value) => of_dict(value, name, args),
        None if is_list(value) && name == "copy" && !value.is_tuple() => {
            from_args::<()>(args).map(|()| Some(value.clone()))
        }
        None if is_list(value) && name == "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            let place = value.try_iter()?.position(|item| equal(&item, wanted));
            place
                .map(|place| Some(Value::from(place)))
                .ok_or_else(|| refused("`index` of what is not there"))
        }
        None => Ok(None),
    }
}

fn of_dict(value: &Value, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let keys = || items(value);
    let mut views = Vec::new();
    match name {
        "keys" => views = keys()?,
        "values" => {
            for key in keys()? {
                views.push(value.get_item(&key)?);
            }
        }
        "items" => {
            for key in keys()? {
                let item = value.get_item(&key)?;
                views.push(Value::from(Tuple::from([key, item])));
            }
        }
        "copy" => {
            let () = from_args(args)?;
            return Ok(Some(value.clone()));
        }
        _ => return Ok(None),
    }
    let () = from_args(args)?;
    Ok(Some(Value::from_object(Odd::View(views))))
}

fn of_text(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let one = || from_args::<(&str,)>(args).map(|(one,)| one);
    let nothing = || from_args::<()>(args);
    Ok(Some(match name {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            let taken = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
            Value::from(match name {
                "lstrip" => text.trim_start_matches(taken),
                "rstrip" => text.trim_end_matches(taken),
                _ => text.trim_matches(taken),
            })
        }
        "center" | "ljust" | "rjust" | "zfill" => padded(text, name, args)?.into(),
        "title" => nothing().map(|()| title(text).into())?,
        "capitalize" => nothing().map(|()| capitalize(text).into())?,
        "isspace" => nothing().map(|()| (!text.is_empty() && text.chars().all(is_space)).into())?,
        "isdigit" | "isnumeric" | "isdecimal" => {
            nothing()?;
            let rest: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
            if rest.chars().any(|c| c.is_ascii() || (c.is_alphabetic() && name != "isnumeric")) {
                return Ok(Some(false.into()));
            }
            if !rest.is_empty() {
                return Err(refused(format!("`{name}` of digits beyond ASCII")));
            }
            (!text.is_empty()).into()
        }
        "split" | "rsplit" => return split(text, name, args).map(Some),
        "splitlines" => {
            let (keep, options): (Option<bool>, Kwargs) = from_args(args)?;
            let keep = keep.or(options.get("keepends")?).unwrap_or(false);
            options.assert_all_used()?;
            lines(text, keep).into_iter().map(Value::from).collect()
        }
        "removeprefix" => Value::from(one().map(|p| text.strip_prefix(p).unwrap_or(text))?),
        "removesuffix" => Value::from(one().map(|s| text.strip_suffix(s).unwrap_or(text))?),
        "partition" | "rpartition" => {
            let by = one()?;
            if by.is_empty() {
                return Err(refused(format!("`{name}` at an empty text")));
            }
            let is_first = name == "partition";
            let cut = if is_first { text.split_once(by) } else { text.rsplit_once(by) };
            let parts = match cut {
                Some((before, after)) => [before, by, after],
                None if is_first => [text, "", ""],
                None => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "join" => {
            let (joined,): (&Value,) = from_args(args)?;
            let mut parts = Vec::new();
            for item in items(joined)? {
                let part =
                    item.as_str().ok_or_else(|| refused(format!("`join` of a {}", item.kind())))?;
                parts.push(part.to_owned());
            }
            Value::from(parts.join(text))
        }
        "startswith" | "endswith"
            if args.first().is_some_and(|arg| arg.as_str().is_none() && !arg.is_tuple()) =>
        {
            return Err(refused(format!("`{name}` with what is neither a text nor a tuple")));
        }
        _ => return Ok(None),
    }))
}

/// `split` and `rsplit`.
fn split(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (by, most, options): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let by = match by {
        None => options.get::<Option<Value>>("sep")?,
        by => by,
    };
    let by = by.filter(|by| !by.is_none());
    let most = most.or(options.get("maxsplit")?).unwrap_or(-1);
    options.assert_all_used()?;
    let most = usize::try_from(most).map_or(usize::MAX, |most| most.saturating_add(1));
    let by = by.as_ref().map(|by| by.as_str().filter(|by| !by.is_empty()));
    Ok(match (by, name) {
        (Some(None), _) => {
            return Err(refused(format!("`{name}` at what is no text, or an empty one")));
        }
        (Some(Some(by)), "split") => text.splitn(most, by).map(Value::from).collect(),
        (Some(Some(by)), _) => {
            let mut parts: Vec<_> = text.rsplitn(most, by).map(Value::from).collect();
            parts.reverse();
            Value::from(parts)
        }
        (None, "split") => {
            let (mut parts, mut rest) = (Vec::new(), text.trim_start_matches(is_space));
            while !rest.is_empty() {
                let end = if parts.len() + 1 < most { rest.find(is_space) } else { None };
                let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
                parts.push(Value::from(part));
                rest = after.trim_start_matches(is_space);
            }
            Value::from(parts)
        }
        (None, _) if most == usize::MAX => {
            text.split(is_space).filter(|p| !p.is_empty()).map(Value::from).collect()
        }
        (None, _) => return Err(refused("`rsplit` at white space with a limit")),
    })
}

/// `str.splitlines`.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<String> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut lines, mut line) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !is_end(c) {
            line.push(c);
            continue;
        }
        let feed = if c == '\r' { chars.next_if_eq(&'\n') } else { None };
        if keep_ends {
            line.push(c);
            line.extend(feed);
        }
        lines.push(std::mem::take(&mut line));
    }
    lines.extend((!line.is_empty()).then_some(line));
    lines
}

/// `str.title`: upper case after whatever has no case.
fn title(text: &str) -> String {
    let (mut out, mut in_word) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        match in_word {
            true => out.extend(c.to_lowercase()),
            false => push_capital(c, &mut out),
        }
        in_word = c.is_lowercase() || c.is_uppercase();
    }
    out
}

/// `str.capitalize`.
pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let mut out = String::with_capacity(text.len());
    if let Some(first) = chars.next() {
        push_capital(first, &mut out);
    }
    out + &chars.as_str().to_lowercase()
}

/// A character as a word begins with it: `ß` is `Ss`.
fn push_capital(c: char, out: &mut String) {
    let c = match c {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        c => c,
    };
    if "ǅǈǋǲ".contains(c) {
        return out.push(c);
    }
    let mut upper = c.to_uppercase();
    out.extend(upper.next());
    out.extend(upper.flat_map(char::to_lowercase));
}
