//! `mvpbench judge`: what judges say of answers, as preference alignment accuracy.

use std::cell::Cell;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, ValueEnum};

use crate::cli::request_args::{RequestArgs, Way, estimate_lines, export_lines, say_imported};
use crate::cli::typed;
use crate::config::Dtype;
use crate::console::progress::Verbosity;
use crate::console::{interrupt, stdout, units};
use crate::data::benchmark::References;
use crate::error::InputError;
use crate::eval::paa::items::Benchmark;
use crate::eval::paa::judging::Judging;
use crate::eval::paa::local_judge::LocalJudge;
use crate::eval::paa::panel::Judge;
use crate::judge::chat::asker::{Asker, Stopped, Used};
use crate::judge::chat::cost::Prices;
use crate::judge::chat::endpoint::Endpoint;
use crate::judge::chat::outcome::{Failure, Outcome};
use crate::judge::chat::request::{Items, Parameters};
use crate::judge::chat::{Item, Settings};
use crate::judge::protocol::{Kind, Protocol};
use crate::judge::reply::scores;
use crate::judge::stage2::Replies;
use crate::metrics::groups::MINIMUM_N;
use crate::metrics::paa::PaaEvaluation;
use crate::report::page;
use crate::report::sections::paa::models::ModelTable;
use crate::run_folder::answers::{Answers, AnswersFolder};
use crate::run_folder::kind;
use crate::run_folder::paa::PaaFolder;
use crate::session::local_model::LocalChoice;

/// Let judges say whether answers fit what their users value: preference alignment accuracy by country and group.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("who").required(true).multiple(true).args(["endpoint", "judge", "model"])))]
pub struct JudgeArgs {
    /// Folders of answers that `mvpbench generate --data` wrote, one for each model
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    answers: Vec<PathBuf>,
    /// Folder to write: paa.json, verdicts, tables, the report; the same command resumes
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Protocol: a file, or one in the binary: paa-paper.toml, paa-polyjudge.toml
    #[arg(long, value_name = "FILE", default_value = "paa-paper.toml")]
    config: String,
    /// Data that the answers were made from, where it has moved since
    #[arg(long, value_name = "FILE")]
    data: Vec<String>,
    /// Endpoint of a judge: openai, deepseek, ark, local, or a base URL; may be repeated, with a `--chat-model` each
    #[arg(long, value_name = "NAME|URL")]
    endpoint: Vec<String>,
    /// Name of the judge at its endpoint; may be repeated, in the order of the endpoints
    #[arg(long, value_name = "MODEL")]
    chat_model: Vec<String>,
    /// Environment variable that holds the key of an endpoint, where it is not the preset's; in the order of the endpoints
    #[arg(long, value_name = "NAME")]
    key_env: Vec<String>,
    /// A model as a judge: a folder, a hub id (OWNER/NAME), or `embedded:tiny/model`
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Branch, tag or commit of that model on the hub
    #[arg(long, default_value = "main", requires = "model")]
    revision: String,
    /// Adapter on that model
    #[arg(long, value_name = "FOLDER", requires = "model")]
    adapter: Option<PathBuf>,
    /// Number type of its weights
    #[arg(long, value_name = "DTYPE", value_parser = PossibleValuesParser::new(Dtype::NAMES), default_value = "auto")]
    dtype: String,
    /// Its device: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// A judge without a model. `rule` accepts an answer that has more words of the preferred answer alone than of the
    /// rejected answer alone: it shows the way without a network and says nothing about alignment
    #[arg(long, value_enum)]
    judge: Option<OwnJudge>,
    /// Make verdicts and figures anew from the replies that are kept, with the thresholds of `--config`; asks nothing
    #[arg(long)]
    recompute: bool,
    #[command(flatten)]
    requests: RequestArgs,
    /// Fewest answers for which a group gets a figure
    #[arg(long, value_name = "N", default_value_t = MINIMUM_N)]
    minimum_n: usize,
    /// Print only warnings, errors and results
    #[arg(short, long)]
    quiet: bool,
}

/// A judge that needs no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OwnJudge {
    Rule,
}

/// A judge behind an endpoint, as it was named.
struct Named<'a> {
    endpoint: &'a str,
    model: &'a str,
    key_env: Option<&'a str>,
}

