//! What a run folder is for, and the file that holds its configuration.

use anyhow::Result;

use crate::config::RunConfig;

/// What a folder is for; each purpose has its own configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A run of `train`.
    Run,
    /// An evaluation by `mvpbench eval`.
    Evaluation,
}

impl Purpose {
    pub(super) fn config_file(self) -> &'static str {
        match self {
            Self::Run => "config.toml",
            Self::Evaluation => "evaluation.toml",
        }
    }

    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Evaluation => "evaluation",
        }
    }

    pub(super) fn to_toml(self, config: &RunConfig) -> Result<String> {
        match self {
            Self::Run => config.to_toml(),
            Self::Evaluation => config.to_evaluation_toml(),
        }
    }

    pub(super) fn parse(self, text: &str, name: &str) -> Result<RunConfig> {
        match self {
            Self::Run => RunConfig::parse(text, name),
            Self::Evaluation => RunConfig::parse_evaluation(text, name),
        }
    }
}
