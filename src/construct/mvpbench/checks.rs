//! What makes an item unusable: a missing field, a length, a language, equal answers, a question that its user was asked before.

use std::collections::HashMap;

use anyhow::Result;

use super::recipe::Checks;
use super::reply::Draft;
use crate::data::normalised::normalised;
use crate::encoder::embedder::cosine;
use crate::error::shown;

/// Characters from which the language of a text is told.
const LEAST_TOLD: usize = 60;

/// What is known of the language of an item that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// It is the one that is asked for, or any will do.
    Told,
    /// The texts are too short, or of several languages, to tell.
    Unsure,
}

/// A question with both answers that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// The question.
    pub question: String,
    /// The answer that fits what the person values.
    pub preferred: String,
    /// The answer that goes against it.
    pub rejected: String,
}

/// Why an item is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind, under which it is counted.
    pub kind: &'static str,
    /// In words.
    pub why: String,
}

impl Refusal {
    pub(super) fn new(kind: &'static str, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }
}

/// Vectors of texts, each of length 1.
pub trait Encode {
    /// The vector of each text, in order.
    fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>>;
}

/// The questions of each user that were accepted.
#[derive(Debug, Default)]
pub(super) struct Asked {
    by_user: HashMap<String, Vec<Question>>,
}

#[derive(Debug)]
struct Question {
    id: String,
    normalised: String,
    vector: Option<Vec<f32>>,
}

/// An item that by itself can be used.
pub(super) fn alone(draft: &Draft, checks: &Checks) -> Result<(Passed, Language), Refusal> {
    if let Some(why) = &draft.doubled {
        return Err(Refusal::new("doubled_key", why.clone()));
    }
    let field = |name: &str, text: &Option<String>| match text.as_deref().map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        Some(_) => Err(Refusal::new("empty_field", format!("`{name}` is empty"))),
        None => Err(Refusal::new("missing_field", format!("`{name}` is missing or no text"))),
    };
    let passed = Passed {
        question: field("question", &draft.question)?,
        preferred: field("answer_w", &draft.preferred)?,
        rejected: field("answer_l", &draft.rejected)?,
    };
    let texts = [
        ("question", &passed.question, checks.least_question, checks.most_question),
        ("answer_w", &passed.preferred, checks.least_answer, checks.most_answer),
        ("answer_l", &passed.rejected, checks.least_answer, checks.most_answer),
    ];
    for (name, text, least, most) in texts {
        let length = text.chars().count();
        if !(least..=most).contains(&length) {
            let why = format!("`{name}` has {length} characters, expected {least} to {most}");
            return Err(Refusal::new("length", why));
        }
        if let Told::Other(found) = language(text, &checks.language) {
            return Err(Refusal::new("language", format!("`{name}` is in {found}")));
        }
    }
    // Short texts tell more together.
    let together = texts.map(|(_, text, ..)| &**text).join("\n");
    let language = match language(&together, &checks.language) {
        Told::Other(found) => {
            return Err(Refusal::new("language", format!("question and answers are in {found}")));
        }
        Told::Right => Language::Told,
        Told::Nothing => Language::Unsure,
    };
    if normalised(&passed.preferred) == normalised(&passed.rejected) {
        return Err(Refusal::new("equal_answers", "`answer_w` and `answer_l` are the same"));
    }
    Ok((passed, language))
}

