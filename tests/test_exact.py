"""Counts are exact integers: equal to the slow reference, whatever the batch, the devices, the order, and how the work
is divided."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from inner_detectors.dissection.detectors import summarise
from inner_detectors.dissection.protocol import netdissect
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from dataclasses import replace
from inner_detectors.networks.geometry import Geometry
from inner_detectors.networks.model import Model
from inner_detectors.networks.registry import load_model
from inner_detectors.networks.vgg_arrays import VGG16_UNITS
from inner_detectors.passes.interpolation import sampling_grid
from inner_detectors.passes.probe import probe
from inner_detectors.data.sample import Sample
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.synthetic.writers import write_coco
from inner_detectors.dissection.counts import count_batch, counting
from inner_detectors.dissection.scores import Counts, iou
from inner_detectors.data.readers.registry import load_data
from inner_detectors.passes.batches import View, batches
from inner_detectors.dissection.thresholds import compact, quantiles

SEEN = settings(max_examples=25, deadline=None, derandomize=True)  # where every example compiles
MANY = settings(SEEN, max_examples=200)
LAYERS = list(VGG16_UNITS)[list(VGG16_UNITS).index("conv3_1") : list(VGG16_UNITS).index("pool5") + 1]
GRIDS = {"3": (56, 1.5, 4), "4": (28, 3.5, 8), "5": (14, 7.5, 16)}  # of VGG16's blocks, by hand: cells, centre, jump
POOLS = {"pool3": GRIDS["4"], "pool4": GRIDS["5"], "pool5": (7, 15.5, 32)}


def same(one: Dissection, other: Dissection):
    """Every number of two dissections is equal."""
    for name, values in one.table.variables.items():
        np.testing.assert_array_equal(values, other.table[name], err_msg=name)


# ---- VGG16, on a COCO folder


class Uneven(Scenes):
    """The generated set, cut so that no image is square and every one is resized."""

    def sample(self, key):
        whole, down, right = super().sample(key), 3 * int(key), 37 - 3 * int(key)
        regions = [(concept, mask[down:, right:]) for concept, mask in whole.regions]
        return Sample(
            whole.name,
            whole.image[down:, right:],
            tuple(type(whole.regions[0])(*region) for region in regions if region[1].any()),
        )


@pytest.fixture(scope="module")
def vgg16(vgg16_weights):
    return load_model("vgg16", vgg16_weights)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("coco")
    write_coco(Uneven(6, seed=1, size=256), path)
    return path


@pytest.fixture(scope="module")
def all_units(vgg16, folder):
    return dissect(vgg16, load_data(f"coco:{folder}"), LAYERS, batch=4, progress=False)


def read_plainly(folder):
    """(images, masks of each by its place in the json's categories), with Pillow, pycocotools and the reference
    alone."""
    coco = COCO(folder / "annotations" / "instances_val2017.json")
    places = {number: place for place, number in enumerate(sorted(coco.cats))}
    pictures, shown = [], []
    for number in sorted(coco.imgs, key=lambda number: coco.imgs[number]["file_name"]):
        pictures.append(
            reference.fit_image(np.asarray(Image.open(folder / "val2017" / coco.imgs[number]["file_name"])), 224)
        )
        whole: dict[int, np.ndarray] = {}
        for entry in coco.loadAnns(coco.getAnnIds(number)):
            place = places[entry["category_id"]]
            whole[place] = whole.get(place, False) | coco.annToMask(entry).astype(bool)
        shown.append({place: reference.fit_mask(mask, 112) for place, mask in whole.items()})
    return pictures, shown, [coco.cats[number]["name"] for number in sorted(coco.cats)]


def test_units_of_every_layer_of_vgg16_equal_the_reference(vgg16, folder, all_units):
    table = all_units.table
    assert len(LAYERS) == 12 and table.sizes["unit"] == 5120
    pictures, shown, names = read_plainly(folder)
    assert table.concept.values.tolist() == names
    run = jax.jit(lambda parameters, images: vgg16.forward(parameters, vgg16.preprocess(images)))
    padded = np.zeros((8, 224, 224, 3), np.uint8)
    padded[:6] = pictures
    found = [run(vgg16.parameters, padded[start : start + 4]) for start in (0, 4)]
    rng = np.random.default_rng(1)
    for layer in LAYERS:
        units = np.sort(rng.choice(VGG16_UNITS[layer], 4, replace=False))
        maps = list(np.concatenate([np.asarray(part[layer][..., units]) for part in found])[:6])
        cells, centre, jump = POOLS.get(layer) or GRIDS[layer[4]]
        rows = reference.weights(cells, centre, jump, 224, 112)
        limits = reference.thresholds(maps, 0.005)
        both, on_area, mask_area = reference.count(maps, shown, limits, rows, rows, len(names))
        assert on_area.min() > 0 and (both > 0).any(1).all(), "a sample of living units"
        ours = table.sel(unit=[f"{layer}:{unit}" for unit in units])
        np.testing.assert_array_equal(ours.threshold, limits, layer)
        np.testing.assert_array_equal(ours.intersection, both, layer)
        np.testing.assert_array_equal(ours.unit_area[:, 0], on_area, layer)
        np.testing.assert_array_equal(table.concept_area, mask_area)


def test_vgg16_gives_the_same_counts_in_other_batches(vgg16, folder, all_units):
    """XLA promises no equal bits for another batch size. On the CPUs tried it gives them; then every count must be
    equal."""
    data, layers = load_data(f"coco:{folder}"), ["pool3", "conv4_2"]
    other, table = dissect(vgg16, data, layers, batch=3, progress=False).table, all_units.table
    names = ["intersection", "unit_area", "concept_area", "concept_images", "threshold"]
    if all(
        (
            other[name] == table[name].sel(unit=other.unit)
            if "unit" in other[name].dims
            else other[name] == table[name]
        ).all()
        for name in names
    ):
        return
    images = np.stack(
        [data.example(place, 224, 112).image for place in range(len(data))] + [np.zeros((224, 224, 3), np.uint8)] * 2
    )
    look = probe(vgg16, layers)
    for name in layers:
        fours, threes = (
            np.concatenate([look(images[start : start + n])[name] for start in range(0, 6, n)])[:6] for n in (4, 3)
        )
        if (fours != threes).any():
            pytest.skip(f"{name}: on this machine activations differ between batches of 4 and of 3")
    pytest.fail("counts differ between batches of 4 and of 3, and activations do not")


# ---- a small network, whose activations are equal in any batch


def blocks(_, images):
    """Means over squares of 16 and of 32 pixels, of each channel less the next: sums of bytes, exact in float32 in any
    order."""

    def means(side):
        cells = 224 // side
        total = images.reshape(-1, cells, side, cells, side, 3).sum((2, 4))
        return jnp.maximum((total - jnp.roll(total, 1, -1)) / side**2, 0)

    return {"small": means(16), "large": means(32)}


SMALL = Model("blocks", blocks, preprocess=lambda images: images.astype(jnp.float32))
FEW = replace(netdissect, quantile=0.05)

DEVICES = """
import os, sys
sys.path.insert(0, sys.argv[1])
import jax, test_exact as here
assert len(jax.devices()) == 2
found = here.dissect(here.SMALL, here.load_data("scenes:11"), ["small", "large"], here.FEW, batch=2, devices=jax.devices(), progress=False)
found.save(sys.argv[2])
if sys.argv[3]:
    model = here.load_model("vgg16", sys.argv[3])
    two, one = (here.dissect(model, here.load_data("scenes:3"), ["pool2"], batch=1, devices=jax.devices()[:n], progress=False) for n in (2, 1))
    here.same(two, one)
    assert (one.table.intersection > 0).any()
"""


@pytest.fixture(scope="module")
def in_eights():
    found = dissect(SMALL, load_data("scenes:11"), ["small", "large"], FEW, batch=8, progress=False)
    assert (found.table.intersection > 0).any("concept").all() and not found.table.dead.any()
    return found


@pytest.mark.parametrize("batch", [1, 3, 11, 16])
def test_any_batch_gives_the_same_counts(in_eights, batch):
    same(in_eights, dissect(SMALL, load_data("scenes:11"), ["small", "large"], FEW, batch=batch, progress=False))


@pytest.mark.parametrize("memory", [None, 2e-5, 1e-5, 0])
def test_one_pass_gives_the_counts_of_two(in_eights, memory, monkeypatch):
    "All maps kept whole, reduced to what can matter, some kept and the others run again, or none kept."
    from inner_detectors.passes.cache import ActivationCache

    seen = []
    reader = ActivationCache.reader
    monkeypatch.setattr(
        ActivationCache,
        "reader",
        lambda cache, limits: seen.append((cache.images, cache.bytes)) or reader(cache, limits),
    )
    few = dict(batch=2, memory=memory, progress=False)
    same(in_eights, dissect(SMALL, load_data("scenes:11"), ["small", "large"], FEW, **few))
    ((images, size),) = seen
    assert size <= (1e9 if memory is None else 1e9 * memory)
    assert images == {None: 11, 0: 0}.get(memory, images)
    assert memory != 1e-5 or 0 < images < 11
    assert memory != 2e-5 or images * 4 * 3 * (14 * 14 + 7 * 7) > size
    same(in_eights, dissect(SMALL, load_data("scenes:11"), ["small", "large"], FEW, passes="two", progress=False))


def test_the_network_runs_once():
    calls = []

    def forward(parameters, images, names):
        calls.append(len(images))
        return {name: np.asarray(maps) for name, maps in blocks((), images).items()}

    model, counted = replace(SMALL, forward=forward, traced=False), {}
    for passes in ("one", "two"):
        calls.clear()
        dissect(model, load_data("scenes:11"), ["small"], FEW, batch=2, passes=passes, progress=False)
        counted[passes] = len(calls)
    assert counted["two"] - counted["one"] == 6


def test_the_order_of_layers_moves_no_count(in_eights):
    """JAX sorts the keys of dicts; units must keep their own counts."""
    turned = dissect(SMALL, load_data("scenes:11"), ["large", "small"], FEW, progress=False)
    assert turned.table.layer.values.tolist() == ["large"] * 3 + ["small"] * 3
    same(in_eights, Dissection(turned.table.sel(unit=in_eights.table.unit)))


def test_two_devices_give_the_same_counts_as_one(in_eights, vgg16_weights, root, tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", DEVICES, str(root / "tests"), str(tmp_path), str(vgg16_weights)]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    same(in_eights, Dissection.load(tmp_path))


ANALYSED = """
import sys
sys.path.insert(0, sys.argv[1])
import jax, numpy as np, test_top
from inner_detectors.dissection.analysis import analyse
assert len(jax.devices()) == 2
data = test_top.Data([test_top.Patches(25, broken=(5, 20))])
these = test_top.started(data, batch=2)
asked = ["top-images", "correlation", "chance", "sensitivity"]
two, one = (analyse(these._replace(devices=tuple(jax.devices()[:n])), asked, progress=False) for n in (2, 1))
for mine, its in zip(two, one):
    assert set(mine.table.variables) == set(its.table.variables)
    for name, values in mine.table.variables.items():
        np.testing.assert_array_equal(values, its.table[name], err_msg=f"{mine.table.attrs['analysis']}: {name}")
images = [data.sources[0].sample(f"{place:03}").name for place in range(25) if place not in (5, 20)]
assert two[0].table.image.values.tolist() == images
assert two[0].table.peak.sizes["image"] == two[1].table.attrs["images"] == 23
"""


def test_analyses_on_two_devices_give_the_same_as_on_one(root):
    "A value each image, in the order of the images, of which each device passes over a part; some are broken."
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", ANALYSED, str(root / "tests")]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


# ---- each part alone, on anything


@st.composite
def counted(draw):
    """Activations of two layers, thresholds that some of them equal, geometry and masks of a batch."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, side, batch, shown = (
        draw(st.integers(16, 64)),
        draw(st.integers(1, 24)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 5)),
    )
    layers = {}
    for name in ("second", "first"):  # JAX sorts the keys of dicts
        height, width, units = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 6))
        maps = rng.normal(size=(batch, height, width, units)).astype(np.float32)
        if draw(st.booleans()):
            maps = np.round(maps)  # ties, with each other and with the threshold
        centre, jump = rng.uniform(-4, 20, 2), rng.uniform(1, 20, 2)
        layers[name] = (
            maps,
            Geometry(tuple(centre), tuple(jump)),
            maps[0, 0, 0] if draw(st.booleans()) else np.zeros(units, np.float32),
        )
    return size, side, layers, rng.random((batch, shown, side, side)) < draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))


