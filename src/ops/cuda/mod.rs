//! Launches of our kernels: arguments are checked against their tensors, outputs are not cleared, and no launch waits.
//!
//! All work goes to the device's own stream in the order of the calls, so a later call may free or overwrite a tensor before
//! earlier ones have run.

pub(super) mod arriving;
pub(crate) mod loaded;
mod module;

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::cublas::{result::gemm_ex, sys as cublas};
use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{DType, Device, Result, Shape, Storage, Tensor, bail};

pub(super) use self::module::{Module, module};

/// Threads of a block, for kernels without a number of their own.
pub(super) const THREADS: u32 = 256;

/// Most blocks of a kernel whose threads stride over the elements: several for each of the largest card's processors.
const MOST_BLOCKS: usize = 2048;

/// Bytes of dynamic shared memory that a kernel may use without setting an attribute.
const FREE_SHARED: usize = 48 * 1024;

enum Argument {
    Address(u64),
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
}

impl Module {
    /// Begins a launch of `kernel` for elements of `like`'s dtype, on its device.
    pub(super) fn launch(&self, kernel: &str, like: &Tensor) -> Result<Launch<'_>> {
        let suffix = match like.dtype() {
            DType::F32 => "float",
            DType::BF16 => "bf16",
            other => bail!("{kernel}: expected f32 or bf16 on the gpu, got {other:?}"),
        };
        self.launch_untyped(&format!("{kernel}_{suffix}"), like)
    }

    /// Begins a launch of a kernel that has no dtype in its name.
    pub(super) fn launch_untyped(&self, kernel: &str, like: &Tensor) -> Result<Launch<'_>> {
        let device = of(like.device())?.clone();
        Ok(Launch {
            module: self,
            kernel: kernel.to_owned(),
            device,
            arguments: Vec::new(),
            shared: 0,
        })
    }
}

/// A launch under construction: its arguments, in the order of the kernel's parameters.
pub(super) struct Launch<'m> {
    module: &'m Module,
    kernel: String,
    device: CudaDevice,
    arguments: Vec<Argument>,
    shared: usize,
}

impl Launch<'_> {
    /// Adds a tensor. Refuses another dtype or shape, one that is not contiguous, and another device than the launch's.
    pub(super) fn tensor(mut self, tensor: &Tensor, dtype: DType, shape: &[usize]) -> Result<Self> {
        if tensor.dtype() != dtype || tensor.dims() != shape {
            bail!(
                "{}: argument {}: expected {dtype:?} {shape:?}, got {:?} {:?}",
                self.kernel,
                self.arguments.len(),
                tensor.dtype(),
                tensor.dims()
            );
        }
        if of(tensor.device())?.id() != self.device.id() {
            bail!("{}: tensors on several devices", self.kernel);
        }
        self.arguments.push(Argument::Address(address(tensor)?));
        Ok(self)
    }

    /// Adds a tensor, or null for none.
    pub(super) fn optional(
        mut self,
        tensor: Option<&Tensor>,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Self> {
        match tensor {
            Some(tensor) => self.tensor(tensor, dtype, shape),
            None => {
                self.arguments.push(Argument::Address(0));
                Ok(self)
            }
        }
    }

    /// Adds an `unsigned`. Refuses a number beyond 32 bits.
    pub(super) fn count(mut self, count: usize) -> Result<Self> {
        let Ok(count) = u32::try_from(count) else {
            bail!("{}: {count} does not fit in 32 bits", self.kernel)
        };
        self.arguments.push(Argument::U32(count));
        Ok(self)
    }

    /// Adds an `unsigned long long`.
    pub(super) fn long(mut self, count: usize) -> Self {
        self.arguments.push(Argument::U64(count as u64));
        self
    }

    /// Adds a `float`.
    pub(super) fn float(mut self, number: f64) -> Self {
        self.arguments.push(Argument::F32(number as f32));
        self
    }

    /// Adds a `double`.
    pub(super) fn double(mut self, number: f64) -> Self {
        self.arguments.push(Argument::F64(number));
        self
    }

    /// Sets the bytes of dynamic shared memory.
    pub(super) fn shared(mut self, bytes: usize) -> Self {
        self.shared = bytes;
        self
    }

    /// Queues the kernel over `grid` blocks of `threads`; does nothing if there is no block.
    ///
    /// # Safety
    ///
    /// The arguments are the kernel's parameters, in number, order, type and size, and nothing reads what it writes through them
    /// at the same time.
    #[expect(unsafe_code, reason = "a kernel reads and writes what it is given")]
    pub(super) unsafe fn run(self, grid: (usize, usize), threads: u32) -> Result<()> {
        let (Ok(x), Ok(y)) = (u32::try_from(grid.0), u32::try_from(grid.1)) else {
            bail!("{}: a grid of {grid:?} blocks does not fit in 32 bits", self.kernel)
        };
        if x == 0 || y == 0 {
            return Ok(());
        }
        if y > 65_535 {
            bail!("{}: expected at most 65535 rows at once, got {y}", self.kernel);
        }
        let Self { module, kernel, device, arguments, shared } = self;
        let function = module.kernel(&kernel, &device)?;
        let shared_mem_bytes = u32::try_from(shared).map_err(candle_core::Error::wrap)?;
        if shared > FREE_SHARED {
            let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(most, shared as i32).w()?;
        }
        let stream = device.cuda_stream();
        let mut builder = stream.launch_builder(&function);
        for argument in &arguments {
            match argument {
                Argument::Address(a) | Argument::U64(a) => builder.arg(a),
                Argument::U32(a) => builder.arg(a),
                Argument::F32(a) => builder.arg(a),
                Argument::F64(a) => builder.arg(a),
            };
        }
        let config =
            LaunchConfig { grid_dim: (x, y, 1), block_dim: (threads, 1, 1), shared_mem_bytes };
        // SAFETY: the caller's promise; the addresses are of tensors that outlive the queueing, and memory is freed in stream order.
        unsafe { builder.launch(config) }.w()?;
        loaded::note(module, &kernel, threads, shared);
        Ok(())
    }
}

