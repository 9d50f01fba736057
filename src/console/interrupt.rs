//! Ctrl-C and SIGTERM set a flag. Long work checks it often, for example between two micro-batches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// The user asked the program to stop; finished work is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Installs the handlers: the first Ctrl-C or SIGTERM sets the flag, a second one ends the program at once.
pub fn install() -> anyhow::Result<()> {
    let flag = FLAG.get_or_init(Arc::default);
    for signal in signal_hook::consts::TERM_SIGNALS {
        // In this order: the first signal finds the flag unset and sets it, the second finds it set.
        signal_hook::flag::register_conditional_shutdown(*signal, 1, Arc::clone(flag))?;
        signal_hook::flag::register(*signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// An [`Interrupted`] error once the flag is set.
pub fn check() -> anyhow::Result<()> {
    match FLAG.get() {
        Some(flag) if flag.load(Ordering::Relaxed) => Err(Interrupted.into()),
        _ => Ok(()),
    }
}
