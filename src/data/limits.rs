//! Limits on the tokens of prompts and answers, and counts of what they cut.

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::config::{DataSection, EvalSection};
pub use crate::config::{Tokenization, Truncation};
use crate::console::units::s;
use crate::data::pair::{Markup, Pair, TemplateBos};
use crate::data::token_pair::TokenPair;
use crate::data::tokenizer::Tokenizer;
use crate::error::{one_line, shown};

/// What becomes of the EOS that ends an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eos {
    /// It is a token of the answer.
    #[default]
    Scored,
    /// None is added to a text, and that of a chat template is removed. A text that ends with EOS itself keeps it.
    LeftOut,
}

/// How texts become tokens, and limits in tokens; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How prompt and answer become ids.
    pub tokenization: Tokenization,
    /// What becomes of the EOS that ends an answer.
    pub eos: Eos,
    /// How the two limits cut.
    pub truncation: Truncation,
    /// A longer prompt keeps its last ids, and its BOS before them.
    pub max_prompt_tokens: usize,
    /// Prompt and one answer together; a longer answer loses its end.
    pub max_length: usize,
}

impl From<&DataSection> for Limits {
    fn from(data: &DataSection) -> Self {
        Self {
            tokenization: data.tokenization,
            eos: Eos::Scored,
            truncation: data.truncation,
            max_prompt_tokens: data.max_prompt_tokens,
            max_length: data.max_length,
        }
    }
}

impl Limits {
    /// Those of the evaluation sets.
    pub fn of_sets(data: &DataSection, eval: &EvalSection) -> Self {
        Self {
            tokenization: eval.tokenization.of(data.tokenization),
            eos: if eval.score_eos { Eos::Scored } else { Eos::LeftOut },
            ..Self::from(data)
        }
    }

    /// The same without a limit.
    pub fn without_limits(self) -> Self {
        Self { max_prompt_tokens: 0, max_length: 0, ..self }
    }

    /// The key that an answer is cut to, or what is made of two, as in `data.max_length = 1024`.
    pub fn of_answers(&self) -> String {
        let Self { max_prompt_tokens, max_length, .. } = self;
        match self.truncation {
            Truncation::Room => format!("data.max_length = {max_length}"),
            Truncation::Trl06 => format!(
                "data.max_length - data.max_prompt_tokens = {}",
                max_length.saturating_sub(*max_prompt_tokens)
            ),
        }
    }
}

/// Counts of what the limits cut and dropped. They never stop a run and are always shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Pairs kept.
    pub pairs: usize,
    /// Pairs kept whose prompt lost its beginning to `max_prompt_tokens`.
    pub prompts_cut: usize,
    /// Pairs kept whose prompt lost its end, which is not at the beginning of the conversation or text with an answer.
    pub ends_left_out: usize,
    /// The first of those ends, as text.
    pub end_left_out: String,
    /// Pairs kept whose chosen answer lost its end to `max_length`.
    pub chosen_cut: usize,
    /// Pairs kept whose rejected answer lost its end to `max_length`.
    pub rejected_cut: usize,
    /// Pairs dropped because their prompt leaves no room for an answer under `max_length`.
    pub dropped: usize,
    /// Ids of the first few of them.
    pub dropped_ids: Vec<String>,
    /// Pairs kept whose plain prompt begins with BOS itself, so that no second one was added.
    pub own_bos: usize,
    /// Pairs kept whose chat template writes no BOS, and one was added.
    pub bos_added: usize,
    /// Pairs kept whose chat template writes no BOS, and none was added, though the tokenizer would add one to a plain text.
    pub bos_absent: usize,
    /// Tokens of the kept pairs as two whole sequences each.
    pub tokens_as_sequences: usize,
    /// Tokens of the kept pairs as packed, each prompt once.
    pub tokens_packed: usize,
}

/// How many ids of dropped pairs are kept for the message.
const DROPPED_SHOWN: usize = 5;

impl TokenCounts {
    /// Counts where the BOS of a kept pair comes from, if that is worth a word.
    pub(super) fn count_bos(&mut self, pair: &Pair, tokenizer: &Tokenizer) {
        let bos = match pair.markup {
            Markup::Plain => {
                return self.own_bos += usize::from(tokenizer.doubles_bos(&pair.prompt));
            }
            Markup::Template { bos, .. } => bos,
        };
        if tokenizer.adds_bos() {
            self.bos_added += usize::from(bos == TemplateBos::Added);
            self.bos_absent += usize::from(bos == TemplateBos::Absent);
        }
    }

