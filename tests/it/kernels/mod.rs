//! Runs the kernels of `src/ops/*.cu` on the CPU: their own source, compiled as C++ under `cuda_on_cpu.h`, one fibre per CUDA thread.
//!
//! [`Kernels::of`] compiles a file once per process and keeps the library under cargo's folder for tests, by a digest of all it was
//! made of. [`Kernels::launch`] runs one kernel as the driver would: by name, with a grid, a block, dynamic shared memory and the
//! arguments in order. A launch of few threads runs in a library that keeps the order of accesses to memory (`order.cpp`).
//!
//! `MVPBENCH_KERNELS` names a folder with other `src/ops` and `tests/it/kernels`, whose kernels are then run; scripts/kernel_mutants.py
//! sets it.

mod adamw;
mod attention;
mod bias;
mod decode;
mod dropout;
mod elements;
mod harness;
mod kl;
mod logps;
mod most_probable;
mod mutants;
mod rms_norm;
mod rope;
mod rows;
mod swiglu;

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use libloading::Library;
use sha2::{Digest, Sha256};

use crate::require::{Need, compiler, skip};

/// The kernels of one `.cu` file.
pub(crate) struct Kernels {
    source: &'static str,
    compiler: &'static str,
    /// Compiled when first needed: one that keeps the order of accesses, and one that does not.
    ordered: OnceLock<Library>,
    unwatched: OnceLock<Library>,
    /// A library runs one launch at a time.
    running: Mutex<()>,
}

/// How a kernel is launched.
#[derive(Clone, Copy)]
pub(crate) struct Launch {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub(crate) shared: u32,
    /// Orders the warps and lanes between barriers.
    pub(crate) seed: u64,
    pub(crate) accesses: Accesses,
}

/// Whether the order of a kernel's accesses to memory is kept.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Accesses {
    Unwatched,
    InOrder,
    /// In launches of at most [`FEW`] threads.
    InOrderIfFew,
}

/// Threads of a launch for which it costs little: it takes about six times as long.
const FEW: u32 = 1024;

impl Launch {
    /// One-dimensional grid and block, no dynamic shared memory, accesses in order if they are few.
    pub(crate) fn of(blocks: u32, threads: u32) -> Self {
        let accesses = Accesses::InOrderIfFew;
        Self { grid: [blocks, 1, 1], block: [threads, 1, 1], shared: 0, seed: 1, accesses }
    }
}

/// One parameter of a kernel.
pub(crate) enum Argument<'a> {
    /// An array that the kernel may read; the launch fails if it is changed.
    Read(&'a [u8]),
    /// An array that the kernel may read and write.
    Write(&'a mut [u8]),
    /// A null pointer.
    Null,
    /// A number, or a struct, passed by value.
    Value(Vec<u8>),
}

/// Plain numbers, of which every pattern of bits is one.
pub(crate) trait Number: Copy {}
impl Number for u16 {}
impl Number for u32 {}
impl Number for u64 {}
impl Number for f32 {}
impl Number for f64 {}

#[expect(unsafe_code, reason = "numbers as their bytes")]
impl<'a> Argument<'a> {
    pub(crate) fn read<T: Number>(data: &'a [T]) -> Self {
        // SAFETY: a number has no padding, and any byte is one.
        Self::Read(unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), size_of_val(data)) })
    }
    pub(crate) fn write<T: Number>(data: &'a mut [T]) -> Self {
        let (bytes, start) = (size_of_val(data), data.as_mut_ptr().cast());
        // SAFETY: as above, and any bytes are a number.
        Self::Write(unsafe { std::slice::from_raw_parts_mut(start, bytes) })
    }
    pub(crate) fn value<T: Number>(value: T) -> Self {
        match Argument::read(&[value]) {
            Argument::Read(bytes) => Self::Value(bytes.to_vec()),
            _ => unreachable!(),
        }
    }
}

