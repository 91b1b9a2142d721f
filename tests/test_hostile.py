"""One hostile data set through every command: names that are markup, script, formulas, control characters; an image
that goes missing on the way.

Nothing ends in a traceback, nothing that is written can be run, and every figure is there."""

import csv
import itertools
import json
import os
import re
import unicodedata
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from made_up import HOSTILE
from PIL import Image

from inner_detectors.networks import registry
from inner_detectors.cli.main import run
from inner_detectors.networks.model import Model

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
WORDS = [*HOSTILE, "+1+1", "-2+3", "@SUM(A1)", "  spaces  ", "$\\frac{", "_hidden", "%s {0}", "a/../up"]
FILES = [
    "<img src=x onerror=window.stolen=4>.png",
    "</script><script>window.stolen=5<",
    "=1+1.png",
    "\u202egnp.exe",
    "a\nb\tc\x1b[31m.png",
    "'\";$HOME.png",
    "%2e%2e.png",
    "#1?.png",
]
LAYERS = ("<script>window.stolen = 6</script>", "one cell \u202e=1")
COLOURS = [(220, 40, 40), (40, 220, 40), (40, 40, 220)]


def forward(parameters, images):
    "Three colours in cells of eight pixels, and a unit that says nothing; a layer without maps; two classes."
    grey = images.mean(-1, keepdims=True)
    cells = jnp.maximum(images - grey, 0).reshape(-1, 8, 8, 8, 8, 3).mean((2, 4))
    ends = cells.max((1, 2), keepdims=True)
    return {
        LAYERS[0]: jnp.concatenate([cells, cells[..., :1] * 0], -1),
        LAYERS[1]: ends,
        "prob": jnp.concatenate([ends[..., :1], 1 - ends[..., :1]], -1),
    }


