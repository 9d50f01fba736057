//! What a test needs and a machine may lack: a compiler, a browser, a model that is not in the repository.
//!
//! A test whose need is unmet calls [`skip`] and returns; the last line of the test program counts such tests and gives the reasons.
//! With `CI` set, or with `MVPBENCH_REQUIRE=all`, an unmet need fails the test, unless `MVPBENCH_MAY_SKIP` lists the need's name.
//! Tests that install Python packages from a registry run only when asked: by `MVPBENCH_REGISTRY=1` or by `MVPBENCH_REQUIRE=all`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// Something that a test needs and a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Linux,
    Compiler,
    Stories,
    Chromium,
    Mounts,
    Hosts,
    FullDevice,
    Registry,
    EmulatedCard,
    Npm,
    Pdftotext,
    Python,
    Amx,
}

impl Need {
    const ALL: [Self; 13] = [
        Self::Linux,
        Self::Compiler,
        Self::Stories,
        Self::Chromium,
        Self::Mounts,
        Self::Hosts,
        Self::FullDevice,
        Self::Registry,
        Self::EmulatedCard,
        Self::Npm,
        Self::Pdftotext,
        Self::Python,
        Self::Amx,
    ];

    /// Its name in `MVPBENCH_MAY_SKIP`, the reason that the last line gives, and how to meet it.
    fn words(self) -> [&'static str; 3] {
        match self {
            Self::Linux => {
                ["linux", "kernels are emulated on Linux only", "run the tests on Linux"]
            }
            Self::Compiler => {
                ["compiler", "no C++ compiler", "install g++, or name a compiler in CXX"]
            }
            Self::Stories => [
                "stories260k",
                "MVPBENCH_STORIES260K is not set",
                "set it to a folder with model.safetensors, config.json, tokenizer.json and reference.json of stories260K",
            ],
            Self::Chromium => {
                ["chromium", "no chromium", "install chromium, or name a browser in CHROMIUM"]
            }
            Self::Mounts => [
                "mounts",
                "no file system can be mounted",
                "run the tests as root, or where user namespaces are allowed",
            ],
            Self::Hosts => [
                "hosts",
                "no network namespaces, or no Open MPI 4",
                "run the tests as root, with iproute2 and Debian's Open MPI",
            ],
            Self::FullDevice => ["dev-full", "no /dev/full", "run the tests on Linux"],
            Self::Registry => [
                "registry",
                "MVPBENCH_REGISTRY is not set",
                "set it to 1 where pip reaches a registry",
            ],
            Self::Npm => [
                "npm",
                "npm cannot install a package",
                "install npm, and run the tests once where it reaches a registry",
            ],
            Self::Pdftotext => ["pdftotext", "no pdftotext", "install poppler-utils"],
            Self::Python => ["python", "no python3", "install python3"],
            Self::Amx => ["amx", "no AMX", "run the tests on a processor that has it"],
            Self::EmulatedCard => ["emulated-card", "the card is a real one", "unset MVPBENCH_GPU"],
        }
    }
}

/// The variables that decide whether an unmet need fails a test.
#[derive(Clone, Copy, Default)]
struct Demand<'a> {
    ci: &'a str,
    require: &'a str,
    may_skip: &'a str,
    registry: &'a str,
}

impl Demand<'_> {
    /// Whether `need` must be met.
    fn demands(self, need: Need) -> bool {
        assert!(["", "all"].contains(&self.require), "MVPBENCH_REQUIRE must be `all`");
        let all = self.require == "all";
        for name in self.may_skip.split(',').filter(|name| !name.is_empty()) {
            let known = Need::ALL.map(|need| need.words()[0]);
            assert!(known.contains(&name), "MVPBENCH_MAY_SKIP: `{name}` is none of {known:?}");
            if name == need.words()[0] {
                return false;
            }
        }
        match need {
            Need::Registry => all || !self.registry.is_empty(),
            // A real card is what was asked for.
            Need::EmulatedCard => false,
            // No instruction can be installed.
            Need::Amx => false,
            _ => all || !self.ci.is_empty(),
        }
    }
}

