//! `report.html` and `report.md`: what is on them, in a parser and in a real browser, and what is refused.

pub(crate) mod axe;
pub(crate) mod browser;
mod content;
mod layout;
mod paa;

use std::process::Output;
use std::sync::OnceLock;

use mvpbench::config::SpmrSection;
use mvpbench::metrics::spmr::{Answer, LeftOut, write_answers};
use mvpbench::metrics::{Evaluation, Spmr};
use mvpbench::report::page;
use serde_json::{Value, json};

use crate::command::{Place, resealed};

/// Twelve people of four countries with three records each.
fn records() -> String {
    let record = |i: usize| {
        let person = i / 3;
        let chosen = ["Rain writes the street.", "A good answer, and a long one.", "Yes."];
        let rejected = ["No.", "Snow.", "Rain writes nothing at all in the end."];
        let countries = ["Chile", "Kenya", "Norway", "Atlantis"];
        json!({
            "id": format!("r{i}"),
            "question": format!("What about <{i}> & so on?"),
            "answer_w": chosen[i % 3],
            "answer_l": rejected[i % 3],
            "user_id": format!("u{person}"),
            "birth_country/region": countries[person % 4],
            "gender": if person.is_multiple_of(2) { "Female" } else { "Male" },
            "age": if person == 0 { "65+ years old" } else { "25-34 years old" },
            "stated_prefs": {"safety": if person < 6 { 90 } else { 10 }},
        })
        .to_string()
    };
    (0..36).map(|i| record(i) + "\n").collect()
}

/// Two runs that differ in their seed, made once; every test works on a copy.
fn runs() -> &'static Place {
    static RUNS: OnceLock<Place> = OnceLock::new();
    RUNS.get_or_init(|| {
        let place = Place::golden("tiny")
            .set("data.train", vec!["people.jsonl"])
            .set("train.learning_rate", 1e-3)
            .set("train.epochs", 2)
            .evaluate("MVP_test", "people.jsonl")
            .set("output.dir", "one");
        place.write("people.jsonl", records());
        place.succeed(&["--config", "config.toml"]);
        let more = ["--set", "train.seed=13", "--output", "two"];
        place.succeed(&[&["--config", "config.toml"], more.as_slice()].concat());
        place
    })
}

/// A place with copies of both runs.
fn place() -> Place {
    let place = Place::new();
    for run in ["one", "two"] {
        for name in [
            "config.toml",
            "train.jsonl",
            "summary.json",
            "report.md",
            "report.html",
            "eval/before.json",
            "eval/after.json",
            "eval/scores-MVP_test-before.jsonl",
            "eval/scores-MVP_test-after.jsonl",
        ] {
            let name = format!("{run}/{name}");
            place.write(&name, runs().bytes(&name));
        }
    }
    place
}

fn report(place: &Place, arguments: &[&str]) -> Output {
    place.mvpbench(&[&["report"], arguments].concat()).output().unwrap()
}

#[track_caller]
fn succeed(place: &Place, arguments: &[&str]) -> String {
    let output = report(place, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[track_caller]
fn assert_refused(place: &Place, arguments: &[&str], parts: &[&str]) {
    let output = report(place, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty());
    for part in parts {
        assert!(said.contains(part), "{arguments:?}: expected `{part}` in: {said}");
    }
}

/// The page's text without the style, and what must hold of every page checked.
#[track_caller]
pub(crate) fn text_of(html: &str) -> String {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let page = roxmltree::Document::parse_with_options(html, options).unwrap();
    let named = |name: &'static str| page.descendants().filter(move |node| node.has_tag_name(name));
    for tag in ["img", "iframe", "object", "base"] {
        assert_eq!(named(tag).count(), 0, "{tag}");
    }
    assert!(named("script").all(|script| script.attribute("src").is_none()));
    for node in page.descendants() {
        for attribute in node.attributes() {
            let value = attribute.value();
            assert!(!value.contains("//") && !value.contains("url("), "a request: {value}");
            let is_number = !value.starts_with("data:text/csv") && attribute.name() != "aria-label";
            let is_none = value.contains("NaN") || value.contains("inf");
            assert!(!is_number || !is_none, "no number: {value}");
        }
    }
    let style: String = named("style").filter_map(|style| style.text()).collect();
    assert!(!style.contains("url(") && !style.contains("@import"));
    for svg in named("svg").filter(|svg| svg.attribute("aria-hidden").is_none()) {
        assert!(svg.attribute("aria-label").is_some_and(|label| !label.is_empty()));
        assert!(svg.children().any(|child| child.has_tag_name("title")));
    }
    let ids: Vec<_> = page.descendants().filter_map(|node| node.attribute("id")).collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), distinct.len(), "{ids:?}");
    let body = named("body").next().unwrap();
    body.descendants().filter(|node| node.is_text()).filter_map(|node| node.text()).collect()
}

