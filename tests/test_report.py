"""The report in a real browser, from files, without a network: filters, addresses, keyboard, dark and narrow screens,
hostile names, what is missing.

Its pages are drawn in Debian's chromium, driven by Playwright; where either is absent these tests are skipped."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up import HOSTILE, dissection, written

from inner_detectors.core.errors import InputError
from inner_detectors.dissection.analysis import Section
from inner_detectors.dissection.parts import SectionPart
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.store import save_table
from inner_detectors.views.report import ONE_FILE, OUR_FILES, page_file, report

CHROMIUM = os.environ.get("INNER_DETECTORS_CHROMIUM") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LAYERS = {"conv4_3": (28, 40), "conv5_3": (14, 140), "head": (1, 6)}
WORDS = ["dog", "dog/head", "striped", "red", "zebra", "car"]
IMAGES = [f"{place:04}.jpg" for place in range(20)]


@pytest.fixture(scope="module")
def browser():
    "Headless chromium."
    api = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no chromium at {CHROMIUM}; apt-get install chromium, or INNER_DETECTORS_CHROMIUM names it")
    with api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Open a page of a report, offline; in the end nothing may have gone wrong and nothing may have been asked of a
    server."""
    contexts, wrong = [], []

    def opened(page: Path, address: str = "", width: int = 1200, scheme: str = "light", fine: bool = True):
        context = browser.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(40_000)
        tab.on(
            "request",
            lambda request: (
                wrong.append(request.url) if not request.url.startswith(("file:", "data:", "blob:")) else None
            ),
        )
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        if fine:
            tab.on(
                "console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None
            )
        tab.goto(f"{page.as_uri()}{address}")
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    "A report of 186 units of three layers, of which the last has no maps; one image is gone from disk."
    folder = tmp_path_factory.mktemp("noise")
    these = written(folder, LAYERS, WORDS, IMAGES, gone=("0003.jpg",))
    return folder, these, report(folder, these, progress=False)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    "A report of the planted units, most analyses run."
    from inner_detectors.analyses.chance import chance
    from inner_detectors.analyses.concept_removal import concept_removal
    from inner_detectors.analyses.correlation import correlation
    from inner_detectors.analyses.sensitivity import sensitivity
    from inner_detectors.analyses.top_images import top_images
    from inner_detectors.data.dataset import Data
    from inner_detectors.dissection.protocol import netdissect
    from inner_detectors.dissection.run import dissect
    from inner_detectors.dissection.study import study
    from inner_detectors.synthetic.planted import Rings, planted_model

    folder = tmp_path_factory.mktemp("planted")
    model, data = planted_model(), Data([Rings()])
    these = study(
        dissect(model, data, ["planted"], replace(netdissect, quantile=0.02), folder, progress=False), model, data
    )
    for run in (top_images, chance, sensitivity, correlation):
        run(these, folder, progress=False)
    concept_removal(these, folder, fills=["black"], resamples=20, progress=False)
    return folder, these, report(folder, these, progress=False)


def names(tab) -> list[str]:
    "Labels of the cards that are shown."
    return tab.locator(".unit .name").all_inner_texts()


def run_of(page: Path) -> dict:
    "What data/run.js holds."
    return json.loads(
        (page.parent / "data" / "run.js").read_text().removeprefix("report.run(").rstrip().removesuffix(")")
    )


