//! Prompts to a chat endpoint.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, json};

use super::{GenerateArgs, give, journal_path, refuse_output, write_line};
use crate::cli::request_args::{Way, estimate_lines};
use crate::console::interrupt::Interrupted;
use crate::console::progress::Verbosity;
use crate::console::{stdout, units};
use crate::data::chat_prompt::{self, ChatPrompt};
use crate::data::pair::LoadCounts;
use crate::error::InputError;
use crate::hub::Hub;
use crate::judge::chat::request::{Message, Parameters, Role};
use crate::judge::chat::{Asker, Item, Outcome};
use crate::session::{data_file, data_files};

/// Whom to ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// A preset or a base URL.
    pub(super) endpoint: &'a str,
    /// The model's name there.
    pub(super) model: &'a str,
}

/// One line of the results.
#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    prompt: String,
    /// None where the request failed for good.
    completion: Option<&'a str>,
    /// Why the answer ended, or why there is none.
    stop: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<u64>,
}

pub(super) fn prompts(args: &GenerateArgs, asked: Asked<'_>, verbosity: Verbosity) -> Result<()> {
    let output = args.output.as_deref();
    refuse_output(output, args.prompts.as_deref())?;
    if output.is_none() && args.requests.is_limited() {
        return Err(InputError::new("a limit of requests or of the cost needs `--output`")
            .hint("add `--output FILE`: without it what was answered before the limit is lost")
            .into());
    }
    let prompts = read(args, verbosity)?;
    let items = items(&prompts);
    let endpoint = args.requests.endpoint(asked.endpoint, args.key_env.as_deref())?;
    let settings = args.requests.settings(parameters(args, asked.model)?, None);
    match args.requests.way() {
        Way::Ask => {}
        Way::Estimate => {
            let journal = output.map_or_else(PathBuf::new, journal_path);
            let plan = Asker::plan(endpoint, settings, &journal, verbosity)?;
            let estimate = plan.estimate(&items)?;
            return stdout::print(estimate_lines(&estimate, plan.prices(), asked.model)?);
        }
        Way::Export(_) | Way::Import(_) => {
            return Err(InputError::new("`--batch-export` and `--batch-import` need `--data`")
                .hint("prompts are asked at once")
                .into());
        }
    }
    let place = tempfile::tempdir().context("cannot make a temporary folder")?;
    let journal = output.map_or_else(|| place.path().join("journal"), journal_path);
    let mut asker = Asker::open(endpoint, settings, &journal, verbosity)?;
    let outcomes = match asker.ask(&items) {
        Err(error) if error.is::<Interrupted>() && output.is_none() => {
            anyhow::bail!("interrupted; without `--output` nothing is kept")
        }
        done => done?,
    };
    let mut answers = Vec::new();
    for (prompt, outcome) in prompts.iter().zip(&outcomes) {
        write_line(&mut answers, &line(prompt, outcome))?;
    }
    give(output, answers, verbosity)?;
    match outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed(_))).count() {
        0 => {}
        failed => verbosity.warn(format!(
            "{} of {} prompts have no answer; `stop` of their lines says why",
            units::count(failed),
            units::count(outcomes.len())
        )),
    }
    Ok(())
}

fn line<'a>(prompt: &'a ChatPrompt, outcome: &'a Outcome) -> Answer<'a> {
    let (id, prompt) = (&*prompt.id, prompt.text());
    match outcome {
        Outcome::Answer(answer) => Answer {
            id,
            prompt,
            completion: Some(&answer.text),
            stop: answer.finish.name().to_owned(),
            prompt_tokens: answer.usage.map(|usage| usage.prompt),
            completion_tokens: answer.usage.map(|usage| usage.completion),
        },
        Outcome::Failed(failure) => Answer {
            id,
            prompt,
            completion: None,
            stop: failure.to_string(),
            prompt_tokens: None,
            completion_tokens: None,
        },
    }
}

/// The seed that an endpoint is told, which JSON's readers take as a signed number.
pub(super) fn seed(args: &GenerateArgs) -> Result<Option<i64>> {
    let seed = args.seed.map(i64::try_from).transpose();
    Ok(seed.map_err(|_| InputError::new("`--seed` must be below 2^63 for an endpoint"))?)
}

fn parameters(args: &GenerateArgs, model: &str) -> Result<Parameters> {
    let mut extra = Map::new();
    if !args.stop.is_empty() {
        extra.insert("stop".to_owned(), json!(args.stop));
    }
    Ok(Parameters {
        model: model.to_owned(),
        temperature: args.temperature.map(|temperature| temperature as f32),
        top_p: args.top_p.map(|top_p| top_p as f32),
        max_tokens: Some(args.max_new_tokens as u32), // at most 2^24
        seed: seed(args)?,
        schema: None,
        extra,
    })
}

/// The request of each prompt. Equal prompts under one id are asked as often as they stand there.
fn items(prompts: &[ChatPrompt]) -> Vec<Item> {
    let mut times: HashMap<&str, u32> = HashMap::new();
    let message =
        |(role, text): &(String, String)| Message { role: Role::named(role), text: text.clone() };
    let item = |ChatPrompt { id, messages }: &ChatPrompt, repetition| Item {
        id: id.clone(),
        repetition,
        messages: messages.iter().map(message).collect(),
    };
    let mut items = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let repetition = times.entry(&prompt.id).or_default();
        items.push(item(prompt, *repetition));
        *repetition += 1;
    }
    items
}

fn read(args: &GenerateArgs, verbosity: Verbosity) -> Result<Vec<ChatPrompt>> {
    let Some(path) = &args.prompts else {
        let typed = args.prompt.iter().zip(1..);
        return Ok(typed.map(|(text, number)| ChatPrompt::typed(text, number)).collect());
    };
    let mut notes = Vec::new();
    let hub = Hub::new(verbosity);
    let (mut prompts, mut counts) = (Vec::new(), LoadCounts::default());
    for file in data_files::expand(path, "", None, &hub, &mut notes)? {
        let bytes = data_file::read(&file, &hub, &mut notes)?;
        let (found, seen) = chat_prompt::load(&bytes, &file, args.layout)?;
        prompts.extend(found);
        counts.add(seen);
    }
    notes.extend(counts.prompt_lines().map(|line| format!("{path}: {line}")));
    notes.iter().for_each(|note| verbosity.note(note));
    Ok(prompts)
}
