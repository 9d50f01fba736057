//! What the marks amount to: shares accepted, agreement of reviewers beside that of chance, and the records on which they disagree.

use std::collections::{BTreeMap, BTreeSet};

use super::criteria::CRITERIA;
use super::marks::{JUDGE, Mark, Marks as All};
use super::votes::Votes;
use crate::console::units::{self, counted};
use crate::metrics::agreement::{Marks, accepted, fleiss, pairwise};
use crate::metrics::bootstrap::Clusters;
use crate::metrics::figure::Figure;
use crate::metrics::paa::agreement::krippendorff;
use crate::report::cell;
use crate::report::section::{Page, Part, Section};
use crate::report::table::Table;

/// The marks as a table: a row a record, a column a reviewer.
struct Grid<'a> {
    reviewers: Vec<&'a str>,
    rows: Vec<Vec<Option<&'a Mark>>>,
    users: Vec<Option<&'a str>>,
}

impl<'a> Grid<'a> {
    /// People first, then models, by name.
    fn of(marks: &'a All) -> Self {
        let mut reviewers: Vec<&str> =
            marks.all().map(|mark| &*mark.reviewer).collect::<BTreeSet<_>>().into_iter().collect();
        reviewers.sort_by_key(|name| (name.starts_with(JUDGE), *name));
        let mut of_record: BTreeMap<&str, Vec<&Mark>> = BTreeMap::new();
        for mark in marks.all() {
            of_record.entry(&mark.id).or_default().push(mark);
        }
        let row = |marks: &Vec<&'a Mark>| -> Vec<Option<&'a Mark>> {
            let of = |name: &&str| marks.iter().copied().find(|mark| mark.reviewer == **name);
            reviewers.iter().map(of).collect()
        };
        let users = |marks: &Vec<&'a Mark>| marks.iter().find_map(|mark| mark.user.as_deref());
        Self {
            rows: of_record.values().map(row).collect(),
            users: of_record.values().map(users).collect(),
            reviewers,
        }
    }

    /// Marks of a criterion: a row a record, a column each of `reviewers`.
    fn of_criterion(&self, criterion: usize, reviewers: &[usize]) -> Vec<Marks> {
        let row = |row: &Vec<Option<&Mark>>| {
            reviewers.iter().map(|at| row[*at].and_then(|mark| mark.marks[criterion])).collect()
        };
        self.rows.iter().map(row).collect()
    }

    fn people(&self) -> Vec<usize> {
        let is_person = |at: &usize| !self.reviewers[*at].starts_with(JUDGE);
        (0..self.reviewers.len()).filter(is_person).collect()
    }
}

/// The page of the figures; `title`: what the user calls the benchmark.
pub fn page(marks: &All, title: &str) -> Page {
    let grid = Grid::of(marks);
    let lead = format!(
        "{} of {} by {}.",
        counted(marks.all().count(), "mark"),
        counted(grid.rows.len(), "record"),
        match (grid.people().len(), grid.reviewers.len() - grid.people().len()) {
            (people, 0) => counted(people, "reviewer"),
            (people, models) => format!(
                "{} and {}, which has no vote",
                counted(people, "reviewer"),
                counted(models, "model")
            ),
        }
    );
    let criteria = (0..CRITERIA.len()).map(|at| criterion(&grid, at));
    let mut sections = vec![summary(&grid)];
    sections.extend(criteria);
    sections.extend([disagreements(&grid), comments(marks)]);
    Page {
        title: format!("{title}: review of a benchmark"),
        heading: format!("Review of {title}"),
        intro: vec![Part::lead(lead)],
        sections,
    }
}

/// What people say of each criterion together.
fn summary(grid: &Grid<'_>) -> Section {
    let people = grid.people();
    let mut table = Table::new(["criterion", "accepted (%)", "Krippendorff's alpha, null 0"]);
    for (at, criterion) in CRITERIA.iter().enumerate() {
        let all = grid.of_criterion(at, &people);
        let by_majority: Vec<Option<bool>> = all.iter().map(majority).collect();
        let share = accepted(&by_majority, &grid.users);
        let clusters = Clusters::by_user(grid.users.iter().copied());
        table.push([
            criterion.name.to_owned(),
            cell::or_none(share.map(|share| cell::share(&share))),
            coefficient(krippendorff(&all, &clusters)),
        ]);
    }
    let note = "Of people alone. Accepted: by more than half of those who marked the record; a tie is neither. 95 % intervals draw users (at 0, 100 % \
                and for fewer than 50 users, Wilson's).";
    let agreement = "Agreement below: n are the records that both, or two of all, have marked. Chance is the null: the share that two people with \
                     these shares of yes would mark alike if each marked blindly. Every coefficient is 0 there, 1 if all is alike, below 0 if less than \
                     chance gives; and 0 for two people of whom one always says the same. A dash: all say the same one word, so nothing is beyond \
                     chance; or, for Fleiss' kappa, no three have marked the same records.";
    let parts = vec![Part::Table(table), Part::note(note), Part::note(agreement)];
    Section::new("summary", "Summary", parts)
}

/// Shares and agreement of one criterion.
fn criterion(grid: &Grid<'_>, at: usize) -> Section {
    let criterion = CRITERIA[at];
    let mut parts = vec![Part::reading(criterion.question), Part::Table(shares(grid, at))];
    parts.extend(agreement(grid, at));
    Section::new(criterion.name, format!("Criterion {}", criterion.name), parts)
}

