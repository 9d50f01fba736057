//! Keys whose value is one of a few words.

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
        /// bf16 on CUDA, f32 on the CPU.
        Auto = "auto",
        /// bfloat16.
        Bf16 = "bf16",
        /// 32-bit float.
        F32 = "f32",
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

    /// Loss of a preference pair.
    LossType {
        /// `-log sigmoid(beta * margin)`, the loss of the DPO paper.
        Sigmoid = "sigmoid",
    }

    /// The policy that rewards are measured from.
    Reference {
        /// The base model: the same weights with the adapter off.
        Base = "base",
    }

    /// How the prompt of a record becomes that of a pair.
    PromptFormat {
        /// An MVPBench record as `User profile: ...\nQuestion: ...`, as the authors train; a pair file's prompt as it stands.
        Mvpbench = "mvpbench",
        /// The same text as one user message, and the answer as the assistant's, through the model's own chat template.
        Chat = "chat",
    }

    /// How a prompt and its answers become token ids.
    Tokenization {
        /// As TRL 1.16: `prompt`, `prompt + chosen` and `prompt + rejected` as whole texts with special tokens on; the prompt
        /// is the longest beginning that all three share. A token that merges across the boundary belongs to both answers.
        /// The EOS text is appended to an answer that does not end with it.
        Joint = "joint",
        /// As TRL up to 0.28, the paper's 0.6.0 among them: prompt and answers apart, without special tokens (so without BOS),
        /// and the EOS id appended to both answers whatever they end with. The original then cut a too long sequence at its
        /// beginning (`keep_end`); here `max_length` cuts the end of the answer in both ways.
        Separate = "separate",
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
        /// Keep if they fit the free memory before step 0, otherwise recompute.
        Auto = "auto",
        /// Keep all.
        Keep = "keep",
        /// Keep each layer's input and compute the rest again.
        Recompute = "recompute",
    }

    /// A figure of the evaluation.
    MetricName {
        /// Share of pairs whose margin is above the base model's (paper, Eq. 3), and its relatives.
        Opa = "opa",
    }
}

impl Default for PromptFormat {
    fn default() -> Self {
        Self::Mvpbench
    }
}

impl Default for Tokenization {
    fn default() -> Self {
        Self::Joint
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
