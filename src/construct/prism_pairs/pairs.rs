//! Conversations -> pairs of two answers of one turn; every one that is left out is counted under its reason.

use serde::Serialize;

use crate::construct::prism::{Conversation, Reply, Row, Turn};

/// A pair of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Place of the conversation among PRISM's rows.
    pub row: usize,
    /// Place of the turn in it.
    pub turn: usize,
    /// Place of the answer with the higher score in the turn.
    pub chosen: usize,
    /// Place of the other answer.
    pub rejected: usize,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Turns of all conversations.
    pub turns: usize,
    /// Of these, turns before which it is not known what was said.
    pub turns_of_unknown_history: usize,
    /// Turns with fewer than two answers.
    pub turns_of_one_answer: usize,
    /// Turns of which several answers are chosen; the first of the highest score continues the conversation.
    pub turns_of_several_chosen: usize,
    /// Two answers of one turn.
    pub pairs_considered: usize,
    /// Of these, pairs with an empty answer, which are left out as all below.
    pub pairs_with_an_empty_answer: usize,
    /// Pairs with an answer without a score.
    pub pairs_not_scored: usize,
    /// Pairs of equal answers.
    pub pairs_of_equal_answers: usize,
    /// Pairs of equal scores.
    pub ties: usize,
    /// Pairs of scores that differ by less than the margin.
    pub pairs_below_margin: usize,
    /// Pairs that are kept.
    pub pairs: usize,
    /// Of these, pairs of turn 0.
    pub pairs_of_the_first_turn: usize,
}

/// The turns of a conversation of which everything before is known: whole up to the first gap, blank message or missing answer.
fn known_turns(conversation: &Conversation) -> usize {
    let turns = &conversation.turns;
    let is_open = |at: usize| {
        turns[at].number == at as u64
            && !is_blank(&turns[at].message)
            && (at == 0 || turns[at - 1].chosen().is_some())
    };
    (0..turns.len()).find(|at| !is_open(*at)).unwrap_or(turns.len())
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// The pairs of `rows` whose scores differ by `min_margin` or more, and differ.
pub fn pairs(rows: &[Row], min_margin: f64) -> (Vec<Pair>, Counts) {
    let (mut found, mut counts) = (Vec::new(), Counts::default());
    for (row, Row { conversation, .. }) in rows.iter().enumerate() {
        let known = known_turns(conversation);
        counts.turns += conversation.turns.len();
        counts.turns_of_unknown_history += conversation.turns.len() - known;
        for (turn, Turn { replies, .. }) in conversation.turns.iter().enumerate().take(known) {
            counts.turns_of_one_answer += usize::from(replies.len() < 2);
            let several = replies.iter().filter(|reply| reply.is_chosen).count() > 1;
            counts.turns_of_several_chosen += usize::from(several);
            for first in 0..replies.len() {
                for second in first + 1..replies.len() {
                    counts.pairs_considered += 1;
                    let higher =
                        compare(&replies[first], &replies[second], min_margin, &mut counts);
                    let Some(is_first) = higher else { continue };
                    let (chosen, rejected) =
                        if is_first { (first, second) } else { (second, first) };
                    found.push(Pair { row, turn, chosen, rejected });
                    counts.pairs += 1;
                    counts.pairs_of_the_first_turn += usize::from(turn == 0);
                }
            }
        }
    }
    (found, counts)
}

/// Whether `first` is scored higher; none, with the reason counted, where the pair is left out.
fn compare(first: &Reply, second: &Reply, min_margin: f64, counts: &mut Counts) -> Option<bool> {
    let (reason, higher) = match (first.score, second.score) {
        _ if is_blank(&first.text) || is_blank(&second.text) => {
            (&mut counts.pairs_with_an_empty_answer, None)
        }
        (Some(a), Some(b)) => {
            let margin = (a - b).abs();
            if first.text == second.text {
                (&mut counts.pairs_of_equal_answers, None)
            } else if margin <= 0.0 {
                (&mut counts.ties, None)
            } else if margin < min_margin {
                (&mut counts.pairs_below_margin, None)
            } else {
                return Some(a > b);
            }
        }
        _ => (&mut counts.pairs_not_scored, None),
    };
    *reason += 1;
    higher
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str, score: Option<f64>, is_chosen: bool) -> Reply {
        Reply { model: "m".to_owned(), text: text.to_owned(), score, is_chosen }
    }

    fn row(turns: Vec<(u64, &str, Vec<Reply>)>) -> Row {
        let turns = turns.into_iter().map(|(number, message, replies)| Turn {
            number,
            message: message.to_owned(),
            replies,
        });
        let conversation = Conversation {
            id: "c".to_owned(),
            user: "u".to_owned(),
            kind: "unguided".to_owned(),
            turns: turns.collect(),
        };
        Row { person: 0, conversation }
    }

    #[test]
    fn four_scored_answers_give_a_pair_for_every_two_that_differ() {
        let replies = vec![
            reply("a", Some(50.0), false),
            reply("b", Some(90.0), true),
            reply("c", Some(50.0), false),
            reply("", Some(1.0), false),
        ];
        let (found, counts) = pairs(&[row(vec![(0, "Hi", replies)])], 1.0);
        let of: Vec<_> = found.iter().map(|pair| (pair.chosen, pair.rejected)).collect();
        assert_eq!(of, [(1, 0), (1, 2)]);
        assert_eq!((counts.pairs_considered, counts.ties), (6, 1));
        assert_eq!((counts.pairs_with_an_empty_answer, counts.pairs_of_the_first_turn), (3, 2));
    }

    #[test]
    fn answers_without_a_score_equal_ones_and_small_margins_are_left_out_and_counted() {
        let replies = vec![
            reply("a", Some(50.0), false),
            reply("a", Some(60.0), false),
            reply("b", Some(52.0), false),
            reply("c", None, true),
        ];
        let (found, counts) = pairs(&[row(vec![(0, "Hi", replies)])], 5.0);
        let of: Vec<_> = found.iter().map(|pair| (pair.chosen, pair.rejected)).collect();
        assert_eq!(of, [(1, 2)]);
        assert_eq!((counts.pairs_of_equal_answers, counts.pairs_not_scored), (1, 3));
        assert_eq!((counts.pairs_below_margin, counts.pairs), (1, 1));
    }

    #[test]
    fn a_turn_after_one_that_is_not_known_is_left_out() {
        let two = |is_chosen| vec![reply("a", Some(2.0), is_chosen), reply("b", Some(1.0), false)];
        let rows = [
            row(vec![(0, "Hi", two(true)), (1, "And?", two(true)), (2, "So?", two(true))]),
            row(vec![(0, "Hi", two(false)), (1, "And?", two(true)), (2, "So?", two(true))]),
            row(vec![(0, "Hi", two(true)), (2, "So?", two(true))]),
            row(vec![(0, " ", two(true)), (1, "So?", two(true))]),
            row(vec![(0, "Hi", vec![reply("a", Some(1.0), true)])]),
        ];
        let (found, counts) = pairs(&rows, 1.0);
        let of: Vec<_> = found.iter().map(|pair| (pair.row, pair.turn)).collect();
        assert_eq!(of, [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]);
        assert_eq!((counts.turns, counts.turns_of_unknown_history), (11, 5));
        assert_eq!(counts.turns_of_one_answer, 1);
    }
}
