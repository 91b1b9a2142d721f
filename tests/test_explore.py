"""The explorer in a real browser: JupyterLab on loopback, driven by Playwright, on images whose truth is planted."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

CHROMIUM = os.environ.get("INNER_DETECTORS_CHROMIUM") or shutil.which("chromium") or ""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

NOTEBOOK = """
import numpy as np
from dataclasses import replace
from inner_detectors.analyses.linear_probe import with_probe
from inner_detectors.data.dataset import Data
from inner_detectors.data.sample import Region, Sample
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.dissection.protocol import netdissect
from inner_detectors.dissection.run import dissect
from inner_detectors.views.explorer.explorer import Explorer
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.synthetic.planted import Rings, planted_model

class Named(Rings):
    NAMES = {"red ball": "<img src=x onerror='window.harmed = 1'>red ball", "blue ball": "blue ball"}
    def __init__(self):
        super().__init__(24)
        self.concepts = Vocabulary([Concept(name, "object") for name in self.NAMES.values()])
    def sample(self, key):
        found = super().sample(key)
        return Sample(f"<script>window.harmed = 1</script>{key}", found.image, tuple(Region(self.NAMES[name], mask) for name, mask in found.regions))

kernel = np.zeros((8, 2), np.float32); kernel[:3, 0], kernel[6, 1] = 40, 120
net = with_probe(planted_model(), "planted", kernel, np.zeros(2, np.float32), ["<b>red</b>", "blue"], several=False)
def pooled(parameters, images):
    seen = net.forward(parameters, images)
    return seen | {"pooled": 1000 * seen["planted"].reshape(len(images), 8, 4, 8, 4, 8).max((2, 4))}
net_of_two = replace(net, forward=pooled, geometry={**net.geometry, "pooled": half_pixel(64, (8, 8))})
data = Data([Named()])
found = dissect(net_of_two, data, ["planted", "pooled"], replace(netdissect, quantile=0.02), progress=False)
look = Explorer(found, data, net_of_two, unit="planted:0")
look.save("saved.html", number=3)
look
"""
# Names that mean harm, images deleted after the dissection, data that is not there, a layer without maps: an explorer
# each, in this order.
WORSE = r"""
from dataclasses import replace
from pathlib import Path
from IPython.display import display
from inner_detectors.data.dataset import Data
from inner_detectors.data.sample import Region, Sample
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.dissection.protocol import netdissect
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.views.explorer.explorer import Explorer
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.synthetic.writers import write_folder
from inner_detectors.data.readers.registry import load_data
from inner_detectors.analyses.top_images import top_images
from inner_detectors.synthetic.planted import Rings, planted_model

class Hostile(Rings):
    NAMES = {"red ball": "</bdi><script>window.harmed = 1</script>" + "x" * 10_000, "blue ball": "=1+1\u202egpj.exe\x07\x1b[31m"}
    def __init__(self):
        super().__init__(24)
        self.concepts = Vocabulary([Concept(name, "object") for name in self.NAMES.values()])
    def sample(self, key):
        found = super().sample(key)
        return Sample(f"<img src=x onerror='window.harmed = 1'>\u202e{key}\x00" + "y" * 10_000, found.image,
                      tuple(Region(self.NAMES[name], mask) for name, mask in found.regions))

LAYER = "<b onclick='window.harmed = 1'>pooled</b>"
def both(parameters, images):
    seen = planted_model().forward(parameters, images)
    return seen | {LAYER: seen["planted"].reshape(len(images), 8, 4, 8, 4, 8).max((2, 4))}
net = replace(planted_model(), forward=both, name="<script>window.harmed = 1</script>", geometry={**planted_model().geometry, LAYER: half_pixel(64, (8, 8))})
bad = Data([Hostile()])
rule = replace(netdissect, quantile=0.02)
hostile = Explorer(dissect(net, bad, ["planted", LAYER], rule, progress=False), bad, net, unit=f"{LAYER}:0", number=6)
hostile.other = "planted:6"

