"""The README's images of a unit, the report, the explorer and the reasons, from what `make demo transfer visualise`
wrote, on the generated set.

python tools/screenshots.py                     writes nbs/images/unit.webp, report.webp, explorer.webp and
reasons.webp; needs Debian's chromium
python tools/screenshots.py explorer            only that one
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "results" / "demo"
PAGE = DEMO / "report" / "index.html"
sys.path.insert(0, str(ROOT / "tests"))  # how JupyterLab is driven is written once, there
from test_explore import CHROMIUM, FLAGS, answered, jupyterlab, notebook, open_notebook

LOOK = f"""
from inner_detectors.data.readers.registry import load_data
from inner_detectors.networks.registry import load_model
from inner_detectors.views.explorer.explorer import Explorer
Explorer({str(DEMO)!r}, load_data("scenes:64"), load_model("vgg16"), unit="conv5_3:181")
"""


def saved(picture: Image.Image, name: str) -> None:
    "Write an image of the README."
    path = ROOT / "nbs" / "images" / f"{name}.webp"
    picture.save(path, quality=85, method=6)
    print(f"{path}: {path.stat().st_size} bytes")


def taken(what, **how) -> Image.Image:
    "A screenshot of a page, or of a part of it."
    return Image.open(io.BytesIO(what.screenshot(**how))).convert("RGB")


def shot(page, address: str, height: int) -> Image.Image:
    "What the report shows at an address."
    page.goto(f"{PAGE.as_uri()}{address}")
    page.wait_for_timeout(2500)
    return taken(page, clip={"x": 0, "y": 0, "width": 1000, "height": height})


STRIP = """() => {
  const text = one => document.querySelector(one).innerText, first = document.querySelector("#one .panel tbody tr");
  const images = first.lastChild.innerText, list = document.querySelector(".images"), box = document.createElement("div");
  [...list.children].slice(6).forEach(one => one.remove());
  const line = (words, size) => Object.assign(document.createElement("p"), {innerHTML: words, style: `font-size: ${size}px; margin: 0 0 8px; max-width: none`});
  const swatch = (colour, kind) => `<span style="display: inline-block; width: 26px; border-top: 3px ${kind} ${colour}; vertical-align: middle; margin: 0 6px 0 18px"></span>`;
  box.append(line(`<b>${text(".under-title code")}</b> of VGG16 detects <b>${text("#unit-title")}</b>: IoU ${text(".under-title b")}; ${images} of 64 images show one`, 20),
    list, line(`The six images in which it fires most.${swatch("#ffb224", "solid")}above its threshold${swatch("#4db5f0", "dashed")}annotated as ${text("#unit-title")}`, 14));
  list.style.marginBottom = "8px";
  box.style.padding = "14px 16px 6px";
  document.body.replaceChildren(box, document.querySelector("svg.patterns"));
}"""


def unit(browser) -> None:
    "The best unit of the demo: its six strongest images with the region lit, its label, IoU and number of images."
    page = browser.new_context(viewport={"width": 1000, "height": 400}, offline=True, bypass_csp=True).new_page()
    page.goto(f"{PAGE.as_uri()}#conv4_2:448")
    page.locator(".images img").nth(5).wait_for()
    page.evaluate(STRIP)
    page.wait_for_timeout(500)
    saved(taken(page.locator("body > div")), "unit")


def report(browser) -> None:
    "The report's first page and the page of a unit, side by side."
    page = browser.new_context(viewport={"width": 1000, "height": 1000}, offline=True).new_page()
    pictures = [shot(page, "", 720), shot(page, "#conv4_2:448", 720)]
    both = Image.new("RGB", (2012, 720), (200, 200, 200))
    for place, picture in enumerate(pictures):
        both.paste(picture, (1012 * place, 0))
    saved(both.resize((1408, 504), Image.Resampling.LANCZOS), "report")


def paint(page) -> None:
    "A stroke with the brush over what the unit lights."
    paper = page.locator(".ide-paper")
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    points = [
        (box["x"] + right * box["width"], box["y"] + down * box["height"])
        for right, down in ((0.13, 0.49), (0.3, 0.55), (0.16, 0.6), (0.3, 0.63))
    ]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def explorer(browser) -> None:
    "The explorer in JupyterLab: a unit's images, what fires at a point, and an image painted over."
    page = browser.new_page(viewport={"width": 1640, "height": 1900})
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "work").mkdir()
        (Path(folder) / "work" / "w.ipynb").write_text(notebook(LOOK))
        with jupyterlab(Path(folder)) as address:
            open_notebook(page, address, 300)
            tile = page.locator(".ide-tile").first
            box = tile.bounding_box()
            answered(page, lambda: tile.click(position={"x": 0.25 * box["width"], "y": 0.55 * box["height"]}))
            answered(page, lambda: paint(page))
            page.mouse.move(1, 1)
            page.wait_for_timeout(5000)  # the last of the stroke
            page.locator(".ide-root").scroll_into_view_if_needed()
            picture = taken(page.locator(".ide-root"))
            saved(
                picture.resize((1060, round(picture.height * 1060 / picture.width)), Image.Resampling.LANCZOS),
                "explorer",
            )


def reasons(browser) -> None:
    "Why a transferred network answers as it does, for one image."
    page = browser.new_context(viewport={"width": 1000, "height": 1000}, offline=True).new_page()
    page.goto((DEMO / "transfer" / "explanations.html").as_uri())
    page.wait_for_timeout(1500)
    picture = taken(page.locator("section").first)
    saved(picture.resize((840, round(picture.height * 840 / picture.width)), Image.Resampling.LANCZOS), "reasons")


KINDS = {"unit": unit, "report": report, "explorer": explorer, "reasons": reasons}


def main(*names: str) -> None:
    if not PAGE.exists():
        raise SystemExit(f"screenshots: no {PAGE}. Run `make demo`, `make transfer` and `make visualise` first.")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name in names or KINDS:
            KINDS[name](browser)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
