//! Notes, warnings and progress on stderr: a bar on a terminal, elsewhere a line every ten seconds, only warnings when
//! quiet.

use std::fmt::{self, Display};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, ProgressBar, ProgressState, ProgressStyle};

use crate::console::stderr::{self, Mark};
use crate::console::units;
use crate::error::printable;

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
    /// Prints one line, unless quiet; control characters, as a file may put into it, are escaped.
    pub fn note(self, line: impl Display) {
        if self == Self::Normal {
            stderr::say(printable(&line.to_string()));
        }
    }

    /// [`Self::note`] after `warning: `, also when quiet.
    pub fn warn(self, line: impl Display) {
        stderr::say_as(Mark::Warning, printable(&line.to_string()));
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
                bar.set_style(style(&unit));
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
            parts: Vec::new(),
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
    /// Those of the last advance, for the line that stays of a bar.
    parts: Vec<String>,
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

/// A bar in one line: what is left of the terminal's width is the message's.
fn style(unit: &Unit) -> ProgressStyle {
    let amount = match unit {
        Unit::Count(unit) => format!("{{pos}}/{{len}} {unit}"),
        Unit::Bytes => "{decimal_bytes}/{decimal_total_bytes}".to_owned(),
    };
    let speed = match unit {
        Unit::Count(_) => "{rate}/s",
        Unit::Bytes => "{decimal_bytes_per_sec}",
    };
    let template = format!("{{prefix}} [{{bar:10}}] {amount}, {speed}, ETA {{eta}}{{wide_msg}}");
    let style = ProgressStyle::with_template(&template);
    style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}", rate(state.per_sec()));
        })
        .progress_chars("=> ")
}

/// A rate in three digits or so: `0.023`, `4.52`, `131.8`.
fn rate(per_second: f64) -> String {
    let digits = match per_second {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{per_second:.digits$}")
}

impl Progress {
    /// Adds `count` finished units and shows as many of `parts` next to them as the line has room for.
    pub fn advance(&mut self, count: u64, parts: &[String]) {
        self.done += count;
        let is_over = self.done >= self.total;
        match &mut self.view {
            View::Bar(bar) => {
                // Brackets and bar, the comma, the rate, the time left.
                let around = 15 + 12 + 9;
                let used =
                    self.title.chars().count() + self.unit.amount(self.done, self.total).len();
                bar.set_message(fitting("", parts, room(used + around)));
                self.parts = parts.to_vec();
                bar.inc(count);
            }
            View::Lines { next } if Instant::now() >= *next || is_over => {
                *next = Instant::now() + Duration::from_secs(LINE_EVERY_S);
                let elapsed_s = self.begun.elapsed().as_secs_f64();
                let per_second = (self.done - self.first) as f64 / elapsed_s.max(1e-9);
                let left_s = self.total.saturating_sub(self.done) as f64 / per_second.max(1e-9);
                let time = match is_over {
                    true => units::duration(elapsed_s),
                    false => {
                        let rate = match &self.unit {
                            Unit::Count(_) => rate(per_second),
                            Unit::Bytes => DecimalBytes(per_second as u64).to_string(),
                        };
                        format!("{rate}/s, ETA {}", units::duration(left_s))
                    }
                };
                let amount = self.unit.amount(self.done, self.total);
                let line = format!("{} {amount}, {time}", self.title);
                Verbosity::Normal.note(fitting(&line, parts, room(0)));
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

/// The line that stays of a bar: its parts that have room, with the time that it took.
fn ended(progress: &Progress) -> String {
    let Progress { title, unit, begun, done, total, parts, .. } = progress;
    let filled = usize::try_from(10 * done.min(total) / total.max(&1)).unwrap_or(10);
    let bar = format!("{}{}", "=".repeat(filled), " ".repeat(10 - filled));
    let took = units::duration(begun.elapsed().as_secs_f64());
    let line = format!("{title} [{bar}] {}, {took}", unit.amount(*done, *total));
    fitting(&line, parts, room(0))
}

/// `line` and after it as many of `parts` as fit into `columns`.
fn fitting(line: &str, parts: &[String], columns: usize) -> String {
    let mut line = line.to_owned();
    for part in parts {
        if line.chars().count() + 2 + part.chars().count() > columns {
            break;
        }
        line += &format!(", {part}");
    }
    line
}

/// Columns that are left beside `used`; no end of them in a file or a pipe.
fn room(used: usize) -> usize {
    stderr::columns().map_or(usize::MAX, |columns| columns.saturating_sub(used))
}

impl Unit {
    fn amount(&self, done: u64, total: u64) -> String {
        match self {
            Self::Count(unit) => format!("{done}/{total} {unit}"),
            Self::Bytes => format!("{}/{}", DecimalBytes(done), DecimalBytes(total)),
        }
    }
}

/// What is done when the work ends stays on the screen, with the time that it took.
impl Drop for Progress {
    fn drop(&mut self) {
        if let View::Bar(bar) = &self.view {
            // A line of its own: the bar's last state has no line break, and cuts what has no room.
            bar.finish_and_clear();
            stderr::say(ended(self));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_digits_that_can_be_told_apart() {
        assert_eq!([0.0234, 4.521, 13.18, 131.8].map(rate), ["0.023", "4.52", "13.2", "132"]);
    }

    #[test]
    fn the_line_that_stays_of_a_bar_is_whole() {
        let mut progress = Progress {
            view: View::Nothing,
            title: "train".to_owned(),
            unit: Unit::Count("steps".to_owned()),
            begun: Instant::now(),
            first: 0,
            done: 3,
            total: 6,
            parts: vec!["loss 0.69".to_owned()],
        };
        assert_eq!(ended(&progress), "train [=====     ] 3/6 steps, 0.0 s, loss 0.69");
        (progress.done, progress.total) = (0, 0);
        assert!(ended(&progress).contains("] 0/0 steps, "));
    }

    #[test]
    fn parts_that_have_no_room_are_left_out_whole() {
        let parts = ["loss 0.69".to_owned(), "margin +0.1".to_owned()];
        assert_eq!(fitting("train", &parts, usize::MAX), "train, loss 0.69, margin +0.1");
        assert_eq!(fitting("train", &parts, 29), "train, loss 0.69, margin +0.1");
        assert_eq!(fitting("train", &parts, 28), "train, loss 0.69");
    }
}
