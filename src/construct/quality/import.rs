//! Files of marks, from the page or from a spreadsheet -> [`Marks`], each checked against the sample that it belongs to.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;

use super::criteria::CRITERIA;
use super::csv;
use super::marks::{Added, Mark, Marks, check_name};
use super::reviewed::Records;
use super::sample::{Drawn, NAMED, READ, Sample};
use crate::disk::read;
use crate::error::{InputError, shown};

/// Whether marks may take the place of others by the same reviewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// They may not: the file is refused.
    Refuse,
    /// They may.
    Replace,
}

/// What came of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Marks.
    pub added: Added,
    /// Rows without a mark or a comment.
    pub blank: usize,
}

/// A file's rows with the place of each column.
struct Table<'a> {
    name: String,
    columns: HashMap<&'a str, usize>,
    rows: &'a [csv::Row],
}

/// Adds the marks in `files` to `marks`, all or none.
///
/// `samples`: those of the benchmark; `records`: what it holds now, of which new marks must be.
///
/// Refuses by file and line: a column or a value that is unknown, a sample that was not drawn here, a record that is not of it or has other
/// texts, a reviewer without a name, two rows that differ for one record and reviewer.
pub fn import(
    files: &[impl AsRef<Path>],
    samples: &[Sample],
    records: &Records,
    marks: &mut Marks,
    changed: Changed,
) -> Result<Imported> {
    let mut imported = Imported::default();
    let mut all = marks.clone();
    let mut fresh: HashMap<(String, String), String> = HashMap::new();
    for file in files {
        let name = file.as_ref().display().to_string();
        let bytes = read::if_there(file.as_ref())?.ok_or_else(|| {
            InputError::new(format!("cannot open `{name}`: no such file"))
                .hint("give the CSV files that `review.html` saves, or `sample.csv` filled in")
        })?;
        let text = String::from_utf8(bytes).map_err(|_| {
            InputError::new(format!("{name}: expected UTF-8 text"))
                .hint("save the table as `CSV UTF-8`")
        })?;
        let rows = csv::rows(&text, &name)?;
        let table = Table::of(name, &rows)?;
        for (line, row) in table.rows {
            let place = format!("{}:{line}", table.name);
            let Some((mark, sample, drawn)) = table.mark(row, &place, samples)? else {
                imported.blank += 1;
                continue;
            };
            let key = (mark.id.clone(), mark.reviewer.clone());
            let before = all.get(&key.0, &key.1);
            if before.is_some_and(|before| *before != mark) {
                let (id, reviewer) = (shown(&key.0), shown(&key.1));
                if let Some(other) = fresh.get(&key) {
                    let what = format!(
                        "{place}: `{reviewer}` marks the record `{id}` in another way than at {other}"
                    );
                    return Err(InputError::new(what).hint("leave one of the two rows").into());
                }
                if changed == Changed::Refuse {
                    let what = format!(
                        "{place}: `{reviewer}` has marked the record `{id}` in another way before"
                    );
                    return Err(InputError::new(what)
                        .hint("with `--replace` what a file says takes the place of what was said before")
                        .into());
                }
            }
            if before != Some(&mark) {
                sample.record(records, drawn).map_err(|error| error.context(place.clone()))?;
            }
            fresh.entry(key).or_insert(place);
            all.add(mark, &mut imported.added);
        }
    }
    *marks = all;
    Ok(imported)
}