/// Bytes of NaN on either side of an array, so that reading there is noticed in the results and writing there after the launch.
const WATCHED: usize = 4096;

/// An array's copy as the kernel sees it, on a multiple of 256 bytes as `cudaMalloc` gives.
struct Array {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Array {
    fn holding(data: &[u8]) -> Self {
        let mut bytes = vec![0xff; data.len() + 2 * WATCHED + 256];
        let from = WATCHED + bytes[WATCHED..].as_ptr().align_offset(256);
        bytes[from..from + data.len()].copy_from_slice(data);
        Self { bytes, from, len: data.len() }
    }
    fn data(&self) -> &[u8] {
        &self.bytes[self.from..self.from + self.len]
    }
    fn surroundings_are_intact(&self) -> bool {
        let (before, after) = (&self.bytes[..self.from], &self.bytes[self.from + self.len..]);
        before.iter().chain(after).all(|&byte| byte == 0xff)
    }
}

impl Kernels {
    /// Compiles `source`, a path from the repository's root; skips the calling test, which must return, if it cannot be run.
    #[track_caller]
    pub(crate) fn of(source: &'static str) -> Option<&'static Self> {
        static COMPILED: OnceLock<Mutex<HashMap<&str, &Kernels>>> = OnceLock::new();
        if !cfg!(target_os = "linux") {
            skip(Need::Linux, source);
            return None;
        }
        let compiler = compiler()?;
        let mut compiled = COMPILED.get_or_init(Mutex::default).lock().unwrap();
        let make = || -> &Kernels {
            let (ordered, unwatched) = <(OnceLock<_>, OnceLock<_>)>::default();
            let running = Mutex::default();
            Box::leak(Box::new(Self { source, compiler, ordered, unwatched, running }))
        };
        Some(*compiled.entry(source).or_insert_with(make))
    }

    #[expect(unsafe_code, reason = "loads the library it made")]
    fn library(&self, in_order: bool) -> &Library {
        let library = if in_order { &self.ordered } else { &self.unwatched };
        library.get_or_init(|| {
            let folder = root().join("tests/it/kernels");
            let order = in_order.then(|| folder.join("order.cpp"));
            let (header, source) = (folder.join("cuda_on_cpu.h"), root().join(self.source));
            let made = kernel_library(self.compiler, &header, &source, &[], order.as_deref());
            // SAFETY: a library of kernels runs nothing on being loaded.
            unsafe { Library::new(made) }.unwrap()
        })
    }

    /// Runs `kernel`; fails the test with the emulation's message if the launch goes wrong.
    #[track_caller]
    pub(crate) fn launch(&self, kernel: &str, launch: Launch, arguments: &mut [Argument<'_>]) {
        if let Err(message) = self.try_launch(kernel, launch, arguments) {
            panic!("{message}");
        }
    }

    /// Runs `kernel`; the error is what a GPU would leave undefined, or an array written behind its ends or against its word. Accesses
    /// whose order nothing keeps are an error where the launch is small.
    pub(crate) fn try_launch(
        &self,
        kernel: &str,
        launch: Launch,
        arguments: &mut [Argument<'_>],
    ) -> Result<(), String> {
        let threads: u32 = launch.grid.iter().chain(&launch.block).product();
        let in_order = match launch.accesses {
            Accesses::Unwatched => false,
            Accesses::InOrder => true,
            Accesses::InOrderIfFew => threads <= FEW,
        };
        self.run(self.library(in_order), kernel, launch, arguments)
    }

    #[expect(unsafe_code, reason = "calls the library it made")]
    fn run(
        &self,
        library: &Library,
        kernel: &str,
        launch: Launch,
        arguments: &mut [Argument<'_>],
    ) -> Result<(), String> {
        type Arrays = unsafe extern "C" fn(*const *const c_void, *const usize, usize);
        type Parameters = unsafe extern "C" fn(*const c_char) -> *const u32;
        type Run = unsafe extern "C" fn(
            *const c_char,
            *const *const c_void,
            *const u32,
            *const u32,
            u32,
            u64,
        ) -> *const c_char;
        let name = CString::new(kernel).unwrap();
        // SAFETY: the two functions of cuda_on_cpu.h, with its types; the list that the first returns ends with 0.
        let (run, sizes) = unsafe {
            let parameters = library.get::<Parameters>(b"emulation_parameters\0").unwrap();
            let first = parameters(name.as_ptr());
            assert!(!first.is_null(), "there is no kernel `{kernel}`");
            let count = (0..).take_while(|&i| *first.add(i) != 0).count();
            let sizes = std::slice::from_raw_parts(first, count);
            (library.get::<Run>(b"emulation_launch\0").unwrap(), sizes)
        };
        let given: Vec<usize> = arguments.iter().map(|argument| argument.size()).collect();
        let taken: Vec<usize> = sizes.iter().map(|&size| size as usize).collect();
        assert_eq!(
            given, taken,
            "{kernel}: sizes of the arguments and of the parameters, in bytes"
        );
        let arrays: Vec<Option<Array>> = arguments.iter().map(Argument::array).collect();
        let addresses: Vec<*const c_void> = arrays
            .iter()
            .map(|array| {
                array.as_ref().map_or(std::ptr::null(), |array| array.data().as_ptr().cast())
            })
            .collect();
        let places: Vec<*const c_void> = arguments
            .iter()
            .zip(&addresses)
            .map(|(argument, address)| match argument {
                Argument::Value(bytes) => bytes.as_ptr().cast(),
                _ => std::ptr::from_ref(address).cast(),
            })
            .collect();
        let lengths: Vec<usize> =
            arrays.iter().map(|array| array.as_ref().map_or(0, |array| array.len)).collect();
        let _one = self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // SAFETY: the kernel exists and its parameters have these sizes; a message lives until the next launch.
        let message = unsafe {
            // Only a library that watches accesses has names for them.
            if let Ok(name_arrays) = library.get::<Arrays>(b"emulation_arrays\0") {
                name_arrays(addresses.as_ptr(), lengths.as_ptr(), addresses.len());
            }
            let message = run(
                name.as_ptr(),
                places.as_ptr(),
                launch.grid.as_ptr(),
                launch.block.as_ptr(),
                launch.shared,
                launch.seed,
            );
            (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned())
        };
        if let Some(message) = message {
            return Err(message);
        }
        for (i, (argument, array)) in arguments.iter_mut().zip(&arrays).enumerate() {
            let Some(array) = array else { continue };
            if !array.surroundings_are_intact() {
                return Err(format!("{kernel}: argument {i} was written beyond its ends"));
            }
            match argument {
                Argument::Write(data) => data.copy_from_slice(array.data()),
                Argument::Read(data) if *data != array.data() => {
                    return Err(format!("{kernel}: argument {i} was written but is for reading"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Argument<'_> {
    fn size(&self) -> usize {
        match self {
            Argument::Value(bytes) => bytes.len(),
            _ => size_of::<*const c_void>(),
        }
    }
    fn array(&self) -> Option<Array> {
        match self {
            Argument::Read(data) => Some(Array::holding(data)),
            Argument::Write(data) => Some(Array::holding(data)),
            _ => None,
        }
    }
}

/// Where the kernels lie, and this folder.
fn root() -> PathBuf {
    let other = std::env::var_os("MVPBENCH_KERNELS").filter(|folder| !folder.is_empty());
    other.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(), PathBuf::from)
}

/// Where libraries are kept.
fn cache() -> PathBuf {
    let other = std::env::var_os("MVPBENCH_KERNELS").filter(|folder| !folder.is_empty());
    other.map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}

/// The kernels of `source` under `header` as a library that launches them by name; the same file for the same text and `options`.
#[cfg(feature = "cuda")]
pub(crate) fn library(compiler: &str, header: &Path, source: &Path, options: &[String]) -> PathBuf {
    kernel_library(compiler, header, source, options, None)
}

fn kernel_library(
    compiler: &str,
    header: &Path,
    source: &Path,
    options: &[String],
    order: Option<&Path>,
) -> PathBuf {
    let includes = format!("#include {header:?}\n#include {source:?}\n");
    let scratch = tempfile::tempdir_in(cache()).unwrap();
    let file = scratch.path().join("kernels.cpp");
    std::fs::write(&file, &includes).unwrap();
    let list = ["-E", "-P", "-std=c++17", "-DCUDA_ON_CPU_LIST"];
    let list = run(Command::new(compiler).args(list).args(options).arg(&file));
    let list = String::from_utf8(list).unwrap();
    let names = names(&list);
    assert!(!names.is_empty(), "{source:?} has no kernel");
    let table: Vec<String> = names.iter().map(|name| format!("EMULATED({name}),\n")).collect();
    let table =
        format!("const emulation::Kernel emulation::kernels[] = {{\n{}{{}}}};\n", table.concat());
    compiled(compiler, &(includes + &table), options, order)
}

/// C++ as a shared library; the same file for the same preprocessed text and `options`.
#[cfg(feature = "cuda")]
pub(crate) fn shared_library(compiler: &str, text: &str, options: &[String]) -> PathBuf {
    compiled(compiler, text, options, None)
}

/// With `order`, order.cpp, accesses to memory are reported to it.
fn compiled(compiler: &str, text: &str, options: &[String], order: Option<&Path>) -> PathBuf {
    const FLAGS: [&str; 9] = [
        "-std=c++17",
        "-O2",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
        "-fno-strict-aliasing",
        "-Wall",
        "-Wno-unknown-pragmas",
        "-Werror=return-type",
    ];
    /// The callbacks that this asks for are order.cpp's.
    const WATCHED: &str = "-fsanitize=thread";
    let folder = cache();
    let scratch = tempfile::tempdir_in(&folder).unwrap();
    let file = scratch.path().join("kernels.cpp");
    std::fs::write(&file, text).unwrap();
    let preprocess = |file: &Path| {
        let flags = ["-E", "-P", "-std=c++17"];
        run(Command::new(compiler).args(flags).args(order.map(|_| WATCHED)).args(options).arg(file))
    };
    let mut whole = preprocess(&file);
    if let Some(order) = order {
        whole.extend(preprocess(order));
    }
    let digest = Sha256::new()
        .chain_update(compiler)
        .chain_update(FLAGS.concat())
        .chain_update(options.concat())
        .chain_update(whole)
        .finalize();
    let digest: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let library = folder.join(format!("kernels-{digest}.so"));
    if !library.exists() {
        let made = scratch.path().join("kernels.so");
        let compile = || {
            let mut command = Command::new(compiler);
            command.args(FLAGS).args(options);
            command
        };
        match order {
            None => run(compile().arg("-o").arg(&made).arg(&file)),
            Some(order) => {
                let object = scratch.path().join("kernels.o");
                run(compile().args([WATCHED, "-c", "-o"]).arg(&object).arg(&file));
                // Without that option, so that the sanitizer's own library is not linked; a callback that is missing ends the link.
                run(compile().arg("-Wl,-z,defs").arg("-o").arg(&made).arg(&object).arg(order))
            }
        };
        std::fs::rename(made, &library).unwrap();
    }
    library
}

/// What a compiler printed, which must be content.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{messages}");
    output.stdout
}

/// Names of the kernels in preprocessed source: what stands between `__global__ void` and the parameters.
fn names(source: &str) -> Vec<&str> {
    let after = source.split("__global__").skip(1);
    let names = after.filter_map(|rest| rest.trim_start().strip_prefix("void")?.split('(').next());
    names.map(str::trim).collect()
}
