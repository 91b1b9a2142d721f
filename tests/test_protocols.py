"""The three protocols, and each of their choices alone, equal slow references; scores are free of order to the bit."""

import itertools
import os
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
import reference

from inner_detectors.core.errors import InputError
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.data.dataset import Data
from inner_detectors.data.sample import Region, Sample
from inner_detectors.dissection.protocol import netdissect, per_image, protocols
from dataclasses import replace
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.networks.geometry import Geometry
from inner_detectors.networks.model import Model
from inner_detectors.networks.registry import load_model
from inner_detectors.passes.probe import probe
from inner_detectors.dissection.counts import counting
from inner_detectors.dissection.scores import find_score
from inner_detectors.data.readers.registry import load_data
from inner_detectors.passes.batches import View
from inner_detectors.passes.fold import combine
from inner_detectors.passes.sweep import sweep
from inner_detectors.dissection.thresholds import extremes, quantiles


class Choices(NamedTuple):
    """A protocol in the words of the page of definitions."""

    threshold_over: str = "data"
    quantile: float = 0.005
    score: str = "iou"
    area: str = "annotated"
    mask_size: float = 0.5
    keep: float = 0
    maskless: str = "kept"


DEFINED = {
    "netdissect": Choices(),
    "pnas": Choices(quantile=0.01, area="all"),
    "per-image": Choices("image", 0.5, "mean-iou", mask_size=1, keep=0.5, maskless="dropped"),
}
MIXED = {
    "images to data": Choices("image", 0.5, "iou"),
    "images to data, all": Choices("image", 0.2, "iou", "all", 1, 0.5, "dropped"),
    "data to images": Choices("data", 0.1, "mean-iou"),
    "data to images, dropped": Choices("data", 0.3, "mean-iou", "all", 1, 0.5, "dropped"),
    "images to Dice, dropped": Choices("image", 0.5, "mean-dice", "all", 1, 0.5, "dropped"),
    "data to Dice": Choices("data", 0.1, "mean-dice"),
}
MEANS = {"mean-iou": "score", "mean-dice": "dice"}  # what they are called in tables
TOY = {name: choices._replace(quantile=max(choices.quantile, 0.1)) for name, choices in DEFINED.items()} | MIXED


class Picture(NamedTuple):
    """As its data set has it."""

    source: str
    name: str
    image: np.ndarray
    regions: list[tuple[str, np.ndarray]]


def as_protocol(name, choices):
    """What the package calls these choices."""
    return replace(protocols.get(name, netdissect), **choices._asdict())


def slow(choices, pictures, maps, grid, size, concepts, entries, given=None):
    """Every number of some units, from their maps [height, width, unit] in each image. `entries`: category ->
    sources; `given`: thresholds."""
    side = round(size * choices.mask_size)
    shown = [reference.fit_masks(picture.regions, side, Fraction(choices.keep)) for picture in pictures]
    used = [place for place, masks in enumerate(shown) if masks or choices.maskless == "kept"]
    pictures, maps = [pictures[place] for place in used], [maps[place] for place in used]
    shown = [{concepts.index(name): mask for name, mask in shown[place].items()} for place in used]
    values = np.concatenate([one.reshape(-1, one.shape[-1]) for one in maps])
    dead = values.max(0) == values.min(0)
    fixed = reference.thresholds(maps, choices.quantile) if given is None else given
    if choices.threshold_over == "image":
        above = [reference.medians(one, 100 * (1 - choices.quantile)) for one in maps]
    else:
        above = [fixed] * len(maps)
    rows = reference.weights(*grid, size, side)
    found = {
        "images": [picture.name for picture in pictures],
        "dead": dead,
        "concept_images": np.zeros(len(concepts), int),
    }
    for masks in shown:
        found["concept_images"][list(masks)] += 1
    if choices.threshold_over == "data":
        found |= {"threshold": fixed, "sparse": ~dead & (fixed == values.min(0))}
    if choices.score in MEANS:
        area = sum(
            np.array([masks[concept].sum() if concept in masks else 0 for concept in range(len(concepts))])
            for masks in shown
        )
        means = reference.means(maps, shown, above, rows, rows, len(concepts), choices.score == "mean-dice")
        return found | {MEANS[choices.score]: means, "concept_area": area}
    each = [
        reference.count([one], [masks], limit, rows, rows, len(concepts))
        for one, masks, limit in zip(maps, shown, above)
    ]
    areas = [
        sum(on for picture, (_, on, _) in zip(pictures, each) if choices.area == "all" or picture.source in sources)
        for sources in entries.values()
    ]
    return found | {
        "intersection": sum(both for both, _, _ in each),
        "unit_area": np.stack(areas, 1),
        "concept_area": sum(area for *_, area in each),
    }