def coco(folder: Path) -> Path:
    "Images of squares, two in each, of which each colour goes by several names."
    (folder / "val").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images, annotations, random = [], [], np.random.default_rng(0)
    for place in range(2 * len(WORDS)):
        name, pixels = FILES[place] if place < len(FILES) else f"{place:03}.png", np.full((64, 64, 3), 110, np.uint8)
        for side in (0, 1):
            word = (place + side * 7) % len(WORDS)
            left, top = 34 * side + int(random.integers(0, 8)), int(random.integers(0, 40))
            pixels[top : top + 20, left : left + 20] = COLOURS[word % 3]
            square = [left, top, left + 20, top, left + 20, top + 20, left, top + 20]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": place + 1, "category_id": word + 1, "segmentation": [square]}
            )
        (folder / "val" / name).parent.mkdir(exist_ok=True)  # a name with a slash is a folder's
        Image.fromarray(pixels).save(folder / "val" / name, format="PNG")
        images.append({"id": place + 1, "file_name": name, "height": 64, "width": 64})
    categories = [{"id": place + 1, "name": name} for place, name in enumerate(WORDS)]
    (folder / "annotations" / "instances_val.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    """What the command prints, run in this process: a traceback would fail the test, and so would letters that turn a
    terminal around."""
    made = Model("toy", forward, size=64, classes=tuple(HOSTILE[:2]))
    monkeypatch.setitem(registry.MODELS, "toy", registry.Family("one small layer", lambda weights=None: made))

    def command(*words, code=0):
        ended = run([str(word) for word in words])
        out, err = capsys.readouterr()
        assert ended == code, (words, out, err)
        for text in (out, err):
            assert "Traceback" not in text and not steering(text) and max(map(len, text.split("\n"))) < 1000, words
        return out

    return command


def steering(text: str) -> set[str]:
    "Letters that a terminal obeys, or that turn a line around."
    return {
        letter for letter in text if letter != "\n" and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }


def check_files(folder: Path) -> set[str]:
    "Names of all files, relative: plain, and those that the commands announce; no cell of a table is a formula."
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9._/-]{1,120}", name) and ".." not in name
    for path in folder.rglob("*.csv"):
        rows = list(csv.reader(path.open(newline="", encoding="utf-8")))
        assert rows and {len(row) for row in rows} == {len(rows[0])}, path
        for cell in itertools.chain(*rows):
            assert cell[:1] not in ("=", "@", "\t", "\r", "\n") and (
                cell[:1] not in ("+", "-") or re.fullmatch(r"[+-][\d.e+-]+|-inf", cell)
            ), (path, cell)
    for path in folder.rglob("*.txt"):
        for line in path.read_text(encoding="utf-8").split("\n"):
            assert not steering(line.replace("\t", "", 1)), (path, line[:200])
    for path in folder.rglob("*.png"):
        with Image.open(path) as picture:
            assert max(picture.size) < 3000 and np.ptp(np.asarray(picture)) > 100, path
        assert path.with_suffix(".pdf").read_bytes()[-6:].strip() == b"%%EOF"
    for path in folder.rglob("*.html"):
        body = re.sub(r"<style>.*?</style>|<script[^>]*>.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.S)
        assert not re.search(r"<(img|iframe|object|embed|script)|\son\w+=|javascript:", body, re.I), path
    return names


def check_page(page: Path):
    "In a browser: every unit's page, and nothing runs, asks, or goes wrong."
    api = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no chromium at {CHROMIUM}; apt-get install chromium, or INNER_DETECTORS_CHROMIUM names it")
    wrong: list[str] = []
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for file in sorted(page.parent.glob("*.html")):
            tab = browser.new_context(offline=True, viewport={"width": 360, "height": 800}).new_page()
            tab.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            tab.on("pageerror", lambda error: wrong.append(str(error)))
            tab.on(
                "console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None
            )
            tab.on(
                "request",
                lambda request: (
                    wrong.append(request.url) if not request.url.startswith(("file:", "data:", "blob:")) else None
                ),
            )
            tab.goto(file.as_uri())
            tab.locator(".unit img").first.wait_for()
            for unit in [f"{LAYERS[0]}:{place}" for place in range(4)] + [f"{LAYERS[1]}:0"]:
                tab.evaluate("unit => { location.hash = '#' + encodeURIComponent(unit) }", unit)
                tab.locator(".images img").first.wait_for()
                assert tab.evaluate("window.stolen") is None and tab.locator("img[src='x'], iframe").count() == 0
                assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        browser.close()
    assert not wrong


ANALYSES = (["sensitivity"], ["chance"], ["concept-removal", "--fills", "black"], ["correlation"])
FIGURES = {"layers", "sizes", "sensitivity", "chance", "correlations-max", "clusters-max", "same-label-max"}


def test_a_hostile_data_set_through_every_command(tmp_path, command):
    data, out = coco(tmp_path / "data"), tmp_path / "out"
    place = f"coco:{data}:val"
    command("map", place, "--out", tmp_path / "map", "--quiet")
    assert check_files(tmp_path / "map") == {"map.csv", "problems.csv", "map.png", "map.pdf"}
    command(
        "match",
        "toy",
        "--data",
        place,
        "--layers",
        *LAYERS,
        "--quantile",
        "0.05",
        "--on-problem",
        "skip",
        "--out",
        out,
        "--quiet",
    )

    def all_analyses(code):
        return [command(name, out, *more, "--quiet", code=code) for name, *more in ANALYSES]

    lost = data / "val" / FILES[0]
    whole = lost.read_bytes()
    lost.unlink()
    all_analyses(1)  # this is another data set, and they say so
    assert "The report: " in command("visualise", out, "--quiet")  # of the numbers alone
    assert not (out / "report" / "images").exists()

    lost.write_bytes(whole)
    all_analyses(0)
    command("visualise", out, f"{LAYERS[0]}:0", f"{LAYERS[1]}:0", "--quiet")
    names = check_files(out)
    assert {f"{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")} <= names
    assert (
        len([name for name in names if name.startswith("unit-images/")]) == 6
    )  # the layer without maps has no label, so no outcomes
    assert len(list((out / "report" / "images").iterdir())) > 10
    check_page(out / "report" / "index.html")

    lost.unlink()
    command("visualise", out, f"{LAYERS[0]}:0", "--quiet")  # what has photographs stays
    assert (out / "report" / "images").exists() and check_files(out) == names
