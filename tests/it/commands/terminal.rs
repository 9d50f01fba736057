//! What a terminal of 80 columns shows: no line wraps, bars keep their times, marks are coloured unless unwanted.
#![cfg(unix)]

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

use crate::command::Place;
use crate::golden::{pairs, text};

/// A small run of a few steps, in a folder with a long name, with an evaluation set.
fn place() -> Place {
    Place::golden("tiny").set("train.max_steps", 6).evaluate("golden", pairs())
}

/// Every verb; those that print JSON lines to be read by programs write them to a file.
fn verbs(place: &Place) -> Vec<Command> {
    let (model, config) = (text("models/tiny"), ["--config", "config.toml"]);
    let data = format!("golden={}", pairs());
    let with_config = |arguments: &[&str]| place.mvpbench(&[arguments, &config].concat());
    let split = ["data", "split", "--input", &pairs(), "--by", "record", "--output", "split"];
    vec![
        place.command(&[&config[..], &["--dry-run"]].concat()),
        place.command(&config),
        with_config(&["data", "stats"]),
        with_config(&["data", "inspect"]),
        place.mvpbench(&["eval", "--model", &model, "--adapter", "run/adapter", "--data", &data]),
        place.mvpbench(&["generate", "--model", &model, "--prompt", "a", "--output", "a.jsonl"]),
        place.mvpbench(&["report", "run"]),
        place.mvpbench(&["report", "run", "runs/eval", "--output", "both"]),
        place.mvpbench(&["merge", "--model", &model, "--adapter", "run/adapter", "--output", "m"]),
        place.mvpbench(&["doctor", "--quick"]),
        place.command(&["--config", "config.toml", "--set", "lora.rnak=8"]),
        place.command(&["--config", "config.toml", "--resume", "nosuch"]),
        place.mvpbench(&split),
    ]
}

/// Lines of `shown` that are wider than the terminal and hold no path.
fn too_wide(shown: &str) -> Vec<&str> {
    let is_wide = |line: &&str| line.chars().count() > 80 && !line.contains('/');
    shown.lines().filter(is_wide).collect()
}

#[test]
fn no_line_is_wider_than_80_columns() {
    let place = place();
    for mut verb in verbs(&place) {
        let output = verb.env("COLUMNS", "80").output().unwrap();
        for shown in [&output.stdout, &output.stderr] {
            let shown = String::from_utf8_lossy(shown);
            assert_eq!(too_wide(&shown), Vec::<&str>::new(), "{verb:?}\n{shown}");
            assert!(!shown.contains("panicked"), "{shown}");
        }
    }
}

/// What a terminal of 80 columns gets from `command`, escape sequences included.
#[expect(unsafe_code, reason = "opens a pseudo-terminal")]
fn on_a_terminal(command: &mut Command) -> String {
    let (mut master, mut slave) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: both descriptors are ours; the two null pointers ask for no name and for the usual modes.
    let opened = unsafe {
        libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null_mut(), &size)
    };
    assert_eq!(opened, 0);
    // SAFETY: nothing else closes them.
    let (mut master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    command.stdout(slave.try_clone().unwrap()).stderr(Stdio::from(slave));
    let mut child = command.env_remove("NO_COLOR").env_remove("COLUMNS").spawn().unwrap();
    command.stdout(Stdio::null()).stderr(Stdio::null()); // closes the slave here
    let mut shown = Vec::new();
    let mut block = [0; 4096];
    // A terminal whose other end is closed reads as an error.
    while let Ok(count @ 1..) = master.read(&mut block) {
        shown.extend_from_slice(&block[..count]);
    }
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}

/// `shown` without escape sequences, a line for each time that the terminal's cursor went back to the left.
fn lines(shown: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = shown.chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => {
                rest.by_ref().skip(1).find(|c| c.is_ascii_alphabetic());
            }
            '\r' => plain.push('\n'),
            c => plain.push(c),
        }
    }
    plain.lines().flat_map(bars_apart).collect()
}

/// `line` as a terminal shows it, where it begins with bars: each is filled up with spaces to the last column.
fn bars_apart(line: &str) -> Vec<String> {
    let mut rest: Vec<char> = line.chars().collect();
    let mut apart = Vec::new();
    while rest.len() > 80 && rest[..79].windows(2).any(|two| matches!(two, ['[', '=' | '>' | ' ']))
    {
        let after = rest.split_off(80);
        apart.push(rest.into_iter().collect());
        rest = after;
    }
    apart.push(rest.into_iter().collect());
    apart
}

#[test]
fn on_a_terminal_bars_fit_and_keep_their_times_when_they_end() {
    let place = place();
    let shown = on_a_terminal(place.command(&["--config", "config.toml"]).env("TERM", "xterm"));
    let lines = lines(&shown);
    let wide = lines.iter().filter(|l| l.chars().count() > 80 && !l.contains('/'));
    assert_eq!(wide.collect::<Vec<_>>(), Vec::<&String>::new());
    for title in ["before golden [", "train [", "after golden ["] {
        let last = lines.iter().rfind(|line| line.starts_with(title));
        let last = last.unwrap_or_else(|| panic!("no `{title}` in {shown}"));
        assert!(last.contains(" s") && !last.contains("ETA"), "{last}");
        assert!(!last.ends_with(',') && shown.contains(&format!("{last}\r\n")), "{shown:?}");
        assert!(last.contains("6/6 steps, ") || last.contains(" pairs, "), "{last}");
    }
}

#[test]
fn marks_are_coloured_on_a_terminal_that_wants_it_and_nowhere_else() {
    let place = place();
    let mistake = || place.command(&["--config", "config.toml", "--set", "lora.rnak=8"]);
    let red = "\x1b[1;31merror:\x1b[0m ";
    let shown = on_a_terminal(mistake().env("TERM", "xterm"));
    assert!(shown.contains(red) && shown.contains("\x1b[1;36mhint:\x1b[0m "), "{shown:?}");
    for ci in ["", "true"] {
        let shown = on_a_terminal(mistake().env("TERM", "dumb").env("CI", ci));
        assert!(shown.contains("error: ") && !shown.contains('\x1b'), "{shown:?}");
    }
    let output = mistake().env("TERM", "xterm").output().unwrap();
    assert!(!output.stderr.contains(&0x1b) && output.stderr.starts_with(b"error: "));
    let mut plain = mistake();
    plain.env("TERM", "xterm");
    let shown = on_a_terminal(
        Command::new("env")
            .arg("NO_COLOR=1")
            .arg(plain.get_program())
            .args(plain.get_args())
            .current_dir(place.folder.path())
            .env("TERM", "xterm"),
    );
    assert!(shown.contains("error: ") && !shown.contains('\x1b'), "{shown:?}");
}