    /// A sentence about the prompts that lost their end; none if there are none.
    pub fn ends_line(&self) -> Option<String> {
        let (count, end) = (self.ends_left_out, shown(&self.end_left_out));
        let lose = if count == 1 { "loses its" } else { "lose their" };
        (count > 0).then(|| {
            format!(
                "{count} prompt{} {lose} last tokens, first `{end}`, since the text with an answer has others there; the answer begins \
                 where they differ, as in TRL",
                s(count)
            )
        })
    }

    /// Counts a kept pair whose prompt, `prompt`, lost the ids `lost` at its end, none if it lost none.
    pub(super) fn count_end(
        &mut self,
        prompt: &[u32],
        lost: &[u32],
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        if self.ends_left_out == 0 && !lost.is_empty() {
            // After the token before them: a text's first space is not decoded.
            let before = &prompt[prompt.len().saturating_sub(1)..];
            let pieces = tokenizer.pieces(&[before, lost].concat())?;
            self.end_left_out = pieces[before.len()..].concat();
        }
        self.ends_left_out += usize::from(!lost.is_empty());
        Ok(())
    }

    /// Cuts a pair to `limits` and counts it; false if it must be dropped. `id`: the pair's own, for the message.
    pub(super) fn cut(
        &mut self,
        pair: &mut TokenPair,
        limits: &Limits,
        bos: Option<u32>,
        id: &str,
    ) -> bool {
        let cut = match limits.truncation {
            Truncation::Room => cut_to_room(pair, limits, bos),
            Truncation::Trl06 => Some(cut_as_trl_0_6(pair, limits, bos)),
        };
        // Without a token there is nothing to compute.
        let cut = cut.filter(|_| pair.tokens() > 0);
        let Some([prompt_cut, chosen_cut, rejected_cut]) = cut else {
            self.dropped += 1;
            if self.dropped <= DROPPED_SHOWN {
                self.dropped_ids.push(id.to_owned());
            }
            return false;
        };
        pair.unscored[0] = pair.unscored[0].min(pair.chosen.len());
        pair.unscored[1] = pair.unscored[1].min(pair.rejected.len());
        self.pairs += 1;
        self.prompts_cut += usize::from(prompt_cut);
        self.chosen_cut += usize::from(chosen_cut);
        self.rejected_cut += usize::from(rejected_cut);
        let packed = pair.prompt.len() + pair.chosen.len() + pair.rejected.len();
        self.tokens_packed += packed;
        self.tokens_as_sequences += packed + pair.prompt.len();
        true
    }
}

/// How many of `pairs` have a sequence, prompt and one answer, longer than the model's context of `positions` tokens; none of them none.
pub fn beyond_context(pairs: &[TokenPair], positions: usize) -> Option<String> {
    let longest = |pair: &TokenPair| pair.prompt.len() + pair.chosen.len().max(pair.rejected.len());
    let beyond: Vec<_> = pairs.iter().map(longest).filter(|length| *length > positions).collect();
    let most = beyond.iter().max()?;
    Some(format!(
        "context: {} pairs are longer than the {positions} tokens that the model was made for, the longest {most} tokens",
        beyond.len()
    ))
}

/// Cuts a prompt to `most` ids, its BOS and its end, and returns whether it was longer. 0 is no limit.
pub fn cut_prompt(prompt: &mut Vec<u32>, most: usize, bos: Option<u32>) -> bool {
    let surplus = if most == 0 { 0 } else { prompt.len().saturating_sub(most) };
    let kept = usize::from(bos.is_some() && prompt.first().copied() == bos);
    prompt.drain(kept..kept + surplus);
    surplus > 0
}

