//! A bound on the memory of a call whose size a file decides, such as a chat template that doubles a text in a loop.
//!
//! An allocation cannot fail with an error in Rust, and what a foreign library does between two of them cannot be stopped. So the
//! allocator of the programs, [`Bounded`], ends the program with the message and the exit status of an input error as soon as the
//! bound is passed, before the machine is short of memory. Without that allocator, as in a program of another's, nothing is bounded.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::io::Write as _;

use super::InputError;

thread_local! {
    /// Bytes that this thread may still allocate; none outside [`bounded`].
    static LEFT: Cell<Option<isize>> = const { Cell::new(None) };
    /// What is said where they are used up.
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The system's allocator, which heeds `bounded` and says what the system refuses.
#[derive(Debug)]
pub struct Bounded;

/// Takes `bytes` from what is left, or gives them back if they are negative.
fn take(bytes: isize) {
    // A thread that ends has no such variable any more.
    let _ = LEFT.try_with(|left| {
        let Some(before) = left.get() else { return };
        let after = before.saturating_sub(bytes);
        left.set(Some(after));
        if after < 0 {
            left.set(None);
            end();
        }
    });
}

/// Ends the program with the message, exit status 2.
#[expect(unsafe_code, reason = "leaves at once, in the middle of an allocation")]
fn end() {
    MESSAGE.with_borrow(|message| {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes());
    });
    // SAFETY: runs nothing of this program any more.
    unsafe { libc::_exit(2) }
}

/// `memory` of `bytes` bytes as the system gave it. Where it gave none, Rust would abort without a word of what to do, so the
/// program ends with a message, exit status 1.
#[expect(unsafe_code, reason = "leaves at once, in the middle of an allocation")]
fn given(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        // Formatting a number allocates nothing, and standard error has no buffer.
        let _ = writeln!(
            std::io::stderr(),
            "error: the system has refused {bytes} bytes of memory\n\nhint: raise the limit (`ulimit -v`, or `memory.max` of \
             the container) or end other programs, and run the same command again; finished work is kept"
        );
        // SAFETY: runs nothing of this program any more.
        unsafe { libc::_exit(1) }
    }
    memory
}

// SAFETY: every call is the system allocator's; counting allocates nothing.
#[expect(unsafe_code, reason = "an allocator is unsafe in Rust")]
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size() as isize);
        // SAFETY: as the caller promised.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size() as isize);
        // SAFETY: as the caller promised.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size as isize - layout.size() as isize);
        // SAFETY: as the caller promised.
        given(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        take(-(layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// `call`, which may hold `bytes` more on this thread. Where it asks for more, the program ends with `error`.
pub(crate) fn bounded<T>(bytes: usize, error: &InputError, call: impl FnOnce() -> T) -> T {
    /// Lifts the bound again, also where `call` panics.
    struct Lift(Option<isize>);
    impl Drop for Lift {
        fn drop(&mut self) {
            LEFT.set(self.0);
        }
    }
    MESSAGE.with_borrow_mut(|message| {
        message.clear();
        message.push_str(&format!("error: {error}\n"));
        if let Some(hint) = error.remedy() {
            message.push_str(&format!("\nhint: {hint}\n"));
        }
    });
    let _lift = Lift(LEFT.replace(Some(bytes.try_into().unwrap_or(isize::MAX))));
    call()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_lifted_after_the_call_and_after_a_panic() {
        let error = InputError::new("too much");
        assert_eq!(bounded(1 << 20, &error, || LEFT.get()), Some(1 << 20));
        assert_eq!(LEFT.get(), None);
        let panicked = std::panic::catch_unwind(|| {
            bounded(1, &error, || std::panic::resume_unwind(Box::new(())))
        });
        assert!(panicked.is_err());
        assert_eq!(LEFT.get(), None);
    }

    #[test]
    fn what_is_freed_may_be_taken_again() {
        bounded(100, &InputError::new("too much"), || {
            (0..1000).for_each(|_| {
                take(90);
                take(-90);
            });
            assert_eq!(LEFT.get(), Some(100));
        });
        take(1 << 40);
    }
}
