//! Stage 1: a model answers the questions of a benchmark into a folder, over an endpoint or on this machine.

use std::collections::HashSet;

use anyhow::{Context, Result};

use crate::bail_input;
use crate::console::clock;
use crate::console::progress::Verbosity;
use crate::data::benchmark::Item as BenchmarkItem;
use crate::data::chat::ChatTemplate;
use crate::data::file;
use crate::disk::read;
use crate::eval::paa::items::Benchmark;
use crate::eval::paa::local_chat::{ChatDrawing, LocalChat};
use crate::judge::chat::endpoint::Endpoint;
use crate::judge::chat::outcome::Finish;
use crate::judge::chat::request::{Message, Parameters};
use crate::judge::chat::{Asker, Item, Outcome, Settings, asker};
use crate::judge::protocol::Protocol;
use crate::metrics::paa::evaluation::AnsweredBy;
use crate::run_folder::answers::{AnswerLine, AnswersAbout, AnswersFolder};
use crate::run_folder::begun::Settings as FolderSettings;

/// What is asked, and where the answers go.
pub struct Answering<'a> {
    /// The folder.
    pub folder: AnswersFolder,
    /// The protocol's file or preset.
    pub protocol_name: &'a str,
    /// The protocol.
    pub protocol: &'a Protocol,
    /// The questions.
    pub benchmark: &'a Benchmark,
    /// The command as it was typed.
    pub command: String,
    /// How much is printed.
    pub verbosity: Verbosity,
}

