//! `mvpbench data build-ufp4`: UltraFeedback to the four files of UF-P-4.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;

use mvpbench::construct::ultrafeedback::record::ATTRIBUTES;
use mvpbench::data::file;
use mvpbench::disk::digest;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use super::{assert_refused, data, json, lines, succeed};
use crate::command::Place;
use crate::running::Running;

/// A completion with the ratings of helpfulness, honesty, instruction_following and truthfulness.
fn completion(response: &str, ratings: [&str; 4]) -> Value {
    let annotation = |rating: &str| json!({"Rating": rating, "Rationale": "Because."});
    json!({
        "model": format!("model of {response}"), "principle": "honesty", "custom_system_prompt": "Be good.",
        "response": response, "critique": "Fine.", "overall_score": 7.5, "fine-grained_score": 4.0,
        "annotations": ATTRIBUTES.iter().zip(ratings).map(|(attribute, rating)| {
            ((*attribute).to_owned(), annotation(rating))
        }).collect::<serde_json::Map<_, _>>(),
    })
}

fn record(instruction: &str, completions: Vec<Value>) -> Value {
    json!({
        "source": "flan", "instruction": instruction, "models": [], "correct_answers": ["None"], "incorrect_answers": ["None"],
        "completions": completions,
    })
}

/// `count` records of two completions each, on which all attributes disagree in turn.
fn several(count: usize) -> Vec<Value> {
    let of = |at: usize| {
        let ratings: [&str; 4] = std::array::from_fn(|place| match (at + place) % 3 {
            0 => "5",
            1 => "1",
            _ => "3",
        });
        let texts = [format!("The answer to {at} is a long walk."), format!("No {at}.")];
        let [first, second] = [(0, ratings), (1, ["3", "3", "2", "2"])]
            .map(|(text, ratings)| completion(&texts[text], ratings));
        record(&format!("What is question {at}?"), vec![first, second])
    };
    (0..count).map(of).collect()
}

/// Builds from `uf.jsonl` with every two completions of a record.
fn build(place: &Place, more: &[&str]) -> std::process::Output {
    let base = ["build-ufp4", "--ultrafeedback", "uf.jsonl", "--output", "out", "--pairs", "all"];
    data(place, &[&base[..], more].concat())
}

/// Prompt, chosen and rejected answer of each pair of a file.
fn pairs(place: &Place, name: &str) -> Vec<[String; 3]> {
    let records = json(place, name);
    let text = |record: &Value, key: &str| record[key].as_str().unwrap().to_owned();
    (records.as_array().unwrap().iter())
        .map(|record| ["prompt", "chosen", "rejected"].map(|key| text(record, key)))
        .collect()
}

#[test]
fn each_attribute_has_a_file_in_which_the_answer_that_it_rates_higher_is_chosen() {
    let place = Place::new();
    let records = [record(
        "Why?",
        vec![
            completion("a", ["5", "1", "3", "N/A"]),
            completion("b", ["4", "2", "3", "5"]),
            completion("c", ["3", "3", "1", "1"]),
        ],
    )];
    place.write("uf.jsonl", lines(&records));
    let (out, _) = succeed(&build(&place, &[]));
    let of = |attribute: &str| -> Vec<String> {
        let pairs = pairs(&place, &format!("out/{attribute}.json"));
        pairs.iter().map(|[_, chosen, rejected]| format!("{chosen}>{rejected}")).collect()
    };
    assert_eq!(of("helpfulness"), ["a>b", "a>c", "b>c"]);
    assert_eq!(of("honesty"), ["b>a", "c>a", "c>b"]);
    assert_eq!(of("instruction_following"), ["a>c", "b>c"]);
    assert_eq!(of("truthfulness"), ["b>c"]);
    assert!(out.contains("instruction_following: 2 kept, 1 ties dropped"), "{out}");
    assert!(out.contains("truthfulness: 1 kept, 2 not rated"), "{out}");
    // One record a line, and where each comes from.
    let text = String::from_utf8(place.bytes("out/honesty.json")).unwrap();
    assert_eq!(text.lines().count(), 5, "{text}");
    let first = &json(&place, "out/honesty.json")[0];
    assert_eq!((first["id"].as_str(), first["prompt"].as_str()), (Some("uf:1:0-1"), Some("Why?")));
    let metadata = &first["metadata"];
    assert_eq!(metadata["model_chosen"], "model of b");
    assert_eq!(metadata["ratings_chosen"]["honesty"], 2);
    assert_eq!(metadata["ratings_rejected"]["truthfulness"], Value::Null);
    assert_eq!((&metadata["is_coin_flip"], &metadata["source"]), (&false.into(), &"flan".into()));
}