write_folder(Rings(), "rings")
there = load_data("folder:rings")
found = dissect(planted_model(), there, ["planted"], rule, progress=False)
found.save("kept")
top_images(study(found, planted_model(), there), "kept", number=6, progress=False)
gone = Explorer("kept", there, planted_model(), unit="planted:0", number=6)
for tile in gone.main.gallery.images[:2]: (Path("rings/images")/f"{Path(tile['name']).stem}.png").unlink()
gone.cache.photographs.clear()
gone.renew()
left = Explorer("kept", there, unit="planted:0", number=6)
alone = Explorer("kept", unit="planted:0", number=6)
bare = Explorer(Dissection(found.table), unit="planted:0", number=6)
later = Explorer("kept", there, planted_model(), unit="planted:0", number=6)
little = Explorer(found, there, planted_model(), unit="planted:0", number=6, memory=0.001)
for one in (hostile, gone, later, left, alone, bare, little): display(one)
"""
SPARE = (
    "import json; print('STATE', json.dumps({name: getattr(look, name) for name in \"unit threshold score pins image "
    'other".split()}))'
)

PAINTS = "if look.image >= 0: look.bench.paint(np.ones((look.material.view.side,) * 2, bool))"


def notebook(*cells: str) -> str:
    "A notebook of code cells, as JSON."
    made = [
        {
            "cell_type": "code",
            "id": f"cell{i}",
            "metadata": {},
            "source": cell.strip(),
            "outputs": [],
            "execution_count": None,
        }
        for i, cell in enumerate(cells)
    ]
    return json.dumps(
        {
            "cells": made,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


@contextmanager
def jupyterlab(folder: Path, theme: str = "JupyterLab Light"):
    """JupyterLab on a free port of loopback, with all its folders below `folder`; gives the address of
    FOLDER/work/w.ipynb."""
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    settings = {"notification": {"fetchNews": "false"}, "themes": {"theme": theme}}
    for name, value in settings.items():
        path = folder / "settings" / "@jupyterlab" / "apputils-extension" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    (folder / "work").mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        **{name: str(folder / place) for name, place in places.items()},
        "JAX_PLATFORMS": "cpu",
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=T",
        "--LabApp.extension_manager=readonly",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            command, cwd=folder / "work", env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            for _ in range(300):
                if server.poll() is not None:
                    raise RuntimeError((folder / "server.log").read_text()[-2000:])
                try:
                    urlopen(f"http://127.0.0.1:{port}/api?token=T", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/lab/workspaces/auto-t/tree/w.ipynb?reset&token=T"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def open_notebook(page, address: str, seconds: int = 240, drawn: str = ".ide-gallery .ide-tile") -> None:
    "Open the notebook and run all its cells, once the kernel is idle; wait until something is drawn."
    page.goto(address)
    page.wait_for_function("document.querySelector('#jp-main-statusbar')?.innerText.includes('| Idle')", timeout=60_000)
    page.get_by_text("Run", exact=True).first.click()
    page.get_by_text("Run All Cells", exact=True).click()
    wrong = ".jp-OutputArea-output:has(.ansi-red-fg)"  # of a cell that raised
    page.wait_for_selector(f"{drawn}, {wrong}", timeout=1000 * seconds)
    for said in page.locator(wrong).all_inner_texts():
        raise AssertionError(said[-2000:])


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    "The folder that the notebook runs in, inside the server's."
    folder = tmp_path_factory.mktemp("lab")
    (folder / "work").mkdir()
    (folder / "work" / "w.ipynb").write_text(notebook(NOTEBOOK, SPARE, PAINTS))
    (folder / "work" / "worse.ipynb").write_text(notebook(WORSE))
    return folder / "work"


@pytest.fixture(scope="module")
def lab(work):
    """JupyterLab and a browser: a function that runs a notebook and gives its page, which keeps what it asked for and
    what went wrong."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; pip install playwright"
    )
    if not CHROMIUM:
        pytest.skip("no chromium here; apt-get install chromium, or name one in INNER_DETECTORS_CHROMIUM")
    with jupyterlab(work.parent) as address, playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)

        def run(name: str):
            page = browser.new_page(viewport={"width": 1500, "height": 1500})
            page.set_default_timeout(60_000)
            page.asked, page.errors = [], []
            page.on("request", lambda request: page.asked.append(request.url))
            page.on("pageerror", lambda error: page.errors.append(str(error)))
            open_notebook(page, address.replace("w.ipynb", name).replace("auto-t", f"auto-{name.partition('.')[0]}"))
            return page

        run.browser = browser
        yield run
        browser.close()


