//! Notes, warnings and progress on stderr: a bar on a terminal, elsewhere a line every ten seconds, only warnings when
//! quiet.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};

use crate::console::units;

/// Seconds between two lines without a terminal.
const LINE_EVERY_S: u64 = 10;

/// How much is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Notes and progress.
    Normal,
    /// Warnings and errors only.
    Quiet,
}

impl Verbosity {
    /// Prints one line, unless quiet.
    #[expect(clippy::print_stderr, reason = "notes go to stderr, results to stdout")]
    pub fn note(self, line: impl Display) {
        if self == Self::Normal {
            eprintln!("{line}");
        }
    }

    /// Prints one line after `warning: `, also when quiet.
    #[expect(clippy::print_stderr, reason = "warnings go to stderr, results to stdout")]
    pub fn warn(self, line: impl Display) {
        eprintln!("warning: {line}");
    }

    /// Shows work of `total` units under `title`, `done` of them finished.
    pub fn progress(self, title: &str, unit: &str, done: u64, total: u64) -> Progress {
        self.show(title, Unit::Count(unit.to_owned()), done, total)
    }

    /// Shows the download of a file of `total` bytes, `done` of them received.
    pub fn download(self, title: &str, done: u64, total: u64) -> Progress {
        self.show(title, Unit::Bytes, done, total)
    }

    fn show(self, title: &str, unit: Unit, done: u64, total: u64) -> Progress {
        let view = match self {
            Self::Quiet => View::Nothing,
            Self::Normal if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::new(total).with_position(done).with_prefix(title.to_owned());
                let amount = match &unit {
                    Unit::Count(unit) => format!("{{pos}}/{{len}} {unit}"),
                    Unit::Bytes => {
                        "{decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}".to_owned()
                    }
                };
                let template = format!("{{prefix}} [{{bar:30}}] {amount}{{msg}}, ETA {{eta}}");
                bar.set_style(
                    ProgressStyle::with_template(&template)
                        .unwrap_or_else(|_| ProgressStyle::default_bar())
                        .progress_chars("=> "),
                );
                bar.enable_steady_tick(Duration::from_millis(500));
                bar.reset_eta();
                View::Bar(bar)
            }
            Self::Normal => {
                View::Lines { next: Instant::now() + Duration::from_secs(LINE_EVERY_S) }
            }
        };
        Progress {
            view,
            title: title.to_owned(),
            unit,
            begun: Instant::now(),
            first: done,
            done,
            total,
        }
    }
}

/// The display of running work.
pub struct Progress {
    view: View,
    title: String,
    unit: Unit,
    begun: Instant,
    first: u64,
    done: u64,
    total: u64,
}

enum Unit {
    Count(String),
    Bytes,
}

enum View {
    Bar(ProgressBar),
    Lines { next: Instant },
    Nothing,
}

impl Progress {
    /// Adds `count` finished units and shows `message` next to them.
    pub fn advance(&mut self, count: u64, message: impl Display) {
        self.done += count;
        let message = spaced(message);
        match &mut self.view {
            View::Bar(bar) => {
                bar.set_message(message);
                bar.inc(count);
            }
            View::Lines { next } if Instant::now() >= *next || self.done == self.total => {
                *next = Instant::now() + Duration::from_secs(LINE_EVERY_S);
                let per_unit =
                    self.begun.elapsed().as_secs_f64() / (self.done - self.first).max(1) as f64;
                let left_s = per_unit * self.total.saturating_sub(self.done) as f64;
                let end = match self.done >= self.total {
                    true => units::duration(self.begun.elapsed().as_secs_f64()),
                    false => format!("ETA {}", units::duration(left_s)),
                };
                let amount = match &self.unit {
                    Unit::Count(unit) => format!("{}/{} {unit}", self.done, self.total),
                    Unit::Bytes => {
                        format!("{}/{}", DecimalBytes(self.done), DecimalBytes(self.total))
                    }
                };
                Verbosity::Normal.note(format!("{} {amount}{message}, {end}", self.title));
            }
            View::Lines { .. } | View::Nothing => {}
        }
    }

    /// Runs `print`, which writes lines to stderr, without breaking the bar.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.view {
            View::Bar(bar) => bar.suspend(print),
            View::Lines { .. } | View::Nothing => print(),
        }
    }
}

/// A space and the message; nothing for an empty one.
fn spaced(message: impl Display) -> String {
    let message = message.to_string();
    if message.is_empty() { message } else { format!(" {message}") }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let View::Bar(bar) = &self.view {
            bar.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_message_leaves_no_second_space() {
        assert_eq!(spaced(""), "");
        assert_eq!(spaced("loss 0.69"), " loss 0.69");
    }
}
