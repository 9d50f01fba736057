//! Stage 2 for several models: answers and judges in, `paa.json`, a file of verdicts for each model and every table as CSV out.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result};
use chrono::Utc;

use crate::console::progress::Verbosity;
use crate::disk::digest::{self, Hasher};
use crate::disk::{atomic, json_lines, read};
use crate::eval::paa::calibration;
use crate::eval::paa::items::{Answered, Benchmark};
use crate::eval::paa::panel::{Judge, Opinions, together};
use crate::judge::protocol::{Kind, Protocol};
use crate::judge::stage2::{self, Replies, Task};
use crate::metrics::paa::evaluation::{JudgeUsed, JudgedModel, PaaEvaluation, ProtocolUsed};
use crate::metrics::paa::{Judged, ModelResult, Opinion, Verdict, VerdictLine, models};
use crate::report::sections::paa;
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

/// One model's answers with their items.
struct Joined<'a> {
    answers: &'a Answers,
    rows: Vec<Answered<'a>>,
}

impl<'a> Joined<'a> {
    /// The answers to judge: those that there are.
    fn tasks(&self) -> Vec<Task<'a>> {
        let task =
            |row: &Answered<'a>| Some(Task { item: row.item, answer: row.line.answer.as_deref()? });
        self.rows.iter().filter_map(task).collect()
    }
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
        let known = self.calibration_tasks();
        let mut of_known = Opinions::none(known.len());
        let mut of_models: Vec<_> =
            joined.iter().map(|joined| Opinions::none(joined.tasks().len())).collect();
        for judge in &mut *judges {
            self.verbosity.note(format!("judge {}: {} reference answers", judge.name, known.len()));
            let said = judge.judge(self.protocol, &known)?;
            of_known.add(&judge.name, said);
            for (joined, opinions) in joined.iter().zip(&mut of_models) {
                let tasks = joined.tasks();
                let name = &joined.answers.about.name;
                self.verbosity.note(format!(
                    "judge {}: {} answers of {name}",
                    judge.name,
                    tasks.len()
                ));
                let said = judge.judge(self.protocol, &tasks)?;
                opinions.add(&judge.name, said);
            }
        }
        let calibration = calibration::of(&of_known.verdicts());
        let (mut all, mut judged, mut files) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (joined, opinions) in joined.iter().zip(&of_models) {
            let name = PaaFolder::verdicts_name(&joined.answers.about.name);
            let lines = || lines(joined, opinions, judges);
            files.insert(name.clone(), write_verdicts(&folder.file(&name), lines)?);
            let items: Vec<Judged> = lines().map(|line| Judged::from(&line)).collect();
            let about = &joined.answers.about;
            all.push(JudgedModel {
                result: ModelResult::measure(
                    &about.name,
                    &items,
                    calibration.as_ref(),
                    self.minimum_n,
                ),
                answered_by: Some(about.answered_by.clone()),
                answers_sha256: about.answers_sha256.clone(),
                asked_sha256: about.protocol_sha256.clone(),
                cut: about.cut,
                verdicts: name,
            });
            judged.push(items);
        }
        let pairs =
            (0..all.len()).flat_map(|one| (one + 1..all.len()).map(move |other| (one, other)));
        let of = |at: usize| (&*all[at].result.name, &judged[at][..]);
        let differences =
            pairs.filter_map(|(one, other)| models::difference(of(one), of(other))).collect();
        let results: Vec<ModelResult> = all.iter().map(|model| model.result.clone()).collect();
        let used = judges.iter().map(|judge| self.used(judge, &of_known, &of_models)).collect();
        let evaluation = PaaEvaluation {
            version: format!("{}, commit {}", env!("CARGO_PKG_VERSION"), env!("MVPBENCH_COMMIT")),
            command: self.command.to_owned(),
            date: Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            protocol: self.protocol_used()?,
            judges: used,
            data: self.benchmark.files.clone(),
            minimum_n: self.minimum_n,
            calibration,
            models: all,
            differences,
            countries: models::countries(&results),
            // A sum that leaves one judge out is none.
            cost_usd: judges
                .iter()
                .filter_map(|judge| Some(judge.replies.as_ref()?.paid()))
                .sum::<Option<f64>>()
                .filter(|cost| *cost > 0.0),
            files,
        };
        let evaluation = keep(evaluation, folder)?;
        write_tables(&evaluation, &folder.tables())?;
        Ok(evaluation)
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