def test_filter_and_sort(noise, visit):
    "As one types; by each column; and what is asked for is in the address."
    folder, _, page = noise
    units, tab = Dissection.load(folder).units(), visit(page)
    assert tab.locator("#count").inner_text() == "186 units, page 1 of 4"
    scores = [float(text) for text in tab.locator(".unit .line:first-child .number").all_inner_texts()]
    assert scores == sorted(scores, reverse=True) and len(scores) == 60
    tab.get_by_label("Concept or unit").press_sequentially("zeb")
    assert (
        set(names(tab)) == {"zebra"}
        and f"{(units.concept == 'zebra').sum()} of 186 units" in tab.locator("#count").inner_text()
    )
    tab.get_by_role("button", name="Clear filters").click()
    tab.get_by_label("Layer", exact=True).select_option("conv4_3")
    assert "40 of 186" in tab.locator("#count").inner_text() and "layer=0" in tab.url
    tab.get_by_label("IoU from").fill("0.04")
    detectors = units.query("layer == 'conv4_3' and iou >= 0.04")
    assert f"{len(detectors)} of 186" in tab.locator("#count").inner_text()
    tab.get_by_label("Category", exact=True).select_option("object")
    assert sorted(names(tab)) == sorted(detectors.query("category == 'object'").concept)
    tab.goto(f"{page.as_uri()}#?concept=4&verdict=detects&sort=unit")
    mine = units[(units.concept == "zebra") & (units.iou > 0.04)]
    shown = [text.split(" ")[0] for text in tab.locator(".unit .small > :first-child").all_inner_texts()]
    assert shown == mine.unit.tolist()
    tab.get_by_label("Label", exact=True).select_option("")
    tab.get_by_label("Verdict", exact=True).select_option("No detector")
    assert f"{(units.iou <= 0.04).sum()} of 186" in tab.locator("#count").inner_text()
    tab.get_by_label("Concept or unit").fill("nothing of the kind")
    assert "No unit fits" in tab.locator("#gallery").inner_text()


def test_pages_of_the_gallery(noise, visit):
    "Sixty units at a time."
    tab = visit(noise[2])
    first = tab.locator(".unit").first.get_attribute("href")
    tab.get_by_role("button", name="Next").click()
    assert (
        tab.locator(".unit").first.get_attribute("href") != first
        and "page 2 of 4" in tab.locator("#count").inner_text()
    )
    tab.get_by_role("button", name="Previous").click()
    assert tab.locator(".unit").first.get_attribute("href") == first


def test_a_unit(noise, visit):
    "From the gallery to a unit, on to the next, and back to where one was."
    tab = visit(noise[2], "#?layer=1")
    tab.locator(".unit").nth(2).scroll_into_view_if_needed()
    card = tab.locator(".unit").nth(2)
    concept, address = card.locator(".name").inner_text(), card.get_attribute("href")
    card.click()
    tab.locator("#unit-title").wait_for()  # the page follows its address a moment later
    assert tab.url.endswith(address) and tab.locator("h1:visible").inner_text() == concept and concept in tab.title()
    tab.locator(".images img").first.wait_for()
    assert tab.locator(".images figure").count() == 12
    tab.get_by_role("link", name="Next →").click()
    tab.wait_for_url(lambda url: not url.endswith(address))
    tab.go_back()
    tab.go_back()
    tab.locator("#gallery").wait_for()
    assert "140 of 186" in tab.locator("#count").inner_text()


def test_an_address(noise, visit):
    "It can be sent to a colleague; one that is not there is said."
    tab = visit(noise[2], "#conv5_3:132")
    assert tab.locator(".under-title code").inner_text() == "conv5_3:132"
    tab.goto(f"{noise[2].as_uri()}#conv5_3:999")
    assert "No such unit" in tab.locator("h1:visible").inner_text()
    tab.goto(f"{noise[2].as_uri()}#conv5_3:%E0%A4%A")  # not even an address
    assert "No such unit" in tab.locator("h1:visible").inner_text()
    tab.get_by_role("link", name="← All units").click()
    tab.locator("#gallery").wait_for()


