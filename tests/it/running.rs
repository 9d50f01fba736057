//! A program that runs beside its test: waited for, signalled, killed, and gone with the test at the latest.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Longest wait for anything that a program should do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that a test has started; dropping it kills it.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Whether it succeeded; none while it runs.
    pub(crate) fn success(&mut self) -> Option<bool> {
        self.0.try_wait().unwrap().map(|status| status.success())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.success().is_some()
    }

    /// Waits until `seen`, which must come before the program ends.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, mut seen: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !seen() {
            assert!(!self.has_ended(), "it ended before {what}");
            assert!(begun.elapsed() < PATIENCE, "no {what}");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Kills it; false if it ended by itself before.
    pub(crate) fn kill(mut self) -> bool {
        self.0.kill().unwrap();
        self.0.wait().unwrap().signal() == Some(libc::SIGKILL)
    }

    /// Kills it as soon as `seen`; the kill must hit.
    #[track_caller]
    pub(crate) fn kill_at(mut self, what: &str, seen: impl FnMut() -> bool) {
        self.wait_for(what, seen);
        assert!(self.kill(), "it ended after {what}, before it could be killed");
    }

    /// Sends a signal such as `-TERM`.
    #[track_caller]
    pub(crate) fn send(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// The next byte of its standard error, which must be piped.
    pub(crate) fn read_byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.stderr.as_mut().unwrap().read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// Waits for its end; what it wrote to standard error, if that is piped, and its exit status.
    #[track_caller]
    pub(crate) fn end(mut self) -> (String, Option<i32>) {
        let begun = Instant::now();
        while !self.has_ended() {
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut said).unwrap();
        }
        (said, self.0.wait().unwrap().code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of a program that has ended and was waited for, neither does anything.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has Linux kill the program when the thread of the test ends, by whatever means.
#[expect(unsafe_code, reason = "runs between fork and exec")]
pub(crate) fn die_with_the_test(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: one system call, which allocates nothing and takes no lock.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(command, || {
            match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

fn sleep() -> Command {
    let mut command = Command::new("sleep");
    command.arg("600");
    command
}

#[test]
fn a_program_does_not_outlive_a_test_that_fails() {
    let running = Running::start(&mut sleep());
    running.send("-STOP");
    let id = running.0.id();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _running = running;
        std::panic::resume_unwind(Box::new("as a failed assertion does"));
    }));
    assert!(failed.is_err());
    let there = Command::new("kill").args(["-0", &id.to_string()]).output().unwrap();
    assert!(!there.status.success(), "{id} still runs");
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_does_not_outlive_the_thread_of_its_test() {
    let start = || {
        let mut command = sleep();
        die_with_the_test(&mut command);
        Running::start(&mut command)
    };
    let mut running = std::thread::spawn(start).join().unwrap();
    let begun = Instant::now();
    while !running.has_ended() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(running.0.wait().unwrap().signal(), Some(libc::SIGKILL));
}

#[test]
fn a_kill_that_comes_too_late_is_noticed() {
    let mut running = Running::start(&mut Command::new("true"));
    while !running.has_ended() {}
    assert!(!running.kill());
    assert!(Running::start(&mut sleep()).kill());
}
