//! Pairs as text -> pairs as token ids, by the rules of either tokenization.

use crate::data::token_pair::TokenPair;
use anyhow::{Context, Result};
use rayon::prelude::*;

use super::pair::{Markup, Pair};
use super::tokenizer::{Encoder, Tokenizer};
use crate::console::interrupt;

pub use super::limits::{
    Eos, Limits, TokenCounts, Tokenization, Truncation, beyond_context, cut_prompt,
};

/// Token ids of the pairs that were kept, in order, and what was cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokenized {
    /// The pairs that were kept.
    pub pairs: Vec<TokenPair>,
    /// Counts to show the user.
    pub counts: TokenCounts,
}

/// Runs of pairs per thread: few, since each run begins with an encoder whose cache of words is empty.
const CHUNKS_PER_THREAD: usize = 4;

/// Pairs -> token ids, cut to `limits`. [`TokenPair::row`] is the index in `pairs`, so a dropped pair leaves a gap.
pub fn tokenize(pairs: &[Pair], tokenizer: &Tokenizer, limits: &Limits) -> Result<Tokenized> {
    let chunk = pairs.len().div_ceil(CHUNKS_PER_THREAD * rayon::current_num_threads()).max(1);
    let whole: Vec<Vec<Whole>> = pairs
        .par_chunks(chunk)
        .enumerate()
        .map(|(place, pairs)| whole(pairs, place * chunk, tokenizer, limits))
        .collect::<Result<_>>()?;

    let mut tokenized = Tokenized::default();
    for Whole { mut pair, lost } in whole.into_iter().flatten() {
        let id = &pairs[pair.row as usize].id;
        if tokenized.counts.cut(&mut pair, limits, tokenizer.bos_id(), id) {
            tokenized.counts.count_end(&pair.prompt, &lost, tokenizer)?;
            if limits.tokenization != Tokenization::Separate {
                tokenized.counts.count_bos(&pairs[pair.row as usize], tokenizer);
            }
            tokenized.pairs.push(pair);
        }
    }
    Ok(tokenized)
}

/// A pair before any limit.
struct Whole {
    pair: TokenPair,
    /// Ids at the end of its prompt that are not there where an answer follows.
    lost: Vec<u32>,
}

/// The ids of a run of pairs that begins at `row`, before any limit.
fn whole(pairs: &[Pair], row: usize, tokenizer: &Tokenizer, limits: &Limits) -> Result<Vec<Whole>> {
    let mut encoder = tokenizer.encoder();
    let eos = limits.eos;
    let ids = |(place, pair): (usize, &Pair)| {
        interrupt::check()?;
        let mut ids = match limits.tokenization {
            Tokenization::Joint => joint(pair, tokenizer, eos, &mut encoder),
            Tokenization::Separate => separate(pair, tokenizer.eos_id(), eos, &mut encoder),
            Tokenization::Prefix => prefix(pair, tokenizer, eos, &mut encoder),
        }
        .with_context(|| format!("{}: record `{}`", pair.source, pair.id))?;
        ids.pair.row = u32::try_from(row + place)?;
        Ok(ids)
    };
    pairs.iter().enumerate().map(ids).collect()
}

