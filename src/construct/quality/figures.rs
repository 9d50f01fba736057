//! What the marks amount to: shares accepted, agreement of reviewers beside that of chance, and the records on which they disagree.

use std::collections::{BTreeMap, BTreeSet};

use super::criteria::CRITERIA;
use super::marks::{JUDGE, Mark, Marks as All};
use crate::console::units::{self, counted};
use crate::metrics::agreement::{Marks, accepted, fleiss, pairwise};
use crate::metrics::bootstrap::Clusters;
use crate::metrics::figure::Figure;
use crate::metrics::paa::agreement::krippendorff;
use crate::report::cell;
use crate::report::section::{Page, Part, Section};
use crate::report::table::Table;
use crate::report::text::Text;

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
    Page {
        title: format!("{title}: review of a benchmark"),
        heading: format!("Review of {title}"),
        intro: vec![Part::lead(lead)],
        sections: vec![shares(&grid), agreement(&grid), disagreements(&grid), comments(marks)],
    }
}

/// Yes or no by the majority of the given marks; none of a tie and where there are none.
fn majority(marks: &Marks) -> Option<bool> {
    let (yes, no) = marks
        .iter()
        .flatten()
        .fold((0, 0), |(yes, no), mark| if *mark { (yes + 1, no) } else { (yes, no + 1) });
    (yes != no).then_some(yes > no)
}

fn shares(grid: &Grid<'_>) -> Section {
    let people = grid.people();
    let mut table = Table::new(["criterion", "by", "accepted (%)", "records", "ties"]);
    for (at, criterion) in CRITERIA.iter().enumerate() {
        let all = grid.of_criterion(at, &people);
        let by_majority: Vec<Option<bool>> = all.iter().map(majority).collect();
        let marked = all.iter().filter(|marks| marks.iter().any(Option::is_some)).count();
        if people.len() > 1 {
            let share = accepted(&by_majority, &grid.users);
            let ties = marked - by_majority.iter().flatten().count();
            table.push(row(criterion.name, "majority of people", share, units::count(ties)));
        }
        for (reviewer, name) in grid.reviewers.iter().enumerate() {
            let own: Vec<Option<bool>> =
                grid.of_criterion(at, &[reviewer]).into_iter().map(|marks| marks[0]).collect();
            table.push(row(
                criterion.name,
                name,
                accepted(&own, &grid.users),
                cell::NONE.to_owned(),
            ));
        }
    }
    let questions = CRITERIA
        .iter()
        .map(|criterion| Text::code(criterion.name).and(format!(": {}", criterion.question)));
    let parts = vec![
        Part::Table(table),
        Part::List(questions.collect()),
        Part::note(
            "95 % intervals draw users (at 0, 100 % and for fewer than 50 users, Wilson's). Majority: more than half of the people who marked the \
             record; a tie is neither.",
        ),
    ];
    Section::new("accepted", "Accepted", parts)
}

fn row(criterion: &str, by: &str, share: Option<Figure>, ties: String) -> [String; 5] {
    let n = share.map_or(0, |share| share.n);
    let share = cell::or_none(share.map(|share| cell::share(&share)));
    [criterion.to_owned(), by.to_owned(), share, units::count(n), ties]
}

fn agreement(grid: &Grid<'_>) -> Section {
    let all: Vec<usize> = (0..grid.reviewers.len()).collect();
    if all.len() < 2 {
        let parts = vec![Part::missing("One reviewer: agreement needs the marks of a second one.")];
        return Section::new("agreement", "Agreement", parts);
    }
    let mut table = Table::new([
        "criterion",
        "between",
        "records",
        "same (%)",
        "by chance (%)",
        "Cohen's kappa",
    ]);
    for (at, criterion) in CRITERIA.iter().enumerate() {
        for (place, one) in all.iter().enumerate() {
            for other in &all[place + 1..] {
                let marks: Vec<[Option<bool>; 2]> = grid
                    .of_criterion(at, &[*one, *other])
                    .iter()
                    .map(|row| [row[0], row[1]])
                    .collect();
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
                table.push([criterion.name.to_owned(), between].into_iter().chain(cells));
            }
        }
    }
    let mut parts = vec![Part::Table(table)];
    let people = grid.people();
    let mut together =
        Table::new(["criterion", "of", "records", "Krippendorff's alpha", "Fleiss' kappa"]);
    let groups = [("people", &people), ("people and models", &all)];
    let groups = groups
        .into_iter()
        .filter(|(name, who)| who.len() > 1 && (*name == "people" || who.len() > people.len()));
    for (name, who) in groups {
        for (at, criterion) in CRITERIA.iter().enumerate() {
            let marks = grid.of_criterion(at, who);
            let clusters = Clusters::by_user(grid.users.iter().copied());
            let alpha = krippendorff(&marks, &clusters);
            let two = marks.iter().filter(|row| row.iter().flatten().count() > 1).count();
            together.push([
                criterion.name.to_owned(),
                format!("{} {name}", who.len()),
                units::count(two),
                coefficient(alpha),
                coefficient(fleiss(&marks, &grid.users)),
            ]);
        }
    }
    parts.push(Part::Table(together));
    parts.push(Part::note(
        "Chance is the null of every coefficient: 0 is as often the same as chance gives, 1 always the same, below 0 less often. By chance: the \
         share that two people with these shares of yes would share if each marked blindly. A dash: nobody or everybody says yes, so nothing is \
         beyond chance; or for Fleiss' kappa, fewer than three marked the same records. Alpha takes records of two marks or more, missing ones \
         left out. Intervals draw users.",
    ));
    Section::new("agreement", "Agreement", parts)
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