fn page(place: &Place, name: &str) -> String {
    String::from_utf8(place.bytes(name)).unwrap()
}

/// The figures of the set as a page prints them: OPA, accuracy before and after, and its change.
fn figures(place: &Place, run: &str) -> Vec<String> {
    let read = |state| {
        Evaluation::read(&place.path(&format!("{run}/eval/{state}.json"))).unwrap().sets[0].clone()
    };
    let (before, after) = (read("before"), read("after"));
    let print = |figure: mvpbench::metrics::Figure, sign: bool| {
        let number = |value: f64| {
            if sign {
                format!("{:+.2}", 100.0 * value + 0.0)
            } else {
                format!("{:.2}", 100.0 * value)
            }
        };
        let ends = [figure.low.unwrap(), figure.high.unwrap()].map(number);
        format!("{} [{}, {}]", number(figure.value), ends[0], ends[1])
    };
    vec![
        print(after.overall.opa, false),
        print(before.overall.preference_accuracy, false),
        print(after.overall.preference_accuracy, false),
        print(after.change.unwrap().overall.preference_accuracy, true),
    ]
}

#[test]
fn training_writes_the_pages_that_reporting_writes_again() {
    let place = place();
    let before = ["report.html", "report.md"].map(|name| place.bytes(&format!("one/{name}")));
    succeed(&place, &["one"]);
    for (name, before) in ["report.html", "report.md"].iter().zip(before) {
        assert!(place.bytes(&format!("one/{name}")) == before, "{name} is another");
    }
}

#[test]
fn every_number_is_on_the_page_and_the_page_is_well_formed() {
    let place = place();
    let text = text_of(&page(&place, "one/report.html"));
    for figure in figures(&place, "one") {
        assert!(text.contains(&figure), "{figure} is not on the page");
    }
    for part in [
        "Llama2-7b, paper",
        "99.60",
        "Log-probability of the answers",
        "OPA margin: how far tuning moved each pair",
        "agreement of one user's instances",
        "Latin America",
        "country: Chile (9)", // nine pairs are too few for a number
        "Groups with the lowest preference accuracy",
        "generated no answers",
        "Methods and provenance",
        "train --config config.toml",
        "people.jsonl, sha256 ",
        "cpu, ",
        "learning_rate = 0.001",
        "of the run",
    ] {
        assert!(text.contains(part), "`{part}` is not on the page");
    }
    let markdown = page(&place, "one/report.md");
    for part in
        ["## MVP_test: groups", "Consistency of opa", "| gender: Female | 18 | 6 |", "chance 50 %"]
    {
        assert!(markdown.contains(part), "`{part}` is not in\n{markdown}");
    }
}

#[test]
fn the_minimum_decides_which_groups_have_a_number() {
    let place = place();
    succeed(&place, &["one", "--minimum-n", "18", "--output", "eighteen"]);
    succeed(&place, &["one", "--minimum-n", "100", "--output", "hundred"]);
    let eighteen = page(&place, "eighteen/report.md");
    assert!(eighteen.contains("| gender: Female | 18 | 6 |"), "{eighteen}");
    // Three people of a country are too few, whatever the number of their pairs.
    succeed(&place, &["one", "--minimum-n", "9", "--output", "nine"]);
    assert!(!page(&place, "nine/report.md").contains("| country: Chile |"));
    let hundred = page(&place, "hundred/report.md");
    assert!(hundred.contains("Too few pairs") && !hundred.contains("| gender: "), "{hundred}");
    text_of(&page(&place, "hundred/report.html"));
}

