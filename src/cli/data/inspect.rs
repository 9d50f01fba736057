//! `data inspect`: pairs as the tokens that training sees, the scored ones marked.

use anyhow::Result;
use clap::Args;

use super::ConfigArgs;
use crate::bail_input;
use crate::config::{Reading, RunConfig, Source};
use crate::console::progress::Verbosity;
use crate::console::stderr;
use crate::console::stdout;
use crate::data::pair::Pair;
use crate::data::token_pair::TokenPair;
use crate::data::tokenize::{Limits, beyond_context, tokenize};
use crate::error::{InputError, one_line};
use crate::session::base::Base;
use crate::session::inputs::TRAIN_SPLIT;
use crate::session::template_choice::TemplateChoice;

/// Print pairs token by token with the scored tokens marked; read no weights
#[derive(Debug, Clone, Args)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Pairs to print, from the first
    #[arg(long, default_value_t = 3, conflicts_with = "id")]
    rows: usize,
    /// Print only the pairs with this id
    #[arg(long)]
    id: Option<String>,
    /// Print pairs of this `[[eval.sets]]` instead of the training pairs
    #[arg(long, value_name = "EVALSET")]
    set_name: Option<String>,
}

/// Runs the verb.
pub(super) fn inspect(args: &InspectArgs) -> Result<()> {
    let config = args.config.load()?;
    let (sources, reading, fallback, limits) = match &args.set_name {
        None => {
            let limits = Limits::from(&config.data);
            (&config.data.train[..], config.data.reading(), Some(TRAIN_SPLIT), limits)
        }
        Some(name) => {
            let limits = Limits::of_sets(&config.data, &config.eval);
            (set_files(&config, name)?, Reading::default(), None, limits)
        }
    };
    let base = Base::load(&config.model, &TemplateChoice::of(&config)?, Verbosity::Normal)?;
    let mut notes = Vec::new();
    let loaded = base.texts(sources, &reading, fallback, &[], &config.data, &mut notes)?;
    notes.iter().for_each(|note| Verbosity::Normal.note(note));
    Verbosity::Normal.note(loaded.counts.to_string().replace('\n', "\n  "));
    let texts = loaded.pairs;
    let rows: Vec<usize> = match &args.id {
        None => (0..texts.len().min(args.rows)).collect(),
        Some(id) => (0..texts.len()).filter(|row| texts[*row].id == *id).collect(),
    };
    if let (Some(id), []) = (&args.id, rows.as_slice()) {
        return Err(InputError::new(format!(
            "no pair has the id `{id}` among the {} of {}",
            texts.len(),
            sources
                .iter()
                .flat_map(|source| &source.files)
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        ))
        .hint(format!("the first one is `{}`", texts[0].id))
        .into());
    }

    let marks = if stdout::has_colours() { Marks::Colours } else { Marks::Brackets };
    stdout::print(format!("{}\n", marks.legend()))?;
    for row in rows {
        let place = format!("{}, pair {} of {}", texts[row].source, row + 1, texts.len());
        stdout::print(format!("\n{}", shown(&texts[row], &place, &base, &limits, marks)?))?;
    }
    Ok(())
}

/// The files of the evaluation set of that name.
fn set_files<'a>(config: &'a RunConfig, name: &str) -> Result<&'a [Source]> {
    if let Some(set) = config.eval.sets.iter().find(|set| set.name == name) {
        return Ok(&set.files);
    }
    let names: Vec<_> = config.eval.sets.iter().map(|set| format!("`{}`", set.name)).collect();
    let error = InputError::new(format!("the configuration has no evaluation set `{name}`"));
    Err(match names.as_slice() {
        [] => error.hint("it has no set; leave out `--set-name` for the training pairs"),
        names => error.hint(format!("it has {}", names.join(", "))),
    }
    .into())
}

/// How a token shows whether it is scored.
#[derive(Clone, Copy)]
enum Marks {
    /// `[scored]`, and `|` between the others.
    Brackets,
    /// Scored tokens in two shades of green, the others in two shades of grey.
    Colours,
}