impl<'a> Table<'a> {
    fn of(name: String, rows: &'a [csv::Row]) -> Result<Self> {
        let Some(((line, header), rows)) = rows.split_first() else {
            return Err(InputError::new(format!("{name}: the file is empty")).into());
        };
        let needed = || {
            NAMED
                .into_iter()
                .chain(CRITERIA.iter().map(|criterion| criterion.name))
                .chain(["reviewer"])
        };
        let known: Vec<&str> = needed().chain(READ).chain(["comment"]).collect();
        let mut columns = HashMap::new();
        for (at, column) in header.iter().enumerate() {
            let column = column.trim();
            let wrong = |what: &str| {
                let message = format!("{name}:{line}: {what} `{}`", shown(&column));
                InputError::new(message).hint(format!("the columns are {}", known.join(", ")))
            };
            if header.len() == 1 && column.contains([';', '\t']) {
                let message = format!("{name}:{line}: the columns are not separated by commas");
                return Err(InputError::new(message)
                    .hint("save the table as CSV with commas")
                    .into());
            }
            if !known.contains(&column) {
                return Err(wrong("unknown column").into());
            }
            if columns.insert(column, at).is_some() {
                return Err(wrong("a second column").into());
            }
        }
        if let Some(missing) = needed().find(|name| !columns.contains_key(name)) {
            return Err(InputError::new(format!("{name}:{line}: no column `{missing}`"))
                .hint("give a CSV file that `review.html` saves, or `sample.csv` filled in")
                .into());
        }
        Ok(Self { name, columns, rows })
    }

    /// The marks of a row with the sample and the record there; none of a blank row.
    fn mark<'b>(
        &self,
        row: &[String],
        place: &str,
        samples: &'b [Sample],
    ) -> Result<Option<(Mark, &'b Sample, &'b Drawn)>> {
        // A row that was cut would pass for one without marks.
        if row.len() != self.columns.len() {
            let (found, expected) = (row.len(), self.columns.len());
            let what = format!("{place}: {found} fields, expected {expected}");
            return Err(InputError::new(what)
                .hint("a text with commas stands in quotes; the file may have been cut")
                .into());
        }
        let get = |column: &str| {
            self.columns.get(column).and_then(|at| row.get(*at)).map_or("", |text| text.trim())
        };
        let mut marks = [None; CRITERIA.len()];
        for (mark, criterion) in marks.iter_mut().zip(CRITERIA) {
            *mark = yes_or_no(get(criterion.name)).map_err(|found| {
                let what = format!(
                    "{place}: `{}` must be yes, no or empty, got `{found}`",
                    criterion.name
                );
                InputError::new(what)
            })?;
        }
        if marks.iter().all(Option::is_none) && get("comment").is_empty() {
            return Ok(None);
        }
        let [named, id, sha256] = NAMED.map(get);
        let Some(sample) = samples.iter().find(|sample| sample.sample == named) else {
            let known: Vec<String> =
                samples.iter().map(|one| format!("`{}`", one.sample)).collect();
            let what = format!(
                "{place}: the marks are of the sample `{}`, which was not drawn from this benchmark",
                shown(&named)
            );
            return Err(InputError::new(what)
                .hint(match known.is_empty() {
                    true => "no sample was drawn from it yet: `mvpbench data review sample` does"
                        .to_owned(),
                    false => format!("its samples are {}", known.join(", ")),
                })
                .into());
        };
        let Some(drawn) = sample.records.iter().find(|drawn| drawn.id == id) else {
            let what = format!("{place}: the sample `{named}` has no record `{}`", shown(&id));
            return Err(InputError::new(what).into());
        };
        if drawn.sha256 != sha256 {
            let what = format!(
                "{place}: the marks of the record `{}` are of other texts: digest {}, expected {}",
                shown(&id),
                shown(&sha256),
                drawn.sha256
            );
            return Err(InputError::new(what)
                .hint("the row was changed, or is of another build of the benchmark")
                .into());
        }
        let reviewer = get("reviewer");
        check_name(reviewer).map_err(|why| {
            InputError::new(format!("{place}: {why}"))
                .hint("write the name into the column `reviewer` of each row that has marks")
        })?;
        let mark = Mark {
            id: id.to_owned(),
            sha256_of_texts: drawn.sha256.clone(),
            sample: sample.sample.clone(),
            reviewer: reviewer.to_owned(),
            user: drawn.user.clone(),
            marks,
            comment: get("comment").to_owned(),
        };
        Ok(Some((mark, sample, drawn)))
    }
}

fn yes_or_no(text: &str) -> std::result::Result<Option<bool>, String> {
    match &*text.to_lowercase() {
        "" => Ok(None),
        "yes" | "y" | "true" | "1" => Ok(Some(true)),
        "no" | "n" | "false" | "0" => Ok(Some(false)),
        _ => Err(shown(&text)),
    }
}