/// Answers to every question before and after with the figures of SPMR, and figures of a step on the way.
fn add_answers(place: &Place) {
    let answer = |state: &str, i: usize, shift: f64| {
        let cosine = f64::from(u32::try_from(i).unwrap()) / 60.0 + shift;
        let gender = if i < 18 { "Female" } else { "Male" };
        Answer {
            id: format!("r{i}"),
            user: Some(format!("u{}", i / 3)),
            source: "people".into(),
            groups: [("gender".to_owned(), gender.to_owned())].into(),
            prompt: format!("prompt {i}"),
            generation: format!("{state} answer <b>{i}</b> & \u{1b}[31mred\u{0}"),
            reference: "a reference text".into(),
            cosine,
            cosine_with_prompt: 0.25,
            prompt_tokens: 3,
            generated_tokens: 5,
            ended: true,
        }
    };
    let settings = SpmrSection { embedder: "MiniLM".into(), ..SpmrSection::default() };
    let [before, after] = [("before", 0.0), ("after", 0.4)]
        .map(|(state, shift)| (0..36).map(|i| answer(state, i, shift)).collect::<Vec<_>>());
    for (state, answers) in [("before", &before), ("after", &after)] {
        let file = place.path(&format!("one/eval/{state}.json"));
        let mut evaluation = Evaluation::read(&file).unwrap();
        let mut spmr = Spmr::measure(answers, &settings, LeftOut::default()).unwrap();
        if state == "after" {
            spmr = spmr.with_change(&before, answers).unwrap();
        }
        evaluation.sets[0].spmr = Some(spmr);
        evaluation.write(&file).unwrap();
        let file = place.path(&format!("one/eval/generations-MVP_test-{state}.jsonl"));
        write_answers(&file, answers).unwrap();
    }
    place.write("one/eval/step-000004.json", place.bytes("one/eval/after.json"));
}

#[test]
fn answers_and_states_on_the_way_are_shown_where_they_are() {
    let place = place();
    add_answers(&place);
    assert_eq!(succeed(&place, &["one"]), "");
    let text = text_of(&page(&place, "one/report.html"));
    // Before, none of 0 .. 35 / 60 is above 0.8; after, those above 0.4: 25 .. 35.
    for part in [
        "SPMR is the share",
        "0.00 [0.00, 28.76] % before",
        "30.56 [",
        "after answer <b>0</b>",
        "MVP_test: SPMR",
        "spmr (%), prompt and answer",
        "gender: Male",
        "61.11 [",
    ] {
        assert!(text.contains(part), "`{part}` is not on the page");
    }
    assert_eq!(text.matches("a reference text").count(), 36);
    assert!(text.contains("3 states of the model"));
    let markdown = page(&place, "one/report.md");
    assert!(markdown.contains("| gender: Female | 18 | 6 | 0.00"), "{markdown}");

    // With fewer prompts than asked for, a group has no number.
    succeed(&place, &["one", "two", "--minimum-n", "100", "--output", "both"]);
    let both = page(&place, "both/report.md");
    assert!(!both.contains("| gender: Female | 18 |"), "{both}");
    assert!(both.contains("MVP_test SPMR before") && both.contains("26.60"), "{both}");

    // Answers that are not those of the figures, and lines that are none.
    let file = "one/eval/generations-MVP_test-after.jsonl";
    let lines = page(&place, file);
    place.write(file, lines.split_inclusive('\n').skip(1).collect::<String>());
    assert_refused(&place, &["one"], &["SPMR is of 36 answers, and the file of answers has 35"]);
    place.write(file, "{\"id\": 1}\n");
    assert_refused(&place, &["one"], &["generations-MVP_test-after.jsonl:1"]);
}

#[test]
fn runs_that_differ_in_the_seed_are_given_as_mean_and_deviation() {
    let place = place();
    succeed(&place, &["one", "two", "--output", "both"]);
    let (html, markdown) = (page(&place, "both/report.html"), page(&place, "both/report.md"));
    let text = text_of(&html);
    for page in [&text, &markdown] {
        assert!(page.contains("mean ± sd of 2 seeds: one, two"), "{page}");
        assert!(page.contains("train.seed"));
        for figure in [figures(&place, "one"), figures(&place, "two")].concat() {
            assert!(page.contains(&figure), "{figure} is not on the page");
        }
    }
    // Another configuration is no seed of the same.
    let other = page(&place, "two/config.toml").replace("rank = 16", "rank = 8");
    place.write("two/config.toml", other);
    succeed(&place, &["one", "two", "--output", "other"]);
    let text = text_of(&page(&place, "other/report.html"));
    assert!(!text.contains("mean ±") && text.contains("lora.rank"));
}

