//! A frozen matrix: a tensor, or one that is read where it lies in a mapped file. The file's pages are the system's, which drops them
//! where memory is short and shares them between the processes of a machine.

use std::fmt;
use std::sync::Arc;

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Result, Tensor, WithDType, bail};
use half::bf16;
use rayon::prelude::*;

use crate::ops::cpu::gemm::Tile;
use crate::ops::cpu::product::{Factor, Kept};
use crate::ops::cpu::{self, Element, Elements, on_cpu};

/// A frozen matrix.
#[derive(Clone)]
pub struct Weight {
    place: Place,
    /// The same, packed as products read it.
    kept: Option<Arc<Kept>>,
}

/// Where a matrix is.
#[derive(Clone)]
enum Place {
    /// On its device.
    Held(Tensor),
    /// On the CPU, in a file.
    Mapped(Mapped),
}

/// A matrix in mapped files.
#[derive(Clone)]
struct Mapped {
    files: Arc<MmapedSafetensors>,
    name: String,
    dtype: DType,
    dims: (usize, usize),
}

/// A matrix that an operation reads.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    place: Lies<'a>,
    kept: Option<&'a Kept>,
}

/// A [`Place`], borrowed.
#[derive(Clone, Copy)]
enum Lies<'a> {
    Held(&'a Tensor),
    Mapped(&'a Mapped),
}

impl Weight {
    /// The matrix `name` of `files` where it lies; none where it is not of two dimensions and `dtype`, bf16 or f32, or its bytes do not lie
    /// as this machine reads them.
    pub fn mapped(files: &Arc<MmapedSafetensors>, name: &str, dtype: DType) -> Option<Self> {
        let view = files.get(name).ok()?;
        let &[rows, columns] = view.shape() else { return None };
        if DType::try_from(view.dtype()).ok()? != dtype {
            return None;
        }
        let dims = (rows, columns);
        let mapped = Mapped { files: Arc::clone(files), name: name.to_owned(), dtype, dims };
        let lies_well = match dtype {
            DType::BF16 => mapped.elements::<bf16>().is_ok(),
            DType::F32 => mapped.elements::<f32>().is_ok(),
            _ => false,
        };
        let weight = || Self { place: Place::Mapped(mapped), kept: None };
        (cfg!(target_endian = "little") && lies_well).then(weight)
    }

    /// As a tensor with memory of its own.
    pub fn to_tensor(&self) -> Result<Tensor> {
        match &self.place {
            Place::Held(tensor) => tensor.copy(),
            Place::Mapped(mapped) => match mapped.dtype {
                DType::BF16 => cpu::tensor(mapped.elements::<bf16>()?.to_vec(), mapped.dims),
                _ => cpu::tensor(mapped.elements::<f32>()?.to_vec(), mapped.dims),
            },
        }
    }

    /// The tensor; that of a mapped one is a copy.
    pub fn into_tensor(self) -> Result<Tensor> {
        match self.place {
            Place::Held(tensor) => Ok(tensor),
            Place::Mapped(_) => self.to_tensor(),
        }
    }

    /// Keeps it packed besides, in [`packed_bytes`], where the CPU's products in bf16 read it so. `backward`: also for the products of a
    /// backward pass.
    pub fn keep_packed(&mut self, backward: bool) -> Result<()> {
        let matrix = Matrix::from(&*self);
        if matrix.dtype() == DType::BF16 && matrix.is_on_cpu() {
            let (rows, columns) = matrix.dims2()?;
            let kept = Kept::of(&matrix.elements::<bf16>()?, rows, columns, backward);
            self.kept = kept.map(Arc::new);
        }
        Ok(())
    }
}

/// Bytes of matrices of so many elements that [are kept packed](Weight::keep_packed), but for the ends of their rows and columns.
pub fn packed_bytes(elements: usize, backward: bool) -> f64 {
    let each = if backward { 2.0 } else { 1.0 };
    each * (elements * DType::BF16.size_in_bytes()) as f64
}

impl From<Tensor> for Weight {
    fn from(tensor: Tensor) -> Self {
        Self { place: Place::Held(tensor), kept: None }
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Matrix::from(self).fmt(f)
    }
}

impl Mapped {
    fn elements<T: Element>(&self) -> Result<&[T]> {
        if T::DTYPE != self.dtype {
            bail!("expected a weight in {:?}, got {:?}", T::DTYPE, self.dtype);
        }
        let bytes = self.files.get(&self.name)?.data();
        // SAFETY: any bits are a bf16 or an f32.
        #[expect(unsafe_code, reason = "numbers are read where they lie")]
        let (before, all, after) = unsafe { bytes.align_to::<T>() };
        if !before.is_empty() || !after.is_empty() || all.len() != self.dims.0 * self.dims.1 {
            bail!("`{}` does not lie in its file as this machine reads it", self.name);
        }
        Ok(all)
    }
}

impl<'a> From<&'a Tensor> for Matrix<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self { place: Lies::Held(tensor), kept: None }
    }
}

impl<'a> From<&'a Weight> for Matrix<'a> {
    fn from(weight: &'a Weight) -> Self {
        let place = match &weight.place {
            Place::Held(tensor) => Lies::Held(tensor),
            Place::Mapped(mapped) => Lies::Mapped(mapped),
        };
        Self { place, kept: weight.kept.as_deref() }
    }
}

impl<'a> Matrix<'a> {
    /// Rows and columns.
    pub fn dims2(self) -> Result<(usize, usize)> {
        match self.place {
            Lies::Held(tensor) => tensor.dims2(),
            Lies::Mapped(mapped) => Ok(mapped.dims),
        }
    }

