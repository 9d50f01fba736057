//! The models side by side: their shares, what a judge's Yes is worth, and their paired differences. For a console too.

use crate::console::units;
use crate::metrics::paa::evaluation::{JudgeUsed, JudgedModel};
use crate::metrics::paa::{Calibration, PaaEvaluation};
use crate::report::brief::{Shown, brief};
use crate::report::cell;
use crate::report::section::{Part, Section, Tile};
use crate::report::sections::paa::cautions;
use crate::report::table::{RowKind, Table};
use crate::report::text::Text;

/// The model table with what must be read before it, for a console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelTable {
    cautions: Vec<Text>,
    table: Table,
    notes: Vec<Text>,
}

impl ModelTable {
    /// The table of all models.
    pub fn new(evaluation: &PaaEvaluation) -> Self {
        Self {
            cautions: cautions::of(evaluation),
            table: table(evaluation),
            notes: notes(evaluation),
        }
    }

    /// Plain aligned text of at most 80 columns, below the first of the cautions and notes.
    pub fn to_text(&self) -> Shown {
        let notes: Vec<&Text> = self.cautions.iter().chain(&self.notes).collect();
        let (lines, shown) = brief(&notes);
        let above: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let gap = if lines.is_empty() { "" } else { "\n" };
        Shown {
            text: format!("{above}{gap}{}", self.table.to_text(1)),
            left_out: notes.len() - shown,
        }
    }
}

/// Table, notes, judges and differences.
pub(super) fn section(evaluation: &PaaEvaluation) -> Section {
    let mut parts = vec![Part::Table(table(evaluation))];
    parts.extend(notes(evaluation).into_iter().map(Part::note));
    if let Some(differences) = differences(evaluation) {
        parts.push(Part::heading("Models against each other"));
        parts.push(Part::Table(differences));
        parts.push(Part::note(
            "Difference: PAA of the one less that of the other in points, paired by answer, with its 95 % interval over users. Wins: answers on \
             which the first alone is aligned; losses: the other alone.",
        ));
    }
    parts.push(Part::heading("Judges"));
    parts.push(Part::Table(judges(evaluation)));
    parts.push(Part::note(
        "Measured on reference answers: those that fit the preferences must be accepted, those that go against them refused. Unparsed and failed \
         are replies of all models together.",
    ));
    Section::new("models", "Models", parts)
}

/// The headline figure of every model.
pub(super) fn tiles(evaluation: &PaaEvaluation) -> Part {
    let tile = |model: &JudgedModel| {
        let result = &model.result;
        let figure = result.paa.as_ref();
        let value = figure.map(|figure| format!("{} %", cell::percent(figure.value)));
        let ends = figure.and_then(|figure| {
            let (low, high) = figure.low.zip(figure.high)?;
            Some(format!("95 % interval {} to {}", cell::percent(low), cell::percent(high)))
        });
        let n = figure.map(|figure| format!("n = {}", units::count(figure.n)));
        let corrected = result
            .corrected
            .map(|own| format!("corrected for the judge {}", cell::percent(own.value)));
        let lines = [ends, n, corrected].into_iter().flatten().collect();
        Tile { name: format!("{}: PAA", result.name), value: cell::or_none(value), lines }
    };
    Part::Tiles(evaluation.models.iter().map(tile).collect())
}

fn table(evaluation: &PaaEvaluation) -> Table {
    let mut rows = Table::new([
        "model",
        "PAA (%)",
        "n",
        "corrected (%)",
        "unparsed",
        "failed",
        "cut",
        "alpha",
        "users",
    ]);
    for model in &evaluation.models {
        let result = &model.result;
        let corrected = result.corrected.map(|own| {
            let [value, low, high] = [own.value, own.low, own.high].map(cell::percent);
            format!("{value} [{low}, {high}]")
        });
        rows.push_as(
            RowKind::Own,
            [
                result.name.clone(),
                cell::or_none(result.paa.as_ref().map(cell::share)),
                units::count(result.paa.map_or(0, |figure| figure.n)),
                cell::or_none(corrected),
                units::count(result.unparsed),
                units::count(result.failed),
                units::count(model.cut),
                cell::or_none(result.agreement.as_ref().map(cell::decimal)),
                units::count(result.users),
            ],
        );
    }
    let Some(judge) = &evaluation.calibration else { return rows };
    let mut reference = |name: &str, share: f64, n: usize| {
        if n > 0 {
            let none = || cell::NONE.to_owned();
            let mut cells = vec![name.to_owned(), cell::percent(share), units::count(n)];
            cells.resize_with(9, none);
            rows.push_as(RowKind::Paper, cells);
        }
    };
    reference("null: reference answers against them", 1.0 - judge.specificity(), judge.rejected);
    reference("reference answers that fit them", judge.sensitivity(), judge.preferred);
    rows
}

