//! Tells the program which commit it was built from and, with the feature `cuda`, compiles the kernels of `src/ops` to PTX.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The oldest card the kernels run on (bf16, `cp.async`); drivers compile the PTX for newer ones.
const ARCHITECTURE: &str = "-arch=compute_80";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    println!("cargo:rustc-env=MVPBENCH_COMMIT={}", commit.as_deref().map_or("unknown", str::trim));

    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        compile_kernels();
    }
}

/// Every `src/ops/NAME.cu` to `OUT_DIR/NAME.ptx`.
fn compile_kernels() {
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH", "CI"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rerun-if-changed=src/ops");
    let sources = std::fs::read_dir("src/ops").expect("src/ops can be read");
    let mut sources: Vec<PathBuf> = sources.flatten().map(|entry| entry.path()).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    sources.sort();
    let (nvcc, folder) = (nvcc(), std::env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rustc-env=MVPBENCH_NVCC={}", release(&nvcc));
    // A newer compiler may warn of what this one does not, which is no reason for a user's build to end.
    let strict = std::env::var_os("CI").map(|_| "--Werror=all-warnings");
    let compile = |source: &PathBuf| {
        let stem = source.file_stem().expect("a .cu file has a name");
        let ptx = Path::new(&folder).join(stem).with_extension("ptx");
        let mut command = Command::new(&nvcc);
        command.args(["-ptx", "-O3", "-std=c++17", ARCHITECTURE]).args(strict).arg("-o");
        command.arg(ptx).arg(source).status().is_ok_and(|status| status.success())
    };
    let failed = std::thread::scope(|scope| {
        let running: Vec<_> =
            sources.iter().map(|source| (source, scope.spawn(|| compile(source)))).collect();
        let finished =
            running.into_iter().map(|(source, thread)| (source, thread.join().unwrap_or(false)));
        finished.filter(|(_, done)| !done).map(|(source, _)| source).collect::<Vec<_>>()
    });
    if !failed.is_empty() {
        fail(&format!("`{}` could not compile {failed:?}; its messages are above", nvcc.display()));
    }
}

/// The release of CUDA that nvcc is of, as `13.0`; empty where it does not tell.
fn release(nvcc: &Path) -> String {
    let output = Command::new(nvcc).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let said = said.unwrap_or_default();
    let after = said.split_once("release ").map(|(_, after)| after);
    let number = after.and_then(|after| after.split_once(',')).map(|(number, _)| number);
    number.unwrap_or_default().trim().to_owned()
}

/// `NVCC`, or nvcc under `CUDA_HOME` or `CUDA_PATH`, or on the path.
fn nvcc() -> PathBuf {
    let under =
        |variable| std::env::var_os(variable).map(|home| Path::new(&home).join("bin").join("nvcc"));
    let named = std::env::var_os("NVCC").map(PathBuf::from);
    let candidates = [named, under("CUDA_HOME"), under("CUDA_PATH"), Some(PathBuf::from("nvcc"))];
    let works = |path: &PathBuf| {
        Command::new(path).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    candidates.into_iter().flatten().find(works).unwrap_or_else(|| {
        fail(
            "the feature `cuda` needs nvcc, which is not at NVCC, under CUDA_HOME or CUDA_PATH, or on the path; \
             hint: install a CUDA toolkit, or run `scripts/setup-cuda.sh` and source the file that it names",
        )
    })
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
