"""Correlations equal NumPy's and SciPy's, whatever the batch or the moment of an interruption; planted doubles are
found."""

import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sentences import assert_says

from inner_detectors.analyses import correlation as room
from inner_detectors.core.errors import InputError
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.analyses.correlation import (
    Correlation,
    concept_figure,
    correlation,
    dendrogram_figure,
    matrix_figure,
)
from inner_detectors.analyses.pairs import image_levels_fold
from inner_detectors.analyses.statistics import benjamini_hochberg, p_of, pearson, rank
from inner_detectors.data.dataset import Data
from inner_detectors.data.sample import Region, Sample
from inner_detectors.dissection import analysis
from inner_detectors.dissection.protocol import netdissect
from dataclasses import replace
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.passes.probe import probe

COLOURS = ("red", "green", "blue")


class Squares:
    """Images of squares in three colours, each in about half of them, of any strength, no two alike; `grouped` says
    how many are of one film."""

    def __init__(self, count, grouped=0, colours=COLOURS, name="squares"):
        self.keys, self.grouped, self.name = [f"{name}{place}" for place in range(count)], grouped, name
        self.concepts = Vocabulary([Concept(colour, "colour") for colour in colours] + [Concept("nothing", "object")])

    def sample(self, key):
        place = int(key.removeprefix(self.name))
        random, image, regions = np.random.default_rng([len(self.name), place]), np.zeros((32, 32, 3), np.uint8), []
        drawn = next(some for some in (random.random(3) < 0.5 for _ in range(99)) if some.any())
        for channel, name in enumerate(COLOURS):
            mask = np.zeros((32, 32), bool)
            top, left = random.integers(0, 17, 2)
            mask[top : top + 16, left : left + 16] = True
            if drawn[channel]:
                image[mask, channel] = random.integers(80, 256)
                if name in self.concepts:
                    regions.append(Region(name, mask))
        return Sample(key, image, tuple(regions), f"film{place // self.grouped}" if self.grouped else None)

    def identity(self):
        return {"what": f"{self.name} {len(self.keys)} {self.grouped}"}