@pytest.fixture(scope="module")
def page(lab):
    return lab("w.ipynb")


@pytest.fixture(scope="module")
def worse(lab):
    "The explorers of the notebook where everything is wrong, by name."
    page = lab("worse.ipynb")
    found = dict(zip(("hostile", "gone", "later", "left", "alone", "bare", "little"), page.locator(".ide-root").all()))
    assert len(found) == 7
    return found


def gallery(page):
    return page.locator(".ide-gallery").first


def lit(page) -> list[int]:
    "How many points are lit in each image of the first gallery."
    return [int(word) for word in (gallery(page).get_attribute("data-lit") or "").split()]


def wait_until(page, true, said: str, seconds: float = 60.0):
    "Wait until something holds; gives it."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        page.wait_for_timeout(50)
    raise AssertionError(said)


def names(page) -> list[str]:
    return gallery(page).locator(".ide-name").all_inner_texts()


def chooser(page, turn: int = 0):
    "Where one chooses the unit, or the one beside it."
    return page.locator(".ide-chooser").nth(turn)


def choose(page, unit: str) -> None:
    "Choose a unit in the list, and wait until its images are there."
    value = chooser(page).locator(".widget-select select")
    option = value.locator("option", has_text=unit)
    value.select_option(label=option.first.inner_text())
    page.wait_for_selector(f".ide-gallery[data-shows='Images of unit {unit}']")


def state(page) -> dict:
    "What Python has, from the notebook's second cell."
    page.locator(".jp-CodeCell").nth(1).locator(".cm-content").click()
    before = page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt").inner_text()
    page.keyboard.press("Control+Enter")
    cell = page.locator(".jp-CodeCell").nth(1)
    wait_until(
        page,
        lambda: cell.locator(".jp-InputPrompt").inner_text() not in (before, "[*]:"),
        "the second cell did not run",
    )
    return json.loads(cell.locator(".jp-OutputArea-output").last.inner_text().split("STATE")[1])


def test_notebook_runs(page):
    wait_until(page, lambda: len(lit(page)) == 12 and any(lit(page)), "no regions")
    assert gallery(page).locator(".ide-tile").count() == 12
    assert "IoU" in page.locator(".ide-readout").first.inner_text()


def test_another_unit_changes_the_pictures(page):
    choose(page, "planted:0")
    before, shown = lit(page), names(page)
    choose(page, "planted:6")
    assert lit(page) != before and names(page) != shown
    assert state(page)["unit"] == "planted:6"


def test_search_looks_in_all_layers(page):
    "Hits of the shown layer first, then of the other; Enter takes the first, whichever layer it is of."
    search, options = chooser(page).locator("input[type=text]"), chooser(page).locator(".widget-select select option")
    search.fill("blue")
    wait_until(page, lambda: options.count() == 2, "the list did not shrink")
    found = [text.split()[1] for text in options.all_inner_texts()]
    assert found == ["planted:6", "pooled:6"]
    assert "1 here, 1 in other layers" in chooser(page).inner_text()
    search.fill("pooled blue")
    wait_until(page, lambda: options.count() == 1, "the list did not shrink")
    search.press("Enter")
    page.wait_for_selector(".ide-gallery[data-shows='Images of unit pooled:6']")
    assert chooser(page).locator(".widget-dropdown select").first.input_value() == "pooled"
    search.fill("")
    chooser(page).locator(".widget-dropdown select").first.select_option("planted")
    wait_until(page, lambda: options.count() == 8 and "planted" in options.first.inner_text(), "no list came back")


