"""The analyses that test a label, from the command line: each takes the folder of a match, adds a file, figures and
columns, and is read when it is done."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import made_up
import pandas as pd
import pytest
import small_network
from sentences import assert_says

from inner_detectors.dissection.result import Dissection
from inner_detectors.networks import registry
from inner_detectors.cli.main import run
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.synthetic.writers import write_folder


@pytest.fixture(scope="module")
def matched(tmp_path_factory):
    "A match of two layers of a small network on 32 images in a folder, made from the folder above it."
    place = tmp_path_factory.mktemp("rooms")
    write_folder(Scenes(32), place / "pictures")
    small_network.register()
    words = "match small --data folder:pictures --layers cells mixed --out result --quiet"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert run(words.split()) == 0
    yield place / "result"
    del registry.MODELS[small_network.NAME]


def said(capsys, *words):
    "(exit code, stdout, stderr) of a command."
    code = run([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


ROOMS = [
    (["chance"], "chance", ["chance"], ["chance_uniform", "chance_positional", "chance_positional_best"]),
    (["sensitivity"], "sensitivity", ["sensitivity"], ["best_quantile", "best_quantile_iou"]),
    (
        ["correlation"],
        "correlation-max",
        ["correlations-max", "same-label-max"],
        ["strongest_partner", "strongest_r"],
    ),
    (["concept-removal"], "concept-removal", [], ["hidden_change", "hidden_control", "hidden_q"]),
]


@pytest.mark.parametrize("words, room, figures, columns", ROOMS, ids=[room for _, room, _, _ in ROOMS])
def test_a_room(matched, capsys, words, room, figures, columns):
    "Its file, its figures, its columns; and the second time it is read, to the same table on stdout."
    options = ["--concepts", "grass", "sky"] if room == "concept-removal" else []
    code, out, err = said(capsys, *words, matched, *options, "--quiet", "--json")
    assert code == 0, err
    assert isinstance(json.loads(out), list) and json.loads(out)
    assert (matched / f"{room}.nc").exists() and not list(matched.glob("*.checkpoint.npz"))
    for name in figures:
        assert (matched / f"{name}.png").exists() and (matched / f"{name}.pdf").exists()
    assert set(columns) <= set(pd.read_csv(matched / "units.csv").columns)
    changed = (matched / f"{room}.nc").stat().st_mtime_ns
    code, again, _ = said(capsys, *words, matched, *options, "--quiet", "--json")
    assert code == 0 and again == out and (matched / f"{room}.nc").stat().st_mtime_ns == changed


@pytest.mark.parametrize("words, room", [(words, room) for words, room, _, _ in ROOMS], ids=[one[1] for one in ROOMS])
def test_a_table_fits_and_names_its_images(matched, capsys, monkeypatch, words, room):
    "On terminals of 80 and 120 columns; the file that is named has the rest; nothing is done or drawn twice."
    options = ["--concepts", "grass", "sky"] if room == "concept-removal" else []
    assert said(capsys, *words, matched, *options, "--quiet")[0] == 0
    figures = {path: path.stat().st_mtime_ns for path in matched.glob("*.png")}
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, err = said(capsys, *words, matched, *options)
        table = [line for line in out.split("\n\n")[1].splitlines() if not line.startswith(("fall:", "Most rise"))]
        assert code == 0 and f"{room}: finished before; nothing to do" in err
        assert max(map(len, table)) <= columns, table
        assert ("images" in table[0].split()) == (room != "sensitivity"), table[0]  # its rows are of layers
        assert not re.search("more", out) or f"{room}.csv" in table[-1], table[-1]
    assert {path: path.stat().st_mtime_ns for path in matched.glob("*.png")} == figures
    rows, listed = json.loads(said(capsys, *words, matched, *options, "--json", "--quiet")[1]), matched / f"{room}.csv"
    assert pd.read_csv(listed).columns.tolist() == list(rows[0]) and len(pd.read_csv(listed)) == len(rows)


def test_sensitivity_shows_the_runs_own_threshold_and_the_best(matched, capsys):
    out = said(capsys, "sensitivity", matched, "--quiet")[1]
    rows = out.split("\n\n")[1].splitlines()
    assert sum("this run" in row for row in rows) == sum("largest mean" in row for row in rows) == 2  # layers
    assert sum("most detectors" in row for row in rows) == 2 and len(rows) <= 2 * 5 + 2
    assert all(" 0.005 " in row for row in rows if "this run" in row)


@pytest.mark.parametrize("name", ["unit-removal", "simulation", "verify units", "verify simulation"])
def test_without_classes_there_is_a_default(matched, capsys, name, tmp_path):
    "As README and report print it. The classes are the concepts that ten images show, which is said."
    folder = Path(shutil.copytree(matched, tmp_path / "copy", ignore=shutil.ignore_patterns("unit-r*", "simul*")))
    code, _, err = said(capsys, *name.split(), folder, "--quiet")
    often = (Dissection.load(folder).table.concept_images >= 10).sum().item()
    assert code == 0, err
    assert f"they are the concepts that 10 images or more show ({often}), told by a linear classifier on" in err


def test_unit_images_are_drawn_once(matched, capsys, tmp_path):
    "The second time nothing is left to draw, which is said; another unit is drawn, the first ones stay."
    folder = Path(shutil.copytree(matched, tmp_path / "copy"))
    assert said(capsys, "visualise", folder, "mixed:3", "--quiet")[0] == 0
    first = {path: path.stat().st_mtime_ns for path in (folder / "unit-images").iterdir()}
    code, _, err = said(capsys, "visualise", folder, "mixed:3")
    assert code == 0 and "images of 1 unit: drawn before; nothing to do" in err and "top-images: finished before" in err
    code, out, err = said(capsys, "visualise", folder, "mixed:3", "mixed:7", "--json")
    assert code == 0 and "drawing: 1 unit" in err and len(json.loads(out)["images"]) > len(first) > 0
    assert all(path.stat().st_mtime_ns == when for path, when in first.items())
    assert all(Path(path).exists() for path in json.loads(out)["images"])


def test_the_first_page_of_a_report_is_honest(matched, capsys, tmp_path):
    "What nothing has tested says which command does; what has been tested says how many labels hold."
    from inner_detectors.analyses.verdict import tests_run
    from inner_detectors.views.front_page import front_page_data, read_folder

    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(matched / "dissection.nc", folder)
    notes = front_page_data(read_folder(folder), None, [])["notes"]
    assert "rest on fewer than ten images" in notes[0] and "`inner-detectors chance alone`" in notes[1]
    assert said(capsys, "chance", folder, "--quiet")[0] == 0
    notes = front_page_data(read_folder(folder), None, [])["notes"]
    assert notes[1] == tests_run(folder)[0] and re.fullmatch(r"chance: \d+ of \d+ labels are above chance\.", notes[1])


def test_units_txt_gives_chance(matched, capsys):
    "Beside each of a unit's best three concepts."
    assert said(capsys, "chance", matched, "--quiet")[0] == 0
    line = (matched / "units.txt").read_text().splitlines()[-1]
    assert line.count("uniform") == line.count("positional") == 3


def test_units_are_removed(matched, capsys):
    "With a linear probe on the concepts that images show."
    code, out, err = said(
        capsys,
        "unit-removal",
        matched,
        "--layer",
        "mixed",
        "--labels",
        "shown",
        "--probe",
        "head",
        "--classes",
        "car",
        "tree",
        "--units",
        "mixed:3",
        "mixed:7",
        "--groups",
        "first=0",
        "both=0-1",
        "--sets",
        "few=mixed:3,mixed:9",
        "one=mixed:5",
        "--quiet",
    )
    assert code == 0, err
    from inner_detectors.analyses.unit_removal import UnitRemoval

    choices = json.loads(UnitRemoval.load(matched).table.attrs["choices"])
    assert choices["groups"] == {"first": [0], "both": [0, 1]}
    assert choices["sets"] == {"few": [3, 9], "one": [5]}
    for name in ("unit-removal-mixed.nc", "removed-mixed.png", "verdict.csv"):
        assert (matched / name).exists(), name


def test_labels_stand_in_for_units(matched, capsys):
    "Each label's prediction in the place of its units; the same probe and classes as above."
    code, out, err = said(
        capsys,
        "simulation",
        matched,
        "--layer",
        "mixed",
        "--labels",
        "shown",
        "--probe",
        "head",
        "--classes",
        "car",
        "tree",
        "--quiet",
        "--json",
    )
    assert code == 0, err
    rows = pd.DataFrame(json.loads(out))
    assert {"concept", "intact", "removed", "replaced", "recovered"} <= set(rows.columns) and len(rows)
    assert (matched / "simulation-mixed.nc").exists()
    assert "simulated_r" in pd.read_csv(matched / "units.csv").columns


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import small_network
from inner_detectors.cli.main import run
from inner_detectors.dissection import analysis
from inner_detectors.passes import sweep
small_network.register()
Checkpoint, save, written = sweep.Checkpoint, sweep.save_checkpoint, []
analysis.Checkpoint = lambda path, identity, every, *more: Checkpoint(path, identity, 0, *more)
def saving(*words):
    save(*words); written.append(words)
    if len(written) == int(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)
sweep.save_checkpoint = saving
sys.exit(run(sys.argv[3:]))
"""


