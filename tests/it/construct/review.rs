//! `mvpbench data review`: samples, marks, agreement, exclusions, a model's opinion.

use mvpbench::construct::quality::exclusions;
use serde_json::{Value, json};

use super::benchmark::{assert_refused, benchmark, record, run, succeed, write};
use crate::chat::server::{Act, FakeChat};
use crate::command::{Place, resealed};
use crate::running::Running;

/// A benchmark with a drawn sample of twelve.
fn place() -> Place {
    let place = Place::new();
    benchmark(&place, 20);
    succeed(&place, &["review", "sample", "MVP", "--n", "12", "--seed", "7"]);
    place
}

fn text(place: &Place, name: &str) -> String {
    String::from_utf8(place.bytes(name)).unwrap()
}

fn sample(place: &Place) -> Value {
    sample_of(place, "MVP")
}

fn sample_of(place: &Place, folder: &str) -> Value {
    serde_json::from_slice(&place.bytes(&format!("{folder}/quality/sample-7/sample.json"))).unwrap()
}

/// The id of a record of a sample.
fn id(sample: &Value, at: usize) -> String {
    sample["records"][at]["id"].as_str().unwrap().to_owned()
}

/// Marks of `reviewer` on the records of the sample: yes, no or nothing for each criterion, by the record's place.
fn marks(place: &Place, reviewer: &str, of: impl Fn(usize) -> [&'static str; 3]) -> String {
    marks_of(&sample(place), reviewer, of)
}

fn marks_of(sample: &Value, reviewer: &str, of: impl Fn(usize) -> [&'static str; 3]) -> String {
    let mut text = "sample,id,sha256,fits,distinct,natural,comment,reviewer\r\n".to_owned();
    for (at, one) in sample["records"].as_array().unwrap().iter().enumerate() {
        let [fits, distinct, natural] = of(at);
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        text += &format!(
            "{},{},{},{fits},{distinct},{natural},,{reviewer}\r\n",
            word(&sample["sample"]),
            word(&one["id"]),
            word(&one["sha256"])
        );
    }
    text
}

/// Every file below `quality` with its bytes.
fn quality(place: &Place) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for folder in ["MVP/quality", "MVP/quality/sample-7"] {
        for entry in std::fs::read_dir(place.path(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_sample_is_drawn_once_and_a_table_that_was_filled_in_stays() {
    let place = place();
    let before = quality(&place);
    let command = ["review", "sample", "MVP", "--n", "12", "--seed", "7"];
    let said = succeed(&place, &command);
    assert!(said.contains("drawn:  12 records of 60; sample "), "{said}");
    assert!(quality(&place) == before);
    let table = text(&place, "MVP/quality/sample-7/sample.csv");
    assert!(table.starts_with("\u{feff}sample,id,sha256,for,question,"), "{table}");
    assert!(table.contains("self_description: =I am 'me'\""), "{table}");
    let filled = table.replacen(",,,,\r\n", "yes,yes,yes,,anna\r\n", 1);
    place.write("MVP/quality/sample-7/sample.csv", &filled);
    succeed(&place, &command);
    assert_eq!(text(&place, "MVP/quality/sample-7/sample.csv"), filled);
    for other in [["--n", "13"], ["--reviewers", "3"], ["--by", "country"]] {
        let parts = ["`MVP/quality/sample-7` already holds another sample", "hint: "];
        assert_refused(&place, &[&command[..3], &other, &command[5..]].concat(), &parts);
    }
    for (option, value) in
        [("--n", "0"), ("--reviewers", "0"), ("--overlap", "1.5"), ("--overlap", "-1")]
    {
        assert_refused(
            &place,
            &["review", "sample", "MVP", "--seed", "8", option, value],
            &[option],
        );
    }
    let all = succeed(&place, &["review", "sample", "MVP", "--seed", "8", "--overlap", "0.5"]);
    assert!(all.contains("60 records of 60, all there are"), "{all}");
    assert!(all.contains("30 by every reviewer, 30 by one of 2"), "{all}");
}

#[test]
fn ids_that_are_missing_or_stand_twice_cannot_be_reviewed() {
    let place = Place::new();
    let mut all: Vec<Value> = (0..6).map(record).collect();
    all[4]["id"] = json!("p1");
    write(&place, "MVP/MVPBench.json", &all);
    let command = ["review", "sample", "MVP"];
    assert_refused(&place, &command, &["MVP/MVPBench.json:6: a second record has the id `p1`"]);
    all[4].as_object_mut().unwrap().remove("id");
    write(&place, "MVP/MVPBench.json", &all);
    assert_refused(&place, &command, &["MVP/MVPBench.json:6: the record has no `id`"]);
    assert_refused(&place, &["review", "sample", "MVP/MVPBench.json"], &["is no folder"]);
    assert_refused(&place, &["review", "import", "MVP", "a.csv"], &["no `id`"]);
}

#[test]
fn marks_become_shares_agreement_beside_chance_and_a_list_to_leave_out() {
    let place = place();
    // Both yes 5 times, both no 3, apart 2 and 2: same 8 of 12, by chance one half, kappa 1/3.
    let first = marks(&place, "Anna", |at| [["yes", "no"][usize::from(at >= 7)], "yes", "yes"]);
    let second = marks(&place, "=Bo", |at| {
        [["yes", "no"][usize::from(!(2..9).contains(&at))], "yes", if at == 11 { "no" } else { "" }]
    });
    place.write("a.csv", first);
    place.write("b.csv", second.replace(",=Bo", ",'=Bo"));
    let said = succeed(&place, &["review", "import", "MVP", "a.csv", "b.csv"]);
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "imported: 24 records new, 0 there already, 0 replaced; 0 rows without a mark",
        "24 marks of 12 records by 2 reviewers.",
        "majority of people",
        "66.67",
        "0.314",
        "Records on which people disagree",
    ] {
        assert!(flat.contains(part), "`{part}` is not in\n{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    assert!(said.contains("=Bo, Anna"), "{said}");

    let list = succeed(&place, &["review", "exclude", "MVP"]);
    let excluded = exclusions::read(&place.path("MVP/quality/exclude.jsonl")).unwrap();
    // Both say no of the last three; ties stay.
    let ids = sample(&place)["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect::<Vec<_>>();
    let mut expected = ids[9..].to_vec();
    expected.sort();
    assert_eq!(excluded.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), expected);
    assert!(
        excluded[0].why.starts_with("2 of 2: the preferred answer does not fit"),
        "{excluded:?}"
    );
    assert!(list.contains("rejected: 3 records of 12 marked by people"), "{list}");

    let before = quality(&place);
    let again = succeed(&place, &["review", "import", "MVP", "b.csv", "a.csv"]);
    assert!(again.contains("0 records new, 24 there already"), "{again}");
    succeed(&place, &["review", "exclude", "MVP"]);
    assert!(quality(&place) == before);
    assert!(succeed(&place, &["review", "import", "MVP"]).contains("24 marks of 12 records"));

    let changed = text(&place, "a.csv").replacen(",yes,yes,yes,", ",no,yes,yes,", 1);
    place.write("c.csv", changed);
    let parts = ["c.csv:2: `Anna` has marked the record", "--replace"];
    assert_refused(&place, &["review", "import", "MVP", "c.csv"], &parts);
    assert!(quality(&place) == before);
    let replaced = succeed(&place, &["review", "import", "MVP", "c.csv", "--replace"]);
    assert!(replaced.contains("0 records new, 11 there already, 1 replaced"), "{replaced}");
}

#[test]
fn a_table_filled_in_by_a_spreadsheet_is_read() {
    let place = place();
    let table = text(&place, "MVP/quality/sample-7/sample.csv");
    // A spreadsheet's line breaks, and its capitals.
    let filled = table
        .replacen(",,,,\r\n", ",YES,No,,\"a, \"\"b\"\"\",Anna\r\n", 1)
        .replace(",,YES", ",YES");
    place.write("filled.csv", &filled);
    let said = succeed(&place, &["review", "import", "MVP", "filled.csv"]);
    assert!(said.contains("1 record new, 0 there already, 0 replaced; 11 rows without"), "{said}");
    assert!(said.contains("a, \"b\""), "{said}");
    assert!(said.contains("One reviewer: agreement needs the marks of a second one."), "{said}");
}

#[test]
fn damaged_marks_and_marks_of_something_else_are_refused_by_file_and_line() {
    let place = place();
    let good = marks(&place, "Anna", |_| ["yes", "yes", "no"]);
    let sample = sample(&place);
    let (name, id) =
        (sample["sample"].as_str().unwrap(), sample["records"][0]["id"].as_str().unwrap());
    let digest = sample["records"][0]["sha256"].as_str().unwrap();
    let cut = &good[..good.len() / 2];
    for (changed, part) in [
        (
            good.replacen(name, "0123456789abcdef", 1),
            "a.csv:2: the marks are of the sample `0123456789abcdef`, which was not drawn",
        ),
        (good.replacen(digest, &"0".repeat(64), 1), "are of other texts: digest 0000"),
        (good.replacen(id, "p9999", 1), "has no record `p9999`"),
        (
            good.replacen(",yes,", ",maybe,", 1),
            "a.csv:2: `fits` must be yes, no or empty, got `maybe`",
        ),
        (good.replacen(",Anna", ",", 1), "a.csv:2: the reviewer has no name"),
        (good.replacen(",Anna", ",judge: gpt", 1), "kept for those"),
        (good.replacen(",Anna", ",Anna,more", 1), "a.csv:2: 9 fields, expected 8"),
        (good.replacen("comment", "colour", 1), "a.csv:1: unknown column `colour`"),
        (good.replacen("comment", "fits", 1), "a.csv:1: a second column `fits`"),
        (good.replacen("natural,", "", 1), "a.csv:1: no column `natural`"),
        (good.replace(',', ";"), "not separated by commas"),
        (good.replacen(",yes,", ",\"yes,", 1), "a.csv:2: a quote is opened and never closed"),
        (String::new(), "a.csv: the file is empty"),
        (
            good.clone() + good.lines().nth(1).unwrap().replacen("yes", "no", 1).as_str(),
            "in another way than at a.csv:2",
        ),
        (format!("{cut}\u{0}"), "a.csv:"),
    ] {
        place.write("a.csv", &changed);
        assert_refused(&place, &["review", "import", "MVP", "a.csv"], &[part]);
        assert!(!place.path("MVP/quality/marks.jsonl").exists(), "{part}");
    }
    place.write("a.csv", b"\xff\xfe");
    assert_refused(&place, &["review", "import", "MVP", "a.csv"], &["a.csv: expected UTF-8 text"]);
    assert_refused(&place, &["review", "import", "MVP", "none.csv"], &["none.csv", "no such file"]);
    assert_refused(&place, &["review", "exclude", "MVP"], &["`MVP` has no marks"]);
    place.write("a.csv", &good);
    succeed(&place, &["review", "import", "MVP", "a.csv"]);

    let kept = text(&place, "MVP/quality/marks.jsonl");
    place.write("MVP/quality/marks.jsonl", kept.replacen("true", "false", 1));
    for command in [&["review", "import", "MVP", "a.csv"][..], &["review", "exclude", "MVP"]] {
        assert_refused(&place, command, &["marks.jsonl:1: ", "its digest does not match"]);
    }
    place.write(
        "MVP/quality/marks.jsonl",
        resealed(&kept.replacen("\"reviewer\":\"Anna\"", "\"reviewer\":\"\"", 1)),
    );
    assert_refused(&place, &["review", "exclude", "MVP"], &["without an id or a reviewer"]);
    place.write("MVP/quality/marks.jsonl", kept);
    place.write("MVP/quality/sample-7/sample.json", "{}");
    assert_refused(&place, &["review", "import", "MVP", "a.csv"], &["sample.json: not a sample"]);
}

#[test]
fn marks_of_an_earlier_build_are_refused_and_its_exclusions_stay() {
    let place = place();
    let no = |rejected: usize| {
        move |at: usize| if at == rejected { ["no", "yes", "yes"] } else { ["yes"; 3] }
    };
    place.write("a.csv", marks(&place, "Anna", no(0)));
    succeed(&place, &["review", "import", "MVP", "a.csv"]);
    succeed(&place, &["review", "exclude", "MVP"]);
    let first = id(&sample(&place), 0);
    // The next build, in a folder of its own, has left the rejected record out.
    let all: Vec<Value> = (0..60).map(record).filter(|one| one["id"] != json!(first)).collect();
    write(&place, "MVP-2/MVPBench.json", &all);
    succeed(&place, &["review", "sample", "MVP-2", "--n", "12", "--seed", "7"]);
    let parts = ["a.csv:2", "which was not drawn from this benchmark"];
    assert_refused(&place, &["review", "import", "MVP-2", "a.csv"], &parts);
    let next = sample_of(&place, "MVP-2");
    place.write("b.csv", marks_of(&next, "Anna", no(1)));
    succeed(&place, &["review", "import", "MVP-2", "b.csv"]);
    let list = succeed(&place, &["review", "exclude", "MVP-2"]);
    assert!(list.contains("rejected: 1 record of 12"), "{list}");
    // Its own list does not have the first record, the earlier one still does: a build is given both.
    let ids = |folder: &str| -> Vec<String> {
        let path = place.path(&format!("{folder}/quality/exclude.jsonl"));
        exclusions::read(&path).unwrap().into_iter().map(|one| one.id).collect()
    };
    assert_eq!((ids("MVP"), ids("MVP-2")), (vec![first], vec![id(&next, 1)]));
}

#[test]
fn models_of_one_name_at_two_endpoints_are_two_reviewers() {
    let place = place();
    let says = |word: &'static str| {
        FakeChat::serve(move |_, _| {
            Act::Say(match word {
                "yes" => r#"{"fits": true, "distinct": true, "natural": true, "reason": ""}"#,
                _ => r#"{"fits": false, "distinct": false, "natural": false, "reason": ""}"#,
            })
        })
    };
    let servers = ["yes", "no"].map(says);
    let judge = |server: &FakeChat| {
        let to = ["--endpoint", &*server.base, "--chat-model", "m"];
        succeed(&place, &[&["review", "judge", "MVP"], &to[..]].concat())
    };
    let said: Vec<_> = servers.iter().map(judge).collect();
    let said = &said[1];
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("24 marks of 12 records by 0 reviewers and 2 models"), "{said}");
    let kept = text(&place, "MVP/quality/marks.jsonl");
    for server in &servers {
        let reviewer = format!("\"reviewer\":\"judge: m at {}\"", server.base);
        assert_eq!(kept.matches(&reviewer).count(), 12, "{kept}");
    }
}

#[test]
fn marks_of_a_record_that_was_changed_in_place_are_refused() {
    let place = place();
    place.write(
        "a.csv",
        marks(&place, "Anna", |at| [["yes", "no"][usize::from(at == 0)], "yes", "yes"]),
    );
    succeed(&place, &["review", "import", "MVP", "a.csv"]);
    // The next build has left the rejected record out and changed another.
    let ids: Vec<String> = sample(&place)["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    let mut all: Vec<Value> =
        (0..60).map(record).filter(|one| one["id"] != json!(ids[0])).collect();
    all.iter_mut()
        .filter(|one| one["id"] == json!(ids[1]))
        .for_each(|one| one["answer_l"] = json!("Yes."));
    for name in ["manifest.json", "train.json", "validation.json", "test.json"] {
        std::fs::remove_file(place.path(&format!("MVP/{name}"))).unwrap();
    }
    write(&place, "MVP/MVPBench.json", &all);
    let list = succeed(&place, &["review", "exclude", "MVP"]);
    assert!(list.contains(&format!("{} (not in this build): 1 of 1", ids[0])), "{list}");
    // The same marks again are there already; new ones of records that changed are refused.
    succeed(&place, &["review", "import", "MVP", "a.csv"]);
    place.write("b.csv", marks(&place, "Bo", |at| if at == 1 { ["yes"; 3] } else { [""; 3] }));
    let parts = ["b.csv:3", &format!("record `{}` of the sample", ids[1]), "was made again since"];
    assert_refused(&place, &["review", "import", "MVP", "b.csv"], &parts);
    let again = ["review", "sample", "MVP", "--n", "12", "--seed", "7"];
    assert_refused(&place, &again, &["already holds another sample"]);
}

#[test]
fn a_model_is_one_more_reviewer_without_a_vote_and_is_asked_once() {
    let place = place();
    place.write("a.csv", marks(&place, "Anna", |_| ["yes", "yes", "yes"]));
    place.write("b.csv", marks(&place, "Bo", |at| [["yes", "no"][at % 2], "yes", "yes"]));
    succeed(&place, &["review", "import", "MVP", "a.csv", "b.csv"]);
    let odd = sample(&place)["records"][3]["id"].as_str().unwrap().to_owned();
    let question = format!("What about <{}>", &odd[1..]);
    let server = FakeChat::serve(move |text, _| {
        if text.contains(&question) {
            Act::Say("I cannot say.")
        } else {
            Act::Say(r#"{"fits": false, "distinct": false, "natural": false, "reason": "No."}"#)
        }
    });
    let command = ["review", "judge", "MVP", "--endpoint", &server.base, "--chat-model", "m/1"];
    let dry = succeed(&place, &[&command[..], &["--dry-run"]].concat());
    assert!(dry.contains("requests: 12 to send"), "{dry}");
    let output = run(&place, &command);
    let [said, warned] = [output.stdout, output.stderr].map(|all| String::from_utf8(all).unwrap());
    assert!(output.status.success(), "{warned}");
    assert!(
        warned.contains(&format!("record `{odd}` has no verdict: no verdict in the reply")),
        "{warned}"
    );
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "judged: 11 records by m/1, 1 without a verdict",
        "by 2 reviewers and 1 model, which has no vote",
        "Anna, judge: m/1 at http",
        "3 people and models",
        "majority of people 100.00",
    ] {
        assert!(flat.contains(part), "`{part}` is not in\n{said}");
    }
    let asked = server.tries();
    assert_eq!(asked.len(), 12);
    let message = asked.keys().next().unwrap();
    for part in [
        "Preferences: ",
        "Preferred answer:\n",
        "- natural: Is the question",
        "Profile: age: 25-34",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let list = succeed(&place, &["review", "exclude", "MVP"]);
    assert!(list.contains("rejected: 0 records of 12"), "{list}");
    let before = quality(&place);
    succeed(&place, &command);
    assert!(server.tries().values().all(|tries| *tries == 1));
    assert!(quality(&place) == before);
    assert_refused(
        &place,
        &[&command[..], &["--seed", "9"]].concat(),
        &["no sample has the seed `9`", "7"],
    );
}

#[test]
fn a_sample_and_an_import_that_were_killed_end_as_if_they_had_not_been() {
    let whole = place();
    let marked = marks(&whole, "Anna", |_| ["yes", "no", "yes"]);
    whole.write("a.csv", &marked);
    succeed(&whole, &["review", "import", "MVP", "a.csv"]);
    let commands = [
        &["data", "review", "sample", "MVP", "--n", "12", "--seed", "7"][..],
        &["data", "review", "import", "MVP", "a.csv"],
    ];
    let strip = |all: Vec<(String, Vec<u8>)>| -> Vec<(String, Vec<u8>)> {
        all.into_iter()
            .map(|(name, bytes)| (name.rsplit_once("/MVP/").unwrap().1.to_owned(), bytes))
            .collect()
    };
    let expected = strip(quality(&whole));
    for step in 0..8_u64 {
        let place = Place::new();
        benchmark(&place, 20);
        place.write("a.csv", &marked);
        for command in commands {
            let mut killed = place.mvpbench(command);
            let running = Running::start(
                killed.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()),
            );
            std::thread::sleep(std::time::Duration::from_millis(3 * step));
            running.kill();
            succeed(&place, &command[1..]);
        }
        assert!(strip(quality(&place)) == expected, "killed after {} ms", 3 * step);
    }
}