    /// Of its elements.
    pub fn dtype(self) -> DType {
        match self.place {
            Lies::Held(tensor) => tensor.dtype(),
            Lies::Mapped(mapped) => mapped.dtype,
        }
    }

    /// The tensor; none for one that is read in its file.
    pub fn tensor(self) -> Option<&'a Tensor> {
        match self.place {
            Lies::Held(tensor) => Some(tensor),
            Lies::Mapped(_) => None,
        }
    }

    /// The tensor, for a launch. An error for a mapped matrix, which no GPU reads.
    pub fn held(self) -> Result<&'a Tensor> {
        let on_cpu =
            || candle_core::Error::msg(format!("{self:?} lies on {:?}", Device::Cpu.location()));
        self.tensor().ok_or_else(on_cpu)
    }

    fn is_on_cpu(self) -> bool {
        self.tensor().is_none_or(|tensor| tensor.device().is_cpu())
    }

    /// Whether every element is a finite number. Reads them all.
    pub fn is_finite(self) -> Result<bool> {
        fn all<T: Element>(elements: &[T]) -> bool {
            elements.par_iter().all(|x| x.value().to_f64().is_finite())
        }
        match self.place {
            Lies::Held(tensor) => {
                let tensor = tensor.to_device(&Device::Cpu)?;
                on_cpu!("is_finite", &tensor, T => Ok(all::<T>(&cpu::elements(&tensor)?)))
            }
            Lies::Mapped(mapped) => match mapped.dtype {
                DType::BF16 => Ok(all::<bf16>(mapped.elements()?)),
                _ => Ok(all::<f32>(mapped.elements()?)),
            },
        }
    }

    /// Its elements, by rows.
    pub(in crate::ops) fn elements<T: Element>(self) -> Result<Elements<'a, T>> {
        match self.place {
            Lies::Held(tensor) => cpu::elements(tensor),
            Lies::Mapped(mapped) => Ok(Elements::Lent(mapped.elements()?)),
        }
    }

    /// Its `elements`, by rows of `columns`, as a right factor, or their transpose.
    pub(in crate::ops) fn factor<'e, T>(
        self,
        elements: &'e [T],
        columns: usize,
        transposed: bool,
    ) -> Factor<'e, T>
    where
        'a: 'e,
    {
        let tile = Tile::rows(elements, columns);
        let tile = if transposed { tile.t() } else { tile };
        Factor { tile, panels: self.kept.and_then(|kept| kept.panels(transposed)) }
    }
}

impl fmt::Debug for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Lies::Held(tensor) => tensor.fmt(f),
            Lies::Mapped(Mapped { name, dims, dtype, .. }) => {
                write!(f, "{name} {dims:?} {dtype:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::ops::testing::random;
    use crate::ops::{kl, linear, logps, matvec, rows};

    /// A matrix in a file of its own, held and mapped.
    fn both(dims: &[usize], dtype: DType) -> [Weight; 2] {
        let tensor = random(dims, 1, DType::F32).to_dtype(dtype).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let named = HashMap::from([("w", tensor.clone())]);
        candle_core::safetensors::save(&named, &path).unwrap();
        // SAFETY: nobody writes the file.
        #[expect(unsafe_code, reason = "memory-mapping a file is unsafe in Rust")]
        let files = Arc::new(unsafe { MmapedSafetensors::new(&path) }.unwrap());
        [tensor.into(), Weight::mapped(&files, "w", dtype).unwrap()]
    }

    fn bits(tensor: &Tensor) -> Vec<f32> {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn every_operation_reads_a_mapped_matrix_as_it_reads_a_tensor() {
        for dtype in [DType::BF16, DType::F32] {
            let [held, mapped] = both(&[40, 24], dtype);
            let of = |dims: &[usize], seed| random(dims, seed, DType::F32).to_dtype(dtype).unwrap();
            let (x, dy) = (of(&[5, 24], 2), of(&[5, 40], 3));
            let targets = Tensor::new(&[0u32, 39, 7, 7, 1], &Device::Cpu).unwrap();
            let all = |w: &Weight| {
                let sum = of(&[5, 24], 4);
                linear::add_product(&sum, &dy, w, 0.5).unwrap();
                let (logps, own) = logps::forward_for_backward(&x, w, &targets).unwrap();
                [
                    linear::forward(&x, w).unwrap(),
                    linear::backward(&dy, w).unwrap(),
                    sum,
                    matvec::forward(&x, w).unwrap(),
                    rows::forward(w, &targets).unwrap(),
                    logps,
                    own,
                    kl::forward(&x, &of(&[5, 24], 5), w).unwrap(),
                    w.to_tensor().unwrap(),
                ]
            };
            for (one, other) in all(&held).iter().zip(&all(&mapped)) {
                assert_eq!((one.dims(), bits(one)), (other.dims(), bits(other)));
            }
        }
    }

    #[test]
    fn another_dtype_or_a_vector_is_not_mapped_and_a_row_beyond_the_last_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let named = [("w", random(&[3, 2], 1, DType::F32)), ("v", random(&[3], 1, DType::F32))];
        candle_core::safetensors::save(&HashMap::from(named), &path).unwrap();
        // SAFETY: nobody writes the file.
        #[expect(unsafe_code, reason = "memory-mapping a file is unsafe in Rust")]
        let files = Arc::new(unsafe { MmapedSafetensors::new(&path) }.unwrap());
        for (name, dtype) in [("w", DType::BF16), ("v", DType::F32), ("u", DType::F32)] {
            assert!(Weight::mapped(&files, name, dtype).is_none(), "{name}");
        }
        let weight = Weight::mapped(&files, "w", DType::F32).unwrap();
        let beyond = Tensor::new(&[0u32, 3], &Device::Cpu).unwrap();
        assert!(rows::forward(&weight, &beyond).is_err());
    }
}
