//! Work on a device -> seconds of one run. On a GPU the runs are queued one after another and timed by marks in its queue, so that no
//! wait of the host is in a time; on a CPU each run is timed alone.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::Result;
use candle_core::Device;

use crate::machine::moment::Moment;
use crate::machine::peak::free_bytes;

/// Fewest runs that are queued on a GPU, unless they take longer than [`LONGEST_S`].
const QUEUED: usize = 20;

/// Longest time for which runs are queued beyond what was asked for, seconds.
const LONGEST_S: f64 = 0.2;

/// Marks between the runs, so that there is a median.
const MARKS: usize = 10;

/// Bytes over which a GPU's inputs rotate, as a multiple of its cache: what a run reads has left the cache since it was read before.
const CACHES: f64 = 5.0;

/// Most sets of inputs.
const MOST_SETS: usize = 256;

/// Seconds of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Of the fastest runs.
    pub best_s: f64,
    /// The median.
    pub median_s: f64,
}

/// Sets of inputs of `bytes` each over which runs on `device` rotate, so that a GPU reads them from its memory and not from its cache, as
/// far as a quarter of the free memory has room. One on a CPU.
pub fn sets(device: &Device, bytes: usize) -> usize {
    match (cache_bytes(device), free_bytes(device)) {
        (Some(cache), Some(free)) if bytes > 0 => {
            let room = (free / 4.0 / bytes as f64) as usize;
            let wanted = (CACHES * cache / bytes as f64).ceil() as usize;
            wanted.min(room).clamp(1, MOST_SETS)
        }
        _ => 1,
    }
}

/// Bytes of a GPU's second cache, which all of its processors share; none on a CPU.
fn cache_bytes(device: &Device) -> Option<f64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => {
            crate::machine::gpu::Gpu::of(device).and_then(|gpu| gpu.cache_bytes()).ok()
        }
        _ => None,
    }
}

/// Runs on a device, one after another.
struct Runs<'a, T> {
    device: &'a Device,
    run: &'a dyn Fn(usize) -> Result<T>,
    done: usize,
    /// Results that still exist, so that new ones are written elsewhere.
    held: VecDeque<T>,
    most_held: usize,
}

impl<T> Runs<'_, T> {
    /// Queues `count` runs; returns the moment when they are done.
    fn queue(&mut self, count: usize) -> Result<Moment> {
        for _ in 0..count {
            while self.held.len() >= self.most_held.max(1) {
                self.held.pop_front();
            }
            let made = (self.run)(self.done)?;
            self.held.push_back(made);
            self.done += 1;
        }
        Moment::on(self.device)
    }
}

/// Times `run`, which gets the number of the run and returns what it made, for at least `least_s` seconds after a run that is not
/// counted. `held`: results that exist at once on a GPU, [`sets`].
pub fn time<T>(
    device: &Device,
    least_s: f64,
    held: usize,
    run: &dyn Fn(usize) -> Result<T>,
) -> Result<Timing> {
    let mut runs = Runs { device, run, done: 0, held: VecDeque::new(), most_held: held };
    runs.queue(1)?;
    device.synchronize()?;
    let begun = Moment::on(device)?;
    let first_s = runs.queue(1)?.seconds_since(&begun)?;
    if device.is_cpu() {
        let (clock, mut each) = (Instant::now(), vec![first_s]);
        while clock.elapsed().as_secs_f64() < least_s {
            let begun = Moment::on(device)?;
            each.push(runs.queue(1)?.seconds_since(&begun)?);
        }
        return Ok(Timing::of(each));
    }
    let mut count = (least_s / first_s.max(1e-7)) as usize;
    if QUEUED as f64 * first_s <= LONGEST_S {
        count = count.max(QUEUED);
    }
    if count < 2 {
        return Ok(Timing::of(vec![first_s]));
    }
    let batch = count.div_ceil(MARKS);
    let mut marks = vec![Moment::on(device)?];
    for _ in 0..count.div_ceil(batch) {
        marks.push(runs.queue(batch)?);
    }
    let of = |two: &[Moment]| Ok(two[1].seconds_since(&two[0])? / batch as f64);
    Ok(Timing::of(marks.windows(2).map(of).collect::<Result<_>>()?))
}

