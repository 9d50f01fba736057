//! The judges of a command: opened, estimated, exported, imported.

use std::cell::Cell;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;

use super::inputs::Named;
use super::{JudgeArgs, OwnJudge};
use crate::cli::replies::{self, Manner, Waiting};
use crate::cli::request_args::{Way, estimate_lines, export_lines};
use crate::config::Dtype;
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::eval::paa::judging::Judging;
use crate::eval::paa::local_judge::LocalJudge;
use crate::eval::paa::panel::Judge;
use crate::judge::chat::Settings;
use crate::judge::chat::asker::{Asker, Used};
use crate::judge::chat::cost::Prices;
use crate::judge::chat::endpoint::Endpoint;
use crate::judge::chat::request::Parameters;
use crate::judge::protocol::Kind;
use crate::judge::reply::scores;
use crate::judge::stage2::Replies;
use crate::parallel::world::World;
use crate::run_folder::paa::PaaFolder;
use crate::session::local_model::LocalChoice;

/// Who judges, and where their replies are kept.
pub(super) struct Panel<'a> {
    pub(super) args: &'a JudgeArgs,
    pub(super) judging: &'a Judging<'a>,
    pub(super) folder: &'a PaaFolder,
    pub(super) named: &'a [Named<'a>],
}

impl Panel<'_> {
    fn settings(&self, endpoint: &Endpoint, model: &str) -> Settings {
        let Judging { protocol, protocol_name, .. } = self.judging;
        let wants_schema = protocol.verdict.schema.unwrap_or(!endpoint.refuses_schemas());
        let schema = (protocol.kind == Kind::Scores && wants_schema)
            .then(|| ("scores".to_owned(), scores::schema()));
        let parameters = Parameters { schema, ..protocol.judge.parameters(model) };
        let prices = Prices::set_by(&protocol.prices, protocol_name, model);
        self.args.requests.settings(parameters, prices)
    }

    /// Who reads what this judge has said, and asks nothing.
    pub(super) fn plan(&self, named: &Named<'_>) -> Result<Asker> {
        self.opened(named, Asker::plan)
    }

    fn asker(&self, named: &Named<'_>) -> Result<Asker> {
        self.opened(named, Asker::open)
    }

    /// `open` of the judge's journal; without the key where nothing is sent.
    fn opened(
        &self,
        named: &Named<'_>,
        open: impl FnOnce(Endpoint, Settings, &Path, Verbosity) -> Result<Asker>,
    ) -> Result<Asker> {
        let endpoint = match self.args.recompute {
            true => Endpoint::without_key(named.endpoint)?,
            false => self.args.requests.endpoint(named.endpoint, named.key_env)?,
        };
        let settings = self.settings(&endpoint, named.model);
        let journal = self.folder.journal(named.model, endpoint.base());
        open(endpoint, settings, &journal, self.judging.verbosity)
    }

    /// The local model that judges, on `device` and all ranks of `world`; none without `--model`.
    pub(super) fn local(&self, device: String, world: Rc<World>) -> Result<Option<LocalJudge>> {
        let Some(model) = &self.args.model else { return Ok(None) };
        let choice = LocalChoice {
            model: model.clone(),
            revision: self.args.revision.clone(),
            adapter: self.args.adapter.clone(),
            merge: false,
            template: self.args.template.choice(),
            dtype: Dtype::ALL
                .into_iter()
                .find(|dtype| dtype.name() == self.args.dtype)
                .unwrap_or(Dtype::Auto),
            device,
            batch: None,
            force: false,
        };
        let (protocol, verbosity) = (self.judging.protocol, self.judging.verbosity);
        let judge =
            LocalJudge::load(choice, protocol, self.folder, self.args.recompute, verbosity)?;
        judge.on(world).map(Some)
    }

    /// The judges, in the order in which their opinions are kept: the rule, the local model, the endpoints.
    pub(super) fn judges(&self, local: Option<LocalJudge>) -> Result<Vec<Judge>> {
        let mut judges: Vec<Judge> =
            self.args.judge.iter().map(|OwnJudge::Rule| Judge::rule()).collect();
        judges.extend(local.map(LocalJudge::into_judge).transpose()?);
        let used = Rc::new(Cell::new(Used::default()));
        for named in self.named {
            let (asker, manner) = match (self.args.recompute, self.args.requests.way()) {
                (true, _) => (self.plan(named)?, Manner::Recompute),
                (false, Way::Ask) => (self.asker(named)?, Manner::Ask(Rc::clone(&used))),
                (false, _) => (self.asker(named)?, Manner::Import),
            };
            let replies: Box<dyn Replies> = Box::new(replies::Endpoint::new(asker, manner));
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
    pub(super) fn estimate(&self) -> Result<()> {
        let mut out = String::new();
        for (named, Waiting { asker, conversations }) in self.waiting()? {
            let estimate = asker.estimate(&conversations)?;
            let lines = estimate_lines(&estimate, asker.prices(), named.model)?;
            write!(out, "judge:    {} at {}\n{lines}", named.model, named.endpoint)?;
        }
        stdout::print(out)
    }

    /// Writes what would be asked of each judge in Batch form; of several each into a folder of its own.
    pub(super) fn export(&self, folder: &Path) -> Result<()> {
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

    /// Takes the results of batches into the journals, reminders after the replies that they follow.
    pub(super) fn import(&self, files: &[PathBuf]) -> Result<()> {
        let mut is_any_ours = false;
        for named in self.named {
            let verbosity = self.judging.verbosity;
            verbosity.note(format!("judge {}", named.model));
            is_any_ours |= replies::import(self.asker(named)?, files, verbosity, |waiting| {
                self.judging.ask(waiting).map(drop)
            })?;
        }
        if !is_any_ours {
            self.judging.verbosity.warn("no result is of a request of this command");
        }
        Ok(())
    }
}