#[test]
fn by_default_a_prompt_has_one_pair_of_its_best_answer_and_a_lower_one() {
    let place = Place::new();
    let answers = |at: usize| {
        let of = |text: &str, rating| completion(&format!("{text}{at}"), [rating; 4]);
        vec![of("low", "2"), of("best", "5"), of("lower", "3"), of("as good", "5")]
    };
    let records: Vec<_> = (0..20).map(|at| record(&format!("p{at}"), answers(at))).collect();
    place.write("uf.jsonl", lines(&records));
    succeed(&data(&place, &["build-ufp4", "--ultrafeedback", "uf.jsonl", "--output", "out"]));
    let pairs = pairs(&place, "out/honesty.json");
    assert_eq!(pairs.len(), 20);
    assert!(pairs.iter().all(|[_, chosen, _]| chosen.starts_with("best")));
    let lower = pairs.iter().filter(|[.., rejected]| rejected.starts_with("lower")).count();
    assert!((1..20).contains(&lower), "{lower} of 20");
    assert!(pairs.iter().all(|[.., rejected]| rejected.starts_with("low")));
}

#[test]
fn broken_records_are_named_and_left_out_and_odd_ones_are_counted() {
    let place = Place::new();
    let good = || vec![completion("a", ["5"; 4]), completion("b", ["4"; 4])];
    let mut unknown_aspect = record("1", good());
    unknown_aspect["completions"][1]["annotations"]["style"] = json!({"Rating": "1"});
    let mut null_completions = record("2", good());
    null_completions["completions"] = Value::Null;
    let mut numbers = record("3", good());
    numbers["completions"][0]["annotations"]["honesty"]["Rating"] = 3.into();
    numbers["completions"][1]["annotations"]["honesty"] = json!([{"Rating": "4"}, {"Rating": "5"}]);
    numbers["completions"][0]["annotations"]["honesty"]["Score"] = 1.into();
    let mut bare = record("4", vec![completion("x", ["5"; 4]), completion("y", ["4"; 4])]);
    bare["completions"][1].as_object_mut().unwrap().shift_remove("annotations");
    let mut empty = record("5", good());
    empty["completions"][0]["response"] = Value::Null;
    let text = [
        record("0", good()).to_string(),
        "{\"instruction\": \"cut".to_owned(),
        unknown_aspect.to_string(),
        record("1", vec![completion("a", ["5"; 4]), completion("b", ["4", "6", "4", "4"])])
            .to_string(),
        null_completions.to_string(),
        numbers.to_string(),
        bare.to_string(),
        empty.to_string(),
        record("6", vec![completion("a", ["5"; 4]), completion("a", ["4"; 4])]).to_string(),
        record("7", vec![completion("a", ["5"; 4])]).to_string(),
        record("8", vec![]).to_string(),
        record(" 0\n", good()).to_string(),
        "[]".to_owned(),
    ];
    place.write("uf.jsonl", text.join("\n"));
    let (_, said) = succeed(&build(&place, &[]));
    for part in [
        "uf.jsonl:2: not JSON: EOF while parsing a string at column 20;",
        "uf.jsonl:3: `completions[1]`: `annotations.style` is none of helpfulness, honesty",
        "uf.jsonl:4: `completions[1]`: `annotations.honesty`: `Rating` must be 1 to 5 or N/A, got",
        "uf.jsonl:5: `completions` is missing or null",
        "uf.jsonl:13: expected a record, an object, got a list",
        "fields that are not read: `annotations.Score`",
    ] {
        assert!(said.contains(part), "expected `{part}` in: {said}");
    }
    let manifest = json(&place, "out/manifest.json");
    let count = |key: &str| manifest["counts"][key].as_u64().unwrap();
    assert_eq!((count("records"), count("broken_records")), (8, 5));
    assert_eq!(manifest["broken"].as_array().unwrap().len(), 5);
    assert_eq!(count("records_of_one_completion"), 2);
    assert_eq!(count("records_of_an_earlier_prompt"), 1);
    assert_eq!(count("pairs_considered"), 6);
    for key in
        ["pairs_with_an_empty_answer", "pairs_of_equal_answers", "pairs_of_an_earlier_record"]
    {
        assert_eq!(count(key), 1, "{key}");
    }
    assert_eq!(count("pairs_compared"), 3);
    let honesty = pairs(&place, "out/honesty.json");
    let of = |prompt: &str| honesty.iter().find(|pair| pair[0] == prompt).map(|pair| &*pair[1]);
    assert_eq!((of("0"), of("3"), of("4")), (Some("a"), Some("b"), None));
    assert_eq!(manifest["counts"]["attributes"][1]["not_rated"], 1);
    let folder = manifest["outputs"][1]["sha256"].as_str().unwrap();
    assert_eq!(folder, mvpbench::disk::digest::of_file(&place.path("out/honesty.json")).unwrap());
}

