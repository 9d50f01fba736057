//! The words of the keys that accept a few words only.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum whose variants are words of the configuration.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// The words of the configuration, in the order of [`Self::ALL`].
            pub const NAMES: &'static [&'static str] = &[$($word),+];

            /// Every choice, in the order of declaration.
            pub const ALL: [Self; Self::NAMES.len()] = [$(Self::$variant),+];

            /// The word of the configuration.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    )+};
}

choices! {
    /// Number type of the frozen weights and of the activations.
    Dtype {
        /// bf16 on CUDA; f32 on the CPU, unless it does not fit and the processor multiplies bf16.
        Auto = "auto",
        /// bfloat16.
        Bf16 = "bf16",
        /// 32-bit float.
        F32 = "f32",
    }

    /// Whose rules make token ids of a text.
    #[derive(Default)]
    TokenizerRules {
        /// `tokenizer.json` as it stands, as in transformers 4 and in Llama's own code.
        #[default]
        File = "file",
        /// As transformers 5, which rebuilds the tokenizer where its class is `LlamaTokenizer`: no `▁` after a special token.
        Transformers5 = "transformers5",
    }

    /// A linear layer of the decoder that can carry an adapter, under the checkpoint's name; in PEFT's order.
    Projection {
        /// Attention queries.
        QProj = "q_proj",
        /// Attention keys.
        KProj = "k_proj",
        /// Attention values.
        VProj = "v_proj",
        /// Attention output.
        OProj = "o_proj",
        /// The gate of the MLP.
        GateProj = "gate_proj",
        /// The way up of the MLP.
        UpProj = "up_proj",
        /// The way down of the MLP.
        DownProj = "down_proj",
    }

    /// Loss of a preference pair, under TRL's names.
    ///
    /// With `r` the reward `beta * (policy - reference)` of an answer, `w` the chosen one and `l` the other, `z = r(w) - r(l)`,
    /// `e` the label smoothing, and `r'`, `z'` the same of log-probabilities that are means per token:
    LossType {
        /// `-(1 - e) log sigmoid(z) - e log sigmoid(-z)`: DPO (arXiv 2305.18290, Eq. 7), with `e` conservative DPO.
        Sigmoid = "sigmoid",
        /// `-log sigmoid(z')`: DPO of means per token.
        SigmoidNorm = "sigmoid_norm",
        /// `max(1 - z, 0)`: SLiC's margin (arXiv 2309.06657).
        Hinge = "hinge",
        /// `((z' - 1/2) / beta)^2`: IPO (arXiv 2310.12036, Eq. 17) of means per token.
        Ipo = "ipo",
        /// `(-(1 - e) log sigmoid(z) + e log sigmoid(-z)) / (1 - 2 e)`: robust DPO (arXiv 2403.00409), unbiased if a share `e` of
        /// the labels is the wrong way round.
        Robust = "robust",
        /// `KL((p, 1 - p), (1 - e, e))` with `p = sigmoid(z)`: EXO (arXiv 2402.00856, Eq. 16), which needs `e` above 0.
        ExoPair = "exo_pair",
        /// `-log sigmoid(r(w)) - (log sigmoid(-r(w)) + log sigmoid(-r(l))) / 2`: NCA (arXiv 2402.05369).
        NcaPair = "nca_pair",
        /// `-log sigmoid(r(w)) - log sigmoid(-r(l))`: BCO (arXiv 2404.04656) without its running mean, as TRL's of that name.
        BcoPair = "bco_pair",
        /// `((r(w) - 1/2) / beta)^2 + ((r(l) + 1/2) / beta)^2`: SPPO (arXiv 2405.00675) with certain labels.
        SppoHard = "sppo_hard",
        /// `1 - sigmoid(r(w)) + sigmoid(r(l))`: APO-zero (arXiv 2408.06266, Eq. 7), for answers better than the model's own.
        ApoZero = "apo_zero",
        /// `sigmoid(r(w)) + 1 - sigmoid(z)`: APO-down (the same, Eq. 8), for answers worse than the model's own.
        ApoDown = "apo_down",
        /// `-(1 - m) log sigmoid(z) + m exp(-z)` with `m = sigmoid(z / 0.05)`: DiscoPOP (arXiv 2406.08414, Eq. 5). At a margin of
        /// 0, where training begins, it rises: it first drives the answers together, the wrong way round.
        Discopop = "discopop",
        /// `-log sigmoid(beta (m(w) - m(l)) - gamma)` with `m` the policy's mean log-probability per token and `gamma`
        /// `dpo.simpo_gamma`: SimPO (arXiv 2405.14734, Eq. 6), without a reference. Its paper has `beta` from 2 to 10.
        Simpo = "simpo",
    }

    /// The policy that rewards are measured from.
    Reference {
        /// The base model: the same weights with the adapter off.
        Base = "base",
        /// The policy as it starts, with the adapter of `lora.init_from`: for DPO after SFT. A fresh adapter changes nothing, so
        /// without one this is the base model.
        Init = "init",
    }

    /// A layout of preference records.
    #[derive(Default)]
    LayoutName {
        /// What the fields of a record show.
        #[default]
        Auto = "auto",
        /// The authors' release: `question`, `answer_w`, `answer_l`.
        Mvpbench = "mvpbench",
        /// `prompt`, `chosen`, `rejected`, as texts or messages.
        Preference = "preference",
        /// `chosen` and `rejected` with the dialogue `Human:`, `Assistant:` before them.
        HhRlhf = "hh-rlhf",
        /// `chosen` and `rejected` that begin with the prompt.
        ImplicitPrompt = "implicit-prompt",
        /// `system`, `question`, `chosen`, `rejected`.
        Orca = "orca",
        /// `system`, `input`, `chosen`, `rejected`.
        Icr = "icr",
        /// `instruction`, `input`, `chosen`, `rejected`.
        AlpacaRanking = "alpaca-ranking",
        /// `instruction`, `input`, `output` of two texts.
        AlpacaOutput = "alpaca-output",
        /// `instruction`, `chosen_response`, `rejected_response`.
        Argilla = "argilla",
        /// `messages` before `chosen` and `rejected`.
        Messages = "messages",
        /// `conversations` before `chosen` and `rejected`.
        SharegptRanking = "sharegpt-ranking",
        /// `messages` with the preferred answer, `rejected_response`.
        MsSwift = "ms-swift",
        /// `messages` and `rejected_messages`, both with their answers.
        MsSwiftMessages = "ms-swift-messages",
        /// `response_0`, `response_1`, `better_response_id`.
        PkuBetter = "pku-better",
        /// `response_0`, `response_1`, `safer_response_id`.
        PkuSafer = "pku-safer",
        /// `history`, `human_ref_A`, `human_ref_B`, `labels`.
        Shp = "shp",
        /// `conversation_a`, `conversation_b`, `winner`.
        Arena = "arena",
        /// `prompt`, `responses`, `scores`.
        Ranked = "ranked",
        /// `instruction`, `completions` with `response` and `overall_score`.
        Ultrafeedback = "ultrafeedback",
        /// `prompt`, `answers` with `answer` and `rank`.
        Nectar = "nectar",
        /// `prompt`, `chosen`, `rejected` and what is known of a person.
        Alignx = "alignx",
    }

    /// What a column of a record holds.
    ColumnRole {
        /// The prompt.
        Prompt = "prompt",
        /// The preferred answer.
        Chosen = "chosen",
        /// The other answer.
        Rejected = "rejected",
        /// The system message.
        System = "system",
        /// The functions that a model may call.
        Tools = "tools",
        /// Questions and answers before the prompt.
        History = "history",
        /// Who asks, as text before the prompt.
        Profile = "profile",
        /// The record's id.
        Id = "id",
        /// The user whose record it is.
        UserId = "user_id",
        /// Messages before the answers.
        Messages = "messages",
        /// A list of answers.
        Responses = "responses",
        /// Their scores.
        Scores = "scores",
    }

    /// Which pairs a record with more than two answers gives.
    #[derive(Default)]
    RankedPairs {
        /// The best answer and the worst.
        #[default]
        BestWorst = "best-worst",
        /// Every two answers whose scores differ.
        All = "all",
    }

    /// How a record's prompt becomes a pair's.
    #[derive(Default)]
    PromptFormat {
        /// An MVPBench record as `User profile: ...\nQuestion: ...`, as the authors train; a pair file's prompt unchanged.
        #[default]
        Mvpbench = "mvpbench",
        /// The same text as one user message, and the answer as the assistant's, through the model's own chat template.
        Chat = "chat",
    }

    /// How a prompt and its answers become token ids.
    #[derive(Default)]
    Tokenization {
        /// As TRL 1.16: `prompt`, `prompt + chosen` and `prompt + rejected` as whole texts with special tokens on; the prompt
        /// is the longest beginning that all three share. A token that merges across the boundary belongs to both answers.
        /// The EOS text is appended to an answer that does not end with it.
        #[default]
        Joint = "joint",
        /// As TRL up to 0.28, the paper's 0.6.0 among them: prompt and answers apart, without special tokens (so without BOS),
        /// and the EOS id always appended to both answers, also to a text that writes EOS itself, which TRL 0.6.0 refuses.
        Separate = "separate",
        /// As the evaluation of the paper's authors: prompt and answer as one text with special tokens on; the answer is what
        /// follows as many tokens as the prompt alone has. A token that merges across the boundary is read and not scored.
        /// The EOS id is appended to both answers.
        Prefix = "prefix",
    }

    /// How the pairs of an evaluation become token ids.
    #[derive(Default)]
    EvalTokenization {
        /// As the training pairs: by `data.tokenization`.
        #[default]
        Data = "data",
        /// [`Tokenization::Joint`].
        Joint = "joint",
        /// [`Tokenization::Separate`].
        Separate = "separate",
        /// [`Tokenization::Prefix`].
        Prefix = "prefix",
    }

    /// How a pair is cut to `max_prompt_tokens` and `max_length`.
    #[derive(Default)]
    Truncation {
        /// The prompt is cut to `max_prompt_tokens` in any case, and each answer to what it leaves of `max_length`. A pair without
        /// room for an answer is dropped.
        #[default]
        Room = "room",
        /// As TRL 0.6.0: where prompt and longer answer exceed `max_length`, the prompt is cut to `max_prompt_tokens`. Where they
        /// still do, both answers are cut to `max_length - max_prompt_tokens`, however short the prompt. Nothing is dropped.
        Trl06 = "trl-0.6",
    }

    /// Where the order of the pairs in an epoch comes from, if they are shuffled.
    #[derive(Default)]
    Order {
        /// This program's own numbers.
        #[default]
        Philox = "philox",
        /// PyTorch's numbers as transformers' `Trainer` draws them on one process: the order of its run with the same seed.
        /// PyTorch reads the low 32 bits of a seed, and transformers refuses a seed that has more.
        Transformers = "transformers",
    }

    /// What becomes of the batches of an epoch that do not fill a step.
    #[derive(Default)]
    LeftoverBatches {
        /// They are a step of their own, whose loss is the mean over them.
        #[default]
        Step = "step",
        /// They open the first step of the next epoch, as in transformers 4.31. Each batch's loss is divided by the accumulation,
        /// and the run ends after `epochs * max(1, batches / accumulation)` steps, the quotient rounded down.
        Carry = "carry",
    }

    /// Whose AdamW.
    #[derive(Default)]
    OptimizerName {
        /// PyTorch's: eps is added after the bias correction.
        #[default]
        AdamwTorch = "adamw_torch",
        /// That of transformers up to 4: eps is added before the bias correction, and the weights decay after the update.
        AdamwHf = "adamw_hf",
    }

    /// Whether a conversation gets a BOS that its chat template does not write. A plain text, also one that `prompt_format = "chat"`
    /// puts through the template, begins with exactly one BOS in any case.
    #[derive(Default)]
    AddBos {
        /// No: the template writes all special tokens, as in TRL and transformers.
        #[default]
        Template = "template",
        /// Yes: one BOS, whoever writes it.
        Always = "always",
    }

    /// Learning rate over the steps, after the warm-up.
    Scheduler {
        /// Falls in a line to zero.
        Linear = "linear",
        /// Falls along half a cosine to zero.
        Cosine = "cosine",
        /// Stays.
        Constant = "constant",
    }

    /// What the forward pass keeps for the backward pass.
    Activations {
        /// Keep if all fit the free memory before step 0, otherwise recompute.
        Auto = "auto",
        /// Keep all.
        Keep = "keep",
        /// Keep each layer's input and compute the rest again.
        Recompute = "recompute",
    }

    /// The figure that compares evaluations during training.
    #[derive(Default)]
    BestMetric {
        /// None: the adapter of the last step is exported.
        #[default]
        None = "none",
        /// [`crate::metrics::Metric::Opa`]; higher is better, as for all but the loss.
        Opa = "opa",
        /// [`crate::metrics::Metric::PreferenceAccuracy`].
        PreferenceAccuracy = "preference_accuracy",
        /// [`crate::metrics::Metric::PreferenceAccuracyNormalized`].
        PreferenceAccuracyNormalized = "preference_accuracy_normalized",
        /// [`crate::metrics::Metric::OpaMarginMean`].
        OpaMarginMean = "opa_margin_mean",
        /// [`crate::metrics::Metric::RewardMarginMean`].
        RewardMarginMean = "reward_margin_mean",
        /// The loss that is trained, `dpo.loss` with `dpo.sft_weight`; lower is better.
        DpoLoss = "dpo_loss",
    }

    /// A figure of the evaluation.
    MetricName {
        /// Share of pairs whose margin is above the reference's (paper, Eq. 3), and the other figures of scores.
        Opa = "opa",
        /// Share of prompts whose generated answer is near the preferred one (paper, Eq. 4); see `[eval.spmr]`.
        Spmr = "spmr",
    }
}

