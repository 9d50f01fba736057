//! Sample answers, where the run generated any.

use crate::metrics::spmr::Answer;
use crate::report::folder::Run;
use crate::report::section::{Part, Record, Section};
use crate::report::set_files::SetFiles;
use crate::report::text::shortened;

/// Samples shown of a run.
const SAMPLES: usize = 20;

/// Characters shown of a prompt.
const PROMPT_LETTERS: usize = 500;

/// Characters shown of an answer.
const ANSWER_LETTERS: usize = 900;

/// Up to twenty prompts with the preferred answer and the model's before and after; a sentence where there are no answers.
pub fn section(run: &Run) -> Section {
    let sets = run.sets.iter().filter(|files| files.answers.iter().any(|all| !all.is_empty()));
    let sets: Vec<&SetFiles> = sets.collect();
    let mut parts = Vec::new();
    for files in &sets {
        let [before, after] = &files.answers;
        let leading = if after.is_empty() { before } else { after };
        let limit = SAMPLES.div_ceil(sets.len()).min(SAMPLES - parts.len());
        let samples = spaced(leading, limit).into_iter();
        parts.extend(samples.map(|answer| Part::Record(sample(files, answer))));
    }
    if parts.is_empty() {
        parts.push(Part::missing(
            "This run generated no answers, so there is no SPMR and nothing to read here.",
        ));
    }
    Section::new("answers", "Sample answers", parts)
}

/// `limit` of the answers, evenly spaced, so that nobody chose them.
fn spaced(answers: &[Answer], limit: usize) -> Vec<&Answer> {
    let count = limit.min(answers.len());
    (0..count).map(|i| &answers[i * answers.len() / count]).collect()
}

fn sample(files: &SetFiles, answer: &Answer) -> Record {
    let shown = |text: &str, limit| shortened(text, limit).trim().to_owned();
    let mut entries = vec![
        ("prompt".to_owned(), shown(&answer.prompt, PROMPT_LETTERS)),
        ("preferred answer".to_owned(), shown(&answer.reference, ANSWER_LETTERS)),
    ];
    for (state, answers) in ["before", "after"].into_iter().zip(&files.answers) {
        let Some(answer) = answers.iter().find(|one| one.id == answer.id) else { continue };
        let text = match answer.generation.trim() {
            "" => "(nothing)".to_owned(),
            text => shown(text, ANSWER_LETTERS),
        };
        entries.push((format!("{state}, cosine {:.3}", answer.cosine), text));
    }
    Record { title: format!("{}, {}", files.name, answer.id), entries }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn samples_are_spread_over_the_whole_list() {
        let answer = |id: usize| Answer {
            id: id.to_string(),
            user: None,
            source: "s".into(),
            groups: BTreeMap::new(),
            prompt: "p".into(),
            generation: "g".into(),
            reference: "r".into(),
            cosine: 0.5,
            cosine_with_prompt: 0.5,
            prompt_tokens: 1,
            generated_tokens: 1,
            ended: true,
        };
        let answers: Vec<Answer> = (0..10).map(answer).collect();
        let ids = |limit| spaced(&answers, limit).iter().map(|a| a.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(3), ["0", "3", "6"]);
        assert_eq!(ids(20).len(), 10);
        assert!(spaced(&[], 5).is_empty());
    }
}