def equal(dissection, units, wanted):
    """The rows of some units are those of the reference, to the bit."""
    table = dissection.table.sel(unit=units)
    assert sorted(table.image.values) == sorted(wanted["images"])
    numbers = {"score", "dice", "intersection", "unit_area", "threshold"}
    assert numbers & set(table.data_vars) == numbers & set(wanted)
    for name in wanted.keys() - {"images"}:
        np.testing.assert_array_equal(table[name], wanted[name], f"{units[0]}: {name}")


def counted(table, otherwise="unit_area"):
    """The name of the means that a table keeps, or of counts where it has none."""
    return next((name for name in MEANS.values() if name in table), otherwise)


def same(one, other, but=()):
    """Every number of two dissections is equal, `but` some, and of the same images."""
    one, other = one.table, other.table
    assert set(one.variables) == set(other.variables) and sorted(one.image.values) == sorted(other.image.values)
    names = [name for name in one.variables if "image" not in one[name].dims and name not in but]
    for name in names:
        np.testing.assert_array_equal(one[name], other[name], name)


# ---- VGG16 on photographs of two data sets

LAYERS = {"conv4_3": (28, 3.5, 8), "conv5_3": (14, 7.5, 16), "pool5": (7, 15.5, 32)}  # cells, centre, jump
ENTRIES = {"object@pascal-part+coco": {"pascal-part", "coco"}, "part": {"pascal-part"}, "object@coco": {"coco"}}
EMPTY, CUT = (
    [101, 147],
    229,
)  # of COCO's 255 by file name: without an annotation; with one, of which the crop leaves less than half
WHOLE = os.environ.get("INNER_DETECTORS_SLOW") == "1"  # 60 photographs in place of 24
SOME = {*range(0, 248, 7 if WHOLE else 19), *EMPTY, CUT}
PARTS = 22 if WHOLE else 7
NUMBER = PARTS + len(SOME)


@pytest.fixture(scope="module")
def photographs(samples):
    """(images read with the reference alone, the same as the package reads them)."""
    parts, coco = samples / "pascal_part", samples / "coco2017_mini"
    for folder in (parts, coco):
        if not folder.is_dir():
            pytest.skip(f"no photographs at {folder}")
    first = reference.read_pascal_part(
        parts / "trainval" / "Annotations_Part", parts / "VOCdevkit" / "VOC2010" / "JPEGImages"
    )
    second = reference.read_coco(coco / "annotations" / "instances_val2017.json", coco / "val2017")
    pictures = [Picture("pascal-part", *one) for one in first[:PARTS]] + [
        Picture("coco", *one) for place, one in enumerate(second) if place in SOME
    ]
    data = load_data(f"pascal-part:{parts}", f"coco:{coco}:val2017")
    return pictures, Data(data.sources, (*range(PARTS), *(22 + place for place in sorted(SOME))))


@pytest.fixture(scope="module")
def vgg16(vgg16_weights):
    return load_model("vgg16", vgg16_weights)


@pytest.fixture(scope="module")
def activations(vgg16, photographs):
    """(the images that VGG16 sees, its maps of them by layer), in batches of 8."""
    seen = np.stack([reference.fit_image(picture.image, 224) for picture in photographs[0]])
    look, padded = probe(vgg16, list(LAYERS)), np.concatenate([seen, np.zeros((-NUMBER % 8, 224, 224, 3), np.uint8)])
    parts = [
        {name: np.asarray(maps) for name, maps in look(padded[start : start + 8]).items()}
        for start in range(0, len(padded), 8)
    ]
    return seen, {name: np.concatenate([part[name] for part in parts])[:NUMBER] for name in LAYERS}


