"""The README and the site say what is so: every command parses, what needs no download is run, every block of Python
runs, and the site is built without a warning, a broken link or anything from outside.

Where a page says VGG16 and 64 images, a network of three small layers and eight images stand in."""

import html
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax.numpy as jnp
import pytest
from flax import nnx

from inner_detectors.cli.flags import parser
from inner_detectors.cli.main import command_named, names, resolve_alias, run
from inner_detectors.dissection.analysis import ANALYSES
from inner_detectors.networks import registry
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import docs

START = ROOT / "docs" / "start.md"
PAGES = [START, *sorted(set((ROOT / "docs").glob("*.md")) - {START}), ROOT / "README.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
OWN = {"cd", "pip", "python", "jupyter", "source"}  # words that begin a line which is not ours to parse


def blocks(path: Path, kind: str) -> list[str]:
    return [text for found, text in FENCE.findall(path.read_text(encoding="utf-8")) if found == kind]


def lines(path: Path) -> list[list[str]]:
    "The words of each line of a page's blocks for the shell."
    text = "\n".join(blocks(path, "sh")).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def inline(path: Path) -> list[list[str]]:
    "The words of commands that stand in the text, where more than a name is said."
    found = re.findall(r"`inner-detectors ([^`]+ [^`]+)`", FENCE.sub("", path.read_text(encoding="utf-8")))
    return [shlex.split(text) for text in found if "--help" not in text]


def parsed(words: list[str]) -> dict:
    "The values of a command's flags. Ends in SystemExit where it would refuse them."
    words = resolve_alias(words)
    return vars(parser(command_named(words[0])).parse_args(words[1:]))


def forward(parameters, images):
    "Colours and their complements, in 16 x 16 cells and fewer."
    side = images.shape[1] // 16
    fine = images.reshape(-1, 16, side, 16, side, 3).mean((2, 4))
    fine = jnp.concatenate([fine, 1 - fine, fine[..., :1] * (1 - fine[..., 1:2])], -1)
    coarse = fine.reshape(-1, 8, 2, 8, 2, 7).max((2, 4))
    return {"conv4_3": fine, "conv5_3": coarse, "pool5": coarse.reshape(-1, 4, 2, 4, 2, 7).max((2, 4))}


GEOMETRY = {name: half_pixel(64, (cells, cells)) for name, cells in dict(conv4_3=16, conv5_3=8, pool5=4).items()}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    "A folder that holds what `make demo` and, where the README goes on from it, `make transfer` leave."
    place, before = tmp_path_factory.mktemp("desk"), Path.cwd()
    network = Model("vgg16", forward, size=64, geometry=GEOMETRY)
    family = registry.Family("three small layers", lambda weights=None, **_: network)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.MODELS, "vgg16", family)
        os.chdir(place)
        assert run("match vgg16 --data scenes:8 --layers conv4_3 conv5_3 --out results/demo --quiet".split()) == 0
        if "network.safetensors" in PAGES[-1].read_text(encoding="utf-8"):
            assert run("transfer results/demo --data staged:24 --quiet".split()) == 0
        yield place
        os.chdir(before)


def can_run(words: list[str]) -> bool:
    "Whether a command has all that it needs: generated images or a folder that is there, and no download."
    words, given = resolve_alias(words), parsed(words)
    if words[0] in ("layers", "models", "scenes"):
        return given.get("model", "vgg16") == "vgg16"
    if words[0] in ("match", "map"):
        there = all(place.startswith("scenes:") or Path(place.partition(":")[2]).is_dir() for place in given["data"])
        return there and given.get("model", "vgg16") == "vgg16" and given.get("weights") is None
    return words[0] not in ("fetch", "transfer", "explain") and (Path(given["folder"]) / "dissection.nc").exists()


class Mine(nnx.Module):
    "The network of the README's reader."

    def __init__(self, rngs):
        self.conv4 = nnx.Sequential(nnx.Conv(3, 24, (3, 3), strides=4, rngs=rngs), nnx.relu)

    def __call__(self, x):
        return self.conv4(x).mean((1, 2))


def smaller(text: str) -> str:
    "A block with eight images and 64 pixels in the place of many, and tests that eight are enough for."
    text = text.replace("module, size=224", "module, size=64")
    return re.sub(r"\bleast([= ])15\b", r"least\g<1>2", re.sub(r"\b(scenes|staged):\d+", r"\1:8", text))


def test_every_command_parses():
    "Of blocks and of the text; `make` has every target that is named."
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    seen = 0
    for path in PAGES:
        for words in lines(path):
            if words[0] == "inner-detectors":
                parsed(words[1:])
                seen += 1
            elif words[0] == "make":
                assert words[1] in targets, (path.name, words)
            else:
                assert words[0] in OWN, (path.name, words)
        for words in inline(path):
            parsed(words)
            seen += 1
    assert seen > 25


def test_a_wrong_flag_would_be_found():
    for words in ["match vgg16 --no-such-flag", "chance", "match vgg16 --batch eight"]:
        with pytest.raises(SystemExit):
            parsed(words.split())


