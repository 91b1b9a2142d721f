"""Several analyses of one match: in one pass they give what each gives alone, wherever they are stopped; their files
stand side by side in a folder, with those of older names."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import small_network
import xarray as xr
from sentences import assert_says

from inner_detectors.analyses.chance import Chance
from inner_detectors.analyses.concept_removal import ConceptRemoval
from inner_detectors.analyses.correlation import Correlation
from inner_detectors.analyses.simulation import Simulation
from inner_detectors.analyses.top_images import TopImages
from inner_detectors.analyses.unit_removal import UnitRemoval
from inner_detectors.analyses.verdict import verdict
from inner_detectors.cli.main import run
from inner_detectors.core.errors import InputError
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.store import save_table
from inner_detectors.dissection.tables import load_analysis, write_tables
from inner_detectors.networks import registry
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.synthetic.writers import write_folder
from inner_detectors.views.report import report
from inner_detectors.views.sections import sections_of, tables_of

FOUR = ["chance", "sensitivity", "correlation", "top-images"]


@pytest.fixture(scope="module", autouse=True)
def registered():
    small_network.register()
    yield
    del registry.MODELS[small_network.NAME]


@pytest.fixture(scope="module")
def matched(tmp_path_factory):
    "A match of two layers of a small network on 24 images, and the classes of these."
    place = tmp_path_factory.mktemp("study")
    write_folder(Scenes(24), place / "images")
    words = ["match", "small", "--data", f"folder:{place / 'images'}", "--layers", "cells", "mixed", "--batch", "4"]
    assert run([*words, "--out", str(place / "result"), "--quiet"]) == 0
    names = Dissection.load(place / "result").table.image.values.tolist()
    with open(place / "classes.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image", "class"], *((name, "ab"[turn % 2]) for turn, name in enumerate(names))])
    return place / "result"


def copy(matched, folder):
    "A folder of its own with the same match."
    folder.mkdir(parents=True)
    shutil.copy(matched / "dissection.nc", folder)
    return folder


def said(capsys, *words):
    "(exit code, stdout, stderr) of a command, on batches of four."
    code = run([*(str(word) for word in words), "--batch", "4", "--quiet"])
    out, err = capsys.readouterr()
    return code, out, err


def done(capsys, *words):
    "The stdout of a command that must go well."
    code, out, err = said(capsys, *words)
    assert code == 0, err
    return out


def table(path):
    with xr.open_dataset(path, engine="h5netcdf") as found:
        return found.load()


def same(one, other, apart=("date",)):
    "Two tables, to the bit, with how they were made."
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        assert one[name].dims == other[name].dims and one[name].dtype == other[name].dtype, name
        np.testing.assert_array_equal(one[name].values, other[name].values, name)
    assert {key: one.attrs[key] for key in one.attrs if key not in apart} == {
        key: other.attrs[key] for key in other.attrs if key not in apart
    }


def same_folder(one, other):
    "The same files: tables by value, all others to the byte (a PDF tells when it was made)."
    files = [{path.name: path for path in folder.iterdir() if path.is_file()} for folder in (one, other)]
    assert set(files[0]) == set(files[1])
    for name, path in files[0].items():
        if path.suffix == ".nc":
            same(table(path), table(files[1][name]), ("date", "checksum"))
        elif path.suffix == ".png":  # keeps what it was drawn from, with the date
            assert plt.imread(path).tobytes() == plt.imread(files[1][name]).tobytes(), name
        elif path.suffix != ".pdf":
            assert path.read_bytes() == files[1][name].read_bytes(), name


# ---- in one pass


@pytest.fixture(scope="module")
def singly(matched, tmp_path_factory):
    "What the four commands write, one after the other."
    folder = copy(matched, tmp_path_factory.mktemp("singly") / "result")
    for name in FOUR:
        assert run([name, str(folder), "--batch", "4", "--quiet"]) == 0
    return folder


def test_several_give_what_each_gives_alone(matched, singly, capsys, tmp_path):
    folder = copy(matched, tmp_path / "result")
    out = done(capsys, "study", folder, "--with", *FOUR, "--json")
    same_folder(folder, singly)
    rows = json.loads(out)
    assert list(rows) == FOUR
    for name in FOUR:
        assert rows[name] == json.loads(done(capsys, name, singly, "--json"))
    text = done(capsys, "study", folder, "--with", *FOUR)  # is read
    assert all(name in text for name in ("correlation-max.nc", "same-label-max.png", "top-images.nc"))
    same_folder(folder, singly)


def test_the_images_are_read_once(matched, capsys, tmp_path, monkeypatch):
    "All four share the first pass; the second of sensitivity is its own."
    from inner_detectors.dissection import analysis

    shared, sweep_all = [], analysis.sweep_all

    def counting(folds, *words, **more):
        shared.append(more["label"])
        return sweep_all(folds, *words, **more)

    monkeypatch.setattr(analysis, "sweep_all", counting)
    done(capsys, "study", copy(matched, tmp_path / "result"), "--with", *FOUR)
    assert shared == ["chance + sensitivity + correlation + top-images", "sensitivity: levels"]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import small_network
from inner_detectors.cli.main import run
from inner_detectors.dissection import analysis
from inner_detectors.passes import sweep
small_network.register()
Checkpoint, save, written = analysis.Checkpoint, sweep.save_checkpoint, []
analysis.Checkpoint = lambda path, identity, every, *more: Checkpoint(path, identity, 0, *more)
def saving(*words):
    save(*words); written.append(words)
    if len(written) == int(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)
sweep.save_checkpoint = saving
sys.exit(run(sys.argv[3:]))
"""


