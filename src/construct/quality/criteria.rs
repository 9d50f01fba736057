//! What is asked of each record that is reviewed.

/// One question, answered with yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Criterion {
    /// Its name in files.
    pub name: &'static str,
    /// The question, as a reviewer and a judge read it.
    pub question: &'static str,
    /// What a no means, after the number of reviewers who say it.
    pub rejected: &'static str,
}

/// The questions, in the order of every file.
pub const CRITERIA: [Criterion; 3] = [
    Criterion {
        name: "fits",
        question: "Does the preferred answer fit the stated preferences better than the other answer?",
        rejected: "the preferred answer does not fit the preferences better",
    },
    Criterion {
        name: "distinct",
        question: "Do the two answers differ in substance?",
        rejected: "the answers do not differ in substance",
    },
    Criterion {
        name: "natural",
        question: "Is the question one that a person would ask?",
        rejected: "the question is not natural",
    },
];