class Stopped(BaseException):
    "Nothing in the package catches it."


def stop_after(number, command):
    "The command in this process, stopped right after it has written so many checkpoints."
    from inner_detectors.cli.main import run
    from inner_detectors.dissection import analysis
    from inner_detectors.passes import sweep

    checkpoint, save, written = sweep.Checkpoint, sweep.save_checkpoint, []

    def saving(*words):
        save(*words)
        written.append(words)
        if len(written) == number:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(analysis, "Checkpoint", lambda path, identity, every, *more: checkpoint(path, identity, 0, *more))
        patch.setattr(sweep, "save_checkpoint", saving)
        run(command)


@pytest.mark.parametrize(
    "room, words, after",
    [
        ("chance", ["chance"], 2),
        ("sensitivity", ["sensitivity", "--quantiles", "0.005", "0.05"], 5),
        ("correlation-max", ["correlation"], 2),
        ("concept-removal", ["concept-removal", "--concepts", "grass", "sky", "--units", "cells:3"], 2),
        ("unit-removal-mixed", ["unit-removal", "--layer", "mixed", "--probe", "head", "--units", "mixed:3"], 7),
        ("simulation-mixed", ["simulation", "--layer", "mixed", "--probe", "head"], 5),
        ("top-images", ["top-images", "--number", "5"], 3),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_killed_and_started_again(matched, capsys, tmp_path, room, words, after):
    """Of each command: stopped right after it has written a checkpoint (two of them killed, as a process of their own),
    and started again, it says what an undisturbed run says."""
    kind, rest = words[:1], words[1:]
    with open(tmp_path / "classes.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["image", "class"], *((name, "ab"[place % 2]) for place, name in enumerate(picture_names(matched)))]
        )
    if kind[0] in ("unit-removal", "simulation"):
        rest += ["--labels", str(tmp_path / "classes.csv")]
    results = []
    for name in ("killed", "whole"):
        (folder := tmp_path / name).mkdir()
        shutil.copy(matched / "dissection.nc", folder)
        command = [*kind, str(folder), *rest, "--batch", "4", "--quiet", "--json"]
        if name == "killed":
            if room in ("chance", "unit-removal-mixed"):
                done = subprocess.run(
                    [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(after), *command],
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == -signal.SIGKILL, done.stderr
            else:
                stop_after(after, command)
                capsys.readouterr()
            assert list(folder.glob("*.checkpoint.npz")) and not (folder / f"{room}.nc").exists()
        code, out, err = said(capsys, *command)
        assert code == 0, err
        assert ("going on at image" in err) == (name == "killed")
        results.append((out, (folder / "units.csv").read_text()))
    assert results[0] == results[1]
    assert not list((tmp_path / "killed").glob("*.checkpoint.npz"))


def picture_names(matched):
    "As the data names them."
    import xarray as xr

    with xr.open_dataset(matched / "dissection.nc", engine="h5netcdf") as table:
        return table.image.values.tolist()


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["chance", "--batch", "0"], "--batch 0 cannot be used. Give 1 or more"),
        (["concept-removal", "--fills", "blak"], "Did you mean 'black'?"),
        (["concept-removal", "--units", "mixed:999"], "no unit 'mixed:999'"),
        (["concept-removal", "--concepts", "gras"], "Did you mean 'grass'"),
        (["study", "--with", "chanse"], "Did you mean 'chance'?"),
        (["study", "--with", "chance?seed=1"], "There are none."),
        (["study", "--with", "chance", "sensitivity?quantiles=2"], "between 0 and 1"),
        (["sensitivity", "--quantiles", "2"], "between 0 and 1"),
        (["sensitivity", "--data", "scenes:16"], "made with other data"),
        (["correlation", "--layers", "mixes"], "mixes"),
    ],
)
def test_wrong_words(matched, capsys, words, sentence):
    "One sentence, and nothing changes."
    kind = words[:2] if words[0] == "verify" else words[:1]
    before = {path: path.stat().st_mtime_ns for path in matched.iterdir()}
    code, out, err = said(capsys, *kind, matched, *words[len(kind) :], "--quiet")
    assert code == 1 and out == ""
    assert_says(err.strip(), sentence)
    assert before == {path: path.stat().st_mtime_ns for path in matched.iterdir()}


