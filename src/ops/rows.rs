//! Rows of a matrix by index, `y[i] = x[rows[i]]`. The gradient adds what belongs to a row in the list's order.

use candle_core::{DType, Result, Tensor, bail};
use half::bf16;

use crate::ops::cpu::block::by_row;
use crate::ops::cpu::{self, Element, Real, on_device};
use crate::ops::weight::Matrix;

/// The rows of `x` (`[_, columns]`) at the indices `rows` (`[rows]` u32), each of a row of `x`. Returns `[rows, columns]`.
pub fn forward<'a>(x: impl Into<Matrix<'a>>, rows: &Tensor) -> Result<Tensor> {
    let x = x.into();
    match x.tensor() {
        #[cfg(feature = "cuda")]
        Some(x) if x.device().is_cuda() => launch::forward(x, rows),
        Some(x) => x.index_select(rows, 0),
        None if x.dtype() == DType::BF16 => gathered::<bf16>(x, rows),
        None => gathered::<f32>(x, rows),
    }
}

fn gathered<T: Element>(x: Matrix<'_>, rows: &Tensor) -> Result<Tensor> {
    let (count, columns) = x.dims2()?;
    let (x, rows) = (x.elements::<T>()?, cpu::elements::<u32>(rows)?);
    if let Some(row) = rows.iter().find(|&&row| row as usize >= count) {
        bail!("rows: row {row} of {count}");
    }
    let all = rows.iter().flat_map(|&row| cpu::row(&x, row as usize, columns));
    cpu::tensor(all.copied().collect(), (rows.len(), columns))
}

/// Adds row `i` of `dy` (`[rows, columns]`) to row `rows[i]` of a matrix of zeros, for every `i`. Returns `[count, columns]`.
pub fn backward(dy: &Tensor, rows: &Tensor, count: usize) -> Result<Tensor> {
    on_device!(
        "rows backward", dy,
        T => spread_cpu::<T>(dy, rows, count),
        cuda => launch::backward(dy, rows, count)
    )
}

fn spread_cpu<T: Element>(dy: &Tensor, rows: &Tensor, count: usize) -> Result<Tensor> {
    let (listed, columns) = dy.dims2()?;
    let (dy, rows) = (cpu::elements::<T>(dy)?, cpu::elements::<u32>(rows)?);
    let dy = &dy[..];
    if let Some(row) = rows.iter().find(|&&row| row as usize >= count) {
        bail!("rows backward: row {row} of {count}");
    }
    if rows.len() != listed {
        bail!("rows backward: {} indices of {listed} rows", rows.len());
    }
    let mut of_row = vec![Vec::new(); count];
    rows.iter().enumerate().for_each(|(i, &row)| of_row[row as usize].push(i));
    let [dx] = by_row(
        count,
        [columns],
        #[inline(always)]
        |row: usize, [dx]: [&mut [T]; 1]| match of_row[row][..] {
            [] => {}
            [i] => dx.copy_from_slice(cpu::row(dy, i, columns)),
            ref several => {
                for (column, dx) in dx.iter_mut().enumerate() {
                    let parts = several.iter().map(|i| dy[i * columns + column].value());
                    *dx = T::rounded(parts.fold(T::Work::ZERO, |sum, part| sum + part));
                }
            }
        },
    );
    cpu::tensor(dx, (count, columns))
}

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{DType, Result, Tensor};

    use crate::ops::cuda::{self, Module, THREADS};

    const MODULE: Module = cuda::module!("rows");

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn forward(x: &Tensor, rows: &Tensor) -> Result<Tensor> {
        let ((from, columns), count) = (x.dims2()?, rows.dim(0)?);
        let y = cuda::empty(x.device(), x.dtype(), (count, columns))?;
        let launch = MODULE
            .launch("rows_gather", x)?
            .tensor(x, x.dtype(), &[from, columns])?
            .tensor(rows, DType::U32, &[count])?
            .tensor(&y, x.dtype(), &[count, columns])?
            .count(columns)?;
        // SAFETY: the parameters of `rows_gather`; one block for each row of `y`, which is new; the caller's indices are of rows of `x`.
        unsafe { launch.run((count, 1), THREADS) }?;
        Ok(y)
    }

    #[expect(unsafe_code, reason = "a launch")]
    pub(super) fn backward(dy: &Tensor, rows: &Tensor, count: usize) -> Result<Tensor> {
        let (listed, columns) = dy.dims2()?;
        let dx = cuda::empty(dy.device(), dy.dtype(), (count, columns))?;
        let launch = MODULE
            .launch("rows_spread", dy)?
            .tensor(dy, dy.dtype(), &[listed, columns])?
            .tensor(rows, DType::U32, &[listed])?
            .tensor(&dx, dy.dtype(), &[count, columns])?
            .count(listed)?
            .count(columns)?;
        // SAFETY: the parameters of `rows_spread`; one block for each row of `dx`, which is new.
        unsafe { launch.run((count, 1), THREADS) }?;
        Ok(dx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random, tape, tolerance};
    use candle_core::{DType, Device};

    #[test]
    fn values_and_gradients_agree_with_the_reference() {
        for dtype in [DType::F32, DType::F64] {
            for (from, list) in [(1, vec![0u32]), (5, vec![3, 0, 3, 3, 4]), (40, (0..40).collect())]
            {
                let x = random(&[from, 7], 1, dtype);
                let dy = random(&[list.len(), 7], 2, dtype);
                let onehot: Vec<f64> = list
                    .iter()
                    .flat_map(|&row| (0..from).map(move |i| f64::from(u8::from(i == row as usize))))
                    .collect();
                let choice = Tensor::from_vec(onehot, (list.len(), from), &Device::Cpu).unwrap();
                let choice = choice.to_dtype(dtype).unwrap();
                let rows = Tensor::new(list, &Device::Cpu).unwrap();
                let want = choice.matmul(&x).unwrap();
                assert_close("y", &forward(&x, &rows).unwrap(), &want, tolerance(dtype));
                let want = tape(&[&x], &dy, |t| choice.matmul(&t[0]));
                assert_close(
                    "dx",
                    &backward(&dy, &rows, from).unwrap(),
                    &want[0],
                    tolerance(dtype),
                );
            }
        }
    }
}
