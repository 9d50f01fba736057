//! Tells the program which commit and which code it was built from and, with the feature `cuda`, compiles the kernels of `src/ops`: to PTX, which any card's
//! driver compiles further, and to the code of the cards in [`CARDS`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::sync::Mutex;

/// The oldest card the kernels run on (bf16, `cp.async`); drivers compile the PTX for newer ones.
const ARCHITECTURE: &str = "-arch=compute_80";

/// Compute capabilities of the cards whose code is made here, as far as nvcc knows them: Ampere, its consumer cards, Ada, Hopper, and
/// Blackwell's two.
const CARDS: [(u32, u32); 6] = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];

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

    // Parts of the keys of caches: the code that log-probabilities and token ids depend on.
    for (variable, code) in [
        ("MVPBENCH_ENGINE", ["src/ops", "src/model", "src/inference", "Cargo.lock"].as_slice()),
        ("MVPBENCH_TOKENS", &["src/data", "src/session/token_cache.rs", "Cargo.lock"]),
    ] {
        code.iter().for_each(|place| println!("cargo:rerun-if-changed={place}"));
        println!("cargo:rustc-env={variable}={:016x}", digest_of(code.iter().map(PathBuf::from)));
    }

    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        compile_kernels();
    }
}

/// Digest of files by their names and bytes, and of all in folders; of one that is not there, of its name.
fn digest_of(places: impl Iterator<Item = PathBuf>) -> u64 {
    fn add(hasher: &mut DefaultHasher, place: &Path) {
        place.hash(hasher);
        let Ok(folder) = std::fs::read_dir(place) else {
            return std::fs::read(place).ok().hash(hasher);
        };
        let mut entries: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| add(hasher, entry));
    }
    let mut hasher = DefaultHasher::new();
    places.for_each(|place| add(&mut hasher, &place));
    hasher.finish()
}

/// Of every `src/ops/NAME.cu` in `OUT_DIR`: `NAME.ptx`, `NAME.sm_90.cubin` and the like, and `NAME.cubins.rs`, which lists them.
fn compile_kernels() {
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH", "CI"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let in_ops = std::fs::read_dir("src/ops").expect("src/ops can be read");
    let in_ops: Vec<PathBuf> = in_ops.flatten().map(|entry| entry.path()).collect();
    let ending = |end: &str| {
        let ends = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == end);
        let mut all: Vec<PathBuf> = in_ops.iter().filter(ends).cloned().collect();
        all.sort();
        all
    };
    let sources = ending("cu");
    let (nvcc, folder) = (nvcc(), std::env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rustc-env=MVPBENCH_NVCC={}", release(&nvcc));
    // A newer compiler may warn of what this one does not, which is no reason for a user's build to end.
    let strict = std::env::var_os("CI").map(|_| "--Werror=all-warnings");
    let cards = known_cards(&nvcc);
    // Other code than theirs has changed: they are there.
    let read = [sources.clone(), ending("cuh"), vec!["build.rs".into()]].concat();
    let stamp = format!("{:016x} {} {strict:?}", digest_of(read.into_iter()), nvcc.display());
    let stamp = format!("{stamp} {}", release(&nvcc));
    let stamped = Path::new(&folder).join("kernels");
    if std::fs::read_to_string(&stamped).is_ok_and(|before| before == stamp) {
        return;
    }
    let made = |source: &Path, end: &str| {
        let stem = source.file_stem().expect("a .cu file has a name").to_string_lossy();
        Path::new(&folder).join(format!("{stem}.{end}"))
    };
    let compile = |source: &Path| {
        let mut command = Command::new(&nvcc);
        command.args(["-ptx", "-O3", "-std=c++17", ARCHITECTURE]).args(strict).arg("-o");
        command.arg(made(source, "ptx")).arg(source);
        command.status().is_ok_and(|status| status.success())
    };
    // From the same PTX that drivers compile.
    let assemble = |source: &Path, card: &str| {
        let mut command = Command::new(&nvcc);
        command.args(["-cubin", "-O3", &format!("-arch={card}"), "-o"]);
        command.arg(made(source, &format!("{card}.cubin"))).arg(made(source, "ptx"));
        command.status().is_ok_and(|status| status.success())
    };
    let compiled = in_parallel(sources.iter(), |source| compile(source));
    let every: Vec<_> =
        compiled.iter().flat_map(|source| cards.iter().map(move |card| (*source, card))).collect();
    let assembled = in_parallel(every.iter(), |(source, (_, card))| assemble(source, card));
    let whole = |source: &&PathBuf| {
        assembled.iter().filter(|(of, _)| of == source).count() == cards.len()
            && compiled.contains(source)
    };
    for source in sources.iter().filter(whole) {
        let list: Vec<String> = cards
            .iter()
            .map(|((major, minor), card)| {
                let cubin = made(source, &format!("{card}.cubin"));
                format!("(({major}, {minor}), include_bytes!({cubin:?}).as_slice()),\n")
            })
            .collect();
        let list = format!("&[\n{}]\n", list.concat());
        std::fs::write(made(source, "cubins.rs"), list).expect("OUT_DIR can be written");
    }
    let failed: Vec<&PathBuf> = sources.iter().filter(|source| !whole(source)).collect();
    if !failed.is_empty() {
        fail(&format!("`{}` could not compile {failed:?}; its messages are above", nvcc.display()));
    }
    std::fs::write(stamped, stamp).expect("OUT_DIR can be written");
}

/// Those of `all` for which `work` succeeds, on the machine's processors.
fn in_parallel<'a, T: Sync>(
    all: impl ExactSizeIterator<Item = &'a T> + Send,
    work: impl Fn(&T) -> bool + Sync,
) -> Vec<&'a T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(all.len());
    let (left, done) = (Mutex::new(all), Mutex::new(Vec::new()));
    let next = || left.lock().expect("no thread panics").next();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = next() {
                    if work(one) {
                        done.lock().expect("no thread panics").push(one);
                    }
                }
            });
        }
    });
    done.into_inner().expect("no thread panics")
}

/// Those of [`CARDS`] that nvcc makes code for, with their names, as `sm_90`.
fn known_cards(nvcc: &Path) -> Vec<((u32, u32), String)> {
    let output = Command::new(nvcc).arg("--list-gpu-code").output();
    let known = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let known = known.unwrap_or_default();
    let named =
        CARDS.into_iter().map(|(major, minor)| ((major, minor), format!("sm_{major}{minor}")));
    named.filter(|(_, name)| known.split_whitespace().any(|one| one == name)).collect()
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
