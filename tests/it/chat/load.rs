//! The paper's 24,020 items with 64 in flight, in a process of its own, whose memory is read; and Ctrl-C in one.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mvpbench::console::interrupt;
use mvpbench::console::progress::Verbosity;
use mvpbench::judge::chat::Asker;
use mvpbench::judge::chat::endpoint::Endpoint;

use super::server::{Act, FakeChat};
use super::{item, items, open, settings};

/// Items of MVPBench.
const ITEMS: usize = 24_020;

/// Run by the tests below in a process of its own: asks, and prints its peak memory in kB.
#[test]
#[ignore = "the child process that a_load_killed_and_resumed_asks_each_item_once_in_little_memory and sigterm_ends_a_run_with_status_143_and_keeps_what_came_back start"]
fn asks_all() {
    let Ok(base) = std::env::var("CHAT_BASE") else { return };
    interrupt::install().unwrap();
    let journal = PathBuf::from(std::env::var("CHAT_FOLDER").unwrap()).join("journal.jsonl");
    let endpoint = Endpoint::open(&base, None).unwrap();
    let mut asker = Asker::open(endpoint, settings(), &journal, Verbosity::Quiet).unwrap();
    // As long as a profile and a question.
    let long = "x".repeat(1_500);
    let asked: Vec<_> = (0..ITEMS).map(|n| item(&format!("{n} {long}"))).collect();
    match asker.ask(&asked) {
        Ok(outcomes) => assert_eq!(outcomes.len(), ITEMS),
        Err(error) if error.is::<interrupt::Interrupted>() => {
            std::process::exit(i32::from(interrupt::status()))
        }
        Err(error) => panic!("{error:#}"),
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    #[expect(clippy::print_stdout, reason = "the parent process reads it")]
    {
        println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
    }
}

fn child(chat: &FakeChat, folder: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "chat::load::asks_all", "--ignored", "--nocapture"])
        .env("CHAT_BASE", &chat.base)
        .env("CHAT_FOLDER", folder)
        .stdout(Stdio::piped());
    command
}

#[test]
#[cfg(target_os = "linux")]
fn a_load_killed_and_resumed_asks_each_item_once_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|_, _| Act::Say("Yes, it fits this person's values."));
    let begun = Instant::now();
    let mut kills = 0;
    let output = loop {
        let mut child = child(&chat, folder.path()).spawn().unwrap();
        if kills < 10 {
            std::thread::sleep(Duration::from_millis(600));
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            continue;
        }
        break child.wait_with_output().unwrap();
    };
    let took = begun.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let peak = said.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kb: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
    let tries = chat.tries();
    let again = tries.values().sum::<usize>() - ITEMS;
    #[expect(clippy::print_stdout, reason = "memory and time of the load, under `--nocapture`")]
    {
        println!("{ITEMS} items, {kills} kills: {took:.1?}, {peak_kb} kB, {again} asked again");
    }
    assert_eq!(tries.len(), ITEMS);
    // Only what was in flight at a kill, and not yet in the journal, is asked again.
    assert!(again <= kills * 64, "{again} asked again");
    assert!(peak_kb < 200_000, "{peak_kb} kB");
    // Nothing is left to ask.
    let before = tries.values().sum::<usize>();
    assert!(child(&chat, folder.path()).output().unwrap().status.success());
    assert_eq!(chat.tries().values().sum::<usize>(), before);
    assert!(chat.most_open() <= 64 * 2, "a killed process's requests may still be open");
}

#[test]
#[cfg(unix)]
fn sigterm_ends_a_run_with_status_143_and_keeps_what_came_back() {
    let folder = tempfile::tempdir().unwrap();
    let chat = FakeChat::serve(|_, _| Act::Slow(Duration::from_millis(50)));
    let mut child = child(&chat, folder.path()).spawn().unwrap();
    while chat.tries().len() < 100 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let journal = std::fs::read(folder.path().join("journal.jsonl")).unwrap();
    let lines = journal.iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(lines, chat.tries().len(), "those in flight came back");
    // The journal stands.
    open(&chat, settings(), folder.path()).estimate(&items(1)).unwrap();
}
