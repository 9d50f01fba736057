//! Prompts to a local model.

use std::rc::Rc;

use anyhow::Result;
use serde::Serialize;

use super::{GenerateArgs, give, journal_path, refuse_output, write_line};
use crate::config::PromptFormat;
use crate::console::interrupt::Interrupted;
use crate::console::progress::Verbosity;
use crate::data::format::draft::Prompts;
use crate::data::prompt::Prompt;
use crate::error::InputError;
use crate::machine::peak;
use crate::model::generation::{Sampling, Stop, StopStrings};
use crate::parallel::world::World;
use crate::session::base::Base;
use crate::session::local_model::{Drawing, LocalChoice, LocalModel};

/// One line of the results.
#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    prompt: &'a str,
    completion: String,
    stop: Stop,
    prompt_tokens: usize,
    completion_tokens: usize,
}

pub(super) fn prompts(
    args: &GenerateArgs,
    choice: LocalChoice,
    world: Rc<World>,
    verbosity: Verbosity,
) -> Result<()> {
    peak::keep_freed_memory();
    let output = args.output.as_deref();
    refuse_output(output, args.prompts.as_deref())?;
    let drawing = Drawing { max_new_tokens: args.max_new_tokens, sampling: sampling(args)? };
    let model = LocalModel::load(choice, verbosity)?.on(world)?;
    let prompts = read(args, &model.base, verbosity)?;
    let ids: Vec<_> = prompts.iter().map(|prompt| model.ids(prompt)).collect::<Result<_>>()?;
    let stop = StopStrings::new(&model.base.tokenizer, &args.stop);
    let journal = output.map(journal_path);
    let generated = model.generate(&ids, &drawing, &stop, journal.as_deref(), verbosity);
    let (generations, _journal) = match generated {
        Err(error) if error.is::<Interrupted>() && output.is_none() => {
            anyhow::bail!("interrupted; without `--output` nothing is kept")
        }
        done => done?,
    };
    let mut answers = Vec::new();
    for ((prompt, ids), generation) in prompts.iter().zip(&ids).zip(&generations) {
        let answer = Answer {
            id: &prompt.id,
            prompt: &prompt.text,
            completion: stop.text(generation)?,
            stop: generation.stop,
            prompt_tokens: ids.len(),
            completion_tokens: generation.ids.len(),
        };
        write_line(&mut answers, &answer)?;
    }
    give(output, answers, verbosity)
}

/// How tokens are drawn; none to take the most probable token.
fn sampling(args: &GenerateArgs) -> Result<Option<Sampling>> {
    let temperature = args.temperature.unwrap_or(0.0);
    let (top_p, top_k, seed) = (args.top_p.unwrap_or(1.0), args.top_k, args.seed.unwrap_or(0));
    if temperature.total_cmp(&0.0).is_ne() {
        return Ok(Some(Sampling { temperature, top_p, top_k, seed }));
    }
    if top_p.total_cmp(&1.0).is_ne() || top_k != 0 {
        return Err(InputError::new(
            "`--top-p` and `--top-k` need a `--temperature` above 0, got 0",
        )
        .hint("add `--temperature 1`")
        .into());
    }
    Ok(None)
}

/// The prompts as text.
fn read(args: &GenerateArgs, base: &Base, verbosity: Verbosity) -> Result<Vec<Prompt>> {
    let format = if args.chat { PromptFormat::Chat } else { PromptFormat::Mvpbench };
    let mut notes = Vec::new();
    let prompts = match &args.prompts {
        Some(path) => {
            let loaded = base.prompts(path, args.layout, format, &mut notes)?;
            notes.extend(loaded.counts.prompt_lines().map(|line| format!("{path}: {line}")));
            loaded.prompts
        }
        None => {
            let template =
                Prompts { format, template: base.template.as_ref(), ..Prompts::default() };
            let typed = (1..).zip(&args.prompt);
            typed
                .map(|(number, text)| Prompt::typed(text, number, &template))
                .collect::<Result<_>>()?
        }
    };
    notes.iter().for_each(|note| verbosity.note(note));
    Ok(prompts)
}
