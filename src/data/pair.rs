//! A preference pair as text, the same for every layout.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use anyhow::Result;

use crate::config::LayoutName;
use crate::console::units::{counted, s};
use crate::data::format::fields::{shorten, shorten_to};
use crate::data::tokenizer::Tokenizer;

/// Characters of a text of the first pair that are shown.
const SHOWN_OF_TEXT: usize = 72;

/// Who writes the BOS of a text that a chat template rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateBos {
    /// The template, so that no other is added.
    Written,
    /// The tokenizer.
    Added,
    /// Nobody: it has none.
    Absent,
}

/// Who wrote the special tokens of a pair's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Markup {
    /// Nobody: the tokenization adds BOS before the texts and EOS after the answers.
    #[default]
    Plain,
    /// A chat template: it ends the answers its own way.
    Template {
        /// Where the BOS of the prompt comes from.
        bos: TemplateBos,
        /// Bytes at the end of the prompt that the template writes only where no answer follows, such as the beginning of a thought. An
        /// answer follows the prompt without them.
        left_out: usize,
    },
}

impl Markup {
    /// Whether the tokenizer adds its special tokens around a text: not where the text brings its own BOS.
    pub(super) fn adds_special_tokens(self, text: &str, tokenizer: &Tokenizer) -> bool {
        match self {
            Self::Plain => !tokenizer.doubles_bos(text),
            Self::Template { bos, .. } => bos == TemplateBos::Added,
        }
    }
}

/// One preference: a prompt, the answer that was preferred and the one that was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The record's own id, or `<file stem>:<place in the file>` where it has none.
    pub id: String,
    /// Who stated the preference; intervals are clustered by it, splits are disjoint by it.
    pub user: Option<String>,
    /// Stem of the file it came from (`helpfulness` for `uf-p-4/helpfulness.json`), with folders where two files of a set share it:
    /// results are given per file.
    pub source: String,
    /// The rendered prompt as generation reads it; an answer follows [`Pair::context`] directly.
    pub prompt: String,
    /// The preferred answer, `answer_w` in MVPBench.
    pub chosen: String,
    /// The other answer, `answer_l` in MVPBench.
    pub rejected: String,
    /// Who wrote the special tokens of these texts.
    pub markup: Markup,
    /// Demographic fields present in the record: `age`, `gender`, `country`, `education`, `employment_status`, `marital_status`,
    /// `english_proficiency`; `value_<dimension>` = `high`, `middle` or `low` where values were stated; and the columns of `group_by`.
    pub groups: BTreeMap<String, String>,
}

impl Pair {
    /// The text that both answers follow: the prompt, without the end that a template writes only where no answer follows.
    pub fn context(&self) -> &str {
        let left_out = match self.markup {
            Markup::Plain => 0,
            Markup::Template { left_out, .. } => left_out,
        };
        self.prompt.get(..self.prompt.len().saturating_sub(left_out)).unwrap_or(&self.prompt)
    }

    /// The ids of the prompt alone, for generation.
    pub fn prompt_ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        tokenizer.encode(&self.prompt, self.markup.adds_special_tokens(&self.prompt, tokenizer))
    }
}

/// The pairs of some files, in order, and counts of oddities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Every pair of every file, file after file.
    pub pairs: Vec<Pair>,
    /// Counts to show the user.
    pub counts: LoadCounts,
    /// Name and SHA-256 of each file.
    pub digests: Vec<(String, String)>,
    /// Pairs of each source, in order.
    pub by_source: Vec<usize>,
    /// Bytes of all files, at least those of the texts.
    pub bytes: usize,
}

/// The records of one layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// Their layout.
    pub layout: LayoutName,
    /// Number of records.
    pub records: usize,
    /// The columns that were read of the first record that gave a pair, or else of the first.
    pub columns: Vec<String>,
    /// Prompt, chosen and rejected answer of the first pair, shortened; none where no record gave one.
    pub first: Option<[String; 3]>,
}

