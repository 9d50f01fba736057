//! The layout of a record, by its fields and what they hold.
//!
//! A record has a layout if it has all of its fields. Of two, the one that reads every field of the other and more is taken; where
//! neither does, nothing is guessed.

use anyhow::Result;

use crate::config::LayoutName;
use crate::data::format::fields::Record;
use crate::data::format::{Field, LAYOUTS, Layout, Shape};
use crate::error::InputError;

impl Layout {
    /// The layout of this name; none for `auto`.
    fn named(name: LayoutName) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.name == name)
    }

    /// The fields that a record must have: those of the prompt, then those of the answers.
    pub(super) fn fields(&self) -> impl Iterator<Item = &'static Field> {
        self.prompt.iter().chain(self.answers)
    }

    /// Whether the record has these fields.
    fn has(record: &Record<'_>, fields: &[Field]) -> bool {
        fields
            .iter()
            .all(|field| record.peek(field.name).is_some_and(|value| field.shape.holds(value)))
    }

    /// Whether a record has every field, and is what else the layout asks for.
    pub(in crate::data) fn is_of(&self, record: &Record<'_>) -> bool {
        Self::has(record, self.prompt) && Self::has(record, self.answers) && (self.fits)(record)
    }

    /// Whether a record has an answer of any layout, so that it is a pair and not a prompt alone.
    pub(in crate::data) fn is_pair(record: &Record<'_>) -> bool {
        let is_answer =
            |field: &&Field| matches!(field.shape, Shape::Text | Shape::Said | Shape::Answer);
        let answers = LAYOUTS.iter().flat_map(|layout| layout.answers).filter(is_answer);
        answers.into_iter().any(|field| record.peek(field.name).is_some())
            || LAYOUTS.iter().any(|layout| layout.is_of(record))
    }

    /// The layout of a pair: `pinned`, or the one whose fields the record has.
    pub(in crate::data) fn of_pair(
        record: &Record<'_>,
        pinned: LayoutName,
    ) -> Result<&'static Self> {
        if let Some(layout) = Self::named(pinned) {
            return Ok(layout);
        }
        let fitting: Vec<&'static Self> =
            LAYOUTS.iter().filter(|layout| layout.is_of(record)).collect();
        match Self::largest(record, &fitting, true).as_slice() {
            [layout] => Ok(layout),
            [] => Self::nearest(record),
            several => Err(Self::ambiguous(record, several)),
        }
    }

    /// The layout of a prompt alone. Of layouts with the same fields the first is taken.
    pub(in crate::data) fn of_prompt(
        record: &Record<'_>,
        pinned: LayoutName,
    ) -> Result<&'static Self> {
        if let Some(layout) = Self::named(pinned).filter(|layout| !layout.prompt.is_empty()) {
            return Ok(layout);
        }
        let mut fitting: Vec<&'static Self> = Vec::new();
        for layout in LAYOUTS.iter().filter(|layout| !layout.prompt.is_empty()) {
            let read = layout.read_fields(record, false);
            let is_new = fitting.iter().all(|known| known.read_fields(record, false) != read);
            if is_new && Self::has(record, layout.prompt) {
                fitting.push(layout);
            }
        }
        match Self::largest(record, &fitting, false).as_slice() {
            [layout] => Ok(layout),
            [] => {
                // One whose prompt is of another kind names the field when it reads it.
                let has = |layout: &&Self| {
                    layout.prompt.iter().any(|field| record.peek(field.name).is_some())
                };
                LAYOUTS.iter().find(has).ok_or_else(|| Self::unknown(record))
            }
            several => Err(Self::ambiguous(record, several)),
        }
    }

    /// The fields of a record that the layout reads.
    fn read_fields(&self, record: &Record<'_>, is_pair: bool) -> Vec<&'static str> {
        let answers = if is_pair { self.answers } else { &[] };
        let needed = self.prompt.iter().chain(answers).map(|field| field.name);
        let mut all: Vec<_> = needed.chain(self.optional.iter().copied()).collect();
        all.retain(|name| record.peek(name).is_some());
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Those of `fitting` whose fields no other one of them reads beside more.
    fn largest(
        record: &Record<'_>,
        fitting: &[&'static Self],
        is_pair: bool,
    ) -> Vec<&'static Self> {
        let reads: Vec<_> =
            fitting.iter().map(|layout| layout.read_fields(record, is_pair)).collect();
        let is_within = |own: &[&str]| {
            reads
                .iter()
                .any(|other| other.len() > own.len() && own.iter().all(|name| other.contains(name)))
        };
        let kept = fitting.iter().zip(&reads).filter(|(_, own)| !is_within(own));
        kept.map(|(layout, _)| *layout).collect()
    }

    /// The layout of a record that has the fields of none: the one of whose fields it has most, which names what is missing when it reads
    /// the record. None where that is not one.
    fn nearest(record: &Record<'_>) -> Result<&'static Self> {
        let found = |layout: &Self| {
            let has_answer = layout.answers.iter().any(|field| record.has(field.name));
            let count = layout.fields().filter(|field| record.has(field.name)).count();
            if has_answer { count } else { 0 }
        };
        let most = LAYOUTS.iter().map(found).max().unwrap_or(0);
        let mut nearest: Vec<&'static Self> =
            LAYOUTS.iter().filter(|layout| most > 0 && found(layout) == most).collect();
        nearest.dedup_by(|a, b| a.answers == b.answers);
        let names = |layout: &Self| -> Vec<_> {
            let here = layout.answers.iter().map(|field| field.name);
            here.filter(|name| record.has(name)).collect()
        };
        match nearest.as_slice() {
            [] => Err(Self::unknown(record)),
            [first, others @ ..] => {
                let other = others
                    .iter()
                    .find(|other| names(other).iter().all(|name| !names(first).contains(name)));
                match other {
                    Some(other) => Err(Self::ambiguous(record, &[first, other])),
                    None => Ok(first),
                }
            }
        }
    }

    /// The error for a record that is read though it lacks what its layout needs.
    pub(in crate::data) fn unknown(record: &Record<'_>) -> anyhow::Error {
        let found = record.names();
        let what = format!(
            "{}: the record has the fields of no known layout, found {found}",
            record.place
        );
        InputError::new(what)
            .hint("`data.columns = {prompt = \"...\", chosen = \"...\", rejected = \"...\"}` says which column is which; docs/layouts.md has the layouts that are read")
            .into()
    }

    fn ambiguous(record: &Record<'_>, layouts: &[&Self]) -> anyhow::Error {
        let fields = |layout: &&Self| {
            let fields: Vec<_> = layout
                .fields()
                .filter(|field| record.peek(field.name).is_some())
                .map(|field| format!("`{}`", record.named(field.name)))
                .collect();
            format!("`{}` ({})", layout.name.name(), fields.join(", "))
        };
        let fields: Vec<_> = layouts.iter().map(fields).collect();
        let names: Vec<_> =
            layouts.iter().map(|layout| format!("\"{}\"", layout.name.name())).collect();
        let (place, found) = (record.place, record.names());
        InputError::new(format!(
            "{place}: the record has the fields of {}, found {found}",
            fields.join(" and of ")
        ))
        .hint(format!(
            "say which one it is: `data.layout = {}` (`--layout` of `generate` and `data split`)",
            names.join("` or `data.layout = ")
        ))
        .into()
    }
}
