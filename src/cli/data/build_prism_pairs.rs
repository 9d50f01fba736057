//! `data build-prism-pairs`: PRISM -> preference pairs with the person's profile, split by user, and a manifest.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::built;
use crate::bail_input;
use crate::cli::whole_number;
use crate::console::interrupt;
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::console::units::{count, counted};
use crate::construct::prism::Prism;
use crate::construct::prism_pairs::build::{self, Built, Rule};
use crate::construct::prism_pairs::prompt::Form;
use crate::disk::once::MANIFEST;
use crate::hub::Hub;
use crate::session::data_file;

/// Build preference pairs from PRISM's own scores, with the person's profile, split by user
///
/// A pair is two answers of one turn of a conversation; the one with the higher score is chosen. The first turn has up to four answers, a later
/// one two. The prompt is the conversation so far, in which the answer of an earlier turn is the chosen one: where several are chosen, the first
/// of the highest score. The profile is the first line of MVPBench's training prompt.
///
/// Left out and counted: pairs with an empty answer or one without a score, pairs of equal answers, of equal scores (ties) or of scores within
/// the margin, and turns after one without a chosen answer. A broken row is named with file and line, and left out.
#[derive(Debug, Clone, Args)]
pub(super) struct BuildPrismPairsArgs {
    /// PRISM's survey.jsonl, a file or hf://datasets/HannahRoseKirk/prism-alignment/survey.jsonl
    #[arg(long, value_name = "FILE")]
    survey: String,
    /// PRISM's conversations.jsonl, likewise
    #[arg(long, value_name = "FILE")]
    conversations: String,
    /// Folder to write: train.json, test.json and manifest.json
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Least difference of the two scores, of 0 to 100; equal scores are always left out
    #[arg(long, value_name = "POINTS", default_value_t = 1.0, allow_negative_numbers = true)]
    min_margin: f64,
    /// Form of prompts and answers
    #[arg(long, value_enum, default_value_t = Form::Transcript)]
    form: Form,
    /// Share of the users that goes to validation.json; 0 for none
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    validation_share: f64,
    /// Share of the users that goes to test.json; 0 for none
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, allow_negative_numbers = true)]
    test_share: f64,
    /// Seed of the draw
    #[arg(long, value_name = "N", default_value_t = 12, allow_negative_numbers = true, value_parser = whole_number)]
    seed: u64,
}

/// Runs the verb.
pub(super) fn build_prism_pairs(args: &BuildPrismPairsArgs) -> Result<()> {
    interrupt::install()?;
    for (name, share) in
        [("--test-share", args.test_share), ("--validation-share", args.validation_share)]
    {
        if !(0.0..1.0).contains(&share) {
            bail_input!("`{name}` must be at least 0 and below 1, got `{share}`");
        }
    }
    let both = args.test_share + args.validation_share;
    if both >= 1.0 {
        bail_input!(
            "`--test-share` and `--validation-share` must be below 1 together, got `{both}`"
        );
    }
    if !(0.0..=100.0).contains(&args.min_margin) {
        bail_input!("`--min-margin` must be in 0..=100, got `{}`", args.min_margin);
    }
    built::check(&args.output)?;
    let verbosity = Verbosity::Normal;
    let (hub, mut notes) = (Hub::new(verbosity), Vec::new());
    let survey = data_file::read(&args.survey, &hub, &mut notes)?;
    let conversations = data_file::read(&args.conversations, &hub, &mut notes)?;
    notes.iter().for_each(|note| verbosity.note(note));
    let prism = Prism::read((&args.survey, &survey), (&args.conversations, &conversations))?;
    drop((survey, conversations));
    built::warn_of_broken(verbosity, &prism.broken, &prism.unknown_fields);
    let rule = Rule {
        min_margin: args.min_margin,
        form: args.form,
        validation_share: args.validation_share,
        test_share: args.test_share,
        seed: args.seed,
    };
    let built = build::build(&prism, &rule, &args.output)?;
    stdout::tell(summary(&prism, &built, &args.output)?)
}

fn summary(prism: &Prism, Built { counts, sides }: &Built, output: &Path) -> Result<String> {
    let mut out = String::new();
    let mut line = |number: usize, what: &str| -> Result<()> {
        if number > 0 {
            writeln!(out, "{:>12} {what}", count(number))?;
        }
        Ok(())
    };
    line(prism.counts.survey_users, "users of the survey")?;
    line(prism.counts.users_without_conversations, "without a conversation, dropped")?;
    line(prism.counts.conversations, "conversations")?;
    line(prism.broken.len(), "broken rows, left out")?;
    line(counts.turns, "turns")?;
    line(counts.turns_of_unknown_history, "after a turn without a chosen answer, left out")?;
    line(counts.turns_of_one_answer, "with fewer than two answers")?;
    line(counts.turns_of_several_chosen, "with several chosen answers")?;
    line(counts.pairs_considered, "pairs of answers")?;
    line(counts.pairs_with_an_empty_answer, "with an empty answer, left out")?;
    line(counts.pairs_not_scored, "with an answer without a score, left out")?;
    line(counts.pairs_of_equal_answers, "of equal answers, left out")?;
    line(counts.ties, "of equal scores, left out")?;
    line(counts.pairs_below_margin, "within the margin, left out")?;
    line(counts.pairs, "kept")?;
    line(counts.pairs_of_the_first_turn, "of these of the first turn")?;
    writeln!(out)?;
    for side in sides {
        let path = output.join(side.file);
        let (pairs, users) = (counted(side.pairs, "pair"), counted(side.users.len(), "user"));
        writeln!(out, "{}: {pairs}, {users}", path.display())?;
    }
    writeln!(out, "manifest: {}", output.join(MANIFEST).display())?;
    Ok(out)
}