@pytest.mark.parametrize("after", [8, 10, 21], ids=["between batches", "between files", "in the last batch"])
def test_killed_in_the_shared_pass(matched, singly, capsys, tmp_path, after):
    "Started again it ends as if left alone, even where one checkpoint is a batch ahead of another."
    folder = copy(matched, tmp_path / "result")
    words = ["study", str(folder), "--with", *FOUR, "--batch", "4", "--quiet"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(after), *words], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list(folder.glob("*.checkpoint.npz"))) == 4 and not (folder / "chance.nc").exists()
    code, _, err = said(capsys, "study", folder, "--with", *FOUR)
    assert code == 0, err
    assert "going on at image" in err
    same_folder(folder, singly)


def test_one_fails_and_the_others_are_there(capsys, tmp_path):
    "Two images are too few to correlate over, and enough for the others."
    folder = tmp_path / "result"
    words = ["match", "small", "--data", "scenes:2", "--layers", "cells", "--out", folder]
    done(capsys, *words)
    code, out, err = said(capsys, "study", folder, "--with", "chance", "correlation", "top-images")
    assert code == 1 and out == ""
    assert_says(err.strip().splitlines()[-1], "2 images are too few to correlate over")
    assert (folder / "chance.nc").exists() and (folder / "top-images.nc").exists()
    assert not (folder / "correlation-max.nc").exists()
    assert "chance_uniform" in pd.read_csv(folder / "units.csv").columns
    changed = (folder / "chance.nc").stat().st_mtime_ns
    done(capsys, "study", folder, "--with", "chance", "top-images")
    assert (folder / "chance.nc").stat().st_mtime_ns == changed


def test_a_choice_that_cannot_be_stops_all_before_any_work(matched, capsys, tmp_path):
    folder = copy(matched, tmp_path / "result")
    code, out, err = said(capsys, "study", folder, "--with", "chance", "correlation?statistic=mena")
    assert code == 1 and out == ""
    assert_says(err.strip(), "Did you mean 'mean'?")
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == ["dissection.nc"]


# ---- side by side


@pytest.fixture(scope="module")
def several(matched, tmp_path_factory):
    "Two layers of unit removal and simulation, two statistics of correlation, and one each of the others."
    folder = copy(matched, tmp_path_factory.mktemp("several") / "result")
    labels = ["--labels", str(matched.parent / "classes.csv"), "--probe", "head"]
    for words in (
        *(["unit-removal", "--layer", layer, *labels] for layer in ("cells", "mixed")),
        *(["simulation", "--layer", layer, *labels] for layer in ("cells", "mixed")),
        *(["correlation", "--statistic", statistic] for statistic in ("max", "mean")),
        ["concept-removal", "--concepts", "grass", "sky"],
        ["study", "--with", "chance", "top-images?number=5"],
    ):
        assert run([words[0], str(folder), *words[1:], "--batch", "4", "--quiet"]) == 0, words
    return folder


def test_two_of_one_analysis_stand_side_by_side(several):
    "Where their units differ they fill one column; where not, the second has its key behind its name."
    units, names = pd.read_csv(several / "units.csv"), set(pd.read_csv(several / "verdict.csv").columns)
    layers = {key: UnitRemoval.load(several, key=key).table for key in ("cells", "mixed")}
    for key, its in layers.items():
        mine = (units.layer == key).to_numpy()
        np.testing.assert_allclose(units.removed_logprob[mine], its.removed_logprob.values[mine], rtol=1e-12)
        assert np.isfinite(its.removed_logprob.values).tolist() == mine.tolist()
    assert "removed_logprob" in names and not [name for name in units.columns if name.startswith("removed_logprob_")]
    both = [Correlation.load(several, key=key).table.strongest_r.values for key in ("max", "mean")]
    np.testing.assert_allclose(units.strongest_r, both[0], rtol=1e-12)
    np.testing.assert_allclose(units.strongest_r_mean, both[1], rtol=1e-12)
    assert not np.array_equal(*both)
    for name in ("correlations-max.png", "correlations-mean.png", "removed-cells.pdf", "removed-mixed.pdf"):
        assert (several / name).exists(), name


