//! Regions: a radar over all of them, and the attributes within each, as in the paper's Figures 3 and 4.

use crate::console::units;
use crate::metrics::paa::PaaEvaluation;
use crate::metrics::paa::groups::WITHIN_REGIONS;
use crate::report::cell;
use crate::report::section::{Chart, Part, Section};
use crate::report::sections::attributes::{attribute_title, attribute_words};
use crate::report::sections::paa::shares::{self, Row};
use crate::report::svg::Radar;
use crate::report::text::Text;

/// The regions that the paper breaks down, which stand first and unfolded.
const OF_THE_PAPER: [&str; 2] = ["Western", "East Asia"];

/// Radar, dot plot and table of the regions, then every region by attribute; empty without one.
pub(super) fn section(evaluation: &PaaEvaluation) -> Section {
    let mut rows = shares::of_all(evaluation, "region");
    rows.sort_by(|a, b| b.n().cmp(&a.n()).then(a.label.cmp(b.label)));
    let (names, null) = (shares::names(evaluation), shares::null(evaluation));
    let mut parts = Vec::new();
    if !rows.is_empty() {
        parts.push(shares::key(&names, null));
        let labelled: Vec<(&str, &Row<'_>)> = rows.iter().map(|row| (row.label, row)).collect();
        let reading = Text::from("Largest region first.");
        let dots = shares::chart("Regions", &labelled, &names, null, reading);
        parts.push(Part::Charts([radar(&rows, &names), dots].into_iter().flatten().collect()));
        let cells = |row: &Row<'_>| {
            let mean = cell::or_none(row.has_figure().then(|| cell::percent(row.mean())));
            let n = [units::count(row.n()), units::count(row.users()), mean];
            std::iter::once(row.label.to_owned()).chain(n).map(Text::from).collect()
        };
        let first = ["region", "n", "users", "mean (%)"];
        let table = rows.iter().map(|row| (cells(row), row));
        parts.push(Part::Table(shares::table(&first, &names, table, shares::cell)));
    }
    parts.extend(within(evaluation, &rows));
    Section::new("regions", "Regions", parts)
}

/// The radar over the regions that every model has a figure of.
fn radar(rows: &[Row<'_>], names: &[&str]) -> Option<Chart> {
    let is_whole =
        |row: &&Row<'_>| row.groups.iter().all(|one| one.is_some_and(|group| group.paa.is_some()));
    let (whole, rest): (Vec<&Row<'_>>, Vec<&Row<'_>>) = rows.iter().partition(is_whole);
    let shares = |model: usize| {
        let figure = |row: &&Row<'_>| row.groups[model].and_then(|group| group.paa);
        whole.iter().filter_map(figure).map(|figure| figure.value).collect()
    };
    let models = names.iter().enumerate().map(|(i, name)| ((*name).to_owned(), shares(i)));
    let radar = Radar {
        title: "PAA over the regions".into(),
        axes: whole.iter().map(|row| row.label.to_owned()).collect(),
        models: models.collect(),
    };
    let left_out: Vec<&str> = rest.iter().map(|row| row.label).collect();
    let reading = match &left_out[..] {
        [] => "A polygon a model; the further out, the higher.".to_owned(),
        _ => format!(
            "A polygon a model; the further out, the higher. Without a figure of every model, so not drawn: {}.",
            left_out.join(", ")
        ),
    };
    let (caption, unit) = ("Regions as a radar".into(), "PAA, %".into());
    Some(Chart { caption, unit, svg: radar.draw()?, reading: reading.into() })
}

/// Every region by attribute, the paper's first, the others folded.
fn within(evaluation: &PaaEvaluation, rows: &[Row<'_>]) -> Vec<Part> {
    let mut regions: Vec<&str> = rows.iter().map(|row| row.label).collect();
    let place = |region: &str| OF_THE_PAPER.iter().position(|own| *own == region);
    regions.sort_by_key(|region| place(region).unwrap_or(OF_THE_PAPER.len()));
    let mut parts = Vec::new();
    for region in regions {
        let inside = of_region(evaluation, region);
        if inside.is_empty() {
            continue;
        }
        let title = format!("{region}: age, gender, education, marital status");
        if place(region).is_some() {
            parts.push(Part::Heading(title));
            parts.extend(inside);
        } else {
            parts.push(Part::Details { summary: title, parts: inside });
        }
    }
    parts
}

fn of_region(evaluation: &PaaEvaluation, region: &str) -> Vec<Part> {
    let (names, null) = (shares::names(evaluation), shares::null(evaluation));
    let (mut charts, mut all) = (Vec::new(), Vec::new());
    for attribute in WITHIN_REGIONS {
        let rows = shares::rows_within(evaluation, attribute, region);
        let labelled: Vec<(&str, &Row<'_>)> = rows.iter().map(|row| (row.label, row)).collect();
        let caption = format!("{region}: {}", attribute_words(attribute));
        charts.extend(shares::chart(&caption, &labelled, &names, null, Text::default()));
        all.extend(rows.into_iter().map(|row| (attribute, row)));
    }
    if all.is_empty() {
        return vec![];
    }
    let first = ["attribute", "group", "n", "users"];
    let cells = |attribute: &str, row: &Row<'_>| {
        let n = [row.n(), row.users()].map(units::count);
        [attribute_title(attribute), row.label.to_owned()]
            .into_iter()
            .chain(n)
            .map(Text::from)
            .collect()
    };
    let table = all.iter().map(|(attribute, row)| (cells(attribute, row), row));
    let table = shares::table(&first, &names, table, shares::cell);
    vec![shares::key(&names, null), Part::Charts(charts), Part::Table(table)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::judged::sample::judged_folder;
    use crate::report::section::Page;
    use crate::report::{html, markdown};

    #[test]
    fn regions_have_a_radar_and_the_papers_two_are_broken_down_first() {
        let evaluation = judged_folder().evaluation;
        let page = Page { sections: vec![section(&evaluation)], ..Page::default() };
        let (html, markdown) = (html::page(&page), markdown::page(&page));
        assert_eq!(html.matches(" polygon\"").count(), 3);
        assert_eq!(html.matches("<figcaption>Western: ").count(), 4);
        let place = |part: &str| {
            markdown.find(part).unwrap_or_else(|| panic!("no `{part}` in\n{markdown}"))
        };
        assert!(place("### Western: age") < place("### East Asia: age"));
        assert!(place("### East Asia: age") < place("### Eastern Europe: age"));
        assert!(html.contains("<summary>Eastern Europe: age"));
        place("| Marital status | Married | ");
        place("| Oceania | 6 | 2 | - | - |");
    }
}