def test_regions_are_those_of_the_table(noise, visit):
    "The region drawn in an image covers the cells that are lit, and the agreement those that are in the mask as well."
    import xarray as xr

    folder, _, page = noise
    best, found = xr.load_dataset(folder / "top-images.nc", engine="h5netcdf"), Dissection.load(folder)
    row = int(
        np.flatnonzero(
            (found.table.layer.values == "conv5_3")
            & (found.scores.values.argmax(1) == 0)
            & (found.scores.values.max(1) > 0)
        )[0]
    )
    unit, first = found.table.unit.values[row], int(np.flatnonzero(found.table.layer.values == "conv5_3")[0])
    lit = np.unpackbits(best.lit_1.values[row - first], axis=1, count=196).reshape(-1, 14, 14).astype(bool)
    tab = visit(page, f"#{unit}")
    tab.locator(".images svg").first.wait_for()
    tab.wait_for_function("document.querySelectorAll('.images figure').length === 12")
    inside = """path => { const all = [...document.querySelectorAll('.images svg')]; return all.map(svg => {
        const shape = svg.querySelector(path); if (!shape) return null;
        const made = new Path2D(shape.getAttribute('d')), to = document.createElement('canvas').getContext('2d'), on = [];
        for (let y = 0; y < 112; y++) for (let x = 0; x < 112; x++) on.push(to.isPointInPath(made, (x + .5) / 1.12, (y + .5) / 1.12, 'evenodd'));
        return on; }); }"""
    drawn = np.array(tab.evaluate(inside, ".region .over")).reshape(-1, 112, 112)
    large = np.repeat(np.repeat(lit, 8, 1), 8, 2)
    assert (drawn == large).mean() > 0.999
    masks = {
        image: place
        for place, (image, concept) in enumerate(zip(best.mask_image.values, best.mask_concept.values))
        if concept == 0
    }
    both = tab.evaluate(inside, ".both .fill")
    for rank, image in enumerate(best.top_image.values[row]):
        mask = np.unpackbits(best.mask_bits.values[masks[image]], count=112 * 112).reshape(112, 112).astype(bool)
        assert (np.array(both[rank]).reshape(112, 112) == (mask & large[rank])).mean() > 0.999


def test_what_is_drawn_can_be_chosen(noise, visit):
    "Region, mask and agreement apart; and the mask of a runner-up."
    found = Dissection.load(noise[0])
    row = int((found.scores.values[40:180] > 0).sum(1).argmax()) + 40
    tab = visit(noise[2], f"#{found.table.unit.values[row]}")
    region = tab.locator(".images .region").first
    region.wait_for(state="attached")
    tab.get_by_label("the unit").uncheck()
    assert not region.is_visible()
    before = tab.locator(".images .mask .over").evaluate_all(
        "paths => paths.map(path => path.getAttribute('d')).join()"
    )
    tab.get_by_role("radio").nth(1).check()
    assert (
        tab.locator(".images .mask .over").evaluate_all("paths => paths.map(path => path.getAttribute('d')).join()")
        != before
    )


def test_by_keyboard(noise, visit):
    "Search with a slash, open a unit with Enter, walk with the arrows, go back with Escape; focus follows."
    tab = visit(noise[2])
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Enter")
    tab.keyboard.press("/")
    tab.keyboard.type("conv5_3:13")
    assert "of 186" in tab.locator("#count").inner_text()
    for _ in range(8):
        tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "unit"
    tab.keyboard.press("Enter")
    tab.locator(".images img").first.wait_for()
    assert tab.evaluate("document.activeElement.id") == "unit-title"
    first = tab.url
    tab.keyboard.press("ArrowRight")
    tab.wait_for_url(lambda url: url != first)
    tab.keyboard.press("ArrowLeft")
    tab.wait_for_url(first)
    tab.keyboard.press("Escape")
    tab.locator("#gallery").wait_for()
    assert tab.get_by_label("Concept or unit").input_value() == "conv5_3:13"


@pytest.mark.parametrize("width", [360, 768, 1200])
@pytest.mark.parametrize("address", ["", "#planted:0"])
def test_no_sideways_scroll(planted, visit, width, address):
    "On a phone, a tablet, a desk."
    tab = visit(planted[2], address, width)
    tab.locator("img:visible").first.wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme, width", [("light", 390), ("dark", 390), ("light", 1280), ("dark", 1280)])
