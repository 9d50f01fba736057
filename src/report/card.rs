//! The adapter's model card: `README.md` with Hugging Face's front matter.

use crate::console::units;
use crate::metrics::{Evaluation, Metric, SetResult};
use crate::report::cell;
use crate::report::markdown;
use crate::report::run::RunReport;
use crate::report::section::{Code, Page, Part, Section};
use crate::report::sections::about::of_recorded;
use crate::report::sections::axes::{gap_text, widest_gap};
use crate::report::table::Table;
use crate::report::table1::Table1;
use crate::report::text::Text;

/// The base model as the card names it.
#[derive(Debug, Clone, Copy)]
pub struct BaseModel<'a> {
    /// A hub id or a folder, as PEFT finds it.
    pub name: &'a str,
    /// Whether the name is a hub id. The hub refuses a card whose `base_model` is none.
    pub on_hub: bool,
}

impl RunReport {
    /// The card: what the adapter is, its results, how it was trained, how to load it with PEFT.
    ///
    /// - `settings`: the main settings of the training, name and value.
    /// - `changed`: every key that differs from its default, with its value.
    pub fn to_model_card(
        &self,
        base: BaseModel<'_>,
        settings: &[(&str, String)],
        changed: &[(String, String)],
    ) -> String {
        let lead = Text::from("A LoRA adapter for ").and(Text::code(base.name)).and(format!(
            ", trained with DPO by mvpbench {} on {}.",
            env!("CARGO_PKG_VERSION"),
            self.device
        ));
        let training = vec![
            Part::Table(self.settings(settings)),
            Part::note(Text::marked(
                "The keys that differ from their defaults; `config.toml` beside this file has all of them.",
            )),
            Part::Table(keys(changed)),
        ];
        let page = Page {
            heading: self.title.clone(),
            intro: vec![Part::lead(lead)],
            sections: vec![
                Section::new("results", "Results", self.results()),
                Section::new("training", "Training", training),
                Section::new("use", "Use", vec![self.python(base.name)]),
            ],
            ..Page::default()
        };
        format!("{}\n{}", front_matter(base), markdown::page(&page))
    }

    /// Table 1 and the widest gaps between groups.
    fn results(&self) -> Vec<Part> {
        let (before, after) = (self.before.as_ref(), self.after.as_ref());
        let Some(newest) = after.or(before) else {
            return vec![Part::missing("It was not evaluated.")];
        };
        let mut parts = Table1::new(before, after).below(&self.cautions).into_parts();
        let gaps = gaps(newest);
        if !gaps.is_empty() {
            parts.push(Part::note(
                "The widest gap of preference accuracy between groups, in percent:",
            ));
            parts.push(Part::List(gaps));
        }
        parts
    }

    fn settings(&self, settings: &[(&str, String)]) -> Table {
        let mut table = Table::new(["setting", "value"]);
        settings.iter().for_each(|(name, value)| table.push([*name, value]));
        if let Some(training) = &self.training {
            let seen = format!(
                "{}, {}{}, {:.2} epochs",
                units::count(training.steps),
                units::counted(training.pairs, "pair"),
                of_recorded(training),
                training.epochs
            );
            table.push(["optimizer steps", &seen]);
            if let Some(exported) = &training.exported {
                table.push(["adapter", exported]);
            }
        }
        table
    }

