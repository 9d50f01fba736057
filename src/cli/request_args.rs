//! The options of every verb that asks an endpoint, and what each means for a journal of answers.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::console::progress::Verbosity;
use crate::console::units;
use crate::judge::chat::asker::{Asker, Estimate, Stopped};
use crate::judge::chat::batch::Imported;
use crate::judge::chat::cost::{self, Prices};
use crate::judge::chat::endpoint::Endpoint;
use crate::judge::chat::request::Parameters;
use crate::judge::chat::secret;
use crate::judge::chat::{Item, Outcome, Settings};

/// Options of requests to an endpoint. `--endpoint`, `--chat-model` and `--key-env` are each verb's own, since a verb may take several.
#[derive(Debug, Clone, Default, Args)]
pub struct RequestArgs {
    /// Stop before the requests of this command cost more US dollars; the same command resumes
    #[arg(long, value_name = "USD", allow_negative_numbers = true, value_parser = dollars)]
    max_cost: Option<f64>,
    /// Stop after so many requests; the same command resumes
    #[arg(long, value_name = "N")]
    max_requests: Option<usize>,
    /// Ask again what failed before
    #[arg(long)]
    retry_failed: bool,
    /// Print requests, tokens and cost; send and write nothing
    #[arg(long, conflicts_with_all = ["batch_export", "batch_import", "max_cost", "max_requests"])]
    dry_run: bool,
    /// Write the requests that are left as files of OpenAI's Batch form into DIR, for a batch endpoint or `vllm run-batch`; send nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["batch_import", "max_cost", "max_requests"])]
    batch_export: Option<PathBuf>,
    /// Take the results of a batch; may be repeated. Sends nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["max_cost", "max_requests"])]
    batch_import: Vec<PathBuf>,
}

/// What a command does with its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way<'a> {
    /// Sends them.
    Ask,
    /// Estimates them.
    Estimate,
    /// Writes them as files into this folder.
    Export(&'a Path),
    /// Takes the results in these files.
    Import(&'a [PathBuf]),
}

impl RequestArgs {
    /// What the command does with its requests.
    pub fn way(&self) -> Way<'_> {
        match (self.dry_run, &self.batch_export, &self.batch_import[..]) {
            (true, ..) => Way::Estimate,
            (_, Some(folder), _) => Way::Export(folder),
            (_, None, []) => Way::Ask,
            (_, None, files) => Way::Import(files),
        }
    }

    /// The first of these options that was given, to be refused where nothing is asked of an endpoint.
    pub fn given(&self) -> Option<&'static str> {
        let all = [
            ("--max-cost", self.max_cost.is_some()),
            ("--max-requests", self.max_requests.is_some()),
            ("--retry-failed", self.retry_failed),
            ("--dry-run", self.dry_run),
            ("--batch-export", self.batch_export.is_some()),
            ("--batch-import", !self.batch_import.is_empty()),
        ];
        all.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }

    /// Whether an answer may take the place of a failure.
    pub fn mends(&self) -> bool {
        self.retry_failed || matches!(self.way(), Way::Import(_))
    }

    /// Whether a limit may end the command before all is answered.
    pub fn is_limited(&self) -> bool {
        self.max_cost.is_some() || self.max_requests.is_some()
    }

    /// The endpoint `given`, a preset or a base URL, with its key where something is sent.
    pub fn endpoint(&self, given: &str, key_env: Option<&str>) -> Result<Endpoint> {
        // Also where the key is not read: the command as it was typed goes into files.
        key_env.map_or(Ok(()), secret::check_name)?;
        match self.way() {
            Way::Ask => Endpoint::open(given, key_env),
            Way::Estimate | Way::Export(_) | Way::Import(_) => Endpoint::without_key(given),
        }
    }

    /// What is asked for, and how far to go. `prices`: those that are set; none: those of the table.
    pub fn settings(&self, parameters: Parameters, prices: Option<Prices>) -> Settings {
        Settings {
            retry_failed: self.retry_failed,
            max_requests: self.max_requests,
            max_cost: self.max_cost,
            prices,
            ..Settings::of(parameters)
        }
    }

    /// The outcome of each of `items`: asked, or of an import, which is [`Stopped`] where it leaves some open.
    pub fn outcomes(
        &self,
        asker: &mut Asker,
        items: &[Item],
        verbosity: Verbosity,
    ) -> Result<Vec<Outcome>> {
        if let Way::Import(files) = self.way() {
            say_imported(&asker.import(items, files)?, verbosity);
            let Estimate { requests, answered, failed, .. } = asker.estimate(items)?;
            if requests > 0 {
                let (left, all) =
                    (units::count(requests), units::count(requests + answered + failed));
                let what = format!("imported: {left} of {all} requests are left");
                return Err(Stopped::after_import(what).into());
            }
        }
        asker.ask(&items)
    }
}

