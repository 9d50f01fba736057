//! The paper's Table 1 as data.

/// The set of the first two columns of Table 1.
pub const MVP_TEST: &str = "MVP_test";
/// The set of its last column.
pub const UFP4: &str = "UF-P-4";

/// One row of the paper's Table 1, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaperRow {
    /// The base model as the paper prints it.
    pub base_model: &'static str,
    /// Whether it was tuned on MVP_train.
    pub tuned: bool,
    /// OPA on MVP_test.
    pub mvp_test_opa: f64,
    /// SPMR on MVP_test.
    pub mvp_test_spmr: f64,
    /// OPA on UF-P-4.
    pub ufp4_opa: f64,
}

/// Table 1 of arXiv 2509.08022.
pub const PAPER: [PaperRow; 8] = [
    paper_row("Llama2-7b", false, [44.08, 5.87, 50.47]),
    paper_row("Llama2-7b", true, [99.60, 26.60, 54.90]),
    paper_row("Llama2-13b", false, [47.91, 5.95, 51.58]),
    paper_row("Llama2-13b", true, [99.62, 31.12, 56.01]),
    paper_row("Llama2-7b-chat", false, [49.91, 13.84, 50.74]),
    paper_row("Llama2-7b-chat", true, [99.58, 19.97, 52.92]),
    paper_row("Llama2-13b-chat", false, [49.51, 23.69, 51.01]),
    paper_row("Llama2-13b-chat", true, [99.66, 27.81, 55.04]),
];

const fn paper_row(base_model: &'static str, tuned: bool, percent: [f64; 3]) -> PaperRow {
    let [mvp_test_opa, mvp_test_spmr, ufp4_opa] = percent;
    PaperRow { base_model, tuned, mvp_test_opa, mvp_test_spmr, ufp4_opa }
}

/// The paper's name of a model, from the last component of a hub id or folder: `meta-llama/Llama-2-7b-chat-hf` is
/// `Llama2-7b-chat`. Case, a missing `-hf` and `llama2` for `llama-2` do not matter; none for any other model.
pub fn paper_base_model(model: &str) -> Option<&'static str> {
    let name = model.trim_end_matches('/').rsplit('/').next()?.to_lowercase();
    let name = name.strip_suffix("-hf").unwrap_or(&name).replacen("llama-2-", "llama2-", 1);
    PAPER.iter().map(|row| row.base_model).find(|base| base.to_lowercase() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_the_last_component_of_its_path() {
        for (model, expected) in [
            ("meta-llama/Llama-2-7b-hf", Some("Llama2-7b")),
            ("/models/llama-2-13B-CHAT-hf/", Some("Llama2-13b-chat")),
            ("llama2-7b-chat", Some("Llama2-7b-chat")),
            ("Llama-2-13b", Some("Llama2-13b")),
            ("meta-llama/Llama-2-70b-hf", None),
            ("Llama-2-7b-hf/finetuned", None),
            ("", None),
        ] {
            assert_eq!(paper_base_model(model), expected, "{model}");
        }
    }

    #[test]
    fn tuning_raises_every_figure_of_the_paper() {
        for rows in PAPER.chunks(2) {
            let [no, yes] = rows else { panic!("two rows per model") };
            assert!(no.base_model == yes.base_model && !no.tuned && yes.tuned);
            assert!(
                no.mvp_test_opa < yes.mvp_test_opa
                    && no.mvp_test_spmr < yes.mvp_test_spmr
                    && no.ufp4_opa < yes.ufp4_opa
            );
        }
    }
}
