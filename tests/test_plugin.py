"""A package of somebody else adds a layout, a network, a score and an analysis, a file each; nothing of ours knows of
it. And what is wrong with such a package is said in one sentence, and costs nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    "The package in an environment of its own, beside which the packages of this one are seen."
    place = tmp_path_factory.mktemp("environment")
    source = Path(shutil.copytree(PLUGIN, place / "source"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", place / "env"], check=True)
    python = place / "env" / "bin" / "python"
    inside = next((place / "env" / "lib").glob("python*")) / "site-packages"
    here = [path for path in sys.path if path.endswith("site-packages")]
    root = Path(__file__).parent.parent
    (inside / "this.pth").write_text("\n".join([*here, str(root)]), encoding="utf-8")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        source,
    ]
    subprocess.run(pip, check=True, capture_output=True)

    def command(*words, code=0):
        line = [python, "-c", "from inner_detectors.cli.main import main; main()", *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, env=os.environ, cwd=place)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return command


@pytest.fixture(scope="module")
def matched(installed, tmp_path_factory):
    "A match that is made of nothing but the package's own."
    out = tmp_path_factory.mktemp("matched") / "out"
    words = ["match", "colour-net", "--data", "patches:12", "--score", "mean-recall", "--threshold-over", "data"]
    installed(*words, "--quantile", "0.2", "--out", out, "--quiet")
    return out


def test_they_are_in_the_help(installed):
    overview = installed("--help")
    assert "brightness" in overview and "patches-for-inner-detectors" in overview
    assert "--most" in installed("brightness", "--help")
    assert "mean-recall" in installed("match", "--help") and "colour-net" in installed("models")


def test_a_match_is_made_of_them(matched):
    units = pd.read_csv(matched / "units.csv", keep_default_na=False)
    assert units.concept.tolist() == ["red", "", "blue"] and units.recall.tolist()[::2] == [1.0, 1.0]


def test_the_analysis_is_in_units_verdict_and_report(installed, matched):
    rows = json.loads(installed("study", matched, "--with", "brightness", "chance", "--json", "--quiet"))
    assert set(rows) == {"brightness", "chance"} and len(rows["brightness"]) == 3
    assert "brightness_change" in pd.read_csv(matched / "units.csv")
    verdict = pd.read_csv(matched / "verdict.csv", keep_default_na=False)
    assert "brightness_change" in verdict and len(verdict) == 2
    page = Path(installed("report", matched, "--quiet").strip())
    assert page.exists() and '"Brightness"' in (page.parent / "data" / "run.js").read_text(encoding="utf-8")
    sentence = installed("brightness", matched, "--most", "7", "--quiet", code=1)
    assert sentence.count("\n") == 1 and "Give a number from 0 to 1" in sentence


def test_a_vote_against_a_label_names_the_analysis(installed, matched, tmp_path):
    folder = Path(
        shutil.copytree(matched, tmp_path / "strict", ignore=shutil.ignore_patterns("brightness*", "chance*"))
    )
    installed("brightness", folder, "--most", "0.000001", "--quiet")
    verdict = pd.read_csv(folder / "verdict.csv", keep_default_na=False)
    assert (verdict.verdict == "fails").all() and (verdict.failed == "brightness").all()


@pytest.fixture
def bringing(tmp_path, monkeypatch):
    "Distributions that lie in a folder, as if they were installed: name -> lines of their entry points."

    def bring(**packages: str):
        for name, lines in packages.items():
            about = tmp_path / f"{name}-1.0.dist-info"
            about.mkdir()
            (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
            (about / "entry_points.txt").write_text(f"[inner_detectors.analyses]\n{lines}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)

    return bring


@pytest.mark.parametrize(
    "packages, sentence",
    [
        ({"broken": "colours = no_such_module:COLOURS"}, "no_such_module:COLOURS cannot be imported"),
        ({"one": "colours = json:dumps", "two": "colours = json:loads"}, "one and two bring one each"),
        ({"other": "colours = json:dumps"}, "is a function, not of type Analysis"),
        ({"thief": "chance = json:dumps"}, "inner-detectors and thief bring one each"),
    ],
    ids=["fails to import", "two of one name", "no analysis", "a name of ours"],
)
def test_what_is_wrong_with_a_package_is_one_sentence(bringing, packages, sentence, matched, capsys):
    from inner_detectors.cli.main import run

    bringing(**packages)
    name = next(iter(packages.values())).split(" = ")[0]
    assert run([name, str(matched), "--quiet"]) == 1
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and "ninstall" in said
    assert run(["--help"]) == 0 and run(["models"]) == 0  # it costs nothing else
