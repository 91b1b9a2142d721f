"""Concept removal: what is planted is found, the numbers are those of slow code, and neither batch nor restart changes
them."""

import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from sentences import assert_says

from inner_detectors.core.draws import draw_for
from inner_detectors.core.errors import InputError
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.data.dataset import Data
from inner_detectors.data.sample import Region, Sample
from inner_detectors.dissection.protocol import netdissect
from dataclasses import replace
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.analysis import write_analysis
from inner_detectors.dissection.study import study
from inner_detectors.networks.spelling import stand_for
from inner_detectors.networks.model import Model
from inner_detectors.analyses.concept_removal import ConceptRemoval, planted_removal, planted_summary, concept_removal
from inner_detectors.analyses.occlusion import fill_black, move_mask, fill_flat
from inner_detectors.analyses.statistics import bootstrap_correlations
from inner_detectors.analyses.verdict import verdict
from inner_detectors.synthetic.planted import PLANTED, Rings, planted_model

HALF = replace(netdissect, quantile=0.02)


class Films(Rings):
    "The same images, four of them from one film each."

    def sample(self, key):
        one = super().sample(key)
        return Sample(one.name, one.image, one.regions, f"film {int(key) // 4}")


class Walls:
    "Images that one concept fills to more than half, and one that shows nothing; nobody shows a sky."

    name, concepts, keys = "walls", Vocabulary([Concept("wall", "object"), Concept("sky", "object")]), ["a", "b", "c"]

    def sample(self, key):
        wall = np.zeros((64, 64), bool)
        wall[:, : {"a": 40, "b": 64, "c": 0}[key]] = True
        return Sample(
            key,
            np.where(wall[..., None], np.uint8([200, 30, 30]), np.uint8(100)),
            (Region("wall", wall),) if wall.any() else (),
        )

    def identity(self):
        return {}


def these_of(data, folder=None, model=None, batch=8, protocol=HALF):
    model = model or planted_model()
    return study(dissect(model, data, ["planted"], protocol, folder, progress=False), model, data, batch)


@pytest.fixture(scope="module")
def rings():
    return these_of(Data([Rings()]))


@pytest.fixture(scope="module")
def verified(rings):
    return concept_removal(rings, fills=["black", "mean"], progress=False)


def assert_same(one, two):
    "Every variable, to the bit."
    assert set(one.table.variables) == set(two.table.variables)
    for name in one.table.variables:
        np.testing.assert_array_equal(one.table[name].values, two.table[name].values, str(name))


# ---- planted truth


def test_ten_seeds_of_planted_truth():
    "What detects balls falls; what answers to the ring around them does not, however good its IoU."
    units = planted_removal(range(10), images=16)
    found = planted_summary(units).set_index("planted")
    assert found.units.min() >= 9 and (units[units.planted == "ring"].score > 0.04).mean() > 0.9
    assert found.falls.red == found.units.red and found.falls.blue == found.units.blue
    assert found.falls.ring == 0 and found.units.ring >= 27
    assert found.change.red < -0.99 and abs(found.control.red) < 0.01 and abs(found.change.ring) < 0.01


# ---- against slow code


def slowly(these, fill):
    """Sums by concept of [before, weight, after, control_before, control_weight, control_after, images, no control],
    image by image."""
    sums, forward = {}, jax.jit(these.model.forward)
    for item in range(len(these.data)):
        shown = these.data.example(item, 64, these.view.side).concepts
        one = these.data.example(item, 64, 64)
        for place, mask in zip(one.concepts, one.masks):
            if place not in shown:
                continue

            def look(image):
                ready = these.model.preprocess(np.asarray(image)[None])
                return np.asarray(forward(these.model.parameters, ready)["planted"][0], np.float64).mean((0, 1))

            name = these.data.concepts[place].name
            moved = move_mask(mask, draw_for(0, one.name, name))
            before, after = look(one.image), look(fill(one.image, mask))
            own = sums.setdefault(name, [np.zeros(8) for _ in range(6)] + [0, 0])
            for at, value in enumerate([before, before, after]):
                own[at] += value  # the units are never negative
            own[6] += 1
            if moved is None:
                own[7] += 1
            else:
                for at, value in enumerate([before, before, look(fill(one.image, moved))]):
                    own[3 + at] += value
    return sums