fn demands(need: Need) -> bool {
    let of = |name| std::env::var(name).unwrap_or_default();
    let [ci, require, may_skip, registry] =
        ["CI", "MVPBENCH_REQUIRE", "MVPBENCH_MAY_SKIP", "MVPBENCH_REGISTRY"].map(of);
    let demand = Demand { ci: &ci, require: &require, may_skip: &may_skip, registry: &registry };
    demand.demands(need)
}

/// Skipped tests by reason.
static SKIPPED: Mutex<BTreeMap<&str, usize>> = Mutex::new(BTreeMap::new());

/// Counts the calling test, which returns next, as skipped; fails it where `need` must be met. Once a test.
#[track_caller]
pub(crate) fn skip(need: Need, detail: &str) {
    let [name, reason, remedy] = need.words();
    assert!(
        !demands(need),
        "{reason}. {detail}\nhint: {remedy}; or list `{name}` in MVPBENCH_MAY_SKIP"
    );
    let mut skipped = SKIPPED.lock().unwrap();
    if skipped.is_empty() {
        at_exit();
    }
    *skipped.entry(reason).or_default() += 1;
}

/// The line of all skipped tests.
fn line(skipped: &BTreeMap<&str, usize>) -> String {
    let count: usize = skipped.values().sum();
    let reasons: Vec<_> =
        skipped.iter().map(|(reason, count)| format!("{reason} ({count})")).collect();
    let tests = if count == 1 { "test" } else { "tests" };
    format!("skipped {count} {tests}: {}\n", reasons.join(", "))
}

/// Has the process print [`line`] when it ends, after the summary of the tests, where no output is captured.
#[expect(unsafe_code, reason = "libtest has no hook for the end of all tests")]
fn at_exit() {
    extern "C" fn print() {
        if let Ok(skipped) = SKIPPED.lock() {
            // Nobody is left to tell when this fails.
            let _ = std::io::stderr().write_all(line(&skipped).as_bytes());
        }
    }
    // SAFETY: `print` touches statics alone, and these live as long as the process.
    assert_eq!(unsafe { libc::atexit(print) }, 0);
}

/// The folder of stories260K; skips the calling test without one.
#[track_caller]
pub(crate) fn stories() -> Option<PathBuf> {
    let folder = std::env::var_os("MVPBENCH_STORIES260K").filter(|folder| !folder.is_empty());
    if folder.is_none() {
        skip(Need::Stories, "It is not in the repository.");
    }
    folder.map(PathBuf::from)
}

/// Whether tests may install Python packages from a registry; skips the calling test if they may not.
pub(crate) fn registry() -> bool {
    let asked = demands(Need::Registry);
    if !asked {
        skip(Need::Registry, "");
    }
    asked
}

/// The browser that `CHROMIUM` or `CHROME` names, or one on the path; skips the calling test without one.
#[track_caller]
pub(crate) fn chromium() -> Option<PathBuf> {
    let named = ["CHROMIUM", "CHROME"].into_iter().find_map(std::env::var_os).map(PathBuf::from);
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut found =
        std::env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name)));
    let browser = named.or_else(|| found.find(|path| path.is_file()));
    if browser.is_none() {
        skip(Need::Chromium, &format!("None of {names:?} is on the path."));
    }
    browser
}

/// The program on the path; none without it.
fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The program that prints the text of a PDF file; skips the calling test without it.
#[track_caller]
pub(crate) fn pdftotext() -> Option<PathBuf> {
    let found = on_path("pdftotext");
    if found.is_none() {
        skip(Need::Pdftotext, "It is not on the path.");
    }
    found
}