/// Prepares a device for this program: loads one of its kernels, and has products round once, from f32 to their type, where cuBLAS splits a
/// sum. Fails where the driver cannot load what nvcc made.
#[expect(unsafe_code, reason = "a foreign function")]
pub(crate) fn prepare(device: &Device) -> Result<()> {
    let device = of(device)?;
    module!("adamw").kernel("adamw_norm", device)?;
    let mode = cublas::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
    // SAFETY: the handle is the device's, and the mode one of the default type of arithmetic.
    unsafe { cublas::cublasSetMathMode(*device.cublas_handle().handle(), mode) }.result().w()
}

/// Version of cuBLAS.
#[expect(unsafe_code, reason = "a foreign function")]
pub(crate) fn cublas_version(device: &Device) -> Result<i32> {
    let mut version = 0;
    let handle = of(device)?.cublas_handle();
    // SAFETY: the handle is the device's, and a number is written.
    unsafe { cublas::cublasGetVersion_v2(*handle.handle(), &mut version) }.result().w()?;
    Ok(version)
}

/// How cuBLAS computes products.
#[expect(unsafe_code, reason = "a foreign function")]
pub(crate) fn math_mode(device: &Device) -> Result<u32> {
    let mut mode = 0u32;
    let handle = of(device)?.cublas_handle();
    // SAFETY: the handle is the device's, and a number of the size of the type is written, which may be one that the type has no name for.
    unsafe { cublas::cublasGetMathMode(*handle.handle(), (&raw mut mode).cast()) }.result().w()?;
    Ok(mode)
}

/// Blocks for `elements` where a thread takes `each` at a time.
pub(super) fn blocks(elements: usize, each: usize) -> usize {
    elements.div_ceil(each * THREADS as usize).min(MOST_BLOCKS)
}

/// Elements that a thread moves at once, in 16 bytes.
pub(super) fn wide(dtype: DType) -> usize {
    16 / dtype.size_in_bytes()
}

/// The CUDA device; refuses any other.
pub(super) fn of(device: &Device) -> Result<&CudaDevice> {
    match device {
        Device::Cuda(device) => Ok(device),
        other => bail!("expected a tensor on the gpu, got one on {:?}", other.location()),
    }
}