def test_numbers_are_those_of_slow_code(rings, verified):
    table = verified.table
    for fill, painted in (
        ("black", fill_black),
        ("mean", lambda image, mask: fill_flat(image, mask, table.mean_colour.values)),
    ):
        for name, (before, weight, after, control_before, control_weight, control_after, images, none) in slowly(
            rings, painted
        ).items():
            own = table.sel(concept=name, fill=fill)
            expected = dict(
                before=before,
                weight=weight,
                after=after,
                control_before=control_before,
                control_weight=control_weight,
                control_after=control_after,
            )
            for field, value in expected.items():
                np.testing.assert_allclose(own[field].values, value, rtol=1e-5, atol=1e-7, err_msg=field)
            assert (own.images, own.no_control) == (images, none)
            with np.errstate(invalid="ignore"):
                np.testing.assert_allclose(own.change.values, (after - before) / weight, atol=1e-5)
                np.testing.assert_allclose(
                    own.control.values, (control_after - control_before) / control_weight, atol=1e-5
                )


def test_what_is_said_of_concepts_is_what_scipy_says(rings, verified):
    own = verified.table.sel(concept="red ball", fill="black")
    living = ~own.dead.values.astype(bool)
    expected = stats.pearsonr(own.score.values[living], own.change.values[living])
    assert (own.r, own.p) == pytest.approx(tuple(expected))
    rows = own.isel(row=own.row_concept.values == 0)
    mine = living & (own.label.values == "red ball") & (own.score.values > 0.04)
    size = rows.row_weight.values[:, mine].astype(float).mean(0)
    difference = ((rows.row_after.values[:, mine].astype(float) - rows.row_control.values[:, mine]) / size).sum(1)
    assert own.test_p == pytest.approx(stats.wilcoxon(difference[difference != 0], alternative="less").pvalue)
    unit = verified.units().query("unit == 'planted:6' and fill == 'black'").iloc[0]
    blue = verified.table.sel(fill="black").isel(row=verified.table.row_concept.values == 1)
    assert unit.p == pytest.approx(
        stats.wilcoxon(
            blue.row_after.values[:, 6].astype(float) - blue.row_control.values[:, 6], alternative="less"
        ).pvalue
    )


def test_the_bootstrap_is_that_of_slow_code():
    random = np.random.default_rng(0)
    values, score, groups = random.random((12, 4, 9)).astype(np.float32), random.random(9), np.repeat(np.arange(6), 2)
    values[3, 3] = np.nan
    fast, beyond = bootstrap_correlations(values, groups, score, draw_for(1), 5)
    counts = draw_for(1).multinomial(6, np.full(6, 1 / 6), 5)
    for sample, count in enumerate(counts):
        rows = [
            row for group, times in enumerate(count) for row in np.flatnonzero(groups == group) for _ in range(times)
        ]
        some = values[rows].astype(float)
        assert fast[0, sample] == pytest.approx(
            stats.pearsonr(score, (some[:, 2] - some[:, 0]).sum(0) / some[:, 1].sum(0)).statistic
        )
        some = some[np.isfinite(some[:, 3, 0])]
        assert beyond[0, sample] == pytest.approx(
            stats.pearsonr(score, (some[:, 2] - some[:, 3]).sum(0) / some[:, 1].sum(0)).statistic
        )


def test_images_of_a_group_count_as_one(rings):
    films = concept_removal(these_of(Data([Films()])), progress=False)
    alone = concept_removal(rings, progress=False)
    np.testing.assert_array_equal(films.table.change.values, alone.table.change.values)
    assert films.table.image_group.values[0].startswith("film")
    least = 1 / 2 ** len(set(films.table.image_group.values))
    assert (films.units().p >= least).all() and films.units().p.min() > alone.units().p.min()