/// Whether the project's scripts run here: bash, and Python with its TOML reader; skips the calling test where they do not.
#[track_caller]
pub(crate) fn python() -> bool {
    let runs = |program: &str, code: &str| {
        let output = Command::new(program).args(["-c", code]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let is_there = runs("python3", "import tomllib") && runs("bash", "exit 0");
    if !is_there {
        skip(Need::Python, "Scripts are bash and Python of 3.11 or later.");
    }
    is_there
}

/// The folder of an npm package, installed once beside the build; skips the calling test where npm cannot.
#[track_caller]
pub(crate) fn npm_package(name: &str, version: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{version}"));
    let folder = root.join("node_modules").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let Some(npm) = on_path("npm") else {
        skip(Need::Npm, "It is not on the path.");
        return None;
    };
    // Installed aside and renamed, so that the folder is whole or absent.
    std::fs::create_dir_all(root.parent().unwrap()).unwrap();
    let aside = tempfile::tempdir_in(root.parent().unwrap()).unwrap();
    let output = Command::new(npm)
        .args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
        .arg(aside.path())
        .arg(format!("{name}@{version}"))
        .output()
        .unwrap();
    if !output.status.success() {
        skip(Need::Npm, &String::from_utf8_lossy(&output.stderr));
        return None;
    }
    // Another test program may have been faster; its folder is as good.
    let _ = std::fs::rename(aside.path(), &root);
    folder.is_dir().then_some(folder)
}

/// The first C++ compiler that runs; skips the calling test without one.
#[track_caller]
pub(crate) fn compiler() -> Option<&'static str> {
    static FOUND: OnceLock<Option<String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let chosen = std::env::var("CXX").ok().filter(|name| !name.is_empty());
        let known = ["c++", "g++", "clang++"].map(String::from);
        chosen.into_iter().chain(known).find(|name| {
            let output = Command::new(PathBuf::from(name)).arg("--version").output();
            output.is_ok_and(|output| output.status.success())
        })
    });
    if found.is_none() {
        skip(Need::Compiler, "None of CXX, c++, g++, clang++ can be run.");
    }
    found.as_deref()
}

#[test]
fn a_need_is_demanded_in_ci_and_when_all_are_and_the_registry_only_when_asked() {
    let none = Demand::default();
    let (ci, all) = (Demand { ci: "true", ..none }, Demand { require: "all", ..none });
    for need in [Need::Compiler, Need::Stories, Need::Chromium, Need::Mounts] {
        assert_eq!([none, ci, all].map(|demand| demand.demands(need)), [false, true, true]);
    }
    let asked = Demand { registry: "1", ..none };
    assert_eq!(
        [none, ci, all, asked].map(|demand| demand.demands(Need::Registry)),
        [false, false, true, true]
    );
    assert!(!asked.demands(Need::Compiler));
    let spared = Demand { may_skip: "stories260k,registry", ..all };
    let demanded = Need::ALL.map(|need| spared.demands(need));
    assert_eq!(
        demanded,
        [true, true, false, true, true, true, true, false, false, true, true, true, false]
    );
}

#[test]
#[should_panic(expected = "`storys` is none of")]
fn a_need_that_is_misspelt_spares_nothing() {
    Demand { may_skip: "storys", ..Demand::default() }.demands(Need::Compiler);
}

/// Runs tests of this program once more without stories260K, and with `set`; whether they passed, and what the program printed.
fn again(set: &[(&str, &str)]) -> (bool, String) {
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.arg("a_real_models_");
    for name in
        ["CI", "MVPBENCH_REQUIRE", "MVPBENCH_MAY_SKIP", "MVPBENCH_REGISTRY", "MVPBENCH_STORIES260K"]
    {
        tests.env_remove(name);
    }
    let output = tests.envs(set.iter().copied()).output().unwrap();
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.success(), printed.concat())
}

#[test]
fn what_is_missing_is_counted_on_one_last_line_or_fails_with_its_remedy() {
    let line = "skipped 2 tests: MVPBENCH_STORIES260K is not set (2)\n";
    let spared = [("MVPBENCH_REQUIRE", "all"), ("MVPBENCH_MAY_SKIP", "stories260k")];
    for set in [&[][..], &[("CI", "")], &spared] {
        let (passed, printed) = again(set);
        assert!(passed && printed.ends_with(line), "{set:?}: {printed}");
        assert_eq!(printed.matches("skipped ").count(), 1, "{printed}");
    }
    for set in [("CI", "true"), ("MVPBENCH_REQUIRE", "all")] {
        let (passed, printed) = again(&[set]);
        assert!(!passed && !printed.contains("skipped "), "{set:?}: {printed}");
        assert!(printed.contains("2 failed") && printed.contains("hint: set it to a folder"));
    }
}