@pytest.fixture(scope="module")
def remembering(vgg16, activations):
    """VGG16 with its activations looked up by a sum over the image, so that five sweeps cost one."""
    seen, maps = activations
    factors = np.random.default_rng(0).integers(1, 2**32, seen.shape[1:], np.uint32)

    def code(images, number=np):
        return (images.astype(number.uint32) * factors).sum((1, 2, 3), dtype=number.uint32)

    codes = np.concatenate([code(seen[place : place + 1]) for place in range(NUMBER)])
    assert len({*codes.tolist()}) == NUMBER

    def forward(stored, images):
        place = (code(images, jnp)[:, None] == stored["codes"]).argmax(1)
        return {name: stored[name][place] for name in LAYERS}

    return replace(vgg16, forward=forward, parameters={"codes": codes, **maps}, preprocess=lambda images: images)


@pytest.fixture(scope="module")
def on_photographs(remembering, photographs):
    """Protocol -> its dissection, each made once."""
    made = {}

    def found(name):
        if name not in made:
            made[name] = dissect(remembering, photographs[1], list(LAYERS), protocols[name], progress=False)
        return made[name]

    return found


@pytest.mark.parametrize("name", DEFINED)
def test_a_protocol_on_photographs_equals_the_reference(name, photographs, activations, on_photographs):
    pictures, data = photographs
    found = on_photographs(name)
    table, concepts = found.table, found.table.concept.values.tolist()
    assert (
        len(pictures) == NUMBER >= 24
        and table.sizes["unit"] == 3 * 512
        and table.category.values.tolist() == list(ENTRIES)
    )
    assert {name for picture in pictures for name, _ in picture.regions} <= {*concepts}
    rng, kept = np.random.default_rng(1), set()
    for layer, grid in LAYERS.items():
        units = np.sort(rng.choice(512, 24, replace=False))
        rows = [f"{layer}:{unit}" for unit in units]
        wanted = slow(DEFINED[name], pictures, activations[1][layer][..., units], grid, 224, concepts, ENTRIES)
        equal(found, rows, wanted)
        if name != "per-image":
            continue
        best = [sorted(zip(-scores, range(len(concepts))))[:3] for scores in wanted["score"]]
        labels = [
            (f"{layer}:{unit}", layer, unit, rank, concepts[place], -low)
            for unit, three in zip(units, best)
            for rank, (low, place) in enumerate(three, 1)
            if -low >= 0.1
        ]
        ours = found.detectors().query("unit in @rows")
        assert (
            list(ours[["unit", "layer", "index", "rank", "concept", "score"]].itertuples(index=False, name=None))
            == labels
        )
        kept |= {rank for _, _, _, rank, *_ in labels}
    assert (
        table.attrs["images"] == NUMBER - (3 if name == "per-image" else 0)
        and table.attrs["maskless"] == NUMBER - table.attrs["images"]
    )
    assert kept == ({1, 2, 3} if name == "per-image" else set())


def test_what_the_protocols_count_differs_on_these_photographs(photographs, on_photographs):
    """Else the comparison above would not tell one choice from another."""
    published, all_images, by_image = (on_photographs(name).table for name in DEFINED)
    areas = published.unit_area.values
    assert (areas[:, 0] > areas[:, 1:].max(1)).mean() > (0.9 if WHOLE else 0.7) and (
        areas[:, 0] == areas[:, 1] + areas[:, 2]
    ).all()
    assert (all_images.unit_area.values == all_images.unit_area.values[:, :1]).all() and (
        all_images.threshold < published.threshold
    ).mean() > 0.9
    fewer = (
        published.concept_images.values - by_image.concept_images.values
    )  # a mask that vanishes at 112 may have a pixel at 224
    assert (fewer > 0).sum() > (10 if WHOLE else 2) and (published.concept_area == all_images.concept_area).all()
    for place in (*EMPTY, CUT):
        name = [*photographs[1].sources[1].keys][place]
        assert name in published.image and name not in by_image.image