/// Rules 3 and 4 of the golden cases (`keep_start`) after the prompt's own limit: whether prompt, chosen and rejected were cut, or `None` to drop the pair.
fn cut_to_room(pair: &mut TokenPair, limits: &Limits, bos: Option<u32>) -> Option<[bool; 3]> {
    let prompt_cut = cut_prompt(&mut pair.prompt, limits.max_prompt_tokens, bos);
    if limits.max_length == 0 {
        return Some([prompt_cut, false, false]);
    }
    let room = limits.max_length.checked_sub(pair.prompt.len()).filter(|room| *room > 0)?;
    let cut = [prompt_cut, pair.chosen.len() > room, pair.rejected.len() > room];
    pair.chosen.truncate(room);
    pair.rejected.truncate(room);
    Some(cut)
}

/// The rule of TRL 0.6.0: nothing is cut where prompt and longer answer fit `max_length`. Otherwise the prompt is cut to its own limit, and if
/// that does not do, both answers to what the two limits differ by. Returns whether prompt, chosen and rejected were cut.
fn cut_as_trl_0_6(pair: &mut TokenPair, limits: &Limits, bos: Option<u32>) -> [bool; 3] {
    let longest = pair.chosen.len().max(pair.rejected.len());
    let fits = |pair: &TokenPair| {
        limits.max_length == 0 || pair.prompt.len() + longest <= limits.max_length
    };
    if fits(pair) {
        return [false; 3];
    }
    let prompt_cut = cut_prompt(&mut pair.prompt, limits.max_prompt_tokens, bos);
    if fits(pair) {
        return [prompt_cut, false, false];
    }
    let kept = limits.max_length.saturating_sub(limits.max_prompt_tokens);
    let cut = [prompt_cut, pair.chosen.len() > kept, pair.rejected.len() > kept];
    pair.chosen.truncate(kept);
    pair.rejected.truncate(kept);
    cut
}