impl Answering<'_> {
    /// The conversation of each item.
    pub fn chats(&self) -> Result<Vec<Vec<Message>>> {
        self.benchmark.items.iter().map(|item| self.protocol.ask(item)).collect()
    }

    /// The request of each item.
    pub fn requests(&self) -> Result<Vec<Item>> {
        // The same record in two files is asked twice.
        let id = |item: &BenchmarkItem| format!("{}\n{}", item.source, item.id);
        let items = self.benchmark.items.iter();
        items.map(|item| Ok(Item::of(id(item), self.protocol.ask(item)?))).collect()
    }

    /// How `model` is asked at an endpoint.
    pub fn parameters(&self, model: &str, seed: Option<i64>) -> Parameters {
        Parameters { seed, ..self.protocol.answer.parameters(model) }
    }

    /// An asker that sends and writes nothing, for an estimate or an export. Refuses a folder of another command.
    pub fn plan(&self, endpoint: Endpoint, settings: Settings) -> Result<Asker> {
        self.folder.begun().check()?;
        self.folder.begun().holds(&self.settings_of_endpoint(&endpoint, &settings.parameters)?)?;
        self.benchmark.note_absent("answer", &self.protocol.answer, self.verbosity);
        Asker::plan(endpoint, settings, &self.folder.journal(), self.verbosity)
    }

    /// Answers over an endpoint. A folder that is finished is left as it is, unless it has failures that may become answers.
    ///
    /// - `mends`: whether `ask` may have an answer where the journal has a failure.
    /// - `ask`: gets the outcome of each request from the asker.
    pub fn by_endpoint(
        &self,
        endpoint: Endpoint,
        settings: Settings,
        mends: bool,
        ask: impl FnOnce(&mut Asker, &[Item]) -> Result<Vec<Outcome>>,
    ) -> Result<AnswersAbout> {
        let requests = self.requests()?;
        asker::prices(&endpoint, &settings)?; // before anything is written
        let _lock = self
            .folder
            .begun()
            .begin(&self.settings_of_endpoint(&endpoint, &settings.parameters)?)?;
        if let Some(about) = self.finished().filter(|about| !(mends && about.failed > 0)) {
            return Ok(about);
        }
        self.benchmark.note_absent("answer", &self.protocol.answer, self.verbosity);
        let mut answered_by = AnsweredBy {
            model: settings.parameters.model.clone(),
            endpoint: endpoint.name().to_owned(),
            served: Vec::new(),
            adapter: String::new(),
            sha256: String::new(),
        };
        let mut asker = Asker::open(endpoint, settings, &self.folder.journal(), self.verbosity)?;
        let outcomes = ask(&mut asker, &requests)?;
        answered_by.served = asker.served();
        self.write(&outcomes, answered_by, asker.spent(&requests, &mut HashSet::new())?)
    }

    /// Answers with a local model. A folder that is finished is left as it is. Refuses a protocol with fields of an endpoint.
    pub fn by_local(&self, chat: &LocalChat, seed: u64) -> Result<AnswersAbout> {
        if let Some(name) = self.protocol.answer.extra.keys().next() {
            bail_input!("`answer.extra.{name}` is an endpoint's; a local model does not read it");
        }
        self.folder.begun().check()?;
        let choice = chat.model().choice();
        let adapter = choice.adapter.as_ref().map(|path| path.display().to_string());
        let answered_by = AnsweredBy {
            model: choice.model.clone(),
            endpoint: String::new(),
            served: Vec::new(),
            adapter: adapter.unwrap_or_default(),
            sha256: chat.model().digest()?,
        };
        let mut settings = self.settings()?;
        settings.add("model", &*answered_by.model);
        settings.add("adapter", &*answered_by.adapter);
        settings.add("files of the model", &*answered_by.sha256);
        settings.add("merge", if choice.merge { "yes" } else { "" });
        settings.add("dtype", chat.model().dtype());
        let day = chat.model().base.template.as_ref().and_then(ChatTemplate::date);
        settings.add("template-date", day.map_or_else(String::new, |day| day.to_string()));
        settings.add("seed", seed.to_string());
        let _lock = self.folder.begun().begin(&settings)?;
        if let Some(about) = self.finished() {
            // A program killed after the answers were written left it.
            read::remove_if_there(&self.folder.generations())?;
            return Ok(about);
        }
        self.benchmark.note_absent("answer", &self.protocol.answer, self.verbosity);
        let drawing = ChatDrawing::of(&self.protocol.answer, seed);
        let journal = self.folder.generations();
        let outcomes = chat.answer(&self.chats()?, &drawing, &journal, self.verbosity)?;
        let about = self.write(&outcomes, answered_by, None)?;
        read::remove_if_there(&journal)?;
        Ok(about)
    }

    fn settings(&self) -> Result<FolderSettings> {
        let mut settings = FolderSettings::default();
        settings.add("stage 1 of the protocol", self.protocol.answer.sha256()?);
        // Not by its path: the same file under another one makes the same requests.
        let files = &self.benchmark.files;
        let names: Vec<&str> = files.iter().map(|file| &*file.name).collect();
        for (file, source) in files.iter().zip(file::sources(&names)) {
            settings.add(format!("data {source}"), &*file.sha256);
        }
        Ok(settings)
    }

    fn settings_of_endpoint(
        &self,
        endpoint: &Endpoint,
        parameters: &Parameters,
    ) -> Result<FolderSettings> {
        let mut settings = self.settings()?;
        settings.add("endpoint", endpoint.base());
        settings.add("chat-model", &*parameters.model);
        settings.add("seed", parameters.seed.map_or_else(String::new, |seed| seed.to_string()));
        Ok(settings)
    }

    /// What is said of the answers of a folder that is finished.
    fn finished(&self) -> Option<AnswersAbout> {
        if !self.folder.about().exists() {
            return None;
        }
        match self.folder.read() {
            Ok(answers) => Some(answers.about),
            Err(error) => {
                self.verbosity.warn(format!("{error:#}; the answers are written anew"));
                None
            }
        }
    }

    fn write(
        &self,
        outcomes: &[Outcome],
        answered_by: AnsweredBy,
        cost_usd: Option<f64>,
    ) -> Result<AnswersAbout> {
        let mut lines = Vec::with_capacity(outcomes.len());
        let (mut failed, mut cut) = (0, 0);
        for (item, outcome) in self.benchmark.items.iter().zip(outcomes) {
            let (answer, finish) = match outcome {
                Outcome::Answer(answer) => {
                    cut += usize::from(answer.finish == Finish::Length);
                    (Some(answer.text.to_string()), answer.finish.name().to_owned())
                }
                Outcome::Failed(failure) => {
                    failed += 1;
                    (None, failure.to_string())
                }
            };
            let (id, source) = (item.id.clone(), item.source.clone());
            lines.push(AnswerLine { id, source, question: item.question.clone(), answer, finish });
        }
        let about = AnswersAbout {
            name: self.folder.name()?,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: self.command.clone(),
            date: clock::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            answered_by,
            protocol: self.protocol_name.to_owned(),
            protocol_sha256: self.protocol.answer.sha256()?,
            data: self.benchmark.files.clone(),
            n: lines.len(),
            failed,
            cut,
            cost_usd,
            answers_sha256: String::new(),
        };
        self.folder.write(about, &lines)?;
        self.folder.read_about()?.context("the folder of answers has no `answers.json`")
    }
}