#[test]
fn a_finished_build_changes_no_byte_and_another_one_is_refused() {
    let place = Place::new();
    place.write("uf.jsonl", lines(&several(30)));
    let options = ["--ties", "flip", "--test-share", "0.2", "--equal-sizes"];
    let (first, _) = succeed(&build(&place, &options));
    let files = ["out/train/honesty.json", "out/test/truthfulness.json", "out/manifest.json"];
    let seen = || {
        files.map(|file| {
            (place.bytes(file), place.path(file).metadata().unwrap().modified().unwrap())
        })
    };
    let before = seen();
    assert_eq!(succeed(&build(&place, &options)).0, first);
    assert_eq!(seen(), before);
    // A killed build leaves some of the files.
    for file in &files[1..] {
        std::fs::remove_file(place.path(file)).unwrap();
    }
    succeed(&build(&place, &options));
    assert_eq!(seen().map(|(bytes, _)| bytes), before.clone().map(|(bytes, _)| bytes));
    let other = build(&place, &["--ties", "flip", "--test-share", "0.2", "--seed", "13"]);
    assert_refused(&other, &["already exists, of another build", "another folder with `--output`"]);
    assert_refused(&build(&place, &[]), &["manifest.json` already exists, of another build"]);
    assert!(!place.path("out/honesty.json").exists());
}

#[test]
fn lines_an_array_parquet_and_a_folder_give_the_same_files() {
    let place = Place::new();
    let records = several(9);
    place.write("uf.jsonl", lines(&records));
    place.write("array/uf.json", serde_json::to_vec_pretty(&records).unwrap());
    place.write("parquet/uf.parquet", parquet(&records));
    place.write("parquet/README.md", "not data");
    succeed(&build(&place, &[]));
    for (path, output) in [("array/uf.json", "of-array"), ("parquet", "of-folder")] {
        let arguments =
            ["build-ufp4", "--ultrafeedback", path, "--output", output, "--pairs", "all"];
        succeed(&data(&place, &arguments));
        for attribute in ATTRIBUTES {
            let pairs = |folder: &str| pairs(&place, &format!("{folder}/{attribute}.json"));
            assert_eq!(pairs(output), pairs("out"), "{path} {attribute}");
        }
        let of = |folder: &str| place.bytes(&format!("{folder}/honesty.json"));
        assert!(of(output) == of("out"), "{path}");
    }
    let twice = ["build-ufp4", "--ultrafeedback", "uf.jsonl", "uf.jsonl", "--output", "twice"];
    assert_refused(&data(&place, &twice), &["`uf.jsonl` has the same bytes as `uf.jsonl`"]);
    place.write("none/a.txt", "x");
    for (path, why) in [
        ("none", "no file in the folder ends in .json, .jsonl, .parquet"),
        ("absent.jsonl", "`absent.jsonl`: no such file"),
        ("none/a.txt", "expected a JSON array or JSONL, found `x`"),
    ] {
        let arguments = ["build-ufp4", "--ultrafeedback", path, "--output", "new"];
        assert_refused(&data(&place, &arguments), &[why]);
    }
}

