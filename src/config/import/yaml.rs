//! YAML as PyYAML reads it: a text -> nodes with their lines.
//!
//! The three programs read YAML 1.1, where `no` is false and `5e-6`, without a dot, is a text. A key that stands twice is refused, where
//! PyYAML keeps the last; so are the tags of Python's objects. An alias is copied, up to [`MOST_NODES`].

use std::collections::HashMap;

use anyhow::Result;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::node::{Node, Yaml};
use super::scalar;
use crate::disk::json;
use crate::error::{InputError, shown};

/// Most nodes of a file, those that aliases repeat among them.
const MOST_NODES: usize = 20_000;

/// Deepest nesting.
const DEEPEST: usize = 64;

/// Beginning of the tags that stand for themselves, such as `!!str`.
const CORE: &str = "tag:yaml.org,2002:";

/// The keys of a file whose root is a table, in order; `name`: for messages. A text that is JSON is read as that.
pub(super) fn table(text: &str, name: &str) -> Result<Vec<(String, Node)>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = match text.trim_start().starts_with('{').then(|| json::unique(text)) {
        Some(Ok(value)) => Some(Node::of_json(&value)),
        _ => Reader { name, nodes: 0, anchors: HashMap::new(), stack: Vec::new() }.read(text)?,
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
    nodes: usize,
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
    /// The keys so far, the tables behind `<<`, and the key whose value comes next.
    Table {
        keys: Vec<(String, Node)>,
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
                    self.count(node.size(), line)?;
                    self.anchors.get(&anchor).cloned()
                }
                Event::SequenceStart(anchor, tag) => {
                    self.core_tag(tag.as_deref(), &["seq"], line)?;
                    self.open(line, anchor, Items::List(Vec::new()))?;
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    self.core_tag(tag.as_deref(), &["map"], line)?;
                    let items = Items::Table { keys: Vec::new(), merged: Vec::new(), next: None };
                    self.open(line, anchor, items)?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
            };
            if let Some(node) = node {
                self.count(1, line)?;
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
            Items::Table { mut keys, merged, .. } => {
                // Of several merged tables the first that has a key gives it.
                for node in merged {
                    let Yaml::Table(more) = node.value else {
                        return Err(self.refuse(node.line, "`<<` merges tables alone").into());
                    };
                    for (key, value) in more {
                        if keys.iter().all(|(known, _)| *known != key) {
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

    /// Counts a value that is whole, or all that an alias repeats.
    fn count(&mut self, values: usize, line: usize) -> Result<()> {
        self.nodes += values;
        if self.nodes > MOST_NODES {
            let what =
                format!("more than {MOST_NODES} values, those that aliases repeat among them");
            return Err(self.refuse(line, &what).into());
        }
        Ok(())
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
            Items::Table { keys, merged, next } => match next.take() {
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
                Some(Key::Name(key)) => match keys.iter().find(|(known, _)| *known == key) {
                    Some((key, earlier)) => Some((key.clone(), earlier.line)),
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
            Some("float") => match scalar::plain(text) {
                Yaml::Integer(integer) => Yaml::Number(integer as f64),
                value => value,
            },
            Some(_) => scalar::plain(text),
            None if style == ScalarStyle::Plain => scalar::plain(text),
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
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let keys = table(text, "a.yaml").unwrap();
        Yaml::Table(keys).to_string()
    }

    fn refused(text: &str) -> String {
        InputError::of(&table(text, "a.yaml").unwrap_err()).unwrap().to_string()
    }

    #[test]
    fn values_are_those_of_pyyaml() {
        // Of PyYAML 6: yaml.safe_load, printed as JSON.
        let text = "a: 5e-6\nb: 5.0e-6\nc: 5.0e6\nd: no\ne: On\nf: 'no'\ng: ~\nh:\ni: 010\nj: 0x1F\nk: 1_000\nl: 1:30\nm: .5\nn: -.inf\n\
                    o: [1, two, null]\np: {q: 1.0}\nr: |\n  x\n  y\ns: >-\n  x\n  y\nt: !!str 5\nu: 1.\nv: +12\nw: true # not false\n";
        let expected = "{a: 5e-6, b: 0.000005, c: 5.0e6, d: false, e: true, f: \"no\", g: null, h: null, i: 8, j: 31, k: 1000, l: 90, m: 0.5, \
                        n: -inf, o: [1, two, null], p: {q: 1.0}, r: \"x\\ny\\n\", s: \"x y\", t: \"5\", u: 1.0, v: 12, w: true}";
        assert_eq!(read(text), expected);
    }

    #[test]
    fn anchors_and_merges_are_read_and_what_is_explicit_wins() {
        let text = "base: &b {a: 1, b: 2}\nother: &o {b: 3, c: 4}\none: {<<: *b, b: 9}\nboth:\n  <<: [*b, *o]\n";
        assert_eq!(
            read(text),
            "{base: {a: 1, b: 2}, other: {b: 3, c: 4}, one: {b: 9, a: 1}, both: {a: 1, b: 2, c: 4}}"
        );
    }

    #[test]
    fn json_is_read_too_with_tabs() {
        assert_eq!(
            read("{\n\t\"a\": 5e-6,\n\t\"b\": [true, null]\n}"),
            "{a: 0.000005, b: [true, null]}"
        );
    }

    #[test]
    fn what_pyyaml_passes_over_or_refuses_is_refused_with_its_line() {
        for (text, expected) in [
            ("a: 1\nb: 2\na: 3\n", "a.yaml:3: `a` stands twice, first in line 1"),
            ("a:\n  - b: 1\n    b: 2\n", "a.yaml:3: `b` stands twice, first in line 2"),
            (
                "a: !!python/object:os.system x\n",
                "a.yaml:1: the tag `tag:yaml.org,2002:python/object:os.system` is not read",
            ),
            ("a: !ENV x\n", "a.yaml:1: the tag `!ENV` is not read"),
            ("a: 1\n---\nb: 2\n", "a.yaml:2: a second document begins, expected one"),
            ("- a\n- b\n", "a.yaml: expected keys and values, found `[a, b]`"),
            ("# nothing\n", "a.yaml: the file is empty"),
            ("", "a.yaml: the file is empty"),
            ("? [a]\n: 1\n", "a.yaml:1: a list or a table stands in place of a key"),
            ("a: {<<: 3}\n", "a.yaml:1: `<<` merges tables alone"),
        ] {
            assert_eq!(refused(text), expected);
        }
        assert!(refused("a: [1\nb: 2").starts_with("a.yaml:"));
        assert!(refused("a: *nobody\n").starts_with("a.yaml:1"));
        assert!(refused(&format!("a: {}1{}", "[".repeat(70), "]".repeat(70))).contains("64 deep"));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let inner = vec![format!("*a{}", i - 1); 10].join(", ");
            text += &format!("a{i}: &a{i} [{inner}]\n");
        }
        assert!(refused(&text).contains("more than 20000 values"));
    }
}
