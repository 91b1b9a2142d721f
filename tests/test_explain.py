"""The explanation of a transferred network in a real browser: as a page from a file, without a network, and as a widget
in JupyterLab. What its script
works out is what `transfer` works out.

Pages are drawn in Debian's chromium, driven by Playwright; where either is absent these tests are skipped."""

import json
import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import test_report
from made_up import HOSTILE
from test_explore import jupyterlab, notebook, open_notebook, wait_until

from inner_detectors.core.errors import InputError
from inner_detectors.data.dataset import Data
from inner_detectors.data.sample import Sample
from inner_detectors.views.explained import explain_network
from inner_detectors.views.explanation import explanation_page, fill_explanation_page, page_of, spread_cells
from inner_detectors.views.report import page_file
from inner_detectors.transfer.bank import Bank, Head
from inner_detectors.transfer.head import mean_and_deviation
from inner_detectors.transfer.network import TransferModel
from inner_detectors.transfer.reasons import reasons, what_if
from inner_detectors.synthetic.planted import Rings, planted_model

browser, visit = test_report.browser, test_report.visit
WORDS = ["red small", "red", "red large", "ring small", "ring", "ring large", "blue", "ball"]
KINDS = ["colour", "colour", "colour", "shape", "shape", "shape", "colour", "object"]
CLASSES = ["red", "blue", "none"]


class Named(Rings):
    "Rings under other names; some of them gone."

    def __init__(self, names, gone=()):
        super().__init__(len(names))
        self.own, self.keys, self.gone = dict(zip(names, self.keys)), list(names), gone

    def sample(self, key: str) -> Sample:
        if key in self.gone:
            raise InputError(f"{key}: no such file. Put it there.")
        return replace(super().sample(self.own[key]), name=key)


def network(
    data: Data,
    words=WORDS,
    kinds=KINDS,
    classes=CLASSES,
    names=("planted", "other"),
    several: bool = False,
    seed: int = 0,
) -> TransferModel:
    """A head with drawn weights on the planted units, twice: the names are the matter here. The last word has detectors
    of both networks."""
    random, model, units = np.random.default_rng(seed), planted_model(), np.arange(7)
    rows = [
        {
            "network": name,
            "unit": f"planted:{unit}",
            "layer": "planted",
            "index": int(unit),
            "threshold": float(np.float32(0.05 + 0.02 * turn)),
            "score": 0.1 + unit / 100,
            "concept": words[-1] if unit == 6 and turn else words[(unit + 3 * turn) % len(words)],
            "category": kinds[unit % len(kinds)],
        }
        for turn, name in enumerate(names)
        for unit in units
    ]
    bank = Bank(pd.DataFrame(rows), {name: replace(model, name=name) for name in names})
    images = np.stack(
        [
            data.example(place, 64, 32).image
            for place in range(len(data))
            if data.items[place][1] not in data.sources[0].gone
        ]
    )
    mean, scale = mean_and_deviation(bank(images))
    kernel = random.normal(0, 1, (len(bank), len(classes))) * (random.random((len(bank), len(classes))) < 0.7)
    kernel[3] = 0  # a detector without a say
    return TransferModel(
        bank,
        Head(
            tuple(classes),
            mean.astype(np.float32),
            scale.astype(np.float32),
            kernel.astype(np.float32),
            random.normal(0, 0.3, len(classes)).astype(np.float32),
            several,
        ),
    )


def pages(folder: Path, several: bool):
    "A page, what it was made of, and its images."
    data = Data([Named([f"{place}.png" for place in range(40)])])
    made = network(data, several=several)
    random = np.random.default_rng(2)
    truth = {
        key: sorted({int(one) for one in random.integers(0, 3, 2)}) if several else int(random.integers(0, 3))
        for _, key in data.items
    }
    labels = {key: [CLASSES[one] for one in some] if several else CLASSES[some] for key, some in truth.items()}
    page = explanation_page(made, data, folder / "why.html", labels, 12, progress=False)
    return page, explain_network(made, data, labels, 12, progress=False)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    "A page of a network that says one class an image."
    return pages(tmp_path_factory.mktemp("one"), False)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    "A page of a network that says several."
    return pages(tmp_path_factory.mktemp("many"), True)


def opened(tab):
    "The page, once it is drawn."
    tab.locator(".idx[data-drawn]").wait_for()
    return tab


