//! Runs of an operation over inputs that take turns, whether each gives the same bits, and what is told of one that fails.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Tensor};

/// Equal sets of inputs, which runs take in turn.
pub(super) struct Turns<const N: usize>(Vec<[Tensor; N]>);

/// An operation on the inputs of one turn.
type Operation<'a> = Box<dyn Fn(usize) -> Result<Vec<Tensor>> + 'a>;

/// An operation to repeat and to time.
pub(super) struct Run<'a> {
    /// Runs on the inputs of a turn, which it may overwrite; returns what it made.
    pub(super) run: Operation<'a>,
    /// The same on inputs that are still as they were made.
    fresh: Operation<'a>,
    /// Number of turns.
    pub(super) sets: usize,
    /// What a model of the card says one run takes; none without one.
    pub(super) predicted_us: Option<f64>,
}

impl<const N: usize> Turns<N> {
    /// `sets` sets: `inputs` and copies of them.
    pub(super) fn new(inputs: [Tensor; N], sets: usize) -> Result<Self> {
        let mut all = vec![inputs];
        for _ in 1..sets {
            all.push(copied(&all[0])?);
        }
        Ok(Self(all))
    }

    /// The inputs that run number `run` takes.
    fn at(&self, run: usize) -> &[Tensor; N] {
        &self.0[run % self.0.len()]
    }

    /// The inputs as they were made, if nothing has overwritten them.
    pub(super) fn first(&self) -> &[Tensor; N] {
        &self.0[0]
    }
}

fn copied<const N: usize>(inputs: &[Tensor; N]) -> Result<[Tensor; N]> {
    let mut copies = inputs.clone();
    for copy in &mut copies {
        *copy = copy.copy()?;
    }
    Ok(copies)
}

impl<'a> Run<'a> {
    /// An operation that leaves its inputs as they are.
    pub(super) fn of<const N: usize>(
        turns: &'a Turns<N>,
        operation: impl Fn(&[Tensor; N]) -> Result<Vec<Tensor>> + Copy + 'a,
    ) -> Self {
        let run = move |run| operation(turns.at(run));
        Self { run: Box::new(run), fresh: Box::new(run), sets: turns.0.len(), predicted_us: None }
    }

    /// An operation that overwrites an input. Repeating it starts from copies; timing it goes on with what it made.
    pub(super) fn in_place<const N: usize>(
        turns: &'a Turns<N>,
        operation: impl Fn(&[Tensor; N]) -> Result<Vec<Tensor>> + Copy + 'a,
    ) -> Self {
        // Always from the same set: timing another operation may have overwritten some sets more often than others.
        let fresh = move |_| operation(&copied(turns.first())?);
        Self { fresh: Box::new(fresh), ..Self::of(turns, operation) }
    }

    /// An operation whose inputs are its own.
    pub(super) fn alone(operation: impl Fn() -> Result<Vec<Tensor>> + Copy + 'a) -> Self {
        let run = move |_| operation();
        Self { run: Box::new(run), fresh: Box::new(run), sets: 1, predicted_us: None }
    }

    /// What the first of its results is, from inputs as they were made.
    pub(super) fn once(&self) -> Result<Tensor> {
        (self.fresh)(0)?.into_iter().next().context("no result")
    }

    /// With other results for repeating it, where timing it does not wait for its results.
    pub(super) fn repeating(self, fresh: impl Fn() -> Result<Vec<Tensor>> + 'a) -> Self {
        Self { fresh: Box::new(move |_| fresh()), ..self }
    }

    /// With what a model of the card says one run takes, in µs.
    pub(super) fn predicted(self, predicted_us: Option<f64>) -> Self {
        Self { predicted_us, ..self }
    }

    /// How many of `repeated` runs give other bits than the first.
    pub(super) fn unequal(&self, repeated: usize) -> Result<usize> {
        let first = (self.fresh)(0)?;
        let mut unequal = 0;
        for run in 1..repeated {
            let again = (self.fresh)(run)?;
            ensure!(first.len() == again.len(), "another number of results");
            // The last one to the bit on the host; those before are compared where they are, which tells 0 from -0 not.
            let compare = if run + 1 == repeated { equal_bits } else { equal_numbers };
            let mut equal = true;
            for (first, again) in first.iter().zip(&again) {
                equal &= compare(first, again)?;
            }
            unequal += usize::from(!equal);
        }
        Ok(unequal)
    }
}