def test_moved_pictures_can_be_named(matched, capsys, tmp_path):
    "The folder keeps from where it was made; --data says where the images are now."
    moved, result = tmp_path / "elsewhere", tmp_path / "copy"
    shutil.copytree(matched.parent / "pictures", moved)
    shutil.copytree(matched, result)
    for room in result.glob("*.nc"):
        if room.stem != "dissection":
            room.unlink()
    assert said(capsys, "chance", result, "--data", f"folder:{moved}", "--quiet")[0] == 0


def test_a_folder_that_python_made(tmp_path, capsys, matched):
    "What opens its network is not on record."
    from inner_detectors.dissection.result import Dissection

    found = Dissection.load(matched)
    del found.table.attrs["command"]
    found.save(tmp_path)
    code, _, err = said(capsys, "chance", tmp_path, "--quiet")
    assert code == 1
    assert_says(err.strip(), "not on record", "in Python")


# ---- visualise


@pytest.fixture(scope="module")
def looked_at(matched, tmp_path_factory):
    "A folder of its own with the same match, visualised once."
    folder = tmp_path_factory.mktemp("looked") / "result"
    folder.mkdir()
    shutil.copy(matched / "dissection.nc", folder)
    assert run(["visualise", str(folder), "mixed:3", "--number", "2", "--quiet"]) == 0
    return folder