def told(tab, name: str) -> str:
    return tab.locator(".idx").get_attribute(f"data-{name}")


def answer(tab) -> list[float]:
    return json.loads(told(tab, "answer"))


def choose(tab, place: int) -> None:
    tab.locator(f".idx-tile[data-image='{place}']").click()


def row(tab, concept: str):
    return tab.locator(".idx-reason", has=tab.locator(".idx-row").get_by_text(concept, exact=True))


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def raised(tab, concept: str, by: float) -> None:
    "Move a slider, as a hand does."
    row(tab, concept).locator("input[type=range]").evaluate(
        "(slider, by) => { slider.value = by; slider.dispatchEvent(new Event('input')); }", by
    )


@pytest.mark.parametrize("kind", ["one", "many"])
def test_answers_are_those_of_transfer(kind, request, visit):
    "Of every image, with evidence raised, and with concepts and detectors forbidden."
    page, these = request.getfixturevalue(kind)
    tab, made = opened(visit(page)), these.network
    for place, picture in enumerate(these.images):
        choose(tab, place)
        np.testing.assert_allclose(answer(tab), what_if(made, picture.evidence, {}), atol=1e-6)
        why = reasons(made, picture.evidence)
        assert abs(float(told(tab, "score")) - why.score) < 1e-5
        concept = why.concepts().concept[0]
        raised(tab, concept, -1.7)
        np.testing.assert_allclose(answer(tab), what_if(made, picture.evidence, {concept: -1.7}), atol=1e-6)
    assert "Put this image's evidence back" in tab.locator(".idx").inner_text()
    without = [concept, made.bank.names[0]]
    row(tab, concept).locator(".idx-row input[type=checkbox]").check()
    first = row(tab, made.bank.table.concept[0])
    first.locator(".idx-name").click()
    first.get_by_label(made.bank.names[0]).check()
    for place, picture in enumerate(these.images):
        choose(tab, place)
        np.testing.assert_allclose(answer(tab), what_if(made.forbid(*without), picture.evidence, {}), atol=1e-6)
        shown = row(tab, WORDS[-1]) if tab.locator(".idx-reason").count() else None
        assert shown is not None


