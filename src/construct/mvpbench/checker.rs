//! Drafts in the order of the conversations in, items that can be used out: a question that its user was asked before is refused to the later one.

use std::collections::HashMap;

use anyhow::Result;

use super::checks::{self, Asked, Encode, Language, Passed, Refusal};
use super::prompt::Subject;
use super::recipe::Checks;
use super::reply::{Drafts, QUESTIONS};
use crate::construct::prism::Prism;

/// The kind of reason of an item whose request failed for good.
pub(super) const NO_REPLY: &str = "no_reply";

/// Where the drafts of a second reply stand.
#[derive(Clone, Copy)]
pub(super) struct Second {
    /// The row that they are for.
    pub(super) row: usize,
    /// Their place among all second replies.
    pub(super) number: usize,
}

/// Vectors of the questions of a list of replies, by reply and place.
pub(super) type Vectors = HashMap<(usize, usize), Vec<f32>>;

/// Checks drafts in the order of the conversations, so that the first of two equal questions stays.
pub(super) struct Checker<'a> {
    pub(super) checks: &'a Checks,
    pub(super) prism: &'a Prism,
    pub(super) subjects: &'a [Subject<'a>],
    pub(super) encoder: Option<&'a dyn Encode>,
    pub(super) asked: Asked,
    /// Items that passed although their texts do not tell the language.
    pub(super) language_unsure: usize,
}

impl Checker<'_> {
    pub(super) fn vectors(&self, drafts: &[Result<Drafts, Refusal>]) -> Result<Vectors> {
        let Some(encoder) = self.encoder else { return Ok(Vectors::new()) };
        let (mut places, mut texts) = (Vec::new(), Vec::new());
        for (at, drafts) in drafts.iter().enumerate() {
            let drafts = drafts.iter().flat_map(|found| &found.drafts);
            for (place, draft) in drafts.enumerate() {
                if let Some(question) = &draft.question {
                    places.push((at, place));
                    texts.push(question.trim());
                }
            }
        }
        let vectors = encoder.encode(&texts)?;
        anyhow::ensure!(vectors.len() == places.len(), "the encoder left out a text");
        Ok(places.into_iter().zip(vectors).collect())
    }

    pub(super) fn user(&self, at: usize) -> &str {
        &self.prism.people[self.prism.rows[self.subjects[at].row].person].user
    }

    pub(super) fn id(&self, at: usize, place: usize) -> String {
        format!("p{}", QUESTIONS * self.subjects[at].row + place)
    }

    /// The draft at `place` of the first reply of the row `at`, checked and remembered.
    pub(super) fn pass(
        &mut self,
        at: usize,
        place: usize,
        drafts: &Result<Drafts, Refusal>,
        vectors: &Vectors,
    ) -> Result<Passed, Refusal> {
        self.check(at, place, drafts, place, vectors.get(&(at, place)))
    }

    /// The draft at `from` of a reply, to stand at `place` of the row `at`.
    fn check(
        &mut self,
        at: usize,
        place: usize,
        drafts: &Result<Drafts, Refusal>,
        from: usize,
        vector: Option<&Vec<f32>>,
    ) -> Result<Passed, Refusal> {
        let drafts = drafts.as_ref().map_err(Clone::clone)?;
        let draft = drafts.drafts.get(from).ok_or_else(|| {
            let found = drafts.objects;
            Refusal::new("too_few", format!("the reply has {found} of {QUESTIONS} whole objects"))
        })?;
        let (passed, language) = checks::alone(draft, self.checks)?;
        let (user, id) = (self.user(at).to_owned(), self.id(at, place));
        let same = self.checks.cosine;
        self.asked.refuse_repeated(&user, &passed.question, vector.map(Vec::as_slice), same)?;
        self.asked.remember(&user, &id, &passed.question, vector.cloned());
        self.language_unsure += usize::from(language == Language::Unsure);
        Ok(passed)
    }

    /// Puts drafts of a second reply where the first could not be used: the one at the same place, or another. Returns how many.
    pub(super) fn mend(
        &mut self,
        places: &mut [Result<Passed, Refusal>; QUESTIONS],
        second: Second,
        drafts: &Result<Drafts, Refusal>,
        vectors: &Vectors,
    ) -> usize {
        if matches!(drafts, Err(refusal) if refusal.kind == NO_REPLY) {
            return 0; // the reasons of the first reply stay
        }
        let mut used = [false; QUESTIONS];
        let mut mended = 0;
        for (place, held) in places.iter_mut().enumerate().filter(|(_, held)| held.is_err()) {
            // The draft of its own place comes first, and its refusal is the one that is told.
            let others = (0..QUESTIONS).filter(|&from| from != place);
            for from in [place].into_iter().chain(others) {
                if used[from] {
                    continue;
                }
                let vector = vectors.get(&(second.number, from));
                let tried = self.check(second.row, place, drafts, from, vector);
                let is_own = from == place;
                match tried {
                    Ok(passed) => {
                        used[from] = true;
                        *held = Ok(passed);
                        mended += 1;
                        break;
                    }
                    Err(refusal) if is_own => *held = Err(refusal),
                    Err(_) => {}
                }
            }
        }
        mended
    }
}