def test_vgg16_scores_photographs_alike_in_reverse(vgg16, remembering, photographs):
    """The network itself against what was looked up, in batches of other images."""
    few = photographs[1].chosen[:: NUMBER // 8]
    one = dissect(remembering, Data(photographs[1].sources, few), list(LAYERS), per_image, progress=False)
    other = dissect(vgg16, Data(photographs[1].sources, few[::-1]), list(LAYERS), per_image, progress=False)
    same(one, other, but=["fingerprint"])  # what was looked up knows no other images
    assert other.table.image.values.tolist() == one.table.image.values[::-1].tolist()
    assert (one.table.score > 0.1).any()


# ---- a small network and drawn images, for the many variants


def cells(_, images):
    """Sums of bytes and one product, equal in any batch. Units: 3 differences; `fine` also the image's mean, and 0.3
    everywhere but in padding."""

    def sums(side):
        total = images.reshape(-1, 30 // side, side, 30 // side, side, 3).sum((2, 4))
        return total - jnp.roll(total, 1, -1)

    lone = jnp.ones((len(images), 10, 10, 1), jnp.float32)
    whole = images.sum((1, 2, 3))[:, None, None, None]
    fine = jnp.concatenate(
        [
            jnp.maximum(sums(3), 0) * np.float32(0.3),
            lone * jnp.minimum(whole, np.float32(0.3)),
            lone * whole * np.float32(0.001),
        ],
        -1,
    )
    return {"fine": fine, "rough": sums(6) * np.float32(0.7), "lone": whole * np.float32(0.3)}


GRIDS = {"fine": (10, 1.1, 2.9), "rough": (5, 3, 5)}
SMALL = Model(
    "cells",
    cells,
    size=30,
    preprocess=lambda images: images.astype(jnp.float32),
    geometry={name: Geometry((centre,) * 2, (jump,) * 2) for name, (_, centre, jump) in GRIDS.items()},
)
VOCABULARIES = {
    "one": [Concept("a", "object"), Concept("b", "object"), Concept("a/x", "part", "a")],
    "two": [Concept("b", "object"), Concept("c", "object")],
}
SOURCES = {"object@one": {"one"}, "object@one+two": {"one", "two"}, "part": {"one"}, "object@two": {"two"}}


class Listed:
    """A source of images in memory. `fails`: the image at which the power is cut."""

    def __init__(self, name, pictures, concepts):
        self.name, self.concepts, self.fails = name, Vocabulary(concepts), None
        self.pictures = {picture.name: picture for picture in pictures}
        self.keys = list(self.pictures)

    def sample(self, key):
        if key == self.fails:
            raise RuntimeError("the power is cut")
        return Sample(key, self.pictures[key].image, tuple(Region(*region) for region in self.pictures[key].regions))

    def identity(self):
        return {"annotations": self.name, "images": " ".join(self.keys)}


def draw(rng, source, name, dark=False):
    """An image of no special size, with some rectangles, which may lie outside the crop; or all of one colour."""
    height, width = rng.integers(31, 70, 2)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    image = (
        np.full_like(image, 40)
        if dark
        else np.where(image.mean(2, keepdims=True) > 128, image, image // np.uint8(rng.integers(1, 6)))
    )
    regions = []
    for concept in rng.choice([concept.name for concept in VOCABULARIES[source]], rng.integers(0, 5)):
        mask = np.zeros((height, width), bool)
        top, left = rng.integers(0, height - 1), rng.integers(0, width - 1)
        mask[top : top + rng.integers(1, 30), left : left + rng.integers(1, 30)] = True
        regions.append((str(concept), mask))
    return Picture(source, name, image, regions)


def at_the_edge():
    """The crop, columns 10 to 49, leaves exactly half of a, and less of b."""
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:9, :20], masks[1, 5:9, :19] = True, True
    return Picture(
        "one",
        "edge",
        np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8),
        [("a", masks[0]), ("b", masks[1])],
    )


def drawn(seed, number=12):
    """So many images of each of two sources, and the data set of both."""
    rng = np.random.default_rng(seed)
    pictures = [
        draw(rng, source, f"{source} {place}", dark=place == 3) for source in VOCABULARIES for place in range(number)
    ]
    pictures[0] = at_the_edge()
    return pictures, Data(
        [
            Listed(source, [picture for picture in pictures if picture.source == source], own)
            for source, own in VOCABULARIES.items()
        ]
    )


PICTURES, DATA = drawn(0)  # 24
OTHERS, OTHER = drawn(1, 9)


def plainly(choices, pictures, given=None):
    """Layer -> what the reference finds."""
    seen = SMALL.preprocess(np.stack([reference.fit_image(picture.image, 30) for picture in pictures]))
    maps = {name: np.asarray(values) for name, values in cells((), seen).items()}
    return {
        name: slow(choices, pictures, maps[name], GRIDS[name], 30, DATA.concepts.names, SOURCES, given and given[name])
        for name in GRIDS
    }


def small(name, data=DATA, layers=tuple(GRIDS), **options):
    return dissect(SMALL, data, layers, as_protocol(name, TOY[name]), progress=False, **options)


@pytest.fixture(scope="module")
def alone():
    """Choices -> the dissection of a run that nothing happens to."""
    return {name: small(name) for name in TOY}


@pytest.mark.parametrize("name", TOY)
def test_choices_set_alone_equal_the_reference(name, alone):
    table = alone[name].table
    assert table.category.values.tolist() == list(SOURCES) and table.concept_images.values.min() > 2
    for layer, wanted in plainly(TOY[name], PICTURES).items():
        equal(alone[name], table.unit.values[table.layer == layer].tolist(), wanted)
        assert (wanted[counted(wanted, "intersection")][:3] > 0).any(0).all()
    assert (table.attrs["images"] < 24) == (TOY[name].maskless == "dropped") and table.attrs["images"] > 15


@pytest.mark.parametrize("name", TOY)
def test_dead_units_and_maps_of_one_value_are_never_on(name, alone):
    """0.3 everywhere is not above itself, though between cells it may be rounded up; the mean is one value in each
    image, but not over all."""
    table = alone[name].table
    lit = table[counted(table)].values.max(1)
    assert table.dead.values.tolist() == [False] * 3 + [True] + [False] * 4
    assert lit[3] == 0 and (lit[4] > 0) == (TOY[name].threshold_over == "data") and (lit[[0, 1, 2, 5, 6, 7]] > 0).all()


@pytest.mark.parametrize("name", TOY)
def test_half_of_a_region_is_enough(name):
    """Less is not, where a protocol asks for half."""
    found = small(name, Data(DATA.sources, (0,))).table
    assert found.image.values.tolist() == ["edge"] and found.concept_images.values.tolist() == [
        1,
        TOY[name].keep == 0,
        0,
        0,
    ]


@pytest.mark.parametrize("side", [15, 30])
def test_0_3_between_cells_is_rounded_up(side):
    """So that the test above tests something."""
    rows, constant = reference.weights(*GRIDS["fine"], 30, side), np.full((10, 10, 1), 0.3, np.float32)
    products = rows * np.float32(0.3)
    assert ((products[:, :-1] + products[:, 1:])[rows[:, :-1] > 0] > np.float32(0.3)).any(), (
        "two shares of 0.3 add up to more"
    )
    assert (reference.interpolate(constant, rows, rows) <= np.float32(0.3)).all()


@pytest.mark.parametrize("name", TOY)
def test_maps_of_one_colour_add_nothing_by_image(name):
    """An image of one colour: its maps are constant, at 0 too."""
    pictures = [
        Picture("one", "grey", np.full((40, 50, 3), 40, np.uint8), [("a", np.ones((40, 50), bool))]),
        *PICTURES[:3],
    ]
    data = Data([Listed("one", pictures, VOCABULARIES["one"])])
    shown = small(name, Data(data.sources, (0,))).table
    if TOY[name].threshold_over == "image":
        assert shown[counted(shown)].values.max() == 0
    found = small(name, data)
    entries = {"object": {"one"}, "part": {"one"}}
    seen = SMALL.preprocess(np.stack([reference.fit_image(picture.image, 30) for picture in pictures]))
    for layer, grid in GRIDS.items():
        units = [unit for unit in found.table.unit.values.tolist() if unit.startswith(layer)]
        equal(
            found,
            units,
            slow(TOY[name], pictures, np.asarray(cells((), seen)[layer]), grid, 30, data.concepts.names, entries),
        )


# ---- order, batches, halves, restarts


@pytest.mark.parametrize("name", TOY)
def test_any_order_and_any_batch_give_the_same_numbers(name, alone):
    orders = [range(24), range(23, -1, -1), np.random.default_rng(2).permutation(24)]
    for order, batch in zip(orders, (3, 1, 8)):
        same(alone[name], small(name, Data(DATA.sources, tuple(map(int, order))), batch=batch))


def folds(name, data):
    """The folds of a run by hand: of thresholds, if there are some over the data, and from their result that of scores."""
    choices = TOY[name]
    view = View(30, round(30 * choices.mask_size), choices.keep, 4, choices.maskless)
    units = {"fine": (10, 10, 5), "rough": (5, 5, 3)}

    def scoring(limits):
        return counting(data, SMALL, list(GRIDS), limits, view, choices.area, find_score(choices.score))

    if choices.threshold_over == "image":
        return view, None, lambda _: combine(extremes(list(GRIDS), {"fine": 5, "rough": 3}), scoring(choices.quantile))
    return (
        view,
        quantiles(units, len(data), choices.quantile),
        lambda found: combine(scoring({name: found[name].values for name in GRIDS})),
    )


@pytest.mark.parametrize("name", TOY)
def test_parts_merge_in_any_order(name, alone):
    """Each part swept by itself; whichever are merged first."""
    parts = [
        Data(DATA.sources, places)
        for places in ((5, 20, 3), tuple(range(6, 15)), (0, 1, 2, 4, *range(15, 20)), (21, 22, 23))
    ]
    view, first, second = folds(name, DATA)

    def merged(fold):
        states = [sweep(fold, part, SMALL, list(GRIDS), view, progress=False).state for part in parts]
        for a, b, c, d in itertools.permutations(states):
            yield fold.result(fold.merge(fold.merge(c, d), fold.merge(fold.merge(fold.init(), a), b)))

    table, found = alone[name].table, None
    for found in merged(first) if first else []:
        np.testing.assert_array_equal(table.threshold, np.concatenate([found[layer].values for layer in GRIDS]))
    for *dead, counts in merged(second(found)):
        if dead:
            np.testing.assert_array_equal(table.dead, np.concatenate([dead[0][layer].dead for layer in GRIDS]))
        assert {*counts} == {*table} & {"score", "dice", "intersection", "unit_area", "concept_area", "concept_images"}
        for field, (axes, numbers) in counts.items():
            np.testing.assert_array_equal(numbers.T, table[field].transpose(*axes[::-1]), field)


@pytest.mark.parametrize("fault", ["reading", "counting"])
@pytest.mark.parametrize("name", ["per-image", "images to data", "data to images, dropped", "data to Dice"])
def test_a_run_cut_short_goes_on_to_the_same_scores(name, fault, alone, tmp_path, monkeypatch, capsys):
    """While an image is read, or when a batch has been counted in part."""
    calls = itertools.count(1)

    def failing(make):
        def cut(fold, state, batch):
            fold.step(state, batch)
            if next(calls) == 4:
                raise RuntimeError("the power is cut")
            return state

        return lambda *args: (fold := make(*args))._replace(step=partial(cut, fold))

    if fault == "reading":
        monkeypatch.setattr(DATA.sources[1], "fails", "two 7")
    else:
        monkeypatch.setattr("inner_detectors.dissection.run.counting", failing(counting))
    with pytest.raises(RuntimeError, match="the power is cut"):
        small(name, batch=3, out=tmp_path, every=0)
    assert not (tmp_path / "dissection.nc").exists() and list(tmp_path.glob("*.checkpoint.npz"))
    monkeypatch.undo()
    again = small(name, batch=3, out=tmp_path, every=0)
    assert "going on at image" in capsys.readouterr().err
    for found in (again, Dissection.load(tmp_path)):
        same(alone[name], found)
    assert again.table.image.values.tolist() == alone[name].table.image.values.tolist(), "each image once, in order"
    assert [path.name for path in tmp_path.iterdir()] == ["dissection.nc"]


# ---- what is refused, and limits met exactly


def test_maps_of_one_cell_are_refused_where_each_image_has_its_threshold():
    for choices in (per_image, replace(netdissect, threshold_over="image")):
        with pytest.raises(InputError, match="layer 'lone' has maps of 1 x 1"):
            dissect(SMALL, DATA, ["fine", "lone"], choices, progress=False)
    assert small("netdissect", layers=["lone"]).table.unit_area.values.any(), "elsewhere such a layer is welcome"
    assert small("data to images", layers=["lone"]).table.score.values.any()


def planted(*tenths):
    """A unit that lights 40 of 400 pixels in each image, and a mask of so many tenths of them."""
    pictures = []
    for place, part in enumerate(tenths):
        image, mask = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), bool)
        image[4:8, 5:15], mask[4:8, 5 : 5 + part] = 255, True
        if not part:
            mask[0, :] = True
        pictures.append(Picture("one", f"{place}", image, [("a", mask)]))
    return Data([Listed("one", pictures, [Concept("a", "object"), Concept("b", "object")])])