/// Counts of oddities in the files. They never stop a run and are always shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadCounts {
    /// Files read.
    pub files: usize,
    /// Pairs read.
    pub pairs: usize,
    /// Empty answers; a pair may have two.
    pub empty_answers: usize,
    /// Pairs whose answers are equal: they teach nothing and always tie.
    pub equal_answers: usize,
    /// Pairs with the id of an earlier pair from a file of the same name.
    pub duplicate_ids: usize,
    /// Preference records whose `profile` is an object: its fields are groups, its text is not in the prompt.
    pub structured_profiles: usize,
    /// Records with a profile, text or fields.
    pub profiles: usize,
    /// Pairs whose texts a chat template rendered.
    pub templated: usize,
    /// Pairs whose column `system` became the system message.
    pub systems: usize,
    /// Pairs whose column `system` stands before the plain prompt.
    pub plain_systems: usize,
    /// Pairs whose answers both begin with the prompt, which then stands there twice.
    pub repeated_prompts: usize,
    /// Records of messages whose text parts were joined for a template of texts.
    pub joined_parts: usize,
    /// Pairs of answers with equal scores, and ties of conversations, which are left out.
    pub ties: usize,
    /// Pairs of answers whose scores differ by no more than the margin, which are left out.
    pub within_margin: usize,
    /// Records with several best or several worst answers, of which the first is taken.
    pub several_best: usize,
    /// The layouts of the records.
    pub layouts: Vec<Recognised>,
    /// Columns that hold something and are not read.
    pub unread: BTreeSet<String>,
    /// Optional fields that are missing, null or blank, by field: the number of records.
    pub missing: BTreeMap<String, usize>,
}

