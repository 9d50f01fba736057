//! The pages in a real browser: the Chromium that `CHROMIUM` or `CHROME` names, or one on the path.

use std::path::Path;
use std::process::Command;

use super::paa::report_judged;
use super::{add_answers, figures, page, place, succeed};
use crate::command::Place;
use crate::require;

#[track_caller]
pub(crate) fn browse(browser: &Path, place: &Place, file: &str, flags: &[&str]) -> String {
    let output = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", place.path("profile").display()))
        .args(flags)
        .arg(format!("file://{}", place.path(file).display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Has the page `html` call `report(value)` in a frame of `width` pixels, since a window is at least 500 wide; returns the value as JSON.
#[track_caller]
pub(crate) fn framed(
    browser: &Path,
    place: &Place,
    html: &str,
    width: usize,
    flags: &[&str],
) -> String {
    let report = "<head>\n<script>const report = value => parent.postMessage(JSON.stringify(value), \"*\");</script>";
    place.write("framed.html", html.replacen("<head>", report, 1));
    let frame = format!(
        r#"<!DOCTYPE html><body style="margin: 0"><script>
addEventListener("message", event => {{ document.title = "REPORTED"; document.body.replaceChildren(new Text(event.data)); }});
</script><iframe src="framed.html" style="border: 0; width: {width}px; height: 900px"></iframe></body>"#
    );
    place.write("frame.html", frame);
    let all = [&["--dump-dom", "--window-size=1400,1000", "--timeout=60000"], flags].concat();
    let dom = browse(
        browser,
        place,
        "frame.html",
        &[&all[..], &["--virtual-time-budget=60000"]].concat(),
    );
    let reported = dom.split_once("<title>REPORTED").and_then(|(_, rest)| rest.split_once("<body"));
    let (_, body) = reported.unwrap_or_else(|| panic!("nothing was reported: {dom}"));
    let (body, _) = body.split_once('>').unwrap().1.split_once("</body>").unwrap();
    body.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").trim().to_owned()
}

/// Lists texts of charts that are cut off by their chart or lie on each other, as JSON in the body.
const MEASURE: &str = r#"<script>
const found = [];
for (const svg of document.querySelectorAll("figure svg")) {
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const boxes = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBBox()]);
  boxes.forEach(([text, b], i) => {
    if (b.x < -0.5 || b.y < -0.5 || b.x + b.width > width + 0.5 || b.y + b.height > height + 0.5) found.push("cut off: " + text);
    for (const [other, c] of boxes.slice(i + 1)) {
      const x = Math.min(b.x + b.width, c.x + c.width) - Math.max(b.x, c.x);
      const y = Math.min(b.y + b.height, c.y + c.height) - Math.max(b.y, c.y);
      if (x > 1 && y > 4) found.push("overlap: " + text + " / " + other);
    }
  });
}
const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
if (wide) found.push("the page is wider than its window");
document.body.replaceChildren(document.createTextNode("MEASURED " + JSON.stringify(found) + " END"));
</script></body>"#;

#[test]
fn a_browser_shows_the_numbers_in_light_dark_and_print_and_no_label_is_cut_off() {
    let Some(browser) = require::chromium() else { return };
    let place = place();
    add_answers(&place);
    succeed(&place, &["one"]);
    succeed(&place, &["one", "two", "--output", "both"]);
    report_judged(&place);
    let shown = browse(&browser, &place, "one/report.html", &["--dump-dom"]);
    let shown = shown.replace("<span class=\"bounds\">", "");
    for figure in figures(&place, "one") {
        assert!(shown.contains(&figure), "{figure} is not shown");
    }
    for name in ["one/report.html", "both/report.html", "paa/report.html"] {
        let measured = page(&place, name).replacen("</body>", MEASURE, 1);
        place.write("measured.html", measured);
        for width in [1200, 520] {
            let size = format!("--window-size={width},900");
            let dom = browse(&browser, &place, "measured.html", &["--dump-dom", &size]);
            assert!(dom.contains("MEASURED [] END"), "{name} at {width}: {dom}");
        }
    }
    let shoot = |name: &str, flag: &str| {
        let file = format!("--screenshot={}", place.path(name).display());
        browse(&browser, &place, "one/report.html", &["--window-size=1200,3000", &file, flag]);
        let png = place.bytes(name);
        assert!(png.starts_with(b"\x89PNG") && png.len() > 20_000, "{name}: {} bytes", png.len());
        png
    };
    let light = shoot("light.png", "--blink-settings=preferredColorScheme=1");
    assert!(light != shoot("dark.png", "--blink-settings=preferredColorScheme=0"));
    let pdf = format!("--print-to-pdf={}", place.path("report.pdf").display());
    browse(&browser, &place, "one/report.html", &[&pdf]);
    assert!(place.bytes("report.pdf").starts_with(b"%PDF-"));
}
