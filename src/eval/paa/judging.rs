//! Stage 2 for several models: answers and judges in, `paa.json`, a file of verdicts for each model and every table as CSV out.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;

use crate::console::clock;
use crate::console::progress::Verbosity;
use crate::eval::paa::items::Benchmark;
use crate::eval::paa::joined::{Joined, lines};
use crate::eval::paa::panel::{Judge, Opinions};
use crate::eval::paa::{calibration, files};
use crate::judge::protocol::{Kind, Protocol};
use crate::judge::stage2::{self, Replies, Task};
use crate::metrics::paa::evaluation::{JudgeUsed, JudgedModel, PaaEvaluation, ProtocolUsed};
use crate::metrics::paa::models::{self, PaaDifference};
use crate::metrics::paa::{Judged, ModelResult, Verdict};
use crate::run_folder::answers::Answers;
use crate::run_folder::paa::PaaFolder;

/// What is judged, and how.
pub struct Judging<'a> {
    /// How answers are judged.
    pub protocol: &'a Protocol,
    /// Its file or preset.
    pub protocol_name: &'a str,
    /// What was asked.
    pub benchmark: &'a Benchmark,
    /// Each model's answers.
    pub models: &'a [Answers],
    /// Fewest answers of a group with a figure.
    pub minimum_n: usize,
    /// The command as it was typed.
    pub command: &'a str,
    /// What to print.
    pub verbosity: Verbosity,
}

