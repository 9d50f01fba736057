//! Layouts of preference files as a user meets them: what is recognised and said, pinned, named by columns, split and generated from.

use serde_json::{Value, json};

use super::verbs::{assert_refused, succeed};
use crate::command::{Place, records};
use crate::golden::pairs;

/// Labels of PKU-SafeRLHF, which have two layouts.
fn safe() -> String {
    let record = |id: usize| {
        json!({"id": id, "user_id": format!("u{id}"), "prompt": "Name a tree.", "response_0": "An otter.", "response_1": "An oak.",
            "better_response_id": 1, "safer_response_id": 0})
    };
    (0..8).map(|id| record(id).to_string() + "\n").collect()
}

/// What a command says, results and messages.
#[track_caller]
fn said(place: &Place, arguments: &[&str]) -> String {
    let output = place.mvpbench(arguments).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

const INSPECT: [&str; 4] = ["data", "inspect", "--config", "config.toml"];

#[test]
fn what_is_recognised_is_said_with_the_first_pair_of_each_layout() {
    let place = Place::golden("tiny").evaluate("held-out", pairs());
    let orca = json!({"system": "Be brief.", "question": "2+2?", "chosen": "4", "rejected": "5"});
    let hh = json!({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: No."});
    let other = json!({"question": "Sky?", "chosen": "Blue.", "rejected": "Red.", "score": 1});
    place.write("mixed.jsonl", format!("{orca}\n{hh}\n{other}\n"));
    let mixed = [&INSPECT[..], &["--rows", "3", "--set", "data.train=[mixed.jsonl]"]].concat();
    let shown = said(&place, &mixed);
    for line in [
        "3 pairs from 1 file; 1 with the column `system` before the prompt",
        "layout orca: 2 records with `system`, `question`, `chosen`, `rejected`",
        "first prompt: Be brief. 2+2?",
        "first chosen: 4",
        "layout hh-rlhf: 1 record with `chosen`, `rejected`",
        "first rejected:  No.",
        "columns that are not read: `score`",
    ] {
        assert_eq!(shown.matches(line).count(), 1, "`{line}` in: {shown}");
    }
    let stats = [&["data", "stats"], &mixed[2..4], &["--set", "data.train=[mixed.jsonl]"]].concat();
    assert!(succeed(&place, &stats).contains("layouts     orca 2 records, hh-rlhf 1 record\n"));
}

#[test]
fn where_two_layouts_fit_one_is_pinned_for_every_verb() {
    let place = Place::golden("tiny").evaluate("held-out", pairs());
    place.write("safe.jsonl", safe());
    let train = ["--set", "data.train=[safe.jsonl]"];
    let inspect = [&INSPECT[..], &train].concat();
    let both = ["safe.jsonl:1: the record has the fields of `pku-better`", "of `pku-safer`"];
    let hint = "`data.layout = \"pku-better\"` or `data.layout = \"pku-safer\"`";
    assert_refused(&place, &inspect, &[both[0], both[1], hint]);
    for (layout, chosen) in [("pku-better", "An oak."), ("pku-safer", "An otter.")] {
        let pin = format!("data.layout={layout}");
        let shown = said(&place, &[&inspect[..], &["--set", &pin]].concat());
        assert!(shown.contains(&format!("first chosen: {chosen}")), "{shown}");
        let source = format!("data.train=[{{files=\"safe.jsonl\", layout=\"{layout}\"}}]");
        let shown = said(&place, &[&INSPECT[..], &["--set", &source]].concat());
        assert!(shown.contains(&format!("first chosen: {chosen}")), "{shown}");
    }
    assert_refused(
        &place,
        &[&inspect[..], &["--set", "data.layout=orca"]].concat(),
        &["safe.jsonl:1: the record has no `question`"],
    );
    let split = ["data", "split", "--input", "safe.jsonl", "--test-share", "0.5", "--output"];
    assert_refused(&place, &[&split[..], &["out"]].concat(), &both);
    succeed(&place, &[&split[..], &["out", "--layout", "pku-safer"]].concat());
    let side = |name: &str| -> Vec<Value> {
        serde_json::from_slice(&place.bytes(&format!("out/{name}.json"))).unwrap()
    };
    assert_eq!((side("train").len(), side("test").len()), (4, 4));

    let tiny = crate::golden::path("models/tiny").display().to_string();
    let eval = ["eval", "--model", &tiny, "--data", "t=safe.jsonl", "--device", "cpu", "--output"];
    assert_refused(&place, &[&eval[..], &["e"]].concat(), &both);
    let pinned = [&eval[..], &["e", "--set", "data.layout=pku-safer"]].concat();
    assert!(said(&place, &pinned).contains("layout pku-safer: 8 records"));
    assert_eq!(records(&place.path("e/eval/scores-t-before.jsonl")).len(), 8);
}

#[test]
fn columns_have_roles_and_a_column_that_is_not_there_is_refused_with_the_nearest() {
    let place = Place::golden("tiny").evaluate("held-out", pairs());
    let record = json!({"query": "Name a river.", "good": "The Rhine.", "bad": "A chair.", "persona": "Be kind.", "note": "n"});
    place.write("named.jsonl", format!("{record}\n"));
    let inspect = [&INSPECT[..], &["--set", "data.train=[named.jsonl]", "--set"]].concat();
    assert_refused(
        &place,
        &inspect[..6],
        &["named.jsonl:1: the record has the fields of no known layout", "data.columns"],
    );
    let columns = |prompt: &str| {
        format!(
            "data.columns={{prompt=\"{prompt}\", chosen=\"good\", rejected=\"bad\", system=\"persona\"}}"
        )
    };
    let shown = said(&place, &[&inspect[..], &[&columns("query")]].concat());
    assert!(shown.contains("layout preference: 1 record with `query`, `good`, `bad`, `persona`"));
    assert!(shown.contains("first prompt: Be kind. Name a river."), "{shown}");
    assert!(shown.contains("columns that are not read: `note`"), "{shown}");
    assert_refused(
        &place,
        &[&inspect[..], &[&columns("quary")]].concat(),
        &[
            "named.jsonl: no record has the column `quary` of `columns.prompt`",
            "did you mean `query`?",
        ],
    );
    let role = "data.columns={promt=\"query\"}";
    let parts = ["unknown key `data.columns.promt`", "did you mean `prompt`?"];
    assert_refused(&place, &[&inspect[..], &[role]].concat(), &parts);
}

#[test]
fn all_pairs_of_a_list_have_ids_of_their_own_and_a_split_keeps_the_record_whole() {
    let place = Place::golden("tiny").evaluate("held-out", pairs());
    let record = |id: usize, scores: [f64; 3]| {
        json!({"id": format!("r{id}"), "user_id": format!("u{id}"), "prompt": "Name a tree.", "responses": ["A tree.", "An oak.", "An otter."],
            "scores": scores})
    };
    let scores = [[5.0, 9.5, 1.0], [3.0, 3.0, 3.0], [2.0, 2.0, 1.0], [1.0, 2.0, 3.0]];
    let lines: String =
        (0..).zip(scores).map(|(id, scores)| record(id, scores).to_string() + "\n").collect();
    place.write("ranked.jsonl", lines);
    let inspect =
        [&INSPECT[..], &["--rows", "99", "--set", "data.train=[ranked.jsonl]", "--set"]].concat();
    let best = said(&place, &[&inspect[..], &["data.ranked_pairs=best-worst"]].concat());
    let note = "3 pairs from 1 file; 1 left out as ties; 1 with several best or worst answers, the first of them taken";
    assert!(best.contains(note), "{best}");
    let all = said(&place, &[&inspect[..], &["data.ranked_pairs=all"]].concat());
    assert!(all.contains("8 pairs from 1 file; 4 left out as ties"), "{all}");
    for id in ["r0:1", "r0:2", "r0:3", "r2:2", "r2:3", "r3:1"] {
        assert!(all.contains(id), "{id} in {all}");
    }
    succeed(
        &place,
        &["data", "split", "--input", "ranked.jsonl", "--test-share", "0.5", "--output", "out"],
    );
    let side = |name: &str| -> Vec<Value> {
        serde_json::from_slice(&place.bytes(&format!("out/{name}.json"))).unwrap()
    };
    assert_eq!((side("train").len(), side("test").len()), (2, 2));
}

#[test]
fn training_pairs_that_teach_nothing_are_refused_with_the_reason() {
    let place = Place::new();
    let twin = r#"{"prompt": "p", "chosen": "c", "rejected": "c"}"#;
    place.write("twins.jsonl", format!("{twin}\n{twin}\n"));
    let said = |text: &str| serde_json::json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]);
    let tie = serde_json::json!({"conversation_a": said("a"), "conversation_b": said("b"), "winner": "tie"});
    place.write("ties.jsonl", format!("{tie}\n"));
    let refusal = |set: &str| {
        let words = ["--config", "tiny.toml", "--dry-run", "--set", set];
        let output = place.command(&words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{set}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refusal("data.train=[\"twins.jsonl\"]");
    assert!(said.contains("both answers of all 2 pairs are the same tokens"), "{said}");
    let said = refusal("data.train=[\"ties.jsonl\"]");
    assert!(
        said.contains("the records give no pair: 0 pairs from 1 file; 1 left out as ties"),
        "{said}"
    );
    let said = refusal("data.chat_template=none.jinja");
    assert!(said.contains("chat template `none.jinja`: expected a `.jinja` file"), "{said}");
}