def pixels():
    return Model(
        "pixels",
        lambda _, images: {"red": images[..., :1]},
        size=20,
        preprocess=lambda images: images.astype(jnp.float32),
    )


@pytest.mark.parametrize(
    "tenths, number", [((1,), 0.1), ((1, 1, 1), 0.1), ((5,), 0.5), ((2, 4, 3), 0.3), ((10, 0), 0.5)]
)
def test_a_score_that_meets_the_limit_is_a_detection(tenths, number):
    """At least, where scores are means of images; more, where they are of the data set."""
    data = planted(*tenths)
    found = dissect(pixels(), data, ["red"], replace(per_image, detects=number), progress=False)
    assert abs(float(found.scores[0, 0]) - number) < 2**-32 and found.scores.values[0, 1] == 0
    exact = float(sum(Fraction(round(Fraction(part, 10) * 2**32), 2**32) for part in tenths) / len(tenths))
    assert found.scores.values[0, 0] == exact
    assert found.detectors().concept.tolist() == ["a"] * (exact >= number)
    at = dissect(pixels(), data, ["red"], replace(per_image, detects=float(exact)), progress=False)
    above = dissect(pixels(), data, ["red"], replace(per_image, detects=float(np.nextafter(exact, 1))), progress=False)
    assert (len(at.detectors()), len(above.detectors())) == (1, 0)
    assert [at.summary().detectors.max(), above.summary().detectors.max()] == [
        1,
        0,
    ] and at.concepts().detectors.tolist() == [1, 0]
    of_data = replace(per_image, score_over="data", threshold_over="image")
    whole = dissect(pixels(), data, ["red"], of_data, progress=False).scores.values[0, 0]
    assert (
        len(dissect(pixels(), data, ["red"], replace(of_data, detects=float(whole)), progress=False).detectors()) == 0
    )
    assert (
        len(
            dissect(
                pixels(), data, ["red"], replace(of_data, detects=float(np.nextafter(whole, 0))), progress=False
            ).detectors()
        )
        == 1
    )