MUST_RUN = {  # of commands, by page; so that a page which runs nothing is noticed
    "start": {"layers", "match", "study", "concept-removal", "visualise"},
    "server": {"match", "study", "chance", "report"},
    "papers": {"match"},
    "own_data": {"map", "match"},
    "results": {"match"},
}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page_runs(path, desk, tmp_path, monkeypatch, capsys):
    "Blocks in order, as a reader would: commands that have all they need, and all Python, in one session a page."
    shutil.copytree(desk / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    session: dict = {"__name__": "__main__"}
    if path.name == "README.md":  # whose reader has a network and a folder
        session["module"] = Mine(nnx.Rngs(0))
        assert run("scenes FOLDER --number 12 --layout folder".split()) == 0
    ran = set()
    for kind, text in FENCE.findall(path.read_text(encoding="utf-8")):
        if kind == "python":
            needs = re.match(r"# needs: (\w+)\n", text)
            code = compile(smaller(text), f"{path.name}, {text.splitlines()[0]}", "exec")
            if needs is None or find_spec(needs[1]):
                exec(code, session)
        for line in text.replace("\\\n", " ").splitlines() if kind == "sh" else []:
            words = shlex.split(smaller(line), comments=True)
            if words[:1] == ["inner-detectors"] and can_run(words[1:]):
                assert run(words[1:]) == 0, (line, capsys.readouterr().err)
                ran.add(words[1])
    assert MUST_RUN.get(path.stem, set()) <= ran


NEEDS_CLASSES = {"unit-removal", "simulation"}  # of the images, or a probe: parsed alone


def test_commands_that_the_report_prints(desk, tmp_path, monkeypatch):
    "What a report says of an analysis that has not been run, and anywhere else, is a command; it is run where it can."
    shutil.copytree(desk / "results" / "demo", tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    assert run(["report", "demo", "--quiet"]) == 0
    text = "\n".join(path.read_text(encoding="utf-8") for path in Path("demo/report").rglob("*.*s"))
    said = {
        html.unescape(one).strip(" .") for one in re.findall(r"inner-detectors ([a-z]+[a-z-]* demo[^\"`<\\,]*)", text)
    }
    commands = {one.split()[0]: shlex.split(one) for one in said}
    assert {name for name in ANALYSES if ANALYSES[name].section} <= commands.keys()
    for name, words in commands.items():
        assert parsed(words)
        assert name in NEEDS_CLASSES or run([*words, "--quiet"]) == 0, words


# ---- the site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The whole site, of the notebooks their prose alone."
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "docs.py", place, "--brief"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return place


def test_the_site_is_whole(site):
    "Every page of docs, notebook, module and command is there, and the index of the search."
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert {f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} - {"docs/index.html"} <= pages
    assert {f"commands/{name}.html" for name in names()} <= pages
    assert {f"reference/{module}.html" for _, module, _ in docs.modules()} <= pages
    assert {str(path.relative_to(ROOT).with_suffix(".html")) for _, _, path in docs.modules()} <= pages
    assert "positional" in (site / "search" / "search_index.js").read_text(encoding="utf-8")


def test_reference_has_names_signatures_comments_and_docstrings(site):
    text = re.sub(r"<[^>]+>", "", (site / "reference" / "core.errors.html").read_text(encoding="utf-8"))
    for name in docs.public_names(ROOT / "inner_detectors" / "core" / "errors.py"):
        assert name in text, name
    assert "what was asked for" in text and "a sentence to end an error with" in text  # beside parameters of `near`
    face = (site / "reference" / "inner_detectors.html").read_text(encoding="utf-8")
    for name in docs.public_names(ROOT / "inner_detectors" / "__init__.py"):
        assert re.search(rf'<h2 id="inner_detectors\.[\w.]*\.{name}"', face), name


def test_what_is_wrong_with_a_site_is_said(tmp_path):
    (tmp_path / "index.html").write_text(
        '<p id="here"><a href="#here">a</a><a href="#gone">b</a><a href="none.html">c</a>'
        '<a href="https://example">d</a><a href="https://arxiv.org/abs/1704.05796">e</a>'
        '<script src="https://cdn.example.org/x.js"></script>'
    )
    (tmp_path / "style.css").write_text("@import url('https://fonts.example.org/a.css')")
    assert sorted(docs.faults(tmp_path)) == [
        "index.html: '#gone' names no place of that page",
        "index.html: 'https://example' is no address",
        "index.html: 'none.html' leads nowhere",
        "index.html: loads https://cdn.example.org/x.js from outside",
        "style.css: loads https://fonts.example.org/a.css from outside",
    ]


def test_links_of_the_readme_lead_somewhere():
    text = FENCE.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        place, _, mark = link.partition("#")
        if link.startswith("http"):
            assert docs.FORM.match(link), link
            continue
        assert not place or (ROOT / place).exists(), link
        heads = (
            re.findall(r"^#+ (.+)$", (ROOT / (place or "README.md")).read_text(encoding="utf-8"), re.M) if mark else []
        )
        assert not mark or mark in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, link


CHROMIUM = os.environ.get("INNER_DETECTORS_CHROMIUM") or "/usr/bin/chromium"


def test_search_finds_a_page_offline(site):
    "Opened as files, in a browser without a network: nothing is asked for, and the search answers."
    api = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no chromium at {CHROMIUM}; apt-get install chromium, or INNER_DETECTORS_CHROMIUM names it")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab, outside = browser.new_context(offline=True).new_page(), []
        tab.on("request", lambda one: one.url.startswith(("file:", "data:", "blob:")) or outside.append(one.url))
        tab.goto((site / "index.html").as_uri())
        field, hit = tab.locator("[data-md-component=search-query]").first, tab.locator(".md-search-result__link").first
        for _ in range(60):  # what is typed before the index has been read is not looked for: type it again
            field.fill("", force=True)
            field.press_sequentially("positional best")
            tab.wait_for_timeout(1000)
            if hit.count():
                break
        assert "numbers.html" in hit.get_attribute("href")
        browser.close()
    assert not outside
