"""How large a report of VGG16's 5,120 units is, how long it takes to write, and how soon it is open in headless
Chromium.

    python benchmarks/report.py

The dissection is drawn at random: 5,120 units of twelve layers, 80 concepts, 255 images of noise of 224 x 224,
twelve for each unit, an ellipse lit in each;
and three curves of a hundred points for each unit, as analysis `sensitivity` adds them. Opened from disk, without a
network, in a fresh profile each time; the
median of five. `open` is from the start of the navigation until the first eight units stand with their images and
regions.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DRAWN = """() => { const strips = [...document.querySelectorAll('.strip')].slice(0, 8);
    const loaded = strip => [...strip.querySelectorAll('img')].every(image => image.complete && image.naturalWidth);
    return strips.length === 8 && strips.every(strip => strip.querySelectorAll('.region').length === 3 && loaded(strip)); }"""


def opening(browser, page: Path) -> dict[str, float]:
    "Seconds until things stand, in a fresh profile."
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    tab, spent = context.new_page(), {}

    def until(name, act, ready):
        start = time.monotonic()
        act()
        tab.wait_for_function(ready, polling="raf")
        spent[name] = time.monotonic() - start

    until("open", lambda: tab.goto(page.as_uri()), DRAWN)
    until(
        "type a letter",
        lambda: tab.get_by_label("Concept or unit").press("7"),
        "document.querySelector('#count').innerText.includes(' of ')",
    )
    until(
        "sort by concept",
        lambda: tab.get_by_label("Sort by").select_option("concept"),
        "location.hash.includes('sort')",
    )
    until(
        "open a unit",
        lambda: tab.evaluate("location.hash = '#conv5_3:132'"),
        "document.querySelectorAll('.images .region').length === 12",
    )
    context.close()
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--images", type=int, default=255)
    chosen = parser.parse_args()
    from made_up import VGG16, written
    from playwright.sync_api import sync_playwright

    import numpy as np

    from inner_detectors.dissection.store import save_table
    from inner_detectors.views.report import report
    from inner_detectors.dissection.analysis import Section
    from inner_detectors.dissection.parts import SectionPart

    def curves(table, found):
        "Three curves of noise for each unit."
        drawn = np.round(np.random.default_rng(0).random((found.table.sizes["unit"], 3, 100)) ** 4, 4)
        return [
            SectionPart(
                "curves",
                ["share", "IoU"],
                [[[f"concept {i}", one.tolist()] for i, one in enumerate(some)] for some in drawn],
                {"x": np.geomspace(0.0005, 0.5, 100).tolist(), "mark": 0.005, "marked": "netdissect"},
            )
        ]

    with tempfile.TemporaryDirectory() as folder:
        these = written(
            Path(folder),
            VGG16,
            [f"concept {place}" for place in range(80)],
            [f"{place:06}.jpg" for place in range(chosen.images)],
        )
        save_table(
            these.dissection.table[["dead"]].assign_attrs(these.dissection.table.attrs | {"columns": "[]"}),
            Path(folder) / "noise.nc",
        )
        start = time.monotonic()
        page = report(folder, these, sections={"noise": Section("Curves", "", curves)}, progress=False)
        print(
            f"{'write':20} {time.monotonic() - start:6.1f} s   {sum(units for _, units in VGG16.values())} units, "
            f"{chosen.images} images"
        )
        files = [path for path in page.parent.rglob("*") if path.is_file()]
        print(f"{'size':20} {sum(path.stat().st_size for path in files) / 1e6:6.1f} MB  {len(files)} files")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chosen.chromium, args=FLAGS)
            rounds = [opening(browser, page) for _ in range(5)]
            browser.close()
        for name in rounds[0]:
            print(f"{name:20} {statistics.median(one[name] for one in rounds):6.2f} s")


if __name__ == "__main__":
    main()
