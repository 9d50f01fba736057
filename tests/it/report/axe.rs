//! axe-core finds nothing to object to on the pages: wide and narrow, light and dark.

use super::browser::framed;
use super::paa::report_judged;
use super::{add_answers, page, place, succeed};
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

#[test]
fn axe_finds_no_violation_on_desk_and_phone_in_light_and_dark() {
    let Some(browser) = require::chromium() else { return };
    let Some(folder) = require::npm_package("axe-core", "4.10.3") else { return };
    let axe = std::fs::read_to_string(folder.join("axe.min.js")).unwrap();
    let place = place();
    add_answers(&place);
    succeed(&place, &["one"]);
    succeed(&place, &["one", "two", "--output", "both"]);
    report_judged(&place);
    for name in ["one/report.html", "both/report.html", "paa/report.html"] {
        let scripts = format!("<script>{axe}</script>{AUDIT}");
        let html = page(&place, name).replacen("</body>", &scripts, 1);
        for width in [1280, 390] {
            for scheme in [0, 1] {
                let flag = format!("--blink-settings=preferredColorScheme={scheme}");
                let found = framed(&browser, &place, &html, width, &[&flag]);
                assert_eq!(found, "[]", "{name} at {width}, color scheme {scheme}");
            }
        }
    }
}