/// Seconds of one run while `run` goes on for `seconds`: the mean after the first quarter, when clocks and temperature have settled.
/// `batch`: runs between two marks of a GPU's queue.
pub fn sustained<T>(
    device: &Device,
    seconds: f64,
    [held, batch]: [usize; 2],
    run: &dyn Fn(usize) -> Result<T>,
) -> Result<f64> {
    let mut runs = Runs { device, run, done: 0, held: VecDeque::new(), most_held: held };
    let first = runs.queue(1)?;
    let mut marks: Vec<(usize, Moment, f64)> = Vec::new();
    let mut waiting = VecDeque::from([(1, runs.queue(batch)?)]);
    // A batch is always queued behind the one that is waited for.
    while marks.last().is_none_or(|(.., since)| *since < seconds) {
        waiting.push_back((1 + waiting.len() + marks.len(), runs.queue(batch)?));
        if let Some((number, mark)) = waiting.pop_front() {
            let since = mark.seconds_since(&first)?;
            marks.push((number, mark, since));
        }
    }
    device.synchronize()?;
    let from = marks.iter().position(|(.., since)| *since >= seconds / 4.0).unwrap_or(0);
    let (first, last) = (&marks[from], &marks[marks.len() - 1]);
    Ok(match last.0 - first.0 {
        0 => last.2 / (last.0 * batch) as f64,
        batches => (last.2 - first.2) / (batches * batch) as f64,
    })
}

impl Timing {
    /// Of the times of several runs, one at least.
    fn of(mut each: Vec<f64>) -> Self {
        each.sort_by(f64::total_cmp);
        Self { best_s: each[0], median_s: each[each.len() / 2] }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_fastest_run_and_the_median_are_told_apart() {
        let timing = Timing::of(vec![3.0, 1.0, 2.0, 9.0, 2.5]);
        assert_eq!(timing, Timing { best_s: 1.0, median_s: 2.5 });
    }

    #[test]
    fn a_run_is_timed_alone_and_the_first_one_not_at_all() {
        let sleep = |run: usize| {
            std::thread::sleep(Duration::from_millis(if run == 0 { 60 } else { 2 }));
            Ok(())
        };
        let timing = time(&Device::Cpu, 0.01, 1, &sleep).unwrap();
        assert!((2e-3..0.05).contains(&timing.median_s), "{timing:?}");
        assert!(timing.best_s <= timing.median_s, "{timing:?}");
    }

    #[test]
    fn a_sustained_time_leaves_out_the_fast_beginning() {
        let runs = Cell::new(0);
        let slower = |_| {
            runs.set(runs.get() + 1);
            std::thread::sleep(Duration::from_millis(if runs.get() < 4 { 1 } else { 10 }));
            Ok(())
        };
        let seconds = sustained(&Device::Cpu, 0.1, [1, 1], &slower).unwrap();
        assert!((0.01..0.05).contains(&seconds), "{seconds}");
    }

    #[test]
    fn results_are_held_as_long_as_asked_and_no_longer() {
        for most_held in [1, 3] {
            let alive = Cell::new(0i32);
            struct Counted<'a>(&'a Cell<i32>);
            impl Drop for Counted<'_> {
                fn drop(&mut self) {
                    self.0.set(self.0.get() - 1);
                }
            }
            let run = |_| {
                alive.set(alive.get() + 1);
                assert!(alive.get() <= most_held);
                Ok(Counted(&alive))
            };
            time(&Device::Cpu, 1e-3, most_held as usize, &run).unwrap();
            assert_eq!(alive.get(), 0);
        }
    }
}
