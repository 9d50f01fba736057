//! SPMR in words and tables, for every kind of page.

use crate::console::units;
use std::fmt::Write as _;

use crate::metrics::spmr::{Similarity, SpmrGroup};
use crate::metrics::{Figure, Metric, SetResult, Spmr};
use crate::report::cell;
use crate::report::groups::group_name;
use crate::report::markup::code;
use crate::report::table::Table;

/// SPMR of the newer of two states, and of both.
#[derive(Debug, Clone, Copy)]
pub struct Pages<'a> {
    newest: &'a Spmr,
    before: Option<&'a Spmr>,
    after: Option<&'a Spmr>,
}

impl<'a> Pages<'a> {
    /// None where no state of the set was measured.
    pub fn new(before: Option<&'a SetResult>, after: Option<&'a SetResult>) -> Option<Self> {
        let [before, after] = [before, after].map(|set| set?.spmr.as_ref());
        Some(Self { newest: after.or(before)?, before, after })
    }

    /// SPMR both ways, the cosines behind it, and what was generated.
    pub fn table(&self) -> Table {
        let mut table = Table::new(["SPMR", "before", "after", "change"]);
        let mut row = |name: &str, of: &dyn Fn(&Spmr) -> String, change: Option<String>| {
            let [before, after] = [self.before, self.after]
                .map(|spmr| spmr.map_or_else(|| cell::NONE.to_owned(), of));
            let change = change.unwrap_or_else(|| cell::NONE.to_owned());
            table.push([name.to_owned(), before, after, change]);
        };
        let change = self.newest.change.as_ref();
        type Which = fn(&Spmr) -> &Similarity;
        let ways: [(&str, Which, Option<&Figure>); 2] = [
            ("the answer alone", |spmr| &spmr.answer_alone, change.map(|c| &c.answer_alone)),
            ("prompt and answer", |spmr| &spmr.with_prompt, change.map(|c| &c.with_prompt)),
        ];
        for (name, which, change) in ways {
            row(
                &format!("spmr (%), {name}"),
                &|spmr| cell::share(&which(spmr).spmr),
                change.map(cell::share_change),
            );
            row(
                &format!("mean cosine, {name}"),
                &|spmr| cell::figure(Metric::DpoLoss, &which(spmr).cosine_mean),
                None,
            );
            let quantiles = |spmr: &Spmr| {
                let q = which(spmr).quantiles;
                [q.p05, q.p25, q.median, q.p75, q.p95]
                    .map(|cosine| format!("{cosine:.2}"))
                    .join(" / ")
            };
            row(&format!("cosine at 5 / 25 / 50 / 75 / 95 %, {name}"), &quantiles, None);
        }
        row("tokens generated", &|spmr| units::count(spmr.generated_tokens), None);
        row("answers cut at the limit", &|spmr| units::count(spmr.cut_answers), None);
        row("blank answers", &|spmr| units::count(spmr.blank_answers), None);
        table
    }

    /// What the figures are of, with code between back-quotes.
    pub fn sentence(&self) -> String {
        let spmr = self.newest;
        let mut sentence = format!(
            "SPMR over {} prompts: cosine above {} under {}, answers of at most {} tokens.",
            units::count(spmr.figure().n),
            spmr.threshold,
            code(&spmr.embedder),
            units::count(spmr.max_new_tokens)
        );
        for (count, why) in [
            (spmr.blank_references, "left out because their preferred answer is blank"),
            (spmr.unasked, "left out by `eval.spmr.max_prompts`"),
        ] {
            if count > 0 {
                let _ = write!(sentence, " {} pairs were {why}.", units::count(count));
            }
        }
        sentence
    }

    /// *The* figure of every group that is large enough for a number; none without such a group.
    pub fn groups(&self) -> Option<Table> {
        let mut table = Table::new(["group", "prompts", "users", "SPMR before", "after", "change"]);
        let same = |one: &SpmrGroup, other: &SpmrGroup| {
            (&one.attribute, &one.label) == (&other.attribute, &other.label)
        };
        for group in self.newest.groups.iter().filter(|group| group.spmr.is_some()) {
            let [before, after] = [self.before, self.after].map(|spmr| {
                let group = spmr.and_then(|spmr| spmr.groups.iter().find(|one| same(one, group)));
                let figure = group.and_then(|group| group.spmr.as_ref());
                figure.map_or_else(|| cell::NONE.to_owned(), cell::share)
            });
            table.push([
                group_name(&group.attribute, &group.label),
                units::count(group.n),
                units::count(group.clusters),
                before,
                after,
                group.change.as_ref().map_or_else(|| cell::NONE.to_owned(), cell::share_change),
            ]);
        }
        (!table.rows().is_empty()).then_some(table)
    }
}

/// The section of `report.md`; empty for a set without SPMR.
pub fn markdown(before: Option<&SetResult>, after: Option<&SetResult>) -> String {
    let Some(pages) = Pages::new(before, after) else { return String::new() };
    let mut section = format!("\n{}\n\n{}", pages.sentence(), pages.table().to_markdown());
    if let Some(groups) = pages.groups() {
        let _ = write!(section, "\n{}", groups.to_markdown());
    }
    section
}