/// One or two lines for the console: pairs and tokens, and what was cut or dropped.
impl fmt::Display for TokenCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pairs, tokens_packed, tokens_as_sequences, .. } = self;
        write!(
            f,
            "{pairs} pair{}, {tokens_packed} tokens packed ({tokens_as_sequences} as separate sequences)",
            s(*pairs)
        )?;
        let cut = [
            (self.prompts_cut, "prompt", "to `max_prompt_tokens`"),
            (self.chosen_cut, "chosen answer", "to `max_length`"),
            (self.rejected_cut, "rejected answer", "to `max_length`"),
        ];
        for (place, (count, noun, to)) in
            cut.into_iter().filter(|(count, ..)| *count > 0).enumerate()
        {
            let before = if place == 0 { "\ncut:" } else { "," };
            write!(f, "{before} {count} {noun}{} {to}", s(count))?;
        }
        if let Some(line) = self.ends_line() {
            write!(f, "\nprompt end: {line}")?;
        }
        let bos = [
            (
                self.own_bos,
                "prompts that begin with BOS themselves, so that no second one is added",
            ),
            (self.bos_added, "prompts with a BOS that the chat template does not write"),
            (
                self.bos_absent,
                "conversations without BOS, since the chat template writes none (`data.add_bos = \"always\"` adds one)",
            ),
        ];
        for (count, what) in bos.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "\nBOS: {count} {what}")?;
        }
        if self.dropped > 0 {
            let ids: Vec<_> = self.dropped_ids.iter().map(|id| one_line(id)).collect();
            let ids = ids.join("`, `");
            let more = if self.dropped > self.dropped_ids.len() { ", ..." } else { "" };
            write!(
                f,
                "\ndropped: {} pairs whose prompt fills `max_length`: `{ids}`{more}",
                self.dropped
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EvalTokenization;

    fn pair(prompt: usize, chosen: usize, rejected: usize) -> TokenPair {
        TokenPair {
            prompt: vec![1; prompt],
            chosen: vec![2; chosen],
            rejected: vec![3; rejected],
            ..TokenPair::default()
        }
    }

    /// Lengths of prompt, chosen and rejected under the limits 128 and 240, as TRL 0.6.0 cuts them.
    #[test]
    fn trl_0_6_cuts_a_prompt_only_where_the_longer_answer_does_not_fit_and_then_both_answers() {
        let limits = |max_prompt_tokens, max_length| Limits {
            truncation: Truncation::Trl06,
            max_prompt_tokens,
            max_length,
            ..Limits::default()
        };
        let lengths = |mut pair: TokenPair, limits| {
            let mut counts = TokenCounts::default();
            assert!(counts.cut(&mut pair, &limits, None, "a"), "nothing is dropped");
            let cut = [counts.prompts_cut, counts.chosen_cut, counts.rejected_cut];
            ([pair.prompt.len(), pair.chosen.len(), pair.rejected.len()], cut)
        };
        for (before, after, cut) in [
            ([200, 40, 9], [200, 40, 9], [0, 0, 0]),
            ([200, 41, 9], [128, 41, 9], [1, 0, 0]),
            ([300, 9, 112], [128, 9, 112], [1, 0, 0]),
            ([300, 9, 113], [128, 9, 112], [1, 0, 1]),
            ([40, 200, 9], [40, 200, 9], [0, 0, 0]),
            ([40, 201, 120], [40, 112, 112], [0, 1, 1]),
            ([128, 112, 112], [128, 112, 112], [0, 0, 0]),
            ([0, 1, 241], [0, 1, 112], [0, 0, 1]),
            ([400, 0, 0], [128, 0, 0], [1, 0, 0]),
        ] {
            let [prompt, chosen, rejected] = before;
            let got = lengths(pair(prompt, chosen, rejected), limits(128, 240));
            assert_eq!(got, (after, cut), "{before:?}");
        }
        assert_eq!(lengths(pair(400, 300, 9), limits(128, 0)), ([400, 300, 9], [0; 3]));
        let mut with_bos = pair(6, 9, 1);
        with_bos.prompt = vec![7, 1, 2, 3, 4, 5];
        TokenCounts::default().cut(&mut with_bos, &limits(3, 8), Some(7), "a");
        assert_eq!((with_bos.prompt, with_bos.chosen.len()), (vec![7, 4, 5], 5));
    }

    #[test]
    fn tokens_that_are_not_scored_are_cut_like_others() {
        let mut pair = TokenPair { unscored: [3, 1], ..pair(4, 5, 5) };
        let limits = Limits { max_length: 6, ..Limits::default() };
        assert!(TokenCounts::default().cut(&mut pair, &limits, None, "a"));
        assert_eq!((pair.unscored, pair.scored()), ([2, 1], [0, 1]));
    }

    #[test]
    fn the_sets_have_limits_of_their_own_where_the_evaluation_says_so() {
        let data = DataSection { tokenization: Tokenization::Separate, ..DataSection::default() };
        let eval = EvalSection::default();
        assert_eq!(Limits::of_sets(&data, &eval), Limits::from(&data));
        let tokenization = EvalTokenization::Prefix;
        let eval = EvalSection { tokenization, score_eos: false, ..eval };
        let own =
            Limits { tokenization: Tokenization::Prefix, eos: Eos::LeftOut, ..Limits::from(&data) };
        assert_eq!(Limits::of_sets(&data, &eval), own);
    }

    #[test]
    fn a_prompt_of_all_the_room_is_dropped_and_one_less_is_not() {
        let pair = pair(8, 3, 1);
        let limits = |max_length| Limits { max_length, ..Limits::default() };
        assert_eq!(cut_to_room(&mut pair.clone(), &limits(8), None), None);
        let mut kept = pair.clone();
        assert_eq!(cut_to_room(&mut kept, &limits(9), None), Some([false, true, false]));
        assert_eq!((kept.chosen.len(), kept.rejected.len()), (1, 1));
        assert_eq!(cut_to_room(&mut pair.clone(), &limits(0), None), Some([false; 3]));
    }

    #[test]
    fn a_cut_prompt_keeps_a_bos_that_it_begins_with() {
        let limits = |max_prompt_tokens| Limits { max_prompt_tokens, ..Limits::default() };
        let prompt = |prompt: &[u32], most, bos| {
            let mut pair = TokenPair { prompt: prompt.to_vec(), ..pair(0, 1, 1) };
            cut_to_room(&mut pair, &limits(most), bos);
            pair.prompt
        };
        assert_eq!(prompt(&[1, 5, 6, 7], 3, Some(1)), [1, 6, 7]);
        assert_eq!(prompt(&[1, 5, 6, 7], 1, Some(1)), [1]);
        assert_eq!(prompt(&[1, 5, 6, 7], 4, Some(1)), [1, 5, 6, 7]);
        assert_eq!(prompt(&[1, 5, 6, 7], 3, None), [5, 6, 7]);
        assert_eq!(prompt(&[4, 5, 6, 7], 3, Some(1)), [5, 6, 7]);
    }

    #[test]
    fn a_sequence_beyond_the_context_is_counted() {
        assert_eq!(beyond_context(&[pair(4, 4, 1), pair(1, 1, 7)], 8), None);
        let line = beyond_context(&[pair(4, 5, 1), pair(1, 1, 9), pair(1, 1, 1)], 8).unwrap();
        assert_eq!(
            line,
            "context: 2 pairs are longer than the 8 tokens that the model was made for, the longest 10 tokens"
        );
    }

    #[test]
    fn what_was_cut_or_dropped_is_shown() {
        let mut counts = TokenCounts {
            pairs: 3,
            tokens_packed: 10,
            tokens_as_sequences: 14,
            ..TokenCounts::default()
        };
        assert_eq!(counts.to_string(), "3 pairs, 10 tokens packed (14 as separate sequences)");
        (counts.prompts_cut, counts.rejected_cut, counts.dropped) = (1, 2, 2);
        counts.dropped_ids = vec!["a:1".to_owned()];
        let shown = counts.to_string();
        assert!(
            shown.contains(
                "\ncut: 1 prompt to `max_prompt_tokens`, 2 rejected answers to `max_length`"
            ),
            "{shown}"
        );
        assert!(
            shown.ends_with("dropped: 2 pairs whose prompt fills `max_length`: `a:1`, ..."),
            "{shown}"
        );
    }

    #[test]
    fn each_answer_that_is_cut_is_counted_as_its_own_side() {
        let limits = Limits { max_length: 4, max_prompt_tokens: 2, ..Limits::default() };
        let mut counts = TokenCounts::default();
        for (prompt, chosen, rejected) in [(1, 4, 1), (1, 1, 4), (3, 1, 4), (2, 2, 2)] {
            let mut pair = pair(prompt, chosen, rejected);
            assert!(counts.cut(&mut pair, &limits, None, "kept"));
        }
        assert_eq!((counts.prompts_cut, counts.chosen_cut, counts.rejected_cut), (1, 1, 2));
        // Prompt, chosen, rejected: (1, 3, 1), (1, 1, 3), (2, 1, 2), (2, 2, 2).
        assert_eq!((counts.pairs, counts.tokens_packed, counts.tokens_as_sequences), (4, 21, 27));
        assert_eq!((counts.dropped, counts.dropped_ids.len()), (0, 0));
    }

    #[test]
    fn of_six_dropped_pairs_five_are_named_and_of_five_all() {
        let limits = Limits { max_length: 2, ..Limits::default() };
        let mut pair = pair(2, 1, 1);
        let mut counts = TokenCounts::default();
        for id in ["a", "b", "c", "d", "e"] {
            assert!(!counts.cut(&mut pair, &limits, None, id));
        }
        let shown = counts.to_string();
        assert!(shown.ends_with(": `a`, `b`, `c`, `d`, `e`"), "{shown}");
        assert!(!counts.cut(&mut pair, &limits, None, "f"));
        let shown = counts.to_string();
        assert!(
            shown.ends_with(
                "dropped: 6 pairs whose prompt fills `max_length`: `a`, `b`, `c`, `d`, `e`, ..."
            ),
            "{shown}"
        );
    }

    #[test]
    fn the_limits_are_those_of_the_data_section() {
        let data = DataSection {
            tokenization: Tokenization::Separate,
            truncation: Truncation::Trl06,
            max_prompt_tokens: 7,
            max_length: 9,
            ..DataSection::default()
        };
        let limits = Limits::from(&data);
        assert_eq!(
            limits,
            Limits {
                tokenization: Tokenization::Separate,
                eos: Eos::Scored,
                truncation: Truncation::Trl06,
                max_prompt_tokens: 7,
                max_length: 9,
            }
        );
        assert_eq!(limits.of_answers(), "data.max_length - data.max_prompt_tokens = 2");
        assert_eq!(
            limits.without_limits(),
            Limits { max_prompt_tokens: 0, max_length: 0, ..limits }
        );
    }
}