/// Whether two tensors have the same numbers, compared on their device; false for NaN. On a CPU to the bit.
fn equal_numbers(one: &Tensor, other: &Tensor) -> Result<bool> {
    if one.device().is_cpu() {
        return equal_bits(one, other);
    }
    let unequal = one.ne(other)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
    Ok(unequal.abs() < 0.5)
}

/// Whether two tensors have the same bits.
pub(super) fn equal_bits(one: &Tensor, other: &Tensor) -> Result<bool> {
    let (one, other) = (one.flatten_all()?, other.flatten_all()?);
    ensure!(one.dtype() == other.dtype(), "another dtype");
    Ok(match one.dtype() {
        DType::F32 => {
            let [one, other] = [one.to_vec1::<f32>()?, other.to_vec1::<f32>()?];
            one.iter().map(|x| x.to_bits()).eq(other.iter().map(|x| x.to_bits()))
        }
        DType::BF16 => {
            let [one, other] = [one.to_vec1::<half::bf16>()?, other.to_vec1::<half::bf16>()?];
            one.iter().map(|x| x.to_bits()).eq(other.iter().map(|x| x.to_bits()))
        }
        DType::F64 => {
            let [one, other] = [one.to_vec1::<f64>()?, other.to_vec1::<f64>()?];
            one.iter().map(|x| x.to_bits()).eq(other.iter().map(|x| x.to_bits()))
        }
        DType::U32 => one.to_vec1::<u32>()? == other.to_vec1::<u32>()?,
        other => anyhow::bail!("expected f32, f64, bf16 or u32, got {other:?}"),
    })
}

/// `error` in one line, without the frames that candle adds where `RUST_BACKTRACE` asks for them.
pub(super) fn told(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let own = text.lines().take_while(|line| !line.trim_start().starts_with("0: "));
    own.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use candle_core::Device;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn one_run_of_many_that_differs_in_one_bit_is_found() {
        let turns = Turns::new([tensor(&[1.0, 0.0, 3.0])], 2).unwrap();
        let runs = Cell::new(0);
        let sum = |[x]: &[Tensor; 1]| {
            runs.set(runs.get() + 1);
            let off = if runs.get() == 3 { -0.0 } else { 0.0 };
            Ok(vec![tensor(&[off]), x.copy()?])
        };
        assert_eq!(Run::of(&turns, sum).unequal(5).unwrap(), 1);
        assert_eq!(Run::of(&turns, |[x]| Ok(vec![(x * 2.0)?])).unequal(5).unwrap(), 0);
    }

    #[test]
    fn an_operation_in_place_is_repeated_from_one_set_when_timing_has_made_the_sets_unlike() {
        let mut turns = Turns::new([tensor(&[1.0])], 2).unwrap();
        turns.0[1] = [tensor(&[7.0])]; // overwritten once more than the first
        let twice = |[x]: &[Tensor; 1]| Ok(vec![(x * 2.0)?]);
        assert_eq!(Run::in_place(&turns, twice).unequal(4).unwrap(), 0);
        assert!(Run::of(&turns, twice).unequal(4).unwrap() > 0);
    }

    #[test]
    fn an_operation_in_place_is_repeated_from_what_it_began_with() {
        let turns = Turns::new([tensor(&[1.0]), tensor(&[2.0])], 1).unwrap();
        let add = |[y, x]: &[Tensor; 2]| {
            let x = x.unsqueeze(0)?;
            crate::ops::linear::add_product(&y.unsqueeze(0)?, &x, &x, 1.0)?;
            Ok(vec![y.clone()])
        };
        assert_eq!(Run::in_place(&turns, add).unequal(3).unwrap(), 0);
        assert_eq!(turns.first()[0].to_vec1::<f32>().unwrap(), [1.0]);
    }

    #[test]
    fn a_failed_check_is_told_without_the_frames_of_a_backtrace() {
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let inner = Box::new(candle_core::Error::msg("CUDA_ERROR_LAUNCH_FAILED"));
        let error = candle_core::Error::WithBacktrace { inner, backtrace };
        assert!(error.to_string().lines().count() > 2);
        let error = anyhow::Error::new(error).context("the norms");
        assert_eq!(told(&error), "the norms: CUDA_ERROR_LAUNCH_FAILED");
    }
}
