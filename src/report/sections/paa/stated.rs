//! The values that the paper states, with what is known of the answers behind them, and ours of the same country or group.

use crate::console::units;
use crate::metrics::paa::{PaaEvaluation, PaaGroup};
use crate::report::cell;
use crate::report::section::{Part, Section};
use crate::report::sections::attributes::attribute_words;
use crate::report::sections::paa::shares::{self, Row};
use crate::report::stated::{COUNTRIES, GROUPS, PER_USER, StatedCountry, StatedGroup, fewest};
use crate::report::table::Table;
use crate::report::text::Text;
use crate::report::world;

/// Both tables, whatever the models are.
pub(super) fn section(evaluation: &PaaEvaluation) -> Section {
    let parts = vec![
        Part::Table(countries(evaluation)),
        Part::note(Text::marked(&format!(
            "The paper's figures are from its text (arXiv 2509.08022), of the models and with the judges named there; it gives no number of answers. \
             Users: those of PRISM born in the country. At most {PER_USER} answers a user: six conversations, three questions each. Fewest: the \
             smallest number of answers whose share rounds to the stated one; the true number lies between. Ours are of all of our models, whatever \
             their names; `1 of 18` where there are too few for a figure.",
        ))),
        Part::heading("Groups within a region"),
        Part::Table(groups(evaluation)),
        Part::note(
            "The paper's Figures 3 and 4, as far as its text has their values of single groups. How many answers are behind them is not known.",
        ),
    ];
    Section::new("stated", "Stated in the paper, beside ours", parts)
}

fn header(evaluation: &PaaEvaluation, first: &[&str]) -> Vec<String> {
    let ours = shares::names(evaluation).into_iter().map(|name| format!("ours: {name} (%)"));
    first.iter().map(|name| (*name).to_owned()).chain(ours).collect()
}

fn countries(evaluation: &PaaEvaluation) -> Table {
    let rows = shares::of_all(evaluation, "country");
    let first =
        ["country", "model in the paper", "paper (%)", "fewest answers", "at most", "users"];
    let mut table = Table::new(header(evaluation, &first));
    for stated in &COUNTRIES {
        let StatedCountry { country, model, percent, users } = *stated;
        let place = world::find(country).map(|known| known.place);
        let is_same = |row: &&Row<'_>| {
            place.is_some() && world::find(row.label).map(|known| known.place) == place
        };
        let own: Vec<&Row<'_>> = rows.iter().filter(is_same).collect();
        let [aligned, n] = fewest(percent, 1);
        let first = [
            country.to_owned(),
            model.to_owned(),
            format!("{percent:.1}"),
            format!("{aligned} of {n}"),
            units::count(PER_USER * users),
            units::count(users),
        ];
        table.push(first.into_iter().chain(ours(evaluation, &own)));
    }
    table
}

fn groups(evaluation: &PaaEvaluation) -> Table {
    let first = ["region", "by", "group", "model in the paper", "paper (%)", "fewest answers"];
    let mut table = Table::new(header(evaluation, &first));
    for stated in &GROUPS {
        let StatedGroup { region, attribute, label, model, percent } = *stated;
        let rows = shares::rows_within(evaluation, attribute, region);
        let own: Vec<&Row<'_>> = rows.iter().filter(|row| row.label == label).collect();
        let [aligned, n] = fewest(percent, 2);
        let first = [
            region.to_owned(),
            attribute_words(attribute),
            label.to_owned(),
            model.to_owned(),
            format!("{percent:.2}"),
            format!("{aligned} of {n}"),
        ];
        table.push(first.into_iter().chain(ours(evaluation, &own)));
    }
    table
}

/// A cell for each of our models: its share, else its count. `rows`: the group in every spelling that a model has.
fn ours(evaluation: &PaaEvaluation, rows: &[&Row<'_>]) -> Vec<String> {
    let cell = |model: usize| {
        let group: Option<&PaaGroup> = rows.iter().find_map(|row| row.groups[model]);
        match group.and_then(|group| group.paa) {
            Some(figure) => cell::share(&figure),
            None => shares::count(group),
        }
    };
    (0..evaluation.models.len()).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::judged::sample::judged_folder;
    use crate::report::markdown;
    use crate::report::section::Page;

    #[test]
    fn every_stated_value_has_its_row_with_the_answers_that_can_be_behind_it() {
        let mut evaluation = judged_folder().evaluation;
        let own = evaluation.models[0].result.groups.get_mut("country").unwrap();
        let russia = own.remove("Russian Federation").unwrap();
        own.insert("Russia".into(), russia);
        let sections = vec![section(&evaluation)];
        let page = markdown::page(&Page { sections, ..Page::default() });
        for part in [
            "| Brazil | GPT-4o | 5.6 | 1 of 18 | 18 | 1 | ",
            "| Honduras | GPT-4o | 0.0 | 0 of 1 | 18 | 1 | ",
            "| Netherlands | DeepSeek-v3 | 35.8 | ",
            "| East Asia | gender | Non-binary / third gender | GPT-4o | 72.22 | 13 of 18 | ",
            "ours: llama2-7b \\<b> (%)",
        ] {
            assert!(page.contains(part), "`{part}` is not in\n{page}");
        }
        let row = page.lines().find(|line| line.starts_with("| Russian Federation |")).unwrap();
        assert!(!row.contains("| - |"), "another spelling is the same country: {row}");
    }
}