# ---- batches, restarts, cost


def test_batch_does_not_matter(rings, verified):
    for batch in (1, 5):
        assert_same(
            concept_removal(
                rings._replace(view=replace(rings.view, batch=batch)), fills=["black", "mean"], progress=False
            ),
            verified,
        )


def test_a_picture_means_the_same_in_any_set(rings, verified):
    "Controls depend on the image's name: a part of the data gives the same readings."
    part = concept_removal(these_of(rings.data.at(range(9, 24))), progress=False).table
    names = [str(verified.table.image.values[image]) for image in verified.table.row_image.values]
    late = np.isin(names, part.image.values)
    np.testing.assert_array_equal(part.row_control.values[0], verified.table.row_control.values[0][late])


KILLED = """
import os, signal, sys
from inner_detectors.analyses.concept_removal import concept_removal
from inner_detectors.data.dataset import Data
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.study import study
from inner_detectors.synthetic.planted import Rings, planted_model
sample = Rings.sample
def killing(self, key):
    if key == "0019": os.kill(os.getpid(), signal.SIGKILL)
    return sample(self, key)
these = study(Dissection.load(sys.argv[1]), planted_model(), Data([Rings()]), 4)
Rings.sample = killing
concept_removal(these, sys.argv[1], every=0, progress=False)
"""


def test_killed_and_started_again(tmp_path, capsys):
    these = these_of(Data([Rings()]), tmp_path, batch=4)
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "concept-removal.nc").exists()
    assert [path.name for path in tmp_path.glob("*.checkpoint.npz")] == ["concept-removal.hiding.checkpoint.npz"]
    again = concept_removal(these, tmp_path, progress=False)
    assert "concept-removal: hiding: going on at image" in capsys.readouterr().err
    assert_same(again, concept_removal(these, progress=False))
    assert not list(tmp_path.glob("*.checkpoint.npz"))
    assert_same(ConceptRemoval.load(tmp_path), again)
    assert {"hidden_change", "hidden_control", "hidden_q"} <= set(pd.read_csv(tmp_path / "units.csv"))


def test_passes_are_hardly_more_than_needed():
    "Counted by a network outside JAX: every image it is shown, padding included."
    shown, net = [], planted_model()

    def forward(_, images, names):
        shown.append(len(images))
        red = np.maximum(images[..., 0] - images[..., 1:].mean(-1), 0).reshape(len(images), 32, 2, 32, 2).mean((2, 4))
        return {"planted": np.repeat(red[..., None], 8, -1).astype(np.float32)}

    counter = Model(
        "counter",
        stand_for(forward, "red less the others"),
        size=64,
        geometry=net.geometry,
        record={"weights_sha256": "none"},
        traced=False,
    )
    these = these_of(Data([Rings()]), model=counter)
    shown.clear()
    table = concept_removal(these, fills=["black", "mean"], concepts=["red ball"], progress=False).table
    needed = table.sizes["image"] + 2 * (2 * table.sizes["row"] - int(table.no_control.sum()))
    assert table.sizes["image"] < 20, "images without a red ball are not run"
    assert needed <= sum(shown) <= 1.15 * needed + 8


# ---- what cannot be tested is said


def test_where_no_control_fits(tmp_path):
    these = these_of(Data([Walls()]), tmp_path, protocol=replace(HALF, quantile=0.5))
    result = concept_removal(these, tmp_path, progress=False)
    row = result.concepts().iloc[0]
    assert (
        (row.concept, row.images, row.no_control) == ("wall", 2, 2) and np.isnan(row.beyond_r) and np.isnan(row.test_p)
    )
    units = result.units()
    assert units.change.notna().any() and units.q.isna().all() and not units.falls.any()
    assert set(verdict(tmp_path).verdict) == {"too few images (0)"}  # that leave room for the control
    assert "0 of" in repr(result) and "wall" in result._repr_html_()


