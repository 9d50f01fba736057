//! The page of judged answers, from a folder as `mvpbench judge` leaves it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use mvpbench::disk::{digest, json_lines};
use mvpbench::metrics::paa::evaluation::{AnsweredBy, DataFile, JudgeUsed, ProtocolUsed};
use mvpbench::metrics::paa::{
    Calibration, Judged, JudgedModel, ModelResult, PaaEvaluation, Verdict, VerdictLine, models,
};
use mvpbench::report::judged::JudgedFolder;
use mvpbench::report::sections::paa::csvs;
use mvpbench::run_folder::paa::PaaFolder;

use super::{assert_refused, page, place, report, succeed, text_of};
use crate::command::Place;

include!("../../../src/report/judged_sample.rs");

/// Writes the folder `paa`: 75 countries, three models.
fn judge(place: &Place) -> PaaEvaluation {
    let JudgedFolder { mut evaluation, verdicts, .. } = judged_folder();
    let paths = PaaFolder::of(&place.path("paa"));
    std::fs::create_dir_all(place.path("paa")).unwrap();
    for (model, lines) in evaluation.models.iter().zip(&verdicts) {
        let path = paths.file(&model.verdicts);
        json_lines::write_checked(&path, lines).unwrap();
        evaluation.files.insert(model.verdicts.clone(), digest::of_file(&path).unwrap());
    }
    evaluation.write(&paths.figures()).unwrap();
    evaluation
}

/// The folder with its pages.
pub(super) fn report_judged(place: &Place) -> PaaEvaluation {
    let evaluation = judge(place);
    succeed(place, &["paa"]);
    evaluation
}

#[test]
fn a_folder_of_verdicts_has_a_page_of_its_own_and_a_table_on_the_console() {
    let place = place();
    let evaluation = judge(&place);
    let output = report(&place, &["paa"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for part in ["model ", "gpt-4o ", "null: reference", "report: ", "more in report.html"] {
        assert!(said.contains(part), "`{part}` is not in\n{said}");
    }
    assert!(
        said.lines().all(|line| line.starts_with("report: ") || line.chars().count() <= 80),
        "{said}"
    );
    let html = page(&place, "paa/report.html");
    let text = text_of(&html);
    for part in ["Zambia", "1 of 18", "judge and evaluated model in one", "llama2-7b <b>"] {
        assert!(text.contains(part), "`{part}` is not on the page");
    }
    for (name, _) in csvs(&evaluation) {
        assert!(html.contains(&format!("<a download=\"{name}\"")), "{name}");
    }
    // Every verdict is in the page, as JSON.
    assert_eq!(html.matches("<script type=\"application/json\">").count(), 3);
    assert!(html.len() < 4_000_000, "{} bytes", html.len());
}

#[test]
fn runs_and_verdicts_share_a_page() {
    let place = place();
    judge(&place);
    succeed(&place, &["one", "paa", "two", "--output", "all"]);
    let html = page(&place, "all/report.html");
    text_of(&html);
    for part in ["id=\"paa0-models\"", "id=\"run1-set0\"", "with the verdicts of paa"] {
        assert!(html.contains(part), "{part}");
    }
    succeed(&place, &["one", "paa", "--output", "mixed"]);
    assert!(text_of(&page(&place, "mixed/report.html")).contains("World map"));
    let twice = place.mvpbench(&["report", "paa", "./paa", "--output", "twice"]).output().unwrap();
    assert_eq!(twice.status.code(), Some(2), "one folder counts once");
}

#[test]
fn a_minimum_measures_anew_and_missing_or_changed_verdicts_are_said_or_refused() {
    let place = place();
    let evaluation = judge(&place);
    succeed(&place, &["paa", "--minimum-n", "18"]);
    let anew = page(&place, "paa/report.md");
    assert!(anew.contains("Fewer than 18 answers or fewer than 5 users."), "{anew}");
    let file = format!("paa/{}", evaluation.models[1].verdicts);
    let bytes = place.bytes(&file);
    std::fs::remove_file(place.path(&file)).unwrap();
    let said = succeed(&place, &["paa"]);
    assert!(said.contains("its verdicts are left out"), "{said}");
    place.write(&file, &bytes[..bytes.len() / 2]);
    assert_refused(
        &place,
        &["paa"],
        &["is not the file that the figures are computed from", "hint: "],
    );
    place.write(&file, bytes);
    let figures = page(&place, "paa/paa.json");
    place.write("paa/paa.json", figures.replacen("gpt-4o", "gpt-5o", 1));
    assert_refused(&place, &["paa"], &["is not what `mvpbench judge` wrote", "hint: "]);
}
