//! Options of the chat template of a local model.

use chrono::NaiveDate;
use clap::Args;

use crate::session::template_choice::TemplateChoice;

/// The template, and the day it is given.
#[derive(Debug, Clone, Args)]
pub(crate) struct TemplateArgs {
    /// Chat template in place of the model's: a .jinja file, or a folder that has one, such as an adapter's
    #[arg(long, value_name = "FILE|FOLDER", requires = "model")]
    chat_template: Option<String>,
    /// Day that the chat template is given where it asks for the date; by default today
    #[arg(long, value_name = "YYYY-MM-DD", requires = "model", value_parser = day)]
    template_date: Option<NaiveDate>,
}

impl TemplateArgs {
    /// The choice of these options.
    pub(crate) fn choice(&self) -> TemplateChoice {
        TemplateChoice::typed(self.chat_template.as_deref().unwrap_or_default(), self.template_date)
    }
}

fn day(typed: &str) -> Result<NaiveDate, String> {
    typed.parse().map_err(|_| format!("expected a day as `YYYY-MM-DD`, got `{typed}`"))
}