def test_dragging_the_threshold_changes_the_regions(page):
    choose(page, "planted:0")
    before, readout = lit(page), page.locator(".ide-readout").first.inner_text()
    handle = page.locator(".ide-column .noUi-handle").first
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 9):
        page.mouse.move(x + 8 * step, y)
    page.mouse.up()
    wait_until(page, lambda: sum(lit(page)) < sum(before), "the regions did not shrink")
    wait_until(page, lambda: page.locator(".ide-readout").first.inner_text() != readout, "the score did not change")
    page.wait_for_timeout(500)  # the last of the values that a drag passes through
    page.get_by_text("protocol's own").first.click()
    wait_until(page, lambda: lit(page) == before, "the regions did not come back")
    number = page.locator(".ide-column input[type=text]").first
    number.fill("0.3")
    number.press("Enter")
    wait_until(page, lambda: sum(lit(page)) > sum(before), "a number that is typed does nothing")
    wait_until(page, lambda: state(page)["threshold"] == 0.3, "Python did not hear of it")
    page.get_by_text("protocol's own").first.click()
    wait_until(page, lambda: lit(page) == before, "the regions did not come back")


def test_regions_are_those_of_the_score(page):
    "The page's float32 steps light the very points that the exact counts counted."
    import numpy as np

    from inner_detectors.data.dataset import Data
    from inner_detectors.dissection.protocol import netdissect
    from dataclasses import replace
    from inner_detectors.dissection.run import dissect
    from inner_detectors.views.explorer.measuring import interpolate_to_masks
    from inner_detectors.views.explorer.material import material, shelf_of_network
    from inner_detectors.synthetic.planted import Rings, planted_model

    net, rings = planted_model(), Data([Rings()])
    found = dissect(net, rings, ["planted"], replace(netdissect, quantile=0.02), progress=False)
    shelf = shelf_of_network(material(found, rings, net), "planted", 1e8)
    choose(page, "planted:0")
    values = interpolate_to_masks(shelf.look(0, shelf.strongest(0, 12)), shelf.around)
    assert lit(page) == (values > np.float32(found.table.threshold.values[0])).sum((1, 2)).tolist()


def test_every_step_is_drawn(page):
    """From a key on the slider's handle to twelve new regions on the page, the round to Python within; the milliseconds
    of ten are printed (pytest -s)."""
    choose(page, "planted:0")
    page.locator(".ide-column .noUi-handle").first.focus()
    times = page.evaluate("""async () => {
      const root = document.querySelector('.ide-gallery'), handle = document.querySelector('.ide-column .noUi-handle'), times = [];
      for (let i = 0; i < 10; i++) {
        const seen = new Promise(done => { const watch = new MutationObserver(() => { watch.disconnect(); done(performance.now()); });
                                           watch.observe(root, {attributes: true, attributeFilter: ['data-drawn']}); });
        const start = performance.now();
        handle.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', keyCode: 39, bubbles: true, cancelable: true}));
        times.push(await seen - start);
        await new Promise(done => setTimeout(done, 60));
      }
      return times.sort((a, b) => a - b);
    }""")
    print("ms:", [round(one) for one in times])
    assert len(times) == 10
    page.get_by_text("protocol's own").first.click()


def test_hovering_shows_the_units_there(page):
    choose(page, "planted:0")
    tile = gallery(page).locator(".ide-tile").first
    box, reading = tile.bounding_box(), gallery(page).locator(".ide-reading")
    found = set()
    for down in (0.25, 0.5, 0.75):
        for right in (0.25, 0.5, 0.75):
            page.mouse.move(box["x"] + right * box["width"], box["y"] + down * box["height"])
            page.wait_for_timeout(120)
            found.add(reading.inner_text())
    assert any("planted:0" in text and "<img src=x" in text for text in found), found
    assert len(found) > 1