def test_pictures_and_a_report(looked_at, capsys):
    assert (looked_at / "report" / "index.html").exists() and (looked_at / "top-images.nc").exists()
    assert {path.name for path in (looked_at / "unit-images").iterdir()} >= {
        "unit-mixed-3.png",
        "unit-mixed-3.pdf",
    }
    code, out, err = said(capsys, "visualise", looked_at, "mixed:3", "cells", "--number", "2", "--quiet", "--json")
    assert code == 0, err
    files = json.loads(out)
    assert Path(files["report"]) == looked_at / "report" / "index.html"
    assert sum("cells" in path for path in files["images"]) >= 12 and all(
        Path(path).exists() for path in files["images"]
    )


def test_what_is_meant():
    "Units, the best of a layer, the detectors of a concept; and the best of all where nothing is said."
    from inner_detectors.cli.visualise import chosen_units

    images, words = [f"{place}.png" for place in range(8)], ["dog", "dog/head", "striped", "red", "sky"]
    found = made_up.dissection({"early": (8, 30), "late": (4, 40)}, words, images)
    detectors = found.detectors()
    assert len(detectors) > 12
    concept = detectors.concept.iloc[0]
    mine = set(detectors.unit[detectors.concept == concept])
    assert set(chosen_units(found, [concept], best=1000)) == mine
    assert len(chosen_units(found, [])) == 12 and len(chosen_units(found, ["early"])) == 12
    assert chosen_units(found, ["early:7", "early:7"]) == ["early:7"]


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("mixed:3000", ["no unit 'mixed:3000'", "units mixed:0 to mixed:11"]),
        ("mixd", ["is no unit, layer or concept", "Did you mean"]),
    ],
)
def test_a_word_that_is_nothing(looked_at, capsys, word, words):
    code, out, err = said(capsys, "visualise", looked_at, word, "--quiet")
    assert code == 1 and out == ""
    assert_says(err.strip(), *words)