def test_one_of_several_must_be_named(several):
    for load, words in (
        (lambda: load_analysis(several, "correlation"), ["holds correlation of max, mean", "key='max'"]),
        (lambda: UnitRemoval.load(several), ["holds unit-removal of cells, mixed", "key='cells'"]),
        (lambda: Simulation.load(several, key="head"), ["holds no simulation-head.nc", "inner-detectors simulation"]),
    ):
        with pytest.raises(InputError) as refused:
            load()
        assert_says(refused.value, *words)


def shown(folder):
    "Titles and parts of a report's sections."
    found = Dissection.load(folder)
    return [(one.title, one.missing, one.parts) for one in sections_of(folder, found, tables_of(folder, found))]


def test_a_section_each(several):
    titles = [title for title, missing, _ in shown(several) if not missing]
    assert {"Unit removal (cells)", "Unit removal (mixed)", "What it goes with (max)", "What it goes with (mean)"} <= {
        *titles
    }


# ---- older names

OLDER = {
    "chance": ("evidence", Chance),
    "concept-removal": ("verify", ConceptRemoval),
    "unit-removal-mixed": ("ablate", UnitRemoval),
    "simulation-mixed": ("simulate", Simulation),
    "correlation-mean": ("correlate", Correlation),
    "top-images": ("top", TopImages),
}


def older(several, folder):
    "A folder as the first version left it: one file an analysis, without what it did not know."
    for name, (before, _) in OLDER.items():
        found = table(several / f"{name}.nc")
        attrs = {key: value for key, value in found.attrs.items() if key not in ("analysis", "key", "checksum")}
        save_table(found.drop_attrs(deep=False).assign_attrs(attrs | {"room": before}), folder / f"{before}.nc")
    return folder


@pytest.fixture
def both(matched, several, tmp_path):
    "The same tables under newer and under older names."
    new, old = copy(matched, tmp_path / "new" / "x"), older(several, copy(matched, tmp_path / "old" / "x"))
    for name in OLDER:
        shutil.copy(several / f"{name}.nc", new)
    return new, old


def test_files_of_older_names_are_read(both):
    new, old = both
    keys = {"unit-removal-mixed": "mixed", "simulation-mixed": "mixed", "correlation-mean": "mean"}
    for name, (_, kind) in OLDER.items():
        same(kind.load(old).table, kind.load(new).table, ("date", "checksum", "room"))
        same(kind.load(old, key=keys.get(name, "")).table, kind.load(old).table)
    for folder in both:
        write_tables(Dissection.load(folder), folder)
    assert (old / "units.txt").read_bytes() == (new / "units.txt").read_bytes()
    units = [pd.read_csv(folder / "units.csv").sort_index(axis=1) for folder in both]  # columns: in order of files
    pd.testing.assert_frame_equal(*units)
    assert {"chance_uniform", "hidden_q", "removed_logprob", "simulated_r", "strongest_r"} <= set(units[0])
    pd.testing.assert_frame_equal(verdict(old), verdict(new))
    assert shown(old) == shown(new)
    assert [title for title, missing, _ in shown(new) if missing] == ["Sensitivity", "In the transferred network"]
    pages = [(report(folder, progress=False).parent / "data" / "run.js").read_text() for folder in both]
    assert "What it goes with" in pages[0] and len(pages[0]) == len(pages[1])


def test_a_newer_file_wins(both):
    "Over the older one of its analysis, in whatever it is asked for; and a run of it makes one."
    new, old = both
    spoilt = table(old / "evidence.nc")
    spoilt["chance_uniform"] = spoilt.chance_uniform + 1
    save_table(spoilt, old / "evidence.nc")
    assert (Chance.load(old).table.chance_uniform > 1).any()
    shutil.copy(new / "chance.nc", old)
    same(Chance.load(old).table, Chance.load(new).table)
    pd.testing.assert_frame_equal(verdict(old), verdict(new))


