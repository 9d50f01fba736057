//! `mvpbench import-config`: what a user of another trainer does first.

use crate::command::Place;

const TRL: &str = "model_name_or_path: MODEL\nuse_peft: true\ndataset_name: owner/pairs\nlearning_rate: 5e-6\nload_in_4bit: true\n\
                   wandb_project: mine\nnum_train_epochs: 1\n";

fn place() -> Place {
    let place = Place::new();
    std::fs::write(place.path("trl.yaml"), TRL).unwrap();
    place
}

fn run(place: &Place, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = place.mvpbench(&[&["import-config"], arguments].concat()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_file_of_trl_becomes_a_configuration_that_a_dry_run_accepts() {
    let place = place();
    let (code, toml, said) = run(&place, &["trl.yaml"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(toml.contains("# learning_rate: 5e-6\nlearning_rate = "), "{toml}");
    for line in [
        "trl.yaml: of TRL, 7 keys",
        "translated (",
        "  learning_rate: 5e-6: `train.learning_rate = ",
        "no counterpart, the result is the same (1):\n  wandb_project: mine: ",
        "no counterpart, and the result differs (1):\n  load_in_4bit: true: ",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    let (code, out, _) = run(&place, &["trl.yaml", "--output", "run.toml", "-q"]);
    assert_eq!(
        (code, &*out),
        (Some(0), "config: run.toml\nnext:   train --config run.toml --dry-run\n")
    );
    assert_eq!(std::fs::read_to_string(place.path("run.toml")).unwrap(), toml);
    let model = format!("model.path={}", crate::golden::text("models/tiny"));
    let pairs = format!("data.train=[{:?}]", crate::golden::pairs());
    let sets = ["--set", &model, "--set", &pairs, "--set", "model.dtype=f32"];
    let train = place
        .command(&[&["--config", "run.toml", "--dry-run"], &sets[..]].concat())
        .output()
        .unwrap();
    assert!(train.status.success(), "{}", String::from_utf8_lossy(&train.stderr));
}

#[test]
fn nothing_is_overwritten_and_the_same_text_is_no_error() {
    let place = place();
    assert_eq!(run(&place, &["trl.yaml", "--output", "run.toml"]).0, Some(0));
    assert_eq!(run(&place, &["trl.yaml", "--output", "run.toml"]).0, Some(0));
    std::fs::write(place.path("run.toml"), "mine").unwrap();
    let (code, _, said) = run(&place, &["trl.yaml", "--output", "run.toml"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("`run.toml` already exists, with another text"), "{said}");
    assert_eq!(std::fs::read_to_string(place.path("run.toml")).unwrap(), "mine");
}

#[test]
fn quiet_tells_what_differs_alone() {
    let place = place();
    let (_, _, said) = run(&place, &["trl.yaml", "-q"]);
    assert!(said.contains("load_in_4bit") && !said.contains("wandb_project"), "{said}");
}

#[test]
fn a_file_that_cannot_be_translated_is_refused_with_the_reason() {
    let place = place();
    for (text, arguments, expected) in [
        ("a: [1\n", &["x.yaml"][..], "x.yaml:"),
        ("rl: kto\nbase_model: a/b\n", &["x.yaml"], "`rl: kto` has no counterpart here: KTO"),
        (
            "learning_rate: 1\nnum_train_epochs: 2\n",
            &["x.yaml"],
            "its keys fit TRL and LLaMA-Factory",
        ),
        (
            "learning_rat: 1\ndataset_name: a/b\n",
            &["x.yaml"],
            "TRL does not have the key `learning_rat`",
        ),
        (TRL, &["x.yaml", "--from", "torchtune"], "expected one of trl, axolotl, llama-factory"),
        (TRL, &["nowhere.yaml"], "`nowhere.yaml`: no such file"),
        ("\u{0}\u{1}", &["x.yaml"], "x.yaml"),
    ] {
        std::fs::write(place.path("x.yaml"), text).unwrap();
        let (code, out, said) = run(&place, arguments);
        assert_eq!((code, &*out), (Some(2), ""), "{text}: {said}");
        assert!(said.contains(expected) && !said.contains("panicked"), "{expected} in {said}");
    }
    std::fs::write(place.path("x.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(run(&place, &["x.yaml"]).2.contains("expected a YAML file in UTF-8, byte 0 is not"));
}
