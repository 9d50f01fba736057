//! The one error that `main` matches on: the user's input was wrong, so the exit status is 2.

pub mod bounded;
pub(crate) mod contained;

use std::{fmt, io};

/// The user's input cannot be used: a file, a key, a value, a tensor.
///
/// The message is lower case, names the place, what was expected and what was found; the hint is the remedy.
/// Wrap it in [`anyhow::Error`] and add context freely: [`InputError::of`] finds it anywhere in the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InputError {
    message: String,
    hint: Option<String>,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl InputError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: self::message(&message.into()), hint: None }
    }

    /// Adds the remedy, printed on its own line as `hint: ...`.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(self::message(&hint.into()));
        self
    }

    /// The remedy, if there is one.
    pub fn remedy(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// `what: error`, of a path that the user gave: an [`InputError`] where [`is_of_path`] holds, with what `remedy` adds to it; otherwise
    /// `error` itself under `what`, mostly a failure of the machine.
    pub fn of_path(
        what: impl fmt::Display,
        error: io::Error,
        remedy: impl FnOnce(Self) -> Self,
    ) -> anyhow::Error {
        if is_of_path(&error) {
            remedy(Self::new(format!("{what}: {error}"))).into()
        } else {
            anyhow::Error::new(error).context(what.to_string())
        }
    }

    /// The input error in the chain of `error`; none if something else went wrong.
    pub fn of(error: &anyhow::Error) -> Option<&Self> {
        error.chain().find_map(|cause| {
            // The inner error of one of the system is no link of the chain.
            let inner = || cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
            cause.downcast_ref().or_else(inner)
        })
    }
}

/// Whether `error` tells of the path that was given: nothing is there, it is not what is expected, or nobody may read or write it.
/// Anything else, such as a full or failing disk or too many open files, is a failure of the machine.
pub fn is_of_path(error: &io::Error) -> bool {
    use io::ErrorKind::{
        InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound,
        PermissionDenied, ReadOnlyFilesystem,
    };
    matches!(
        error.kind(),
        NotFound
            | PermissionDenied
            | InvalidData
            | InvalidFilename
            | NotADirectory
            | IsADirectory
            | ReadOnlyFilesystem
    ) || error.raw_os_error() == Some(libc::ELOOP)
        || error.kind() == InvalidInput && error.raw_os_error().is_none() // a name with a NUL byte
}

/// A message that is safe to print, whatever a file put into it: control characters escaped, at most a screen or two.
fn message(text: &str) -> String {
    /// Characters kept of the beginning and of the end.
    const KEPT: [usize; 2] = [3000, 300];
    let message = printable(text);
    let cut = |n: usize| message.char_indices().nth(n).map(|(at, _)| at);
    let Some(from) = cut(KEPT[0]).filter(|_| cut(KEPT[0] + KEPT[1]).is_some()) else {
        return message;
    };
    let to = message.char_indices().rev().nth(KEPT[1] - 1).map_or(from, |(at, _)| at);
    format!("{} [...] {}", &message[..from], &message[to..])
}

/// `text` of several lines, safe to print: control characters escaped but line breaks and tabs.
pub fn printable(text: &str) -> String {
    escaped(text, |c| c.is_control() && c != '\n' && c != '\t')
}

/// An id or another text of a file for one line of a message: every control character escaped, so that it neither breaks the line nor
/// moves the cursor.
pub fn one_line(text: &str) -> String {
    escaped(text, char::is_control)
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut all = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) { all.extend(c.escape_default()) } else { all.push(c) }
    }
    all
}

/// A value for a message, on one line, cut after 80 characters.
pub fn shown(value: &(impl fmt::Display + ?Sized)) -> String {
    const SHOWN: usize = 80;
    let text = one_line(&value.to_string());
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Returns early with an [`InputError`]; the arguments are those of `format!`.
#[macro_export]
macro_rules! bail_input {
    ($($arg:tt)*) => { return Err($crate::error::InputError::new(format!($($arg)*)).into()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_message_is_no_longer_than_a_screen_and_has_no_control_characters() {
        let error = InputError::new(format!("a.json: `{}` at the end", "é".repeat(1 << 20)));
        assert_eq!(error.message.chars().count(), 3000 + 7 + 300);
        assert!(error.message.starts_with("a.json: `é") && error.message.ends_with("` at the end"));
        let error = InputError::new("a\u{1b}[2Jb\n\tc\0").hint("\u{7}");
        assert_eq!(error.message, "a\\u{1b}[2Jb\n\tc\\u{0}");
        assert_eq!(error.remedy(), Some("\\u{7}"));
    }

    #[test]
    fn an_id_stays_on_its_line() {
        assert_eq!(one_line("a\nb\u{1b}[2J\u{9b}é"), "a\\nb\\u{1b}[2J\\u{9b}é");
        assert_eq!(shown(&"a\tb"), "a\\tb");
    }

    #[test]
    fn what_a_path_is_to_blame_for_is_an_input_error_and_a_failure_of_the_machine_is_none() {
        let wrapped = |error: io::Error| {
            let error = InputError::of_path("cannot read `a`", error, |error| error.hint("b"));
            assert!(format!("{error:#}").starts_with("cannot read `a`: "), "{error:#}");
            InputError::of(&error).map(|error| error.remedy() == Some("b"))
        };
        // It keeps its own remedy.
        let inner = io::Error::other(InputError::new("found a pipe").hint("c"));
        for number in
            [libc::ENOENT, libc::EACCES, libc::ENOTDIR, libc::EISDIR, libc::EROFS, libc::ELOOP]
        {
            assert_eq!(wrapped(io::Error::from_raw_os_error(number)), Some(true), "{number}");
        }
        assert_eq!(wrapped(io::ErrorKind::InvalidData.into()), Some(true));
        assert_eq!(wrapped(inner), Some(false));
        for number in [libc::EIO, libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::ENOMEM] {
            assert_eq!(wrapped(io::Error::from_raw_os_error(number)), None, "{number}");
        }
    }

    #[test]
    fn an_input_error_is_found_under_context() {
        let bare: anyhow::Result<()> =
            Err(InputError::new("`a` is odd").hint("make it even").into());
        let error = bare.context("configs/run.toml").unwrap_err();
        assert_eq!(InputError::of(&error).and_then(InputError::remedy), Some("make it even"));
        assert!(InputError::of(&anyhow::anyhow!("disk full")).is_none());
    }
}
