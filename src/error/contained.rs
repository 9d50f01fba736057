//! Turns panics into errors: some libraries panic on broken files.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use anyhow::Result;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}
static HOOK: Once = Once::new();

/// Runs `call`; turns a panic in it into the error that `broken` makes of its reason, and prints nothing.
///
/// After an error, what `call` worked on must not be used again. A panic elsewhere is printed as usual.
pub(crate) fn contained<T>(
    call: impl FnOnce() -> Result<T>,
    broken: impl FnOnce(&str) -> anyhow::Error,
) -> Result<T> {
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CONTAINED.get() {
                print(info);
            }
        }));
    });
    let outside = CONTAINED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    CONTAINED.set(outside);
    outcome.unwrap_or_else(|panic| {
        let formatted = panic.downcast_ref::<String>().map(String::as_str);
        let why = formatted.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(broken(why.unwrap_or("no reason given")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_reason_and_the_next_call_works() {
        let broken = |why: &str| anyhow::anyhow!("t.json: {why}");
        let error = contained(|| -> Result<()> { panic!("index {}", 7) }, broken).unwrap_err();
        assert_eq!(error.to_string(), "t.json: index 7");
        assert_eq!(contained(|| Ok(5), broken).unwrap(), 5);
    }
}
