#!/usr/bin/env python3
"""Makes the pictures of docs/: trains the tiny preset twice, the second time with SPMR, and has headless Chromium show the pages.

    cargo build --release
    python3 scripts/make_pictures.py [--bin target/release] [--chromium chromium]

The encoder of the second run is the tiny one of tests/data/encoder, so its figures show the form of the section and nothing else.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH = 1180
HEAD = 2420  # As much of the first page as shows the forest plots below Table 1.
SPMR = [
    'eval.sets=[{name="MVP_test",files=["embedded:tiny/data/MVP_test.json"],metrics=["opa","spmr"]}]',
    "eval.spmr.embedder=encoder",
    "eval.spmr.max_new_tokens=48",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=ROOT / "target/release", type=pathlib.Path)
    parser.add_argument("--chromium", default="chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        train(options.bin, folder, [])
        shoot(options, folder / "runs/tiny/report.html", ROOT / "docs/report.png", HEAD)
        shutil.copytree(ROOT / "tests/data/encoder", folder / "encoder")  # The page shows the path as it was typed.
        train(options.bin, folder, ["--output", "spmr", *(part for setting in SPMR for part in ("--set", setting))])
        html = (folder / "spmr/report.html").read_text()
        page = folder / "spmr/section.html"
        page.write_text(section(html, "spmr0"))
        shoot(options, page, ROOT / "docs/report-spmr.png", height(options, page))


def train(folder_of_programs, folder, arguments):
    program = (folder_of_programs / "train").resolve()
    subprocess.run([program, "--config", "tiny.toml", *arguments], cwd=folder, check=True)


def section(html, name):
    """The page with one section for a body."""
    head, _ = html.split("<body>", 1)
    found = re.search(rf'<section id="{name}">.*?</section>\n', html, re.DOTALL)
    return f"{head}<body>\n<main>\n{found[0]}</main>\n</body>\n</html>\n"


def height(options, page):
    """The height of the page in pixels, as its own script measures it."""
    measure = '<script>document.title = "HEIGHT " + Math.ceil(document.body.getBoundingClientRect().height);</script></body>'
    measured = page.with_suffix(".measured.html")
    measured.write_text(page.read_text().replace("</body>", measure))
    return int(re.search(r"<title>HEIGHT (\d+)", browse(options, measured, "--dump-dom", f"--window-size={WIDTH},900"))[1])


def shoot(options, page, picture, height):
    browse(options, page, f"--screenshot={picture}", f"--window-size={WIDTH},{height}", "--blink-settings=preferredColorScheme=1")
    print(f"{picture}: {WIDTH} by {height}")


def browse(options, page, *flags):
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={page.parent}/profile", *flags]
    command = [options.chromium, *flags, f"file://{page}"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


if __name__ == "__main__":
    main()
