//! A value of a file, and how the settings of Python programs are read from it.

use std::fmt;

/// A value and the line it begins in; 0 where the file has no lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Line, from 1.
    pub line: usize,
    /// The value.
    pub value: Yaml,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Yaml {
    /// Nothing, as behind `key:`.
    Null,
    /// `true`, `no`, `on` and the like.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a dot.
    Number(f64),
    /// Any other text.
    Text(String),
    /// The key `<<`; elsewhere a text.
    Merge,
    /// A list.
    List(Vec<Node>),
    /// A table, in order.
    Table(Vec<(String, Node)>),
}

impl Node {
    /// A value of a JSON text, without lines.
    pub fn of_json(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        let value = match value {
            Value::Null => Yaml::Null,
            Value::Bool(flag) => Yaml::Bool(*flag),
            Value::Number(number) => match number.as_i64() {
                Some(integer) => Yaml::Integer(integer),
                None => Yaml::Number(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Yaml::Text(text.clone()),
            Value::Array(list) => Yaml::List(list.iter().map(Self::of_json).collect()),
            Value::Object(table) => Yaml::Table(
                table.iter().map(|(key, value)| (key.clone(), Self::of_json(value))).collect(),
            ),
        };
        Self { line: 0, value }
    }

    /// How many values it is made of.
    pub fn size(&self) -> usize {
        match &self.value {
            Yaml::List(list) => 1 + list.iter().map(Self::size).sum::<usize>(),
            Yaml::Table(table) => 1 + table.iter().map(|(_, node)| node.size()).sum::<usize>(),
            _ => 1,
        }
    }
}

impl Yaml {
    /// The text of a scalar that is a key.
    pub fn as_key(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// A text; none for another kind of value.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Merge => Some("<<"),
            _ => None,
        }
    }

    /// A number, also one that YAML takes for a text, such as `5e-6`: each of the programs converts it.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(integer) => Some(*integer as f64),
            Self::Number(number) => Some(*number),
            Self::Text(text) => {
                let text = text.trim();
                let is_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
                text.parse().ok().filter(|_| is_number)
            }
            _ => None,
        }
    }

    /// A whole number, also as `3.0` or as a text.
    pub fn integer(&self) -> Option<i64> {
        let number = match self {
            Self::Integer(integer) => return Some(*integer),
            other => other.number()?,
        };
        let is_whole = number.fract().abs() < f64::MIN_POSITIVE && number.abs() < 9e15;
        is_whole.then_some(number as i64)
    }

    /// A flag, also as the texts that an argument parser takes for one.
    pub fn flag(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            Self::Integer(1) => Some(true),
            Self::Integer(0) => Some(false),
            Self::Text(text) => match text.to_lowercase().as_str() {
                "yes" | "true" | "t" | "y" | "1" => Some(true),
                "no" | "false" | "f" | "n" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The word of a choice: `no` without quotes is a flag in YAML.
    pub fn word(&self) -> Option<String> {
        match self {
            Self::Bool(false) => Some("no".into()),
            other => other.text().map(str::to_owned),
        }
    }

    /// The words of a list, or of one text with commas between them.
    pub fn words(&self) -> Option<Vec<String>> {
        match self {
            Self::Text(text) => Some(text.split(',').map(|word| word.trim().to_owned()).collect()),
            Self::List(list) => {
                list.iter().map(|node| node.value.text().map(str::to_owned)).collect()
            }
            _ => None,
        }
    }

    /// The value of a key of a table.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Self::Table(table) = self else { return None };
        let found = table.iter().find(|(known, _)| known == key).map(|(_, node)| node);
        found.filter(|node| node.value != Self::Null)
    }

    /// Whether it sets nothing: null, false, or an empty text, list or table.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) => true,
            Self::Text(text) => text.trim().is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Table(table) => table.is_empty(),
            _ => false,
        }
    }

    /// Whether it is the same setting as `other`, which may be written in another way, such as `1` and `1.0`.
    pub fn equals(&self, other: &Self) -> bool {
        if let (Some(a), Some(b)) = (self.number(), other.number()) {
            return a.to_bits() == b.to_bits();
        }
        match (self, other) {
            (Self::List(list), one) | (one, Self::List(list)) if !matches!(one, Self::List(_)) => {
                list.len() == 1 && list[0].value.equals(one)
            }
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.value.equals(&b.value))
            }
            _ => self == other || self.word().is_some() && self.word() == other.word(),
        }
    }
}

/// In YAML's flow style, on one line.
impl fmt::Display for Yaml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Number(number) => {
                let text = number.to_string();
                let is_whole = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
                write!(f, "{text}{}", if is_whole { ".0" } else { "" })
            }
            Self::Merge => f.write_str("<<"),
            Self::Text(text) => {
                let is_plain =
                    text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+@".contains(c));
                if is_plain && !is_another_value(text) {
                    f.write_str(text)
                } else {
                    write!(f, "{}", serde_json::Value::from(text.as_str()))
                }
            }
            Self::List(list) => {
                f.write_str("[")?;
                for (i, node) in list.iter().enumerate() {
                    write!(f, "{}{}", if i > 0 { ", " } else { "" }, node.value)?;
                }
                f.write_str("]")
            }
            Self::Table(table) => {
                f.write_str("{")?;
                for (i, (key, node)) in table.iter().enumerate() {
                    write!(f, "{}{key}: {}", if i > 0 { ", " } else { "" }, node.value)?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Whether a text without quotes would be read as another value.
fn is_another_value(text: &str) -> bool {
    const WORDS: &[&str] = &["", "~", "null", "true", "false", "yes", "no", "on", "off"];
    text.parse::<i64>().is_ok() || WORDS.contains(&&*text.to_lowercase())
}