@SEEN
@given(counted())
def test_counts_equal_the_reference(case):
    size, side, layers, masks = case
    grids = {name: sampling_grid(geometry, maps.shape[1:3], size, side) for name, (maps, geometry, _) in layers.items()}
    found = np.asarray(
        count_batch(
            {name: maps for name, (maps, _, _) in layers.items()},
            {name: limits for name, (*_, limits) in layers.items()},
            grids,
            masks,
            np.float32(-np.inf),
        )
    )
    first = 0
    for maps, geometry, limits in layers.values():
        rows, columns = (
            reference.weights(cells, centre, jump, size, side)
            for cells, centre, jump in zip(maps.shape[1:3], geometry.centre, geometry.jump)
        )
        for row, (one, shown) in enumerate(zip(maps, masks)):
            both, on_area, _ = reference.count([one], [dict(enumerate(shown))], limits, rows, columns, len(shown))
            np.testing.assert_array_equal(found[row, :-1, first : first + len(limits)], both.T)
            np.testing.assert_array_equal(found[row, -1, first : first + len(limits)], on_area)
        first += len(limits)


class Activations:
    """What the threshold's fold reads of a batch."""

    def __init__(self, maps):
        self.activations, self.filled, self.names = {"layer": maps}, len(maps), tuple(map(str, range(len(maps))))