def test_keys_read_choose_and_leave_the_notebook_alone(page):
    choose(page, "planted:0")
    cells = page.locator(".jp-CodeCell").count()
    tile = gallery(page).locator(".ide-tile").nth(1)
    tile.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    wait_until(
        page, lambda: "fires here" in gallery(page).locator(".ide-reading").inner_text().lower(), "keys read nothing"
    )
    page.keyboard.press("Enter")
    wait_until(page, lambda: tile.get_attribute("aria-pressed") == "true", "Enter chose nothing")
    page.wait_for_selector(".ide-paper")
    for key in ("d", "d", "a", "x"):
        page.keyboard.press(key)  # commands of the notebook
    assert page.locator(".jp-CodeCell").count() == cells
    chooser(page).locator(".widget-select select").focus()
    for key in ("d", "d"):
        page.keyboard.press(key)
    assert page.locator(".jp-CodeCell").count() == cells
    tile.focus()
    page.keyboard.press("Escape")
    wait_until(page, lambda: tile.get_attribute("aria-pressed") == "false", "Escape let nothing go")
    assert "Image 2" in (tile.get_attribute("aria-label") or "")


def rows(page) -> dict[str, list[str]]:
    "The table of the bench."
    return {
        row.locator("th").inner_text(): row.locator("td.ide-number").all_inner_texts()
        for row in page.locator(".ide-answer tbody tr").all()
    }


def answered(page, work) -> dict[str, list[str]]:
    "Do something to the bench, wait for its next answer, and give its table."
    root = page.locator(".ide-bench")
    before = root.get_attribute("data-answered")
    work()
    wait_until(page, lambda: root.get_attribute("data-answered") != before, "the bench did not answer")
    while before != (before := root.get_attribute("data-answered")):
        page.wait_for_timeout(600)  # until no more answers come
    return rows(page)


def test_painting_changes_the_activation_and_the_prediction(page):
    choose(page, "planted:0")
    first = answered(page, lambda: gallery(page).locator(".ide-tile").first.click())
    assert (
        first["peak of the unit"][0] == first["peak of the unit"][1] != "0"
        and first["says <b>red</b>"][0] == first["says <b>red</b>"][1]
    )

    def stroke():
        paper = page.locator(".ide-paper")
        paper.scroll_into_view_if_needed()
        box = paper.bounding_box()
        page.mouse.move(box["x"] + 4, box["y"] + 4)
        page.mouse.down()
        for line in range(12):
            for right in (0.02, 0.98) if line % 2 == 0 else (0.98, 0.02):
                page.mouse.move(box["x"] + right * box["width"], box["y"] + (line + 0.5) / 12 * box["height"], steps=3)
        page.mouse.up()

    page.locator(".ide-tools input").fill("12")
    painted = answered(page, stroke)
    assert (
        painted["peak of the unit"][1] == "0"
        and painted["lit"][1] == "0.0%"
        and painted["says <b>red</b>"][1] != first["says <b>red</b>"][1]
    )
    cleared = answered(page, lambda: page.get_by_text("Clear the paint").click())
    assert cleared == first
    page.locator(".ide-paper").focus()
    keyed = answered(page, lambda: [page.keyboard.press(key) for key in ("ArrowUp", "Space")])
    assert keyed.keys() == first.keys()
    answered(page, lambda: page.keyboard.press("Delete"))
    removed = answered(page, lambda: page.locator(".ide-bench-box select").nth(1).select_option("this unit"))
    assert removed["peak of the unit"][1] == "0" and removed["says <b>red</b>"][1] != first["says <b>red</b>"][1]
    answered(page, lambda: page.locator(".ide-bench-box select").nth(1).select_option("nothing"))

    def corner():
        return page.locator(".ide-paper canvas").evaluate(
            "one => Array.from(one.getContext('2d').getImageData(5, 5, 1, 1).data)"
        )

    def from_code():
        page.locator(".jp-CodeCell").nth(2).locator(".cm-content").click()
        page.keyboard.press("Control+Enter")

    bare = corner()
    answered(page, from_code)
    assert corner() != bare  # the page shows what code has painted
    assert answered(page, lambda: page.get_by_text("Clear the paint").click()) == first and corner() == bare