/// What a loss makes a reward of: `beta` times this.
enum Reward {
    /// An answer's summed log-probability less the reference's.
    Sum,
    /// The same of means per token.
    Mean,
    /// The policy's mean per token, without a reference.
    MeanAlone,
}

impl LossType {
    fn reward(self) -> Reward {
        match self {
            Self::Sigmoid => Reward::Sum,
            Self::SigmoidNorm => Reward::Mean,
            Self::Hinge => Reward::Sum,
            Self::Ipo => Reward::Mean,
            Self::Robust => Reward::Sum,
            Self::ExoPair => Reward::Sum,
            Self::NcaPair => Reward::Sum,
            Self::BcoPair => Reward::Sum,
            Self::SppoHard => Reward::Sum,
            Self::ApoZero => Reward::Sum,
            Self::ApoDown => Reward::Sum,
            Self::Discopop => Reward::Sum,
            Self::Simpo => Reward::MeanAlone,
        }
    }

    /// Whether it compares means per token instead of sums.
    pub fn is_per_token(self) -> bool {
        match self.reward() {
            Reward::Sum => false,
            Reward::Mean | Reward::MeanAlone => true,
        }
    }

    /// Whether it measures the policy from a reference.
    pub fn needs_reference(self) -> bool {
        match self.reward() {
            Reward::Sum | Reward::Mean => true,
            Reward::MeanAlone => false,
        }
    }
}

