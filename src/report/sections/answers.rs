//! The generated answers, where the run has any.

use std::collections::HashMap;

use crate::metrics::spmr::Answer;
use crate::report::folder::Run;
use crate::report::section::{Answers, Part, Record, Section};
use crate::report::set_files::SetFiles;
use crate::report::text::shortened;
use crate::run_folder::paths::{AFTER, BEFORE, Paths};

/// Prompts of a run in the samples.
const SAMPLES: usize = 20;

/// Characters of a prompt in a sample.
const PROMPT_LETTERS: usize = 500;

/// Characters of an answer in a sample.
const ANSWER_LETTERS: usize = 900;

/// Every prompt with the preferred answer and the model's before and after; a sentence where there are no answers.
pub fn section(run: &Run) -> Section {
    let sets = run.sets.iter().filter(|files| files.answers.iter().any(|all| !all.is_empty()));
    let sets: Vec<&SetFiles> = sets.collect();
    let mut parts = Vec::new();
    let mut left = SAMPLES;
    for files in &sets {
        let limit = SAMPLES.div_ceil(sets.len()).min(left);
        let answers = answers(files, limit);
        left -= answers.sample.len();
        parts.push(Part::heading(files.name.clone()));
        parts.push(Part::Answers(answers));
    }
    if parts.is_empty() {
        parts.push(Part::missing(
            "This run generated no answers, so there is no SPMR and nothing to read here.",
        ));
    }
    Section::new("answers", "Answers", parts)
}

/// `limit`: prompts in the sample.
fn answers(files: &SetFiles, limit: usize) -> Answers {
    let [before, after] = &files.answers;
    let (leading, state) = if after.is_empty() { (before, BEFORE) } else { (after, AFTER) };
    let by_id = [before, after].map(|answers| -> HashMap<&str, &Answer> {
        answers.iter().map(|answer| (&*answer.id, answer)).collect()
    });
    let record = |answer: &Answer, letters| record(&files.name, answer, &by_id, letters);
    let full = [usize::MAX; 2];
    let sample = spaced(leading.len(), limit)
        .map(|place| (place, record(&leading[place], [PROMPT_LETTERS, ANSWER_LETTERS])));
    // The name of a file in the run folder, whatever that is called.
    let file = Paths::of("".as_ref()).generations(&files.name, state);
    Answers {
        set: files.name.clone(),
        noun: "prompts",
        total: leading.len(),
        file: file.display().to_string(),
        sample: sample.collect(),
        all: leading.iter().map(|answer| record(answer, full)).collect(),
    }
}

/// `limit` of `length` places, evenly spaced, so that nobody chose them.
pub(in crate::report::sections) fn spaced(
    length: usize,
    limit: usize,
) -> impl Iterator<Item = usize> {
    let count = limit.min(length);
    (0..count).map(move |i| i * length / count)
}

/// `states`: the answers before and after by id; `letters`: most characters of a prompt and of an answer.
fn record(
    set: &str,
    answer: &Answer,
    states: &[HashMap<&str, &Answer>; 2],
    [prompt_letters, answer_letters]: [usize; 2],
) -> Record {
    let shown = |text: &str, limit| shortened(text, limit).trim().to_owned();
    let mut entries = vec![
        ("prompt".to_owned(), shown(&answer.prompt, prompt_letters)),
        ("preferred answer".to_owned(), shown(&answer.reference, answer_letters)),
    ];
    for (state, answers) in [BEFORE, AFTER].into_iter().zip(states) {
        let Some(answer) = answers.get(&*answer.id) else { continue };
        let text = match answer.generation.trim() {
            "" => "(nothing)".to_owned(),
            text => shown(text, answer_letters),
        };
        entries.push((format!("{state}, cosine {:.3}", answer.cosine), text));
    }
    Record { title: format!("{set}, {}", answer.id), entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_over_the_whole_list() {
        let places = |length, limit| spaced(length, limit).collect::<Vec<_>>();
        assert_eq!(places(10, 3), [0, 3, 6]);
        assert_eq!(places(10, 20).len(), 10);
        assert!(places(0, 5).is_empty());
    }
}