def test_comparing_with_a_unit_of_another_layer(page):
    """A second unit, found by layer and search: its own images, its own threshold, and the same images where one
    wants them."""
    choose(page, "planted:0")
    page.get_by_text("Compare with another unit").click()
    beside = chooser(page, 1)
    beside.locator(".widget-dropdown select").select_option("pooled")
    beside.locator("input[type=text]").fill("blue")
    units = beside.locator(".widget-select select")
    wait_until(page, lambda: units.locator("option").count() == 2, "the second list did not shrink")
    units.select_option(label=units.locator("option").first.inner_text())
    page.wait_for_selector(".ide-gallery[data-shows='Images of unit pooled:6']")
    assert page.locator(".ide-gallery:visible").count() == 2
    first, second = gallery(page), page.locator(".ide-gallery").nth(1)
    own = second.locator(".ide-name").all_inner_texts()
    assert own != names(page)
    handle, number = (
        page.locator(".ide-column .noUi-handle").nth(1),
        page.locator(".ide-column input[type=text]").nth(1),
    )
    wait_until(
        page,
        lambda: float(number.input_value() or 0) > 100,
        "the second threshold is not that of its unit, whose values are a thousand times as large",
    )
    wait_until(
        page,
        lambda: handle.get_attribute("aria-valuetext") == number.input_value(),
        "the slider reads out another threshold",
    )
    wait_until(
        page,
        lambda: ", at " not in page.locator(".ide-readout").nth(1).inner_text(),
        "the score is not at the protocol's threshold",
    )
    before, lit_before = lit(page), second.get_attribute("data-lit")
    handle.focus()
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    wait_until(
        page,
        lambda: second.get_attribute("data-lit") != lit_before,
        "the second unit's regions did not follow its threshold",
    )
    assert lit(page) == before and first.get_attribute("data-shows") == "Images of unit planted:0"
    page.get_by_text("on the same images").click()
    wait_until(
        page, lambda: second.locator(".ide-name").all_inner_texts() == names(page), "the second unit has other images"
    )
    page.get_by_text("Compare with another unit").click()
    wait_until(page, lambda: page.locator(".ide-gallery:visible").count() == 1, "the second gallery stayed")
    assert state(page)["other"] == ""


def test_pinning_writes_the_list(page, work):
    for unit in ("planted:3", "planted:1"):
        choose(page, unit)
        page.get_by_text("Pin this unit").click()
        page.get_by_text("Unpin this unit").wait_for()
    page.get_by_text("Write the list").click()
    page.locator(".ide-root [role=status]", has_text="2 units in").wait_for()
    assert (work / "pinned_units.txt").read_text() == "planted:3\nplanted:1\n"
    assert state(page)["pins"] == ["planted:3", "planted:1"]


def test_names_do_no_harm_and_nothing_is_asked_of_others(page):
    assert page.evaluate("window.harmed") is None
    assert "<script>window.harmed" in names(page)[0]
    strangers = [
        url for url in page.asked if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))
    ]
    assert not strangers, strangers
    assert not [error for error in page.errors if "ide" in error or "grid" in error], page.errors


def serious(page, context: str | None = None) -> list:
    "What axe-core finds serious on a page, or in a part of it."
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page, context=context).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]


def theme(page, name: str) -> None:
    "Another theme of JupyterLab, by its menu."
    page.get_by_text("Settings", exact=True).first.click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Theme", exact=True).hover()
    page.locator(".lm-Menu-itemLabel").get_by_text(name, exact=True).click()
    wait_until(
        page, lambda: page.evaluate("document.body.dataset.jpThemeName") == name, f"the theme {name} did not come"
    )


