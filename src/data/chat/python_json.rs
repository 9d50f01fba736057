//! The filter `tojson` as transformers defines it: Python's `json.dumps`.

use std::fmt::Write;

use minijinja::Error;
use minijinja::value::{Kwargs, Rest, Value as Rendered, ValueKind, ValueOrKwargs, from_args};
use serde_json::{Map, Value};

use super::python_values::{DEEPEST, Odd, is_dict, is_list, items, python_float, refused};

/// Deepest indentation of one level, in characters.
const WIDEST_INDENT: usize = 64;

/// `value | tojson(ensure_ascii, indent, separators, sort_keys)`, each in its place or by its name.
pub(super) fn filter(value: &Rendered, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    type Place = Option<Rendered>;
    let args = args.into_values();
    let (ascii, indent, separators, sorted, options): (Place, Place, Place, Place, Kwargs) =
        from_args(&args)?;
    let given = |by_place: Option<Rendered>, name: &str| -> Result<Option<Rendered>, Error> {
        Ok(by_place.or(options.get::<Option<Rendered>>(name)?).filter(|given| !given.is_none()))
    };
    let is_true = |given: Option<Rendered>| given.is_some_and(|given| given.is_true());
    let indent = match given(indent, "indent")? {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(width) => match width.as_usize() {
            Some(width) => Some(" ".repeat(width.min(WIDEST_INDENT + 1))),
            None => return Err(refused(format!("`tojson` with the indent `{width}`"))),
        },
    };
    if indent.as_ref().is_some_and(|indent| indent.len() > WIDEST_INDENT) {
        return Err(refused(format!("`tojson` with an indent above {WIDEST_INDENT}")));
    }
    let comma = if indent.is_some() { "," } else { ", " };
    let separators = match given(separators, "separators")? {
        None => [comma.to_owned(), ": ".to_owned()],
        Some(pair) => {
            let texts: Vec<_> =
                items(&pair)?.iter().map(|one| one.as_str().map(str::to_owned)).collect();
            let texts: Option<Vec<_>> = texts.into_iter().collect();
            let pair: Option<[String; 2]> = texts.and_then(|texts| texts.try_into().ok());
            pair.ok_or_else(|| refused("`tojson` needs two `separators`"))?
        }
    };
    let format = Format {
        indent,
        separators,
        ascii: is_true(given(ascii, "ensure_ascii")?),
        sorted: is_true(given(sorted, "sort_keys")?),
    };
    options.assert_all_used()?;
    let value = format.json(value, 0)?;
    let mut text = String::new();
    format.write(&value, 0, &mut text);
    Ok(text)
}

/// The options of `json.dumps`.
struct Format {
    indent: Option<String>,
    /// Between items, and between key and value.
    separators: [String; 2],
    ascii: bool,
    sorted: bool,
}

impl Format {
    /// A value as JSON. Refuses one of which `json.dumps` makes nothing, or what a number of JSON is not.
    fn json(&self, value: &Rendered, depth: usize) -> Result<Value, Error> {
        let is_finite = |value: &Rendered| f64::try_from(value.clone()).is_ok_and(f64::is_finite);
        let what = match value.kind() {
            ValueKind::Undefined => "a value that is not defined".to_owned(),
            _ if depth > DEEPEST => format!("a value nested more than {DEEPEST} deep"),
            _ if Odd::of(value).is_some() => Odd::of(value).map_or("", Odd::noun).to_owned(),
            ValueKind::Number if !value.is_integer() && !is_finite(value) => {
                "a number that is not finite".to_owned()
            }
            ValueKind::Map if is_dict(value) => {
                let mut fields = Map::new();
                for key in items(value)? {
                    let one = self.json(&value.get_item(&key)?, depth + 1)?;
                    if fields.insert(self.key(&key)?, one).is_some() {
                        return Err(refused("`tojson` of a mapping with two keys of one text"));
                    }
                }
                return Ok(Value::Object(fields));
            }
            ValueKind::Seq | ValueKind::Iterable if is_list(value) => {
                let list = items(value)?;
                return list.iter().map(|item| self.json(item, depth + 1)).collect();
            }
            ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::String => {
                return serde_json::to_value(value).map_err(|error| refused(error.to_string()));
            }
            other => format!("a {other}"),
        };
        Err(refused(format!("`tojson` of {what}")))
    }