def test_choosing_a_picture(one, visit):
    "Its photograph, answer, probability, runner-up and truth are shown."
    page, these = one
    tab = opened(visit(page))
    assert tab.locator(".idx-tile").count() == 12
    for place in (3, 7):
        choose(tab, place)
        picture, why = these.images[place], these.reasons(place)
        said = tab.locator(".idx-said").inner_text()
        assert said.startswith(f"{why.name} {round(100 * why.probability)}%") and f"rather than {why.against}" in said
        assert ("✓ right" in said) == (CLASSES[picture.truth[0]] == why.name) == ("wrong" not in said)
        assert picture.name in tab.locator("figcaption").inner_text()
        assert tab.locator(".idx-image img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
        assert tab.locator("[aria-selected=true]").get_attribute("data-image") == str(place)


def test_reasons_add_up(one, visit):
    "Every concept's number is that of `reasons`; with the bias they make the score; detectors make their concept."
    page, these = one
    tab = opened(visit(page))
    for place in (0, 6):
        choose(tab, place)
        why = these.reasons(place)
        expected = why.concepts().set_index("concept").contribution
        if tab.locator(".idx-more").count():
            tab.locator(".idx-more").click()
        shown = {
            item.locator(".idx-name bdi").inner_text(): number(item.locator(".idx-row > .idx-number").inner_text())
            for item in tab.locator(".idx-reason").all()
        }
        assert list(shown) == expected.index.tolist()
        np.testing.assert_allclose(list(shown.values()), expected, atol=0.0051)
        concepts, bias, total = (number(text) for text in tab.locator(".idx-sums dd").all_inner_texts())
        np.testing.assert_allclose([concepts, bias, total], [expected.sum(), why.bias, why.score], atol=0.0051)
        item = row(tab, WORDS[-1])
        item.locator(".idx-name").click()
        parts = [number(text) for text in item.locator(".idx-detector > .idx-number").all_inner_texts()]
        np.testing.assert_allclose(
            sorted(parts), sorted(why.table[why.table.concept == WORDS[-1]].contribution), atol=0.0051
        )


def test_another_question(one, visit):
    "Why not the third class? The reasons follow; the answer does not."
    page, these = one
    tab = opened(visit(page))
    why = these.reasons(0)
    third = next(name for name in CLASSES if name not in (why.name, why.against))
    before = answer(tab)
    tab.get_by_label("rather than this class").select_option(third)
    assert abs(float(told(tab, "score")) - these.reasons(0, why.name, third).score) < 1e-5 and answer(tab) == before


@pytest.mark.parametrize("kind", ["one", "many"])
def test_forbidding_counts(kind, request, visit):
    "How many answers change, and the share of right ones before and after; undone by a chip, or by the reset."
    page, these = request.getfixturevalue(kind)
    tab = opened(visit(page))
    assert float(told(tab, "before")) == pytest.approx(these.accuracy()) and told(tab, "changed") == "0"
    moved = next(word for word in WORDS if these.said([word]) != these.said() and row(tab, word).count())
    row(tab, moved).locator(".idx-row input[type=checkbox]").check()
    changed = sum(a != b for a, b in zip(these.said(), these.said([moved])))
    assert told(tab, "changed") == str(changed) and float(told(tab, "after")) == pytest.approx(these.accuracy([moved]))
    assert f"{changed} of the 12 images shown" in tab.locator(".idx-effect").inner_text()
    tab.get_by_label("Images", exact=True).first.select_option("changed")
    assert tab.locator(".idx-tile").count() == changed
    tab.get_by_role("button", name=f"Allow {moved} again").click()
    assert told(tab, "changed") == "0" and float(told(tab, "after")) == pytest.approx(these.accuracy())
    row(tab, moved).locator(".idx-row input[type=checkbox]").check()
    tab.get_by_role("button", name="Reset all").click()
    assert told(tab, "changed") == "0" and not row(tab, moved).locator(".idx-row input[type=checkbox]").is_checked()


def test_filters(one, visit):
    "All, wrong ones, those of a class."
    page, these = one
    tab = opened(visit(page))
    wrong = [place for place, (said, picture) in enumerate(zip(these.said(), these.images)) if said != picture.truth]
    wanted = {
        "wrong": wrong,
        "1": [place for place, picture in enumerate(these.images) if picture.truth == (1,)],
        "all": list(range(12)),
    }
    assert 0 < len(wrong) < 12
    for kind, places in wanted.items():
        tab.get_by_label("Images", exact=True).first.select_option(kind)
        assert [int(tile.get_attribute("data-image")) for tile in tab.locator(".idx-tile").all()] == places
        assert tab.locator("[aria-selected=true]").count() == 1


INSIDE = """paths => { const to = document.createElement('canvas').getContext('2d'), on = [];
    for (let y = 0; y < 64; y++) for (let x = 0; x < 64; x++) on.push(paths.some(path => to.isPointInPath(new Path2D(path), (x + .5) / .64, (y + .5) / .64)));
    return on; }"""


def test_pointing_at_a_reason(one, visit):
    "Its region alone is lit, and it is where its detectors are above their thresholds; a focus does the same."
    page, these = one
    tab, bank = opened(visit(page)), these.network.bank
    seen = 0
    for place, picture in enumerate(these.images[:6]):
        choose(tab, place)
        for concept in these.reasons(place).concepts().concept[:4]:
            mine = [spread_cells(lit, bank, at) for at, lit in picture.lit.items() if bank.table.concept[at] == concept]
            region = np.any(mine, 0)
            row(tab, concept).locator(".idx-bar").hover()
            assert (tab.locator(".idx-image .idx-dim").count() == 1) == region.any()
            assert tab.locator(".idx-image g").count() == region.any()
            if not region.any():
                assert "none of its detectors is above its threshold" in tab.locator("figcaption").inner_text()
                continue
            paths = tab.locator(".idx-image mask path").evaluate_all(
                "paths => paths.map(path => path.getAttribute('d'))"
            )
            np.testing.assert_array_equal(np.array(tab.evaluate(INSIDE, paths)).reshape(64, 64), region)
            seen += 1
    assert seen > 5
    tab.mouse.move(0, 0)
    assert tab.locator(".idx-image .idx-dim").count() == 0 and tab.locator(".idx-image g").count() > 0
    choose(tab, place)
    tab.locator(".idx-reason input[type=range]").first.focus()
    assert tab.locator(".idx-lone").count() == 1


def test_one_class_and_the_whole(one, visit):
    "The tables hold the network's weights; columns sort; a concept opens."
    page, these = one
    tab, made = opened(visit(page)), these.network
    weights = made.concepts()
    tab.get_by_label("Class", exact=True).select_option("blue")
    shown = {
        item.locator("bdi").inner_text(): number(item.locator(".idx-number").inner_text())
        for item in tab.locator(".idx-weights .idx-row").all()
    }
    column = weights.blue[weights.blue != 0]
    assert set(shown) == set(column.index)
    np.testing.assert_allclose([shown[name] for name in column.index], column, atol=0.0051)
    assert np.all(np.diff(np.abs(list(shown.values()))) <= 0)
    table = tab.locator(".idx-scroll table")
    table.get_by_role("button", name="blue").first.click()
    assert table.locator("[aria-sort=descending]").inner_text().startswith("blue")
    cells = [
        number(text)
        for text in table.locator("tbody tr:not(.idx-bias) td:nth-child(3)").all_inner_texts()
        if text != "–"
    ]
    assert cells == sorted(cells, reverse=True) and len(cells) == len(column)
    table.get_by_role("button", name="blue").first.click()
    assert [
        number(text)
        for text in table.locator("tbody tr:not(.idx-bias) td:nth-child(3)").all_inner_texts()
        if text != "–"
    ] == sorted(cells)
    table.get_by_role("button", name=WORDS[-1], exact=True).click()
    parts = table.locator(".idx-part")
    assert (
        parts.count() == (made.bank.table.concept.iloc[made.used] == WORDS[-1]).sum()
        and "other.planted:6" in parts.all_inner_texts()[-1]
    )


def test_by_keyboard(one, visit):
    "From the filter to an image, to a slider, to a tick box, to the reset, without a mouse."
    page, these = one
    tab = opened(visit(page))

    def focus() -> str:
        return tab.evaluate(
            "document.activeElement.className || document.activeElement.type || document.activeElement.tagName"
        )

    def on_to(true, most: int = 40):
        for _ in range(most):
            tab.keyboard.press("Tab")
            if true():
                return
        raise AssertionError(f"never reached; at {focus()}")

    on_to(lambda: focus() == "idx-tile")
    for _ in range(2):
        tab.keyboard.press("ArrowRight")
    assert tab.locator("[aria-selected=true]").get_attribute("data-image") == "2" and focus() == "idx-tile"
    np.testing.assert_allclose(answer(tab), what_if(these.network, these.images[2].evidence, {}), atol=1e-6)
    on_to(lambda: focus() == "range")
    concept = these.reasons(2).concepts().concept[0]
    for _ in range(5):
        tab.keyboard.press("ArrowRight")
    np.testing.assert_allclose(answer(tab), what_if(these.network, these.images[2].evidence, {concept: 0.5}), atol=1e-6)
    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")
    np.testing.assert_allclose(
        answer(tab), what_if(these.network.forbid(concept), these.images[2].evidence, {}), atol=1e-6
    )
    on_to(lambda: "idx-name" in focus())
    tab.keyboard.press("Enter")
    assert tab.locator(".idx-detector:visible").count() > 0
    on_to(lambda: tab.evaluate("document.activeElement.textContent") == "Reset all")
    tab.keyboard.press("Enter")
    np.testing.assert_allclose(answer(tab), what_if(these.network, these.images[2].evidence, {}), atol=1e-6)
    assert tab.evaluate("document.activeElement.tagName") == "SELECT"


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_no_sideways_scroll(one, many, visit, width):
    for page in (one[0], many[0]):
        tab = opened(visit(page, width=width))
        tab.locator(".idx-reason .idx-name").first.click()
        tab.locator("details").first.evaluate("details => { details.open = true; }")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme, width", [("light", 360), ("dark", 1200)])
def test_nothing_serious_from_axe(one, many, visit, scheme, width):
    "axe-core, with something open, raised and forbidden."
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe-core; pip install axe-playwright-python"
    ).Axe()
    for page, these in (one, many):
        tab = opened(
            visit(page, width=width, scheme=scheme, fine=False)
        )  # axe asks for the style sheet itself, which the policy forbids
        concepts = these.reasons(0).concepts().concept.tolist()
        row(tab, concepts[0]).locator(".idx-name").click()
        row(tab, concepts[1]).locator(".idx-row input[type=checkbox]").check()
        raised(tab, concepts[2], 1.0)
        tab.locator("details").first.evaluate("details => { details.open = true; }")
        tab.locator(".idx-scroll .idx-name").first.click()
        tab.wait_for_timeout(300)
        found = axe.run(tab).response["violations"]
        bad = [
            (found["id"], [node["target"] for node in found["nodes"]][:3])
            for found in found
            if found["impact"] in ("serious", "critical")
        ]
        assert not bad, bad