@st.composite
def activations(draw):
    """Maps of some images, cut into batches; the data set may list images that could not be read."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images, height, width, units = (
        draw(st.integers(1, 12)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 70)),
    )
    maps = rng.normal(size=(images, height, width, units)).astype(np.float32) * np.float32(
        10.0 ** draw(st.integers(-30, 30))
    )
    kind = draw(st.sampled_from(["real", "ties", "relu", "rare", "constant"]))
    if kind == "ties":
        maps = rng.integers(-2, 3, maps.shape).astype(np.float32)
    if kind == "relu":
        maps = np.maximum(maps, 0)
    if kind == "rare":
        maps = maps * (rng.random(maps.shape) < 0.03)
    if kind == "constant":
        maps = np.full_like(maps, maps.flat[0])
    cuts = sorted(draw(st.lists(st.integers(0, images), max_size=3)))
    parts = [part for part in np.split(maps, cuts) if len(part)]
    quantile = draw(st.one_of(st.sampled_from([0.005, 0.01, 0.5, 0.999]), st.floats(1e-6, 1 - 1e-6)))
    return maps, parts, images + draw(st.sampled_from([0, 0, 1, 7])), quantile


@MANY
@given(activations())
def test_thresholds_are_numpys_quantiles(case):
    maps, parts, listed, quantile = case
    fold = quantiles({"layer": maps.shape[1:]}, listed, quantile)
    state = fold.init()
    for part in parts:
        state = fold.step(state, Activations(part))
    found = fold.result(state)["layer"]
    values = maps.reshape(-1, maps.shape[-1])
    np.testing.assert_array_equal(
        found.values, np.quantile(values.astype(np.float64), 1 - quantile, axis=0).astype(np.float32)
    )
    np.testing.assert_array_equal(found.values, reference.thresholds(list(maps), quantile))
    np.testing.assert_array_equal(found.dead, values.max(0) == values.min(0))
    np.testing.assert_array_equal(found.sparse, ~found.dead & (found.values == values.min(0)))


def ordered(state, keep):
    """A state of the thresholds' fold in a form that can be compared: the values kept, in order, and what is known of
    the others."""
    top = compact(state["layer"], keep)
    return np.sort(top.values, axis=1)[:, -keep:], top.smallest, top.positions


@MANY
@given(activations(), st.randoms(use_true_random=False))
def test_thresholds_merge(case, random):
    """In any order and any grouping, with nothing as the identity, and going on after a merge."""
    maps, parts, listed, quantile = case
    fold = quantiles({"layer": maps.shape[1:]}, listed, quantile)

    def run(*some, state=None):
        state = fold.init() if state is None else state
        for part in some:
            state = fold.step(state, Activations(part))
        return state

    whole, keep = fold.result(run(*parts))["layer"], fold.init()["layer"].values.shape[1] - maps[0, ..., 0].size
    states = [run(part) for part in parts] + [fold.init()]
    random.shuffle(states)
    while len(states) > 1:
        place = random.randrange(len(states) - 1)
        states[place : place + 2] = [fold.merge(*states[place : place + 2])]
    for one, other in zip(ordered(run(*parts), keep), ordered(states[0], keep)):
        np.testing.assert_array_equal(one, other)
    later = run(*parts[1:], state=fold.merge(run(parts[0]), fold.init()))
    for found in (states[0], later):
        for one, other in zip(whole, fold.result(found)["layer"]):
            np.testing.assert_array_equal(one, other)


def test_counts_merge():
    """In any order and any grouping, with nothing as the identity."""
    data, names, view = load_data("scenes:9"), ["small", "large"], View(224, 112, batch=2)
    fold = counting(data, SMALL, names, {name: np.full(3, 5, np.float32) for name in names}, view)
    look = probe(SMALL, names)
    seen = [batch._replace(activations=look(batch.images)) for _, batch, _ in batches(data, view)]

    def run(*some):
        state = fold.init()
        for batch in some:
            state = fold.step(state, batch)
        return state

    def equal(one: Counts, other: Counts):
        return all((a == b).all() and a.dtype == b.dtype == np.int64 for a, b in zip(one, other))

    whole, (a, b, c, d, e) = run(*seen), seen
    assert whole.intersection.any() and whole.unit_area.all() and whole.concept_images.max() <= 9
    assert equal(whole, fold.merge(run(a, b), run(c, d, e))) and equal(whole, fold.merge(run(d, b, e), run(c, a)))
    assert equal(fold.merge(fold.merge(run(a), run(b)), run(c)), fold.merge(run(a), fold.merge(run(b), run(c))))
    assert equal(whole, fold.merge(whole, fold.init())) and equal(whole, fold.merge(fold.init(), whole))
    assert not equal(whole, fold.merge(whole, run(a)))


@MANY
@given(st.integers(0, 2**32 - 1))
def test_iou_is_that_of_sets(seed):
    rng = np.random.default_rng(seed)
    on, masks = rng.random((4, 30)) < rng.random((4, 1)), rng.random((5, 30)) < rng.random((5, 1))
    on[0], masks[0], masks[1] = False, False, on[1]
    both = (on[:, None] & masks).sum(-1)
    found = iou(both, np.broadcast_to(on.sum(1)[:, None], both.shape), masks.sum(1))
    union = (on[:, None] | masks).sum(-1)
    assert (found[union > 0] == both[union > 0] / union[union > 0]).all() and (found[union == 0] == 0).all()
    assert found[0, 0] == 0 and found[1, 1] == on[1].any() and found.min() >= 0 and found.max() <= 1
    huge = iou(both * 2**40, np.broadcast_to(on.sum(1)[:, None], both.shape) * 2**40, masks.sum(1) * 2**40)
    np.testing.assert_array_equal(huge, found, "no 32 bits")


@st.composite
def labels(draw):
    """Best concepts of some units within three categories, as `summarise` takes them; IoUs with ties, also with the
    limit 0.04."""
    units, rng = draw(st.integers(1, 12)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = [
        (
            f"{'one' if unit < units / 2 else 'two'}:{unit}",
            "one" if unit < units / 2 else "two",
            unit,
            category,
            f"{category} {rng.integers(3)}",
            rng.choice([0, 0.02, 0.04, 0.05, 0.3, rng.random()]),
        )
        for category in ("object", "part", "colour")
        for unit in range(units)
    ]
    table = pd.DataFrame(rows, columns=["unit", "layer", "index", "category", "concept", "iou"])
    return table.assign(
        place=table.category.map({"object": 0, "part": 3, "colour": 6}) + table.concept.str[-1].astype(int)
    )


@settings(MANY, max_examples=60)
@given(labels(), st.integers(0, 2**32 - 1))
def test_summaries_count_what_is_there(table, seed):
    found = summarise(table).set_index(["rule", "layer", "category"])
    for layer, rows in table.groupby("layer"):
        held = {unit: rows[rows.unit == unit] for unit in rows.unit.unique()}
        best = [
            sorted(zip(-one.iou, one.place, one.category, one.concept))[0]
            for one in held.values()
            if one.iou.max() > 0.04
        ]
        above = rows[rows.iou > 0.04]
        for category in ("object", "part", "colour"):
            mine = [entry for entry in best if entry[2] == category]
            assert tuple(found.loc[("best-label", layer, category)]) == (
                len(held),
                len(mine),
                len({entry[3] for entry in mine}),
            )
            inside = above[above.category == category]
            assert tuple(found.loc[("per-category", layer, category)]) == (
                len(held),
                len(inside),
                len(set(inside.concept)),
            )
        assert tuple(found.loc[("best-label", layer, "all")]) == (
            len(held),
            len(best),
            len({entry[3] for entry in best}),
        )
        assert tuple(found.loc[("per-category", layer, "all")]) == (len(held), len(best), len(set(above.concept)))
    shuffled = summarise(table.sample(frac=1, random_state=seed)).set_index(["rule", "layer", "category"])
    assert shuffled.sort_index().equals(found.sort_index()), "the order of rows counts nothing"