/// The records in Parquet, completions as a list of groups.
fn parquet(records: &[Value]) -> Vec<u8> {
    let annotations: String = (ATTRIBUTES.iter())
        .map(|attribute| {
            format!("required group {attribute} {{ required binary Rating (STRING); }} ")
        })
        .collect();
    let schema = format!(
        "message records {{
            required binary source (STRING);
            required binary instruction (STRING);
            required group completions (LIST) {{ repeated group list {{ required group element {{
                required binary model (STRING);
                required binary response (STRING);
                required group annotations {{ {annotations} }}
            }} }} }}
        }}"
    );
    let mut out = Vec::new();
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::default()).unwrap();
    let mut columns = writer.next_row_group().unwrap();
    let pointers = ["/model", "/response"]
        .map(str::to_owned)
        .into_iter()
        .chain(ATTRIBUTES.iter().map(|attribute| format!("/annotations/{attribute}/Rating")));
    let text = |value: &Value| ByteArray::from(value.as_str().unwrap());
    for key in ["source", "instruction"] {
        let texts: Vec<_> = records.iter().map(|record| text(&record[key])).collect();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
    }
    for pointer in pointers {
        let (mut texts, mut repeated) = (Vec::new(), Vec::new());
        for record in records {
            for (at, completion) in record["completions"].as_array().unwrap().iter().enumerate() {
                texts.push(text(completion.pointer(&pointer).unwrap()));
                repeated.push(i16::from(at > 0));
            }
        }
        let defined = vec![1; texts.len()];
        let mut column = columns.next_column().unwrap().unwrap();
        let column_of = column.typed::<ByteArrayType>();
        column_of.write_batch(&texts, Some(&defined), Some(&repeated)).unwrap();
        column.close().unwrap();
    }
    columns.close().unwrap();
    writer.close().unwrap();
    out
}

#[test]
fn a_prompt_is_on_one_side_whatever_blanks_are_around_it() {
    let place = Place::new();
    let mut records = several(40);
    let mut again = several(40);
    for record in &mut again {
        let instruction = format!("\n{} ", record["instruction"].as_str().unwrap());
        record["instruction"] = instruction.into();
        record["completions"][0]["response"] = "Another answer.".into();
    }
    records.append(&mut again);
    place.write("uf.jsonl", lines(&records));
    let (out, _) = succeed(&build(&place, &["--test-share", "0.25", "--ties", "flip"]));
    assert!(out.contains("prompts: 40, 10 of the test side"), "{out}");
    let prompts = |side: &str| -> BTreeSet<String> {
        let of = |attribute: &str| pairs(&place, &format!("out/{side}/{attribute}.json"));
        ATTRIBUTES.iter().flat_map(|a| of(a)).map(|pair| pair[0].trim().to_owned()).collect()
    };
    let (train, test) = (prompts("train"), prompts("test"));
    assert_eq!((train.len(), test.len()), (30, 10));
    assert!(train.is_disjoint(&test));
}

#[test]
fn options_that_leave_nothing_or_make_no_sense_are_refused() {
    let place = Place::new();
    place.write(
        "uf.jsonl",
        lines(&[record(
            "p",
            vec![completion("a", ["5", "3", "5", "5"]), completion("b", ["4", "3", "4", "4"])],
        )]),
    );
    let tie = "no pair of `honesty` is left: 1 considered, 1 compared, 0 not rated, 1 ties";
    assert_refused(&build(&place, &[]), &[tie, "hint: give more records"]);
    succeed(&build(&place, &["--ties", "flip"]));
    assert_refused(&build(&place, &["--test-share", "1"]), &["`--test-share` must be at least 0"]);
    place.write("broken.jsonl", "{\"instruction\": 1}\n");
    let broken = ["build-ufp4", "--ultrafeedback", "broken.jsonl", "--output", "x"];
    let why = "no record can be read, the first at broken.jsonl:1: `instruction` must be a string";
    assert_refused(&data(&place, &broken), &[why]);
    assert!(!place.path("x/manifest.json").exists());
}