/// Runs the verb: figures on stdout, progress on stderr.
pub fn judge(args: &JudgeArgs) -> Result<()> {
    interrupt::install()?;
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let named = named(args)?;
    let protocol = Protocol::load(&args.config)?;
    let models = models(&args.answers)?;
    let benchmark = benchmark(args, &models, verbosity)?;
    let command = typed::command();
    let judging = Judging {
        protocol: &protocol,
        protocol_name: &args.config,
        benchmark: &benchmark,
        models: &models,
        minimum_n: args.minimum_n,
        command: &command,
        verbosity,
    };
    let folder = PaaFolder::of(&args.output);
    kind::check(folder.path(), kind::VERDICTS)?;
    let panel = Panel { args, judging: &judging, folder: &folder, named: &named };
    match args.requests.way() {
        Way::Estimate => return panel.estimate(),
        Way::Export(batch) => return panel.export(batch),
        Way::Ask | Way::Import(_) => {}
    }
    // What refuses to ask does so before the folder is made.
    for one in &named {
        panel.plan(one)?;
    }
    let local = panel.local()?;
    let _lock = folder.lock()?;
    if let Way::Import(files) = args.requests.way() {
        panel.import(files)?;
    }
    let evaluation = judging.run(&mut panel.judges(local)?, &folder)?;
    print(&evaluation, &folder)
}

/// The judges behind endpoints. Refuses options that do not make pairs.
fn named(args: &JudgeArgs) -> Result<Vec<Named<'_>>> {
    let (endpoints, models, keys) = (&args.endpoint, &args.chat_model, &args.key_env);
    if endpoints.len() != models.len() {
        let what = format!(
            "expected a `--chat-model` for each `--endpoint`, got {} for {}",
            models.len(),
            endpoints.len()
        );
        let hint = "name the judge of each endpoint, as in `--endpoint deepseek --chat-model deepseek-chat`";
        return Err(InputError::new(what).hint(hint).into());
    }
    if keys.len() > endpoints.len() {
        let what = format!("got {} `--key-env` for {} `--endpoint`", keys.len(), endpoints.len());
        return Err(InputError::new(what).hint("name at most one variable an endpoint").into());
    }
    if !keys.is_empty() && keys.len() < endpoints.len() {
        let what = format!(
            "expected no `--key-env` or one for each of {} endpoints, got {}",
            endpoints.len(),
            keys.len()
        );
        return Err(InputError::new(what)
            .hint("name the variable of every endpoint, or of none")
            .into());
    }
    if let Some(option) = args.requests.given().filter(|_| endpoints.is_empty()) {
        let what = format!("`{option}` needs `--endpoint`");
        return Err(InputError::new(what).hint("add `--endpoint` and `--chat-model`").into());
    }
    if args.recompute
        && let Some(option) = args.requests.given()
    {
        let what = format!("`{option}` and `--recompute` exclude each other");
        return Err(InputError::new(what).hint("`--recompute` asks nothing").into());
    }
    let all = endpoints.iter().zip(models).enumerate();
    let named: Vec<Named<'_>> = all
        .map(|(at, (endpoint, model))| Named {
            endpoint,
            model,
            key_env: keys.get(at).map(String::as_str),
        })
        .collect();
    for (at, one) in named.iter().enumerate() {
        if named[..at].iter().any(|other| other.model == one.model) || one.model == "rule" {
            let what = format!("two judges have the name `{}`", one.model);
            let hint = "set `repetitions` in the protocol to ask one judge several times";
            return Err(InputError::new(what).hint(hint).into());
        }
    }
    Ok(named)
}

/// Each model's answers. Refuses two of one name.
fn models(folders: &[PathBuf]) -> Result<Vec<Answers>> {
    let models = folders
        .iter()
        .map(|folder| AnswersFolder::of(folder).read())
        .collect::<Result<Vec<_>>>()?;
    for (at, one) in models.iter().enumerate() {
        if let Some(other) =
            models[..at].iter().position(|other| other.about.name == one.about.name)
        {
            let what = format!(
                "`{}` and `{}` are both answers of `{}`",
                folders[other].display(),
                folders[at].display(),
                one.about.name
            );
            let hint = "name each folder once; figures and files are named after the folders of the answers";
            return Err(InputError::new(what).hint(hint).into());
        }
    }
    Ok(models)
}

/// The data that the answers were made from. Refuses files that have changed since.
fn benchmark(args: &JudgeArgs, models: &[Answers], verbosity: Verbosity) -> Result<Benchmark> {
    let mut names = args.data.clone();
    if names.is_empty() {
        for file in models.iter().flat_map(|model| &model.about.data) {
            if !names.contains(&file.name) {
                names.push(file.name.clone());
            }
        }
    }
    let benchmark = Benchmark::load(&names, References::Keep, verbosity)?;
    for model in models {
        for file in &model.about.data {
            if !benchmark.files.iter().any(|read| read.sha256 == file.sha256) {
                let what = format!(
                    "answers `{}` were made from `{}` with other content (sha256 {})",
                    model.about.name, file.name, file.sha256
                );
                let hint = "give the file as it was with `--data`, or generate the answers again";
                return Err(InputError::new(what).hint(hint).into());
            }
        }
    }
    Ok(benchmark)
}

