//! A file such as `build-mvpbench.toml`: prompts, settings and checks of a build.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bail_input;
use crate::disk::digest;
use crate::judge::chat::request::Parameters;
use crate::judge::protocol::template::{self, Allowed};
use crate::judge::protocol::{Price, parse_checked, text_of};

/// The recipe compiled into the binary.
pub const PRESET: (&str, &str) =
    ("build-mvpbench.toml", include_str!("../../../configs/build-mvpbench.toml"));

/// Who labels ratings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MappedBy {
    /// The paper's rule, exactly.
    Rule,
    /// A chat model, checked against the rule.
    Model,
}

/// A recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Stage 1.
    pub mapping: Mapping,
    /// Stage 2.
    pub generation: Generation,
    /// What an item must pass.
    pub checks: Checks,
    /// The sides.
    pub split: Split,
    /// Prices by model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, Price>,
}

/// Stage 1: ratings -> High and Low.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Who labels.
    pub by: MappedBy,
    /// The system message of a model; none if empty.
    pub system: String,
    /// The user's message, with `{ratings}`.
    pub prompt: String,
    /// 0 to 2.
    pub temperature: f64,
    /// Above 0, to 1.
    pub top_p: f64,
    /// Most tokens of a reply.
    pub max_tokens: u32,
    /// Fields of the endpoint's own, sent as they are.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// Stage 2: three questions with two answers each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// The system message; none if empty.
    pub system: String,
    /// The user's message, with placeholders.
    pub prompt: String,
    /// The message after a reply of which something cannot be used.
    pub reminder: String,
    /// 0 to 2.
    pub temperature: f64,
    /// Above 0, to 1.
    pub top_p: f64,
    /// Most tokens of a reply.
    pub max_tokens: u32,
    /// Characters of the conversation that are shown; 0: all.
    pub history_characters: usize,
    /// Whether a JSON schema is sent with each request.
    pub schema: bool,
    /// Fields of the endpoint's own, sent as they are.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// What an item must pass. Lengths are characters without white space at both ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    /// Least length of a question.
    pub least_question: usize,
    /// Greatest length of a question.
    pub most_question: usize,
    /// Least length of an answer.
    pub least_answer: usize,
    /// Greatest length of an answer.
    pub most_answer: usize,
    /// Language of the texts, a code of ISO 639-3; any if empty.
    pub language: String,
    /// Sentence encoder that compares the questions of a user; none if empty.
    pub encoder: String,
    /// Cosine from which two questions are the same.
    pub cosine: f64,
}

/// The sides, by user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Share of the users on the validation side.
    pub validation_share: f64,
    /// Share of the users on the test side.
    pub test_share: f64,
    /// Seed of the draw.
    pub seed: u64,
}

impl Recipe {
    /// Reads the file `path_or_preset`, or the recipe of that name in the binary if there is no such file.
    pub fn load(path_or_preset: &str) -> Result<Self> {
        let text = text_of(path_or_preset, &[PRESET], "the recipe in the binary is")?;
        Self::parse(&text, path_or_preset)
    }

