//! Countries with the map, and demographic fields beside PRISM's survey.

use crate::console::units::{self, counted};
use crate::construct::prism::NOT_SAID;
use crate::construct::prism::marginals;
use crate::construct::statistics::Statistics;
use crate::construct::statistics::people::{Answer, Field};
use crate::metrics::region::region_of;
use crate::report::section::{Chart, Part, Section, Symbol};
use crate::report::svg::map::patch;
use crate::report::svg::{Coloured, WorldMap};
use crate::report::table::Table;
use crate::report::text::Text;
use crate::report::world;

use super::short_percent;

/// Least users of each colour of the map; the last has no end.
const CLASSES: [usize; 10] = [1, 2, 3, 6, 11, 21, 41, 81, 161, 321];

/// The map and the table of countries; empty where no user has one.
pub(super) fn countries(statistics: &Statistics<'_>) -> Section {
    let Some(field) = statistics.people.field("birth_country").filter(|field| field.answered > 0)
    else {
        return Section::default();
    };
    let mut parts = map(field);
    parts.push(Part::heading("Countries of birth beside PRISM's"));
    parts.push(Part::Table(table(field, "country", |label| world::short(label).to_owned())));
    parts.push(answered(field));
    parts.push(explanation());
    parts.push(Part::heading("Regions"));
    parts.push(Part::Table(regions(field)));
    Section::new("countries", "Countries", parts)
}

fn map(field: &Field) -> Vec<Part> {
    let class = |users: usize| CLASSES.iter().rposition(|least| users >= *least).unwrap_or(0);
    let coloured = |answer: &Answer| {
        let country = world::find(&answer.label).filter(|_| answer.users > 0)?;
        Some(Coloured {
            country: country.place,
            share: (class(answer.users) as f64 + 0.5) / CLASSES.len() as f64,
            is_small: false,
            title: format!(
                "{}: {}, {}",
                world::short(&answer.label),
                counted(answer.users, "user"),
                counted(answer.records, "record")
            ),
        })
    };
    let countries: Vec<Coloured> = field.answers.iter().filter_map(coloured).collect();
    let most = field.answers.iter().max_by_key(|answer| answer.users);
    let reading = most.map_or_else(String::new, |most| {
        format!(
            "Most users are from {}: {} of {}.",
            world::short(&most.label),
            units::count(most.users),
            units::count(field.answered)
        )
    });
    let drawing = WorldMap {
        title: "Users by country of birth".to_owned(),
        scale: "their number of users, in ten classes".to_owned(),
        countries,
        shapes: "land".to_owned(),
        holds_shapes: true,
    };
    let unplaced: Vec<&str> = (field.answers.iter())
        .filter(|answer| answer.users > 0 && world::find(&answer.label).is_none())
        .map(|answer| &*answer.label)
        .collect();
    let unplaced = match &unplaced[..] {
        [] => String::new(),
        labels => format!(" Not on the map: {}.", labels.join("; ")),
    };
    let Some(svg) = drawing.draw() else { return Vec::new() };
    let symbol = |(class, least): (usize, &usize)| {
        let name = match CLASSES.get(class + 1) {
            Some(next) if next - 1 == *least => least.to_string(),
            Some(next) => format!("{least} to {}", next - 1),
            None => format!("{least} and more"),
        };
        Symbol { svg: patch(&format!("scale{class}")), name }
    };
    let none = Symbol { svg: patch("none"), name: "no user".to_owned() };
    let caption = "Users by country of birth".to_owned();
    let shapes = "Shapes: Natural Earth at 1:50 million, public domain, cut down. Borders are theirs and state no opinion. Very small countries have a dot.";
    let reading = format!("{reading}{unplaced} {shapes}").into();
    vec![
        Part::Key(CLASSES.iter().enumerate().map(symbol).chain([none]).collect()),
        Part::Charts(vec![Chart { caption, unit: "users".into(), svg, reading }]),
    ]
}

