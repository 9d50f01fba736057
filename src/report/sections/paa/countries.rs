//! Countries ranked by the mean over the models, drawn and in numbers; those with too few answers by themselves.

use crate::console::units;
use crate::metrics::groups::MINIMUM_CLUSTERS;
use crate::metrics::paa::PaaEvaluation;
use crate::metrics::region::region_of;
use crate::report::cell;
use crate::report::section::{Part, Section};
use crate::report::sections::paa::shares::{self, Row};
use crate::report::table::Table;
use crate::report::text::Text;
use crate::report::world;

/// Most countries of one chart.
const CHART: usize = 38;

/// Charts and tables of all countries; empty without one.
pub(super) fn section(evaluation: &PaaEvaluation) -> Section {
    let rows = shares::of_all(evaluation, "country");
    let (mut large, mut small): (Vec<Row<'_>>, Vec<Row<'_>>) =
        rows.into_iter().partition(Row::has_figure);
    large.sort_by(|a, b| b.mean().total_cmp(&a.mean()).then(a.label.cmp(b.label)));
    small.sort_by(|a, b| b.n().cmp(&a.n()).then(a.label.cmp(b.label)));
    let mut parts = Vec::new();
    let (names, null) = (shares::names(evaluation), shares::null(evaluation));
    if !large.is_empty() {
        parts.push(shares::key(&names, null));
        parts.push(charts(&large, "Ranked by the mean over the models", &names, null));
        parts.push(Part::Table(ranked(&large, &names)));
        parts.push(Part::note(
            "n: answers with a verdict, of the model that has most. The mean is over the models with a figure, each weighing the same. Countries of a \
             few users differ by chance: read them with their intervals.",
        ));
    }
    if !small.is_empty() {
        parts.push(Part::heading("Countries with too few answers or users for a figure"));
        parts.push(Part::note(format!(
            "Fewer than {} answers or fewer than {MINIMUM_CLUSTERS} users. What is aligned of what was judged, without an interval: one or two \
             people are no country.",
            evaluation.minimum_n
        )));
        parts.push(charts(&small, "Too few for a figure", &names, null));
        parts.push(Part::Table(counted(&small, &names)));
    }
    Section::new("countries", "Countries", parts)
}

/// The charts of `rows`, evenly long.
fn charts(rows: &[Row<'_>], title: &str, models: &[&str], null: Option<f64>) -> Part {
    let count = rows.len().div_ceil(CHART);
    let length = rows.len().div_ceil(count.max(1)).max(1);
    let chart = |(place, rows): (usize, &[Row<'_>])| {
        let first = place * length + 1;
        let caption = match count {
            1 => title.to_owned(),
            _ => format!("{title}, {first} to {}", first + rows.len() - 1),
        };
        let rows: Vec<(&str, &Row<'_>)> =
            rows.iter().map(|row| (world::short(row.label), row)).collect();
        let reading = Text::from("A row a country, a mark a model, n at the right.");
        shares::chart(&caption, &rows, models, null, reading)
    };
    Part::Charts(rows.chunks(length).enumerate().filter_map(chart).collect())
}

fn ranked(rows: &[Row<'_>], models: &[&str]) -> Table {
    let first = ["country", "region", "n", "users", "mean (%)"];
    let cells = |row: &Row<'_>| {
        let mut cells = about(row).to_vec();
        cells.push(cell::percent(row.mean()));
        cells.into_iter().map(Text::from).collect()
    };
    shares::table(&first, models, rows.iter().map(|row| (cells(row), row)), shares::cell)
}

/// Counts in place of shares, so no unit stands in the header.
fn counted(rows: &[Row<'_>], models: &[&str]) -> Table {
    let first = ["country", "region", "n", "users"].map(str::to_owned);
    let models = models.iter().map(|model| format!("{model}, aligned"));
    let mut table = Table::new(first.into_iter().chain(models));
    for row in rows {
        let counts = row.groups.iter().map(|group| shares::count(*group));
        table.push(about(row).into_iter().chain(counts));
    }
    table
}

/// Country, region, n, users.
fn about(row: &Row<'_>) -> [String; 4] {
    let region = region_of(row.label).to_owned();
    [row.label.to_owned(), region, units::count(row.n()), units::count(row.users())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::judged::sample::judged_folder;
    use crate::report::section::Page;
    use crate::report::{html, markdown};

    #[test]
    fn countries_with_a_figure_are_ranked_and_the_others_are_counts() {
        let evaluation = judged_folder().evaluation;
        let page = Page { sections: vec![section(&evaluation)], ..Page::default() };
        let markdown = markdown::page(&page);
        for part in [
            "| country | region | n | users | mean (%) | gpt-4o (%) | llama2-7b \\<b> (%) | deepseek-chat (%) |",
            "| country | region | n | users | gpt-4o, aligned | ",
            "Fewer than 10 answers or fewer than 5 users.",
        ] {
            assert!(markdown.contains(part), "`{part}` is not in\n{markdown}");
        }
        let means: Vec<f64> = markdown
            .lines()
            .skip_while(|line| !line.starts_with("|---"))
            .skip(1)
            .map_while(|line| line.split(" | ").nth(4)?.parse().ok())
            .collect();
        assert!(means.len() == 25 && means.windows(2).all(|two| two[0] >= two[1]), "{means:?}");
        let html = html::page(&page);
        assert!(html.contains("Too few for a figure, 1 to 25"));
        // 50 small countries of 3 models each with an open mark, and the open mark of the key.
        assert_eq!(html.matches(" before mark\"").count(), 151);
    }
}
