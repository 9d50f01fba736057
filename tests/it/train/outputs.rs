//! Outputs of a run: TensorBoard events, the adapter's model card, the command to try next.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command::{Place, install, records};
use crate::golden::pairs;
use crate::require;

fn place() -> Place {
    Place::golden("tiny")
        .set("train.epochs", 2)
        .set("train.checkpoint_every", 1)
        .evaluate("golden", pairs())
}

/// CRC-32C by its definition: the remainder of the reflected message by the reflected polynomial.
fn masked_crc32c(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0x82f6_3b78;
            }
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The payloads of a TFRecord file. Fails on a wrong checksum or a cut record.
fn payloads(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(number(&bytes[8..12]), masked_crc32c(&bytes[..8]));
        let data = &bytes[12..12 + length];
        assert_eq!(number(&bytes[12 + length..16 + length]), masked_crc32c(data));
        all.push(data.to_vec());
        bytes = &bytes[16 + length..];
    }
    all
}

/// Fields of a protobuf message: number and bytes (little endian for numbers).
fn fields(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut x = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            x |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        x
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes) as u8;
        let length = match key & 7 {
            0 => {
                all.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        all.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    all
}

fn event_file(place: &Place) -> PathBuf {
    let files: Vec<_> =
        std::fs::read_dir(place.path("run/tensorboard")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1, "one file, so that no step is there twice");
    files[0].path()
}

/// Step, tag and value of every scalar.
fn scalars(file: &PathBuf) -> Vec<(u64, String, f32)> {
    let events = payloads(&std::fs::read(file).unwrap());
    assert_eq!(fields(&events[0])[1], (3, b"brain.Event:2".to_vec()));
    let mut all = Vec::new();
    for event in &events[1..] {
        let event = fields(event);
        assert_eq!(event.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 5]);
        assert!(f64::from_le_bytes(event[0].1[..].try_into().unwrap()) > 1.6e9);
        let step = u64::from_le_bytes(event[1].1[..].try_into().unwrap());
        for (_, value) in fields(&event[2].1) {
            let value = fields(&value);
            all.push((
                step,
                String::from_utf8(value[0].1.clone()).unwrap(),
                f32::from_le_bytes(value[1].1[..].try_into().unwrap()),
            ));
        }
    }
    all
}

