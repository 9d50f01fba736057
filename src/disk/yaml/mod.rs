//! YAML as PyYAML reads it: a text -> nodes with their lines.
//!
//! Python's programs read YAML 1.1, where `no` is false and `5e-6`, without a dot, is a text. A key that stands twice is refused, where
//! PyYAML keeps the last; so are the tags of Python's objects. Aliases are copied, up to 20,000 values.

mod node;
mod scalar;

use std::collections::HashMap;

use anyhow::Result;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::disk::json;
use crate::error::{InputError, shown};
pub use node::{Node, Yaml};
pub use scalar::plain;

/// Most values of a file that are copies.
const MOST_COPIED: usize = 20_000;

/// Deepest nesting.
const DEEPEST: usize = 64;

/// Beginning of the tags that stand for themselves, such as `!!str`.
const CORE: &str = "tag:yaml.org,2002:";

/// The keys of a file whose root is a table, in order; `name`: for messages. A text that is JSON is read as that.
pub fn table(text: &str, name: &str) -> Result<Vec<(String, Node)>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = match text.trim_start().starts_with('{').then(|| json::unique(text)) {
        Some(Ok(value)) => Some(Node::of_json(&value)),
        _ => Reader { name, copied: 0, anchors: HashMap::new(), stack: Vec::new() }.read(text)?,
    };
    match root {
        Some(Node { value: Yaml::Table(keys), .. }) => Ok(keys),
        Some(Node { value: Yaml::Null, .. }) | None => {
            Err(InputError::new(format!("{name}: the file is empty")).into())
        }
        Some(other) => {
            let found = shown(&other.value);
            Err(InputError::new(format!("{name}: expected keys and values, found `{found}`"))
                .into())
        }
    }
}

struct Reader<'a> {
    name: &'a str,
    /// How many values aliases have copied.
    copied: usize,
    anchors: HashMap<usize, Node>,
    stack: Vec<Open>,
}

/// A list or table whose end has not come.
struct Open {
    line: usize,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    /// The keys so far with the lines of their values, the tables behind `<<`, and the key whose value comes next.
    Table {
        keys: Vec<(String, Node)>,
        lines: HashMap<String, usize>,
        merged: Vec<Node>,
        next: Option<Key>,
    },
}

enum Key {
    Name(String),
    Merge,
}

impl Reader<'_> {
    fn read(mut self, text: &str) -> Result<Option<Node>> {
        let mut root = None;
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                let at = error.marker();
                self.refuse(at.line(), &format!("not YAML: {}", error.info()))
            })?;
            let line = span.start.line();
            let node = match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(self
                            .refuse(line, "a second document begins, expected one")
                            .into());
                    }
                    None
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.scalar(&text, style, anchor, tag.as_deref(), span)?
                }
                Event::Alias(anchor) => {
                    let Some(node) = self.anchors.get(&anchor) else {
                        return Err(self
                            .refuse(line, "an alias stands inside what it names")
                            .into());
                    };
                    self.copied += node.size();
                    if self.copied > MOST_COPIED {
                        let what = format!("aliases repeat more than {MOST_COPIED} values");
                        return Err(self.refuse(line, &what).into());
                    }
                    Some(node.clone())
                }
                Event::SequenceStart(anchor, tag) => {
                    self.core_tag(tag.as_deref(), &["seq"], line)?;
                    self.open(line, anchor, Items::List(Vec::new()))?;
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    self.core_tag(tag.as_deref(), &["map"], line)?;
                    let items = Items::Table {
                        keys: Vec::new(),
                        lines: HashMap::new(),
                        merged: Vec::new(),
                        next: None,
                    };
                    self.open(line, anchor, items)?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
            };
            if let Some(node) = node {
                match self.stack.last_mut() {
                    Some(_) => self.add(node)?,
                    None => root = Some(node),
                }
            }
        }
        Ok(root)
    }

    fn refuse(&self, line: usize, what: &str) -> InputError {
        InputError::new(format!("{}:{line}: {what}", self.name))
    }

    fn open(&mut self, line: usize, anchor: usize, items: Items) -> Result<()> {
        if self.stack.len() >= DEEPEST {
            return Err(self.refuse(line, &format!("nested more than {DEEPEST} deep")).into());
        }
        self.stack.push(Open { line, anchor, items });
        Ok(())
    }

    /// The finished list or table.
    fn close(&mut self) -> Result<Option<Node>> {
        let Some(Open { line, anchor, items }) = self.stack.pop() else { return Ok(None) };
        let value = match items {
            Items::List(list) => Yaml::List(list),
            Items::Table { mut keys, mut lines, merged, .. } => {
                // Of several merged tables the first that has a key gives it.
                for node in merged {
                    let Yaml::Table(more) = node.value else {
                        return Err(self.refuse(node.line, "`<<` merges tables alone").into());
                    };
                    for (key, value) in more {
                        if lines.insert(key.clone(), value.line).is_none() {
                            keys.push((key, value));
                        }
                    }
                }
                Yaml::Table(keys)
            }
        };
        let node = Node { line, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(Some(node))
    }

    /// Puts a node into the innermost list or table.
    fn add(&mut self, node: Node) -> Result<()> {
        let line = node.line;
        let Some(open) = self.stack.last_mut() else { return Ok(()) };
        let twice = match &mut open.items {
            Items::List(list) => {
                list.push(node);
                None
            }
            Items::Table { keys, lines, merged, next } => match next.take() {
                None => match node.value {
                    Yaml::Merge => {
                        *next = Some(Key::Merge);
                        None
                    }
                    Yaml::List(_) | Yaml::Table(_) => {
                        return Err(self
                            .refuse(line, "a list or a table stands in place of a key")
                            .into());
                    }
                    value => {
                        *next = Some(Key::Name(value.as_key()));
                        None
                    }
                },
                Some(Key::Merge) => {
                    match node.value {
                        Yaml::List(list) => merged.extend(list),
                        value => merged.push(Node { line, value }),
                    }
                    None
                }
                Some(Key::Name(key)) => match lines.insert(key.clone(), line) {
                    Some(first) => Some((key, first)),
                    None => {
                        keys.push((key, node));
                        None
                    }
                },
            },
        };
        match twice {
            Some((key, first)) => {
                let what = format!("`{}` stands twice, first in line {first}", shown(&key));
                Err(self.refuse(line, &what).hint("keep one of the two").into())
            }
            None => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<Option<Node>> {
        let line = span.start.line();
        let kind = self.core_tag(tag, &["str", "int", "float", "bool", "null"], line)?;
        let value = match kind.as_deref() {
            Some("str") => Yaml::Text(text.to_owned()),
            Some("float") => match plain(text) {
                Yaml::Integer(integer) => Yaml::Number(integer as f64),
                value => value,
            },
            Some(_) => plain(text),
            None if style == ScalarStyle::Plain => plain(text),
            None => Yaml::Text(text.to_owned()),
        };
        let node = Node { line, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(Some(node))
    }

    /// The last part of a tag that is one of `known`; none where there is no tag. Refuses any other.
    fn core_tag(&self, tag: Option<&Tag>, known: &[&str], line: usize) -> Result<Option<String>> {
        let Some(tag) = tag else { return Ok(None) };
        let whole = format!("{}{}", tag.handle, tag.suffix);
        // The lone `!` is the tag of a text.
        let kind = if whole == "!" { Some("str") } else { whole.strip_prefix(CORE) };
        match kind.filter(|kind| known.contains(kind)) {
            Some(kind) => Ok(Some(kind.to_owned())),
            None => {
                Err(self.refuse(line, &format!("the tag `{}` is not read", shown(&whole))).into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
