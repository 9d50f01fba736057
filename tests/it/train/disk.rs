//! A full disk and a read-only folder: a clear message, and the last checkpoint unchanged.
#![cfg(unix)]

use std::process::{Command, Output, Stdio};

use crate::command::{Place, lines};
use crate::require::{Need, skip};
use crate::train::kills::{assert_same, outcome, place};

/// Runs `script` with the `train` command as `"$@"`.
fn shell(place: &Place, script: &str) -> Output {
    let train = place.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(train.get_program());
    for (name, value) in train.get_envs() {
        command.env(name, value.unwrap());
    }
    let config = ["--config", "config.toml"];
    command.args(config).current_dir(place.folder.path()).stdin(Stdio::null()).output().unwrap()
}

/// A run with some steps done and some left.
fn half_done() -> Place {
    let place = place();
    let mut run = place.start_heard(&["--config", "config.toml", "-q"]);
    let log = place.path("run/train.jsonl");
    run.wait_for("step 2", || lines(&log) >= 2);
    run.send("-TERM");
    assert_eq!(run.end().1, Some(143));
    let done = lines(&log);
    assert!((1..8).contains(&done), "{done} steps done");
    place
}

#[track_caller]
fn assert_said(output: &Output, parts: &[&str]) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [&["error: ", "hint: "], parts].concat() {
        assert!(said.contains(part), "expected `{part}` in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn checkpoints(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path("run/checkpoints")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_failed_write_is_an_error_and_leaves_the_last_checkpoint() {
    let whole = place();
    whole.succeed(&["--config", "config.toml", "-q"]);
    let (whole, place) = (outcome(&whole), half_done());
    let before = checkpoints(&place);
    // No file may grow beyond 4 KiB. The signal that would end the program is ignored, so the write fails as on a full
    // disk.
    let output = shell(&place, "trap '' XFSZ; ulimit -f 8; exec \"$@\"");
    assert_eq!(output.status.code(), Some(1));
    assert_said(&output, &["cannot write", "run", "File too large", "make room"]);
    assert_eq!(checkpoints(&place), before, "nothing half-written is left, nothing is lost");
    place.succeed(&["--config", "config.toml", "-q"]);
    assert_same(&place, &whole, "after a full disk");
}

#[test]
fn a_full_file_system_is_an_error_and_leaves_the_last_checkpoint() {
    let place = half_done();
    // Runs in its own mount namespace, if the system allows one.
    let script = "exec unshare --user --map-root-user --mount sh -c '
        mount -t tmpfs -o size=64m tmpfs /mnt || { echo no tmpfs; exit 77; }
        cp -r . /mnt/place && cd /mnt/place || exit 77
        head -c 100m /dev/zero > fill 2>/dev/null; truncate -s -24576 fill
        \"$@\" ; code=$?
        rm fill; ls -A run/checkpoints
        \"$@\" -q > /dev/null || exit 78
        exit $code' sh \"$@\"";
    let before = checkpoints(&place);
    let output = shell(&place, script);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(77) || said.contains("unshare") {
        return skip(Need::Mounts, &said);
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_said(&output, &["No space left on device", "make room"]);
    let mut left: Vec<_> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    left.sort();
    assert!(
        before.iter().all(|name| left.contains(name) || name < &left[0]),
        "{left:?} of {before:?}"
    );
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
}

#[test]
fn results_that_cannot_be_printed_are_an_error_and_no_panic() {
    let place = place();
    place.succeed(&["--config", "config.toml", "-q"]);
    if !std::path::Path::new("/dev/full").exists() {
        return skip(Need::FullDevice, "");
    }
    let output = shell(&place, "exec \"$@\" > /dev/full");
    assert_eq!(output.status.code(), Some(1));
    assert_said(&output, &["No space left on device"]);
}

#[test]
fn a_read_only_folder_is_refused_before_anything_is_computed() {
    let place = half_done();
    let before = checkpoints(&place);
    // Root ignores a folder's mode, so it needs a read-only mount.
    let script = "if [ \"$(id -u)\" -ne 0 ]; then
        chmod a-w run; \"$@\"; code=$?; chmod u+w run; exit $code
    fi
    exec unshare --mount sh -c '
        mount --bind run run && mount -o remount,ro,bind run || exit 77
        cd . && \"$@\"' sh \"$@\"";
    let output = shell(&place, script);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(77) || said.contains("unshare:") {
        return skip(Need::Mounts, &said);
    }
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_said(&output, &["output folder `run` cannot be written", "--output"]);
    assert_eq!(checkpoints(&place), before);
}