def test_one_tenth_is_a_detection_per_image():
    found = dissect(pixels(), planted(1, 1, 1), ["red"], per_image, progress=False)
    assert (
        found.protocol.detects == 0.1
        and found.detectors().concept.tolist() == ["a"]
        and found.table.score.values[0, 0] >= 0.1
    )


# ---- thresholds of another run

QUANTILES = [name for name in TOY if TOY[name].threshold_over == "data"]


@pytest.mark.parametrize("name", QUANTILES)
def test_a_runs_own_thresholds_give_its_own_counts(name, alone, tmp_path):
    same(alone[name], small(name, thresholds=alone[name]))
    alone[name].save(tmp_path)
    same(alone[name], small(name, thresholds=Dissection.load(tmp_path)))


@pytest.mark.parametrize("name", QUANTILES)
def test_thresholds_of_other_images_equal_the_reference(name, alone):
    """Another data set, and for one layer alone."""
    given = {layer: alone[name].table.threshold.values[alone[name].table.layer == layer] for layer in GRIDS}
    wanted = plainly(TOY[name], OTHERS, given)
    for layers in (["rough"], ["fine", "rough"]):
        found = small(name, OTHER, layers, thresholds=alone[name])
        np.testing.assert_array_equal(found.table.threshold, np.concatenate([given[layer] for layer in layers]))
        for layer in layers:
            units = found.table.unit.values[found.table.layer == layer].tolist()
            equal(
                found,
                units,
                {key: value for key, value in wanted[layer].items() if key not in ("threshold", "sparse")}
                | {"threshold": given[layer]},
            )
    own = small(name, OTHER)
    assert (own.table.threshold != found.table.threshold).any() and found.table.attrs["run"] != own.table.attrs["run"]


