"""Banks, heads and networks made of detectors: evidence equals slow references, planted units are picked, files are
safe, a network reads like any other."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import small_network
from sentences import assert_says

from inner_detectors.networks import registry
from inner_detectors.data.labels import as_labels, folder_classes, classes_from_masks
from inner_detectors.transfer.baselines import contest, split
from inner_detectors.transfer.faithfulness import pick, are_related
from inner_detectors.transfer.pooled_units import all_units, pool_images
from inner_detectors.cli.main import run
from inner_detectors.core.errors import InputError
from inner_detectors.analyses.pairs import image_level
from inner_detectors.data.dataset import Data
from inner_detectors.dissection.protocol import netdissect
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.networks.building import run_steps
from inner_detectors.networks.registry import load_model
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.passes.interpolation import enlarge_slowly, sampling_grid
from inner_detectors.passes.probe import probe
from inner_detectors.synthetic.staged import Staged
from inner_detectors.transfer.bank import Bank, Head, save_bank
from inner_detectors.transfer.detector_bank import detector_bank, gather, load_alone, thin
from inner_detectors.transfer.network import TransferModel, quality, transfer
from inner_detectors.transfer.reasons import reasons, what_if
from inner_detectors.transfer.store import load_network, read_bank
from inner_detectors.synthetic.planted import PLANTED, Rings, planted_model

PROTOCOL = replace(netdissect, quantile=0.02)


def dissected(pictures=60, seed=0, model=None):
    "The planted network on its own images."
    model, data = model or planted_model(), Data([Rings(pictures, seed)])
    return study(dissect(model, data, ["planted"], PROTOCOL, progress=False), model, data)


@pytest.fixture(scope="module")
def these():
    return dissected()


@pytest.fixture(scope="module")
def bank(these):
    return detector_bank(these)


@pytest.fixture(scope="module")
def pictures():
    return Data([Rings(160, seed=5)])


@pytest.fixture(scope="module")
def found(bank, pictures):
    return transfer(bank, pictures, classes_from_masks(pictures, progress=False), progress=False)


def images_of(data, number, size=64):
    return np.stack([data.example(place, size, 8).image for place in range(number)])


# ---- evidence


@pytest.mark.parametrize("statistic", ["max", "mean", "area"])
def test_evidence_is_what_it_says(bank, pictures, statistic):
    "Each statistic against its definition on the maps that the network gives by itself."
    images = images_of(pictures, 9)
    maps = np.asarray(probe(planted_model(), ["planted"])(images)["planted"])[..., bank.table["index"]]
    got = replace(bank, statistic=statistic)(images)
    if statistic == "area":
        around = sampling_grid(half_pixel(64, (32, 32)), (32, 32), 64, bank.side)
        slow = np.stack(
            [(enlarge_slowly(one, *around) > bank.table.threshold.to_numpy(np.float32)).mean((0, 1)) for one in maps]
        )
        np.testing.assert_allclose(got, slow, atol=1e-6)
        assert slow.max() > 0
    else:
        np.testing.assert_allclose(got, np.stack([image_level(one, statistic) for one in maps]), rtol=1e-6)
    assert (statistic != "max") or (got == maps.max((1, 2))).all()


def test_evidence_does_not_depend_on_the_batch(bank, pictures):
    whole = gather(bank, pictures, progress=False).values
    for batch in (1, 3):
        assert (gather(bank, pictures.at(range(10)), batch=batch, progress=False).values == whole[:10]).all()


def stepped(counted=lambda name, x: x, name="stepped"):
    "Three layers, one after the other, of an image of 32 pixels; the last is dear."
    heavy = jnp.ones((32 * 32 * 3, 1024), jnp.float32) / 1e3
    steps = [
        ("early", lambda x: counted("early", x)),
        ("middle", lambda x: counted("middle", x * 2)),
        ("late", lambda x: counted("late", (x.reshape(len(x), -1) @ heavy)[:, None, None])),
    ]
    return Model(
        name,
        lambda _, x: run_steps(steps, x),
        size=32,
        preprocess=lambda images: images.astype(jnp.float32) / 255,
        geometry={layer: half_pixel(32, (32, 32)) for layer in ("early", "middle")},
    )


def made(networks, rows, **more):
    "A bank by hand: (network, layer, unit, concept)."
    table = pd.DataFrame(
        [
            (network, f"{layer}:{unit}", layer, unit, 0.5, concept, "object", 0.1)
            for network, layer, unit, concept in rows
        ],
        columns=["network", "unit", "layer", "index", "threshold", "concept", "category", "score"],
    )
    return Bank(table, networks, **more)


def test_only_as_deep_as_needed():
    """What the compiled bank computes does not grow with a layer that no detector is in; and each network is traced
    once, whatever its layers."""
    traced = []

    def counted(name, x):
        traced.append(name)
        return x

    model = stepped(counted)
    shallow = made(
        {"stepped": model}, [("stepped", "early", 0, "a"), ("stepped", "middle", 1, "b"), ("stepped", "early", 2, "c")]
    )
    deep = made({"stepped": model}, [("stepped", "late", 0, "a")])

    def operations(bank):
        images = np.zeros((4, 32, 32, 3), np.uint8)

        def evidence(parameters, images):
            return bank.model.forward(parameters, bank.model.preprocess(images))["evidence"]

        return jax.jit(evidence).lower(bank.model.parameters, images).compile().cost_analysis()["flops"]

    assert operations(shallow) < operations(deep) / 10
    assert shallow.model.traced
    traced.clear()
    shallow(np.zeros((4, 32, 32, 3), np.uint8))
    assert traced.count("early") <= 2  # once for its layers' names, once under jit


def test_detectors_keep_their_place(pictures):
    "Detectors of two networks and several layers, in any order, give their own columns."
    one, two = planted_model(), replace(planted_model(), name="other", parameters=planted_model().parameters * 2)
    rows = [
        ("other", "planted", 3, "x"),
        ("planted", "planted", 0, "y"),
        ("other", "planted", 0, "z"),
        ("planted", "planted", 6, "x"),
    ]
    bank, images = made({"planted": one, "other": two}, rows, side=32), images_of(pictures, 5)
    maps = {model.name: np.asarray(probe(model, ["planted"])(images)["planted"]) for model in (one, two)}
    for place, (network, _, unit, _) in enumerate(rows):
        assert (bank(images)[:, place] == maps[network][..., unit].max((1, 2))).all()
    assert set(bank.model.forward(bank.model.parameters, bank.model.preprocess(images))) == {
        "bank/other.planted",
        "bank/planted.planted",
        "evidence",
    }
    assert list(bank.at([1, 3]).networks) == ["planted"]


def test_each_concepts_best_comes_first(these):
    bank = detector_bank(these)
    firsts = bank.table.drop_duplicates("concept")
    assert firsts.index.tolist() == list(range(len(firsts)))
    for _, some in bank.table.groupby("concept"):
        assert some.score.is_monotonic_decreasing
    assert detector_bank(these, number=2).table.equals(bank.table.head(2))
    assert detector_bank(these, units=["planted:6", "planted:0"]).table["index"].tolist() == [6, 0]
    assert set(detector_bank(these, where="iou > 0.3").table.unit) == set(bank.table.unit[bank.table.score > 0.3])


def test_copies_are_thinned(bank, pictures):
    double = replace(bank, table=pd.concat([bank.table, bank.table], ignore_index=True))
    values = gather(double, pictures.at(range(40)), progress=False).values
    assert thin(double, values, 0.9999) == thin(bank, values[:, : len(bank)], 0.9999)
    assert len(thin(double, values, 1.1)) == 2 * len(bank) - 2 * int((values[:, : len(bank)].max(0) == 0).sum())


# ---- heads


@pytest.mark.parametrize("seed", range(6))
def test_planted_units_are_picked_and_no_others(seed):
    """Red balls are told by units for red or for the ring around red, blue ones by the unit for blue; nothing else has
    a weight."""
    bank = detector_bank(dissected(60, seed))
    data = Data([Rings(200, seed=100 + seed)])
    found = transfer(bank, data, classes_from_masks(data, progress=False), seed=seed, progress=False)
    for name, allowed in {"red ball": {"red", "ring"}, "blue ball": {"blue"}}.items():
        units = found.network.bank.table["index"][
            found.network.head.kernel[:, found.network.head.classes.index(name)] != 0
        ]
        assert len(units) and {PLANTED[unit] for unit in units} <= allowed
    assert found.scores().balanced_accuracy.min() > 0.9


def test_junk_beside_the_planted_gets_no_weight():
    """A network with 24 random units beside the planted: those that pass the bar by luck are in the bank, and the head
    all but leaves them."""
    noise = np.random.default_rng(0).normal(size=(11, 11, 3, 24)).astype(np.float32) / 20
    planted = planted_model()
    model = replace(planted, parameters=jnp.concatenate([planted.parameters, jnp.asarray(noise)], -1))
    bank = detector_bank(dissected(60, 0, model))
    table = bank.table
    assert (table["index"] >= 8).any(), "no junk passes the bar: nothing is tested"
    data = Data([Rings(300, seed=7)])
    found = transfer(bank, data, classes_from_masks(data, progress=False), progress=False)
    heavy = np.abs(found.network.head.kernel)
    junk = (found.network.bank.table["index"] >= 8).to_numpy()
    assert heavy[junk].sum() < 0.1 * heavy.sum() and heavy[junk].max() < 0.1 * heavy.max()


def test_one_class_an_image(bank, pictures):
    "Two classes as one question: the same answer as two of several."
    red = as_labels(
        {
            key: (
                "red" if any(region.concept == "red ball" for region in Rings(160, 5).sample(key).regions) else "none"
            )
            for _, key in pictures.items
        },
        pictures,
    )
    found = transfer(bank, pictures, red, progress=False)
    assert found.scores().balanced_accuracy.min() > 0.95
    probabilities = found.network(images_of(pictures, 5))
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


def test_reasons_add_up(found):
    for row in range(12):
        evidence = found.valid.gathered.values[row]
        for name in found.network.head.classes:
            why = reasons(found.network, evidence, name)
            assert why.score == pytest.approx(
                found.network.head.scores(evidence[None])[0, found.network.head.classes.index(name)], abs=1e-6
            )
            assert why.bias + why.concepts().contribution.sum() == pytest.approx(why.score, abs=1e-6)


def test_forbidding_is_setting_evidence_to_its_mean(found):
    "As learned: what a forbidden concept's evidence says is what the average training image says."
    network, values = found.network, found.valid.gathered.values.copy()
    mine = (network.bank.table.concept == "red ball").to_numpy()
    forbidden = network.forbid("red ball").head.scores(values)
    values[:, mine] = network.head.mean[mine]
    np.testing.assert_allclose(forbidden, network.head.scores(values), atol=1e-6)
    refit = found.refit("red ball").network
    assert "red ball" not in refit.bank.concepts
    np.testing.assert_allclose(what_if(network, values[0], {}), network.head.probabilities(values[:1])[0], atol=1e-12)


# ---- on disk

LOAD = """
import sys, numpy as np
from inner_detectors.synthetic.planted import planted_model
from inner_detectors.transfer.store import load_network
np.save(sys.argv[3], load_network(sys.argv[1], {"planted": planted_model()})(np.load(sys.argv[2])))
"""


def test_a_fresh_process_says_the_same(found, pictures, tmp_path):
    "To the bit."
    np.save(tmp_path / "images.npy", images_of(pictures, 8))
    path = found.network.save(tmp_path / "network.safetensors")
    subprocess.run([sys.executable, "-c", LOAD, path, tmp_path / "images.npy", tmp_path / "out.npy"], check=True)
    assert (np.load(tmp_path / "out.npy") == found.network(images_of(pictures, 8))).all()


def test_a_network_reads_like_any_other(found, these):
    """Dissected on the images of its detectors, with their layer's own grid, each has the counts that it had in its
    network."""
    network = found.network
    again = dissect(network.model, these.data, ["bank/planted.planted", "evidence", "prob"], PROTOCOL, progress=False)
    assert network.model.geometry["bank/planted.planted"] == half_pixel(64, (32, 32))
    assert network.model.classes == ("red ball", "blue ball")
    inner, theirs = again.table.sel(unit=again.table.layer == "bank/planted.planted"), these.dissection.table
    for row, unit in enumerate(network.bank.table.unit):
        mine = theirs.sel(unit=unit)
        assert (inner.intersection.values[row] == mine.intersection.values).all()
        assert inner.threshold.values[row] == mine.threshold.values


@pytest.fixture
def saved(found, tmp_path):
    return found.network.save(tmp_path / "network.safetensors")


def with_metadata(path, **changes):
    "The same file, with other words about itself."
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(path, "numpy") as file:
        about = dict(file.metadata())
    save_file(load_file(path), path, about | changes)
    return path


def test_another_version(saved):
    with pytest.raises(InputError) as refused:
        load_network(with_metadata(saved, format="inner-detectors bank 99"), {"planted": planted_model()})
    assert_says(str(refused.value), "another version", "bank 99", "inner-detectors transfer")


@pytest.mark.parametrize(
    "about",
    [
        "{}",
        "[]",
        "no json",
        '{"detectors": 3}',
        '{"detectors": [], "networks": {}, "statistic": "max", "side": 1, "bank": {}}',
    ],
)
def test_a_damaged_file(saved, about):
    with pytest.raises(InputError) as refused:
        load_network(with_metadata(saved, about=about), {"planted": planted_model()})
    assert_says(str(refused.value))


def test_other_files(tmp_path, saved):
    from inner_detectors.networks.weights.safetensors import write_safetensors

    (tmp_path / "text.safetensors").write_text("hello")
    for path in (
        tmp_path / "text.safetensors",
        tmp_path / "none.safetensors",
        write_safetensors(tmp_path / "w.safetensors", {"a": np.zeros(3, np.float32)}),
    ):
        with pytest.raises(InputError) as refused:
            load_network(path)
        assert_says(str(refused.value), str(path))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved.read_bytes()[:-40])
    with pytest.raises(InputError):
        load_network(cut, {"planted": planted_model()})


def test_a_bank_alone(bank, tmp_path):
    path = save_bank(bank, tmp_path / "bank.safetensors")
    again, head, _ = read_bank(path, {"planted": planted_model()})
    assert head is None and again.names == bank.names
    pd.testing.assert_frame_equal(again.table, bank.table, check_dtype=False)
    with pytest.raises(InputError) as refused:
        load_network(path, {"planted": planted_model()})
    assert_says(str(refused.value), "without a head")


def test_a_bank_of_the_first_version_opens(tmp_path):
    "It had the unit's number in `unit`, and no `index`."
    from inner_detectors.networks.weights.formats import read_metadata, read_weights
    from inner_detectors.networks.weights.safetensors import write_safetensors

    bank = made(
        {"planted": planted_model()}, [("planted", "planted", 6, "blue ball"), ("planted", "planted", 0, "red ball")]
    )
    path = save_bank(bank, tmp_path / "bank.safetensors")
    said = read_metadata(path)
    about = json.loads(said["about"])
    for row in about["detectors"]:
        row["unit"] = row.pop("index")
    older_words = {"format": "inner-detectors bank 1", "about": json.dumps(about)}
    write_safetensors(tmp_path / "older.safetensors", read_weights(path), said | older_words)
    older, _, _ = read_bank(tmp_path / "older.safetensors", {"planted": planted_model()})
    pd.testing.assert_frame_equal(older.table, read_bank(path, {"planted": planted_model()})[0].table)
    assert older.names == ["planted.planted:6", "planted.planted:0"]


def test_a_table_without_a_column_is_refused():
    bank = made({"planted": planted_model()}, [("planted", "planted", 6, "blue ball")])
    with pytest.raises(InputError) as refusal:
        Bank(bank.table.drop(columns="index"), bank.networks)
    assert_says(refusal.value, "has no column 'index'", "network, unit, layer, index")


def test_the_weights_are_gone_or_changed(saved, lite0_weights, tmp_path, monkeypatch):
    with pytest.raises(InputError) as refused:
        load_network(saved, {"planted": replace(planted_model(), parameters=planted_model().parameters + 1)})
    assert_says(str(refused.value), "planted have changed", "SHA-256")
    with pytest.raises(InputError) as refused:
        load_network(saved)
    assert_says(str(refused.value), "needs the network planted", "no model 'planted'")
    model = load_model("efficientnet-lite0", lite0_weights)
    bank = made({model.name: model}, [(model.name, "blocks_4", 0, "a"), (model.name, "blocks_4", 1, "b")])
    head = Head(
        ("x", "y"),
        *(np.zeros(2, np.float32), np.ones(2, np.float32), np.eye(2, dtype=np.float32), np.zeros(2, np.float32)),
    )
    path = TransferModel(bank, head).save(tmp_path / "lite0.safetensors")
    monkeypatch.setenv("INNER_DETECTORS_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "empty")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        load_network(path)
    assert_says(str(refused.value), "needs the network efficientnet-lite0", "fetch efficientnet-lite0")


# ---- what is refused


def test_wrong_banks(these, bank):
    for wrong, words in [
        (dict(concepts=["red bal"]), ["no concept 'red bal'", "Did you mean 'red ball'"]),
        (dict(layers=["plant"]), ["no layer 'plant'", "planted"]),
        (dict(number=0), ["number=0", "1 or more"]),
        (dict(where="iou > 2"), ["no detector is left", "of 8 units detect"]),
        (dict(where="math.sqrt(iou) > 0"), ["cannot be asked"]),
        (dict(without=["sky"]), ["no detector of 'sky'"]),
        (dict(statistic="median"), ["no statistic 'median'"]),
    ]:
        with pytest.raises(InputError) as refused:
            detector_bank(these, **wrong)
        assert_says(str(refused.value), *words)
    strict = these._replace(
        dissection=dissect(planted_model(), these.data, ["planted"], replace(PROTOCOL, detects=0.9), progress=False)
    )
    with pytest.raises(InputError) as refused:
        detector_bank(strict, concepts=["blue ball"])
    assert_says(str(refused.value), "no unit has 'blue ball'", "nearest: planted.planted:6")
    with pytest.raises(InputError) as refused:
        detector_bank([these, dissected(model=replace(planted_model(), parameters=planted_model().parameters * 2))])
    assert_says(str(refused.value), "two networks are called planted")
    with pytest.raises(InputError) as refused:
        made({"a": stepped(name="a"), "planted": planted_model()}, [("a", "early", 0, "x")])
    assert_says(str(refused.value), "32 and 64 pixels")
    with pytest.raises(InputError) as refused:
        replace(bank, table=bank.table.head(0))
    assert_says(str(refused.value), "no detector")


def test_wrong_labels(bank, pictures):
    keys = [key for _, key in pictures.items]
    for labels, words in [
        ({key: "a" for key in keys}, ["all images are of one class (a)"]),
        ({"x": "a", "y": "b"}, ["not one is of these images"]),
        ({key: "ab"[i % 2] for i, key in enumerate(keys[:-2])}, ["has no class, nor have 1 others"]),
        (np.zeros((3, 2), bool), ["Give a row an image"]),
        ({key: "b" if key == keys[7] else "a" for key in keys}, []),
    ]:
        with pytest.raises(InputError) as refused:
            transfer(bank, pictures, labels, seed=next(s for s in range(50) if aside(pictures, s, 7)), progress=False)
        assert_says(str(refused.value), *words)


def aside(pictures, seed, place):
    "Whether an image is laid aside for validation."
    from inner_detectors.analyses.splits import share_of
    from inner_detectors.data.dataset import digest_in
    from inner_detectors.data.groups import UsedImage

    source, key = pictures.sources[0], pictures.items[place][1]
    return share_of(UsedImage(0, key, None, digest_in(source, key, source.sample(key))), seed, "validation") < 0.3


def test_another_network_than_dissected(these):
    with pytest.raises(InputError) as refused:
        load_alone(these.dissection, stepped())
    assert_says(str(refused.value), "is of planted, not of stepped")
    assert detector_bank(load_alone(these.dissection, planted_model())).table.equals(detector_bank(these).table)


# ---- baselines


def test_all_units_are_the_networks_own(bank, pictures):
    few = pictures.at(range(12))
    units = all_units(bank, few, progress=False)
    maps = np.asarray(probe(planted_model(), ["planted"])(images_of(few, 12))["planted"])
    assert (units.values["max"] == maps.max((1, 2))).all()
    np.testing.assert_allclose(units.values["mean"], maps.mean((1, 2)), rtol=1e-5)
    assert (units.values["max"][:, units.places(bank)] == bank(images_of(few, 12))).all()


def test_the_parts_are_disjoint(bank, pictures):
    part = pool_images(bank, pictures, classes_from_masks(pictures, progress=False), progress=False)
    for seed in range(3):
        names = [{seen.name for seen in one.units.images} for one in split(part, seed, test=True).values()]
        assert sum(map(len, names)) == len(set().union(*names)) == len(pictures)
    table = contest(bank, split(part, 0, True), ["red ball", "blue ball"], draws=2, forbid=["blue ball"])
    test = table[table.part == "test"].set_index("method")
    assert test.loc["bank, as chosen"].balanced_accuracy > 0.95
    assert test.loc["bank, forbidden"].balanced_accuracy < 0.85
    assert {"random units", "principal components", "all units (max)", "all units (mean)"} <= set(table.method)
    assert table[table.method == "random units"].draw.nunique() == 2
    assert contest(bank, split(part, 0, True), ["red ball", "blue ball"], draws=2, forbid=["blue ball"]).equals(table)


def test_others_are_no_parts_of_the_named():
    why = pd.DataFrame({"concept": ["dog/head", "sky", "car"], "contribution": [2.0, 1.0, -1.0]})
    masks = {
        name: np.ones((2, 2), bool)
        for name in ("dog", "dog/head", "dog/head/ear", "dog/leg", "sky", "grass", "car", "red")
    }
    for seed in range(20):
        named, others = pick(why, masks, 3, np.random.default_rng(seed))
        assert named == ["dog/head", "sky"] and len(others) == 2
        assert not {"dog", "dog/head", "dog/head/ear", "sky"} & set(others)
    assert are_related("dog", "dog/head") and not are_related("dog", "dogs") and not are_related("dog/leg", "dog/head")


def test_quality_is_balanced():
    truth = np.array([0] * 90 + [1] * 10)
    always = np.zeros((100, 2))
    always[:, 0] = 1
    assert quality(always, truth)["balanced_accuracy"] == 0.5
    several = np.stack([truth == 1], 1)
    assert quality(np.full((100, 1), -1.0), several)["balanced_accuracy"] == 0.5


# ---- the command


@pytest.fixture(scope="module")
def matched(tmp_path_factory):
    "A match of both layers of a small network."
    place = tmp_path_factory.mktemp("transfer") / "small"
    small_network.register()
    assert run(f"match small --data scenes:24 --layers cells mixed --out {place} --quiet".split()) == 0
    yield place
    del registry.MODELS[small_network.NAME]


def said(capsys, *words):
    code = run([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command(lite0_weights, capsys, tmp_path):
    """Everything that it says it writes; the network, which is opened with the weights that its match was given, is
    matched, and the folder's tables have its columns."""
    matched = tmp_path / "lite0"
    words = f"match efficientnet-lite0 --weights {lite0_weights} --data scenes:24 --layers blocks_4 blocks_10".split()
    assert run([*words, "--out", str(matched), "--quiet"]) == 0
    capsys.readouterr()
    out = tmp_path / "network"
    code, text, err = said(
        capsys,
        "transfer",
        matched,
        "--data",
        "staged:36",
        "--out",
        out,
        "--number",
        "24",
        "--forbid",
        "colour",
        "--refit",
        "--quiet",
        "--json",
    )
    assert code == 0, err
    told = json.loads(text)
    assert all((out / name).exists() for name in told["files"]) and not list(out.glob("*.checkpoint.npz"))
    scores = pd.DataFrame(told["scores"])
    assert set(scores.part) == {"train", "validation", "test", "swapped"} and scores.network.nunique() == 2
    assert not pd.read_csv(out / "bank.csv").category.eq("colour").any()
    assert {"transfer_class", "transfer_top"} <= set(pd.read_csv(matched / "units.csv").columns)
    code, text, err = said(
        capsys,
        "match",
        out / "network.safetensors",
        "--data",
        "scenes:8",
        "--layers",
        "bank/efficientnet-lite0.blocks_10",
        "--out",
        tmp_path / "again",
        "--quiet",
    )
    assert code == 0, err
    assert Dissection.load(tmp_path / "again").table.attrs["model"] == "transferred"
    code, text, err = said(capsys, "chance", tmp_path / "again", "--quiet")  # an analysis that opens it again
    assert code == 0, err


