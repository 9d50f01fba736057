//! Tokens and dollars: estimated before, counted after.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use genai_prices::{Calculator, PriceRequest, Usage as Priced, UsageKey};

use crate::judge::chat::endpoint::Endpoint;
use crate::judge::chat::outcome::{Answer, Usage};
use crate::judge::chat::request::Item;
use crate::judge::protocol::Price;

/// The compiled-in table of prices, and when its newest rates were verified.
pub const TABLE: &str = "genai-prices 0.2.1, verified 2026-10-14";

/// ASCII characters that make a token, by the rule of thumb of providers. Of other characters each counts as one, which is at
/// least what their tokenizers make of Chinese or Arabic text.
const ASCII_PER_TOKEN: u64 = 4;
/// Tokens that a chat template puts around a message.
const PER_MESSAGE: u64 = 4;
/// Tokens assumed of an answer whose length nothing limits.
const ASSUMED_ANSWER: u64 = 1024;
/// Tokens that prices are given for.
const MILLION: f64 = 1e6;

/// Prices of a model in US dollars for a million tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// Of prompts. Those that a provider keeps in its cache cost less: what is computed is the most.
    pub input_per_million: f64,
    /// Of answers, reasoning included.
    pub output_per_million: f64,
    /// Where they are from.
    pub source: String,
}

impl Prices {
    /// The prices of `model` at `endpoint` in the compiled-in table; none where it has none. Where they change with the hour of the
    /// day, those of the dearest hour.
    pub fn of(endpoint: &Endpoint, model: &str) -> Option<Self> {
        let now = SystemTime::now();
        let hours = (0..24).map(|hour| now + Duration::from_secs(hour * 3600));
        let of = |key: UsageKey| {
            let usage = Priced::from([(key, 1.0)]);
            let price = |hour: SystemTime| {
                let request = PriceRequest::new(model, &usage).with_timestamp(hour);
                let request = match endpoint.priced_as() {
                    Some(provider) => request.with_provider_id(provider),
                    None => request.with_provider_api_url(endpoint.base()),
                };
                Calculator::bundled().calculate(&request).ok()
            };
            let found: Option<Vec<_>> = hours.clone().map(price).collect();
            found?.into_iter().max_by(|a, b| a.total_price.total_cmp(&b.total_price))
        };
        let (input, output) = (of(UsageKey::INPUT_TOKENS)?, of(UsageKey::OUTPUT_TOKENS)?);
        Some(Self {
            input_per_million: input.total_price * MILLION,
            output_per_million: output.total_price * MILLION,
            source: format!("{}/{} of {TABLE}", input.provider_id, input.model_id),
        })
    }

    /// The price of `model` among those that the file `name` sets, by model; none where it sets none.
    pub fn set_by(set: &BTreeMap<String, Price>, name: &str, model: &str) -> Option<Self> {
        let price = set.get(model)?;
        Some(Self {
            input_per_million: price.input,
            output_per_million: price.output,
            source: format!("`prices.{model}` of {name}"),
        })
    }

    /// US dollars for these tokens.
    pub fn of_usage(&self, usage: Usage) -> f64 {
        (usage.prompt as f64 * self.input_per_million
            + usage.completion as f64 * self.output_per_million)
            / MILLION
    }
}

/// How a protocol sets the prices of `model`, in TOML.
pub fn how_to_set(model: &str) -> String {
    format!("`[prices.\"{model}\"]`, `input` and `output` in dollars for a million tokens")
}

/// Tokens of `text`, estimated: four ASCII characters make one, any other character makes one.
pub fn estimated_tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    ascii.div_ceil(ASCII_PER_TOKEN) + (text.chars().count() as u64 - ascii)
}

/// Tokens of a request and the most of its answer, estimated.
///
/// - `max_tokens`: the limit of the answer; none: 1,024 are assumed.
pub fn estimated(item: &Item, max_tokens: Option<u32>) -> Usage {
    let tokens = |text: &str| PER_MESSAGE + estimated_tokens(text);
    Usage {
        prompt: item.messages.iter().map(|message| tokens(&message.text)).sum(),
        completion: max_tokens.map_or(ASSUMED_ANSWER, u64::from),
        reasoning: 0,
    }
}

/// Tokens of an answer to `item`: those that the endpoint counted, or an estimate.
pub fn of_answer(answer: &Answer, item: &Item) -> Usage {
    answer.usage.unwrap_or_else(|| Usage {
        completion: estimated_tokens(&answer.text),
        ..estimated(item, None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_models_have_prices_and_others_have_none() {
        let endpoint = |given| Endpoint::open(given, None).unwrap();
        let url = endpoint("https://api.openai.com/v1");
        let prices = Prices::of(&url, "gpt-4o").unwrap();
        assert!((prices.input_per_million - 2.5).abs() < 1e-6, "{prices:?}");
        assert!((prices.output_per_million - 10.0).abs() < 1e-6, "{prices:?}");
        let usage = Usage { prompt: 1_000_000, completion: 100_000, reasoning: 5 };
        assert!((prices.of_usage(usage) - 3.5).abs() < 1e-6);
        assert!(prices.source.contains("2026-10-14"));
        assert_eq!(Prices::of(&url, "no-such-model"), None);
        assert_eq!(Prices::of(&endpoint("local"), "gpt-4o"), None, "another server's prices");
        let dearest = Prices::of(&endpoint("https://api.deepseek.com"), "deepseek-chat").unwrap();
        assert!((dearest.input_per_million - 0.27).abs() < 1e-6, "{dearest:?}");
    }

    #[test]
    fn the_table_is_the_one_that_is_named() {
        let lock = std::fs::read_to_string("Cargo.lock").unwrap();
        let rest = lock.split("name = \"genai-prices\"\nversion = \"").nth(1).unwrap();
        let version = rest.split('"').next().unwrap();
        assert!(TABLE.contains(&format!("genai-prices {version},")), "{version}");
    }

    #[test]
    fn tokens_are_estimated_by_characters() {
        assert_eq!(["", "abcd", "abcde", "é", "你好"].map(estimated_tokens), [0, 1, 2, 1, 2]);
    }
}
