//! What a protocol may not hold: values out of range, and keys that nothing would read.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::{Kind, Protocol, Stage, profile, template};
use crate::bail_input;
use crate::error::InputError;
use crate::metrics::paa::Thresholds;

impl Protocol {
    pub(super) fn check(&self) -> Result<()> {
        for (name, stage) in [("answer", &self.answer), ("judge", &self.judge)] {
            stage.check(name, allowed(name, self.kind))?;
        }
        if !(1..=100).contains(&self.verdict.repetitions) {
            bail_input!(
                "`verdict.repetitions` must be in 1..=100, got `{}`",
                self.verdict.repetitions
            );
        }
        if self.verdict.repetitions > 1 && self.judge.temperature == 0.0 {
            let what = format!(
                "`verdict.repetitions` is `{}`, but at `judge.temperature` 0 each is the same reply",
                self.verdict.repetitions
            );
            let hint = "set `judge.temperature` above 0, or `verdict.repetitions` to 1";
            return Err(InputError::new(what).hint(hint).into());
        }
        self.check_kind()?;
        for (model, price) in &self.prices {
            if !(price.input >= 0.0 && price.output >= 0.0) {
                bail_input!("`prices.{model}` must be at least 0");
            }
        }
        Ok(())
    }

    /// Refuses a key that this kind of judge does not read.
    fn check_kind(&self) -> Result<()> {
        let verdict = &self.verdict;
        match self.kind {
            Kind::YesNo => {
                if verdict.yes.is_empty() || verdict.no.is_empty() {
                    bail_input!("`verdict.yes` and `verdict.no` must each list a word");
                }
                if let Some(word) = verdict.yes.iter().find(|word| verdict.no.contains(word)) {
                    bail_input!("`verdict.yes` and `verdict.no` both list `{word}`");
                }
                if verdict.blind
                    || verdict.seed.is_some()
                    || verdict.schema.is_some()
                    || verdict.thresholds != Thresholds::default()
                {
                    bail_input!(
                        "`verdict.blind`, `verdict.seed`, `verdict.schema` and `verdict.thresholds` belong to `kind = \"scores\"`"
                    );
                }
            }
            Kind::Scores => {
                if !(verdict.yes.is_empty() && verdict.no.is_empty()) {
                    bail_input!("`verdict.yes` and `verdict.no` belong to `kind = \"yes_no\"`");
                }
                if verdict.seed.is_some() && !verdict.blind {
                    bail_input!("`verdict.seed` belongs to `verdict.blind = true`");
                }
                let Thresholds { above_rejected, below_preferred, far_below_preferred } =
                    verdict.thresholds;
                let finite = [above_rejected, below_preferred, far_below_preferred]
                    .iter()
                    .all(|threshold| (0.0..=100.0).contains(threshold));
                if !finite || far_below_preferred < below_preferred {
                    bail_input!(
                        "`verdict.thresholds` must be in 0..=100, and `far_below_preferred` at least `below_preferred`"
                    );
                }
            }
        }
        Ok(())
    }
}

impl Stage {
    fn check(&self, name: &str, allowed: template::Allowed) -> Result<()> {
        template::check(&self.prompt, allowed).with_context(|| format!("`{name}.prompt`"))?;
        let unique: BTreeSet<_> = self.profile.iter().collect();
        if unique.len() < self.profile.len() {
            bail_input!("`{name}.profile` names a field twice");
        }
        for field in &self.profile {
            profile::label(field).with_context(|| format!("`{name}.profile`"))?;
        }
        if !(0.0..=2.0).contains(&self.temperature) {
            bail_input!("`{name}.temperature` must be in 0..=2, got `{}`", self.temperature);
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            bail_input!("`{name}.top_p` must be above 0 and at most 1, got `{}`", self.top_p);
        }
        if self.max_tokens == 0 {
            bail_input!("`{name}.max_tokens` must be at least 1, got `0`");
        }
        Ok(())
    }
}

/// The placeholders that a stage's prompt must have, and those it may have.
fn allowed(stage: &str, kind: Kind) -> template::Allowed {
    match (stage, kind) {
        ("answer", _) => template::Allowed { needed: &["question"], optional: &["profile"] },
        (_, Kind::YesNo) => template::Allowed {
            needed: &["answer", "question"],
            optional: &["profile", "preferences", "reference", "rejected"],
        },
        (_, Kind::Scores) => template::Allowed {
            needed: &["answer", "first", "question", "roles", "second"],
            optional: &["profile", "preferences"],
        },
    }
}
