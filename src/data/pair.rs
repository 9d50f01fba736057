//! A preference pair as text, whatever file it came from.

use std::collections::BTreeMap;

/// One preference: a prompt, the answer that was preferred and the one that was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The record's own id, or `<file stem>:<place in the file>` where it has none.
    pub id: String,
    /// Who stated the preference; intervals are clustered by it, splits are disjoint by it.
    pub user: Option<String>,
    /// Stem of the file it came from (`helpfulness` for `uf-p-4/helpfulness.json`): results are given per file.
    pub source: String,
    /// The rendered prompt; the answer follows it directly.
    pub prompt: String,
    /// The preferred answer, `answer_w` in MVPBench.
    pub chosen: String,
    /// The other answer, `answer_l` in MVPBench.
    pub rejected: String,
    /// Demographic fields present in the record: `age`, `gender`, `country`, `education`, `employment_status`, `marital_status`, `english_proficiency`.
    pub groups: BTreeMap<String, String>,
}