/// Yes or no by the majority of the given marks; none of a tie and where there are none.
fn majority(marks: &Marks) -> Option<bool> {
    Votes::of(marks.iter().copied()).majority()
}

fn shares(grid: &Grid<'_>, at: usize) -> Table {
    let people = grid.people();
    let mut table = Table::new(["by", "accepted (%)", "records", "ties"]);
    if people.len() > 1 {
        let all = grid.of_criterion(at, &people);
        let by_majority: Vec<Option<bool>> = all.iter().map(majority).collect();
        let marked = all.iter().filter(|marks| marks.iter().any(Option::is_some)).count();
        let ties = marked - by_majority.iter().flatten().count();
        let share = accepted(&by_majority, &grid.users);
        table.push(row("majority of people", share, units::count(ties)));
    }
    for (reviewer, name) in grid.reviewers.iter().enumerate() {
        let own: Vec<Option<bool>> =
            grid.of_criterion(at, &[reviewer]).into_iter().map(|marks| marks[0]).collect();
        table.push(row(name, accepted(&own, &grid.users), dash()));
    }
    table
}

fn row(by: &str, share: Option<Figure>, ties: String) -> [String; 4] {
    let n = share.map_or(0, |share| share.n);
    let share = cell::or_none(share.map(|share| cell::share(&share)));
    [by.to_owned(), share, units::count(n), ties]
}

fn agreement(grid: &Grid<'_>, at: usize) -> Vec<Part> {
    let all: Vec<usize> = (0..grid.reviewers.len()).collect();
    if all.len() < 2 {
        return vec![Part::missing("One reviewer: agreement needs the marks of a second one.")];
    }
    let mut table = Table::new(["between", "n", "same (%)", "chance (%)", "Cohen's kappa"]);
    for (place, one) in all.iter().enumerate() {
        for other in &all[place + 1..] {
            let marks: Vec<[Option<bool>; 2]> =
                grid.of_criterion(at, &[*one, *other]).iter().map(|row| [row[0], row[1]]).collect();
            let between = format!("{}, {}", grid.reviewers[*one], grid.reviewers[*other]);
            let cells = match pairwise(&marks, &grid.users) {
                None => ["0".to_owned(), dash(), dash(), dash()],
                Some(found) => [
                    units::count(found.raw.n),
                    cell::share(&found.raw),
                    cell::percent(found.by_chance),
                    coefficient(found.kappa),
                ],
            };
            table.push([between].into_iter().chain(cells));
        }
    }
    let people = grid.people();
    let mut together = Table::new(["of", "n", "Krippendorff's alpha", "Fleiss' kappa"]);
    let groups = [("people", &people), ("people and models", &all)];
    let groups = groups
        .into_iter()
        .filter(|(name, who)| who.len() > 1 && (*name == "people" || who.len() > people.len()));
    for (name, who) in groups {
        let marks = grid.of_criterion(at, who);
        let clusters = Clusters::by_user(grid.users.iter().copied());
        let two = marks.iter().filter(|row| row.iter().flatten().count() > 1).count();
        together.push([
            format!("{} {name}", who.len()),
            units::count(two),
            coefficient(krippendorff(&marks, &clusters)),
            coefficient(fleiss(&marks, &grid.users)),
        ]);
    }
    vec![
        Part::heading(format!("Agreement on {}", CRITERIA[at].name)),
        Part::Table(table),
        Part::Table(together),
    ]
}

fn dash() -> String {
    cell::NONE.to_owned()
}

fn coefficient(figure: Option<Figure>) -> String {
    let print = |value: f64| {
        let text = format!("{value:.3}");
        if text == "-0.000" { "0.000".to_owned() } else { text }
    };
    match figure {
        None => dash(),
        Some(Figure { value, low: Some(low), high: Some(high), .. }) => {
            format!("{} [{}, {}]", print(value), print(low), print(high))
        }
        Some(Figure { value, .. }) => print(value),
    }
}

fn disagreements(grid: &Grid<'_>) -> Section {
    let people = grid.people();
    let mut table = Table::new(["record", "criterion", "yes", "no"]);
    for row in &grid.rows {
        for (at, criterion) in CRITERIA.iter().enumerate() {
            let names = |wanted: bool| -> Vec<&str> {
                let says =
                    |place: &&usize| row[**place].and_then(|mark| mark.marks[at]) == Some(wanted);
                people.iter().filter(says).map(|place| grid.reviewers[*place]).collect()
            };
            let (yes, no) = (names(true), names(false));
            let id = row.iter().flatten().next().map_or("", |mark| &*mark.id);
            if !yes.is_empty() && !no.is_empty() {
                table.push([
                    id.to_owned(),
                    criterion.name.to_owned(),
                    yes.join(", "),
                    no.join(", "),
                ]);
            }
        }
    }
    if people.len() < 2 {
        return Section::default();
    }
    let part = match table.rows().len() {
        0 => Part::reading("No two people disagree on a record."),
        _ => Part::Table(table),
    };
    Section::new("disagreements", "Records on which people disagree", vec![part])
}

fn comments(marks: &All) -> Section {
    let mut table = Table::new(["record", "reviewer", "comment"]);
    for mark in marks.all().filter(|mark| !mark.comment.is_empty()) {
        table.push([&mark.id, &mark.reviewer, &mark.comment]);
    }
    let parts = if table.rows().is_empty() { vec![] } else { vec![Part::Table(table)] };
    Section::new("comments", "Comments", parts)
}