/// The answers of a field beside PRISM's; `shown`: how a label is printed.
fn table(field: &Field, first: &str, shown: impl Fn(&str) -> String) -> Table {
    let people = marginals().people;
    let mut table = Table::new([first, "users", "%", "PRISM", "PRISM %", "diff", "by chance"]);
    for answer in &field.answers {
        let (users, prism) = (answer.users, answer.prism);
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        let beyond = match answer.by_chance {
            Some([_, high]) if users > high => "> ",
            Some([low, _]) if users < low => "< ",
            _ => "",
        };
        table.push([
            shown(&answer.label),
            units::count(users),
            short_percent(users, field.answered),
            prism.map_or_else(|| "-".to_owned(), units::count),
            prism.map_or_else(|| "-".to_owned(), |count| short_percent(count, people)),
            prism.map_or_else(
                || "-".to_owned(),
                |count| signed(share(users, field.answered) - share(count, people)),
            ),
            answer
                .by_chance
                .map_or_else(|| "-".to_owned(), |[low, high]| format!("{beyond}{low}-{high}")),
        ]);
    }
    table
}

/// Percentage points with a sign, without a minus before zero.
fn signed(points: f64) -> String {
    let text = format!("{points:+.1}");
    if text == "-0.0" { "+0.0".to_owned() } else { text }
}

/// What the columns are; once for all tables.
fn explanation() -> Part {
    let people = units::count(marginals().people);
    Part::note(format!(
        "PRISM: people of its survey ({people}, also those without conversations). diff: points of percent. by chance, the null: the middle 95 % of \
         how many users would give the answer if so many as have one were drawn at random from the survey (hypergeometric, exact); < and >: the \
         users are fewer or more than that."
    ))
}

/// Whose answers a table has.
fn answered(field: &Field) -> Part {
    let differing = match field.differing {
        0 => String::new(),
        differing => format!(
            " The records of {} have different answers; the first counts.",
            counted(differing, "user")
        ),
    };
    Part::note(format!("Of {} with an answer.{differing}", counted(field.answered, "user")))
}

fn regions(field: &Field) -> Table {
    let mut counts: Vec<(&str, [usize; 3])> = Vec::new();
    for answer in field.answers.iter().filter(|answer| answer.label != NOT_SAID) {
        let region = region_of(&answer.label);
        let at = counts.iter().position(|(known, _)| *known == region).unwrap_or_else(|| {
            counts.push((region, [0; 3]));
            counts.len() - 1
        });
        let sums = &mut counts[at].1;
        sums[0] += answer.users;
        sums[1] += answer.records;
        sums[2] += answer.prism.unwrap_or(0);
    }
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let mut table = Table::new(["region", "users", "%", "records", "PRISM", "PRISM %"]);
    for (region, [users, records, prism]) in counts {
        table.push([
            region.to_owned(),
            units::count(users),
            short_percent(users, field.answered),
            units::count(records),
            units::count(prism),
            short_percent(prism, marginals().people),
        ]);
    }
    table
}

/// Each field beside PRISM's survey.
pub(super) fn demographics(statistics: &Statistics<'_>) -> Section {
    let people = &statistics.people;
    let [outside, all] = people.outside();
    let mut parts = vec![Part::reading(format!(
        "{outside} of {all} answers, countries among them, lie outside the range that chance gives; about 1 in 20 would by chance alone, fewer \
         where counts are small. PRISM's people with conversations are most of its survey, so a benchmark of them all lies close to it.",
    ))];
    let mut unanswered = Vec::new();
    for field in people.fields.iter().filter(|field| field.name != "birth_country") {
        if field.answered == 0 {
            unanswered.push(format!("`{}`", field.name));
            continue;
        }
        parts.push(Part::heading(field.name.replace('_', " ")));
        parts.push(Part::Table(table(field, "answer", str::to_owned)));
        parts.push(answered(field));
    }
    parts.push(explanation());
    if !unanswered.is_empty() {
        let sentence = format!("No user has an answer for {}.", unanswered.join(", "));
        parts.push(Part::missing(Text::marked(&sentence)));
    }
    Section::new("demographics", "Demographics beside PRISM's", parts)
}
