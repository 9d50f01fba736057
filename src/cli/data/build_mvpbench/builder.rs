//! The steps of a build: inputs read, stages estimated, exported, imported or asked, files written.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;
use serde_json::Value;

use super::{BuildMvpbenchArgs, Stage};
use crate::cli::data::built::warn_of_broken;
use crate::cli::replies::{self, Manner, Waiting};
use crate::cli::request_args::{Way, estimate_lines, export_lines};
use crate::console::progress::Verbosity;
use crate::console::{interrupt, stdout, units};
use crate::construct::mvpbench::built::{self, Built, Models};
use crate::construct::mvpbench::checks::Encode;
use crate::construct::mvpbench::manifest::{self, Model, Origin};
use crate::construct::mvpbench::mapping;
use crate::construct::mvpbench::recipe::Recipe;
use crate::construct::prism::Prism;
use crate::construct::quality::exclusions::{self, Exclusion};
use crate::disk::once::MANIFEST;
use crate::disk::{atomic, digest, once, read};
use crate::encoder::embedder::Embedder;
use crate::encoder::source::EncoderSource;
use crate::error::InputError;
use crate::hub::Hub;
use crate::judge::chat::asker::{Asker, Used};
use crate::judge::chat::cost::Prices;
use crate::judge::chat::endpoint::Endpoint;
use crate::judge::chat::request::Parameters;
use crate::judge::stage2::Replies;
use crate::run_folder::begun::Settings;
use crate::session::data_file;

/// What is read before anything is asked.
pub(super) struct Inputs {
    prism: Prism,
    excluded: Vec<Exclusion>,
    /// Name and SHA-256 of each list of exclusions.
    exclusion_files: Vec<(String, String)>,
    /// The sentence encoder with its digest.
    encoder: Option<(Embedder, String)>,
}

impl Encode for Embedder {
    fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        self.embed(texts, |_| interrupt::check())
    }
}

/// A build as it was asked for.
pub(super) struct Builder<'a> {
    pub(super) args: &'a BuildMvpbenchArgs,
    pub(super) recipe: &'a Recipe,
    pub(super) endpoint: &'a Endpoint,
    pub(super) verbosity: Verbosity,
}

