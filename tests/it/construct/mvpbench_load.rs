//! A benchmark of PRISM's own size: 8,011 conversations of 1,396 users.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chat::server::{Act, FakeChat};
use crate::command::{Place, lines};
use crate::paa::files;
use crate::require::{self, Need};
use crate::running::Running;

/// A reply of three items that no other prompt gets.
fn reply(prompt: &str) -> String {
    let name = &mvpbench::disk::digest::of_bytes(prompt.as_bytes())[..16];
    let items = (0..3).map(|place| super::item(&format!("matter {name} of {place}")));
    Value::from_iter(items).to_string()
}

#[test]
#[cfg(target_os = "linux")]
fn a_benchmark_of_prisms_size_is_built_in_time_and_memory_after_kills() {
    let place = Place::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make_prism.py");
    let Ok(made) = Command::new("python3")
        .args([script, "prism", "--broken", "2"])
        .current_dir(place.folder.path())
        .output()
    else {
        return require::skip(Need::Python, "The files in PRISM's layout are made by a script.");
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let chat = FakeChat::serve_whole(|whole, _| Act::Tell(reply(whole)));
    let arguments = [
        "data",
        "build-mvpbench",
        "--survey",
        "prism/survey.jsonl",
        "--conversations",
        "prism/conversations.jsonl",
        "--endpoint",
        &chat.base,
        "--chat-model",
        "m",
        "--output",
        "bench",
        "-q",
    ];
    let begun = Instant::now();
    let journal = place.path("bench/journal.jsonl");
    for kept in [500, 4_000] {
        Running::start(&mut place.mvpbench(&arguments))
            .kill_at("some replies", || lines(&journal) > kept);
    }
    let mut child =
        place.mvpbench(&arguments).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kb = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak_kb = kb.unwrap_or(peak_kb).max(peak_kb);
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = begun.elapsed();
    assert!(child.wait().unwrap().success());
    #[expect(clippy::print_stdout, reason = "memory and time of the load, under `--nocapture`")]
    {
        println!(
            "8,011 conversations after two kills: {:.1} s, peak {} MB",
            took.as_secs_f64(),
            peak_kb / 1024
        );
    }
    assert!(peak_kb < 500 * 1024, "{peak_kb} kB");
    assert!(took < Duration::from_secs(120), "{took:?}");

    let manifest: Value = serde_json::from_slice(&place.bytes("bench/manifest.json")).unwrap();
    let published = manifest["published"].as_array().unwrap();
    assert!(published.iter().all(|count| count["differs"] == false), "{published:?}");
    let writing = &manifest["counts"]["writing"];
    let of = |key: &str| writing[key].as_u64().unwrap();
    assert_eq!((of("items"), of("failed")), (24_033, 0));
    assert_eq!(manifest["counts"]["records"].as_u64(), Some(of("items")));
    // Every broken row is named with its line, and no other.
    let expected: Value = serde_json::from_slice(&place.bytes("prism/broken.json")).unwrap();
    let places = |rows: &Value| -> Vec<String> {
        let mut all: Vec<_> = (rows.as_array().unwrap().iter())
            .map(|row| {
                format!(
                    "{}:{}",
                    row["file"].as_str().unwrap().rsplit('/').next().unwrap(),
                    row["line"]
                )
            })
            .collect();
        all.sort();
        all
    };
    assert_eq!(places(&manifest["broken"]), places(&expected));
    let before = files(&place.path("bench"));
    assert!(place.mvpbench(&arguments).output().unwrap().status.success());
    assert!(files(&place.path("bench")) == before, "a finished build changed");
}