#[test]
fn published_files_of_uf_p_4_load_as_they_are() {
    let text = r#"[{"prompt": "Question: Why?\nAnswer: ", "chosen": "So.", "rejected": "No."}]"#;
    let files = [("uf-p-4/honesty.json".to_owned(), text).into()];
    let loaded = file::load(&files, &[], &file::Prompts::default()).unwrap();
    assert_eq!(
        loaded.counts.to_string(),
        "1 pair from 1 file\nlayout preference: 1 record with `prompt`, `chosen`, `rejected`\n  first prompt: Question: Why? Answer: \n  \
         first chosen: So.\n  first rejected: No."
    );
    assert_eq!(loaded.pairs[0].prompt, "Question: Why?\nAnswer: ");
}

#[test]
fn a_model_trains_on_the_files_and_is_evaluated_on_each() {
    let place = Place::new();
    place.write("uf.jsonl", lines(&several(24)));
    succeed(&build(&place, &["--ties", "flip", "--test-share", "0.5"]));
    let files = |side: &str| ATTRIBUTES.map(|name| format!("out/{side}/{name}.json"));
    let train = format!("data.train={:?}", files("train"));
    let sets =
        format!("eval.sets=[{{name=\"UF-P-4\", files={:?}, metrics=[\"opa\"]}}]", files("test"));
    let run = place.run(&[
        "--config",
        "tiny.toml",
        "--set",
        &train,
        "--set",
        &sets,
        "--set",
        "train.max_steps=2",
        "--set",
        "train.learning_rate=1e-3",
        "--output",
        "run",
    ]);
    let (out, said) = succeed(&run);
    assert!(!format!("{out}{said}").contains("not read"), "{out}{said}");
    let after = json(&place, "run/eval/after.json").to_string();
    for attribute in ATTRIBUTES {
        assert!(after.contains(attribute), "{attribute} in {after}");
    }
    let stats =
        data(&place, &["stats", "--config", "tiny.toml", "--set", &train, "--set", "eval.sets=[]"]);
    let (stats, _) = succeed(&stats);
    assert!(stats.contains("not read    none") && stats.contains("missing     none"), "{stats}");
}

#[test]
fn a_second_build_into_the_folder_is_refused_while_the_first_one_writes() {
    let place = Place::new();
    place.write("uf.jsonl", lines(&several(3_000)));
    let arguments = ["build-ufp4", "--ultrafeedback", "uf.jsonl", "--output", "out"];
    let mut first = place.mvpbench(&[&["data"][..], &arguments].concat());
    let mut first = Running::start(first.stdout(Stdio::null()).stderr(Stdio::null()));
    first.wait_for("its first file", || {
        let folder = std::fs::read_dir(place.path("out"));
        folder.is_ok_and(|mut all| {
            all.any(|entry| entry.unwrap().path().extension().is_some_and(|end| end == "partial"))
        })
    });
    first.send("-STOP");
    let second = data(&place, &[&arguments[..], &["--seed", "13"]].concat());
    assert_refused(&second, &["another program is writing in `out`", "hint: wait for it"]);
    assert!(!place.path("out/manifest.json").exists());
    first.send("-CONT");
    while !first.has_ended() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(first.success(), Some(true));
    assert_whole(&place);
    let other = data(&place, &[&arguments[..], &["--seed", "13"]].concat());
    assert_refused(&other, &["already exists, of another build"]);
}

#[test]
fn two_builds_at_once_leave_one_whole_data_set() {
    for _ in 0..3 {
        let place = Place::new();
        place.write("uf.jsonl", lines(&several(300)));
        let builds = ["12", "13"].map(|seed| {
            let arguments =
                ["data", "build-ufp4", "--ultrafeedback", "uf.jsonl", "--output", "out", "--seed"];
            let mut command = place.mvpbench(&[&arguments[..], &[seed]].concat());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        let outputs = builds.map(|build| build.wait_with_output().unwrap());
        assert_eq!(outputs.iter().filter(|output| output.status.success()).count(), 1);
        let refused = outputs.iter().find(|output| !output.status.success()).unwrap();
        assert_refused(refused, &[]);
        assert_whole(&place);
    }
}

/// The files in `out` are those that its manifest lists.
#[track_caller]
fn assert_whole(place: &Place) {
    let manifest = json(place, "out/manifest.json");
    let outputs = manifest["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), ATTRIBUTES.len());
    for output in outputs {
        let bytes = place.bytes(&format!("out/{}", output["file"].as_str().unwrap()));
        assert_eq!(output["sha256"], digest::of_bytes(&bytes));
    }
}
