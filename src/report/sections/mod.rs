//! The content of a report, written once for HTML and Markdown: runs in, a [`Page`] of sections out.
//!
//! A file is one section, or one part of several: its tables, sentences and charts. A section without parts is not shown.

pub mod about;
pub mod answers;
pub mod attributes;
pub mod axes;
pub mod compare;
pub mod configurations;
pub mod curves;
pub mod drift;
pub mod group_charts;
pub mod groups;
pub mod margins;
pub mod methods;
pub mod paa;
pub mod run_differences;
pub mod samples;
pub mod sets;
pub mod spmr;
pub mod tiles;

use std::path::Path;

use crate::report::folder::Run;
use crate::report::judged::JudgedFolder;
use crate::report::paired::Paired;
use crate::report::run::RunReport;
use crate::report::section::{Page, Part, Section};
use crate::report::states::{States, set_names};
use crate::report::table1::Table1;
use crate::report::text::Text;

/// The page of one run, or of several side by side, each with its folder; then the folders of verdicts. `paired`: several runs on the
/// same pairs.
pub fn page(runs: &[(&Run, &Path)], paired: &Paired, judged: &[JudgedFolder]) -> Page {
    let mut page = match (runs, judged) {
        ([], [judged]) => return paa::page(judged),
        ([], _) => Page::default(),
        ([(run, folder)], _) => one(run, folder),
        _ => several(runs, paired),
    };
    if judged.is_empty() {
        return page;
    }
    let sections = judged.iter().enumerate();
    let sections = sections.map(|(index, folder)| paa::section(folder, format!("paa{index}")));
    page.sections.extend(sections);
    let names: Vec<&str> = judged.iter().map(|folder| &*folder.name).collect();
    let names = names.join(", ");
    if runs.is_empty() {
        page.heading = format!("{} folders of verdicts side by side", judged.len());
        page.title = format!("{} folders of verdicts: {names}", judged.len());
    } else {
        page.title = format!("{}, {names}", page.title);
        page.heading = format!("{}, with the verdicts of {names}", page.heading);
    }
    page
}

fn one(run: &Run, folder: &Path) -> Page {
    let report = run.report(folder);
    let mut sections = vec![methods::section(run), table1(run, &report), training(run)];
    sections.extend(details(run, &report));
    Page {
        title: report.title.clone(),
        heading: report.title.clone(),
        intro: head(run, &report),
        sections,
    }
}

fn several(runs: &[(&Run, &Path)], paired: &Paired) -> Page {
    let all: Vec<&Run> = runs.iter().map(|(run, _)| *run).collect();
    let names: Vec<&str> = all.iter().map(|run| &*run.name).collect();
    let names = names.join(", ");
    let curves = Section::new("curves", "Training", curves::parts(&all));
    let mut sections = vec![compare::section(paired), curves];
    for (index, (run, folder)) in runs.iter().enumerate() {
        let (id, title) = (format!("run{index}"), format!("Run {}", run.name));
        let report = run.report(folder);
        let mut parts = head(run, &report);
        parts.extend(report.cautions.iter().cloned().map(Part::reading));
        let mut section = Section::new(id, title, parts).folded();
        section.add(methods::section(run));
        details(run, &report).into_iter().for_each(|inner| section.add(inner));
        sections.push(section);
    }
    Page {
        title: format!("{} runs: {names}", all.len()),
        heading: format!("{} runs side by side", all.len()),
        intro: vec![Part::lead(names)],
        sections,
    }
}

/// The model, the device and the headline figures.
fn head(run: &Run, report: &RunReport) -> Vec<Part> {
    let model = Text::from("Base model ").and(Text::code(&report.model));
    let lead = Part::lead(model.and(format!(", on {}.", report.device)));
    [Some(lead), tiles::part(run)].into_iter().flatten().collect()
}

fn table1(run: &Run, report: &RunReport) -> Section {
    let (before, after) = (run.before.as_ref(), run.after.as_ref());
    let parts = if before.is_some() || after.is_some() {
        let charts = set_names(before, after).into_iter();
        let charts = charts.filter_map(|set| compare::forest(&[run], set)).collect();
        let mut parts = Table1::new(before, after).below(&report.cautions).into_parts();
        parts.push(Part::Charts(charts));
        parts
    } else {
        vec![Part::missing("This run was not evaluated.")]
    };
    Section::new("table1", "Results beside the paper's Table 1", parts)
}

fn training(run: &Run) -> Section {
    let mut parts = curves::parts(&[run]);
    if parts.is_empty() && !run.is_evaluation {
        parts.push(Part::missing("The folder has no record of a training step."));
    }
    Section::new("training", "Training", parts)
}