impl ColumnRole {
    /// Roles whose column may be the empty name, which says that the file has none of it.
    pub const MAY_LACK: &'static [&'static str] =
        &["system", "tools", "history", "profile", "id", "user_id"];
}

impl EvalTokenization {
    /// The tokenization of an evaluation's pairs where `data` is that of the training pairs.
    pub fn of(self, data: Tokenization) -> Tokenization {
        match self {
            Self::Data => data,
            Self::Joint => Tokenization::Joint,
            Self::Separate => Tokenization::Separate,
            Self::Prefix => Tokenization::Prefix,
        }
    }
}

impl Projection {
    /// The part of a decoder layer that holds it.
    pub fn module(self) -> &'static str {
        match self {
            Self::QProj | Self::KProj | Self::VProj | Self::OProj => "self_attn",
            Self::GateProj | Self::UpProj | Self::DownProj => "mlp",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_are_in_the_order_of_peft() {
        let paths =
            Projection::ALL.map(|projection| format!("{}.{projection}", projection.module()));
        let expected = [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        ];
        assert_eq!(paths, expected);
        assert!(Projection::ALL.is_sorted());
    }

    #[test]
    fn a_choice_is_written_as_its_name() {
        for dtype in Dtype::ALL {
            assert_eq!(toml::Value::try_from(dtype).unwrap().as_str(), Some(dtype.name()));
        }
    }
}
