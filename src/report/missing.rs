//! Files and steps that a run folder should have and lacks, one sentence each. Each is left out of the report.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::disk::{json_lines, read};
use crate::metrics::Evaluation;
use crate::run_folder::paths::{AFTER, BEFORE, Paths};
use crate::run_folder::summary::Summary;
use crate::run_folder::train_log::{self, StepRecord};

/// The parts of a run folder that were read, for [`sentences`].
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Whether `mvpbench eval` wrote the folder.
    pub is_evaluation: bool,
    /// Whether the configuration names evaluation sets.
    pub has_sets: bool,
    /// None where the file is not there or is broken.
    pub summary: Option<&'a Summary>,
    /// The steps of the log.
    pub steps: &'a [StepRecord],
    /// Figures before and after tuning.
    pub evaluations: [Option<&'a Evaluation>; 2],
}

/// A sentence for each file that the other files speak of and that is not there, and for steps without a record.
pub fn sentences(paths: &Paths, found: &Found<'_>) -> Result<Vec<String>> {
    let mut sentences = Vec::new();
    let mut absent = |path: &std::path::Path, what: &str| -> Result<()> {
        if !read::is_there(path)? {
            sentences.push(format!("`{}` is not there: {what}", path.display()));
        }
        Ok(())
    };
    if found.summary.is_none() {
        let what = "the title, the wall time and the notes of the run are left out; a run that has not ended has none yet";
        absent(&paths.summary(), what)?;
    }
    let is_tuned = match found.summary {
        Some(summary) if found.is_evaluation => !summary.adapter_dir.is_empty(),
        _ => !found.is_evaluation,
    };
    match found.evaluations {
        [None, None] if found.has_sets => {
            absent(&paths.evaluation(BEFORE), "the figures before tuning are left out")?;
            if is_tuned {
                absent(&paths.evaluation(AFTER), "the figures after tuning are left out")?;
            }
        }
        [Some(_), None] if is_tuned => {
            absent(&paths.evaluation(AFTER), "every figure of a set is one before tuning")?;
        }
        [None, Some(_)] => {
            absent(&paths.evaluation(BEFORE), "nothing is compared with the untuned model")?;
        }
        _ => {}
    }
    let files = found.evaluations.into_iter().flatten().flat_map(|them| them.files.keys());
    for name in files.collect::<BTreeSet<_>>() {
        absent(&paths.evaluations().join(name), "what rests on its lines is left out")?;
    }
    sentences.extend(lost_steps(paths, found));
    Ok(sentences)
}

/// A sentence about the steps that were taken and have no record; none where the notes of the summary have it already.
fn lost_steps(paths: &Paths, found: &Found<'_>) -> Option<String> {
    let training = found.summary.and_then(|summary| summary.training.as_ref());
    let last = found.steps.last().map_or(0, |step| step.step);
    let taken = training.map_or(last, |training| training.steps.max(last));
    let lost = train_log::missing(found.steps, taken);
    let is_said = training.is_some_and(|training| training.unrecorded_steps == lost.len());
    (!lost.is_empty() && !is_said).then(|| {
        format!(
            "`{}` has no record of {}; the curves and the figures of training leave them out",
            paths.log().display(),
            json_lines::numbered("step", &lost)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::folder::sample;
    use crate::run_folder::summary::TrainingSummary;

    #[test]
    fn every_file_that_the_others_speak_of_is_named_once() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::of(folder.path());
        let run = sample::run();
        let mut before = run.before.clone().unwrap();
        before.files.insert("scores-a-before.jsonl".into(), "0".into());
        let mut summary = run.summary.clone().unwrap();
        summary.training = Some(TrainingSummary { steps: 4, ..TrainingSummary::default() });
        let steps = [1, 3].map(|step| StepRecord { step, ..StepRecord::default() });
        let found = Found {
            is_evaluation: false,
            has_sets: true,
            summary: Some(&summary),
            steps: &steps,
            evaluations: [Some(&before), None],
        };
        let all = sentences(&paths, &found).unwrap();
        assert_eq!(all.len(), 3, "{all:?}");
        for (sentence, part) in all.iter().zip([
            "after.json` is not there: every figure of a set is one before tuning",
            "scores-a-before.jsonl` is not there",
            "train.jsonl` has no record of steps 2, 4;",
        ]) {
            assert!(sentence.contains(part), "{sentence}");
        }
        let mut knowing = summary.clone();
        knowing.training.as_mut().unwrap().unrecorded_steps = 2;
        let said = Found { summary: Some(&knowing), ..found };
        assert_eq!(sentences(&paths, &said).unwrap().len(), 2);
        let unfinished = Found { summary: None, evaluations: [None, None], ..found };
        let all = sentences(&paths, &unfinished).unwrap().concat();
        for part in ["summary.json` is not there", "before.json`", "after.json`", "step 2;"] {
            assert!(all.contains(part), "{part}: {all}");
        }
        let base = Found { is_evaluation: true, steps: &[], ..unfinished };
        assert!(!sentences(&paths, &base).unwrap().concat().contains("after.json"));
    }
}