/// Who judges, and where their replies are kept.
struct Panel<'a> {
    args: &'a JudgeArgs,
    judging: &'a Judging<'a>,
    folder: &'a PaaFolder,
    named: &'a [Named<'a>],
}

impl Panel<'_> {
    fn settings(&self, endpoint: &Endpoint, model: &str) -> Settings {
        let Judging { protocol, protocol_name, .. } = self.judging;
        let stage = &protocol.judge;
        let wants_schema = protocol.verdict.schema.unwrap_or(!endpoint.refuses_schemas());
        let schema = (protocol.kind == Kind::Scores && wants_schema)
            .then(|| ("scores".to_owned(), scores::schema()));
        let parameters = Parameters {
            model: model.to_owned(),
            temperature: Some(stage.temperature as f32),
            top_p: Some(stage.top_p as f32),
            max_tokens: Some(stage.max_tokens),
            seed: None,
            schema,
            extra: stage.extra.clone(),
        };
        let prices = Prices::set_by(protocol, protocol_name, model);
        self.args.requests.settings(parameters, prices)
    }

    /// Who would ask this judge; without the key where nothing is sent.
    fn plan(&self, named: &Named<'_>) -> Result<Asker> {
        let endpoint = match self.args.recompute {
            true => Endpoint::without_key(named.endpoint)?,
            false => self.args.requests.endpoint(named.endpoint, named.key_env)?,
        };
        let settings = self.settings(&endpoint, named.model);
        let journal = self.folder.journal(named.model, endpoint.base());
        Asker::plan(endpoint, settings, &journal, self.judging.verbosity)
    }

    fn asker(&self, named: &Named<'_>) -> Result<Asker> {
        let endpoint = match self.args.recompute {
            true => Endpoint::without_key(named.endpoint)?,
            false => self.args.requests.endpoint(named.endpoint, named.key_env)?,
        };
        let settings = self.settings(&endpoint, named.model);
        let journal = self.folder.journal(named.model, endpoint.base());
        Asker::open(endpoint, settings, &journal, self.judging.verbosity)
    }

    /// The local model that judges; none without `--model`.
    fn local(&self) -> Result<Option<LocalJudge>> {
        let Some(model) = &self.args.model else { return Ok(None) };
        let choice = LocalChoice {
            model: model.clone(),
            revision: self.args.revision.clone(),
            adapter: self.args.adapter.clone(),
            merge: false,
            dtype: Dtype::ALL
                .into_iter()
                .find(|dtype| dtype.name() == self.args.dtype)
                .unwrap_or(Dtype::Auto),
            device: self.args.device.clone(),
            batch: None,
            force: false,
        };
        let (protocol, verbosity) = (self.judging.protocol, self.judging.verbosity);
        LocalJudge::load(choice, protocol, self.folder, self.args.recompute, verbosity).map(Some)
    }

    /// The judges, in the order in which their opinions are kept: the rule, the local model, the endpoints.
    fn judges(&self, local: Option<LocalJudge>) -> Result<Vec<Judge>> {
        let mut judges: Vec<Judge> =
            self.args.judge.iter().map(|OwnJudge::Rule| Judge::rule()).collect();
        judges.extend(local.map(LocalJudge::into_judge).transpose()?);
        let used = Rc::new(Cell::new(Used::default()));
        for named in self.named {
            let asker = self.asker(named)?;
            let replies: Box<dyn Replies> = match (self.args.recompute, self.args.requests.way()) {
                (false, Way::Ask) => Box::new(Limited { asker, used: Rc::clone(&used) }),
                (is_recomputed, _) => Box::new(Kept { asker, is_recomputed }),
            };
            let (name, place) = (named.model.to_owned(), named.endpoint.to_owned());
            judges.push(Judge { name, place, replies: Some(replies) });
        }
        Ok(judges)
    }

    /// What would be asked of each judge behind an endpoint.
    fn waiting(&self) -> Result<Vec<(&Named<'_>, Waiting)>> {
        let waiting = |named| {
            let mut waiting = Waiting { asker: self.plan(named)?, conversations: Vec::new() };
            self.judging.ask(&mut waiting)?;
            Ok((named, waiting))
        };
        self.named.iter().map(waiting).collect()
    }

    /// Prints what would be asked of each judge.
    fn estimate(&self) -> Result<()> {
        let mut out = String::new();
        for (named, Waiting { asker, conversations }) in self.waiting()? {
            let estimate = asker.estimate(&conversations)?;
            let lines = estimate_lines(&estimate, asker.prices(), named.model)?;
            write!(out, "judge:    {} at {}\n{lines}", named.model, named.endpoint)?;
        }
        stdout::print(out)
    }

    /// Writes what would be asked of each judge in Batch form; of several each into a folder of its own.
    fn export(&self, folder: &Path) -> Result<()> {
        let mut paths = Vec::new();
        for (named, Waiting { asker, conversations }) in self.waiting()? {
            let folder = match self.named {
                [_] => folder.to_owned(),
                _ => folder.join(PaaFolder::plain(named.model)),
            };
            paths.extend(asker.export(&conversations, &folder)?);
        }
        stdout::print(export_lines(&paths)?)
    }

    /// Takes the results of batches into the journals.
    fn import(&self, files: &[PathBuf]) -> Result<()> {
        for named in self.named {
            let mut waiting = Waiting { asker: self.asker(named)?, conversations: Vec::new() };
            self.judging.ask(&mut waiting)?;
            let mut imported = waiting.asker.import(&waiting.conversations, files)?;
            if self.named.len() > 1 {
                // Results of the other judges.
                imported.unknown = 0;
            }
            self.judging.verbosity.note(format!("judge {}", named.model));
            say_imported(&imported, self.judging.verbosity);
        }
        Ok(())
    }
}