/// Prints what came of an import.
pub fn say_imported(imported: &Imported, verbosity: Verbosity) {
    let Imported {
        answers,
        failures,
        left,
        left_why,
        duplicates,
        differing,
        unknown,
        unknown_ids,
        broken,
    } = imported;
    let [answers, failures, duplicates] = [answers, failures, duplicates].map(|n| units::count(*n));
    verbosity.note(format!(
        "imported: {answers} answers, {failures} failures; {duplicates} were there already"
    ));
    if let (1.., Some(why)) = (left, left_why) {
        verbosity.warn(format!(
            "the batch left {} requests open, the first with: {why}",
            units::count(*left)
        ));
    }
    if *differing > 0 {
        verbosity.warn(format!(
            "{} results differ from the answers that are there, which stay",
            units::count(*differing)
        ));
    }
    if *unknown > 0 {
        verbosity.warn(format!(
            "{} results are of no request of this command, such as {}",
            units::count(*unknown),
            unknown_ids.join(", ")
        ));
    }
    if !broken.is_empty() {
        verbosity.warn(format!("no result in {}", broken.join(", ")));
    }
}

/// The lines of an estimate, for stdout.
pub fn estimate_lines(estimate: &Estimate, prices: Option<&Prices>, model: &str) -> Result<String> {
    let Estimate { requests, answered, failed, usage, cost } = estimate;
    let mut text = String::new();
    let [requests, answered] = [requests, answered].map(|count| units::count(*count));
    let failed = match failed {
        0 => String::new(),
        failed => format!(", {} failed before and not asked again", units::count(*failed)),
    };
    writeln!(text, "requests: {requests} to send, {answered} answered before{failed}")?;
    writeln!(
        text,
        "tokens:   about {} of prompts, at most {} of answers",
        units::count(usage.prompt as usize),
        units::count(usage.completion as usize)
    )?;
    match (cost, prices) {
        (Some(cost), Some(prices)) => {
            let (cost, source) = (units::dollars(*cost), &prices.source);
            writeln!(
                text,
                "cost:     about {cost} if all answers are as long as they may be, by {source}"
            )?
        }
        _ => writeln!(
            text,
            "cost:     unknown: {} has no price of `{model}` here; a protocol sets it by {}",
            cost::TABLE,
            cost::how_to_set(model)
        )?,
    }
    Ok(text)
}

/// The lines of an export, for stdout.
pub fn export_lines(paths: &[PathBuf]) -> Result<String> {
    if paths.is_empty() {
        return Ok("requests: none is left\n".to_owned());
    }
    let mut text = String::new();
    for path in paths {
        writeln!(text, "requests: {}", path.display())?;
    }
    writeln!(
        text,
        "next:     run them as a batch, then this command with `--batch-import RESULTS`"
    )?;
    Ok(text)
}

/// Parses an amount of dollars.
fn dollars(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x >= 0.0 => Ok(x),
        _ => Err(format!("expected US dollars, at least 0, got `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::chat::outcome::Usage;

    #[test]
    fn an_estimate_names_the_date_of_its_prices_or_says_how_to_set_them() {
        let usage = Usage { prompt: 1200, completion: 512, reasoning: 0 };
        let of = |cost| Estimate { requests: 2, answered: 1, failed: 3, usage, cost };
        let prices = Prices {
            input_per_million: 1.0,
            output_per_million: 1.0,
            source: format!("m of {}", cost::TABLE),
        };
        let known = estimate_lines(&of(Some(0.25)), Some(&prices), "m").unwrap();
        assert!(
            known.contains("requests: 2 to send, 1 answered before, 3 failed before"),
            "{known}"
        );
        assert!(known.contains("about USD 0.25 if") && known.contains("2026-10-14"), "{known}");
        let unknown = estimate_lines(&of(None), None, "doubao").unwrap();
        assert!(
            unknown.contains("unknown") && unknown.contains("[prices.\"doubao\"]"),
            "{unknown}"
        );
    }
}
