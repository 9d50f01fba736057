//! Messages of a conversation as JSON: one of a text, and any as a template reads it.

use serde_json::{Map, Value, json};

/// Names under which a message holds the model's reasoning, the standard one first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// One message.
pub(in crate::data) fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// A message as transformers gives it to a template: without fields that are null, its reasoning under the names templates read.
pub(super) fn for_template(message: &Value) -> Value {
    let Value::Object(fields) = message else { return message.clone() };
    let set = || fields.iter().filter(|(_, value)| !value.is_null());
    let reasoning = REASONING.iter().find_map(|name| fields.get(*name).filter(|v| !v.is_null()));
    let mut seen = Map::new();
    seen.extend(reasoning.map(|text| ("thinking".to_owned(), text.clone())));
    seen.extend(set().map(|(name, value)| (name.clone(), value.clone())));
    seen.extend(reasoning.map(|text| ("reasoning_content".to_owned(), text.clone())));
    Value::Object(seen)
}