#[test]
fn runs_are_compared_pair_by_pair_and_never_on_other_pairs() {
    let place = place();
    succeed(&place, &["one", "two", "--output", "both"]);
    let both = page(&place, "both/report.md");
    for part in
        ["Runs against each other", "| one - two | MVP_test | preference_accuracy |", "| opa |"]
    {
        assert!(both.contains(part), "`{part}` is not in\n{both}");
    }
    // The second run's pairs 20 to 35 get other ids: 20 are left that both have.
    for state in ["before", "after"] {
        let file = format!("two/eval/scores-MVP_test-{state}.jsonl");
        let mut scores = page(&place, &file);
        (20..36).for_each(|i| scores = scores.replace(&format!("\"r{i}\""), &format!("\"x{i}\"")));
        let was = mvpbench::disk::digest::of_bytes(page(&place, &file).as_bytes());
        let scores = resealed(&scores);
        place.write(&file, &scores);
        for figures in ["two/eval/before.json", "two/eval/after.json"] {
            let now = mvpbench::disk::digest::of_bytes(scores.as_bytes());
            place.write(figures, resealed(&page(&place, figures).replace(&was, &now)));
        }
    }
    let said = succeed(&place, &["one", "two", "--output", "some"]);
    assert!(
        said.contains("warning: MVP_test is compared on the 20 pairs that all runs have"),
        "{said}"
    );
    let text = text_of(&page(&place, "some/report.html"));
    assert!(text.contains("20 pairs that all runs have (36 in one, 36 in two)"), "{text}");
    let said = succeed(&place, &["one", "two", "--minimum-n", "21", "--output", "none"]);
    assert!(said.contains("MVP_test is left out of the comparison"), "{said}");
    let none = page(&place, "none/report.md");
    let (comparison, _) = none.split_once("## Run one").unwrap();
    assert!(
        !comparison.contains("one - two") && !comparison.contains("MVP_test accuracy"),
        "{none}"
    );
}