class Dots(Walls):
    "Large images with a dot that is sampled at S x S, but not at the size of the input."

    name, concepts, keys = "dots", Vocabulary([Concept("wall", "object"), Concept("dot", "object")]), ["a"]

    def sample(self, key):
        wall, dot = np.zeros((192, 192), bool), np.zeros((192, 192), bool)
        wall[100:150, 20:60] = dot[3, 3] = True
        return Sample(
            key,
            np.where(wall[..., None], np.uint8([200, 30, 30]), np.uint8(100)),
            (Region("wall", wall), Region("dot", dot)),
        )


def test_a_dot_with_nothing_to_hide():
    these = these_of(Data([Dots()]))
    assert these.dissection.table.concept_images.values.tolist() == [1, 1]
    assert set(concept_removal(these, progress=False).concepts().concept) == {"wall"}


def test_dead_and_silent_units_are_named(verified):
    left_out = verified.undefined()
    assert set(left_out.why) <= {"dead", "silent"} and (left_out[left_out.why == "dead"].unit == "planted:7").all()
    numbers = verified.concepts()
    assert (numbers.units + numbers.dead_units + numbers.undefined_units == len(PLANTED)).all()
    assert len(left_out) == numbers[numbers.fill == "black"][["dead_units", "undefined_units"]].to_numpy().sum()


def test_verdict_takes_what_is_there(tmp_path):
    these = these_of(Data([Rings()]), tmp_path)
    assert set(verdict(tmp_path).verdict) == {"untested"}
    units = {"unit": np.array(these.units[:6], object)}
    write_analysis(
        "sensitivity",
        xr.Dataset({"best_quantile_iou": ("unit", [0.5] * 5 + [0.01])}, units),
        these,
        {},
        tmp_path,
        ["best_quantile_iou"],
    )
    removed = xr.Dataset(
        {"removed_logprob": ("unit", np.zeros(8)), "removed_class": ("unit", np.array(["x"] * 8, object))}
    )
    write_analysis("unit-removal", removed, these, {}, tmp_path, ["removed_logprob", "removed_class"])
    concept_removal(these, tmp_path, progress=False)
    said = verdict(tmp_path).set_index("unit")
    assert said.verdict.tolist() == ["holds"] * 3 + ["fails"] * 3 + ["holds"]
    assert said.failed["planted:3"] == "concept removal" and said.failed["planted:5"] == "concept removal"
    assert {"removed_logprob", "removed_class", "best_quantile_iou", "hidden_change"} <= set(said)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (dict(fills=["blakc"]), ["no fill 'blakc'", "Did you mean 'black'?"]),
        (dict(fills=[]), ["no fill ''", "'inpaint'"]),
        (dict(concepts=["red bal"]), ["no concept 'red bal'", "Did you mean 'red ball'"]),
        (dict(units=["planted:12"]), ["no unit 'planted:12'", "units planted:0 to planted:7"]),
        (dict(least=99), ["99 images", "ask for fewer"]),
    ],
    ids=str,
)
def test_what_is_unknown_is_refused(asked, words, rings):
    with pytest.raises(InputError) as refused:
        concept_removal(rings, progress=False, **asked)
    assert_says(refused.value, *words)


def test_a_concept_that_nobody_shows():
    with pytest.raises(InputError) as refused:
        concept_removal(these_of(Data([Walls()])), concepts=["sky"], progress=False)
    assert_says(refused.value, "concept 'sky'", "no image of the data shows it", "'wall'")


def test_another_network_or_other_data(rings):
    doubled = replace(rings.model, parameters=rings.model.parameters * 2)
    for model, data, word in ((doubled, rings.data, "weights"), (rings.model, Data([Rings(seed=9)]), "data")):
        with pytest.raises(InputError) as refused:
            study(rings.dissection, model, data)
        assert_says(refused.value, f"other {word}")


def test_without_scikit_image(rings, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(InputError) as refused:
        concept_removal(rings, fills=["inpaint"], progress=False)
    assert_says(refused.value, "fill 'inpaint'", "needs skimage", "pip install 'inner-detectors[inpaint]'")