    /// The text of a key: of a number, `true`, `false` and none what `json.dumps` writes of them.
    fn key(&self, key: &Rendered) -> Result<String, Error> {
        if let Some(text) = key.as_str() {
            return Ok(text.to_owned());
        }
        let is_known = matches!(key.kind(), ValueKind::Number | ValueKind::Bool | ValueKind::None);
        if self.sorted || !is_known {
            return Err(refused(format!(
                "`tojson` of a mapping with the key `{key}`, which is no text"
            )));
        }
        let mut text = String::new();
        self.write(&self.json(key, 0)?, 0, &mut text);
        Ok(text)
    }

    fn write(&self, value: &Value, depth: usize, text: &mut String) {
        match value {
            Value::Null => text.push_str("null"),
            Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() => text.push_str(&python_float(float)),
                _ => text.push_str(&number.to_string()),
            },
            Value::String(string) => self.string(string, text),
            Value::Array(items) => {
                let write = |item: &&Value, text: &mut String| self.write(item, depth + 1, text);
                self.group(items.iter(), ["[", "]"], depth, write, text);
            }
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                if self.sorted {
                    fields.sort_by_key(|(key, _)| key.as_str());
                }
                let write = |(key, value): &(&String, &Value), text: &mut String| {
                    self.string(key, text);
                    text.push_str(&self.separators[1]);
                    self.write(value, depth + 1, text);
                };
                self.group(fields.into_iter(), ["{", "}"], depth, write, text);
            }
        }
    }

    /// The items of a list or an object between its brackets.
    fn group<T>(
        &self,
        items: impl ExactSizeIterator<Item = T>,
        [open, close]: [&str; 2],
        depth: usize,
        write: impl Fn(&T, &mut String),
        text: &mut String,
    ) {
        text.push_str(open);
        let is_empty = items.len() == 0;
        for (place, item) in items.enumerate() {
            if place > 0 {
                text.push_str(&self.separators[0]);
            }
            self.line(depth + 1, text);
            write(&item, text);
        }
        if !is_empty {
            self.line(depth, text);
        }
        text.push_str(close);
    }

    /// A line break and its indentation, if there is one.
    fn line(&self, depth: usize, text: &mut String) {
        if let Some(indent) = &self.indent {
            text.push('\n');
            (0..depth).for_each(|_| text.push_str(indent));
        }
    }

    fn string(&self, string: &str, text: &mut String) {
        text.push('"');
        for c in string.chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                c if c < ' ' || (self.ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(text, "\\u{unit:04x}");
                    }
                }
                c => text.push(c),
            }
        }
        text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::template;
    use super::super::{ChatTemplate, Variables};
    use serde_json::json;

    fn rendered(template: &ChatTemplate) -> anyhow::Result<String> {
        let tool = json!({"z": 1, "a": ["é <b>", 1.5, 1e16, 1e-5, null, true], "m": {}, "l": []});
        template.render(&[], &Variables { tools: Some(vec![tool]), ..Variables::default() }, false)
    }

    /// Each text is that of `json.dumps(x, ensure_ascii=False, ...)` in CPython 3.11.
    #[test]
    fn json_is_that_of_python() {
        for (options, expected) in [
            ("", r#"{"z": 1, "a": ["é <b>", 1.5, 1e+16, 1e-05, null, true], "m": {}, "l": []}"#),
            (
                "(separators=(',', ':'))",
                r#"{"z":1,"a":["é <b>",1.5,1e+16,1e-05,null,true],"m":{},"l":[]}"#,
            ),
            (
                "(ensure_ascii=true, sort_keys=true)",
                r#"{"a": ["\u00e9 <b>", 1.5, 1e+16, 1e-05, null, true], "l": [], "m": {}, "z": 1}"#,
            ),
            (
                "(indent=1)",
                "{\n \"z\": 1,\n \"a\": [\n  \"é <b>\",\n  1.5,\n  1e+16,\n  1e-05,\n  null,\n  true\n ],\n \"m\": {},\n \"l\": []\n}",
            ),
        ] {
            let source = format!("{{{{ tools[0] | tojson{options} }}}}");
            assert_eq!(rendered(&template(&source)).unwrap(), expected);
        }
        let quoted = template(r#"{{ 'a"\n\t\\é' | tojson }}"#);
        assert_eq!(rendered(&quoted).unwrap(), r#""a\"\n\t\\é""#);
    }

    #[test]
    fn what_python_has_no_json_of_is_refused() {
        for source in ["nobody | tojson", "1 | tojson(indent=99999999999)", "1 | tojson(x=1)"] {
            assert!(rendered(&template(&format!("{{{{ {source} }}}}"))).is_err(), "{source}");
        }
    }
}
