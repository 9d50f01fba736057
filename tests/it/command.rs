//! Runs the `train` command as a user does, in a folder of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mvpbench::disk::{json_lines, seal};
use serde_json::Value;

use crate::golden;
use crate::running::{Running, die_with_the_test};

/// A folder with a `config.toml`, and a cache that no other test shares.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    /// Variables that its commands are given beside their own.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// With a `config.toml` that trains a golden model on all golden pairs, into `run`.
    pub(crate) fn golden(model: &str) -> Self {
        Self::new()
            .set("model.path", golden::text(&format!("models/{model}")))
            .set("data.train", vec![golden::pairs()])
            .set("output.dir", "run")
    }

    /// [`Self::configure`], while the place is built.
    pub(crate) fn set(self, key: &str, value: impl Into<toml::Value>) -> Self {
        self.configure(key, value);
        self
    }

    /// Has the run evaluate `file` as the set `name`, while the place is built.
    pub(crate) fn evaluate(self, name: &str, file: impl Into<toml::Value>) -> Self {
        self.configure_set(name, file, &[]);
        self
    }

    /// [`Self::evaluate`] by these metrics.
    pub(crate) fn evaluate_by(
        self,
        name: &str,
        file: impl Into<toml::Value>,
        metrics: &[&str],
    ) -> Self {
        self.configure_set(name, file, metrics);
        self
    }

    /// Adds an evaluation set to `config.toml`; by the default metrics where none are given.
    pub(crate) fn configure_set(
        &self,
        name: &str,
        file: impl Into<toml::Value>,
        metrics: &[&str],
    ) -> &Self {
        let mut set = toml::Table::new();
        set.insert("name".into(), name.into());
        set.insert("files".into(), vec![file.into()].into());
        if !metrics.is_empty() {
            set.insert("metrics".into(), metrics.to_vec().into());
        }
        let mut sets = match self.configured("eval.sets") {
            Some(toml::Value::Array(sets)) => sets,
            _ => Vec::new(),
        };
        sets.push(set.into());
        self.configure("eval.sets", sets)
    }

    /// Sets a key of `config.toml`, such as `train.epochs`.
    pub(crate) fn configure(&self, key: &str, value: impl Into<toml::Value>) -> &Self {
        let mut config = self.config();
        let (sections, name) = key.rsplit_once('.').unwrap();
        let mut section = &mut config;
        for part in sections.split('.') {
            let table = section.entry(part).or_insert_with(|| toml::Table::new().into());
            section = table.as_table_mut().unwrap();
        }
        section.insert(name.into(), value.into());
        self.write("config.toml", toml::to_string(&config).unwrap());
        self
    }

    /// A key of `config.toml`.
    fn configured(&self, key: &str) -> Option<toml::Value> {
        let config = toml::Value::Table(self.config());
        key.split('.').try_fold(&config, |value, part| value.get(part)).cloned()
    }

    fn config(&self) -> toml::Table {
        let text = std::fs::read_to_string(self.path("config.toml")).unwrap_or_default();
        text.parse().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_train"), arguments)
    }

    /// The `mvpbench` command.
    pub(crate) fn mvpbench(&self, arguments: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_mvpbench"), arguments)
    }

    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("MVPBENCH_CACHE", self.path("cache"))
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        die_with_the_test(&mut command);
        command
    }

    /// The `train` command, started with `-q`.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments).arg("-q").stdout(Stdio::null()))
    }

    /// The `train` command, started with its standard error piped for [`Running::end`].
    pub(crate) fn start_heard(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()))
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the command, which must succeed; returns what it printed.
    #[track_caller]
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the command, which must refuse what it was given and say all `parts`.
    #[track_caller]
    pub(crate) fn refuse(&self, arguments: &[&str], parts: &[&str]) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        for part in [&["error: "], parts].concat() {
            assert!(said.contains(part), "{arguments:?}: expected `{part}` in: {said}");
        }
        assert!(output.stdout.is_empty());
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
}

/// The records of a JSONL file.
pub(crate) fn records(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// An object or the lines of a file, edited by hand, with digests that match what stands there now.
pub(crate) fn resealed(text: &str) -> String {
    let value = |text: &str| {
        let mut value: Value = serde_json::from_str(text).unwrap();
        value.as_object_mut().unwrap().shift_remove("sha256");
        value
    };
    let bytes = match serde_json::from_str::<Value>(text) {
        Ok(_) if text.starts_with("{\n") => seal::indented(&value(text)).unwrap(),
        _ => text.lines().flat_map(|line| json_lines::line(&value(line)).unwrap()).collect(),
    };
    String::from_utf8(bytes).unwrap()
}

/// How many lines a file has; 0 while it is not there.
pub(crate) fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Installs a Python package from a registry into the folder `target`; `arguments`: the package, and options of pip.
#[track_caller]
pub(crate) fn install(arguments: &[&str], target: &Path) {
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1"];
    let installed = Command::new("python3")
        .args(pip)
        .arg("--target")
        .arg(target)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("python3 cannot be run: {error}\nhint: install python3"));
    let said = String::from_utf8_lossy(&installed.stderr);
    assert!(
        installed.status.success(),
        "pip cannot install {}\nhint: let pip reach a registry, or leave MVPBENCH_REGISTRY unset\n{said}",
        arguments.join(" ")
    );
}