fn notes(evaluation: &PaaEvaluation) -> Vec<Text> {
    let mut notes = vec![Text::from(
        "PAA, Preference Alignment Accuracy, the paper's Eq. 1: the share of answers with a verdict that fit their user's value preferences. In \
         brackets the 95 % interval over users.",
    )];
    if let Some(judge) = evaluation.calibration.filter(|judge| judge.rejected > 0) {
        notes.push(
            format!(
                "Of answers known to go against the preferences, the judge accepts {} % ({} of {}): an answer that fits nobody gets that.",
                cell::percent(1.0 - judge.specificity()),
                units::count(judge.rejected - judge.refused),
                units::count(judge.rejected)
            )
            .into(),
        );
    }
    let corrected = evaluation.models.iter().find_map(|model| model.result.corrected);
    if let Some(corrected) = corrected {
        notes.push(
            format!(
                "Corrected: PAA as a judge without error would find it, after Rogan and Gladen (1978), with the interval of Lang and Reiczigel \
                 (2014); sensitivity {} %, specificity {} %.",
                cell::percent(corrected.sensitivity),
                cell::percent(corrected.specificity)
            )
            .into(),
        );
    }
    for model in &evaluation.models {
        let why = model.result.not_corrected.iter();
        notes.extend(
            why.map(|why| Text::from(format!("{}: not corrected: {why}.", model.result.name))),
        );
    }
    notes.push(
        "Unparsed: the verdict could not be read; failed: no answer or no verdict. Neither counts as Yes or No. Cut: the answer ended at the \
         limit of tokens. Alpha: Krippendorff's, between judges or repetitions."
            .into(),
    );
    notes
}

fn differences(evaluation: &PaaEvaluation) -> Option<Table> {
    let mut rows = Table::new(["model", "against", "difference", "wins", "losses", "n"]);
    for one in &evaluation.differences {
        rows.push([
            one.model.clone(),
            one.other.clone(),
            cell::share_change(&one.difference),
            units::count(one.wins),
            units::count(one.losses),
            units::count(one.difference.n),
        ]);
    }
    (!rows.rows().is_empty()).then_some(rows)
}

fn judges(evaluation: &PaaEvaluation) -> Table {
    let mut rows = Table::new([
        "judge",
        "where",
        "served as",
        "accepts what fits (%)",
        "refuses what does not (%)",
        "measured on",
        "unparsed",
        "failed",
    ]);
    for judge in &evaluation.judges {
        let place = match &*judge.place {
            "" if cautions::is_rule(judge) => "in this program",
            "" => cell::NONE,
            place => place,
        };
        let served = match &judge.served[..] {
            [] => cell::NONE.to_owned(),
            names => names.join(", "),
        };
        let JudgeUsed { name, calibration, unparsed, failed, .. } = judge;
        let [accepts, refuses, on] = measured(calibration.as_ref());
        let cells = [name.clone(), place.into(), served, accepts, refuses, on];
        rows.push(cells.into_iter().chain([*unparsed, *failed].map(units::count)));
    }
    let is_joined = evaluation.judges.len() > 1 || evaluation.protocol.repetitions > 1;
    if let Some(together) = evaluation.calibration.as_ref().filter(|_| is_joined) {
        let none = || cell::NONE.to_owned();
        let [accepts, refuses, on] = measured(Some(together));
        rows.push([
            "all together".to_owned(),
            none(),
            none(),
            accepts,
            refuses,
            on,
            none(),
            none(),
        ]);
    }
    rows
}

/// Sensitivity, specificity and the numbers of answers of a judge.
fn measured(judge: Option<&Calibration>) -> [String; 3] {
    let Some(judge) = judge else { return [(); 3].map(|()| cell::NONE.to_owned()) };
    let share = |share: f64, n: usize| cell::or_none((n > 0).then(|| cell::percent(share)));
    [
        share(judge.sensitivity(), judge.preferred),
        share(judge.specificity(), judge.rejected),
        format!("{} + {} answers", units::count(judge.preferred), units::count(judge.rejected)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::wrap::COLUMNS;
    use crate::report::judged::sample::judged_folder;
    use crate::report::markdown;
    use crate::report::section::Page;

    #[test]
    fn every_model_has_a_row_and_the_judges_own_rates_stand_below() {
        let evaluation = judged_folder().evaluation;
        let sections = vec![section(&evaluation)];
        let page = markdown::page(&Page { sections, ..Page::default() });
        for part in [
            "| model | PAA (%) | n | corrected (%) | unparsed | failed | cut | alpha | users |",
            "| gpt-4o | ",
            "| null: reference answers against them | 15.00 | 200 | - |",
            "| reference answers that fit them | 90.00 | 200 | - |",
            "the judge accepts 15.00 % (30 of 200)",
            "sensitivity 90.00 %, specificity 85.00 %",
            "| gpt-4o | llama2-7b \\<b> | +",
            "| deepseek-chat | deepseek | deepseek-chat | 90.00 | 85.00 | 200 + 200 answers | 1 | 1 |",
        ] {
            assert!(page.contains(part), "`{part}` is not in\n{page}");
        }
    }

    #[test]
    fn a_share_that_is_not_corrected_says_why() {
        let mut evaluation = judged_folder().evaluation;
        evaluation.models[0].result.corrected = None;
        evaluation.models[0].result.not_corrected = Some("the reason".into());
        let notes = notes(&evaluation);
        assert!(notes.iter().any(|note| note.to_string() == "gpt-4o: not corrected: the reason."));
    }

    #[test]
    fn the_console_version_fits_in_80_columns_with_the_caution_first() {
        let text = ModelTable::new(&judged_folder().evaluation).to_text().text;
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(text.starts_with("deepseek-chat: judge and evaluated model in one."), "{text}");
        assert!(text.contains("\ngpt-4o ") && text.contains("null: "), "{text}");
    }
}