def test_nothing_serious_from_axe(planted, noise, visit, scheme, width):
    "axe-core on the first page and on a unit's."
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe-core; pip install axe-playwright-python"
    ).Axe()
    for page, address in (
        (planted[2], ""),
        (planted[2], "#planted:0"),
        (noise[2], "#head:2"),
        (noise[2], "#conv5_3:999"),
    ):
        tab = visit(
            page, address, width, scheme, fine=False
        )  # axe asks for the style sheet itself, which the policy forbids
        tab.wait_for_function(
            "document.querySelector('h1') && !document.querySelector('main').innerText.includes('Reading')"
        )
        tab.wait_for_timeout(500)  # a page half drawn has text on no ground
        found = axe.run(tab).response["violations"]
        bad = [
            (one["id"], [node["target"] for node in one["nodes"]][:3])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert not bad, (address, bad)


def test_what_a_phone_hides_is_said(planted, noise, visit):
    "No column is left out; a table that is wider than the screen says that it scrolls, and one that is not does not."
    state = """boxes => boxes.filter(box => box.offsetParent).map(box => [box.scrollWidth > box.clientWidth + 1,
        !box.previousElementSibling.hidden, box.previousElementSibling.textContent])"""
    seen = set()
    for page, address in ((planted[2], ""), (planted[2], "#planted:0"), (noise[2], "#conv5_3:5")):
        for width in (390, 1280):
            tab = visit(page, address, width)
            tab.locator("img:visible").first.wait_for()
            tab.wait_for_timeout(300)
            found = tab.locator(".scroll").evaluate_all(state)
            assert found and all(wide == said for wide, said, _ in found), (address, width, found)
            seen |= {(width, said) for _, said, words in found if "scroll" in words}
    assert (390, True) in seen and (1280, False) in seen
    tab = visit(noise[2], width=390)
    assert tab.get_by_role("columnheader", name="Units").is_visible()


def test_the_histogram_has_axes(noise, visit):
    "A name and round numbers on both; the last tick is no farther than the best score."
    texts = visit(noise[2]).locator("svg.scores text").all_text_contents()
    best = Dissection.load(noise[0]).scores.values.max()
    assert "units" in texts and "best IoU of a unit" in texts and "detectors: IoU > 0.04" in texts
    ticks = sorted({float(text) for text in texts if re.fullmatch(r"0|0\.\d+", text)})
    assert 3 <= len(ticks) <= 8 and ticks[0] == 0 and ticks[-1] <= best
    assert np.allclose(np.diff(ticks), ticks[1])


def test_how_it_was_made_says_how_to_make_it_again(planted, visit, tmp_path, monkeypatch, lite0_weights):
    "A folder of one's own by its name; the command, quoted for the shell, gives the same run; from Python, the call."
    import shlex

    from inner_detectors.cli.main import main
    from inner_detectors.synthetic.scenes import Scenes
    from inner_detectors.synthetic.writers import write_folder

    monkeypatch.setenv("INNER_DETECTORS_HOME", str(lite0_weights.parent.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_folder(Scenes(4), tmp_path / "my birds")
    words = ["inner-detectors", "match", "efficientnet-lite0", "--data", "folder:my birds", "--layers", "blocks_5"]

    def run(*words):
        monkeypatch.setattr("sys.argv", [*words, "--quiet"])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code

    run(*words, "--quantile", "0.02", "--out", "results/it's")
    first = Dissection.load("results/it's")
    assert first.table.attrs["data"] == "my birds"
    tab = visit(report("results/it's", progress=False).absolute())
    assert tab.locator("h1:visible").inner_text() == "efficientnet-lite0 on my birds"
    line, made = tab.locator(".again").inner_text(), tab.locator("#made").inner_text()
    assert str(tmp_path) not in made and "'folder:~/my birds'" in line
    for what in ("SHA-256 of its annotations", "is the SHA-256 of all that moves a number", "M. Tan and Q. V. Le"):
        assert what in made
    assert made.index("M. Tan and Q. V. Le") < made.index("Shipped in")
    run(*shlex.split(line.replace("it'\"'\"'s", "again")))
    assert Dissection.load("results/again").table.attrs["run"] == first.table.attrs["run"]
    assert "dissect(model, data, ['planted'], replace(" in visit(planted[2]).locator(".again").inner_text()


def test_dark_is_dark(noise, visit):
    "The page follows what the reader's system says."
    ground = {
        scheme: visit(noise[2], scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    light, dark = (np.mean([int(part) for part in re.findall(r"\d+", ground[scheme])]) for scheme in ("light", "dark"))
    assert light > 230 and dark < 40


def test_every_analysis_on_a_unit(planted, visit):
    "Chance, runners-up, curve, removal, partners, outcomes, verdict; what was not run is named with its command."
    tab = visit(planted[2], "#planted:0")
    tab.get_by_role("heading", name="What it goes with").wait_for()
    text = tab.locator("#one").inner_text()
    for words in (
        "red ball",
        "holds",
        "Uniform",
        "Positional",
        "Sensitivity",
        "Concept removal",
        "black",
        "By outcome",
        "Shows it, unit fires",
        "Not run yet. To add it: inner-detectors unit-removal",
    ):
        assert words in text, words
    assert "red ball: at most" in tab.locator("svg.curve:visible").get_attribute("aria-label")
    partner = tab.locator("section", has_text="What it goes with").get_by_role("link").first
    name = partner.inner_text()
    partner.click()
    assert tab.locator(".under-title code").inner_text() == name
    tab = visit(planted[2], "#?verdict=fails")
    tab.locator(".unit").first.wait_for()
    assert tab.locator(".chip.fails").count() == 3 and "3 of 8 units" in tab.locator("#count").inner_text()
    tab = visit(planted[2], "#planted:7")
    assert "dead" in tab.locator(".under-title").inner_text() and tab.locator("h1:visible").inner_text() == "No concept"


def test_one_file(planted, visit, tmp_path):
    "The same without anything beside it; where it is small it is written along with the folder."
    alone = Path(shutil.copy(planted[2].parent / "report.html", tmp_path / "sent.html"))
    tab = visit(alone, "#planted:1")
    tab.locator(".images img").first.wait_for()
    assert tab.locator(".images img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    assert tab.locator(".images .region").count() and alone.stat().st_size < ONE_FILE
    single = report(*planted[:2], tmp_path / "single", single=True, progress=False)
    assert [path.name for path in single.parent.iterdir()] == ["index.html"]
    visit(single).locator(".unit img").first.wait_for()  # of a folder alone: test_written_again


def test_hostile_names(visit, tmp_path):
    "Of concepts, layers and images: shown as text, run by nobody, written nowhere."
    words, images = HOSTILE, [*HOSTILE, *(f"{place}.jpg" for place in range(8))]
    layers = {HOSTILE[0]: (14, 12), HOSTILE[5]: (14, 6), HOSTILE[3]: (7, 4), HOSTILE[-1]: (7, 4), "conv5_3": (14, 12)}
    these = written(tmp_path, layers, words, images)
    page = report(tmp_path, these, progress=False)
    files = sorted(path.name for path in page.parent.rglob("*") if path.is_file())
    assert all(
        re.fullmatch(r"(\d+\.jpg|layer-\d\.js|run\.js|report\.(js|css|html)|index\.html|files\.json)", name)
        for name in files
    )
    for where in (page, page.parent / "report.html"):
        tab = visit(where, width=360)
        tab.locator(".unit img").first.wait_for()
        assert tab.evaluate("window.stolen") is None and tab.locator("img[src='x']").count() == 0
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        shown = "\n".join(names(tab))
        assert (
            not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\u200e\u200f]", shown) and max(map(len, names(tab))) <= 160
        )
        for place in (0, 12, 18, 22, 26):
            unit = run_of(page)["units"]
            tab.evaluate(
                "place => { location.hash = '#' + encodeURIComponent(place) }",
                f"{[*layers][unit['layer'][place]]}:{unit['index'][place]}",
            )
            tab.locator(".images img").first.wait_for()
            assert tab.evaluate("document.documentElement.scrollWidth") <= 360 and tab.evaluate("window.stolen") is None
    markup = page.with_name("report.html").read_text().split("<body>")[1].split("<script")[0]
    assert "<script>" not in (page.parent / "data" / "run.js").read_text() and "<img" not in markup


def test_written_again_beside_a_transfer(noise, tmp_path):
    folder, *_ = noise
    here = tmp_path / "here"
    shutil.copytree(folder, here)
    (here / "transfer").mkdir()
    (here / "transfer" / "explanations.html").write_text("reasons")
    for _ in range(2):
        assert (report(here, None, progress=False).parent / "explanations.html").read_text() == "reasons"
    (here / "transfer" / "explanations.html").unlink()
    assert not (report(here, None, progress=False).parent / "explanations.html").exists()


def test_written_again(noise, tmp_path):
    "What the earlier report has and the new one has not is removed; what somebody else put there stays."
    folder, these, _ = noise
    out, few = tmp_path / "out", tmp_path / "few"
    page = report(folder, these, out, progress=False)
    images = {path.name for path in (out / "images").iterdir()}
    for name in ("images/9999.jpg", "data/notes.txt", "data/layer-9.js", "mine.html"):
        (out / name).write_text("mine")
    written(few, {"conv5_3": (14, 2)}, WORDS, IMAGES, gone=("0003.jpg",))

    def there():
        return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}

    mine = {"images/9999.jpg", "data/notes.txt", "data/layer-9.js", "mine.html"}
    assert report(few, None, out, single=False, progress=False) == page
    assert (
        there() == mine | {"index.html", "report.css", "report.js", "data/run.js", "data/layer-0.js", "data/files.json"}
        and len(images) == 19
    )
    report(folder, these, out, progress=False)
    assert {f"images/{name}" for name in images} < there()
    report(folder, None, out, single=True, progress=False)
    assert there() == mine | {"index.html"}
    for name in mine:
        (out / name).unlink()
    report(few, None, out, progress=False)
    (out / "mine.jpg").write_text("mine")
    (out / "data" / "files.json").write_text(
        json.dumps(["mine.jpg", "images/../mine.jpg", f"{out}/mine.jpg", "index.html", None, "images/77.jpg"])
    )
    report(few, None, out, single=True, progress=False)
    assert (
        (out / "mine.jpg").exists() and (out / "index.html").exists() and (out / "data" / "run.js").exists()
    )  # not listed, so not ours
    assert not any(
        map(
            OUR_FILES.fullmatch,
            (
                "../images/1.jpg",
                "images/../../1.jpg",
                "/images/1.jpg",
                "images\\1.jpg",
                "data/../../run.js",
                "images/1.jpg\n",
            ),
        )
    )
    (out / "mine.jpg").unlink()
    (out / "data" / "files.json").write_bytes(b"\xff[")
    with pytest.raises(InputError, match="which is of no report"):  # nobody knows whose it is now
        report(few, None, out, progress=False)
    for path in [path for path in (out / "data").iterdir() if path.name != "files.json"]:
        path.unlink()
    for path in (out / "report.css", out / "report.js", out / "report.html"):
        path.unlink(missing_ok=True)
    report(few, None, out, progress=False)
    assert set(json.loads((out / "data" / "files.json").read_text())) == there() - {"index.html", "data/files.json"}


def test_an_interrupted_report_is_removed_too(noise, tmp_path, monkeypatch):
    "Each file is listed before it is written."
    from inner_detectors.views import report as room

    folder, these, _ = noise
    monkeypatch.setattr(room, "folder_page", lambda found: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report(folder, these, tmp_path, progress=False)
    assert (tmp_path / "images").is_dir()
    monkeypatch.undo()
    report(folder, these, tmp_path, single=True, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_what_a_region_is(planted, visit):
    "The page shows a layer's cells, and says that the score is of something finer."
    tab = visit(planted[2], "#planted:0")
    tab.get_by_text(
        "32 × 32 cells above its threshold; the IoU is measured on the map interpolated to 32 × 32 points"
    ).wait_for()


def test_pictures_at_random(planted, visit):
    "The same for every unit, with the concept's mask where it is shown."
    from inner_detectors.analyses.top_images import TopImages

    run, labels, table, tab = (
        run_of(planted[2]),
        Dissection.load(planted[0]).units().concept,
        TopImages.load(planted[0]).table,
        visit(planted[2]),
    )
    drawn = [run["images"]["name"][place] for place in run["images"]["random"]]
    assert len(set(drawn)) == 6
    shown = (
        table.shown.to_series().unstack().set_axis(table.image.values, axis=0).set_axis(table.concept.values, axis=1)
    )
    for unit in (0, 3, 6):
        tab.evaluate("unit => { location.hash = unit }", f"#planted:{unit}")
        tab.locator(".under-title code", has_text=f"planted:{unit}").wait_for()
        case = tab.locator(".outcomes > div").last
        case.locator("img").first.wait_for()
        assert case.locator("h3").inner_text() == "Any, at random\n24 images"
        pictures = case.locator(".image").evaluate_all(
            "all => all.map(one => [one.title, one.querySelector('.mask') !== null])"
        )
        assert pictures == [[image, shown[labels[unit]][image]] for image in drawn] and any(
            mask for _, mask in pictures
        )


def test_the_class_is_chosen_on_other_pictures():
    """Of a unit that costs class b most where units are ranked, and class c most by chance where it is tested: b, and
    what is measured there."""
    import xarray as xr

    from inner_detectors.analyses.unit_removal import removal_parts

    found, none = dissection({"conv5_3": (14, 2)}, WORDS, IMAGES), np.zeros(1)
    ranked, tested = np.array([[[-0.1, -0.5, 0.2]]]), np.array([[[-0.2, -0.3, -0.9]]])
    table = xr.Dataset(
        {
            "logprob": ("removed", none),
            "error": ("removed", none),
            "accuracy": ("removed", none),
            "target_logprob": (("removed", "target"), tested[0]),
            "target_ranked": (("split", "removed", "target"), ranked),
            "target_tested": (("split", "removed", "target"), tested),
        },
        {"removed": np.array(["conv5_3:1"], object), "target": np.array(list("abc"), object)},
    )
    part = removal_parts(table, found)[1]
    assert part.units == [None, [["b", -0.3], ["a", -0.2]]]
    empty = removal_parts(table.isel(target=[]).assign_coords(target=np.zeros(0)), found)[1]
    assert empty.units == [None, None]


def test_a_layer_without_maps(noise, visit):
    "Says so, and shows its images."
    tab = visit(noise[2], "#head:2")
    tab.locator(".images img").first.wait_for()
    assert "has no maps" in tab.locator("#one").inner_text() and tab.locator(".images .region").count() == 0


def test_a_picture_that_is_gone(noise, visit):
    "From disk before the report, or from the report's folder after it: said in its place."
    folder, these, page = noise
    run = run_of(page)
    assert [name for name, there in zip(run["images"]["name"], run["images"]["file"]) if not there] == ["0003.jpg"]
    layer = json.loads(
        (page.parent / "data" / "layer-1.js").read_text().removeprefix("report.layer(1,").rstrip().removesuffix(")")
    )
    gone = run["images"]["name"].index("0003.jpg")
    unit = next(place for place, images in enumerate(layer["top"]) if gone in images)
    tab = visit(page, f"#conv5_3:{unit}")
    tab.locator(".images .gone").first.wait_for()
    assert (
        "could not be read" in tab.locator(".images .gone").first.inner_text()
        and tab.locator(".images img").count() == 11
    )


def test_a_picture_lost_from_the_report(noise, visit, tmp_path):
    "The rest works, with its regions; a layer's numbers lost are said, too."
    copy = Path(shutil.copytree(noise[2].parent, tmp_path / "copy"))
    for image in (copy / "images").iterdir():
        image.unlink()
    (copy / "data" / "layer-0.js").unlink()
    tab = visit(copy / "index.html", "#conv5_3:5", fine=False)
    tab.locator(".images .gone").first.wait_for()
    assert (
        "not in this folder" in tab.locator(".images .gone").first.inner_text()
        and tab.locator(".images .region").count()
    )
    tab.goto(f"{(copy / 'index.html').as_uri()}#conv4_3:5")
    tab.locator("#one .note").wait_for()
    assert "data/layer-0.js: is not beside this page" in tab.locator("#one .note").inner_text()


def test_without_photographs_and_without_pictures(noise, visit, tmp_path):
    "A dissection whose data set is not there; and one of which `top-images` was never asked."
    folder = noise[0]
    tab = visit(report(folder, None, tmp_path / "bare", progress=False), "#conv5_3:5")
    tab.locator(".images .region").first.wait_for()
    assert "not at hand" in tab.locator(".note:visible").inner_text() and tab.locator("img").count() == 0
    shutil.copy(folder / "dissection.nc", tmp_path / "dissection.nc")
    tab = visit(report(tmp_path, progress=False))
    assert tab.locator(".unit").count() == 60 and tab.locator(".strip").count() == 0
    tab.locator(".unit").first.click()
    tab.get_by_text("inner-detectors top-images").wait_for()


def test_a_damaged_analysis(planted, visit, tmp_path):
    "Is named in its place; the others are there."
    folder = Path(shutil.copytree(planted[0], tmp_path / "planted", ignore=shutil.ignore_patterns("report")))
    (folder / "sensitivity.nc").write_bytes(b"no")
    other = Dissection.load(folder).table.assign_attrs(run="another")
    save_table(other, folder / "concept-removal.nc")
    tab = visit(report(folder, planted[1], progress=False))
    assert "No verdicts: " in tab.locator(".note").first.inner_text() and str(folder) not in tab.content()
    tab.goto(tab.url.split("#")[0] + "#planted:0")
    text = tab.locator("#one", has_text="By outcome").inner_text()
    assert (
        "sensitivity.nc: cannot be read" in text
        and "concept-removal.nc: belongs to another dissection" in text
        and "Positional" in text
    )


def test_an_analysis_to_come(planted, visit, tmp_path):
    "A section of one's own; and a table that nobody wrote a section for is shown with its columns."
    folder = Path(shutil.copytree(planted[0], tmp_path / "planted", ignore=shutil.ignore_patterns("report")))
    found = Dissection.load(folder)
    for name in ("kinship", "weather"):
        save_table(
            found.table[["dead"]]
            .assign(rain_fall=("unit", np.arange(8.0)))
            .assign_attrs(
                format=found.table.attrs["format"], run=found.table.attrs["run"], columns='["rain_fall"]', choices="{}"
            ),
            folder / f"{name}.nc",
        )

    def parts(table, found):
        return [SectionPart("note", [], [f"<i>{value}</i>" if value else None for value in table.rain_fall.values])]

    tab = visit(
        report(
            folder,
            planted[1],
            sections={"kinship": Section("Kinship", "Where it is used.", parts)},
            progress=False,
        ),
        "#planted:3",
    )
    text = tab.locator("#one", has_text="By outcome").inner_text()
    assert "<i>3.0</i>" in text and "Weather" in text and "rain fall" in text


def test_means_of_images(visit, tmp_path):
    "The per-image protocol: scores without counts, a threshold in each image."
    from inner_detectors.analyses.top_images import top_images
    from inner_detectors.data.dataset import Data
    from inner_detectors.dissection.protocol import per_image
    from inner_detectors.dissection.run import dissect
    from inner_detectors.dissection.study import study
    from inner_detectors.synthetic.planted import Rings, planted_model

    model, data = planted_model(), Data([Rings(8)])
    these = study(dissect(model, data, ["planted"], per_image, tmp_path, progress=False), model, data)
    top_images(these, tmp_path, number=4, progress=False)
    tab = visit(report(tmp_path, these, progress=False), "#planted:0")
    tab.locator(".images .region").first.wait_for()
    assert (
        "score" in tab.locator(".under-title").inner_text()
        and "Threshold" not in tab.locator(".facts").first.inner_text()
    )


def test_the_page_is_shipped(root):
    "In the package, without a request to anywhere, and fit to stand inside a page."
    script = page_file("report.js")
    assert (
        "</script" not in script.lower()
        and "<!--" not in script
        and "innerHTML" not in script
        and "fetch(" not in script
        and "eval(" not in script
    )
    for name in ("report.html", "report.css", "report.js"):
        assert not re.search(r"https?://(?!www\.w3\.org/)", page_file(name))
    assert re.search(r"inner_detectors/pages", (root / "MANIFEST.in").read_text())


def test_notes_are_not_listed_as_left_out(noise):
    "What was used, and might have been meant otherwise, stands under a heading of its own."
    from inner_detectors.views.front_page import front_page_data, read_folder

    folder, these, _ = noise
    read = read_folder(folder, {})
    table = these.dissection.table.assign_attrs(
        problems=json.dumps(["a.png: cannot be read.", "note: b.png: was turned."]), untold=2
    )
    whole = front_page_data(read._replace(dissection=replace(these.dissection, table=table)), None, [])
    assert whole["problems"] == ["a.png: cannot be read."] and whole["noted"] == ["b.png: was turned."]
    assert "2 more images" in dict(whole["made"])["Without a place"]