def test_axe_finds_nothing_serious(page):
    "Light and dark, wide and as narrow as a phone."
    choose(page, "planted:0")
    gallery(page).locator(".ide-tile").first.click()
    for name in ("JupyterLab Dark", "JupyterLab Light"):
        theme(page, name)
        for width in ("390px", ""):
            page.locator(".ide-root").evaluate("(root, width) => { root.style.width = width }", width)
            page.wait_for_timeout(500)
            assert not serious(page, ".ide-root"), (name, width)
            assert page.locator(".ide-root").evaluate("root => root.scrollWidth <= root.clientWidth + 1"), (name, width)


@pytest.fixture(scope="module")
def saved(lab, page, work):
    "Opens the saved page without a network; in the end nothing may have been asked of a server, and nothing gone wrong."
    opened, wrong = [], []

    def visit(width: int = 1280, scheme: str = "light", fine: bool = True):
        context = lab.browser.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
        opened.append(context)
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        own = ("file:", "data:", "blob:")
        tab.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        if fine:  # axe asks for style sheets, which the page's policy forbids
            tab.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        tab.goto((work / "saved.html").as_uri())
        tab.wait_for_selector("html[data-ready=yes]")
        wait_until(tab, lambda: gallery(tab).get_attribute("data-drawn"), "no image is drawn")
        return tab

    yield visit
    for context in opened:
        context.close()
    assert not wrong


def test_a_saved_page_needs_no_kernel(saved, page):
    "The unit that was shown, its images and regions as in the notebook; a search in all layers; a threshold that moves."
    choose(page, "planted:0")
    page.get_by_text("protocol's own").first.click()
    tab = saved()
    assert gallery(tab).locator(".ide-tile").count() == 12
    wait_until(tab, lambda: lit(tab) == lit(page), "the regions are others than in the notebook")
    assert page.locator(".ide-readout").first.inner_text() == tab.locator(".ide-readout").first.inner_text()
    slider, before, score = tab.locator("input[type=range]").first, lit(tab), tab.locator(".ide-readout").inner_text()
    slider.focus()
    for _ in range(8):
        tab.keyboard.press("ArrowRight")
    wait_until(tab, lambda: sum(lit(tab)) < sum(before), "the regions did not shrink")
    assert tab.locator(".ide-readout").inner_text() != score
    tab.get_by_role("button", name="protocol's own").click()
    wait_until(tab, lambda: lit(tab) == before, "the regions did not come back")
    tile = gallery(tab).locator(".ide-tile").first
    tile.hover(position={"x": 0.5 * tile.bounding_box()["width"], "y": 0.5 * tile.bounding_box()["height"]})
    wait_until(tab, lambda: "in this page" in gallery(tab).locator(".ide-reading").inner_text(), "nothing is read")


def test_a_saved_page_finds_units(saved):
    "All of them; those that it does not hold cannot be chosen, and it says why."
    tab = saved()
    search, options = tab.get_by_label("search"), tab.get_by_label("units").locator("option")
    assert options.count() == 8 and "holds 4 units" in tab.locator("main").inner_text()
    assert "open the explorer in a notebook" in tab.locator(".ide-bench-box").inner_text()
    search.fill("blue")
    found = [(one.inner_text().split()[1], one.is_disabled()) for one in options.all()]
    assert found == [("planted:6", False), ("pooled:6", True)]
    search.press("Enter")
    tab.get_by_role("heading", name="planted:6").wait_for()
    assert tab.locator("bdi", has_text="blue ball").count() and tab.evaluate("window.harmed") is None
    tab.get_by_label("heat").check()
    search.fill("no such thing")
    assert "No unit of any layer fits" in tab.locator("main").inner_text()


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_a_saved_page_in_any_light(saved, width, scheme):
    "Nothing serious from axe-core, and nothing to scroll sideways."
    tab = saved(width, scheme, fine=False)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert not serious(tab)


