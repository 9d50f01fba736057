//! How many say yes and how many say no to a criterion of a record, and which of the two is the majority.

/// Yes and no of those who gave a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Votes {
    /// Those who say yes.
    pub yes: usize,
    /// Those who say no.
    pub no: usize,
}

impl Votes {
    /// Counts `marks`; one that was left open counts for neither.
    pub fn of(marks: impl IntoIterator<Item = Option<bool>>) -> Self {
        let mut votes = Self::default();
        for is_yes in marks.into_iter().flatten() {
            votes.yes += usize::from(is_yes);
            votes.no += usize::from(!is_yes);
        }
        votes
    }

    /// What more than half say; none of a tie and without a mark.
    pub fn majority(self) -> Option<bool> {
        (self.yes != self.no).then_some(self.yes > self.no)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_are_a_majority_and_a_tie_is_none() {
        let of = |marks: &[Option<bool>]| Votes::of(marks.iter().copied()).majority();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(of(&[yes, None, no, yes]), Some(true));
        assert_eq!(of(&[no, None]), Some(false));
        assert_eq!(of(&[no, yes, None]), None);
        assert_eq!(of(&[None]), None);
        assert_eq!(Votes::of([no, yes, no]), Votes { yes: 1, no: 2 });
    }
}
