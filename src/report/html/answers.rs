//! Every answer of a set or verdict of a model, which the page's script shows a page at a time.

use crate::console::units;
use crate::report::html::words::entries;
use crate::report::markup::{escape, script_json};
use crate::report::section::Answers;

/// Most records that stand in the page as elements; more stand there as JSON, which a browser opens faster.
const MOST_ELEMENTS: usize = 500;

/// Records of a page, as `answers.js` has it too.
const PAGE: usize = 20;

/// The answers of a set in a section of rank `rank`.
pub(super) fn element(answers: &Answers, rank: usize) -> String {
    let (noun, shown) = (answers.noun, answers.sample.len());
    let count = units::count(answers.all.len());
    let every = match answers.total == answers.all.len() {
        true => format!("All {count} {noun}"),
        false => format!("{count} of {} {noun}, evenly spaced,", units::count(answers.total)),
    };
    let set = escape(&answers.set);
    let (sentence, samples, data) = if answers.all.len() > MOST_ELEMENTS {
        let data = json(answers);
        let size = data.len() as f64 / 1e6;
        let sentence = format!(
            "{every} are in this page, as {size:.1} MB of JSON that its script shows {PAGE} a page. In print and without \
             scripts {shown} of them stand here, evenly spaced."
        );
        let samples = answers.sample.iter();
        let samples: String =
            samples.map(|(_, record)| entries(record, rank, "sample sampled")).collect();
        let data = format!("<script type=\"application/json\">{data}</script>\n");
        (sentence, samples, data)
    } else {
        let is_sampled = |place: usize| answers.sample.iter().any(|(one, _)| *one == place);
        let class = |place| if is_sampled(place) { "sample sampled" } else { "sample" };
        let all = answers.all.iter().enumerate();
        let all: String = all.map(|(place, record)| entries(record, rank, class(place))).collect();
        let sentence = match answers.all.len() {
            all if all == shown => format!("{}.", every.trim_end_matches(',')),
            _ => format!(
                "{}, {PAGE} a page where scripts run. In print {shown} of them, evenly spaced.",
                every.trim_end_matches(',')
            ),
        };
        (sentence, all, String::new())
    };
    format!(
        "<div class=\"answers\" data-set=\"{set}\" data-noun=\"{noun}\" data-rank=\"{}\">\n<p class=\"note\">{sentence} The run folder has them in <code>{}</code>.</p>\n\
         <div class=\"list\">\n{samples}</div>\n{data}</div>\n",
        (rank + 1).min(6),
        escape(&answers.file)
    )
}

/// Title and entries of every record.
fn json(answers: &Answers) -> String {
    let all: Vec<_> = answers
        .all
        .iter()
        .map(|record| serde_json::json!([record.title, record.entries]))
        .collect();
    script_json(&serde_json::Value::from(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::section::Record;

    fn answers(count: usize) -> Answers {
        let record = |place: usize| Record {
            title: format!("S, {place}"),
            entries: vec![("prompt".into(), "</script><b>&\u{1b}".into())],
        };
        Answers {
            set: "S".into(),
            noun: "prompts",
            file: "eval/generations-S-after.jsonl".into(),
            total: count,
            all: (0..count).map(record).collect(),
            sample: vec![(0, record(0)), (count / 2, record(count / 2))],
        }
    }

    #[test]
    fn all_answers_are_in_the_page_and_many_are_json_that_ends_no_element() {
        let few = element(&answers(30), 2);
        assert_eq!((few.matches("<dt>").count(), few.matches("sample sampled").count()), (30, 2));
        assert!(few.contains("All 30 prompts, 20 a page") && !few.contains("<script"), "{few}");
        let many = element(&answers(501), 2);
        assert_eq!(many.matches("<dt>").count(), 2);
        let (_, rest) = many.split_once("<script type=\"application/json\">").unwrap();
        let (data, _) = rest.split_once("</script>").unwrap();
        assert!(!data.contains(['<', '>', '&', '\u{1b}']), "{data}");
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data.as_array().unwrap().len(), 501);
        assert_eq!(data[500][1][0][1], "</script><b>&\u{1b}");
        assert!(many.contains("All 501 prompts are in this page, as 0.0 MB of JSON"), "{many}");
    }
}