def test_thresholds_of_another_kind_are_refused(alone):
    mine, given = as_protocol("netdissect", TOY["netdissect"]), alone["netdissect"]

    def refused(words, model=SMALL, layers=("fine",), protocol=mine, thresholds=given):
        with pytest.raises(InputError, match=words):
            dissect(model, OTHER, layers, protocol, progress=False, thresholds=thresholds)

    refused("has one in each image, so it saved none", thresholds=alone["per-image"])
    refused("are of another model", model=replace(SMALL, name="other"))
    refused("are of another weights", model=replace(SMALL, parameters=np.ones(1)))
    refused(
        "are of another weights", model=replace(SMALL, forward=lambda _, images: {"fine": 2 * cells(_, images)["fine"]})
    )
    refused("no layer 'lone' in this dissection", layers=["fine", "lone"])
    refused("Give --quantile 0.1, or another run", protocol=replace(mine, quantile=0.2))


# ---- found by these tests


def one(image, mask):
    return Data([Listed("one", [Picture("one", "x", image, [("a", mask)])], [Concept("a", "object")])])


def bright(value):
    """100 of 400 pixels of a brightness, and a mask of them."""
    image, mask = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), bool)
    image[:5], mask[:5] = value, True
    return one(image, mask)


def test_given_thresholds_are_refused_where_each_image_has_its_own(alone):
    with pytest.raises(InputError):
        small("per-image", thresholds=alone["netdissect"])