/// What a text tells of its language.
enum Told {
    Right,
    /// It is certainly another, of this name.
    Other(&'static str),
    Nothing,
}

fn language(text: &str, expected: &str) -> Told {
    if expected.is_empty() {
        return Told::Right;
    }
    if text.chars().count() < LEAST_TOLD {
        return Told::Nothing;
    }
    match whatlang::detect(text).filter(whatlang::Info::is_reliable) {
        None => Told::Nothing,
        Some(info) if info.lang().code() == expected => Told::Right,
        Some(info) => Told::Other(info.lang().eng_name()),
    }
}

impl Asked {
    /// Refuses a question that means the same as one that `user` was asked.
    ///
    /// `vector`: of the question, where there is an encoder. `same`: cosine from which two are the same.
    pub(super) fn refuse_repeated(
        &self,
        user: &str,
        question: &str,
        vector: Option<&[f32]>,
        same: f64,
    ) -> Result<(), Refusal> {
        let normalised = normalised(question);
        for earlier in self.by_user.get(user).into_iter().flatten() {
            if earlier.normalised == normalised {
                let why = format!("the question is that of {}: `{}`", earlier.id, shown(&question));
                return Err(Refusal::new("repeated_question", why));
            }
            if let (Some(vector), Some(other)) = (vector, &earlier.vector)
                && cosine(vector, other) >= same
            {
                let why =
                    format!("the question means that of {}: `{}`", earlier.id, shown(&question));
                return Err(Refusal::new("similar_question", why));
            }
        }
        Ok(())
    }

    /// Remembers a question of `user`.
    pub(super) fn remember(
        &mut self,
        user: &str,
        id: &str,
        question: &str,
        vector: Option<Vec<f32>>,
    ) {
        let question = Question { id: id.to_owned(), normalised: normalised(question), vector };
        self.by_user.entry(user.to_owned()).or_default().push(question);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::construct::mvpbench::recipe::{PRESET, Recipe};

    fn refused(question: &str, preferred: &str, rejected: &str) -> Option<&'static str> {
        let checks = Recipe::load(PRESET.0).unwrap().checks;
        let text = |text: &str| (text != "-").then(|| text.to_owned());
        let draft = Draft {
            question: text(question),
            preferred: text(preferred),
            rejected: text(rejected),
            doubled: None,
        };
        alone(&draft, &checks).err().map(|refusal| refusal.kind)
    }

    #[test]
    fn an_item_is_refused_for_what_is_wrong_with_it() {
        let (question, w, l) = (
            "What should I cook tonight?",
            "Rice with beans, and salt.",
            "Nothing at all; eat later on.",
        );
        assert_eq!(refused(question, w, l), None);
        assert_eq!(refused(&format!(" {question}\n"), w, l), None);
        let long = "word ".repeat(2_000);
        let german = "Am besten kochen Sie heute Abend etwas Einfaches, zum Beispiel Reis mit Bohnen und ein wenig Salz dazu.";
        for (q, w, l, kind) in [
            ("-", w, l, "missing_field"),
            (question, "-", l, "missing_field"),
            (question, w, " ", "empty_field"),
            ("Why?", w, l, "length"),
            (question, "Yes.", l, "length"),
            (question, w, &long, "length"),
            (question, w, "rice, with BEANS and salt", "equal_answers"),
            (question, german, l, "language"),
            (
                "Was soll ich heute Abend kochen?",
                "Reis mit Bohnen und Salz, das ist einfach.",
                "Am besten nichts, essen Sie doch morgen.",
                "language",
            ),
        ] {
            assert_eq!(refused(q, w, l), Some(kind), "{q} {w} {l}");
        }
    }

    #[test]
    fn a_question_is_refused_to_the_user_who_was_asked_it_and_to_nobody_else() {
        let mut asked = Asked::default();
        asked.remember("u", "p0", "What now?", Some(vec![1.0, 0.0]));
        let of = |user: &str, question: &str, vector: &[f32]| {
            asked
                .refuse_repeated(user, question, Some(vector), 0.95)
                .err()
                .map(|refusal| refusal.kind)
        };
        assert_eq!(of("u", " what, NOW", &[0.0, 1.0]), Some("repeated_question"));
        assert_eq!(of("u", "And then?", &[0.96, 0.28]), Some("similar_question"));
        assert_eq!(of("u", "And then?", &[0.8, 0.6]), None);
        assert_eq!(of("v", "What now?", &[1.0, 0.0]), None);
    }
}
