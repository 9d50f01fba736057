//! The world map: each model's share by country.

use crate::metrics::paa::PaaGroup;
use crate::report::judged::JudgedFolder;
use crate::report::section::{Chart, Part, Section, Symbol};
use crate::report::sections::paa::shares::{self, Row};
use crate::report::svg::map::{CLASSES, patch};
use crate::report::svg::{Coloured, WorldMap};
use crate::report::world;

/// Most models whose map is not folded.
const OPEN: usize = 4;

/// A map for each model; empty where no country is on it. `scope`: what the ids of the shapes begin with.
pub(super) fn section(judged: &JudgedFolder, scope: &str) -> Section {
    let rows = shares::of_all(&judged.evaluation, "country");
    let names = shares::names(&judged.evaluation);
    let mut holds_shapes = true;
    let mut charts = Vec::new();
    for (model, name) in names.iter().enumerate() {
        let countries = coloured(&rows, model);
        let title = format!("{name}: PAA by country");
        let reading = reading(&rows, model);
        let (scale, shapes) = ("their share, 0 to 100 %".to_owned(), format!("{scope}land"));
        let map = WorldMap { title, scale, countries, shapes, holds_shapes };
        if let Some(svg) = map.draw() {
            holds_shapes = false;
            let caption = (*name).to_owned();
            charts.push(Chart { caption, unit: "PAA, %".into(), svg, reading: reading.into() });
        }
    }
    if charts.is_empty() {
        return Section::default();
    }
    let folded = charts.split_off(charts.len().min(OPEN));
    let mut parts = vec![key(), Part::Charts(charts)];
    if !folded.is_empty() {
        let summary = format!("Maps of {} further models", folded.len());
        parts.push(Part::Details { summary, parts: vec![Part::Charts(folded)] });
    }
    let unplaced: Vec<&str> =
        rows.iter().map(|row| row.label).filter(|label| world::find(label).is_none()).collect();
    if !unplaced.is_empty() {
        parts.push(Part::note(format!("Not on the map: {}.", unplaced.join(", "))));
    }
    parts.push(Part::note(
        "Shapes: Natural Earth at 1:50 million, public domain, cut down. Borders are theirs and state no opinion. Very small countries have a dot.",
    ));
    Section::new("map", "World map", parts)
}

fn coloured(rows: &[Row<'_>], model: usize) -> Vec<Coloured> {
    let country = |row: &Row<'_>| {
        let (country, group) = (world::find(row.label)?, row.groups[model]?);
        Some(Coloured {
            country: country.place,
            share: group.paa.map_or_else(|| shares::raw(group), |figure| figure.value),
            is_small: group.paa.is_none(),
            title: shares::described(row.label, group),
        })
    };
    rows.iter().filter_map(country).collect()
}

/// The countries with the highest and the lowest figure.
fn reading(rows: &[Row<'_>], model: usize) -> String {
    let figures = rows.iter().filter_map(|row| {
        let group: &PaaGroup = row.groups[model]?;
        Some((row.label, group.paa?.value))
    });
    let mut figures: Vec<(&str, f64)> = figures.collect();
    figures.sort_by(|a, b| a.1.total_cmp(&b.1));
    match (figures.first(), figures.last()) {
        (Some(low), Some(high)) if figures.len() > 1 => {
            let named = |(country, value): &(&str, f64)| {
                format!("{} ({:.1} %)", world::short(country), 100.0 * value)
            };
            format!(
                "Lowest in {}, highest in {} of the {} countries with a figure.",
                named(low),
                named(high),
                figures.len()
            )
        }
        _ => "Fewer than two countries have enough answers and users for a figure.".into(),
    }
}

fn key() -> Part {
    let class = |class: usize| Symbol {
        svg: patch(&format!("scale{class}")),
        name: format!("{} to {}", 10 * class, 10 * class + 10),
    };
    let others = [
        ("scale5 small", "faint and dashed: too few for a figure, the plain share"),
        ("none", "no answers"),
    ];
    let others = others.map(|(class, name)| Symbol { svg: patch(class), name: name.into() });
    Part::Key((0..CLASSES).map(class).chain(others).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html;
    use crate::report::judged::sample::judged_folder;
    use crate::report::section::Page;

    #[test]
    fn all_countries_of_prism_are_coloured_on_the_map_of_every_model() {
        let sections = vec![section(&judged_folder(), "")];
        let html = html::page(&Page { sections, ..Page::default() });
        let drawn: Vec<&str> = html.split("<div class=\"drawing\">").skip(1).collect();
        assert_eq!(drawn.len(), 3);
        for map in drawn {
            assert_eq!(map.matches("class=\"country ").count(), 74);
        }
        assert_eq!(html.matches("<defs>").count(), 1);
        for part in ["Not on the map: Prefer not to say.", "<title>Brazil: ", ">90 to 100<"] {
            assert!(html.contains(part), "`{part}` is not on the page");
        }
    }

    #[test]
    fn records_without_countries_have_no_map() {
        let mut judged = judged_folder();
        judged
            .evaluation
            .models
            .iter_mut()
            .for_each(|model| drop(model.result.groups.remove("country")));
        assert!(section(&judged, "").is_empty());
    }
}
