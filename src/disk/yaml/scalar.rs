//! A plain scalar of YAML 1.1 -> its value, by the patterns of PyYAML.

use super::Yaml;

/// The value of a scalar without quotes. A date stays a text.
pub fn plain(text: &str) -> Yaml {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Yaml::Bool(true);
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Yaml::Bool(false);
        }
        "<<" => return Yaml::Merge,
        _ => {}
    }
    let value = integer(text).map(Yaml::Integer).or_else(|| number(text).map(Yaml::Number));
    value.unwrap_or_else(|| Yaml::Text(text.to_owned()))
}

/// The sign, and what follows it.
fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn integer(text: &str) -> Option<i64> {
    let (is_negative, rest) = signed(text);
    let digits: String = rest.chars().filter(|c| *c != '_').collect();
    let begins = |c: char| rest.starts_with(c);
    let of = |digits: &str, base: u32| {
        let all = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
        all.then(|| i64::from_str_radix(digits, base).ok()).flatten()
    };
    let value = if let Some(binary) = digits.strip_prefix("0b") {
        of(binary, 2)
    } else if let Some(hexadecimal) = digits.strip_prefix("0x") {
        of(hexadecimal, 16)
    } else if digits == "0" {
        Some(0)
    } else if begins('0') {
        of(&digits[1..], 8)
    } else if digits.contains(':') && !begins('_') {
        // Base 60, as in 1:30.
        let mut parts = digits.split(':');
        let first = of(parts.next()?, 10)?;
        parts.try_fold(first, |sum, part| {
            let part =
                (part.len() <= 2).then(|| of(part, 10)).flatten().filter(|part| *part < 60)?;
            sum.checked_mul(60)?.checked_add(part)
        })
    } else if begins('_') {
        None
    } else {
        of(&digits, 10)
    };
    value.map(|value| if is_negative { -value } else { value })
}

/// A number with a dot: without one `5e-6` is a text.
fn number(text: &str) -> Option<f64> {
    let (is_negative, rest) = signed(text);
    let value = match rest {
        ".inf" | ".Inf" | ".INF" => f64::INFINITY,
        ".nan" | ".NaN" | ".NAN" if rest == text => f64::NAN,
        _ => {
            let is_bare = rest == text;
            let (whole, rest) = rest.split_once('.')?;
            let (part, exponent) = match rest.split_once(['e', 'E']) {
                Some((part, exponent)) => (part, Some(exponent)),
                None => (rest, None),
            };
            let are_digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '_');
            let digits = |text: &str| text.chars().filter(|c| *c != '_').collect::<String>();
            let begins = if whole.is_empty() { part } else { whole };
            // A sign stands before a digit alone: `-.5` is a text.
            let is_number =
                begins.starts_with(|c: char| c.is_ascii_digit()) && (!whole.is_empty() || is_bare);
            if !is_number || !are_digits(whole) || !are_digits(part) {
                return None;
            }
            // The exponent needs its sign.
            if exponent.is_some_and(|e| {
                !e.starts_with(['-', '+'])
                    || e.len() < 2
                    || !e[1..].chars().all(|c| c.is_ascii_digit())
            }) {
                return None;
            }
            let exponent = exponent.map(|e| format!("e{e}")).unwrap_or_default();
            format!("0{}.{}0{exponent}", digits(whole), digits(part)).parse().ok()?
        }
    };
    Some(if is_negative { -value } else { value })
}
