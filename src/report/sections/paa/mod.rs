//! Preference Alignment Accuracy: a folder of verdicts in, its sections out, and every table as CSV.

pub mod cautions;
pub mod models;

mod axes;
mod countries;
mod groups;
mod map;
mod methods;
mod regions;
mod shares;
mod stated;
mod verdicts;

use crate::metrics::paa::PaaEvaluation;
use crate::report::csv;
use crate::report::judged::JudgedFolder;
use crate::report::section::{Page, Part, Section};
use crate::report::text::Text;

/// The page of one folder of verdicts.
pub fn page(judged: &JudgedFolder) -> Page {
    let title = format!("{}: preference alignment accuracy", judged.name);
    Page { title: title.clone(), heading: title, intro: intro(judged), sections: inner(judged, "") }
}

/// The same as one section of a page of several runs and folders; `id` is unique on the page.
pub fn section(judged: &JudgedFolder, id: String) -> Section {
    let title = format!("{}: preference alignment accuracy", judged.name);
    let shapes = format!("{id}-");
    let mut section = Section::new(id, title, intro(judged));
    inner(judged, &shapes).into_iter().for_each(|one| section.add(one));
    section
}

/// Every table of the page as a CSV file: its name and its bytes.
pub fn csvs(evaluation: &PaaEvaluation) -> Vec<(String, Vec<u8>)> {
    csv::files(&page(&JudgedFolder::of_figures(evaluation)))
}

/// Who answered and who judged, the headline figures, and what must be read before them.
fn intro(judged: &JudgedFolder) -> Vec<Part> {
    let evaluation = &judged.evaluation;
    let judges: Vec<&str> = evaluation.judges.iter().map(|judge| &*judge.name).collect();
    let lead = Text::from(format!(
        "{} judged by {}, protocol ",
        shares::names(evaluation).join(", "),
        judges.join(", ")
    ));
    let lead = Part::lead(lead.and(Text::code(&evaluation.protocol.name)).and("."));
    let cautions = cautions::of(evaluation).into_iter().map(Part::reading);
    let left_out = judged.left_out.iter().map(|note| Part::missing(Text::marked(note)));
    [lead, models::tiles(evaluation)].into_iter().chain(cautions).chain(left_out).collect()
}

/// `shapes`: what the ids of the map's shapes begin with.
fn inner(judged: &JudgedFolder, shapes: &str) -> Vec<Section> {
    let evaluation = &judged.evaluation;
    vec![
        methods::section(evaluation),
        models::section(evaluation),
        map::section(judged, shapes),
        countries::section(evaluation),
        regions::section(evaluation),
        groups::section(evaluation),
        axes::section(evaluation),
        stated::section(evaluation),
        verdicts::section(judged),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::report::judged::sample::judged_folder;
    use crate::report::{html, markdown};

    #[test]
    fn the_page_has_every_section_and_the_caution_stands_above_the_figures() {
        let page = page(&judged_folder());
        let ids: Vec<&str> = page.sections.iter().map(|section| &*section.id).collect();
        let expected = [
            "methods",
            "models",
            "map",
            "countries",
            "regions",
            "groups",
            "axes",
            "stated",
            "verdicts",
        ];
        assert_eq!(ids, expected);
        assert!(page.sections.iter().all(|section| !section.is_empty()));
        let markdown = markdown::page(&page);
        let place = |part: &str| markdown.find(part).unwrap_or_else(|| panic!("no `{part}`"));
        assert!(place("judge and evaluated model in one") < place("## Models"));
        for part in ["| gpt-4o | Age | ", "## World map", "- gpt-4o: PAA: "] {
            place(part);
        }
    }

    #[test]
    fn every_csv_is_the_one_that_the_page_links_to() {
        let judged = judged_folder();
        let files = csvs(&judged.evaluation);
        let names: BTreeSet<&String> = files.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), files.len(), "{names:?}");
        let html = html::page(&page(&judged));
        assert_eq!(html.matches("<a download=").count(), files.len());
        for (name, bytes) in &files {
            assert!(html.contains(&format!("<a download=\"{name}\"")), "{name}");
            assert!(bytes.windows(2).filter(|end| end == b"\r\n").count() > 1, "{name}");
        }
        let (_, models) = files.iter().find(|(name, _)| name == "Models.csv").unwrap();
        let models = String::from_utf8_lossy(models);
        assert!(models.starts_with("model,PAA (%),PAA (%) low,PAA (%) high,n,"), "{models}");
    }

    #[test]
    fn a_section_among_others_has_ids_of_its_own() {
        let html = html::page(&Page {
            sections: ["paa0", "paa1"].map(|id| section(&judged_folder(), id.into())).into(),
            ..Page::default()
        });
        for part in ["id=\"paa1-models\"", "id=\"paa0-land\"", "href=\"#paa1-land\""] {
            assert!(html.contains(part), "{part}");
        }
    }
}
