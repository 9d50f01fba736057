//! The program itself on a sample of broken files, with a limit on its memory: exit status 2, the file by name, and no
//! panic.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;

use crate::command::Place;
use crate::golden::path;

/// Address space of the program, KiB: its threads' stacks, the model and what it maps fit, and the half gigabyte that a template may
/// take; a gigabyte that a file claims does not.
const MEMORY_KIB: usize = 3 << 19;

fn place() -> Place {
    let place = Place::golden("tiny")
        .set("model.path", "model")
        .set("lora.init_from", "adapter")
        .set("data.train", vec!["pairs.jsonl"])
        .set("train.max_steps", 1);
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ] {
        place.write(
            &format!("model/{file}"),
            std::fs::read(path("models/tiny").join(file)).unwrap(),
        );
    }
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let from = path("adapters/tiny-nonzero").join(file);
        place.write(&format!("adapter/{file}"), std::fs::read(from).unwrap());
    }
    place.write("pairs.jsonl", std::fs::read(path("pairs.jsonl")).unwrap());
    place
}

/// Each template would take gigabytes; the program ends before with the name of the file.
#[test]
fn a_template_that_multiplies_its_text_ends_the_program_with_status_2() {
    let conversation = json!({
        "prompt": [{"role": "user", "content": "q"}],
        "chosen": [{"role": "assistant", "content": "c"}],
        "rejected": [{"role": "assistant", "content": "r"}],
    });
    let doubled = |step: &str| {
        format!(
            "{{% set ns = namespace(s='x', l=['x']) %}}{{% for i in range(40) %}}{step}{{% endfor %}}{{{{ ns.s | length }}}}"
        )
    };
    for template in [
        doubled("{% set ns.s = ns.s ~ ns.s %}"),
        doubled("{% set ns.s = ns.s + ns.s %}"),
        doubled("{% set ns.s = ns.s * 16 %}{% set ns.l = ns.l + [ns.s + 'x'] %}"),
        doubled("{% set c %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = c %}"),
        doubled("{% set ns.s = [ns.s, ns.s] | join %}"),
        doubled("{% set ns.s = ns.s.replace('x', 'xxxxxxxxx') %}"),
        doubled("{% set ns.s = (ns.s + '\n') * 2 %}{% set ns.s = ns.s | indent(100) %}"),
        "{{ (('x' * 90000000) ~ ('x' * 90000000) ~ ('x' * 90000000) ~ ('x' * 90000000) ~ ('x' * 90000000) ~ ('x' * 90000000)) | length }}".to_owned(),
        "{{ '%*d' | format(99999999999, 1) }}".to_owned(),
        "{{ (['x'] * 99999999) | list | length }}".to_owned(),
    ] {
        let place = place();
        place.write("pairs.jsonl", conversation.to_string());
        place.write("model/chat_template.jinja", &template);
        let begun = Instant::now();
        let (code, said) = run(&place, &[]);
        assert_eq!(code, Some(2), "{template}: {said}");
        assert!(said.starts_with("error: ") && said.contains("chat_template.jinja"), "{template}: {said}");
        assert!(begun.elapsed().as_secs() < 20, "{template}: {:?}", begun.elapsed());
    }
}

/// Runs `train` under the limit; its exit status and what it said.
fn run(place: &Place, more: &[&str]) -> (Option<i32>, String) {
    run_within(place, MEMORY_KIB, more)
}