/// A line for each answer, in the order of the answers.
fn lines<'a>(
    joined: &'a Joined<'_>,
    opinions: &'a Opinions,
    judges: &'a [Judge],
) -> impl Iterator<Item = VerdictLine> + 'a {
    let mut said = opinions.each();
    let line = move |row: &Answered<'_>| {
        let own: &[Opinion] = match row.line.answer {
            Some(_) => said.next().unwrap_or_default(),
            None => &[],
        };
        let single = match own {
            [one] => Some(one),
            _ => None,
        };
        VerdictLine {
            id: row.item.id.clone(),
            user: row.item.user.clone(),
            country: row.item.groups.get("country").cloned(),
            source: row.item.source.clone(),
            groups: row.item.groups.clone(),
            question: row.item.question.clone(),
            answer: row.line.answer.clone().unwrap_or_default(),
            verdict: together(own),
            scores: single.and_then(|one| one.scores),
            dimensions: single.map(|one| one.dimensions.clone()).unwrap_or_default(),
            judge: match judges {
                [judge] => judge.name.clone(),
                _ => "majority".to_owned(),
            },
            reason: match row.line.answer {
                None => Some(format!("no answer: {}", row.line.finish)),
                Some(_) => single.and_then(|one| one.reason.clone()),
            },
            opinions: if own.len() > 1 { own.to_vec() } else { Vec::new() },
        }
    };
    joined.rows.iter().map(line)
}

/// Writes the lines, unless the file holds them already. Returns its SHA-256.
fn write_verdicts<I: Iterator<Item = VerdictLine>>(
    path: &Path,
    lines: impl Fn() -> I,
) -> Result<String> {
    let mut hasher = Hasher::default();
    for line in lines() {
        hasher.update(&json_lines::line(&line)?);
    }
    let sha256 = hasher.finish();
    if !(read::is_there(path)? && digest::of_large_file(path)? == sha256) {
        atomic::write(path, |out| {
            lines().try_for_each(|line| Ok(out.write_all(&json_lines::line(&line)?)?))
        })?;
    }
    Ok(sha256)
}

/// Writes every table as a CSV file, and removes those of earlier figures.
fn write_tables(evaluation: &PaaEvaluation, folder: &Path) -> Result<()> {
    let tables = paa::csvs(evaluation);
    for path in read::folder(folder)? {
        let is_current = tables.iter().any(|(name, _)| path.ends_with(name));
        if !is_current && path.extension().is_some_and(|ending| ending == "csv") {
            read::remove_if_there(&path)?;
        }
    }
    tables.iter().try_for_each(|(name, bytes)| write_changed(&folder.join(name), bytes))
}

/// Writes a file, unless it holds `bytes` already.
fn write_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if read::if_there(path)?.is_some_and(|held| held == bytes) {
        return Ok(());
    }
    atomic::write(path, |out| Ok(out.write_all(bytes)?))
}

/// Writes the figures, unless those in the folder are the same but for the date, which then stays. Removes verdicts that the earlier
/// figures rest on and these do not.
fn keep(mut evaluation: PaaEvaluation, folder: &PaaFolder) -> Result<PaaEvaluation> {
    let path = folder.figures();
    if let Ok(Some(earlier)) = PaaEvaluation::read_if_there(&path) {
        let date = std::mem::replace(&mut evaluation.date, earlier.date.clone());
        if evaluation == earlier {
            return Ok(evaluation);
        }
        evaluation.date = date;
        for name in earlier.files.keys().filter(|name| !evaluation.files.contains_key(*name)) {
            read::remove_if_there(&folder.file(name))?;
        }
    }
    evaluation.write(&path).context("cannot write the figures")?;
    Ok(evaluation)
}
