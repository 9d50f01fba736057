//! The keys that each program's configuration may have, with their defaults: what scripts/interop/known_keys.py writes to `known/`.

use super::Program;
use crate::disk::yaml::{Node, Yaml, plain};

/// The keys of one program.
pub(super) struct Known {
    lines: Vec<(&'static str, Option<&'static str>)>,
}

impl Known {
    /// Those of `program`, with those of its earlier releases.
    pub(super) fn of(program: Program) -> Self {
        let texts: &[&'static str] = match program {
            Program::Trl => &[include_str!("known/trl.txt"), include_str!("known/trl_older.txt")],
            Program::Axolotl => &[include_str!("known/axolotl.txt")],
            Program::LlamaFactory => &[include_str!("known/llama_factory.txt")],
        };
        let lines =
            texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#'));
        let lines = lines.map(|line| match line.split_once(" = ") {
            Some((key, default)) => (key, Some(default)),
            None => (line, None),
        });
        Self { lines: lines.collect() }
    }

    /// Whether the program reads `key`; a key inside a table stands behind a dot.
    pub(super) fn has(&self, key: &str) -> bool {
        self.lines.iter().any(|(known, _)| *known == key)
    }

    /// Its keys, those inside tables left out.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.lines.iter().map(|(key, _)| *key).filter(|key| !key.contains('.'))
    }

    /// The keys of the tables behind `path`.
    pub(super) fn inside(&self, path: &str) -> Vec<&'static str> {
        let inside = |key: &'static str| {
            key.strip_prefix(path)?.strip_prefix('.').filter(|key| !key.contains('.'))
        };
        self.lines.iter().filter_map(|(key, _)| inside(key)).collect()
    }

    /// The default of `key`; null where it has none.
    pub(super) fn default(&self, key: &str) -> Yaml {
        let default =
            self.lines.iter().find(|(known, _)| *known == key).and_then(|(_, default)| *default);
        match default.and_then(|json| serde_json::from_str(json).ok()) {
            Some(json) => Node::of_json(&json).value,
            None => default.map_or(Yaml::Null, plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_programs() {
        let trl = Known::of(Program::Trl);
        for (key, expected) in [
            ("learning_rate", "0.000001"),
            ("beta", "0.1"),
            ("per_device_train_batch_size", "8"),
            ("gradient_accumulation_steps", "1"),
            ("num_train_epochs", "3.0"),
            ("max_length", "1024"),
            ("lora_r", "16"),
            ("lora_alpha", "32"),
            ("lora_dropout", "0.05"),
            ("loss_type", "[sigmoid]"),
            ("seed", "42"),
            ("eval_strategy", "\"no\""),
            ("use_peft", "false"),
            ("max_prompt_length", "512"),
            ("output_dir", "null"),
        ] {
            assert_eq!(trl.default(key).to_string(), expected, "{key}");
        }
        assert!(
            trl.has("datasets.path")
                && !trl.has("path")
                && !trl.names().any(|key| key == "datasets.path")
        );
        assert!(Known::of(Program::Axolotl).has("datasets.field_messages"));
        assert_eq!(Known::of(Program::LlamaFactory).default("lora_rank").to_string(), "8");
    }
}
