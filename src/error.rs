//! The one error that `main` matches on: the user's input was wrong, so the exit status is 2.

use std::fmt;

/// What the user gave cannot be used: a file, a key, a value, a tensor.
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
        Self { message: message.into(), hint: None }
    }

    /// Adds the remedy, printed on its own line as `hint: ...`.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The remedy, if there is one.
    pub fn remedy(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The input error in the chain of `error`, if the user's input is what went wrong.
    pub fn of(error: &anyhow::Error) -> Option<&Self> {
        error.chain().find_map(|cause| cause.downcast_ref())
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
    fn an_input_error_is_found_under_context() {
        let bare: anyhow::Result<()> =
            Err(InputError::new("`a` is odd").hint("make it even").into());
        let error = bare.context("configs/run.toml").unwrap_err();
        assert_eq!(InputError::of(&error).and_then(InputError::remedy), Some("make it even"));
        assert!(InputError::of(&anyhow::anyhow!("disk full")).is_none());
    }
}
