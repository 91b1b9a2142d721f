"""Chance levels equal plain loops over pairs of images, in any batch, across sources, and after an interruption."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import reference
from sentences import assert_says

from inner_detectors.analyses import chance as room
from inner_detectors.core.errors import InputError
from inner_detectors.data.vocabulary import Vocabulary
from inner_detectors.data.dataset import Data
from inner_detectors.dissection.protocol import netdissect, per_image, pnas
from dataclasses import replace
from inner_detectors.dissection import analysis
from inner_detectors.dissection.scores import unit_areas
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.analyses.chance import Chance, chance, paired_sums, lit_counts_fold
from inner_detectors.networks.model import Model
from inner_detectors.passes.probe import probe
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.passes.sweep import sweep

SIDE = 28


def squares(_, images):
    """Means over squares of 4 and of 8 pixels of each channel less the next, and two units that say nothing: sums of
    bytes, exact in any batch."""

    def means(side):
        cells = 56 // side
        total = images.reshape(-1, cells, side, cells, side, 3).sum((2, 4))
        return jnp.maximum((total - jnp.roll(total, 1, -1)) / side**2, 0)

    small = means(4)
    idle = jnp.broadcast_to(jnp.array([0, 0.107], jnp.float32), (*small.shape[:3], 2))
    return {"small": jnp.concatenate([small, idle], -1), "large": means(8)}


NET = Model("squares", squares, size=56, preprocess=lambda images: images.astype(jnp.float32))
FEW = replace(netdissect, quantile=0.1, geometry="half-pixel")


class Objects(Scenes):
    """The generated set, of which only objects and colours are annotated."""

    name = "objects"

    def __init__(self, *words, **more):
        super().__init__(*words, **more)
        self.concepts = Vocabulary(concept for concept in self.concepts if concept.category in ("object", "colour"))

    def sample(self, key):
        whole = super().sample(key)
        return replace(whole, regions=tuple(region for region in whole.regions if region.concept in self.concepts))


@pytest.fixture(scope="module")
def one():
    return Data([Scenes(11, seed=4, size=56)])


@pytest.fixture(scope="module")
def two():
    return Data([Scenes(6, seed=4, size=56), Objects(5, seed=9, size=56)])


def started(data, protocol=FEW, batch=4):
    return study(dissect(NET, data, ["small", "large"], protocol, batch=batch, progress=False), NET, data, batch)


def looked_at(data, limits):
    """(masks by concept, pixels each unit is on in [side side unit]) of every image, by the reference."""
    examples = [data.example(place, 56, SIDE) for place in range(len(data))]
    maps = probe(NET, ["small", "large"])(np.stack([example.image for example in examples]))
    found = []
    for place, example in enumerate(examples):
        on = []
        for layer, cells, jump in (("small", 14, 4), ("large", 7, 8)):
            matrix = reference.weights(cells, (jump - 1) / 2, jump, 56, SIDE)
            own = np.asarray(maps[layer][place])
            limit = limits[layer] if isinstance(limits, dict) else reference.medians(own)
            on.append(reference.interpolate(own, matrix, matrix) > limit)
        found.append((dict(zip(example.concepts.tolist(), example.masks)), np.concatenate(on, 2)))
    return found


def assert_positional(found, these):
    """The paired counts and both levels, from loops over all pairs of images."""
    seen, data, table = looked_at(these.data, these.limits), these.data, these.dissection.table
    places = np.array([source for source, _ in data.items])
    expected = np.zeros((table.sizes["unit"], len(data.concepts)))
    for source in range(len(data.sources)):
        mine = [seen[i] for i in np.flatnonzero(places == source)]
        pairs = np.zeros(expected.shape, np.int64)
        for _, on in mine:
            for masks, _ in mine:
                for concept, mask in masks.items():
                    pairs[:, concept] += on[mask].sum(0)
        np.testing.assert_array_equal(found.table.paired[source], pairs)
        expected += pairs / len(mine)
    areas, concept = unit_areas(table), table.concept_area.values
    np.testing.assert_allclose(found.table.positional, expected / np.maximum(areas + concept - expected, 1), rtol=1e-12)
    for unit in range(len(areas)):
        for c in range(len(concept)):
            every = these.dissection.protocol.area == "all"
            told = sum(every or data.annotated[source, data.category_of[c]] for source in places) * SIDE**2
            a, p = areas[unit, c] / told, concept[c] / told
            assert float(found.table.uniform[unit, c]) == pytest.approx(
                a * p / (a + p - a * p) if a + p else 0, rel=1e-9
            )


def test_equals_loops_over_pairs(one):
    these = started(one)
    found = chance(these, progress=False)
    assert_positional(found, these)
    assert float(found.table.positional.max()) > 0.05
    rows = found.units()
    named = rows.label != ""
    assert named.sum() == 6 and rows[named].above_chance.notna().all()
    np.testing.assert_allclose(rows[named].above_chance, rows[named].iou / rows[named].positional)


def test_two_sources_are_two_groups(two):
    these = started(two)
    found = chance(these, progress=False)
    assert found.table.source.values.tolist() == ["scenes", "objects"]
    assert found.table.source_images.values.tolist() == [6, 5]
    assert any("@" not in name for name in two.categories) and (~two.annotated).any()
    assert_positional(found, these)


def test_area_over_all_images(two):
    these = started(two, replace(pnas, quantile=0.1, geometry="half-pixel"))
    assert_positional(chance(these, progress=False), these)


def test_thresholds_of_each_image(one):
    these = started(one, replace(FEW, threshold_over="image", quantile=0.5))
    assert_positional(chance(these, progress=False), these)


def test_means_of_images_have_uniform_chance_alone(one):
    these = started(one, replace(per_image, mask_size=0.5, geometry="half-pixel"))
    found = chance(these, progress=False)
    assert found.table.positional.isnull().all() and "not defined" in repr(found)
    assert "paired" not in found.table and found.units().above_chance.isna().all()
    total, images = np.zeros(found.table.uniform.shape), np.zeros(len(one.concepts))
    data = these.data
    for masks, on in looked_at(data, these.limits):
        for concept, mask in masks.items():
            a, p = on.mean((0, 1)), mask.mean()
            total[:, concept] += a * p / (a + p - a * p)
            images[concept] += 1
    np.testing.assert_allclose(found.table.uniform, total / np.maximum(images, 1), atol=1e-9)


def test_any_batch_gives_the_same(two):
    first = chance(started(two, batch=4), progress=False).table
    for batch in (1, 16):
        other = chance(started(two, batch=batch), progress=False).table
        for name in first.data_vars:
            np.testing.assert_array_equal(first[name], other[name], name)


def test_many_pictures_at_once_do_not_wrap(one):
    """A batch of more than 255 images is added up in 32 bits."""
    again = Data([Scenes(2, seed=4, size=56)], tuple([0, 1] * 150))
    found = dissect(NET, Data([Scenes(2, seed=4, size=56)]), ["small"], FEW, progress=False)
    limits = {"small": found.table.threshold.values}
    view = replace(study(found, NET, Data([Scenes(2, seed=4, size=56)])).view, batch=300)
    piled = sweep(
        lit_counts_fold(again, NET, ["small"], limits, view), again, NET, ["small"], view, progress=False
    ).state
    np.testing.assert_array_equal(piled.maps.sum((0, 1)), 150 * found.table.unit_area.values[:, 0])


def test_units_that_say_nothing(one):
    rows = chance(started(one), progress=False).units()
    idle = rows[(rows.layer == "small") & (rows["index"] >= 3)]
    assert (idle.label == "").all()
    assert idle[["uniform", "positional", "above_chance"]].isna().to_numpy().all()


def halt(monkeypatch, at):
    """The fold stops with an error at its step number `at`."""

    def stopping(*words):
        fold, steps = lit_counts_fold(*words), []

        def step(state, batch):
            steps.append(batch)
            if len(steps) == at:
                raise KeyboardInterrupt
            return fold.step(state, batch)

        return fold._replace(step=step)

    monkeypatch.setattr(room, "lit_counts_fold", stopping)


def test_goes_on_where_it_stopped(two, tmp_path, monkeypatch, capsys):
    these = started(two, batch=2)
    whole = chance(these, progress=False)
    these.dissection.save(tmp_path)
    halt(monkeypatch, at=4)
    with pytest.raises(KeyboardInterrupt):
        chance(these, tmp_path, every=0, progress=False)
    monkeypatch.undo()
    assert not (tmp_path / "chance.nc").exists() and (tmp_path / "chance.chance.checkpoint.npz").exists()
    again = chance(these, tmp_path, progress=False)
    assert "going on at image 6," in capsys.readouterr().err
    for name in whole.table.data_vars:
        np.testing.assert_array_equal(whole.table[name], again.table[name], name)
    assert sorted(path.name for path in tmp_path.glob("chance*")) == ["chance.nc"]
    monkeypatch.setattr(analysis, "run_pass", None)  # a finished analysis is read
    assert chance(these, tmp_path, progress=False).units().equals(Chance.load(tmp_path).units())
    columns = pd.read_csv(tmp_path / "units.csv")
    np.testing.assert_allclose(columns.chance_positional, whole.units().positional)
    np.testing.assert_allclose(columns.chance_uniform, whole.units().uniform)


def test_says_where_activations_are_others(one):
    these = started(one)
    moved = these.dissection.table.copy(deep=True)
    moved["unit_area"][0, 0] += 7
    with pytest.warns(UserWarning, match="7 of [0-9]+ pixels are lit otherwise"):
        chance(these._replace(dissection=replace(these.dissection, table=moved)), progress=False)


def test_pairs_beyond_64_bits():
    with pytest.raises(InputError) as refused:
        paired_sums(np.ones((SIDE**2, 1), int), np.ones((1, SIDE**2), int), 2**28)
    assert_says(refused.value, "Choose a smaller mask size")


def test_prints_its_names_as_text(one):
    found = chance(started(one), progress=False)
    told = found.table.copy()
    told["label"][0] = "<script>"
    assert "&lt;script&gt;" in Chance(told)._repr_html_() and "<script>" not in Chance(told)._repr_html_()