def test_the_pictures_are_gone(looked_at, capsys, tmp_path):
    "What the photographs are read with is gone: that is said, and the rest works; without top images, too."
    from inner_detectors.dissection.result import Dissection

    found = Dissection.load(looked_at)
    command = json.loads(found.table.attrs["command"]) | {"data": [f"folder:{tmp_path / 'gone'}"]}
    for name in ("with", "without"):
        folder = tmp_path / name
        Dissection(found.table.assign_attrs(command=json.dumps(command))).save(folder)
        if name == "with":
            shutil.copy(looked_at / "top-images.nc", folder)
        code, out, err = said(capsys, "visualise", folder, "mixed:3", "--number", "2", "--quiet")
        assert code == 0, err
        assert "no photographs" in err and "gone" in err
        assert (folder / "report" / "index.html").exists()
        assert (folder / "unit-images").exists() == (name == "with")
    code, _, err = said(capsys, "visualise", tmp_path / "with", "--data", f"folder:{tmp_path / 'gone'}", "--quiet")
    assert code == 1 and "gone" in err


def test_formulas_stay_text(tmp_path, capsys, matched):
    "A concept that a spreadsheet would run, and one with a script, through every command that writes tables."
    from PIL import Image
    import numpy as np

    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for number in range(6):
        mask = np.zeros((64, 64), np.uint8)
        mask[8:40, 8 + 3 * number : 40] = 1
        mask[48:] = 2
        Image.fromarray(np.where(mask[..., None] == 1, np.uint8([200, 30, 30]), np.uint8(70) * mask[..., None])).save(
            tmp_path / f"data/images/{number}.png"
        )
        Image.fromarray(mask).save(tmp_path / f"data/masks/{number}.png")
    (tmp_path / "data" / "names.csv").write_text(
        "index,name,category\n1,=1+1,object\n2,<script>window.stolen = 1</script>,object\n"
    )
    out = tmp_path / "out"
    assert (
        run(
            [
                "match",
                "small",
                "--data",
                f"folder:{tmp_path / 'data'}",
                "--layers",
                "mixed",
                "--out",
                str(out),
                "--quiet",
            ]
        )
        == 0
    )
    for words, units in (
        (["chance"], []),
        (["correlation"], []),
        (["concept-removal"], []),
        (["visualise"], ["mixed:0"]),
    ):
        code, _, err = said(capsys, *words, out, *units, "--quiet")
        assert code == 0, err
    for path in out.glob("*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in ("=", "@", "+")], path.name
    assert "<script>window.stolen" not in (out / "report" / "index.html").read_text(encoding="utf-8")
