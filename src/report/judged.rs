//! A folder of verdicts as a report reads it: `paa.json` and the files of verdicts beside it, which may be missing.

use std::path::Path;

use crate::bail_input;
use crate::disk::{digest, json_lines, read};
use crate::error::InputError;
use crate::metrics::paa::{Judged, ModelResult, PaaEvaluation, VerdictLine, models};
use crate::run_folder::paa::PaaFolder;

/// What a folder of verdicts holds.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedFolder {
    /// The last part of the folder's path.
    pub name: String,
    /// The figures.
    pub evaluation: PaaEvaluation,
    /// The verdicts of each model, in the order of the models; empty where the file is missing.
    pub verdicts: Vec<Vec<VerdictLine>>,
    /// Files that are missing, one sentence each.
    pub left_out: Vec<String>,
}

/// Whether `folder` is one that `mvpbench judge` wrote.
pub fn is_judged(folder: &Path) -> anyhow::Result<bool> {
    read::is_there(&PaaFolder::of(folder).figures())
}

impl JudgedFolder {
    /// Reads the folder; with `minimum_n`, the figures are measured anew with that as the fewest answers of a group with a figure.
    ///
    /// Refuses a folder without `paa.json`, and a file of verdicts that the figures are not computed from.
    pub fn read(folder: &Path, minimum_n: Option<usize>) -> anyhow::Result<Self> {
        let paths = PaaFolder::of(folder);
        let Some(evaluation) = PaaEvaluation::read_if_there(&paths.figures())? else {
            bail_input!("`{}` is no folder of verdicts: it has no `paa.json`", folder.display());
        };
        let (mut verdicts, mut left_out) = (Vec::new(), Vec::new());
        for model in &evaluation.models {
            let path = paths.file(&model.verdicts);
            let Some(bytes) = read::if_there(&path)? else {
                left_out
                    .push(format!("`{}` is not there; its verdicts are left out", path.display()));
                verdicts.push(Vec::new());
                continue;
            };
            if evaluation.files.get(&model.verdicts) != Some(&digest::of_bytes(&bytes)) {
                return Err(InputError::new(format!(
                    "`{}` is not the file that the figures are computed from",
                    path.display()
                ))
                .hint("run `mvpbench judge` again: it measures anew and asks no judge twice")
                .into());
            }
            verdicts.push(json_lines::parse::<VerdictLine>(&path, &bytes)?);
        }
        let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_owned()));
        let name =
            name.map_or_else(|| "paa".to_owned(), |name| name.to_string_lossy().into_owned());
        let mut judged = Self { name, evaluation, verdicts, left_out };
        if let Some(minimum_n) = minimum_n.filter(|&least| least != judged.evaluation.minimum_n) {
            judged.measure(minimum_n);
        }
        Ok(judged)
    }

    /// Figures of a page without verdicts, as they stand in `paa.json`.
    pub fn of_figures(evaluation: &PaaEvaluation) -> Self {
        let verdicts = vec![Vec::new(); evaluation.models.len()];
        let evaluation = evaluation.clone();
        Self { name: "paa".into(), evaluation, verdicts, left_out: Vec::new() }
    }

    /// Measures the groups anew; figures stay as they are where the verdicts of a model are not there.
    fn measure(&mut self, minimum_n: usize) {
        if self.verdicts.iter().any(Vec::is_empty) {
            self.left_out.push(format!(
                "Not all verdicts are there, so groups need {} answers for a figure, as they were judged, and not {minimum_n}.",
                self.evaluation.minimum_n
            ));
            return;
        }
        let calibration = self.evaluation.calibration;
        for (model, verdicts) in self.evaluation.models.iter_mut().zip(&self.verdicts) {
            let items: Vec<Judged> = verdicts.iter().map(Judged::from).collect();
            let name = model.result.name.clone();
            model.result = ModelResult::measure(&name, &items, calibration.as_ref(), minimum_n);
        }
        let results: Vec<ModelResult> =
            self.evaluation.models.iter().map(|model| model.result.clone()).collect();
        self.evaluation.countries = models::countries(&results);
        self.evaluation.minimum_n = minimum_n;
    }
}

#[cfg(test)]
pub(crate) mod sample {
    use std::collections::BTreeMap;
    use std::sync::OnceLock;

    use super::JudgedFolder;
    use crate::metrics::paa::evaluation::{AnsweredBy, DataFile, JudgeUsed, ProtocolUsed};
    use crate::metrics::paa::{
        Calibration, Judged, JudgedModel, ModelResult, PaaEvaluation, Verdict, VerdictLine, models,
    };
    use crate::run_folder::paa::PaaFolder;

    include!("judged_sample.rs");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_minimum_measures_the_groups_anew_and_nothing_else() {
        let judged = sample::judged_folder();
        let mut anew = judged.clone();
        anew.measure(18);
        let [one, other] = [&judged, &anew].map(|folder| &folder.evaluation.models[0].result);
        assert_eq!((one.paa, one.corrected, one.users), (other.paa, other.corrected, other.users));
        let figures = |folder: &JudgedFolder| folder.evaluation.countries.len();
        assert_eq!((figures(&judged), figures(&anew), anew.evaluation.minimum_n), (25, 24, 18));
        let mut without = JudgedFolder::of_figures(&judged.evaluation);
        without.measure(18);
        assert_eq!(without.evaluation, judged.evaluation);
        assert!(without.left_out[0].contains("as they were judged, and not 18"), "{without:?}");
    }
}