impl LoadCounts {
    /// Adds the counts of another file.
    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            files,
            pairs,
            empty_answers,
            equal_answers,
            duplicate_ids,
            structured_profiles,
            profiles,
            templated,
            systems,
            plain_systems,
            repeated_prompts,
            joined_parts,
            ties,
            within_margin,
            several_best,
            layouts,
            unread,
            missing,
        } = other;
        self.files += files;
        self.pairs += pairs;
        self.empty_answers += empty_answers;
        self.equal_answers += equal_answers;
        self.duplicate_ids += duplicate_ids;
        self.structured_profiles += structured_profiles;
        self.profiles += profiles;
        self.templated += templated;
        self.systems += systems;
        self.plain_systems += plain_systems;
        self.repeated_prompts += repeated_prompts;
        self.joined_parts += joined_parts;
        self.ties += ties;
        self.within_margin += within_margin;
        self.several_best += several_best;
        for found in layouts {
            match self.layouts.iter_mut().find(|known| known.layout == found.layout) {
                Some(known) => {
                    known.records += found.records;
                    known.first = known.first.take().or(found.first);
                }
                None => self.layouts.push(found),
            }
        }
        self.unread.extend(unread);
        for (field, count) in missing {
            *self.missing.entry(field).or_default() += count;
        }
    }

    /// Counts a missing optional field.
    pub(super) fn miss(&mut self, field: &str) {
        *self.missing.entry(field.to_owned()).or_default() += 1;
    }

    /// The fields that are missing and the number of records without them. A profile is missing where other records have one.
    pub fn missed(&self) -> impl Iterator<Item = (&str, usize)> {
        let is_profile = |field: &str| field == "profile";
        let missing = self.missing.iter().map(|(field, count)| (&**field, *count));
        missing.filter(move |(field, _)| self.profiles > 0 || !is_profile(field))
    }

    /// Counts a record of a layout. `columns`: those that were read of it; `first`: its first pair.
    pub(super) fn recognise(
        &mut self,
        layout: LayoutName,
        columns: &[String],
        first: Option<&Pair>,
    ) {
        let at = self.layouts.iter().position(|known| known.layout == layout);
        let at = at.unwrap_or_else(|| {
            let columns = columns.to_vec();
            self.layouts.push(Recognised { layout, records: 0, columns, first: None });
            self.layouts.len() - 1
        });
        let known = &mut self.layouts[at];
        known.records += 1;
        if let (None, Some(pair)) = (&known.first, first) {
            let of = |text: &String| shorten_to(text, SHOWN_OF_TEXT);
            known.first = Some([of(&pair.prompt), of(&pair.chosen), of(&pair.rejected)]);
            known.columns = columns.to_vec();
        }
    }

    /// The layouts of the records, the columns that were read of each, and its first pair.
    pub fn layout_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Recognised { layout, records, columns, first } in &self.layouts {
            let names: Vec<_> = columns.iter().map(|name| format!("`{}`", shorten(name))).collect();
            lines.push(format!(
                "layout {}: {} with {}",
                layout.name(),
                counted(*records, "record"),
                names.join(", ")
            ));
            for (name, text) in ["prompt", "chosen", "rejected"].iter().zip(first.iter().flatten())
            {
                lines.push(format!("  first {name}: {text}"));
            }
        }
        lines
    }

    /// Notes the columns of a record that nothing read.
    pub(super) fn leave_unread<'a>(&mut self, columns: impl Iterator<Item = &'a str>) {
        for column in columns {
            if !self.unread.contains(column) {
                self.unread.insert(column.to_owned());
            }
        }
    }

    /// What is to say of a file of prompts: the layouts of its records, and the columns that are not read.
    pub fn prompt_lines(&self) -> impl Iterator<Item = String> {
        self.layout_lines().into_iter().chain(self.unread_line())
    }

    /// A line that names the columns that are not read; none if there are none.
    pub fn unread_line(&self) -> Option<String> {
        self.unread_columns().map(|columns| format!("columns that are not read: {columns}"))
    }

    /// The columns that are not read, the first of them where they are many; none if there are none.
    pub(super) fn unread_columns(&self) -> Option<String> {
        const SHOWN: usize = 20;
        let mut names: Vec<_> =
            self.unread.iter().take(SHOWN).map(|name| format!("`{}`", shorten(name))).collect();
        if self.unread.len() > SHOWN {
            names.push(format!("and {} more", self.unread.len() - SHOWN));
        }
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Counts the oddities of the pairs themselves.
    pub(super) fn count(&mut self, pairs: &[Pair]) {
        self.pairs += pairs.len();
        let mut ids = HashSet::new();
        for pair in pairs {
            self.empty_answers +=
                usize::from(pair.chosen.is_empty()) + usize::from(pair.rejected.is_empty());
            self.templated += usize::from(pair.markup != Markup::Plain);
            self.equal_answers += usize::from(pair.chosen == pair.rejected);
            self.duplicate_ids += usize::from(!ids.insert((&pair.source, &pair.id)));
        }
    }
}

