//! The answers to fixed prompts: the base model's beside the policy's after each step that was evaluated.

use crate::report::folder::Run;
use crate::report::section::{Answers, Part, Record, Section};
use crate::report::sections::answers::spaced;
use crate::report::text::{Text, shortened};
use crate::run_folder::paths::Paths;
use crate::run_folder::samples::{SampleRecord, base, states};

/// Most trained states of a prompt: the first, the last, and some between.
const STATES: usize = 6;

/// Prompts in print and in Markdown.
const PROMPTS: usize = 10;

/// Characters of a prompt or an answer, on the page and in its sample.
const LETTERS: [usize; 2] = [4000, 900];

/// A record for each prompt; empty for a run without answers.
pub fn section(run: &Run) -> Section {
    let base = base(&run.samples);
    let trained: Vec<&[SampleRecord]> =
        states(&run.samples).filter(|state| !state[0].is_base()).collect();
    if base.is_empty() {
        return Section::default();
    }
    let shown = chosen(&trained);
    let record = |asked: &SampleRecord, letters: usize| {
        let text = |text: &str| match text.trim() {
            "" => "(nothing)".to_owned(),
            text => shortened(text, letters),
        };
        let answer = |name: String, record: &SampleRecord| {
            (format!("{name}, {} tokens", record.generated_tokens), text(&record.answer))
        };
        let mut entries = vec![("prompt".to_owned(), text(&asked.prompt))];
        entries.push(answer("base model".to_owned(), asked));
        for state in &shown {
            if let Some(one) = state.iter().find(|one| one.row == asked.row) {
                entries.push(answer(format!("after step {}", one.step), one));
            }
        }
        Record { title: asked.id.clone(), entries }
    };
    let [long, short] = LETTERS;
    let answers = Answers {
        set: "samples".to_owned(),
        noun: "prompts",
        file: Paths::of("".as_ref()).samples().display().to_string(),
        total: base.len(),
        all: base.iter().map(|asked| record(asked, long)).collect(),
        sample: spaced(base.len(), PROMPTS)
            .map(|place| (place, record(&base[place], short)))
            .collect(),
    };
    let mut note = format!(
        "Greedy answers to {} fixed prompts (`eval.samples`): the base model's first, then the policy's after each evaluation.",
        base.len()
    );
    if shown.len() < trained.len() {
        note +=
            &format!(" {} of {} evaluations are shown, evenly spaced.", shown.len(), trained.len());
    }
    Section::new(
        "samples",
        "Answers to fixed prompts",
        vec![Part::note(Text::marked(&note)), Part::Answers(answers)],
    )
}

/// At most [`STATES`] of `trained`, evenly spaced, the last one among them.
fn chosen<'a>(trained: &[&'a [SampleRecord]]) -> Vec<&'a [SampleRecord]> {
    let Some(last) = trained.len().checked_sub(1) else { return Vec::new() };
    let count = trained.len().min(STATES);
    (0..count).map(|i| trained[if count == 1 { last } else { i * last / (count - 1) }]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::section::Page;
    use crate::report::{html, markdown};
    use crate::run_folder::samples::state_of;

    fn page(samples: Vec<SampleRecord>) -> Page {
        let mut run = crate::report::folder::sample::run();
        run.samples = samples;
        Page { sections: vec![section(&run)], ..Page::default() }
    }

    #[test]
    fn base_and_policy_stand_together_escaped_and_a_long_answer_is_cut() {
        let long = "word ".repeat(2000);
        let page = page(
            [
                state_of(0, None, &["<script>alert(1)</script>", ""]),
                state_of(5, Some("a"), &["`*bold*`", &long]),
            ]
            .concat(),
        );
        let text = html::page(&page);
        assert!(!text.contains("<script>alert") && text.contains("&lt;script&gt;alert"), "{text}");
        assert!(text.contains("base model, 25 tokens") && text.contains("after step 5, 8 tokens"));
        assert!(text.contains("(nothing)") && text.contains("(9,999 characters in all)"), "{text}");
        let markdown = markdown::page(&page);
        assert!(markdown.contains("eval/samples.jsonl") && markdown.contains("after step 5"));
        assert!(markdown.len() < 4000, "{}", markdown.len());
    }

    #[test]
    fn of_many_steps_the_first_the_last_and_some_between_are_shown() {
        let all: Vec<Vec<SampleRecord>> =
            (1..=20).map(|step| state_of(step, Some("a"), &["x"])).collect();
        let all: Vec<&[SampleRecord]> = all.iter().map(|state| &**state).collect();
        let steps = |n: usize| chosen(&all[..n]).iter().map(|s| s[0].step).collect::<Vec<_>>();
        assert_eq!(steps(20), [1, 4, 8, 12, 16, 20]);
        assert_eq!(steps(3), [1, 2, 3]);
        assert_eq!((steps(1), steps(0)), (vec![1], vec![]));
        let many = (1..=20).flat_map(|step| state_of(step, Some("a"), &["x"]));
        let page = page(state_of(0, None, &["b"]).into_iter().chain(many).collect());
        assert!(markdown::page(&page).contains("6 of 20 evaluations are shown"));
        assert!(self::page(vec![]).sections[0].is_empty());
    }
}
