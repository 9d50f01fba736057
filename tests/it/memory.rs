//! How much memory a call takes, by an allocator that counts for each thread, and how much processor time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: every call is the system allocator's; counting allocates nothing.
#[expect(unsafe_code, reason = "an allocator is unsafe in Rust")]
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// The result of `call` and the most bytes that this thread held for it at one time.
pub(crate) fn peak_of<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = call();
    (result, (PEAK.get() - before).max(0) as usize)
}

/// The result of `call` and the seconds of processor time, user and system, that this thread took for it: other programs do not add to them.
pub(crate) fn processor_time_of<T>(call: impl FnOnce() -> T) -> (T, f64) {
    let before = processor_time();
    let result = call();
    (result, processor_time() - before)
}

/// Seconds of processor time of this thread so far.
#[expect(unsafe_code, reason = "the clock of a thread is read by a call of the system")]
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which is there.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
fn a_thread_that_waits_takes_no_processor_time() {
    let pause = std::time::Duration::from_millis(200);
    let (_, waited) = processor_time_of(|| std::thread::sleep(pause));
    let (_, worked) = processor_time_of(|| {
        let begin = processor_time();
        while processor_time() - begin < pause.as_secs_f64() {}
    });
    assert!(waited < 0.1 && worked >= 0.2, "{waited} {worked}");
}

#[test]
fn what_is_held_at_one_time_is_counted_and_what_was_freed_is_not() {
    let (_, peak) = peak_of(|| {
        for _ in 0..10 {
            std::hint::black_box(vec![1u8; 1 << 20]);
        }
    });
    assert!((1 << 20..2 << 20).contains(&peak), "{peak}");
}