def test_dark_is_dark(one, visit):
    ground = {
        scheme: visit(one[0], scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    light, dark = (np.mean([int(part) for part in re.findall(r"\d+", ground[scheme])]) for scheme in ("light", "dark"))
    assert light > 230 and dark < 40


def test_hostile_names(visit, tmp_path):
    """Of networks, concepts, categories, classes and images: shown as text, run by nobody; and they can still be
    forbidden."""
    data = Data([Named(HOSTILE)])
    made = network(data, HOSTILE[:8], HOSTILE[4:], HOSTILE[:5], names=(HOSTILE[0], HOSTILE[5], HOSTILE[3]))
    labels = {key: HOSTILE[place % 5] for place, (_, key) in enumerate(data.items)}
    page = explanation_page(made, data, tmp_path / "why.html", labels, 12, progress=False)
    tab = opened(visit(page, width=360))
    assert tab.locator(".idx-tile").count() == len(HOSTILE)
    for place in range(len(HOSTILE)):
        choose(tab, place)
        for name in tab.locator(".idx-reason .idx-name").all():
            name.click()
        for tick in tab.locator(".idx-row input[type=checkbox]").all()[:2]:
            tick.set_checked(place % 2 == 0)
        assert tab.evaluate("window.stolen") is None and tab.locator("img[src='x']").count() == 0
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    text = tab.locator("main").inner_text()
    assert (
        not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u200e\u200f]", text)
        and "x" * 200 not in text
        and "<script>window.stolen" in text
    )
    markup = page.read_text()
    assert markup.count("<script") == 2 and "<img" not in markup
    assert set(explain_network(made, data, labels, progress=False).said([HOSTILE[0]])) != set()


def test_a_picture_that_is_gone(one, visit, tmp_path):
    "Before its evidence was gathered: it is named. After that: its reasons are there, without a place."
    from inner_detectors.views.explained import gather_evidence

    data, _ = Data([Named([f"{place}.png" for place in range(40)])]), one
    made, gone = one[1].network, one[1].images[4].name
    less = Data([Named([f"{place}.png" for place in range(40)], gone=(gone,))])
    evidence, _, _ = gather_evidence(made, data, progress=False)
    for choices, there in (({}, 39), ({"evidence": evidence}, 40)):
        with nullcontext() if choices else pytest.warns(UserWarning):
            page = explanation_page(made, less, tmp_path / "why.html", None, 40, progress=False, **choices)
        tab = opened(visit(page))
        assert tab.locator(".idx-tile").count() == there
        if there == 39:
            assert "1 image could not be read" in tab.locator("summary").first.inner_text()
            continue
        choose(tab, int(tab.locator(".idx-tile", has=tab.locator(".idx-gone")).get_attribute("data-image")))
        assert "could not be read" in tab.locator(".idx-image").inner_text() and tab.locator(".idx-reason").count() > 3
        np.testing.assert_allclose(answer(tab), what_if(made, one[1].images[4].evidence, {}), atol=1e-6)


def test_a_network_without_a_reason(visit, tmp_path, one):
    "No weight at all: the answer is the bias, and the page says so."
    made = one[1].network
    empty = replace(made, head=replace(made.head, kernel=np.zeros_like(made.head.kernel)))
    path = explanation_page(empty, Data([Named(["a", "b"])]), tmp_path / "why.html", progress=False)
    tab = opened(visit(path))
    assert "No detector has a say" in tab.locator(".idx-reasons").inner_text()
    np.testing.assert_allclose(answer(tab), what_if(empty, one[1].images[0].evidence, {}), atol=1e-6)


def test_the_page_is_one_file(one):
    "Its numbers are those of the widget; nothing of it lies elsewhere."
    page, these = one
    kept = json.loads(page.read_text().split('id="data">')[1].split("</script>")[0])["page"]
    assert {**kept, "made": 0} == {**json.loads(json.dumps(page_of(these))), "made": 0}
    assert [path.name for path in page.parent.iterdir()] == ["why.html"]
    assert (
        len({picture["photo"] for picture in kept["images"]}) == 12
        and fill_explanation_page(these).count("data:image/jpeg") == 12
    )


def test_the_page_is_shipped():
    "In the package, without a request to anywhere, and fit to stand inside a page."
    script = page_file("explain.js")
    assert (
        "</script" not in script.lower()
        and "<!--" not in script
        and "innerHTML" not in script
        and "fetch(" not in script
        and "eval(" not in script
    )
    for name in ("explain.html", "explain.css", "explain.js"):
        assert not re.search(r"https?://(?!www\.w3\.org/)", page_file(name))


NOTEBOOK = """
import json, sys
sys.path.insert(0, {tests!r})
from test_explain import *
from inner_detectors.views.explanation import Explanation
data = Data([Named([f"<img src=x onerror=window.harmed=1>{{place}}" for place in range(8)])])
made = network(data)
look = Explanation(made, data, {{key: CLASSES[place % 3] for place, (_, key) in enumerate(data.items)}}, 8, progress=False)
look
"""
SPARE = """
print('STATE', json.dumps(dict(image=look.image, raised=look.raised, forbidden=look.forbidden, class_name=look.class_name,
                               answer=list(look.answer.values()))))
"""
SETS = (
    "look.image, look.class_name = 2, 'none'; look.forbidden = ['red', 'other.planted:5']; look.raised = {'blue': "
    "1.5, 'shape': -0.5}"
)


def run_cell(page, place: int) -> str:
    "Run a cell, and give what it printed."
    cell = page.locator(".jp-CodeCell").nth(place)
    cell.locator(".cm-content").click()
    before = cell.locator(".jp-InputPrompt").inner_text()
    page.keyboard.press("Control+Enter")
    wait_until(
        page, lambda: cell.locator(".jp-InputPrompt").inner_text() not in (before, "[*]:"), "the cell did not run"
    )
    printed = cell.locator(".jp-OutputArea-output")
    return printed.last.inner_text() if printed.count() else ""


def test_the_widget(browser, tmp_path):
    "What is chosen there reaches Python, what Python sets is drawn there, and both say the same."
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "w.ipynb").write_text(notebook(NOTEBOOK.format(tests=str(Path(__file__).parent)), SPARE, SETS))
    with jupyterlab(tmp_path) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 1400})
        page.set_default_timeout(60_000)
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        open_notebook(page, address, drawn=".idx[data-drawn]")

        def state() -> dict:
            return json.loads(run_cell(page, 1).split("STATE")[1])

        def agrees() -> dict:
            "Python's state, once the page says the same."
            there = state()
            wait_until(
                page, lambda: np.allclose(answer(page), there["answer"], atol=1e-6), "the page says something else"
            )
            return there

        slider = row(page, "blue").locator("input[type=range]")
        wait_until(page, lambda: slider.input_value() == "1.5", "what the last cell set is not drawn")
        page.get_by_role("button", name="Reset all").click()
        choose(page, 5)
        raised(page, "blue", 2.0)
        row(page, "ring").locator(".idx-row input[type=checkbox]").check()
        page.get_by_label("Class", exact=True).select_option("blue")
        wait_until(page, lambda: state()["class_name"] == "blue", "Python heard nothing")
        there = agrees()
        assert (there["image"], there["raised"], there["forbidden"]) == (5, {"blue": 2}, ["ring"])

        drawn = told(page, "drawn")
        run_cell(page, 2)
        wait_until(page, lambda: told(page, "drawn") != drawn, "nothing was drawn")
        assert agrees()["raised"] == {"blue": 1.5, "shape": -0.5}
        assert page.locator(".idx-tile[aria-selected=true]").get_attribute("data-image") == "2"
        assert page.get_by_label("Class", exact=True).input_value() == "none"
        assert row(page, "red").locator(".idx-row input[type=checkbox]").is_checked()

        cells = page.locator(".jp-CodeCell").count()
        page.locator(".idx-tile[tabindex='0']").focus()
        for key in ("d", "d", "a", "x"):
            page.keyboard.press(key)  # commands of the notebook
        assert page.locator(".jp-CodeCell").count() == cells and page.evaluate("window.harmed") is None
        axe = pytest.importorskip(
            "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
        )
        found = axe.Axe().run(page, context=".idx").response["violations"]
        assert not [
            (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
        ]
        page.locator(".idx").screenshot(path=str(tmp_path / "widget.png"))
        page.close()
    assert not [url for url in asked if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))]
    assert not [error for error in errors if "idx" in error or "explain" in error], errors
