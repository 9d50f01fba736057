//! A model's answers to the prompts of a set, and the cosine of each to the preferred answer: the input of SPMR.
//!
//! Each finished answer is appended to a journal, keyed by model and adapter, from which an interrupted program
//! resumes. [`Evaluator`] removes the journal once the figures are written.

use crate::console::units;
use crate::inference::engine;
use anyhow::{Context, Result};

use crate::console::interrupt;
use crate::data::pair::{Markup, Pair};
use crate::data::spread::spread;
use crate::data::tokenize::cut_prompt;
use crate::encoder::embedder::{Embedder, cosine};
use crate::error::InputError;
use crate::eval::evaluator::Evaluator;
use crate::inference::generations::{GenerationPass, JournalFile};
use crate::metrics::spmr::{Answer, LeftOut, write_answers};
use crate::model::generation::{Generation, GenerationSettings, Stop, StopStrings};
use crate::model::lora::Adapter;
use crate::session::inputs::EvalInputs;

/// The prompts of a set to answer.
struct Asked<'a> {
    pairs: Vec<&'a Pair>,
    /// Token ids of each pair's prompt.
    prompts: Vec<Vec<u32>>,
    left_out: LeftOut,
}

impl Evaluator<'_> {
    /// Answers the prompts of a set under `adapter`, or under the base model without one. Writes the answers into the
    /// run folder and returns them in the order of the set, with counts of the pairs left out.
    ///
    /// Decoding is greedy. Prompts are tokenized as in training but always with BOS, as the paper's authors generate.
    pub(super) fn answers(
        &self,
        embedder: &Embedder,
        set: &EvalInputs,
        when: &str,
        adapter: Option<&Adapter>,
    ) -> Result<(Vec<Answer>, LeftOut)> {
        let asked = self.asked(set)?;
        let spmr = &self.session.config.eval.spmr;
        let longest = asked.prompts.iter().map(Vec::len).max().unwrap_or(1);
        let tokens = longest + spmr.max_new_tokens;
        let model = &self.session.model;
        let batch = engine::answers_at_once(&model.shape, model.dtype, &model.device, tokens);
        let settings = GenerationSettings {
            max_new_tokens: spmr.max_new_tokens,
            eos: self.session.inputs.eos.clone(),
            sampling: None,
            batch,
        };
        let pass = GenerationPass {
            model: &self.session.model,
            adapter,
            prompts: &asked.prompts,
            settings: &settings,
            stop: &StopStrings::none(&self.session.inputs.tokenizer),
            world: &self.session.options.world,
        };
        let key = pass.key(&self.session.model_digest)?;
        let journal = self.session.folder.journal(&set.name, when);
        let file = JournalFile { path: &journal, key: &key };
        let blank = match asked.left_out.blank_references {
            0 => String::new(),
            1 => "; 1 pair is left out: its preferred answer is blank".to_owned(),
            blank => format!("; {blank} pairs are left out: their preferred answer is blank"),
        };
        self.session.options.verbosity.note(format!(
            "{when} {}: answers to {}{blank}",
            set.name,
            units::counted(asked.prompts.len(), "prompt")
        ));
        let verbosity = self.session.options.verbosity;
        let (generations, _) = match pass.run(Some(file), verbosity) {
            Err(error) if error.is::<InputError>() => {
                verbosity.warn(format!("{error}; generating the answers again"));
                std::fs::remove_file(&journal)?;
                pass.run(Some(file), verbosity)?
            }
            run => run?,
        };
        let answers = self.compare(embedder, &asked, &generations, &set.name)?;
        write_answers(&self.session.folder.generations(&set.name, when), &answers)?;
        Ok((answers, asked.left_out))
    }

    fn asked<'a>(&self, set: &'a EvalInputs) -> Result<Asked<'a>> {
        let spmr = &self.session.config.eval.spmr;
        let all: Vec<&Pair> = set.pairs.iter().map(|pair| &set.texts[pair.row as usize]).collect();
        let answerable: Vec<&Pair> = all
            .iter()
            .copied()
            .filter(|pair| !self.reference(pair).is_ok_and(|r| r.trim().is_empty()))
            .collect();
        let blank_references = all.len() - answerable.len();
        let asked = if spmr.max_prompts == 0 { usize::MAX } else { spmr.max_prompts };
        let pairs: Vec<&Pair> =
            spread(answerable.len(), asked).map(|place| answerable[place]).collect();
        let most = self.prompt_tokens();
        let prompts = pairs.iter().map(|pair| self.prompt(pair, most)).collect::<Result<_>>()?;
        let left_out = LeftOut { blank_references, unasked: answerable.len() - pairs.len() };
        Ok(Asked { pairs, prompts, left_out })
    }

    /// Most tokens of a prompt; a longer one keeps its BOS and its end. It is `data.max_prompt_tokens`, lowered to what
    /// `max_new_tokens` leaves of the model's context or to half the context, whichever is larger.
    fn prompt_tokens(&self) -> usize {
        let context = self.session.model.shape.max_positions;
        let room =
            context.saturating_sub(self.session.config.eval.spmr.max_new_tokens).max(context / 2);
        match self.session.config.data.max_prompt_tokens {
            0 => room,
            most => most.min(room),
        }
    }

    /// The last `most` token ids of the prompt of `pair`.
    fn prompt(&self, pair: &Pair, most: usize) -> Result<Vec<u32>> {
        let tokenizer = &self.session.inputs.tokenizer;
        let mut ids = pair.prompt_ids(tokenizer)?;
        cut_prompt(&mut ids, most, tokenizer.bos_id());
        Ok(ids)
    }

    /// The preferred answer without the markup of a chat template.
    fn reference(&self, pair: &Pair) -> Result<String> {
        let tokenizer = &self.session.inputs.tokenizer;
        match pair.markup {
            Markup::Plain => Ok(pair.chosen.clone()),
            Markup::Template { .. } => {
                tokenizer.decode(&tokenizer.encode(&pair.chosen, false)?, true)
            }
        }
    }

    /// Embeds each answer, alone and with its prompt, and compares both with the embedded preferred answer.
    fn compare(
        &self,
        embedder: &Embedder,
        asked: &Asked<'_>,
        generations: &[Generation],
        set: &str,
    ) -> Result<Vec<Answer>> {
        let tokenizer = &self.session.inputs.tokenizer;
        let whole = StopStrings::none(tokenizer);
        let mut texts = Vec::new();
        for ((pair, prompt), generation) in asked.pairs.iter().zip(&asked.prompts).zip(generations)
        {
            // Decode both at once: a token's text may depend on the token before it.
            let both = tokenizer.decode(&[&prompt[..], &generation.ids].concat(), true)?;
            let prompt = tokenizer.decode(prompt, true)?;
            texts.push([self.reference(pair)?, both, whole.text(generation)?, prompt]);
        }
        let embedded: Vec<&str> = texts
            .iter()
            .flat_map(|[reference, both, answer, _]| [&**reference, both, answer])
            .collect();
        let mut progress = self.session.options.verbosity.progress(
            &format!("embed {set}"),
            "texts",
            0,
            embedded.len() as u64,
        );
        let vectors = embedder
            .embed(&embedded, |more| {
                progress.advance(more as u64, &[]);
                interrupt::check()
            })
            .with_context(|| format!("evaluation set `{set}`"))?;
        let rows = asked.pairs.iter().zip(&asked.prompts).zip(generations).zip(texts);
        Ok(rows
            .zip(vectors.chunks(3))
            .map(|((((pair, ids), generation), [reference, _, answer, prompt]), vectors)| Answer {
                id: pair.id.clone(),
                user: pair.user.clone(),
                source: pair.source.clone(),
                groups: pair.groups.clone(),
                prompt,
                generation: answer,
                reference,
                cosine: cosine(&vectors[2], &vectors[0]),
                cosine_with_prompt: cosine(&vectors[1], &vectors[0]),
                prompt_tokens: ids.len(),
                generated_tokens: generation.ids.len(),
                ended: generation.stop == Stop::Eos,
            })
            .collect())
    }
}