#[test]
fn a_run_is_reported_from_whatever_is_there() {
    let place = place();
    std::fs::remove_file(place.path("one/summary.json")).unwrap();
    std::fs::remove_file(place.path("one/eval/scores-MVP_test-after.jsonl")).unwrap();
    std::fs::remove_file(place.path("one/eval/scores-MVP_test-before.jsonl")).unwrap();
    let log = page(&place, "one/train.jsonl");
    let but_the_second: Vec<_> =
        log.split_inclusive('\n').enumerate().filter(|(i, _)| *i != 1).map(|(_, it)| it).collect();
    place.write("one/train.jsonl", but_the_second.concat());
    let said = succeed(&place, &["one"]);
    for part in [
        "warning: `one/summary.json` is not there: the title",
        "warning: `one/eval/scores-MVP_test-before.jsonl` is not there",
        "warning: `one/eval/scores-MVP_test-after.jsonl` is not there",
        "warning: `one/train.jsonl` has no record of step 2;",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    let text = text_of(&page(&place, "one/report.html"));
    assert!(text.contains("The scores of the pairs are not in the run folder"));
    assert!(text.contains("Groups with the lowest")); // eval/after.json has them
    std::fs::remove_file(place.path("one/eval/after.json")).unwrap();
    let said = succeed(&place, &["one"]);
    assert!(said.contains("eval/after.json` is not there: every figure of a set is one before"));
    let text = text_of(&page(&place, "one/report.html"));
    assert!(text.contains("MVP_test: preference accuracy, untuned model"), "{text}");
    assert!(text.contains("eval/after.json is not there"), "{text}");
    std::fs::remove_dir_all(place.path("one/eval")).unwrap();
    succeed(&place, &["one"]);
    assert!(text_of(&page(&place, "one/report.html")).contains("This run was not evaluated."));
    place.write("two/train.jsonl", "");
    succeed(&place, &["two"]);
    let text = text_of(&page(&place, "two/report.html"));
    assert!(
        text.contains("no record of a training step") && text.contains(&figures(&place, "two")[0])
    );
}

#[test]
fn what_cannot_be_read_is_refused_or_counted() {
    let place = place();
    place.write("empty/notes.txt", "");
    assert_refused(&place, &["nowhere"], &["run folder `nowhere` is not there", "hint: "]);
    assert_refused(&place, &["empty"], &["`empty` is no run folder", "config.toml", "hint: "]);
    assert_refused(&place, &["one", "two"], &["2 runs", "hint: add `--output DIR`"]);
    assert_refused(&place, &["one", "--output", "one/config.toml"], &["is a file", "hint: "]);
    assert_refused(&place, &["one", "nowhere", "--output", "x"], &["nowhere"]);
    let twice = ["one", "two", "./two/", "--output", "x"];
    assert_refused(&place, &twice, &["`two` and `./two/` are the same folder", "hint: "]);
    let report = place.bytes("two/report.html");
    for runs in [&["one"][..], &["one", "two"]] {
        let arguments = [runs, &["--output", "two"]].concat();
        assert_refused(&place, &arguments, &["output folder `two` holds a run", "hint: its own"]);
    }
    assert!(place.bytes("two/report.html") == report);
    succeed(&place, &["one", "--output", "./one/"]);
    assert!(!place.path("x").exists());
    place.write("bare/config.toml", "[train]\nseed = 1\n");
    assert_refused(&place, &["bare"], &["`bare` has neither a step", "nothing to report"]);
    place.write("odd/config.toml", "[train\n");
    assert_refused(&place, &["odd"], &["odd/config.toml` is no TOML"]);

    // A wrong digit in a line of the log, in the summary and in the configuration is said, and not believed.
    let log = page(&place, "one/train.jsonl");
    place.write("one/train.jsonl", log.replacen("\"loss\":0.", "\"loss\":9.", 1));
    let summary = page(&place, "one/summary.json");
    place.write("one/summary.json", summary.replacen("\"steps\": ", "\"steps\": 7", 1));
    let config = page(&place, "one/config.toml");
    place.write("one/config.toml", config.replacen("# inputs: sha256 ", "# inputs: sha256 0", 1));
    let said = succeed(&place, &["one"]);
    for part in [
        "1 line is no record of a step and left out: line 1",
        "one/summary.json` is not the summary of a run: its digest does not match; it is left out",
        "one/config.toml` was changed after it was written",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    place.write("one/summary.json", summary);
    place.write("one/config.toml", config);

    place.write("one/train.jsonl", format!("{log}half a li\n"));
    let steps = log.lines().count();
    let said = succeed(&place, &["one"]);
    let note = format!("1 line is no record of a step and left out: line {}", steps + 1);
    assert!(said.contains("warning: ") && said.contains(&note), "{said}");
    assert!(page(&place, "one/report.html").contains("no record of a step and left out"));

    let scores = "one/eval/scores-MVP_test-after.jsonl";
    let good = page(&place, scores);
    let missing = good.replacen("\"policy_chosen_logps\"", "\"policy\"", 1);
    place.write(scores, &missing);
    assert_refused(
        &place,
        &["one"],
        &["scores-MVP_test-after.jsonl:1", "its digest does not match"],
    );
    place.write(scores, resealed(&missing));
    assert_refused(&place, &["one"], &["scores-MVP_test-after.jsonl:1", "policy_chosen_logps"]);
    place.write(scores, good.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>());
    assert_refused(&place, &["one"], &["`MVP_test`: its figures are of 36 pairs", "has 35"]);
    place.write(scores, resealed(&good.replacen("\"id\":\"r0\"", "\"id\":\"x\"", 1)));
    assert_refused(&place, &["one"], &["`r0` was scored before and `x` after"]);
    // Whole lines, but not those that the figures were computed from.
    place.write(scores, resealed(&good.replacen("\"chosen_tokens\":", "\"chosen_tokens\":1", 1)));
    assert_refused(&place, &["one"], &["-after.jsonl` is not the file that the figures", "hint: "]);
    place.write(scores, good);
    place.write("one/eval/after.json", "{}");
    assert_refused(&place, &["one"], &["eval/after.json` is not an evaluation"]);
}

/// A name that is markup in HTML and in Markdown, as JSON.
const ODD: &str = "\"<i>&amp; *a*|`b`\"";

#[test]
fn names_that_are_markup_stay_text() {
    let place = place();
    for name in ["eval/before.json", "eval/after.json"] {
        let odd = page(&place, &format!("one/{name}")).replace("\"MVP_test\"", ODD);
        place.write(&format!("one/{name}"), resealed(&odd));
    }
    let written = page::write(&[place.path("one")], &place.path("out"), None).unwrap();
    assert_eq!(written.files.len(), 2);
    let text = text_of(&page(&place, "out/report.html"));
    assert!(text.contains("<i>&amp; *a*|`b`: figures"), "{text}");
    let markdown = page(&place, "out/report.md");
    for part in [
        "## \\<i>\\&amp; \\*a\\*\\|\\`b\\`: figures\n",
        "| base model | tuned | \\<i>\\&amp; \\*a\\*\\|\\`b\\` |\n|---|---|---|\n",
    ] {
        assert!(markdown.contains(part), "{markdown}");
    }
    let after: Value = serde_json::from_slice(&place.bytes("one/eval/after.json")).unwrap();
    assert_eq!(after["sets"][0]["name"], "<i>&amp; *a*|`b`");
}
