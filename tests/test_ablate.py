"""Unit removal: against networks whose weights were edited, against slow references, and on a network in which one unit
decides one class."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import pearsonr
from sentences import assert_says
from torch_golden import picture, small_weights

from inner_detectors.analyses.ablation import (
    Outcome,
    Sets,
    balanced_accuracy,
    constant,
    measure,
    each_unit,
    ranking,
    removal_fold,
    maps_at_once,
    standard_error,
)
from inner_detectors.analyses.insertion import insert
from inner_detectors.analyses.linear_probe import fit_linear, probe_layer
from inner_detectors.analyses.simulation import pooling_matrices, simulation, straight
from inner_detectors.analyses.statistics import pearson_rows
from inner_detectors.analyses.splits import parts
from inner_detectors.analyses.unit_removal import unit_removal
from inner_detectors.data.labels import Labels, as_labels, folder_classes, read_class_labels, classes_from_masks
from inner_detectors.core.errors import InputError
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.data.dataset import Data, digest_in
from inner_detectors.data.sample import Region, Sample
from inner_detectors.dissection.protocol import netdissect
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.dissection.tables import load_analysis
from inner_detectors.networks.adapters.nnx import from_nnx
from inner_detectors.networks.building import run_steps
from inner_detectors.networks.cut import cut_at
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model, layers
from inner_detectors.networks.registry import load_model
from inner_detectors.passes.probe import probe
from inner_detectors.data.groups import UsedImage
from inner_detectors.passes.batches import View
from inner_detectors.passes.fold import Batch
from inner_detectors.passes.sweep import sweep
from inner_detectors.networks.weights.formats import read_weights
from inner_detectors.networks.weights.safetensors import write_safetensors

UNITS, CLASSES = 32, ["red", "green", "blue", "none"]


class Squares:
    "A red, green or blue square, or none, in images of 32 x 32."

    name, concepts = "squares", Vocabulary([Concept(name, "colour") for name in CLASSES[:3]])

    def __init__(self, number=64, stop_after=None):
        self.keys, self.left = [f"{CLASSES[i % 4]}/{i:03}.png" for i in range(number)], stop_after

    def sample(self, key):
        number = int(key[-7:-4])
        if self.left is not None:
            self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        kind, square, image = number % 4, np.zeros((32, 32), bool), np.full((32, 32, 3), 40 + number % 9, np.uint8)
        square[number % 7 : number % 7 + 14, number % 11 : number % 11 + 14] = kind < 3
        if kind < 3:
            image[square] = np.eye(3, dtype=np.uint8)[kind] * 200
        return Sample(key, image, (Region(CLASSES[kind], square),) if kind < 3 else ())

    def identity(self):
        return {"images": "drawn by hand"}


def planted(counted=lambda name, x: x):
    """32 units on 8 x 8 boxes. Units 0, 1 and 2 alone decide the classes red, green and blue; 3 sees red too; the
    others see brightness."""
    reads = np.zeros((UNITS, 4), np.float32)
    reads[[0, 1, 2], [0, 1, 2]] = 60

    def units(x):
        boxes = x.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4))
        strong = jnp.maximum(2 * boxes - boxes.sum(-1, keepdims=True), 0)
        return counted(
            "before",
            jnp.concatenate([strong, strong[..., :1] / 4, boxes.sum(-1, keepdims=True) * jnp.arange(1, UNITS - 3)], -1),
        )

    steps = [
        ("units", units),
        ("pool", lambda x: counted("behind", x.mean((1, 2), keepdims=True))),
        ("scores", lambda x: x @ reads + np.float32([0, 0, 0, 2])),
        ("prob", jax.nn.softmax),
    ]
    return Model(
        "planted",
        lambda _, x: run_steps(steps, x),
        size=32,
        preprocess=lambda images: images.astype(jnp.float32) / 255,
        geometry={"units": half_pixel(32, (8, 8))},
        record={"weights_sha256": "none"},
        classes=tuple(CLASSES),
    )


@pytest.fixture(scope="module")
def these():
    "The planted network, dissected on its own images."
    data, model = Data([Squares()]), planted()
    return study(dissect(model, data, ["units"], replace(netdissect, quantile=0.1), progress=False), model, data)


@pytest.fixture(scope="module")
def labels(these):
    return folder_classes(these.data, CLASSES)


def pictures(size, number=3):
    "Pieces of a photograph."
    whole = picture()
    return np.stack([np.roll(whole, 40 * i, axis=1) for i in range(number)])[:, :size, :size]


def removed_by_fold(model, layer, units, maps, truth):
    "The answers with nothing and then each of the units removed, by the fold."
    labels = Labels(
        tuple(map(str, range(layers(model)["prob"][2]))), {str(i): (int(one),) for i, one in enumerate(truth)}
    )
    fold = removal_fold(model, layer, labels, each_unit(units, maps.shape[3]), len(maps), constant(0.0, maps.shape[3]))
    empty = np.zeros((len(maps), 4), np.int32)
    batch = Batch(empty, empty - 1, empty, empty[:, 0], tuple(labels.of), (None,) * len(maps), len(maps), {layer: maps})
    return fold.result(fold.step(fold.init(), batch))


def edited(arrays, path, names, unit):
    "A parameter file in which one unit's kernel and bias are zero."
    out = {name: np.array(array) for name, array in arrays.items()}
    for name in names:
        out[name][..., unit] = 0
    return write_safetensors(path, out)


def assert_equals_edited(weights, arrays, layer, names, units, tolerance=1e-5, **options):
    "Removing by the resumed pass equals running the whole network with edited weights."
    model, images = load_model(weights, arrays, **options), pictures(224)
    run = jax.jit(
        lambda parameters: {
            name: value
            for name, value in model.forward(parameters, model.preprocess(images)).items()
            if name in (layer, "prob")
        }
    )
    whole = run(model.parameters)
    truth = np.asarray(whole["prob"])[:, 0, 0].argmax(1)
    found = removed_by_fold(model, layer, units, whole[layer], truth)
    for place, unit in enumerate([None, *units]):
        other = (
            model
            if unit is None
            else load_model(
                weights, edited(read_weights(arrays), arrays.with_name(f"{unit}.safetensors"), names, unit), **options
            )
        )
        prob = np.asarray(run(other.parameters)["prob"])[:, 0, 0]
        np.testing.assert_allclose(
            found.logprob[:, place, 0], np.log(prob[range(len(truth)), truth]), atol=tolerance, rtol=tolerance
        )
        np.testing.assert_array_equal(found.predicted[:, place, 0], prob.argmax(1))
    assert np.abs(found.logprob[:, 1:] - found.logprob[:, :1]).max(0).min() > tolerance  # removal does something


@pytest.mark.parametrize("layer", ["conv5_3", "conv4_2"])
def test_removal_equals_edited_weights_of_vgg16(tmp_path, layer):
    "A unit behind a ReLU is gone where its kernel and bias are zero."
    path = write_safetensors(tmp_path / "whole.safetensors", small_weights())
    assert_equals_edited("vgg16", path, layer, [f"{layer}/kernel", f"{layer}/bias"], [0, 5, 11], 1e-6, width=1 / 16)


def test_removal_equals_edited_weights_of_efficientnet_lite0(tmp_path, lite0_weights):
    "The last block adds nothing up, so a unit is gone where the kernel and bias that narrow to it are zero."
    path = tmp_path / "whole.safetensors"
    path.symlink_to(lite0_weights)
    names = ["blocks_15/project/kernel", "blocks_15/project/bias"]
    assert_equals_edited("efficientnet-lite0", path, "blocks_15", names, [7, 319])


def test_the_part_before_the_layer_runs_once(labels):
    "Rows are counted where they pass: each image once before the layer, and behind it each removal, at most 1.3 times."
    rows = {"before": 0, "behind": 0}

    def counted(name, x):
        def count(value):
            rows[name] += len(value)
            return value

        return jax.pure_callback(count, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    data, model = Data([Squares()]), planted(counted)
    fold = removal_fold(model, "units", labels, each_unit(range(UNITS), UNITS), len(data), constant(0.0, UNITS))
    sweep(fold, data, model, ["units"], View(32, 16), progress=False)
    assert rows["before"] == len(data)
    assert len(data) * (UNITS + 1) <= rows["behind"] <= 1.3 * len(data) * (UNITS + 1)


def test_one_unit_decides_one_class(these, labels):
    "It is ranked first for its class, its removal costs that class alone, and random units cost nothing."
    found = unit_removal(these, layer="units", labels=labels, k=1, controls=6, progress=False)
    units, classes = found.units().set_index("unit"), found.classes().set_index("target")
    links = found.links().set_index("unit").target
    for unit, name in enumerate(CLASSES[:3]):
        assert (
            classes.units[name].startswith(str(unit))
            and links[f"units:{unit}"] == name
            and units["class"][f"units:{unit}"] == name
        )
        assert (classes.intact[name], classes.removed[name], classes.kept[name]) == (1, 0.5, 1)
        change = found.table.target_accuracy.sel(removed=f"units:{unit}")
        assert (change.sel(target=[other for other in CLASSES[:3] if other != name]) == 0).all()
    np.testing.assert_allclose(units.logprob[3:], 0, atol=1e-6)
    rows = found.trials.query("kind == 'random' and number == 1")
    harmless = [units not in ("0", "1", "2") for units in rows.units]
    assert sum(harmless) >= 4 and (rows.accuracy[harmless] == 1).all()


def test_a_label_is_no_proof_of_use(these, labels):
    "Unit 3 detects red, too, and its removal costs nothing."
    units = unit_removal(these, layer="units", labels=labels, controls=1, progress=False).units().set_index("unit")
    assert (
        units.concept["units:3"] == units.concept["units:0"] == "red"
        and abs(units.logprob["units:3"]) < 1e-6 < -units.logprob["units:0"]
    )


def seen_in(source):
    "A source's images, as a sweep lists them."
    return [UsedImage(0, key, None, digest_in(source, key, source.sample(key))) for key in source.keys]


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_curves_go_from_intact_to_chance(these, labels, fill):
    "Without any unit the network says one thing of all images."
    found = unit_removal(these, layer="units", labels=labels, fill=fill, splits=2, controls=2, progress=False)
    curves = found.curves().set_index(["order", "split", "number"]).accuracy.groupby(level=[0, 1, 2]).mean()
    images = seen_in(these.data.sources[0])
    for split in range(2):
        tested = [labels.of[seen.name][0] for seen, part in zip(images, parts(images, split)) if part == "test"]
        shares = np.bincount(tested, minlength=4) / len(tested)
        for order in ("most", "least", "random"):
            assert curves[order, split, 0] == found.table.intact_accuracy.values[split] == 1
            assert np.isclose(curves[order, split, UNITS], shares).any()
        assert curves["most", split, 4] < curves["random", split, 4] + 1e-9 and curves["least", split, 4] == 1


def test_a_mean_equals_its_slow_definition(these, labels):
    "Each unit replaced by its mean over the ranking images, and the whole rest run again."
    found, model = (
        unit_removal(these, layer="units", labels=labels, fill="mean", controls=1, progress=False),
        these.model,
    )
    images = np.stack([these.data.example(i, 32, 16).image for i in range(len(these.data))])
    seen = seen_in(these.data.sources[0])
    maps, use, truth = np.array(probe(model, ["units"])(images)["units"]), parts(seen, 0), labels.truth(seen)
    for unit in (0, 5):
        changed = maps.copy()
        changed[..., unit] = maps[use == "rank", ..., unit].mean()
        before, after = (
            np.log(np.asarray(cut_at(model, "units").after((), x, ())["prob"])[range(64), 0, 0, truth])
            for x in (maps, changed)
        )
        np.testing.assert_allclose(
            found.table.logprob.sel(removed=f"units:{unit}"), (after - before)[use == "test"].mean(), atol=1e-5
        )


def test_splits_are_disjoint_and_keep_groups_together():
    "Every image has one use; the images of a film have the same; seeds and splits differ."
    films = [UsedImage(0, str(i), f"film {i // 4}") for i in range(200)]
    for fitted in (None, 3):
        uses = [parts(films, split, seed, fitted) for split in range(3) for seed in range(2)]
        assert all(len(set(use[i : i + 4])) == 1 for use in uses for i in range(0, 200, 4))
        assert len({tuple(use) for use in uses}) == 6
        assert all((use == "fit").sum() == (uses[0] == "fit").sum() for use in uses)
    shares = [(use == part).mean() for use in uses for part in ("fit", "rank", "test")]
    assert abs(np.mean(shares[::3]) - 0.5) < 0.15 and abs(np.mean(shares[1::3]) - 0.25) < 0.15


def test_batches_do_not_matter(these, labels):
    "Whatever the batch, the same answers; their probabilities to 1e-5."
    found = [
        unit_removal(
            these._replace(view=replace(these.view, batch=batch)),
            layer="units",
            labels=labels,
            k=2,
            controls=2,
            progress=False,
        )
        for batch in (8, 3)
    ]
    one, other = (
        each.table.drop_vars([name for name in each.table.data_vars if each.table[name].dtype.kind == "O"])
        for each in found
    )
    for name in one.data_vars:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5, err_msg=name)
    assert (found[0].table.trial_accuracy.values == found[1].table.trial_accuracy.values).all()


def test_interrupted_and_started_again(these, labels, tmp_path):
    """Stopped in the first sweep, then in the second, and once more: it goes on from the checkpoints, and ends as one
    that was left alone."""
    choices = dict(k=2, controls=2, progress=False)
    whole = unit_removal(these, layer="units", labels=labels, **choices)
    for stop_after in (24, 60):
        halted = these._replace(data=Data([Squares(stop_after=stop_after)]))
        with pytest.raises(KeyboardInterrupt):
            unit_removal(halted, layer="units", labels=labels, out=tmp_path, every=0, **choices)
    assert len(list(tmp_path.glob("*.checkpoint.npz"))) == 2
    again = unit_removal(these, layer="units", labels=labels, out=tmp_path, **choices)
    assert again.table.drop_attrs().identical(whole.table.drop_attrs()) and not list(tmp_path.glob("*.npz"))
    date = unit_removal(these, layer="units", labels=labels, out=tmp_path, **choices).table.attrs["date"]
    assert date == again.table.attrs["date"]


def test_a_probe_is_fitted_on_images_of_its_own(these):
    "Three parts, several classes an image; the network goes on to the probe; the same study is found again."
    presence = classes_from_masks(these.data)
    found = unit_removal(these, layer="units", labels=presence, probe="pool", k=1, controls=2, splits=2, progress=False)
    fit, rank, test = (found.table[f"images_{part}"].values for part in ("fit", "rank", "test"))
    assert (fit + rank + test == 64).all() and fit[0] == fit[1] > 20 and (found.table.intact_accuracy.values == 1).all()
    curves = found.curves().groupby(["order", "number"]).accuracy.mean()
    assert curves["most", 0] == 1 and curves["most", UNITS] == 0.5
    probed = probe_layer(these, "pool", presence, progress=False)
    again = unit_removal(probed, layer="units", labels=presence, k=1, controls=2, splits=2, progress=False)
    assert (
        again.table.drop_attrs().identical(found.table.drop_attrs())
        and again.table.attrs["choices"] == found.table.attrs["choices"]
    )


@pytest.mark.parametrize("several", [False, True])
def test_the_probe_is_at_its_minimum(several):
    "No step away from it makes the loss smaller."
    noise = np.random.default_rng(0)
    x = noise.normal(2, 3, (80, 4))
    truth = x[:, :3] > noise.normal(2, 3, (80, 3)) if several else noise.integers(0, 3, 80)

    def loss(kernel, bias):
        scores = x @ kernel + bias
        if several:
            each = np.where(truth, 0.5 / truth.mean(0), 0.5 / (1 - truth.mean(0)))
            value = (each * (np.logaddexp(0, scores) - truth * scores)).sum() / 80
        else:
            value = (np.log(np.exp(scores).sum(1)) - scores[range(80), truth]).mean()
        return value + 0.005 * ((kernel * x.std(0)[:, None]) ** 2).sum()

    kernel, bias = (part.astype(float) for part in fit_linear(x, truth, 3))
    best = loss(kernel, bias)
    for _ in range(20):
        assert loss(kernel + noise.normal(0, 0.03, kernel.shape), bias + noise.normal(0, 0.03, 3)) > best - 1e-7


def test_measures_equal_their_definitions():
    "Image by image and set by set, in plain Python."
    noise = np.random.default_rng(0)
    predicted, truth = noise.integers(0, 4, (30, 3, 1)), noise.integers(0, 4, 30)
    outcome = Outcome(-noise.random((30, 3, 1)).astype(np.float32), predicted)
    for removed in range(3):
        said = predicted[:, removed, 0]
        assert measure(outcome, truth).accuracy[removed] == sum(a == b for a, b in zip(said, truth)) / 30
        yes = [a in (1, 2) for a, b in zip(said, truth) if b in (1, 2)]
        no = [a not in (1, 2) for a, b in zip(said, truth) if b not in (1, 2)]
        group = measure(outcome, truth, [1, 2])
        assert np.isclose(group.accuracy[removed], (sum(yes) / len(yes) + sum(no) / len(no)) / 2)
        assert np.isclose(
            group.logprob[removed],
            np.mean([float(outcome.logprob[i, removed, 0]) for i in range(30) if truth[i] in (1, 2)]),
        )


def test_several_classes_are_told_by_the_answers_probability():
    "Yes where the true answer's probability says so; at 1/2 no."
    scores, truth = (
        np.float32([[[2.0]], [[-1.0]], [[0.0]], [[0.0]], [[1.0]]]),
        np.array([[True], [True], [True], [False], [False]]),
    )
    logprob = np.asarray(jax.nn.log_sigmoid(np.where(truth[:, None], scores, -scores)))
    found = measure(Outcome(logprob, np.zeros((5, 1, 0), np.int16)), truth)
    assert np.isclose(found.accuracy, (1 / 3 + 1 / 2) / 2) and np.isclose(found.logprob, logprob.mean())
    assert np.isnan(balanced_accuracy(np.ones((3, 1), bool), np.ones(3, bool))).all()


def test_ranking_and_errors():
    "The costliest first; of equal accuracy the log-probability decides; the error of a mean over groups."
    outcome = Outcome(np.float32([[[0], [-3], [-1], [-2]]]), np.array([[[1], [1], [0], [1]]]))
    assert ranking(measure(outcome, np.array([1]))).tolist() == [0, 2, 1]
    assert ranking(measure(outcome, np.array([1])), "accuracy").tolist() == [1, 0, 2]
    values = np.random.default_rng(1).normal(size=(40, 1))
    assert np.isclose(
        standard_error(values, [UsedImage(0, str(i), None) for i in range(40)]), values.std(ddof=1) / 40**0.5
    )
    assert [maps_at_once(shape) for shape in ((7, 7, 320), (14, 14, 512), (224, 224, 64), (900, 900, 64))] == [
        32,
        32,
        2,
        1,
    ]


def test_sets_of_regions_insert_and_remove(these):
    "`insert` forces a value in a region; the fold takes regions, too, and variants of what stands in place."
    model, image = these.model, np.stack([these.data.example(3, 32, 16).image])
    region = np.zeros((8, 8), bool)
    region[2:6, 2:6] = True
    before, after = insert(model, "units", image, [0], region, 0.8)
    assert before[0, 0, 0].argmax() == 3 and after[0, 0, 0].argmax() == 0
    maps, keep = np.array(probe(model, ["units"])(image)["units"]), np.ones((2, 8, 8, UNITS), bool)
    keep[1, region, 0] = False
    fold = removal_fold(
        model,
        "units",
        Labels(tuple(CLASSES), {"a": (0,)}),
        Sets(keep, np.int32([0, 1])),
        1,
        lambda batch: jnp.stack([jnp.zeros((1, 1, 1, UNITS)), jnp.full((1, 1, 1, UNITS), 0.8)]),
    )
    empty = np.zeros((1, 4), np.int32)
    found = fold.result(
        fold.step(fold.init(), Batch(image, empty - 1, empty, empty[:, 0], ("a",), (None,), 1, {"units": maps}))
    )
    np.testing.assert_allclose(np.exp(found.logprob[0, :, 0]), [before[0, 0, 0, 0], after[0, 0, 0, 0]], rtol=1e-5)


def test_simulation(these, labels):
    "The colour units follow their masks, and the network knows its classes from the predictions."
    table = simulation(these, layer="units", labels=labels, seed=2, progress=False).table
    red = table.sel(concept="red")
    assert red.recovered > 0.8 and table.simulated_r.values[0] > 0.95 and red.removed < red.intact - 3 * red.error
    noise = np.random.default_rng(0)
    x, y = noise.normal(size=(30, 2)), noise.normal(size=(30, 2))
    every, some = np.ones((30, 2), bool), np.arange(30)[:, None] < [30, 20]
    np.testing.assert_allclose(pearson_rows(x.T, y.T, every.T), [pearsonr(x[:, i], y[:, i])[0] for i in range(2)])
    np.testing.assert_allclose(pearson_rows(x.T, y.T, some.T)[1], pearsonr(x[:20, 1], y[:20, 1])[0])
    found = np.stack([y, x, x * y, x * x], 1)
    np.testing.assert_allclose(np.stack(straight(found, every))[::-1, 0], np.polyfit(x[:, 0], y[:, 0], 1), rtol=1e-5)
    np.testing.assert_allclose(np.stack(straight(found, some))[::-1, 1], np.polyfit(x[:20, 1], y[:20, 1], 1), rtol=1e-5)
    mask = np.zeros((16, 16))
    mask[:8] = 1
    down, right = pooling_matrices(these.model, "units", 32, 16)
    pooled = down @ mask @ right.T
    assert np.allclose(pooled[:3], 1) and np.allclose(pooled[5:], 0) and np.allclose(pooled, pooled[:, :1])


def test_groups_of_classes_and_named_sets(these, labels):
    """Groups are asked about together; sets of units and detectors of concepts are removed together; controls are as
    many."""
    found = unit_removal(
        these,
        layer="units",
        labels=labels,
        groups={"warm": range(1), "cold": [1, 2]},
        sets={"pair": ["units:0", "units:9"]},
        concepts=["red"],
        units=[f"units:{i}" for i in range(12)],
        k=2,
        controls=3,
        progress=False,
    )
    assert found.table.target.values.tolist()[:2] == ["warm", "cold"] and found.table.sizes["removed"] == 12
    rows = found.concepts("warm").set_index("concept")
    assert (
        rows.label.tolist() == [True, False]
        and rows.accuracy["pair"] == rows.accuracy["red"] == -0.5
        and rows.units["pair"] == 2
    )
    assert np.isclose(found.concepts("cold").accuracy, 0).all()
    assert "UnitRemoval(planted, units: 12 units set to zero" in repr(found) and "<table" in found._repr_html_()


def test_without_targets_or_detectors(these, labels, tmp_path):
    "A class that few images show is no target, and a layer may have no detector: the tables are empty, and saved."
    strict = json.dumps({**json.loads(these.dissection.table.attrs["protocol"]), "detects": 0.9})
    blind = these._replace(dissection=Dissection(these.dissection.table.assign_attrs(protocol=strict)))
    for _ in range(2):
        found = unit_removal(blind, layer="units", labels=labels, least=50, controls=1, out=tmp_path, progress=False)
    assert found.table.sizes["target"] == 0 and not len(found.links())
    assert not len(found.classes().logprob_removed) and not len(found.concepts().as_bad)
    assert (found.units()["class"] == "").all() and (found.units().concept == "").all()
    assert not simulation(blind, layer="units", labels=labels, out=tmp_path, progress=False).table.sizes["concept"]
    assert load_analysis(tmp_path, "simulation") is not None and load_analysis(tmp_path, "unit-removal") is not None


def test_labels_in_every_form(these, tmp_path):
    "Names and indices, CSV, folders, masks and arrays say the same."
    keys = these.data.sources[0].keys
    named = {key: key.split("/")[0] for key in keys}
    expected = as_labels(named, these.data, CLASSES)
    path = tmp_path / "classes.csv"
    path.write_text("image,class\n" + "".join(f"{key},{name}\n" for key, name in named.items()))
    numbers = {key: CLASSES.index(name) for key, name in named.items()}
    for other in (
        as_labels(numbers, these.data, CLASSES),
        folder_classes(these.data, CLASSES),
        read_class_labels(path, CLASSES),
    ):
        assert other == expected
    presence = classes_from_masks(these.data)
    assert presence.several and (presence.truth(keys) == (expected.truth(keys)[:, None] == range(3))).all()
    assert as_labels({key: list(presence.of[key]) for key in keys}, these.data, CLASSES[:3]) == presence


def ask(these, labels, **choices):
    return unit_removal(these, layer="units", labels=labels, progress=False, **choices)


WRONG = {
    "layer": (lambda t, ls: unit_removal(t, layer="unit", labels=ls), ["no layer 'unit'", "Did you mean 'units'?"]),
    "unit": (lambda t, ls: ask(t, ls, units=["units:99"]), ["no unit 'units:99'", "has units units:0 to units:31"]),
    "concept": (lambda t, ls: ask(t, ls, concepts=["rad"]), ["no concept 'rad'", "Did you mean 'red'"]),
    "fill": (lambda t, ls: ask(t, ls, fill="zeros"), ["fill='zeros'", "Did you mean 'zero'?"]),
    "measure": (lambda t, ls: ask(t, ls, by="acc"), ["by='acc'", "accuracy"]),
    "splits": (lambda t, ls: ask(t, ls, splits=0), ["splits=0"]),
    "controls": (lambda t, ls: ask(t, ls, controls=0), ["controls=0"]),
    "no image": (
        lambda t, ls: ask(t, {"red/00.png": 0, "x": 1}),
        ["not one is of these images", "called like 'red/00.png', these 'red/000.png'"],
    ),
    "some images": (
        lambda t, ls: ask(t, dict(list(ls.of.items())[3:])),
        ["has no class, nor have 2 others", "data.at"],
    ),
    "class": (lambda t, ls: ask(t, {key: "rod" for key in ls.of}), ["of class 'rod'", "Did you mean 'red'?"]),
    "index": (lambda t, ls: ask(t, {key: 7 for key in ls.of}), ["of class 7", "0 to 3"]),
    "one class": (lambda t, ls: ask(t, {key: 1 for key in ls.of}), ["of one class (green)", "two classes"]),
    "array": (lambda t, ls: ask(t, np.zeros((3, 4), bool)), ["shape (3, 4)", "64 images"]),
    "other classes": (lambda t, ls: ask(t, classes_from_masks(t.data)), ["3 classes", "has 4", "probe=LAYER"]),
    "group": (lambda t, ls: ask(t, ls, groups={"far": range(2, 9)}), ["group 'far'", "class 4 does not exist"]),
    "nothing behind it": (
        lambda t, ls: ask(t, ls, scores="units"),
        ["layer 'units' does not come after 'units'", "There are: 'pool'"],
    ),
    "no scores": (lambda t, ls: ask(t, ls, scores="pools"), ["no layer 'pools'", "Did you mean 'pool'"]),
    "region": (
        lambda t, ls: insert(t.model, "units", np.zeros((1, 32, 32, 3), np.uint8), [0], np.ones((4, 4), bool)),
        ["(4, 4)", "(8, 8)"],
    ),
    "empty group": (
        lambda t, ls: ask(t, as_labels(ls.of, t.data, [*CLASSES, "x"]), groups={"x": [4]}),
        ["5 classes", "has 4"],
    ),
    "no image of a group": (
        lambda t, ls: ask(t, {key: some if some != (3,) else (2,) for key, some in ls.of.items()}, groups={"x": [3]}),
        ["group 'x'", "to rank"],
    ),
    "other names": (
        lambda t, ls: ls.truth(["rad/000.png"]),
        ["image 'rad/000.png' has no class", "Did you mean 'red/000.png'"],
    ),
    "no probe layer": (lambda t, ls: ask(t, ls, probe="pol"), ["no layer 'pol'", "Did you mean 'pool'"]),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_one_sentence(these, labels, what):
    "Each names what is wrong and what would be right."
    call, words = WRONG[what]
    with pytest.raises(InputError) as refused:
        call(these, labels)
    assert_says(refused.value, *words, most=300)


def test_a_network_without_scores_says_so():
    "A layer behind which nothing comes decides nothing."
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self):
            self.conv = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.conv(x)

    model, data = from_nnx("net", Net(), 32), Data([Squares(8)])
    found = dissect(model, data, ["conv"], replace(netdissect, geometry="half-pixel"), progress=False)
    with pytest.raises(InputError) as refused:
        unit_removal(
            study(found, model, data), layer="conv", labels={key: 0 for key in data.sources[0].keys}, progress=False
        )
    assert_says(refused.value, "net: has no layer 'prob'", "scores='output'")