def test_activations_that_are_no_numbers_are_refused_with_given_thresholds():
    model = replace(
        pixels(), forward=lambda _, images: {"red": jnp.where(images[..., :1] > 100, jnp.nan, images[..., :1])}
    )
    given = dissect(model, bright(50), ["red"], progress=False)
    with pytest.raises(InputError, match="unit 0 is nan in .*finite numbers"):
        dissect(model, bright(200), ["red"], progress=False)
    with pytest.raises(InputError, match="unit 0 is nan in .*finite numbers"):
        dissect(model, bright(200), ["red"], progress=False, thresholds=given)


def test_a_unit_that_was_dead_elsewhere_may_live_here():
    given = dissect(pixels(), one(np.full((20, 20, 3), 7, np.uint8), np.ones((20, 20), bool)), ["red"], progress=False)
    found = dissect(pixels(), bright(200), ["red"], progress=False, thresholds=given).table
    assert found.threshold.values.tolist() == [7] and given.table.dead.all()
    assert (
        found.unit_area.values.tolist() == [[30]] and not found.dead.any()
    )  # three of ten rows: the third lies between 200 and 0


@pytest.mark.parametrize("name", DEFINED)
def test_nothing_is_above_the_maximum(name):
    """A unit that saturates at 0.3 in most cells has its threshold there."""
    model = replace(
        SMALL,
        forward=lambda _, images: {"fine": jnp.minimum(images[:, 1::3, 1::3, :1] * np.float32(0.3), np.float32(0.3))},
    )
    image = np.ones((30, 30, 3), np.uint8)
    image[:6] = 0
    found = dissect(model, one(image, image[..., 0] > 0), ["fine"], protocols[name], progress=False)
    assert found.scores.values.tolist() == [[0]]
