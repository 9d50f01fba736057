//! SPMR of a set: figures before and after, the distribution of its cosines, its groups.

use crate::console::units;
use crate::metrics::Spmr;
use crate::metrics::spmr::{Answer, Quantiles, Similarity, SpmrGroup};
use crate::report::cell;
use crate::report::section::{Chart, Part, Section};
use crate::report::sections::attributes::group_name;
use crate::report::set_files::SetFiles;
use crate::report::states::States;
use crate::report::svg::{Histogram, Quantity, Series, State};
use crate::report::table::Table;
use crate::report::text::Text;

type Way = fn(&Spmr) -> &Similarity;

/// Both ways to embed an answer, as the rows name them.
const WAYS: [(&str, Way); 2] = [
    ("the answer alone", |spmr| &spmr.answer_alone),
    ("prompt and answer", |spmr| &spmr.with_prompt),
];

/// SPMR of a set before and after tuning, where it was measured.
#[derive(Debug, Clone, Copy)]
struct Measured<'a> {
    before: Option<&'a Spmr>,
    after: Option<&'a Spmr>,
    newest: &'a Spmr,
}

/// The figures, the chart of the cosines and the groups; empty for a set without SPMR.
pub fn section(id: String, set: &States<'_>, files: &SetFiles) -> Section {
    let parts = Measured::of(set).map_or_else(Vec::new, |measured| measured.parts(files));
    Section::new(id, format!("{}: SPMR", set.name), parts)
}

impl<'a> Measured<'a> {
    fn of(set: &States<'a>) -> Option<Self> {
        let [before, after] = [set.before, set.after].map(|set| set?.spmr.as_ref());
        Some(Self { before, after, newest: after.or(before)? })
    }

    fn parts(&self, files: &SetFiles) -> Vec<Part> {
        let mut parts = vec![
            Part::note(self.sentence()),
            Part::Table(self.table()),
            Part::Table(self.quantiles()),
        ];
        parts.extend(self.cosines(files).map(|chart| Part::Charts(vec![chart])));
        if let Some(groups) = self.groups() {
            parts.push(Part::Details {
                summary: "SPMR of groups, in percent".to_owned(),
                parts: vec![Part::Table(groups)],
            });
        }
        parts
    }

    /// A cell for each state.
    fn print(&self, print: impl Fn(&Spmr) -> Option<String>) -> [String; 2] {
        [self.before, self.after].map(|spmr| cell::or_none(spmr.and_then(&print)))
    }

    /// How the figures were made and which pairs they leave out.
    fn sentence(&self) -> Text {
        let spmr = self.newest;
        let mut sentence = Text::from(format!(
            "SPMR over {} prompts: cosine above {} under ",
            units::count(spmr.figure().n),
            spmr.threshold
        ))
        .and(Text::code(&spmr.embedder))
        .and(format!(", answers of at most {} tokens.", units::count(spmr.max_new_tokens)));
        for (count, why) in [
            (spmr.blank_references, "left out because their preferred answer is blank"),
            (spmr.unasked, "left out by `eval.spmr.max_prompts`"),
        ] {
            if count > 0 {
                let left_out = format!(" {} pairs were {why}.", units::count(count));
                sentence = sentence.and(Text::marked(&left_out));
            }
        }
        sentence
    }

    /// SPMR both ways, and what was generated.
    fn table(&self) -> Table {
        let change = self.newest.change.as_ref();
        let changes = change.map(|change| [&change.answer_alone, &change.with_prompt]);
        let mut table = Table::new(["SPMR", "before", "after", "change"]);
        let mut row = |name: &str, print: &dyn Fn(&Spmr) -> String, change: Option<String>| {
            let [before, after] = self.print(|spmr| Some(print(spmr)));
            table.push([name.to_owned(), before, after, cell::or_none(change)]);
        };
        for (i, (name, way)) in WAYS.iter().enumerate() {
            row(
                &format!("spmr (%), {name}"),
                &|spmr| cell::share(&way(spmr).spmr),
                changes.map(|changes| cell::share_change(changes[i])),
            );
        }
        row("tokens generated", &|spmr| units::count(spmr.generated_tokens), None);
        row("answers cut at the limit", &|spmr| units::count(spmr.cut_answers), None);
        row("blank answers", &|spmr| units::count(spmr.blank_answers), None);
        table
    }

    /// Mean and quantiles of the cosines behind each figure.
    fn quantiles(&self) -> Table {
        let mut table = Table::new(["cosine", "mean", "5 %", "25 %", "median", "75 %", "95 %"]);
        for (name, way) in WAYS {
            for (state, spmr) in [("before", self.before), ("after", self.after)] {
                let Some(similarity) = spmr.map(way) else { continue };
                let Quantiles { p05, p25, median, p75, p95, .. } = similarity.quantiles;
                let label = [format!("{name}, {state}"), cell::decimal(&similarity.cosine_mean)];
                let quantiles = [p05, p25, median, p75, p95].map(|cosine| format!("{cosine:.2}"));
                table.push(label.into_iter().chain(quantiles));
            }
        }
        table
    }

    /// The distribution of the cosines behind *the* figure; none without the answers' file.
    fn cosines(&self, files: &SetFiles) -> Option<Chart> {
        let Spmr { embed_prompt, threshold, .. } = *self.newest;
        let cosine = |answer: &Answer| {
            if embed_prompt { answer.cosine_with_prompt } else { answer.cosine }
        };
        let states = [("before", State::Before), ("after", State::After)];
        let series = states.into_iter().zip(&files.answers);
        let series = series.map(|((name, state), answers)| Series {
            name: name.to_owned(),
            quantity: Quantity::Spmr,
            state,
            values: answers.iter().map(cosine).collect(),
        });
        let caption = "SPMR: how near answers are to the preferred ones".to_owned();
        let embedded = if embed_prompt { "prompt with answer" } else { "answer" };
        let chart = Histogram {
            title: caption.clone(),
            x_label: format!("cosine of {embedded} and preferred answer"),
            y_label: "prompts".to_owned(),
            series: series.filter(|series| !series.values.is_empty()).collect(),
            marker: Some(threshold),
        };
        let shares = [("before", self.before), ("after", self.after)].into_iter();
        let shares: Vec<String> = shares
            .filter_map(|(name, spmr)| Some(format!("{} % {name}", cell::share(spmr?.figure()))))
            .collect();
        let reading = format!(
            "SPMR is the share of answers right of the dashed line at {threshold}: {}.",
            shares.join(", ")
        );
        let svg = chart.draw()?.svg;
        Some(Chart { caption, unit: String::new(), svg, reading: reading.into() })
    }

    /// *The* figure of every group that is large enough for a number; none without such a group.
    fn groups(&self) -> Option<Table> {
        let mut table = Table::new(["group", "prompts", "users", "SPMR before", "after", "change"]);
        for group in self.newest.groups.iter().filter(|group| group.spmr.is_some()) {
            let same = |other: &&SpmrGroup| {
                (&other.attribute, &other.label) == (&group.attribute, &group.label)
            };
            let [before, after] =
                self.print(|spmr| Some(cell::share(spmr.groups.iter().find(same)?.spmr.as_ref()?)));
            table.push([
                group_name(&group.attribute, &group.label),
                units::count(group.n),
                units::count(group.clusters),
                before,
                after,
                cell::or_none(group.change.as_ref().map(cell::share_change)),
            ]);
        }
        (!table.rows().is_empty()).then_some(table)
    }
}