#[track_caller]
fn assert_equals_the_log(place: &Place) {
    let scalars = scalars(&event_file(place));
    let log = records(&place.path("run/train.jsonl"));
    let mut expected = 0;
    for record in &log {
        for (name, value) in record.as_object().unwrap() {
            let Some(value) = value.as_f64().filter(|_| name != "step") else { continue };
            expected += 1;
            let (step, tag) = (record["step"].as_u64().unwrap(), format!("train/{name}"));
            let found: Vec<_> =
                scalars.iter().filter(|(s, t, _)| (*s, t) == (step, &tag)).collect();
            assert_eq!(found.len(), 1, "{tag} of step {step}");
            assert_eq!(found[0].2.to_bits(), (value as f32).to_bits(), "{tag} of step {step}");
        }
    }
    let (evaluated, trained): (Vec<_>, Vec<_>) =
        scalars.iter().partition(|(_, tag, _)| tag.starts_with("eval/"));
    assert_eq!(trained.len(), expected);
    let evaluations = records(&place.path("run/eval.jsonl"));
    let steps: Vec<_> = evaluations.iter().map(|record| record["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, log.len() as u64], "before and after");
    for record in &evaluations {
        for (name, value) in record.as_object().unwrap() {
            if ["step", "epoch", "set", "pairs", "sha256"].contains(&name.as_str()) {
                continue;
            }
            let (step, tag) = (record["step"].as_u64().unwrap(), format!("eval/{name}"));
            let found: Vec<_> =
                evaluated.iter().filter(|(s, t, _)| (*s, t) == (step, &tag)).collect();
            if (step, name.as_str()) == (0, "opa") {
                assert!(found.is_empty(), "an untuned model has no OPA");
                continue;
            }
            assert_eq!(found.len(), 1, "{tag} of step {step}");
            let value = value.as_f64().unwrap() as f32;
            assert_eq!(found[0].2.to_bits(), value.to_bits(), "{tag} of step {step}");
        }
    }
    assert_eq!(evaluated.len(), 2 * 15 - 1, "TRL's seven figures and ours");
    for tag in ["train/loss", "train/grad_norm", "train/rewards/margins", "train/learning_rate"] {
        assert_eq!(scalars.iter().filter(|(_, t, _)| t == tag).count(), log.len(), "{tag}");
    }
}

#[test]
fn events_are_the_logs_numbers_under_trls_names_also_after_a_resume() {
    let place = place();
    place.succeed(&["--config", "config.toml"]);
    assert_equals_the_log(&place);
    let first = event_file(&place);

    // A run that lost its last checkpoint repeats those steps.
    let last = records(&place.path("run/train.jsonl")).len();
    std::fs::remove_dir_all(place.path(&format!("run/checkpoints/step-{last:06}"))).unwrap();
    std::fs::remove_dir_all(place.path("run/eval")).unwrap();
    place.succeed(&["--config", "config.toml"]);
    assert_equals_the_log(&place);
    assert_ne!(event_file(&place), first);
}

#[test]
fn tensorboard_itself_reads_the_numbers_of_the_logs() {
    if !require::registry() {
        return;
    }
    let place = place();
    let packages = place.path("packages");
    install(&["tensorboard==2.20.0", "setuptools<81"], &packages);
    place.succeed(&["--config", "config.toml"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check_tensorboard.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(place.path("run"))
        .env("PYTHONPATH", packages)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("as in train.jsonl and eval.jsonl"));
}

#[test]
fn the_model_card_and_the_configuration_lie_beside_the_adapter() {
    let place = place();
    place.succeed(&["--config", "config.toml"]);
    let card = String::from_utf8(place.bytes("run/adapter/README.md")).unwrap();
    let (front, page) = card.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    for line in ["library_name: peft", "- lora", "- dpo"] {
        assert!(front.lines().any(|have| have == line), "{front}");
    }
    // The hub refuses a card whose base is a local folder; the text names it.
    assert!(!front.contains("base_model"), "{front}");
    let config: Value =
        serde_json::from_slice(&place.bytes("run/adapter/adapter_config.json")).unwrap();
    let base = config["base_model_name_or_path"].as_str().unwrap();
    assert!(page.contains(base), "`{base}` is not in\n{page}");
    for part in [
        "| tuned | golden |",
        "| rank, alpha, dropout | 16, 32, 0.05 |",
        "PeftModel.from_pretrained",
    ] {
        assert!(page.contains(part), "`{part}` is not in\n{page}");
    }
    let toml = String::from_utf8(place.bytes("run/adapter/config.toml")).unwrap();
    let train = mvpbench::config::RunConfig::parse(&toml, "config.toml").unwrap().train;
    let (batch, accumulation) = (train.per_device_batch_size, train.gradient_accumulation_steps);
    assert!(accumulation > 1);
    assert!(page.contains(&format!("| pairs a step | {} |", batch * accumulation)), "{page}");
}

#[test]
fn the_last_line_of_progress_is_the_last_record_of_the_log() {
    let place = place().set("train.learning_rate", 1e-2).set("train.scheduler", "constant");
    let heard = |arguments: &[&str]| {
        let output = place.run(&[&["--config", "config.toml"], arguments].concat());
        let heard = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{heard}");
        heard
    };
    let whole = heard(&[]);
    assert!(whole.contains("dropout: 0.05 on the adapter's inputs"), "{whole}");
    let log = records(&place.path("run/train.jsonl"));
    let of = |name: &str| log[log.len() - 1][name].as_f64().unwrap();
    assert!(of("tokens_computed") > 0.0 && of("tokens_computed") < of("num_tokens"));
    // Neither reward is zero, so that a sum is not a difference.
    assert!(of("rewards/chosen").abs() > 0.01 && of("rewards/rejected").abs() > 0.01);
    let steps = log.len();
    let expected = format!(
        ", loss {:.4}, margin {:+.2}, accuracy {:.2}",
        of("loss"),
        of("rewards/chosen") - of("rewards/rejected"),
        of("rewards/accuracies"),
    );
    let last =
        whole.lines().find(|line| line.starts_with(&format!("train {steps}/{steps} steps, ")));
    assert!(last.is_some_and(|line| line.contains(&expected)), "`{expected}` is not in\n{whole}");

    let without = heard(&["--set", "lora.dropout=0.0", "--output", "without"]);
    assert!(!without.contains("dropout"), "{without}");
}

#[test]
fn the_command_to_try_next_works_as_it_is_printed() {
    let place = place();
    let programs = Path::new(env!("CARGO_BIN_EXE_train")).parent().unwrap();
    let path = std::env::join_paths([programs, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let run = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(place.folder.path()).env("PATH", &path);
        let output = shell.env("MVPBENCH_CACHE", place.path("cache")).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let next = |printed: &str| {
        let command = printed.split_once("\nnext:    ").map(|(_, command)| command.trim_end());
        command.unwrap_or_else(|| panic!("no command in {printed}")).to_owned()
    };
    // A long path breaks the command into lines, each but the last with a backslash at its end.
    let in_one_line = |command: &str| {
        command.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let attention = next(&run("train --config config.toml --set train.max_steps=1"));
    assert!(in_one_line(&attention).ends_with("--output run-attention"), "{attention}");
    let generate = next(&run(&attention));
    assert!(in_one_line(&generate).starts_with("mvpbench generate --model "), "{generate}");
    let answer: Value = serde_json::from_str(&run(&generate)).unwrap();
    assert!(answer["completion_tokens"].as_u64().unwrap() > 0, "{answer}");
}