/// Rules 1 and 2: prompt, chosen and rejected ids, whole.
///
/// A template writes its own special tokens: no EOS is added to its texts. A text that begins with BOS gets no second one. An answer begins
/// where the ids of the prompt alone and those of the text with either answer differ, which may be before the end of the prompt.
fn joint(pair: &Pair, tokenizer: &Tokenizer, eos: Eos, encoder: &mut Encoder<'_>) -> Result<Whole> {
    let special = pair.markup.adds_special_tokens(&pair.prompt, tokenizer);
    let written = match (pair.markup, eos) {
        (Markup::Plain, Eos::Scored) => tokenizer.eos_text(),
        (Markup::Plain, Eos::LeftOut) | (Markup::Template { .. }, _) => "",
    };
    let mut whole = |answer: &str| {
        let end = if answer.ends_with(written) { "" } else { written };
        encoder.encode(&[pair.context(), answer, end].concat(), special)
    };
    let (mut chosen, mut rejected) = (whole(&pair.chosen)?, whole(&pair.rejected)?);
    let mut prompt = encoder.encode(&pair.prompt, special)?;
    let shared = common_prefix(&prompt, &chosen).min(common_prefix(&prompt, &rejected));
    let lost = prompt.split_off(shared);
    chosen.drain(..shared);
    rejected.drain(..shared);
    if eos == Eos::LeftOut {
        remove_a_templates_eos(pair, tokenizer.eos_id(), [&mut chosen, &mut rejected]);
    }
    Ok(Whole { pair: TokenPair { prompt, chosen, rejected, ..TokenPair::default() }, lost })
}

/// The rule of the authors' evaluation: the answer is what follows as many ids as the prompt alone has.
///
/// Ids before that place which both sides share are the prompt; the others are ids of a side that are not scored.
fn prefix(
    pair: &Pair,
    tokenizer: &Tokenizer,
    eos: Eos,
    encoder: &mut Encoder<'_>,
) -> Result<Whole> {
    let special = pair.markup.adds_special_tokens(&pair.prompt, tokenizer);
    let start = encoder.encode(pair.context(), special)?.len();
    let lost = left_out(pair, encoder)?;
    let mut whole = |answer: &str| encoder.encode(&[pair.context(), answer].concat(), special);
    let (mut chosen, mut rejected) = (whole(&pair.chosen)?, whole(&pair.rejected)?);
    end(pair, tokenizer.eos_id(), eos, [&mut chosen, &mut rejected]);
    let shared = common_prefix(&chosen, &rejected).min(start);
    let prompt = chosen[..shared].to_vec();
    chosen.drain(..shared);
    rejected.drain(..shared);
    let unscored = [chosen.len(), rejected.len()].map(|ids| ids.min(start - shared));
    let pair = TokenPair { prompt, chosen, rejected, unscored, ..TokenPair::default() };
    Ok(Whole { pair, lost })
}

/// The ids of the end of the prompt that no answer follows.
fn left_out(pair: &Pair, encoder: &mut Encoder<'_>) -> Result<Vec<u32>> {
    encoder.encode(pair.prompt.strip_prefix(pair.context()).unwrap_or_default(), false)
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The older rule: prompt, chosen and rejected ids, whole. An EOS that a template wrote is not doubled.
fn separate(pair: &Pair, eos_id: u32, eos: Eos, encoder: &mut Encoder<'_>) -> Result<Whole> {
    let lost = left_out(pair, encoder)?;
    let mut ids = |text: &str| encoder.encode(text, false);
    let (prompt, mut chosen, mut rejected) =
        (ids(pair.context())?, ids(&pair.chosen)?, ids(&pair.rejected)?);
    end(pair, eos_id, eos, [&mut chosen, &mut rejected]);
    Ok(Whole { pair: TokenPair { prompt, chosen, rejected, ..TokenPair::default() }, lost })
}

/// Appends the EOS id to both answers if it is scored, but not a second one to that of a template.
fn end(pair: &Pair, eos_id: u32, eos: Eos, answers: [&mut Vec<u32>; 2]) {
    if eos == Eos::LeftOut {
        return remove_a_templates_eos(pair, eos_id, answers);
    }
    for answer in answers {
        if pair.markup == Markup::Plain || answer.last() != Some(&eos_id) {
            answer.push(eos_id);
        }
    }
}

/// Removes the EOS that a template wrote at the end of both answers.
fn remove_a_templates_eos(pair: &Pair, eos_id: u32, answers: [&mut Vec<u32>; 2]) {
    if pair.markup == Markup::Plain {
        return;
    }
    for answer in answers {
        answer.pop_if(|last| *last == eos_id);
    }
}

#[cfg(test)]
mod tests;