impl Builder<'_> {
    pub(super) fn inputs(&self) -> Result<Inputs> {
        let Self { args, verbosity, .. } = *self;
        let hub = Hub::new(verbosity);
        let mut notes = Vec::new();
        let survey = data_file::read(&args.survey, &hub, &mut notes)?;
        let conversations = data_file::read(&args.conversations, &hub, &mut notes)?;
        let prism = Prism::read((&args.survey, &survey), (&args.conversations, &conversations))?;
        drop((survey, conversations));
        let more = manifest::notes_of(&prism);
        notes.iter().chain(&more).for_each(|note| verbosity.note(note));
        warn_of_broken(verbosity, &prism.broken, &prism.unknown_fields);
        let (mut excluded, mut exclusion_files): (Vec<Exclusion>, Vec<_>) = Default::default();
        for path in &args.exclude {
            let list = exclusions::read(path)?;
            excluded.extend(list);
            exclusion_files.push((path.display().to_string(), digest::of_file(path)?));
        }
        let encoder = match &*self.recipe.checks.encoder {
            "" => None,
            name => {
                let source = EncoderSource::find(name, "checks.encoder", &hub)?;
                source.note().iter().for_each(|note| verbosity.note(note));
                source.fetch_weights(&hub)?;
                Some((source.load()?, source.digest()?))
            }
        };
        Ok(Inputs { prism, excluded, exclusion_files, encoder })
    }

    /// What the files of the build depend on.
    pub(super) fn depends_on(&self, inputs: &Inputs) -> Result<Settings> {
        let mut settings = Settings::default();
        settings.add("endpoint", self.endpoint.base());
        settings.add("chat-model", &*self.args.chat_model);
        settings.add("recipe", self.recipe.sha256()?);
        for (name, (_, sha256)) in ["survey", "conversations"].into_iter().zip(&inputs.prism.inputs)
        {
            settings.add(name, sha256);
        }
        let mut lists: Vec<_> =
            inputs.exclusion_files.iter().map(|(_, sha256)| &**sha256).collect();
        lists.sort_unstable(); // their order changes nothing
        settings.add("exclude", lists.join(" "));
        settings.add("encoder", inputs.encoder.as_ref().map_or("", |(_, digest)| digest));
        Ok(settings)
    }

    pub(super) fn settings(&self, stage: Stage) -> crate::judge::chat::Settings {
        let (recipe, model) = (self.recipe, &self.args.chat_model);
        let parameters: Parameters = match stage {
            Stage::Mapping => recipe.mapping.parameters(model),
            Stage::Writing => recipe.generation.parameters(model),
        };
        let prices = Prices::set_by(&recipe.prices, &self.args.config, model);
        self.args.requests.settings(parameters, prices)
    }

    fn journal(&self, stage: Stage) -> PathBuf {
        self.args.output.join(stage.journal())
    }

    /// Whether the folder is finished, and this command asks for no more; says so. Refuses a file that somebody changed, and a finished folder
    /// that lacks a file and the replies to make it from: a finished build is not paid for again.
    pub(super) fn is_finished(&self) -> Result<bool> {
        let output = &self.args.output;
        let Some(bytes) = read::if_there(&output.join(MANIFEST))? else { return Ok(false) };
        let Ok(manifest) = serde_json::from_slice::<Value>(&bytes) else { return Ok(false) };
        let mut is_whole = true;
        for file in manifest["files"].as_array().into_iter().flatten() {
            let (Some(name), Some(sha256)) = (file["file"].as_str(), file["sha256"].as_str())
            else {
                continue;
            };
            let path = output.join(name);
            match read::if_there(&path)? {
                None => is_whole = false,
                Some(bytes) if digest::of_bytes(&bytes) == sha256 => {}
                Some(_) => {
                    let what = format!("`{}` was changed after it was built", path.display());
                    let hint = "remove it: the same command makes it again from the replies";
                    return Err(InputError::new(what).hint(hint).into());
                }
            }
        }
        if !is_whole && !read::is_there(&self.journal(Stage::Writing))? {
            let what = format!("`{}` is missing", self.journal(Stage::Writing).display());
            let hint =
                "put it back, or give another folder with `--output`, where all is asked anew";
            return Err(InputError::new(what).hint(hint).into());
        }
        if !is_whole || self.args.requests.mends() {
            return Ok(false);
        }
        let counts = &manifest["counts"];
        stdout::tell(format!(
            "finished:  {} records of {} users; nothing is asked\nfolder:    {}\n",
            counts["records"],
            counts["users"],
            output.display()
        ))?;
        Ok(true)
    }

    /// Copies the journals of `--replies` to where this build has none yet.
    pub(super) fn copy_replies(&self, stages: &[Stage]) -> Result<()> {
        let Some(earlier) = &self.args.replies else { return Ok(()) };
        for stage in stages {
            let (from, to) = (earlier.join(stage.journal()), self.journal(*stage));
            if read::is_there(&to)? {
                continue;
            }
            let Some(bytes) = read::if_there(&from)? else {
                let what = format!("`{}`: no such file", from.display());
                return Err(InputError::new(what)
                    .hint("`--replies` is the folder of an earlier build")
                    .into());
            };
            atomic::write(&to, |out| Ok(out.write_all(&bytes)?))?;
        }
        Ok(())
    }

    fn asker(&self, stage: Stage) -> Result<Asker> {
        Asker::open(
            self.args.endpoint()?,
            self.settings(stage),
            &self.journal(stage),
            self.verbosity,
        )
    }

    /// Asks what a stage has to ask after the replies that `waiting` holds.
    fn collect(&self, stage: Stage, inputs: &Inputs, waiting: &mut Waiting) -> Result<()> {
        let Inputs { prism, encoder, .. } = inputs;
        match stage {
            Stage::Mapping => {
                mapping::checked(&self.recipe.mapping, &prism.people, waiting).map(drop)
            }
            Stage::Writing => {
                let encoder = encoder.as_ref().map(|(encoder, _)| encoder as &dyn Encode);
                let mut models = Models { mapping: None, writing: waiting, encoder };
                built::gather(self.recipe, prism, &mut models).map(drop)
            }
        }
    }

    /// What a stage would ask, by the journal of this build, or of the one whose replies it would copy.
    fn waiting(&self, stage: Stage, inputs: &Inputs) -> Result<Waiting> {
        let own = self.journal(stage);
        let journal = match &self.args.replies {
            Some(earlier) if !read::is_there(&own)? => earlier.join(stage.journal()),
            _ => own,
        };
        let asker =
            Asker::plan(self.args.endpoint()?, self.settings(stage), &journal, self.verbosity)?;
        let mut waiting = Waiting { asker, conversations: Vec::new() };
        self.collect(stage, inputs, &mut waiting)?;
        Ok(waiting)
    }

    pub(super) fn estimate(&self, stages: &[Stage], inputs: &Inputs) -> Result<()> {
        let mut out = String::new();
        for &stage in stages {
            let Waiting { asker, conversations } = self.waiting(stage, inputs)?;
            let estimate = asker.estimate(&conversations)?;
            let lines = estimate_lines(&estimate, asker.prices(), &self.args.chat_model)?;
            out += &format!("stage:    {}\n{lines}", stage.name());
        }
        stdout::print(out)
    }

    /// Writes what would be asked in Batch form; of two stages each into a folder of its own.
    pub(super) fn export(&self, stages: &[Stage], inputs: &Inputs, batch: &Path) -> Result<()> {
        let mut paths = Vec::new();
        for &stage in stages {
            let Waiting { asker, conversations } = self.waiting(stage, inputs)?;
            let folder = if stages.len() > 1 { batch.join(stage.name()) } else { batch.to_owned() };
            paths.extend(asker.export(&conversations, &folder)?);
        }
        stdout::print(export_lines(&paths)?)
    }

    /// Takes the results of batches into the journals, second tries after the replies that they follow.
    pub(super) fn import(
        &self,
        stages: &[Stage],
        inputs: &Inputs,
        files: &[PathBuf],
    ) -> Result<()> {
        let mut is_any_ours = false;
        for &stage in stages {
            let asker = self.asker(stage)?;
            is_any_ours |= replies::import(asker, files, self.verbosity, |waiting| {
                self.collect(stage, inputs, waiting)
            })?;
        }
        if !is_any_ours {
            self.verbosity.warn("no result is of a request of this command");
        }
        Ok(())
    }

    /// Asks what is missing, and writes the files.
    pub(super) fn ask(&self, stages: &[Stage], inputs: &Inputs) -> Result<()> {
        let used = Rc::new(Cell::new(Used::default()));
        let replies = |stage: Stage| -> Result<replies::Endpoint> {
            let manner = match self.args.requests.way() {
                Way::Import(_) => Manner::Import,
                _ => Manner::Ask(Rc::clone(&used)),
            };
            Ok(replies::Endpoint::new(self.asker(stage)?, manner))
        };
        let has_mapping = stages.contains(&Stage::Mapping);
        let mut mapper = has_mapping.then(|| replies(Stage::Mapping)).transpose()?;
        let mut writer = replies(Stage::Writing)?;
        let Inputs { prism, excluded, exclusion_files, encoder } = inputs;
        let mut models = Models {
            mapping: mapper.as_mut().map(|mapper| mapper as &mut dyn Replies),
            writing: &mut writer,
            encoder: encoder.as_ref().map(|(encoder, _)| encoder as &dyn Encode),
        };
        let gathered = built::gather(self.recipe, prism, &mut models)?;
        let built = gathered.build(self.recipe, prism, excluded)?;
        let paid = mapper.as_ref().map_or(Some(0.0), Replies::paid);
        let origin = Origin {
            recipe_name: &self.args.config,
            recipe: self.recipe,
            excluded: exclusion_files,
            model: Model {
                endpoint: self.endpoint.name().to_owned(),
                chat_model: self.args.chat_model.clone(),
                served: writer.served(),
                cost_usd: paid.zip(writer.paid()).map(|(one, other)| one + other),
            },
            encoder: encoder
                .as_ref()
                .map(|(encoder, digest)| (encoder.name().to_owned(), digest.clone())),
        };
        self.write(&built, &manifest::manifest(&origin, prism, &built)?)?;
        let folder = self.args.output.display().to_string();
        stdout::tell(manifest::summary(&origin, &built, &folder)?)?;
        if built.counts.writing.failed > 0 {
            let failed = units::counted(built.counts.writing.failed, "item");
            self.verbosity.warn(format!(
                "{failed} failed, failures.jsonl says why; `--retry-failed` asks again where the endpoint failed"
            ));
        }
        Ok(())
    }

    /// Writes what is not there, and what the manifest that is there lists and replies have changed since. A file that somebody changed is
    /// refused.
    fn write(&self, built: &Built, manifest: &[u8]) -> Result<()> {
        let output = &self.args.output;
        let path = output.join(MANIFEST);
        if let Some(found) = read::if_there(&path)? {
            let [found, now]: [Value; 2] = [
                serde_json::from_slice(&found).unwrap_or_default(),
                serde_json::from_slice(manifest)?,
            ];
            if found["files"] != now["files"] || found["counts"] != now["counts"] {
                self.make_room(&found, built)?;
                read::remove_if_there(&path)?;
            }
        }
        let files: Vec<_> = built.files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        once::write(output, &files, "with other content than this build gives")?;
        // One that is there tells of the same files, maybe under other names of the inputs or at other prices.
        match read::is_there(&path)? {
            true => Ok(()),
            false => once::write(output, &[(MANIFEST, manifest)], "of another build"),
        }
    }

    /// Removes the files that are as the manifest `found` lists them and that `built` has with other content.
    fn make_room(&self, found: &Value, built: &Built) -> Result<()> {
        let listed = |name: &str| {
            let files = found["files"].as_array()?;
            files.iter().find(|file| file["file"] == name)?["sha256"].as_str()
        };
        for (name, bytes) in &built.files {
            let path = self.args.output.join(name);
            let Some(there) = read::if_there(&path)?.filter(|there| there != bytes) else {
                continue;
            };
            if listed(name) == Some(&digest::of_bytes(&there)) {
                read::remove_if_there(&path)?;
            }
        }
        Ok(())
    }
}
