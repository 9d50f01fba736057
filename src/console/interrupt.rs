//! Ctrl-C and SIGTERM set a flag. Long work checks it often, for example between two micro-batches.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The user asked the program to stop; finished work is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// Number of the signal that set the flag; 0 before.
static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Installs the handlers: the first Ctrl-C or SIGTERM sets the flag, a second one ends the program at once; SIGBUS is explained.
pub fn install() -> anyhow::Result<()> {
    let flag = FLAG.get_or_init(Arc::default);
    let number = SIGNAL.get_or_init(Arc::default);
    for &signal in signal_hook::consts::TERM_SIGNALS {
        // In this order: the first signal finds the flag unset and sets it, the second finds it set.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            SIGNALLED + signal,
            Arc::clone(flag),
        )?;
        signal_hook::flag::register_usize(signal, Arc::clone(number), signal as usize)?;
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    explain_bus_errors()
}

/// What SIGBUS means here.
const CUT_SHORT: &[u8] = b"error: a file was cut short, or its disk failed, while the program read it where it lies (SIGBUS)\n\
    hint: it is most likely a file of the model's weights; put it back, and the same command resumes\n";

/// Has SIGBUS say what it means before the program ends with exit status 1.
fn explain_bus_errors() -> anyhow::Result<()> {
    let explain = || {
        // SAFETY: the constant's own address and length.
        #[expect(unsafe_code, reason = "nothing but `write` may be called in a signal handler")]
        unsafe {
            libc::write(libc::STDERR_FILENO, CUT_SHORT.as_ptr().cast(), CUT_SHORT.len());
        }
        signal_hook::low_level::exit(1);
    };
    // SAFETY: `write` and `_exit` may be called in a signal handler.
    #[expect(unsafe_code, reason = "a signal handler is unsafe in Rust")]
    unsafe { signal_hook::low_level::register(signal_hook::consts::SIGBUS, explain) }?;
    Ok(())
}

/// Has `SIGUSR1`, as which a launcher passes a signal on to its ranks, count as SIGTERM.
pub fn install_passed_on() -> anyhow::Result<()> {
    let (flag, number) = (FLAG.get_or_init(Arc::default), SIGNAL.get_or_init(Arc::default));
    let term = signal_hook::consts::SIGTERM as usize;
    signal_hook::flag::register_usize(signal_hook::consts::SIGUSR1, Arc::clone(number), term)?;
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(flag))?;
    Ok(())
}

/// Whether this process leaves it to another one to end its work.
static LEFT: AtomicBool = AtomicBool::new(false);

/// Has [`check`] pass whatever signal comes: another process decides, and ends this one.
pub fn leave_to_another() {
    LEFT.store(true, Ordering::Relaxed);
}

/// Whether a signal has come, also to a process that leaves it to another.
pub fn is_signalled() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Exit status of a process that a signal ended, less the signal's number.
const SIGNALLED: i32 = 128;

/// The exit status after an interruption: 130 after Ctrl-C, 143 after SIGTERM.
pub fn status() -> u8 {
    let signal = SIGNAL.get().map_or(0, |signal| signal.load(Ordering::Relaxed));
    u8::try_from(SIGNALLED as usize + signal).unwrap_or(u8::MAX)
}

/// An [`Interrupted`] error once the flag is set.
pub fn check() -> anyhow::Result<()> {
    if is_signalled() && !LEFT.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
}