/// The sections that every run has, on its own page and on one of several runs.
fn details(run: &Run, report: &RunReport) -> Vec<Section> {
    let mut sections = vec![curves::evaluations(run), drift::section(run), samples::section(run)];
    let (before, after) = (run.before.as_ref(), run.after.as_ref());
    for (index, files) in run.sets.iter().enumerate() {
        let Some(set) = States::of(&files.name, before, after) else { continue };
        sections.extend([
            sets::section(format!("set{index}"), &set, files),
            spmr::section(format!("spmr{index}"), &set, files),
            axes::section(format!("axes{index}"), &set),
            groups::section(format!("groups{index}"), &set),
        ]);
    }
    sections.extend([answers::section(run), about::section(run, report)]);
    sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;
    use crate::report::folder::sample::run;
    use crate::report::{cell, markdown};

    fn markdown_of(run: &Run) -> String {
        markdown::page(&page(&[(run, Path::new("runs/llama2-7b"))], &Paired::default(), &[]))
    }

    #[test]
    fn every_figure_of_every_file_is_on_the_page() {
        let page = markdown_of(&run());
        for metric in Metric::ALL {
            assert_eq!(page.matches(&format!("| {} |", cell::label(metric))).count(), 3, "{page}");
        }
        for part in [
            "### File helpfulness, 2 pairs\n",
            "### File honesty, 2 pairs\n",
            "| opa (%), chance 50 % | - | 75.00 [",
            "4 pairs in 3 clusters (a user, or a pair without one); 40 scored tokens",
            // Before, all four pairs tie; after, the one that did not move.
            "] | - | - | 1 |\n",
            "Before tuning 4 of 4 pairs tie",
        ] {
            assert!(page.contains(part), "`{part}` is not in\n{page}");
        }
    }

    #[test]
    fn the_training_the_notes_and_the_configuration_are_on_the_page() {
        let page = markdown_of(&run());
        for line in [
            "# runs/llama2-7b\n",
            "Base model `meta-llama/Llama-2-7b-hf`, on cpu, 2 threads.\n",
            "| Llama2-7b, paper | yes | 54.90 |",
            "| steps | 1,234 steps, 9,872 pairs, 3.00 epochs |",
            "| loss, first step | 0.6931 |",
            "| reward accuracy, last step | 87.50 % |",
            "| peak memory | - |",
            "| wall time, evaluation included | 1 min 15 s |",
            "| mvpbench | 0.1.0 |",
            "- 3 pairs were cut\n",
            "PeftModel.from_pretrained(base, \"runs/llama2-7b/adapter\")",
            "```toml\n[model]\npath = \"meta-llama/Llama-2-7b-hf\"\n```\n",
        ] {
            assert!(page.contains(line), "`{line}` is not in\n{page}");
        }
    }

    #[test]
    fn opa_stands_beside_its_chance_and_has_no_before_and_no_change() {
        let page = markdown_of(&run());
        let place =
            |part: &str| page.find(part).unwrap_or_else(|| panic!("no `{part}` in\n{page}"));
        let accuracy = place("- UF-P-4: preference accuracy: 75.00 %, 95 % interval");
        let opa = place("- UF-P-4: OPA: 75.00 %, 95 % interval");
        assert!(accuracy < opa, "what can be compared with before leads");
        let line = page[opa..].lines().next().unwrap();
        assert!(line.ends_with("n = 4, chance 50 %"), "{line}");
        for line in page.lines().filter(|line| line.starts_with("| opa (%), chance 50 % |")) {
            let cells: Vec<&str> = line.split(" | ").collect();
            assert_eq!((cells[1], cells[3], cells[4]), ("-", "-", "-"), "{line}");
        }
        // A model that was not tuned has no OPA at all, and says that it is not.
        let untuned = markdown_of(&Run { after: None, ..run() });
        assert!(
            !untuned.contains("UF-P-4: OPA:") && !untuned.contains("OPA: share won"),
            "{untuned}"
        );
        assert!(untuned.contains("| opa (%), chance 50 % | - | - | - | - | - |"), "{untuned}");
        assert!(untuned.contains("- UF-P-4: preference accuracy, untuned model: "), "{untuned}");
    }

    #[test]
    fn the_set_that_chose_the_step_says_so_in_its_tiles_and_above_table_1() {
        let mut run = run();
        let eval = "[eval]\nbest_metric = \"opa\"\n[[eval.sets]]\nname = \"UF-P-4\"\nfiles = [\"embedded:a\"]\n";
        run.config = eval.parse().unwrap();
        run.summary.as_mut().unwrap().training.as_mut().unwrap().exported = Some("step 4".into());
        let page = markdown_of(&run);
        assert_eq!(page.matches("chance 50 %, chosen on this set\n").count(), 1, "{page}");
        let table = page.find("| Llama2-7b, paper").unwrap();
        for caution in ["UF-P-4: chosen on this set.", "says nothing about alignment"] {
            assert!(page[..table].contains(caution), "`{caution}` is not above the paper's rows");
        }
        let base = crate::report::card::BaseModel { name: "b", on_hub: true };
        let card = run.report(Path::new("runs/a")).to_model_card(base, &[], &[]);
        let table = card.find("| Llama2-7b, paper").unwrap();
        assert!(
            card[..table].contains("chosen on this set") && card[..table].contains("alignment")
        );
        run.config["eval"].as_table_mut().unwrap().insert("best_set".into(), "other".into());
        assert!(!markdown_of(&run).contains("chosen on this set"));
    }

    #[test]
    fn a_run_without_evaluation_says_so() {
        let page = markdown_of(&Run { before: None, after: None, sets: vec![], ..run() });
        assert!(page.contains("This run was not evaluated.") && page.contains("1,234 steps"));
    }

    #[test]
    fn runs_side_by_side_have_sections_of_their_own() {
        let (one, other) = (run(), Run { name: "other".into(), ..run() });
        let folder = Path::new("runs");
        let page = page(&[(&one, folder), (&other, folder)], &Paired::of(&[&one, &other], 10), &[]);
        let ids: Vec<&str> = page.sections.iter().map(|section| &*section.id).collect();
        assert_eq!(ids, ["runs", "curves", "run0", "run1"]);
        let inner = page.sections[3].inner.iter().filter(|section| !section.is_empty());
        let inner: Vec<&str> = inner.map(|section| &*section.id).collect();
        assert_eq!(
            inner,
            [
                "run1-methods",
                "run1-set0",
                "run1-axes0",
                "run1-groups0",
                "run1-answers",
                "run1-about"
            ]
        );
    }
}