    /// Reads a recipe from `text`; `name`: for messages.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        parse_checked(text, name, Self::check)
    }

    /// SHA-256 of all that decides what is asked and what is kept: all settings but the prices.
    pub fn sha256(&self) -> Result<String> {
        Ok(digest::of_bytes(toml::to_string(&self.priceless())?.as_bytes()))
    }

    /// The recipe without prices, which change nothing that is built.
    pub fn priceless(&self) -> Self {
        Self { prices: BTreeMap::new(), ..self.clone() }
    }

    fn check(&self) -> Result<()> {
        let Self { mapping, generation, checks, split, prices } = self;
        let texts: [(&str, &str, Allowed); 3] = [
            ("mapping.prompt", &mapping.prompt, Allowed { needed: &["ratings"], optional: &[] }),
            (
                "generation.prompt",
                &generation.prompt,
                Allowed {
                    needed: &["preferences", "history"],
                    optional: &["self_description", "system_string"],
                },
            ),
            (
                "generation.reminder",
                &generation.reminder,
                Allowed { needed: &["problems"], optional: &[] },
            ),
        ];
        for (name, text, allowed) in texts {
            template::check(text, allowed).with_context(|| format!("`{name}`"))?;
        }
        for (stage, temperature, top_p, max_tokens) in [
            ("mapping", mapping.temperature, mapping.top_p, mapping.max_tokens),
            ("generation", generation.temperature, generation.top_p, generation.max_tokens),
        ] {
            if !(0.0..=2.0).contains(&temperature) {
                bail_input!("`{stage}.temperature` must be in 0..=2, got `{temperature}`");
            }
            if !(top_p > 0.0 && top_p <= 1.0) {
                bail_input!("`{stage}.top_p` must be above 0 and at most 1, got `{top_p}`");
            }
            if max_tokens == 0 {
                bail_input!("`{stage}.max_tokens` must be at least 1, got `0`");
            }
        }
        for (name, least, most) in [
            ("question", checks.least_question, checks.most_question),
            ("answer", checks.least_answer, checks.most_answer),
        ] {
            if least == 0 || most < least {
                bail_input!(
                    "`checks.least_{name}` must be at least 1 and at most `checks.most_{name}`, got `{least}` and `{most}`"
                );
            }
        }
        if !(checks.language.is_empty() || whatlang::Lang::from_code(&checks.language).is_some()) {
            bail_input!(
                "`checks.language` must be a code of ISO 639-3 such as `eng`, or empty, got `{}`",
                checks.language
            );
        }
        if !(checks.cosine > 0.0 && checks.cosine <= 1.0) {
            bail_input!("`checks.cosine` must be above 0 and at most 1, got `{}`", checks.cosine);
        }
        let (validation, test) = (split.validation_share, split.test_share);
        let in_range = |share: f64| (0.0..1.0).contains(&share);
        if !(in_range(validation) && in_range(test) && validation + test < 1.0) {
            bail_input!(
                "`split.validation_share` and `split.test_share` must be at least 0 and together below 1, got `{validation}` and `{test}`"
            );
        }
        for (model, price) in prices {
            if !(price.input >= 0.0 && price.output >= 0.0) {
                bail_input!("`prices.{model}` must be at least 0");
            }
        }
        Ok(())
    }
}

impl Mapping {
    /// How `model` is asked at an endpoint.
    pub fn parameters(&self, model: &str) -> Parameters {
        Parameters::of_stage(model, [self.temperature, self.top_p], self.max_tokens, &self.extra)
    }
}

impl Generation {
    /// How `model` is asked at an endpoint.
    pub fn parameters(&self, model: &str) -> Parameters {
        let schema = self.schema.then(|| ("items".to_owned(), super::reply::schema()));
        let draw = [self.temperature, self.top_p];
        Parameters { schema, ..Parameters::of_stage(model, draw, self.max_tokens, &self.extra) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::InputError;

    #[test]
    fn the_recipe_in_the_binary_has_the_papers_temperatures() {
        let recipe = Recipe::load(PRESET.0).unwrap();
        let Recipe { mapping, generation, .. } = &recipe;
        assert!(mapping.by == MappedBy::Rule && mapping.temperature.abs() < 1e-9);
        assert!(
            (mapping.top_p - 0.925).abs() < 1e-9 && (generation.temperature - 0.7).abs() < 1e-9
        );
        let error = Recipe::load("build-mvpbensh.toml").unwrap_err();
        assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("build-mvpbench.toml"));
    }

    #[test]
    fn what_is_not_known_or_out_of_range_is_refused_by_name() {
        for (from, to, expected) in [
            ("by = \"rule\"", "by = \"person\"", "unknown variant `person`"),
            (
                "history_characters = 6000",
                "history_tokens = 6000",
                "unknown field `history_tokens`",
            ),
            ("{preferences}", "{preference}", "`{preference}`"),
            ("{ratings}", "ratings", "`{ratings}`"),
            ("top_p = 0.925", "top_p = 0.0", "`mapping.top_p`"),
            ("temperature = 0.7", "temperature = 3.0", "`generation.temperature`"),
            ("max_tokens = 2048", "max_tokens = 0", "`generation.max_tokens`"),
            ("most_answer = 6000", "most_answer = 6", "`checks.least_answer`"),
            ("language = \"eng\"", "language = \"english\"", "`checks.language`"),
            ("cosine = 0.95", "cosine = 95.0", "`checks.cosine`"),
            ("\ntest_share = 0.1", "\ntest_share = 0.9", "`split.test_share`"),
        ] {
            assert!(PRESET.1.contains(from), "{from}");
            let text = PRESET.1.replace(from, to);
            let error = format!("{:#}", Recipe::parse(&text, "b.toml").unwrap_err());
            assert!(error.contains("b.toml") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn prices_change_no_build() {
        let priced = format!("{}\n[prices.m]\ninput = 1.0\noutput = 2.0\n", PRESET.1);
        let (one, other) = (Recipe::load(PRESET.0).unwrap(), Recipe::parse(&priced, "b").unwrap());
        assert_eq!(one.sha256().unwrap(), other.sha256().unwrap());
        assert_ne!(one, other);
    }
}