/// [`run`] with an address space of `kib` KiB.
fn run_within(place: &Place, kib: usize, more: &[&str]) -> (Option<i32>, String) {
    let train = place.command(&[]);
    let mut command = Command::new("sh");
    let script = format!("ulimit -v {kib}; exec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(train.get_program());
    for (name, value) in train.get_envs() {
        command.env(name, value.unwrap());
    }
    command.args(["--config", "config.toml", "-q"]).args(more);
    let output = command.current_dir(place.folder.path()).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn broken_files_end_the_program_with_status_2_their_name_and_nothing_written() {
    let (code, said) = run(&place(), &[]);
    assert_eq!(code, Some(0), "the limit is too low for what is right: {said}");

    let header = |header: serde_json::Value| {
        let header = header.to_string().into_bytes();
        [&(header.len() as u64).to_le_bytes()[..], &header].concat()
    };
    let huge = 1u64 << 40;
    let config =
        String::from_utf8(std::fs::read(path("models/tiny/config.json")).unwrap()).unwrap();
    let pair = json!({"prompt": "p", "chosen": "c", "rejected": "r"}).to_string();
    let deep = |open: &str, n: usize| open.repeat(n).into_bytes();
    for (file, bytes) in [
        ("pairs.jsonl", Vec::new()),
        ("pairs.jsonl", vec![0; 1 << 20]),
        ("pairs.jsonl", vec![0xff; 100]),
        ("pairs.jsonl", deep("[", 10_000_000)),
        ("pairs.jsonl", deep("{\"a\":", 2_000_000)),
        ("pairs.jsonl", format!("{pair}\n{{\"prompt\": NaN}}\n").into_bytes()),
        (
            "pairs.jsonl",
            [b"PAR1".to_vec(), vec![0x7f; 4000], b"\xff\xff\xff\x7fPAR1".to_vec()].concat(),
        ),
        (
            "model/config.json",
            config
                .replace("\"num_hidden_layers\": 2", &format!("\"num_hidden_layers\": {huge}"))
                .into_bytes(),
        ),
        (
            "model/config.json",
            config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4096").into_bytes(),
        ),
        (
            "model/config.json",
            config.replace("\"vocab_size\": 512", "\"vocab_size\": 16777216").into_bytes(),
        ),
        ("model/config.json", deep("{\"a\":", 1_000_000)),
        ("model/tokenizer.json", deep("[", 1_000_000)),
        ("model/tokenizer.json", b"{}".to_vec()),
        ("model/tokenizer_config.json", deep("{\"a\":", 1_000_000)),
        (
            "model/model.safetensors",
            header(json!({"a": {"dtype": "F32", "shape": [huge, huge], "data_offsets": [0, 0]}})),
        ),
        (
            "model/model.safetensors",
            header(json!({"a": {"dtype": "F32", "shape": [huge], "data_offsets": [0, huge * 4]}})),
        ),
        ("model/model.safetensors", (u64::MAX - 1).to_le_bytes().to_vec()),
        ("model/model.safetensors", 99_000_000u64.to_le_bytes().to_vec()),
        (
            "adapter/adapter_config.json",
            b"{\"peft_type\": \"LORA\", \"r\": 1099511627776}".to_vec(),
        ),
        (
            "adapter/adapter_model.safetensors",
            header(
                json!({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}),
            ),
        ),
        ("config.toml", deep("a = [", 1_000_000)),
        ("config.toml", format!("{} = 1", "a.".repeat(100_000) + "b").into_bytes()),
        ("config.toml", vec![0xff, 0xfe]),
    ] {
        let place = place();
        place.write(file, &bytes);
        let begun = Instant::now();
        let (code, said) = run(&place, &[]);
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(code, Some(2), "{file}, {start:?}: {said}");
        let folder = file.rsplit_once('/').map_or(file, |(folder, _)| folder);
        assert!(said.starts_with("error: ") && said.contains(folder), "{file}, {start:?}: {said}");
        assert!(said.len() < 4000, "{file}: {} bytes of message", said.len());
        assert!(!place.path("run").exists() && !place.path("cache").exists(), "{file}: {said}");
        assert!(begun.elapsed().as_secs() < 20, "{file}, {start:?}: {:?}", begun.elapsed());
    }
}

/// The `train` command as a user of few processes, and the limit: its exit status and what it said.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "runs between fork and exec")]
fn with_processes(place: &Place, user: u32, most: u64) -> (Option<i32>, String) {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let program = place.path("train");
    if !program.exists() {
        // Another user can neither read the folder of the build nor that of the test.
        std::fs::copy(env!("CARGO_BIN_EXE_train"), &program).unwrap();
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(place.folder.path(), open).unwrap();
    }
    let mut command = Command::new(program);
    command
        .args(["--config", "tiny.toml", "--set", "train.max_steps=1", "--output"])
        .arg(format!("run-{user}"))
        .current_dir(place.folder.path())
        .env("MVPBENCH_CACHE", place.path(&format!("cache-{user}")))
        .env("RAYON_NUM_THREADS", "4")
        .stdin(Stdio::null());
    // SAFETY: two system calls, which allocate nothing and take no lock.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            let set = libc::setrlimit(libc::RLIMIT_NPROC, &limit) == 0
                && (libc::getuid() != 0 || libc::setuid(user) == 0);
            if set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The limit does not bind the superuser, so for it the program runs as a user that has no process.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_threads_is_an_error_with_its_remedy_or_fewer_threads() {
    let place = Place::new();
    let (code, said) = with_processes(&place, 48_611, 1);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("error: no thread can be started: "), "{said}");
    assert!(said.contains("\nhint: ") && said.contains("ulimit -u"), "{said}");
    // SAFETY: a system call without arguments.
    #[expect(unsafe_code, reason = "a C function")]
    let is_root = unsafe { libc::getuid() } == 0;
    if !is_root {
        return; // how many processes a user has otherwise is not known here
    }
    for (user, most, threads) in [(48_612, 2, 1), (48_613, 4, 2)] {
        let (code, said) = with_processes(&place, user, most);
        assert_eq!(code, Some(0), "{said}");
        let warning = format!("warning: {threads} of 4 threads can be started");
        assert!(
            said.contains(&warning) && said.contains(&format!("cpu, {threads} threads")),
            "{said}"
        );
    }
}

/// Where the limit leaves too little the program says so, at its start, in its plan, or where the system refuses an allocation.
#[test]
fn a_narrow_address_space_ends_in_a_message_and_never_in_an_abort() {
    let place = place();
    let mut codes = Vec::new();
    for kib in
        [50_000, 70_000, 90_000, 110_000, 140_000, 170_000, 200_000, 250_000, 300_000, 1_500_000]
    {
        let (code, said) = run_within(&place, kib, &["--force"]);
        assert!(matches!(code, Some(0..=2)), "{kib} KiB: {code:?}: {said}");
        if code != Some(0) {
            assert!(said.contains("error: ") && said.contains("\nhint: "), "{kib} KiB: {said}");
        }
        codes.push(code);
        let _ = std::fs::remove_dir_all(place.path("run"));
    }
    assert_eq!((codes[0], *codes.last().unwrap()), (Some(2), Some(0)), "{codes:?}");
}