/// A few lines for the console: `990 pairs from 1 file; 4 with equal answers`, the columns that are not read, and the missing fields.
impl fmt::Display for LoadCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pairs, files, .. } = *self;
        write!(f, "{pairs} pair{} from {files} file{}", s(pairs), s(files))?;
        let notes = [
            (self.templated, "through the chat template"),
            (self.systems, "with the column `system` as the system message"),
            (self.plain_systems, "with the column `system` before the prompt"),
            (self.joined_parts, "with text parts joined, since the template takes texts"),
            (
                self.repeated_prompts,
                "with answers that both begin with the prompt, which stands there twice (layout `implicit-prompt` or `hh-rlhf` reads it once)",
            ),
            (self.ties, "left out as ties"),
            (self.within_margin, "left out within `ranked_margin`"),
            (self.several_best, "with several best or worst answers, the first of them taken"),
            (self.empty_answers, "empty answers"),
            (self.equal_answers, "with equal answers"),
            (self.duplicate_ids, "with the id of an earlier pair"),
            (self.structured_profiles, "with a profile of fields, not text (prompt unchanged)"),
        ];
        for (count, note) in notes.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "; {count} {note}")?;
        }
        for line in self.layout_lines() {
            write!(f, "\n{line}")?;
        }
        if let Some(line) = self.unread_line() {
            write!(f, "\n{line}")?;
        }
        for (place, (field, count)) in self.missed().enumerate() {
            write!(f, "{} `{field}` {count}", if place == 0 { "\nmissing fields:" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(id: &str, source: &str, chosen: &str, rejected: &str) -> Pair {
        let [id, source, chosen, rejected] = [id, source, chosen, rejected].map(str::to_owned);
        Pair {
            id,
            user: None,
            source,
            prompt: "p".to_owned(),
            chosen,
            rejected,
            markup: Markup::Plain,
            groups: BTreeMap::new(),
        }
    }

    #[test]
    fn the_same_id_in_another_file_is_no_duplicate() {
        let pairs = [pair("1", "a", "x", "y"), pair("1", "b", "x", "y"), pair("1", "a", "x", "y")];
        let mut counts = LoadCounts::default();
        counts.count(&pairs);
        assert_eq!((counts.pairs, counts.duplicate_ids), (3, 1));
    }

    #[test]
    fn empty_and_equal_answers_are_counted() {
        let mut counts = LoadCounts::default();
        counts.count(&[pair("1", "a", "", ""), pair("2", "a", "x", ""), pair("3", "a", "x", "x")]);
        assert_eq!((counts.empty_answers, counts.equal_answers), (3, 2));
    }

    #[test]
    fn only_what_is_odd_is_shown() {
        let mut counts =
            LoadCounts { files: 1, pairs: 3, equal_answers: 2, ..LoadCounts::default() };
        assert_eq!(counts.to_string(), "3 pairs from 1 file; 2 with equal answers");
        counts.leave_unread(["tag", "score", "tag"].into_iter());
        let line = "columns that are not read: `score`, `tag`";
        assert_eq!(counts.to_string().lines().nth(1), Some(line));
        counts.unread.clear();
        counts.miss("age");
        counts.miss("gender");
        assert_eq!(counts.to_string().lines().nth(1), Some("missing fields: `age` 1, `gender` 1"));
    }

    #[test]
    fn a_layout_is_shown_with_its_columns_and_the_first_pair_that_it_gave() {
        let mut counts = LoadCounts { files: 1, pairs: 1, ..LoadCounts::default() };
        let columns = ["question", "chosen"].map(str::to_owned);
        let long = pair("1", "a", &"x".repeat(80), "y\nz");
        counts.recognise(LayoutName::Ranked, &columns, None);
        counts.recognise(LayoutName::Ranked, &columns[..1], Some(&long));
        counts.recognise(LayoutName::Ranked, &columns, Some(&pair("2", "a", "u", "v")));
        counts.recognise(LayoutName::Orca, &columns, Some(&long));
        let shown = format!("{}...", "x".repeat(72));
        assert_eq!(
            counts.layout_lines()[..5],
            [
                "layout ranked: 3 records with `question`",
                "  first prompt: p",
                &format!("  first chosen: {shown}"),
                "  first rejected: y z",
                "layout orca: 1 record with `question`, `chosen`"
            ]
        );
        (counts.ties, counts.plain_systems) = (2, 1);
        let line =
            "1 pair from 1 file; 1 with the column `system` before the prompt; 2 left out as ties";
        assert_eq!(counts.to_string().lines().next(), Some(line));
    }

    #[test]
    fn a_profile_is_missing_only_where_others_have_one() {
        let mut counts = LoadCounts { files: 1, pairs: 1, ..LoadCounts::default() };
        counts.miss("profile");
        assert_eq!(counts.to_string(), "1 pair from 1 file");
        counts.profiles = 1;
        assert!(counts.to_string().ends_with("missing fields: `profile` 1"));
    }

    #[test]
    fn a_single_oddity_is_shown() {
        let counts = LoadCounts { files: 2, pairs: 3, duplicate_ids: 1, ..LoadCounts::default() };
        assert_eq!(counts.to_string(), "3 pairs from 2 files; 1 with the id of an earlier pair");
    }
}