def test_an_older_file_is_not_taken_for_a_finished_run(both, capsys):
    "It is of another version: the analysis is run, and its file stands beside the older one."
    _, old = both
    done(capsys, "chance", old)
    same(Chance.load(old).table, table(old / "chance.nc"))
    assert (old / "evidence.nc").exists() and Chance.load(old).table.attrs["analysis"] == "chance"


# ---- commands beside the analyses


@pytest.mark.parametrize(
    "words, name",
    [
        (["evidence"], "chance.nc"),
        (["correlat", "--statistic", "mean"], "correlation-mean.nc"),
        (["verify", "concepts", "--concepts", "grass"], "concept-removal.nc"),
        (["top", "--number", "3"], "top-images.nc"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_older_words_are_the_same_commands(matched, capsys, tmp_path, words, name):
    folder = copy(matched, tmp_path / "result")
    kind = words[:2] if words[0] == "verify" else words[:1]
    done(capsys, *kind, folder, *words[len(kind) :])
    assert (folder / name).exists()


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["verify", "concept", "x"], "Did you mean 'concepts'?"),
        (["verify"], "'' cannot be verified"),
        (["evidense", "x"], "Did you mean 'evidence'"),
        (["top-image", "x"], "Did you mean 'top-images'"),
    ],
)
def test_words_that_are_no_command(capsys, words, sentence):
    assert run(words) == 2
    assert_says(capsys.readouterr().err.strip(), sentence)


def test_the_report_is_written_from_what_is_there(several, capsys, tmp_path):
    "In the folder or elsewhere, as a folder or as one file; no analysis is run."
    before = {path: path.stat().st_mtime_ns for path in several.glob("*.nc")}
    page = Path(json.loads(done(capsys, "report", several, "--json"))["report"])
    assert page == several / "report" / "index.html" and (page.parent / "images").exists()
    assert "What it goes with (mean)" in (page.parent / "data" / "run.js").read_text()
    page = Path(done(capsys, "report", several, "--single", "--out", tmp_path / "one").strip())
    assert [path.name for path in page.parent.iterdir()] == ["index.html"] and page.stat().st_size > 10_000
    assert before == {path: path.stat().st_mtime_ns for path in several.glob("*.nc")}


def test_the_report_without_its_images(several, capsys, tmp_path):
    "What the photographs are read with is gone: that is said, and the rest is there; where it was named, it is refused."
    found, folder = Dissection.load(several), tmp_path / "result"
    command = json.loads(found.table.attrs["command"]) | {"data": [f"folder:{tmp_path / 'gone'}"]}
    Dissection(found.table.assign_attrs(command=json.dumps(command))).save(folder)
    shutil.copy(several / "top-images.nc", folder)
    code, out, err = said(capsys, "report", folder)
    assert code == 0 and "no photographs" in err and Path(out.strip()) == folder / "report" / "index.html"
    assert not (folder / "report" / "images").exists()
    code, out, err = said(capsys, "report", folder, "--data", f"folder:{tmp_path / 'gone'}")
    assert code == 1 and out == "" and "gone" in err


@pytest.mark.parametrize("single", [[], ["--single"]], ids=["folder", "single"])
def test_a_report_with_photographs_is_not_written_over_by_one_without(several, capsys, tmp_path, single):
    folder = Path(shutil.copytree(several, tmp_path / "result"))
    page = Path(done(capsys, "report", folder, *single).strip())
    before = page.read_bytes()
    found = Dissection.load(folder)
    command = json.loads(found.table.attrs["command"]) | {"data": [f"folder:{tmp_path / 'gone'}"]}
    Dissection(found.table.load().assign_attrs(command=json.dumps(command))).save(folder)
    code, _, err = said(capsys, "report", folder)
    assert code == 1 and "shows photographs" in err and page.read_bytes() == before
    assert (folder / "report" / "images").exists() == (not single)
    assert said(capsys, "report", folder, "--out", tmp_path / "other")[0] == 0


def test_a_network_of_detectors_is_explained(matched, capsys, tmp_path):
    "A page on which the images are, and their classes where they are known."
    out = tmp_path / "network"
    done(capsys, "transfer", matched, "--data", "staged:24", "--number", "8", "--out", out)
    page = tmp_path / "why.html"
    words = ["explain", out / "network.safetensors", "--out", page, "--number", "5"]
    assert done(capsys, *words, "--data", "staged:12").strip() == str(page)
    assert page.read_text().count("data:image/jpeg") == 5
    code, text, err = said(capsys, *words)
    assert code == 1 and text == ""
    assert_says(err.strip(), "no images", "--data")
    code, text, err = said(capsys, *words, "--data", "staged:12", "--labels", tmp_path / "none.csv")
    assert code == 1 and "none.csv" in err