def region(root) -> str:
    "What of an explorer is lit, when its images are drawn."
    wait_until(root.page, lambda: root.locator(".ide-gallery").first.get_attribute("data-drawn"), "nothing is drawn")
    return root.locator(".ide-gallery").first.get_attribute("data-lit") or ""


def drag(root, keys: int = 40) -> None:
    "Lower the first threshold of an explorer by some steps, and wait until the score says so."
    root.locator(".ide-column .noUi-handle").first.focus()
    for _ in range(keys):
        root.page.keyboard.press("ArrowLeft")
    wait_until(
        root.page, lambda: ", at " in root.locator(".ide-readout").first.inner_text(), "the score does not follow"
    )


def test_hostile_names_are_text(worse):
    """HTML, scripts, control characters, marks that turn the writing round, formulas and 10,000 letters, as names of
    all that has one."""
    root, page = worse["hostile"], worse["hostile"].page
    said = root.inner_text() + "".join(option.inner_text() for option in root.locator("option").all())
    for name in ("<script>window.harmed = 1", "<b onclick=", "=1+1", "<img src=x"):
        assert name in said, name
    assert not any(mark in said for mark in ("\u202e", "\x07", "\x1b", "\x00")) and "x" * 200 not in said
    root.locator(".ide-tile").first.click()
    wait_until(page, lambda: root.locator(".ide-answer tbody tr").count() >= 2, "the bench does not answer")
    wait_until(page, lambda: "fires here" in root.locator(".ide-reading").first.inner_text(), "nothing is read")
    drag(root)
    for concept in root.locator(".ide-chooser").first.locator("select").nth(1).locator("option").all():
        root.locator(".ide-chooser").first.locator("select").nth(1).select_option(concept.get_attribute("value"))
    assert root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    assert page.evaluate("window.harmed") is None and not root.locator("script, b[onclick], img[onerror]").count()


def test_pictures_gone_are_said_in_place(worse):
    """Deleted while the notebook runs; before the explorer is opened; without the network. The other images, and the
    rest, work."""
    for name, gone in (("gone", 2), ("left", 2), ("alone", 6)):
        root = worse[name]
        before = region(root)
        assert root.locator(".ide-gone:visible").count() == gone and root.locator(".ide-gallery .ide-tile").count() == 6
        assert ("The data is not at hand." if name == "alone" else "no such file") in root.locator(
            ".ide-gone"
        ).first.inner_text()
        drag(root)
        wait_until(root.page, lambda root=root, before=before: region(root) != before, "the regions do not follow")
    root = worse["gone"]
    root.locator(".ide-tile").first.click()
    wait_until(
        root.page,
        lambda: "no such file" in root.locator(".ide-bench-box .ide-head").inner_text(),
        "the bench does not say why",
    )
    root.locator(".ide-tile").nth(2).click()
    wait_until(root.page, lambda: root.locator(".ide-answer tbody tr").count() >= 2, "the bench does not answer")
    said = worse["later"].locator(".ide-which").first.inner_text()
    assert "2 images could not be read" in said and "no such file" in said
    assert "over 22 of 24 images" in worse["later"].locator(".ide-readout").first.inner_text()


def test_what_is_not_there_is_said(worse):
    """A saved dissection without its data, without maps at all, and a layer whose maps do not fit the memory: numbers,
    and the remedy."""
    for name, remedy in (
        ("bare", "inner-detectors visualise FOLDER"),
        ("little", "MB or more"),
        ("alone", "runs the network again"),
    ):
        root = worse[name]
        assert remedy in root.inner_text() and "IoU" in root.locator(".ide-readout").first.inner_text()
        options = root.locator(".ide-chooser").first.locator(".widget-select select")
        options.select_option(label=options.locator("option").nth(1).inner_text())
        wait_until(
            root.page,
            lambda root=root: "planted:1" in root.locator(".ide-column .ide-head").first.inner_text(),
            "another unit cannot be chosen",
        )
    assert not [error for error in worse["bare"].page.errors if "ide" in error or "grid" in error], worse[
        "bare"
    ].page.errors