/// An uncleared tensor, for a kernel that writes all of it.
#[expect(unsafe_code, reason = "clearing what is overwritten costs a pass over it")]
pub(super) fn empty(device: &Device, dtype: DType, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    // Never 0 bytes from the driver.
    let memory = if shape.elem_count() == 0 { Shape::from(1) } else { shape.clone() };
    // SAFETY: every bit pattern is a number, and the caller launches a kernel that writes every element before any is read.
    let storage = unsafe { of(device)?.alloc_uninit(&memory, dtype) }?;
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

/// The GPU address of the first element of a contiguous tensor.
pub(super) fn address(tensor: &Tensor) -> Result<u64> {
    fn at<T>(slice: &CudaSlice<T>, from: usize) -> u64 {
        let (base, _) = slice.device_ptr(slice.stream());
        base + (from * size_of::<T>()) as u64
    }
    let (storage, layout) = tensor.storage_and_layout();
    let Some((from, _)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor, got strides {:?}", layout.stride())
    };
    let Storage::Cuda(storage) = &*storage else {
        bail!("expected a tensor on the gpu, got one on {:?}", tensor.device().location())
    };
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => at(slice, from),
        CudaStorageSlice::BF16(slice) => at::<half::bf16>(slice, from),
        CudaStorageSlice::F64(slice) => at(slice, from),
        CudaStorageSlice::U32(slice) => at(slice, from),
        CudaStorageSlice::I64(slice) => at(slice, from),
        _ => bail!("expected f32, bf16, f64, u32 or i64, got {:?}", tensor.dtype()),
    })
}

/// A factor of a product, as it lies in memory or transposed.
#[derive(Clone, Copy)]
pub(super) enum Factor<'a> {
    /// `[rows, columns]`.
    Plain(&'a Tensor),
    /// `[columns, rows]` in memory.
    Transposed(&'a Tensor),
}

impl Factor<'_> {
    /// Rows and columns of the factor, columns in memory, address and dtype. cuBLAS is column-major, so the operation applies to
    /// the matrix's transpose.
    fn operand(self) -> Result<Operand> {
        let (tensor, operation) = match self {
            Factor::Plain(tensor) => (tensor, cublas::cublasOperation_t::CUBLAS_OP_N),
            Factor::Transposed(tensor) => (tensor, cublas::cublasOperation_t::CUBLAS_OP_T),
        };
        let (first, second) = tensor.dims2()?;
        let (rows, columns) = match self {
            Factor::Plain(_) => (first, second),
            Factor::Transposed(_) => (second, first),
        };
        let kind = kind(tensor)?;
        Ok(Operand { rows, columns, leading: second, operation, address: address(tensor)?, kind })
    }
}

struct Operand {
    rows: usize,
    columns: usize,
    leading: usize,
    operation: cublas::cublasOperation_t,
    address: u64,
    kind: cublas::cudaDataType_t,
}

fn kind(tensor: &Tensor) -> Result<cublas::cudaDataType_t> {
    match tensor.dtype() {
        DType::F32 => Ok(cublas::cudaDataType_t::CUDA_R_32F),
        DType::BF16 => Ok(cublas::cudaDataType_t::CUDA_R_16BF),
        other => bail!("product: expected f32 or bf16 on the gpu, got {other:?}"),
    }
}

/// `out = alpha a b + beta out` through cuBLAS, accumulated in f32; `out`: `[m, n]`, contiguous, f32 or the dtype of both factors.
#[expect(unsafe_code, reason = "a foreign function that writes to an address")]
pub(super) fn gemm(
    out: &Tensor,
    a: Factor<'_>,
    b: Factor<'_>,
    alpha: f64,
    beta: f64,
) -> Result<()> {
    let (m, n) = out.dims2()?;
    let (a, b) = (a.operand()?, b.operand()?);
    if (a.rows, b.columns) != (m, n) || a.columns != b.rows {
        bail!(
            "product: [{}, {}] times [{}, {}] does not give [{m}, {n}]",
            a.rows,
            a.columns,
            b.rows,
            b.columns
        );
    }
    if m == 0 || n == 0 {
        return Ok(());
    }
    let out_kind = kind(out)?;
    if a.kind != b.kind || (out_kind != a.kind && out_kind != cublas::cudaDataType_t::CUDA_R_32F) {
        bail!("product: {:?} times {:?} does not give {out_kind:?}", a.kind, b.kind);
    }
    let (alpha, beta) = (alpha as f32, beta as f32);
    let size = |n: usize| i32::try_from(n).map_err(candle_core::Error::wrap);
    let device = of(out.device())?;
    device.cuda_stream().context().bind_to_thread().w()?;
    let handle = device.cublas_handle();
    // SAFETY: shapes and dtypes are checked above, the addresses are of contiguous tensors of them, and the call is queued on
    // the stream that everything else is on.
    unsafe {
        gemm_ex(
            *handle.handle(),
            b.operation,
            a.operation,
            size(n)?,
            size(m)?,
            size(a.columns)?,
            (&raw const alpha).cast(),
            b.address as *const _,
            b.kind,
            size(b.leading)?,
            a.address as *const _,
            a.kind,
            size(a.leading)?,
            (&raw const beta).cast(),
            address(out)? as *mut _,
            out_kind,
            size(n)?,
            cublas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            cublas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .w()
}