def test_it_compares(matched, capsys, tmp_path):
    out = tmp_path / "compared"
    code, text, err = said(
        capsys,
        "transfer",
        matched,
        "--data",
        "staged:24",
        "--out",
        out,
        "--number",
        "8",
        "--compare",
        "--seeds",
        "1",
        "--quiet",
    )
    assert code == 0, err
    table = pd.read_csv(out / "baselines.csv")
    assert {"bank", "random units", "principal components", "all units (max)"} <= set(table.method) and set(
        table.part
    ) >= {"test", "swapped"}
    assert (out / "baselines.png").exists() and set(pd.read_csv(out / "faithfulness.csv").against) == {
        "others",
        "elsewhere",
    }


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import small_network
from inner_detectors.cli.main import run
from inner_detectors.passes import sweep
from inner_detectors.transfer import detector_bank
small_network.register()
Checkpoint, save, written = sweep.Checkpoint, sweep.save_checkpoint, []
detector_bank.Checkpoint = lambda path, identity: Checkpoint(path, identity, 0)
def saving(*words):
    save(*words); written.append(words)
    if len(written) == 8: os.kill(os.getpid(), signal.SIGKILL)
sweep.save_checkpoint = saving
sys.exit(run(sys.argv[2:]))
"""


def test_killed_and_started_again(matched, capsys, tmp_path):
    results = []
    for name in ("killed", "whole"):
        command = [
            "transfer",
            str(matched),
            "--data",
            "staged:24",
            "--number",
            "8",
            "--out",
            str(tmp_path / name),
            "--batch",
            "4",
            "--quiet",
        ]
        if name == "killed":
            done = subprocess.run(
                [sys.executable, "-c", KILLED, str(Path(__file__).parent), *command], capture_output=True, text=True
            )
            assert done.returncode == -signal.SIGKILL, done.stderr
            assert len(list((tmp_path / name).glob("*.checkpoint.npz"))) == 2
        code, out, err = said(capsys, *command)
        assert code == 0, err
        assert ("going on at image" in err) == (name == "killed")
        results.append((tmp_path / name / "network.safetensors").read_bytes())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--concepts", "unicorn"], "no concept 'unicorn'"),
        (["--where", "iou > 3"], "no detector is left"),
        (["--units", "mixed:99"], "no unit 'mixed:99'"),
        (["--labels", "none.csv"], "none.csv: cannot be read"),
        (["--data", "scenes:8"], "lies in no folder"),
        (["--test", "train=staged:8"], "train and validation are taken"),
        (["--batch", "0"], "--batch 0 cannot be used. Give 1 or more"),
        (["--classes", "car"], "belongs to --labels shown"),
        (["--data", "staged:24", "--forbid", "unicorn"], "no concept, category or detector 'unicorn'"),
        (["--statistic", "sum"], "no statistic 'sum'"),
    ],
)
def test_wrong_words(matched, capsys, tmp_path, words, sentence):
    code, out, err = said(capsys, "transfer", matched, *words, "--out", tmp_path / "out", "--quiet")
    assert code == 1 and out == ""
    assert_says(err.strip(), sentence)


def test_two_networks(matched, capsys, tmp_path):
    "Two dissections of one network with other layers make one bank."
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, layer in ((one, "cells"), (other, "mixed")):
        assert run(f"match small --data scenes:24 --layers {layer} --out {folder} --quiet".split()) == 0
    code, text, err = said(
        capsys,
        "transfer",
        one,
        other,
        "--data",
        "staged:24",
        "--number",
        "40",
        "--out",
        tmp_path / "both",
        "--quiet",
    )
    assert code == 0, err
    assert {"cells", "mixed"} == set(pd.read_csv(tmp_path / "both" / "bank.csv").layer)
    assert "transfer_top" in pd.read_csv(other / "units.csv").columns


def test_the_stage_misleads(lite0_weights):
    """The staged set is what it says: a probe on mean activations answers by the stage, and fails where stages are
    swapped."""
    model = load_model("efficientnet-lite0", lite0_weights)
    bank = made({model.name: model}, [(model.name, "blocks_10", 0, "a")])
    train, swapped = Data([Staged(120)]), Data([Staged(60, 1, swapped=True)])
    from inner_detectors.transfer.baselines import whole_probe

    classes = ["dog", "car", "house", "face", "flower", "clock"]
    part, other = (pool_images(bank, data, folder_classes(data), classes, progress=False) for data in (train, swapped))
    parts = {**split(part, 0, test=False), "swapped": other}
    scores = whole_probe(parts, "mean", 6)
    at = {name: quality(scores[name], parts[name].truth)["balanced_accuracy"] for name in parts}
    assert at["validation"] > at["swapped"] + 0.2