/// Writes the pages, and prints the figures and where they are.
fn print(evaluation: &PaaEvaluation, folder: &PaaFolder) -> Result<()> {
    let pages = page::write(&[folder.path().to_owned()], folder.path(), None)?;
    let shown = ModelTable::new(evaluation).to_text();
    let mut out = shown.text.clone();
    writeln!(out, "figures: {}", folder.figures().display())?;
    for file in pages.files {
        writeln!(out, "report:  {}", file.display())?;
    }
    stdout::tell(out + &shown.more())
}

/// A judge whose limits are those of the whole command.
struct Limited {
    asker: Asker,
    used: Rc<Cell<Used>>,
}

impl Replies for Limited {
    fn replies(&mut self, conversations: &dyn Items) -> Result<Vec<Outcome>> {
        self.asker.continue_from(self.used.get());
        let outcomes = self.asker.ask(conversations);
        self.used.set(self.asker.used());
        outcomes
    }

    fn served(&self) -> Vec<String> {
        self.asker.served()
    }

    fn paid(&self) -> Option<f64> {
        self.asker.paid()
    }
}

/// A judge who said everything before.
struct Kept {
    asker: Asker,
    /// Whether nothing may be missing; an import goes on another time.
    is_recomputed: bool,
}

impl Replies for Kept {
    fn replies(&mut self, conversations: &dyn Items) -> Result<Vec<Outcome>> {
        let held = self.asker.held(conversations)?;
        let missing = held.iter().filter(|outcome| outcome.is_none()).count();
        if missing == 0 {
            return Ok(held.into_iter().flatten().collect());
        }
        let (missing, all) = (units::count(missing), units::count(held.len()));
        Err(match self.is_recomputed {
            true => InputError::new(format!("{missing} of {all} replies are not in the journal"))
                .hint("run the command without `--recompute`: it asks those alone")
                .into(),
            false => {
                Stopped::new(format!("imported: {missing} of {all} replies are still missing"))
                    .into()
            }
        })
    }

    fn served(&self) -> Vec<String> {
        self.asker.served()
    }

    fn paid(&self) -> Option<f64> {
        self.asker.paid()
    }
}

/// Collects what would be asked, and asks nothing.
struct Waiting {
    asker: Asker,
    conversations: Vec<Item>,
}

impl Replies for Waiting {
    fn replies(&mut self, conversations: &dyn Items) -> Result<Vec<Outcome>> {
        for place in 0..conversations.count() {
            self.conversations.push(conversations.at(place)?.into_owned());
        }
        let asked = |held: Option<Outcome>| {
            held.unwrap_or_else(|| {
                Outcome::Failed(Failure { status: None, why: "not asked".to_owned() })
            })
        };
        Ok(self.asker.held(conversations)?.into_iter().map(asked).collect())
    }
}