impl Judging<'_> {
    /// Refuses answers to other items than those of the benchmark.
    pub fn check(&self) -> Result<()> {
        self.joined().map(drop)
    }

    /// Asks for opinions on everything that [`Self::run`] asks one judge for, and drops them: for who only counts or collects.
    pub fn ask(&self, replies: &mut dyn Replies) -> Result<()> {
        stage2::judge(self.protocol, &self.calibration_tasks(), replies)?;
        for joined in self.joined()? {
            stage2::judge(self.protocol, &joined.tasks(), replies)?;
        }
        Ok(())
    }

    /// Lets every judge say what it thinks of every answer, measures, and writes all files of `folder`.
    ///
    /// Files whose content stays the same are not written again.
    pub fn run(&self, judges: &mut [Judge], folder: &PaaFolder) -> Result<PaaEvaluation> {
        let joined = self.joined()?;
        let (of_known, of_models) = self.opinions(&joined, judges)?;
        let calibration = calibration::of(&of_known.verdicts());
        let (mut all, mut judged, mut files) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (joined, opinions) in joined.iter().zip(&of_models) {
            let about = &joined.answers.about;
            let verdicts = PaaFolder::verdicts_name(&about.name);
            let lines = || lines(joined, opinions, judges);
            let sha256 = files::write_verdicts(&folder.file(&verdicts), lines)?;
            files.insert(verdicts.clone(), sha256);
            let items: Vec<Judged> = lines().map(|line| Judged::from(&line)).collect();
            let calibration = calibration.as_ref();
            all.push(JudgedModel {
                result: ModelResult::measure(&about.name, &items, calibration, self.minimum_n),
                answered_by: Some(about.answered_by.clone()),
                answers_sha256: about.answers_sha256.clone(),
                asked_sha256: about.protocol_sha256.clone(),
                blank: joined.blank(),
                cut: about.cut,
                verdicts,
            });
            judged.push(items);
        }
        let used = judges.iter().map(|judge| self.used(judge, &of_known, &of_models)).collect();
        // A sum that leaves one judge out is none.
        let paid: Option<f64> =
            judges.iter().filter_map(|judge| Some(judge.replies.as_ref()?.paid())).sum();
        let results: Vec<ModelResult> = all.iter().map(|model| model.result.clone()).collect();
        let evaluation = PaaEvaluation {
            version: format!("{}, commit {}", env!("CARGO_PKG_VERSION"), env!("MVPBENCH_COMMIT")),
            command: self.command.to_owned(),
            date: clock::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            protocol: self.protocol_used()?,
            judges: used,
            data: self.benchmark.files.clone(),
            minimum_n: self.minimum_n,
            calibration,
            differences: differences(&all, &judged),
            models: all,
            countries: models::countries(&results),
            cost_usd: paid.filter(|cost| *cost > 0.0),
            files,
        };
        let evaluation = files::keep(evaluation, folder)?;
        files::write_tables(&evaluation, &folder.tables())?;
        Ok(evaluation)
    }

    /// What every judge says of the reference answers and of each model's answers.
    fn opinions(
        &self,
        models: &[Joined<'_>],
        judges: &mut [Judge],
    ) -> Result<(Opinions, Vec<Opinions>)> {
        let known = self.calibration_tasks();
        let mut of_known = Opinions::none(known.len());
        let mut of_models: Vec<_> =
            models.iter().map(|model| Opinions::none(model.tasks().len())).collect();
        for judge in judges {
            self.verbosity.note(format!("judge {}: {} reference answers", judge.name, known.len()));
            let said = judge.judge(self.protocol, &known)?;
            of_known.add(&judge.name, said);
            for (model, opinions) in models.iter().zip(&mut of_models) {
                let (tasks, name) = (model.tasks(), &model.answers.about.name);
                self.verbosity.note(format!(
                    "judge {}: {} answers of {name}",
                    judge.name,
                    tasks.len()
                ));
                let said = judge.judge(self.protocol, &tasks)?;
                opinions.add(&judge.name, said);
            }
        }
        Ok((of_known, of_models))
    }

    fn joined(&self) -> Result<Vec<Joined<'_>>> {
        let join = |answers| Ok(Joined { answers, rows: self.benchmark.join(answers)? });
        self.models.iter().map(join).collect()
    }

    fn calibration_tasks(&self) -> Vec<Task<'_>> {
        let answered: HashSet<&str> = self
            .models
            .iter()
            .flat_map(|model| &model.about.data)
            .map(|file| &*file.sha256)
            .collect();
        let mut items = &self.benchmark.items[..];
        let mut asked = Vec::new();
        for file in &self.benchmark.files {
            let (own, rest) = items.split_at(file.n);
            asked.extend(own.iter().filter(|_| answered.contains(&*file.sha256)));
            items = rest;
        }
        calibration::tasks(asked.into_iter(), self.protocol.verdict.calibrate)
    }

    fn protocol_used(&self) -> Result<ProtocolUsed> {
        let protocol = self.protocol;
        let scores = protocol.kind == Kind::Scores;
        Ok(ProtocolUsed {
            name: self.protocol_name.to_owned(),
            sha256: protocol.sha256()?,
            kind: if scores { "scores" } else { "yes_no" }.to_owned(),
            blind: protocol.verdict.blind,
            repetitions: protocol.verdict.repetitions,
            temperature: protocol.judge.temperature,
            thresholds: scores.then_some(protocol.verdict.thresholds),
        })
    }

    fn used(&self, judge: &Judge, known: &Opinions, models: &[Opinions]) -> JudgeUsed {
        let opinions = || {
            let all = [known].into_iter().chain(models).flat_map(Opinions::each).flatten();
            all.filter(|opinion| opinion.judge == judge.name)
        };
        let count = |verdict| opinions().filter(|opinion| opinion.verdict == verdict).count();
        JudgeUsed {
            name: judge.name.clone(),
            place: judge.place.clone(),
            sha256: judge.replies.as_ref().map(|replies| replies.sha256()).unwrap_or_default(),
            served: judge.replies.as_ref().map(|replies| replies.served()).unwrap_or_default(),
            calibration: calibration::of(&known.verdicts_of(&judge.name)),
            unparsed: count(Verdict::Unparsed),
            failed: count(Verdict::Failed),
        }
    }
}

/// Each model against each later one.
fn differences(models: &[JudgedModel], judged: &[Vec<Judged>]) -> Vec<PaaDifference> {
    let all: Vec<(&str, &[Judged])> =
        models.iter().zip(judged).map(|(model, items)| (&*model.result.name, &items[..])).collect();
    let later = |at: usize| all[at + 1..].iter().map(move |other| (at, other));
    let pairs = (0..all.len()).flat_map(later);
    pairs.filter_map(|(at, other)| models::difference(all[at], *other)).collect()
}