    /// The program that loads the adapter.
    fn python(&self, base_model: &str) -> Part {
        let text = format!(
            "from peft import PeftModel\n\
             from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
             adapter = {adapter}  # this folder\n\
             base = AutoModelForCausalLM.from_pretrained({base}, dtype=\"auto\")\n\
             model = PeftModel.from_pretrained(base, adapter)\n\
             tokenizer = AutoTokenizer.from_pretrained(adapter)\n",
            adapter = quoted(&self.adapter_dir),
            base = quoted(base_model)
        );
        Part::Code(Code { language: "python", text })
    }
}

/// The fields that the Hugging Face hub reads: the base only where it is on the hub.
fn front_matter(base: BaseModel<'_>) -> String {
    let mut fields =
        String::from("library_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n- dpo\n");
    if base.on_hub {
        let tag = quoted(&format!("base_model:adapter:{}", base.name));
        fields = format!("base_model: {}\n{fields}- {tag}\n", quoted(base.name));
    }
    format!("---\n{fields}---\n")
}

fn keys(changed: &[(String, String)]) -> Table {
    let mut keys = Table::new(["key", "value"]);
    changed.iter().for_each(|(key, value)| keys.push([key, value].map(Text::code)));
    keys
}

/// The widest gap between groups of each set, one sentence each.
fn gaps(evaluation: &Evaluation) -> Vec<Text> {
    let metric = Metric::PreferenceAccuracy;
    let gap = |set: &SetResult| {
        let fairness = widest_gap(set, metric)?;
        let shuffled = cell::percent(fairness.shuffled_gap);
        let gap = gap_text(fairness, metric);
        Some(format!(
            "{}: by {gap}; with users shuffled, 95 of 100 gaps are under {shuffled}",
            set.name
        ))
    };
    evaluation.sets.iter().filter_map(gap).map(Text::from).collect()
}

/// Text in double quotes with the escapes that YAML, Python and JSON share.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Activations, AddBos, BestMetric, Dtype, EvalTokenization, LayoutName, LeftoverBatches,
        LossType, OptimizerName, Order, PromptFormat, RankedPairs, Reference, RunConfig, Scheduler,
        Tokenization, TokenizerRules, Truncation,
    };
    use crate::metrics::score::pair_of;
    use crate::report::run::sample::evaluations;
    use crate::run_folder::summary::TrainingSummary;

    fn on_hub(name: &str) -> BaseModel<'_> {
        BaseModel { name, on_hub: true }
    }

    fn report(model: &str) -> RunReport {
        let (before, after) = evaluations(model, &["UF-P-4"]);
        RunReport {
            title: "llama2-7b".into(),
            model: model.into(),
            device: "cpu, 8 threads".into(),
            training: Some(TrainingSummary {
                steps: 1_234,
                pairs: 9_872,
                epochs: 3.0,
                ..Default::default()
            }),
            before: Some(before),
            after: Some(after),
            adapter_dir: "runs/llama2-7b/adapter".into(),
            config_toml: String::new(),
            cautions: vec![],
            notes: vec![],
        }
    }

    #[test]
    fn the_front_matter_names_the_base_and_the_results_follow() {
        let card = report("meta-llama/Llama-2-7b-hf").to_model_card(
            on_hub("meta-llama/Llama-2-7b-hf"),
            &[("rank", "16".into())],
            &[],
        );
        assert!(
            card.starts_with("---\nbase_model: \"meta-llama/Llama-2-7b-hf\"\nlibrary_name: peft\n")
        );
        for line in [
            "- lora\n- dpo\n",
            "| Llama2-7b, paper | yes | 54.90 |",
            "| rank | 16 |",
            "| optimizer steps | 1,234, 9,872 pairs, 3.00 epochs |",
            "model = PeftModel.from_pretrained(base, adapter)",
        ] {
            assert!(card.contains(line), "`{line}` is not in\n{card}");
        }
    }

    /// Candidates for another value of a key: for a word, the words of all keys.
    fn others(value: &toml::Value) -> Vec<toml::Value> {
        let words: [&[&str]; 17] = [
            Dtype::NAMES,
            LossType::NAMES,
            Reference::NAMES,
            PromptFormat::NAMES,
            Tokenization::NAMES,
            Scheduler::NAMES,
            Activations::NAMES,
            BestMetric::NAMES,
            TokenizerRules::NAMES,
            AddBos::NAMES,
            Truncation::NAMES,
            Order::NAMES,
            LeftoverBatches::NAMES,
            OptimizerName::NAMES,
            EvalTokenization::NAMES,
            LayoutName::NAMES,
            RankedPairs::NAMES,
        ];
        match value {
            toml::Value::Boolean(value) => vec![(!value).into()],
            toml::Value::Integer(value) => vec![(value + 1).into()],
            toml::Value::Float(value) => vec![(value + 0.125).into()],
            toml::Value::String(_) => words.concat().into_iter().map(Into::into).collect(),
            _ => vec![],
        }
    }

    #[test]
    fn every_key_that_differs_from_its_default_is_on_the_card() {
        let defaults = toml::Table::try_from(RunConfig::default()).unwrap();
        let mut keys = 0;
        let card = |config: &RunConfig| {
            report("b").to_model_card(on_hub("b"), &[], &config.changed().unwrap())
        };
        let mut tables = vec![(Vec::new(), defaults.clone())];
        while let Some((path, table)) = tables.pop() {
            for (name, value) in table {
                let path = [&path[..], &[name]].concat();
                if let toml::Value::Table(table) = value {
                    tables.push((path, table));
                    continue;
                }
                let set = |other: &toml::Value| -> Option<RunConfig> {
                    let mut root = toml::Value::Table(defaults.clone());
                    let place = path.iter().fold(&mut root, |table, part| &mut table[part]);
                    place.clone_from(other);
                    root.try_into().ok().filter(|config| *config != RunConfig::default())
                };
                let Some((other, config)) = others(&value)
                    .into_iter()
                    .find_map(|other| Some((other.clone(), set(&other)?)))
                else {
                    assert!(value.is_array(), "{path:?}");
                    continue;
                };
                let line = format!("| `{}` | `{other}` |\n", path.join("."));
                assert!(card(&config).contains(&line), "no {line} in\n{}", card(&config));
                keys += 1;
            }
        }
        assert!(keys > 40, "{keys} keys");
        let lists = RunConfig::parse(crate::presets::preset("tiny.toml").unwrap(), "t").unwrap();
        assert!(card(&lists).contains("| `eval.sets[0].name` | `\"MVP_test\"` |"));
    }

    #[test]
    fn the_widest_gap_between_groups_is_on_the_card() {
        let mut report = report("meta-llama/Llama-2-7b-hf");
        assert!(
            !report.to_model_card(on_hub("b"), &[], &[]).contains("gap of preference accuracy")
        );
        let scores: Vec<_> = (0..20)
            .map(|i| {
                let sums = [if i % 4 < 3 { -10.0 } else { -30.0 }, -20.0, -20.0, -20.0];
                let mut score = pair_of(&i.to_string(), Some(&format!("user{i}")), sums);
                let gender = if i % 2 == 0 { "Female" } else { "Male" };
                score.groups.insert("gender".into(), gender.into());
                score
            })
            .collect();
        let evaluation = report.after.as_mut().unwrap();
        evaluation.sets[0].group(None, &scores, 0.1, 2).unwrap();
        let card = report.to_model_card(on_hub("b"), &[], &[]);
        assert!(card.contains("- UF-P-4: by gender, 50.00 ["), "{card}");
        assert!(card.contains("] (Female 100.00, Male 50.00); with users shuffled"), "{card}");
    }

    #[test]
    fn a_folder_stands_in_the_text_and_not_in_the_fields_that_the_hub_checks() {
        let base = BaseModel { name: "models/base", on_hub: false };
        let card = report(base.name).to_model_card(base, &[], &[]);
        let (fields, text) = card.strip_prefix("---\n").unwrap().split_once("---\n").unwrap();
        assert!(!fields.contains("base"), "{fields}");
        assert!(fields.contains("- lora\n- dpo\n"), "{fields}");
        assert!(text.contains("A LoRA adapter for `models/base`"), "{text}");
        assert!(text.contains("from_pretrained(\"models/base\""), "{text}");
    }

    #[test]
    fn a_path_with_quotes_does_not_end_its_string() {
        let odd = "models/\"odd\": name";
        let card = report(odd).to_model_card(on_hub(odd), &[], &[]);
        assert!(card.contains("base_model: \"models/\\\"odd\\\": name\"\n"), "{card}");
    }
}