impl Marks {
    fn legend(self) -> &'static str {
        match self {
            Self::Brackets => "[scored] tokens in brackets, | between the others",
            Self::Colours => {
                "\x1b[1;32mscored\x1b[0;32m tokens\x1b[0m in green, the others in grey"
            }
        }
    }

    /// Consecutive tokens, all scored or none.
    fn tokens(self, pieces: &[String], scored: bool) -> String {
        let mut line = String::new();
        // On a terminal a line breaks between two tokens; the text's own breaks are printed as `\n` too.
        let (columns, mut used) = (stderr::columns().unwrap_or(usize::MAX), 0);
        for (place, piece) in pieces.iter().enumerate() {
            let text = one_line(piece);
            let width = text.chars().count()
                + match (self, scored) {
                    (Self::Brackets, true) => 2,
                    (Self::Brackets, false) => 1,
                    (Self::Colours, _) => 0,
                };
            if used > 0 && used + width > columns {
                line.push('\n');
                used = 0;
            }
            used += width;
            match (self, scored) {
                (Self::Brackets, true) => line.push_str(&format!("[{text}]")),
                (Self::Brackets, false) if place == 0 => line.push_str(&text),
                (Self::Brackets, false) => line.push_str(&format!("|{text}")),
                (Self::Colours, scored) => {
                    let style = match (scored, place % 2) {
                        (true, 0) => "1;32",
                        (true, _) => "0;32",
                        (false, 0) => "0;37",
                        (false, _) => "0;90",
                    };
                    line.push_str(&format!("\x1b[{style}m{text}\x1b[0m"));
                }
            }
            if piece.ends_with('\n') {
                line.push('\n');
                used = 0;
            }
        }
        line
    }
}

/// One pair: its id and source, its counts, what was cut, its tokens.
fn shown(pair: &Pair, place: &str, base: &Base, limits: &Limits, marks: Marks) -> Result<String> {
    let tokenizer = &base.tokenizer;
    let one = |limits: &Limits| tokenize(std::slice::from_ref(pair), tokenizer, limits);
    let mut unlimited = one(&limits.without_limits())?;
    let Some(whole) = unlimited.pairs.pop() else {
        bail_input!("record `{}` has no tokens", pair.id)
    };
    let mut kept = one(limits)?.pairs;
    base.shape.rope.set_apart(&mut kept);
    let kept = kept.pop();

    let user =
        pair.user.as_ref().map(|user| format!(", user {}", one_line(user))).unwrap_or_default();
    let mut text = format!("{} ({place}{user})\n", one_line(&pair.id));
    text.push_str(&counts(&whole, kept.as_ref(), limits));
    if let Some(line) = unlimited.counts.ends_line() {
        text.push_str(&format!("prompt end: {line}\n"));
    }
    if let Some(line) = beyond_context(kept.as_slice(), base.shape.max_positions) {
        text.push_str(&format!("{line}\n"));
    }
    let tokens = kept.as_ref().unwrap_or(&whole);
    let prompt = tokenizer.pieces(&tokens.prompt)?;
    text.push_str(&format!("prompt:\n{}\n", marks.tokens(&prompt, false)));
    let sides = [("chosen", &tokens.chosen), ("rejected", &tokens.rejected)];
    for ((side, answer), unscored) in sides.into_iter().zip(tokens.unscored) {
        let pieces = tokenizer.pieces(&[tokens.prompt.as_slice(), answer].concat())?;
        let (before, scored) = pieces[tokens.prompt.len()..].split_at(unscored);
        let answer = marks.tokens(before, false) + &marks.tokens(scored, kept.is_some());
        text.push_str(&format!("{side}:\n{answer}\n"));
    }
    Ok(text)
}

/// The counts of tokens, and a line for each cut.
fn counts(whole: &TokenPair, kept: Option<&TokenPair>, limits: &Limits) -> String {
    let lengths = |pair: &TokenPair| [pair.prompt.len(), pair.chosen.len(), pair.rejected.len()];
    let before = lengths(whole);
    let Some(pair) = kept else {
        let [prompt, chosen, rejected] = before;
        return format!(
            "dropped: its prompt leaves no room under `data.max_length = {}`; training skips it\n\
             {prompt} prompt tokens, {chosen} chosen, {rejected} rejected\n",
            limits.max_length
        );
    };
    let after = lengths(pair);
    let (prompt, [chosen, rejected], computed) = (after[0], pair.scored(), pair.tokens());
    let mut text = format!(
        "{prompt} prompt tokens, {chosen} chosen and {rejected} rejected scored, {computed} computed\n"
    );
    if pair.is_twin() {
        text.push_str("both answers are the same tokens: they are computed once and always tie\n");
    }
    if pair.is_apart {
        text.push_str(
            "the answers' lengths give the prompt other angles: it is computed for each\n",
        );
    }
    let of_answers = limits.of_answers();
    let limits = [
        (
            "the beginning of the prompt",
            &format!("data.max_prompt_tokens = {}", limits.max_prompt_tokens),
        ),
        ("the end of chosen", &of_answers),
        ("the end of rejected", &of_answers),
    ];
    for (side, (what, limit)) in limits.into_iter().enumerate() {
        if before[side] > after[side] {
            let lost = before[side] - after[side];
            text.push_str(&format!("cut: {lost} tokens at {what} (`{limit}`)\n"));
        }
    }
    text
}
