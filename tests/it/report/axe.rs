//! axe-core finds nothing to object to on the pages: wide and narrow, light and dark.

use super::browser::framed;
use super::paa::report_judged;
use super::{add_answers, page, place, succeed};
use crate::command::Place;
use crate::require;

/// Unfolds everything and reports the violations, rule and first element each.
const AUDIT: &str = r#"<script>
addEventListener("load", async () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const { violations, passes } = await axe.run();
  const found = violations.map(one => one.id + " (" + one.nodes.length + "): " + one.nodes[0].html.slice(0, 200) + " " + one.nodes[0].failureSummary);
  report(passes.length > 10 ? found : [...found, "only " + passes.length + " rules were checked"]);
});
</script></body>"#;

/// Has axe-core look at a page, wide and narrow, light and dark, after `prepare`, a script. Skips without a browser or without npm.
#[track_caller]
pub(crate) fn assert_accessible(place: &Place, name: &str, html: &str, prepare: &str) {
    let Some(browser) = require::chromium() else { return };
    let Some(folder) = require::npm_package("axe-core", "4.10.3") else { return };
    let axe = std::fs::read_to_string(folder.join("axe.min.js")).unwrap();
    let scripts = format!("<script>{axe}</script><script>{prepare}</script>{AUDIT}");
    let html = html.replacen("</body>", &scripts, 1);
    for width in [1280, 390] {
        for scheme in [0, 1] {
            let flag = format!("--blink-settings=preferredColorScheme={scheme}");
            let found = framed(&browser, place, &html, width, &[&flag]);
            assert_eq!(found, "[]", "{name} at {width}, color scheme {scheme}");
        }
    }
}

#[test]
fn axe_finds_no_violation_on_desk_and_phone_in_light_and_dark() {
    let place = place();
    add_answers(&place);
    succeed(&place, &["one"]);
    succeed(&place, &["one", "two", "--output", "both"]);
    report_judged(&place);
    for name in ["one/report.html", "both/report.html", "paa/report.html"] {
        assert_accessible(&place, name, &page(&place, name), "");
    }
}