def boxes(_, images):
    """Three colours in small boxes; in large ones each twice (the second squared), one unit of all, two that are
    constant; three classes."""

    def means(side):
        return images.reshape(-1, 32 // side, side, 32 // side, side, 3).sum((2, 4)) / side**2

    small, large = means(4), means(8)
    still = jnp.ones_like(large[..., :2]) * jnp.float32([0, 3])
    red = images[..., 0].max((1, 2), keepdims=True)[..., None] / 256
    return {
        "small": small,
        "large": jnp.concatenate([large, large**2 / 256, large.sum(-1, keepdims=True), still], -1),
        "prob": jnp.concatenate([red, 1 - red, jnp.zeros_like(red)], -1),
    }


NET = Model(
    "boxes",
    boxes,
    size=32,
    preprocess=lambda images: images.astype(jnp.float32),
    classes=("stop", "go", "dull"),
    geometry={"small": half_pixel(32, (8, 8)), "large": half_pixel(32, (4, 4))},
)
PROTOCOL = replace(netdissect, quantile=0.1)
LAYERS = ["small", "large"]
STILL = ["large:7", "large:8"]


def started(data, batch=4):
    return study(dissect(NET, data, LAYERS, PROTOCOL, batch=batch, progress=False), NET, data, batch)


@pytest.fixture(scope="module")
def these():
    return started(Data([Squares(60)]))


@pytest.fixture(scope="module")
def found(these):
    return correlation(these, keep="all", classes=["go", "dull"], progress=False)


def plainly(data, reduce, layers=LAYERS):
    """(one number an image and unit, what each image shows), with no fold."""
    examples = [data.example(place, 32, 16) for place in range(len(data))]
    maps = probe(NET, layers)(np.stack([example.image for example in examples]))
    values = np.concatenate([reduce(np.asarray(maps[name], np.float64), (1, 2)) for name in layers], 1)
    return values, np.array(
        [[concept in example.concepts for concept in range(len(data.concepts))] for example in examples], float
    )


def same(one, other):
    """Every number of two results is equal."""
    assert set(one.table.data_vars) == set(other.table.data_vars)
    for name, values in one.table.variables.items():
        np.testing.assert_array_equal(values, other.table[name], err_msg=name)


# ---- equality


@pytest.mark.parametrize("seed", range(5))
def test_coefficients_equal_numpy_and_scipy(seed):
    """With ties, in blocks of images, and with large means."""
    random = np.random.default_rng(seed)
    values = (random.integers(0, 6, (40, 7)) + [0, 0, 0, 1e4, 0, 0, 0]).astype(np.float32)
    np.testing.assert_allclose(
        pearson(values, some=9), np.corrcoef(values.astype(np.float64), rowvar=False), atol=1e-12
    )
    rho = pearson(rank(values, some=3))
    np.testing.assert_allclose(rho, scipy.stats.spearmanr(values).statistic, atol=1e-12)
    np.testing.assert_allclose(p_of(rho, 40)[0, 1:], scipy.stats.spearmanr(values).pvalue[0, 1:], rtol=1e-9)
    for other in range(1, 7):
        theirs = scipy.stats.pearsonr(values[:, 0].astype(np.float64), values[:, other])
        assert p_of(pearson(values), 40)[0, other] == pytest.approx(theirs.pvalue, rel=1e-9)


@pytest.mark.parametrize("statistic", ["max", "mean"])
def test_a_run_equals_numpy_and_scipy(these, statistic):
    got, living = (
        correlation(these, keep="all", statistic=statistic, progress=False).table,
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    )
    values, shown = plainly(these.data, np.max if statistic == "max" else np.mean)
    np.testing.assert_allclose(got.pearson.values[:10, :10], np.corrcoef(values[:, living], rowvar=False), atol=1e-5)
    np.testing.assert_allclose(
        got.spearman.values[:10, :10], scipy.stats.spearmanr(values.astype(np.float32)[:, living]).statistic, atol=1e-6
    )
    for unit in living:
        for concept in range(3):
            r, rho = (
                scipy.stats.pearsonr(values[:, unit], shown[:, concept]),
                scipy.stats.spearmanr(values[:, unit].astype(np.float32), shown[:, concept]),
            )
            assert float(got.presence_pearson[unit, concept]) == pytest.approx(r.statistic, abs=1e-5)
            assert float(got.presence_spearman[unit, concept]) == pytest.approx(rho.statistic, abs=1e-6)
    p = [[scipy.stats.pearsonr(values[:, unit], shown[:, concept]).pvalue for concept in range(3)] for unit in living]
    q = scipy.stats.false_discovery_control(np.ravel(p)).reshape(10, 3)
    np.testing.assert_allclose(got.presence_q.values[:10, :3], q, rtol=1e-4)


def test_strongest_pairs(these, found):
    """Copies are left out: the first three units of large boxes, whose largest number is that of small ones."""
    values, _ = plainly(these.data, np.max)
    r, names, own = np.corrcoef(values[:, :10], rowvar=False), these.units, [0, 1, 2, 6, 7, 8, 9]
    assert found.copies == {f"large:{unit}": f"small:{unit}" for unit in range(3)} and "3 copies" in repr(found)
    first, second = np.array([(i, j) for i in own for j in own if i < j]).T
    p = [
        scipy.stats.pearsonr(values[:, i], values[:, j]).pvalue if abs(r[i, j]) < 1 - 1e-9 else 0
        for i, j in zip(first, second)
    ]
    q = dict(zip(zip(first, second), scipy.stats.false_discovery_control(p)))
    for across in (True, False):
        rows = found.pairs(across)
        wanted = {(i, j) for i, j in zip(first, second) if (names[i].split(":")[0] != names[j].split(":")[0]) == across}
        pairs = list(zip(rows.unit.map(names.index), rows.other.map(names.index)))
        assert set(pairs) == wanted and len(pairs) == len(wanted)
        np.testing.assert_allclose(rows.r, [r[pair] for pair in pairs], atol=1e-6)
        np.testing.assert_allclose(rows.q, [q[pair] for pair in pairs], rtol=1e-4, atol=1e-300)
        assert (np.diff(rows.r.abs()) <= 1e-12).all()
    few = correlation(these, keep="all", pairs=2, progress=False)
    for across in (True, False):
        pd.testing.assert_frame_equal(few.pairs(across), found.pairs(across).head(2))
    for unit in range(10):
        others = [other for other in own if other != unit and names[other] != found.copies.get(names[unit])]
        best = others[np.abs(r[unit, others]).argmax()]
        assert (names[best], pytest.approx(r[unit, best], abs=1e-6)) == (
            found.table.strongest_partner.values[unit],
            float(found.table.strongest_r[unit]),
        )


def test_classes(these, found):
    values, _ = plainly(these.data, np.max)
    go = plainly(these.data, np.max, ["prob"])[0][:, 1]
    got = found.table.predicted_pearson.values
    np.testing.assert_allclose(
        got[:10, 0], [scipy.stats.pearsonr(values[:, unit], go).statistic for unit in range(10)], atol=1e-5
    )
    assert np.isnan(got[:, 1]).all()  # a class that is never predicted has no correlation
    first = found.predicted().iloc[0]
    assert (first.unit, first["class"]) == ("small:0", "go") and first.r < -0.9 and first.q < 1e-9


# ---- what is planted


def test_doubles_cluster_together(found):
    """Every colour is seen three times: once in small boxes, twice in large ones."""
    units = [f"{layer}:{unit}" for layer, count in (("small", 3), ("large", 6)) for unit in range(count)]
    groups = found.clusters(units, number=3).set_index("unit").cluster
    for colour in range(3):
        assert groups[f"small:{colour}"] == groups[f"large:{colour}"] == groups[f"large:{colour + 3}"]
    assert groups.nunique() == 3 and groups.is_monotonic_increasing
    pd.testing.assert_series_equal(found.clusters(units, distance=0.5).set_index("unit").cluster, groups)
    assert found.clusters(units, distance=3).cluster.nunique() == 1


def test_labels_tell(found):
    """Two units of large boxes share each colour, and a last one sees all three: hardly a deal of the labels does
    better."""
    rows = found.same_label().set_index("within")
    assert rows.same["large"] > 0.7 > 0.3 > rows.different["large"]
    assert rows.p["large"] < 0.05 and rows.p["all"] < 0.05
    assert rows.same_pairs["small"] == 0 and np.isnan(rows.p["small"])
    assert set(found.same_concept().layer) == {"large"}


def test_labels_that_tell_nothing():
    """Labels dealt at random have a p that is uniform."""
    random, found = np.random.default_rng(0), []
    for seed in range(200):
        r, labels = np.corrcoef(random.normal(size=(12, 30))), random.choice(["a", "b", "c"], 12).astype(object)
        found.append(
            room.label_table(r, labels, np.array(["one"] * 12, object), np.ones(12, bool), draws=99, seed=seed).p[0]
        )
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01


def test_constant_units_are_named(found):
    assert found.constant == STILL and "2 of them constant" in repr(found)
    assert found.table.pearson.sel(unit=STILL).isnull().all() and found.table.strongest_partner.sel(
        unit=STILL
    ).values.tolist() == ["", ""]
    assert found.clusters([*STILL, "large:0", "large:3"]).cluster.tolist()[-2:] == [0, 0]
    assert (
        found.table.presence_pearson.sel(concept="nothing").isnull().all()
        and found.table.presence_q.sel(concept="nothing").isnull().all()
    )
    assert not set(STILL) & set(found.presence().unit)


# ---- which images count


def test_only_annotated_pictures_count():
    """The second source says nothing about blue: its images, which have it, must not count as images without."""
    data = Data([Squares(30), Squares(25, colours=("red", "green"), name="others")])
    got = correlation(started(data), keep="all", progress=False).table
    assert got.presence_images.sel(concept=["red", "blue"]).values.tolist() == [55, 30]
    values, shown = plainly(data, np.max)
    blue = data.concepts.index("blue")
    assert float(got.presence_pearson.sel(unit="small:2", concept="blue")) == pytest.approx(
        np.corrcoef(values[:30, 2], shown[:30, blue])[0, 1], abs=1e-5
    )
    assert float(got.presence_pearson.sel(unit="small:0", concept="red")) == pytest.approx(
        np.corrcoef(values[:, 0], shown[:, 0])[0, 1], abs=1e-5
    )


def test_groups_count_once():
    films = started(Data([Squares(60, grouped=6)]))
    with pytest.warns(UserWarning, match="60 images are of 10 groups.*With 60 they would be too small"):
        grouped = correlation(films, keep="all", progress=False)
    alone = correlation(started(Data([Squares(60)])), keep="all", progress=False)
    np.testing.assert_array_equal(grouped.table.pearson, alone.table.pearson)
    assert "in 10 groups" in repr(grouped) and grouped.table.attrs["independent"] == 10
    living = ~np.isnan(alone.table.presence_q.values)
    assert (grouped.table.presence_q.values[living] >= alone.table.presence_q.values[living]).all()
    p = p_of(grouped.table.presence_pearson.values.astype(np.float64), 10)
    np.testing.assert_allclose(grouped.table.presence_q, benjamini_hochberg(p), rtol=1e-3)


# ---- batches, restarts, files


def test_any_batch_gives_the_same(these, found):
    for batch in (1, 7):
        same(found, correlation(started(these.data, batch), keep="all", classes=["go", "dull"], progress=False))


def test_goes_on_where_it_stopped(these, tmp_path, monkeypatch, capsys):
    whole = correlation(these, keep="all", statistic="mean", progress=False)
    these.dissection.save(tmp_path)

    def stopping(*words):
        fold = image_levels_fold(*words)

        def step(state, batch):
            if state.filled == 32:
                raise KeyboardInterrupt
            return fold.step(state, batch)

        return fold._replace(step=step)

    monkeypatch.setattr(room, "image_levels_fold", stopping)
    with pytest.raises(KeyboardInterrupt):
        correlation(these, tmp_path, statistic="mean", keep="all", every=0, progress=False)
    monkeypatch.undo()
    again = correlation(these, tmp_path, statistic="mean", keep="all", progress=False)
    assert "going on at image 32," in capsys.readouterr().err
    same(whole, again)
    assert sorted(path.name for path in tmp_path.glob("correl*")) == ["correlation-mean.nc"]
    same(whole, Correlation.load(tmp_path))
    columns = pd.read_csv(tmp_path / "units.csv", keep_default_na=False, na_values={"strongest_r": ""})
    assert columns.strongest_partner.tolist() == whole.table.strongest_partner.values.tolist()
    np.testing.assert_allclose(columns.strongest_r, whole.table.strongest_r)
    monkeypatch.setattr(analysis, "run_pass", None)  # a finished analysis is read
    same(whole, correlation(these, tmp_path, statistic="mean", keep="all", progress=False))


def test_some_layers_and_some_units(these, found, tmp_path):
    these.dissection.save(tmp_path)
    some = correlation(these, tmp_path, layers=["large"], keep=["large:2", "large:0"], progress=False)
    assert some.table.pearson.shape == (12, 2) and some.table.other.values.tolist() == ["large:0", "large:2"]
    np.testing.assert_array_equal(some.table.pearson[3:], found.table.pearson.sel(other=some.table.other)[3:])
    assert some.table.pearson[:3].isnull().all() and not some.table.asked[:3].any() and some.constant == STILL
    assert len(pd.read_csv(tmp_path / "units.csv")) == 12
    assert len(some.pairs()) == 0 and "large:0" in some._repr_html_()
    detectors = correlation(these, keep="detectors", progress=False)
    pd.testing.assert_frame_equal(detectors.clusters(), found.clusters())


# ---- what is refused


class Bad(NamedTuple):
    call: dict
    says: str


@pytest.mark.parametrize(
    "bad",
    [
        Bad(dict(statistic="mena"), "Did you mean 'mean'?"),
        Bad(dict(layers=["smal"]), "Did you mean 'small'?"),
        Bad(dict(keep="detector"), "'detectors'"),
        Bad(dict(keep=["small:9"]), "Layer 'small' has units small:0 to"),
        Bad(dict(classes=["stopp"]), "Did you mean 'stop'?"),
        Bad(dict(pairs=0), "Give 1 or more"),
    ],
    ids=lambda bad: next(iter(bad.call)),
)
def test_bad_choices(these, bad):
    with pytest.raises(InputError) as refused:
        correlation(these, progress=False, **bad.call)
    assert_says(refused.value, bad.says)


def test_bad_questions(these, found, tmp_path):
    few = correlation(these, keep=["small:0", "small:1"], progress=False)
    for ask, says in (
        (lambda: few.clusters(["small:2"]), "not kept"),
        (lambda: found.clusters(number=1, distance=1), "Give one of them"),
        (lambda: found.clusters(STILL), "at least two"),
        (lambda: found.clusters(number=0), "from 1"),
        (few.predicted, "Name some in `classes`"),
        (lambda: Correlation.load(tmp_path), "Run `inner-detectors correlation"),
        (lambda: correlation(started(Data([Squares(2)])), keep="all", progress=False), "at least three"),
    ):
        with pytest.raises(InputError) as refused:
            ask()
        assert_says(refused.value, says)


def test_activations_that_are_not_numbers(these):
    bad = replace(
        NET,
        forward=lambda parameters, images: {
            **boxes(parameters, images),
            "small": boxes(parameters, images)["small"] / images.min() * 0,
        },
    )
    with pytest.raises(InputError) as refused:
        correlation(these._replace(model=bad), progress=False)
    assert_says(refused.value, "finite numbers", "squares0")


def test_figures(found):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in (matrix_figure, dendrogram_figure, concept_figure):
            draw(found).figure.canvas.draw()
    assert len(dendrogram_figure(found, ["small:0", "large:0", "large:1"]).get_yticklabels()) == 3
    told = found.table.copy(deep=True)
    told["pair_unit"][:] = "<script>"
    assert "&lt;script&gt;" in Correlation(told)._repr_html_()
