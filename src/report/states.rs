//! The figures of an evaluation set in both states of the model: before and after tuning.

use crate::metrics::{Change, Evaluation, SetResult};

/// One set; at least one of the two states is there.
#[derive(Debug, Clone, Copy)]
pub struct States<'a> {
    /// The set's name.
    pub name: &'a str,
    /// Before tuning.
    pub before: Option<&'a SetResult>,
    /// After tuning.
    pub after: Option<&'a SetResult>,
    newest: &'a SetResult,
}

impl<'a> States<'a> {
    /// The set called `name`; none where neither evaluation has it.
    pub fn of(
        name: &'a str,
        before: Option<&'a Evaluation>,
        after: Option<&'a Evaluation>,
    ) -> Option<Self> {
        let [before, after] = [before, after].map(|evaluation| evaluation?.set(name));
        Some(Self { name, before, after, newest: after.or(before)? })
    }

    /// The figures after tuning, or those before where there are no others.
    pub fn newest(&self) -> &'a SetResult {
        self.newest
    }

    /// The state before tuning, where there is one after it too.
    pub fn earlier(&self) -> Option<&'a SetResult> {
        self.before.filter(|_| self.after.is_some())
    }

    /// Whether the newest state is that after tuning.
    pub fn is_tuned(&self) -> bool {
        self.after.is_some()
    }

    /// The paired differences, where both states were measured.
    pub fn change(&self) -> Option<&'a Change> {
        self.after?.change.as_ref()
    }
}

/// The sets of either evaluation, in the configuration's order.
pub fn set_names<'a>(
    before: Option<&'a Evaluation>,
    after: Option<&'a Evaluation>,
) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for set in after.into_iter().chain(before).flat_map(|evaluation| &evaluation.sets) {
        if !names.contains(&&*set.name) {
            names.push(&set.name);
        }
    }
    names
}
