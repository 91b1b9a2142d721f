"""The images kept of each unit equal those of a slow sort, whatever the batch, the protocol, the sources or the
moment of a kill."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sentences import assert_says

from inner_detectors.analyses import top_images as room
from inner_detectors.core.errors import InputError
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.data.dataset import Data
from inner_detectors.data.sample import Region, Sample
from inner_detectors.dissection import analysis
from inner_detectors.dissection.protocol import netdissect, per_image, pnas
from dataclasses import replace
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.passes.fold import Batch
from inner_detectors.passes.probe import probe
from inner_detectors.analyses.strongest import StrongestSettings
from inner_detectors.analyses.top_images import TopImages, at_random, cases, top_images

COLOURS = ("red", "green", "blue")
PROTOCOLS = {
    "netdissect": replace(netdissect, quantile=0.1),
    "pnas": replace(pnas, quantile=0.1),
    "per-image": per_image,
}


class Patches:
    """Images of patches in three colours, a third of the images bare; some broken; names are not keys; `grouped`:
    of one film."""

    def __init__(self, count, name="patches", colours=COLOURS, broken=(), grouped=0):
        self.name, self.colours, self.broken, self.grouped = name, colours, broken, grouped
        self.keys = [f"{place:03}" for place in range(count)]
        self.opened = f"{name} {count} {colours} {broken} {grouped}"  # stays, whatever breaks later
        self.concepts = Vocabulary([Concept(colour, "colour") for colour in colours])

    def sample(self, key):
        place = int(key)
        if place in self.broken:
            raise InputError(f"{key}: cannot be read as an image. Replace or remove it.")
        random, image, regions = np.random.default_rng([len(self.name), place]), np.zeros((32, 32, 3), np.uint8), []
        for channel, colour in enumerate(COLOURS):
            mask = np.zeros((32, 32), bool)
            upper, left = random.integers(0, 20, 2)
            mask[upper : upper + 12, left : left + 12] = True
            if place % 3 and random.random() < 0.6:
                image[mask, channel] = 50 * random.integers(2, 6)  # few strengths: many images are equal
                if colour in self.colours:
                    regions.append(Region(colour, mask))
        return Sample(
            f"image {key} of {self.name}.png",
            image,
            tuple(regions),
            f"film{place // self.grouped}" if self.grouped else None,
        )

    def identity(self):
        return {"what": self.opened}


def boxes(_, images):
    "Three colours in small boxes, more units with wider maps, a pool of one cell, and three classes."

    def means(side):
        return images.reshape(-1, 32 // side, side, 32 // side, side, 3).sum((2, 4)) / side**2

    small, large = means(4), means(8)
    still = jnp.zeros_like(large[..., :1])
    red, green, blue = jnp.split(images.max((1, 2), keepdims=True) / 256, 3, -1)
    return {
        "small": small,
        "large": jnp.concatenate([large**2, large.sum(-1, keepdims=True) - 300, still], -1),
        "pool": images.mean((1, 2), keepdims=True),
        "prob": jnp.concatenate([red / 2, green / 2, 1 - red / 2 - green / 2], -1),
    }


NET = Model(
    "boxes",
    boxes,
    size=32,
    preprocess=lambda images: images.astype(jnp.float32),
    classes=("stop", "go", "$\x00<b>"),
    geometry={"small": half_pixel(32, (8, 8)), "large": half_pixel(32, (4, 4))},
)
MAPS, ALL = ["small", "large"], ["small", "large", "pool", "prob"]


def started(data, layers=MAPS, protocol=PROTOCOLS["netdissect"], batch=4, model=NET):
    return study(dissect(model, data, layers, protocol, batch=batch, progress=False), model, data, batch)


def equal(one, other):
    "Every variable and coordinate of two results, to the bit."
    assert set(one.table.variables) == set(other.table.variables)
    for name, values in one.table.variables.items():
        np.testing.assert_array_equal(values, other.table[name], err_msg=name)


def slowly(these, number):
    """What a run must give, with all activations at hand: [(place, example, maps by layer, limits by layer)] and each
    unit's strongest."""
    seen, look = [], probe(NET, [*these.names, "prob"])
    for place in range(len(these.data)):
        try:
            example = these.data.example(place, 32, these.view.side, these.view.keep)
        except InputError:
            continue
        if these.view.maskless == "dropped" and not len(example.concepts):
            continue
        maps = {name: np.asarray(values)[0] for name, values in look(example.image[None]).items()}
        limits = {
            name: np.percentile(maps[name].reshape(-1, maps[name].shape[2]), 50, axis=0).astype(np.float32)
            if isinstance(these.limits, float)
            else these.limits[name]
            for name in these.names
        }
        seen.append((place, example, maps, limits))
    peaks = np.array([np.concatenate([maps[name].max((0, 1)) for name in these.names]) for _, _, maps, _ in seen])
    order = [
        sorted(range(len(seen)), key=lambda image, unit=unit: (-peaks[image, unit], image))[:number]
        for unit in range(peaks.shape[1])
    ]
    return seen, peaks, order


def check(these, found, number):
    "A result against the slow one, in all that it says."
    seen, peaks, order = slowly(these, number)
    table = found.table
    assert table.image.values.tolist() == [example.name for _, example, _, _ in seen]
    assert table.image_index.values.tolist() == [place for place, _, _, _ in seen]
    assert table.image_source.values.tolist() == [example.source for _, example, _, _ in seen]
    np.testing.assert_array_equal(table.peak.values, peaks)
    assert table.top_image.dtype == np.int32 and table.peak.dtype == np.float32
    for row, unit in enumerate(these.units):
        layer, index = unit.split(":")
        assert found.images(unit) == order[row] and table.top_image.values[row].tolist() == order[row] + [-1] * (
            number - len(order[row])
        )
        maps, lit = found.maps(unit), found.lit(unit)
        for rank, image in enumerate(order[row]):
            own, limit = seen[image][2][layer][..., int(index)], seen[image][3][layer][int(index)]
            np.testing.assert_array_equal(maps[rank], own.astype(np.float16).astype(np.float32))
            np.testing.assert_array_equal(lit[rank], own > limit)
        limits = np.array([limits[layer][int(index)] for _, _, _, limits in seen])
        np.testing.assert_array_equal(found.limits(unit), limits)
        np.testing.assert_array_equal(found.fires(unit), peaks[:, row] > limits)
    kept = {image for images in order for image in images}
    for image, (_, example, maps, _) in enumerate(seen):
        shown = dict(zip(example.concepts.tolist(), example.masks))
        assert np.flatnonzero(table.shown.values[image]).tolist() == sorted(shown)
        for place, concept in enumerate(table.concept.values.tolist()):
            mask = found.mask(image, concept)
            assert (mask is None) == (image not in kept or place not in shown)
            if mask is not None:
                np.testing.assert_array_equal(mask, shown[place])
        assert table.predicted.values[image] == maps["prob"][0, 0].argmax()
        assert table.predicted_probability.values[image] == maps["prob"].max()


# ---- equality


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equals_a_slow_sort(protocol):
    "Also with fewer images than asked for."
    these = started(Data([Patches(25)]), protocol=PROTOCOLS[protocol])
    for number in (1, 5, 40):
        found = top_images(these, number=number, progress=False)
        check(these, found, number)
    assert ("limit" in found.table) == (protocol == "per-image")


def test_any_batch_gives_the_same():
    data = Data([Patches(25)])
    whole = top_images(started(data), number=4, progress=False)
    for batch in (1, 7, 32):
        equal(whole, top_images(started(data, batch=batch), number=4, progress=False))


def test_unreadable_pictures():
    "They are passed over and named; every other is found again at its place in the data."
    these = started(Data([Patches(25, broken=(0, 6, 7, 24))]))
    found = top_images(these, number=4, progress=False)
    check(these, found, 4)
    assert len(found.table.image) == 21 and len(json.loads(found.table.attrs["problems"])) == 4
    for image in range(21):
        example = these.data.example(int(found.table.image_index[image]), 32, 16)
        assert example.name == found.table.image.values[image]


def test_a_picture_that_goes_missing(tmp_path):
    "After the dissection: a warning, and the rest is there."
    source = Patches(25)
    these = started(Data([source]))
    source.broken = (3,)
    with pytest.warns(UserWarning, match="003: cannot be read"):
        found = top_images(these, number=4, progress=False)
    check(these, found, 4)


def test_sources_groups_and_parts_of_them():
    "The second source says nothing of blue: its images are neither with it nor without."
    data = Data([Patches(14, grouped=4), Patches(11, "others", ("red", "green"), broken=(2,))]).at(
        [1, 2, 3, 5, 8, 9, 13, 14, 15, 16, 20, 24]
    )
    these = started(data)
    found = top_images(these, number=3, progress=False)
    check(these, found, 3)
    assert found.table.image_source.values.tolist() == [0] * 7 + [1] * 4 and found.table.source.values.tolist() == [
        "patches",
        "others",
    ]
    rows = found.outcomes("small:2", "blue", says=["go", "stop"])
    assert rows.present[rows.source == "others"].isna().all() and rows.present[rows.source == "patches"].notna().all()
    assert (
        rows.kind[rows.source == "others"].str.startswith("not annotated, ").all()
        and not rows.kind[rows.source == "patches"].str.startswith("not").any()
    )
    assert found.outcomes("small:0", "red").present.notna().all()
    some = started(data.about("green"))
    assert top_images(some, number=3, progress=False).table.concept.values.tolist() == ["green"]


def test_layers_of_one_cell():
    "Pool and prob, which have no maps, beside layers that have; prob is not asked for twice."
    these = started(Data([Patches(25)]), ALL)
    found = top_images(these, number=4, progress=False)
    check(these, found, 4)
    assert found.layers == ALL and found.maps("pool:1").shape == (4, 1, 1) and found.lit("prob:2").dtype == bool
    np.testing.assert_array_equal(
        found.table.predicted.values, found.table.peak.sel(unit=["prob:0", "prob:1", "prob:2"]).values.argmax(1)
    )


def test_no_classifier():
    bare = replace(NET, forward=lambda *given: {name: boxes(*given)[name] for name in MAPS}, classes=())
    found = top_images(started(Data([Patches(9)]), model=bare), number=2, progress=False)
    assert (
        found.classes == []
        and (found.table.predicted == -1).all()
        and (found.outcomes("small:0", "red").predicted == "").all()
    )
    dense = replace(
        NET, forward=lambda *given: {**boxes(*given), "prob": boxes(*given)["small"]}
    )  # an answer a cell is no answer of the image
    assert top_images(started(Data([Patches(9)]), model=dense), number=2, progress=False).classes == []
    unnamed = top_images(started(Data([Patches(9)]), model=replace(NET, classes=())), number=2, progress=False)
    assert unnamed.classes == ["class 0", "class 1", "class 2"]


def test_pictures_of_each_kind():
    "Against a sort of every kind by itself, among those that may be drawn; nothing is left out and nothing is twice."
    random = np.random.default_rng(0)
    for images in (0, 1, 7, 60):
        present, says, on = random.integers(-1, 2, images), random.integers(-1, 2, images), random.random(images) < 0.5
        peak, may = random.permutation(images), np.flatnonzero(random.random(images) < 0.7)
        found = cases(present, on, says, may[np.argsort(peak[may])], 3)
        assert sum(number for *_, number, _ in found) == images
        for shows, fires, word, number, some in found:
            mine = [
                image for image in range(images) if (present[image], on[image], says[image]) == (shows, fires, word)
            ]
            assert (
                number == len(mine) > 0
                and some == sorted(set(mine) & set(may), key=lambda image: -peak[image] if fires else peak[image])[:3]
            )
    drawn = at_random(1000, 400)
    assert (
        drawn == at_random(1000, 400) and len(set(drawn)) == 400 and 400 < np.mean(drawn) < 600
    )  # of all of them, not of the first


def test_values_beyond_sixteen_bits():
    "The cells that are lit are exact; the values are cut."
    loud = replace(NET, forward=lambda *given: {name: values * 1e6 for name, values in boxes(*given).items()})
    found = top_images(started(Data([Patches(9)]), model=loud), number=2, progress=False)
    quiet = top_images(started(Data([Patches(9)])), number=2, progress=False)
    np.testing.assert_array_equal(found.lit("small:0"), quiet.lit("small:0"))
    assert np.isfinite(found.maps("small:0")).all() and found.maps("small:0").max() == 65504


def test_outcomes():
    found = top_images(started(Data([Patches(25)])), number=2, progress=False)
    rows = found.outcomes("small:1", says="go")
    assert found.label("small:1") == "green"
    for row in rows.itertuples():
        words = [
            "present" if row.present else "absent",
            "fires" if row.fires else "silent",
            "said" if row.predicted == "go" else "not said",
        ]
        assert row.kind == ", ".join(words)
    pd.testing.assert_series_equal(
        found.outcomes("small:1").kind, rows.kind.str.rsplit(", ", n=1).str[0], check_names=False, check_dtype=False
    )
    assert found.outcomes("small:1").said.isna().all()


# ---- masks, merging


def test_masks_of_pushed_out_pictures_are_thrown_away():
    "Ever brighter images: each pushes out an earlier one."
    kept = StrongestSettings({"one": (1, 1, 1)}, {"one": np.float32([0])}, 2, 8, 2, False)
    fold = room.strongest_fold(500, kept)
    state, mask = fold.init(), np.ones((1, 2, 8, 8), bool)
    for image in range(500):
        batch = Batch(
            np.zeros((1, 8, 8, 3), np.uint8),
            np.int32([[0, 1]]),
            mask,
            np.int32([0]),
            (f"{image}",),
            (None,),
            1,
            {"one": np.full((1, 1, 1, 1), image, np.float32)},
            places=(image,),
        )
        state = fold.step(state, batch)
        assert len(state.mask_image) <= 16
    assert fold.result(state).mask_image.tolist() == [498, 498, 499, 499] and fold.result(state).best[
        0
    ].image.tolist() == [[499, 498]]


@pytest.mark.parametrize("seed", range(4))
def test_merging_is_associative(seed):
    "With ties, empty parts and more images asked for than there are."
    random = np.random.default_rng(seed)
    kept = StrongestSettings({"a": (3, 2, 4), "b": (1, 1, 3)}, 0.5, 3, 8, 6, False)
    fold = room.strongest_fold(20, kept)
    values = {name: random.integers(-3, 4, (20, *shape)).astype(np.float32) for name, shape in kept.shapes.items()}
    concepts, masks = (
        np.where(random.random((20, 4)) < 0.5, np.int32([0, 1, 2, -1]), -1).astype(np.int32),
        random.random((20, 4, 8, 8)) < 0.5,
    )

    def part(start, stop, batch=3):
        state = fold.init()
        for first in range(start, stop, batch):
            rows = slice(first, min(first + batch, stop))
            names = tuple(f"{image}" for image in range(rows.start, rows.stop))
            state = fold.step(
                state,
                Batch(
                    np.zeros((1, 8, 8, 3), np.uint8),
                    concepts[rows],
                    masks[rows],
                    np.zeros(len(names), np.int32),
                    names,
                    (None,) * len(names),
                    len(names),
                    {name: maps[rows] for name, maps in values.items()},
                    places=tuple(range(rows.start, rows.stop)),
                ),
            )
        return state

    def same(one, other):
        for mine, its in zip(one[:-1], other[:-1]):
            np.testing.assert_array_equal(mine, its)
        for mine, its in zip(one.best, other.best):
            for a, b in zip(mine, its):
                np.testing.assert_array_equal(a, b)

    whole = fold.result(part(0, 20))
    a, b, c = part(0, 2), part(2, 13, 4), part(13, 20, 1)
    same(fold.result(fold.merge(fold.merge(a, b), c)), whole)
    same(fold.result(fold.merge(a, fold.merge(b, c))), whole)
    same(fold.result(fold.merge(fold.init(), fold.merge(part(0, 20), fold.init()))), whole)


# ---- kills, files

KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_top
from inner_detectors.analyses import top_images as room
strongest_fold = room.strongest_fold
def killing(*words):
    fold = strongest_fold(*words)
    def step(state, batch):
        if state.images == 12: os.kill(os.getpid(), signal.SIGKILL)
        return fold.step(state, batch)
    return fold._replace(step=step)
room.strongest_fold = killing
these = test_top.started(test_top.Data([test_top.Patches(25, broken=(5,))]), test_top.ALL)
room.top_images(these, sys.argv[2], number=4, every=0, progress=False)
"""


def test_killed(tmp_path, capsys):
    "By SIGKILL in its fourth batch: the same call goes on there, and its table is that of a run left alone."
    these = started(Data([Patches(25, broken=(5,))]), ALL)
    these.dissection.save(tmp_path)
    whole = top_images(these, number=4, progress=False)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)],
        env={**os.environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr
    assert not (tmp_path / "top-images.nc").exists() and (tmp_path / "top-images.strongest.checkpoint.npz").exists()
    again = top_images(these, tmp_path, number=4, progress=False)
    assert "going on at image 13," in capsys.readouterr().err
    equal(whole, again)
    assert sorted(path.name for path in tmp_path.glob("top*")) == ["top-images.nc"]
    equal(whole, TopImages.load(tmp_path))
    check(these, TopImages.load(tmp_path), 4)


def test_a_finished_analysis_is_read(tmp_path, monkeypatch):
    these = started(Data([Patches(9)]))
    these.dissection.save(tmp_path)
    first = top_images(these, tmp_path, number=3, progress=False)
    monkeypatch.setattr(analysis, "run_pass", None)
    equal(first, top_images(these, tmp_path, number=3, progress=False))
    with pytest.raises(InputError) as refused:
        top_images(these, tmp_path, number=4, progress=False)
    assert_says(refused.value, "other choices (number)")
    assert not (
        set(pd.read_csv(tmp_path / "units.csv")) - set(Dissection.load(tmp_path).units())
    )  # no columns of its own
    raw = (tmp_path / "top-images.nc").read_bytes()
    (tmp_path / "top-images.nc").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError) as refused:
        TopImages.load(tmp_path)
    assert_says(refused.value, "top-images.nc", "Delete it")


def test_types_on_disk(tmp_path):
    "What other analyses and other languages rely on."
    these = started(Data([Patches(9)]), protocol=PROTOCOLS["per-image"])
    top_images(these, tmp_path, number=3, progress=False)
    table = TopImages.load(tmp_path).table
    kinds = {
        "peak": "float32",
        "limit": "float32",
        "shown": "bool",
        "image_source": "int32",
        "image_index": "int32",
        "predicted": "int32",
        "predicted_probability": "float32",
        "top_image": "int32",
        "maps_0": "float16",
        "lit_1": "uint8",
        "mask_image": "int32",
        "mask_concept": "int32",
        "mask_bits": "uint8",
    }
    assert {name: str(table[name].dtype) for name in kinds} == kinds
    assert table.maps_1.dims == ("units_1", "rank", "rows_1", "columns_1") and table.lit_0.dims == (
        "units_0",
        "rank",
        "bytes_0",
    )
    assert (
        json.loads(table.attrs["layers"]) == MAPS
        and json.loads(table.attrs["classes"])[2] == "$\x00<b>"
        and table.attrs["side"] == 32
    )


# ---- what is announced, and refused


def test_memory_is_announced_before_any_work(monkeypatch):
    "5,120 units with wide maps: refused on a small machine, said on a large one."
    kept = StrongestSettings({f"layer{place}": (112, 112, 512) for place in range(10)}, {}, 80, 112, 12, True)
    assert 1.5e9 < room.top_images_memory(1000, kept) < 2e9
    memory = {"SC_PHYS_PAGES": 1e6, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", memory.get)
    with pytest.raises(InputError) as refused:
        room.announce(1000, kept)
    assert_says(refused.value, "5120 units", "GB of memory", "deeper layers")
    memory["SC_PHYS_PAGES"] = 1e9
    with pytest.warns(UserWarning, match="5120 units in 1000 images take 1.. GB"):
        room.announce(1000, kept)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        room.announce(1000, kept._replace(shapes={"layer": (14, 14, 512)}))
    memory["SC_PHYS_PAGES"] = 1
    monkeypatch.setattr(analysis, "run_pass", None)
    with pytest.raises(InputError):
        top_images(started(Data([Patches(9)])), progress=False)


def test_bad_questions():
    found = top_images(started(Data([Patches(9)])), number=2, progress=False)
    for ask, says in (
        (lambda: found.maps("smal:1"), "Did you mean 'small:"),
        (lambda: found.mask(0, "rad"), "Did you mean 'red'"),
        (lambda: found.outcomes("small:0", says="stopp"), "Did you mean 'stop'"),
        (lambda: found.outcomes("small:0", "gren"), "'green'"),
        (lambda: found.outcomes("large:4"), "Name a concept"),
    ):
        with pytest.raises(InputError) as refused:
            ask()
        assert_says(refused.value, says)


def test_activations_that_are_not_numbers():
    these = started(Data([Patches(9)]))
    bad = replace(NET, forward=lambda *given: {**boxes(*given), "small": boxes(*given)["small"] / given[1].min() * 0})
    with pytest.raises(InputError) as refused:
        top_images(these._replace(model=bad), progress=False)
    assert_says(refused.value, "finite numbers", "in image 000 of patches.png")


def test_hostile_names_are_escaped(tmp_path):
    these = started(Data([Patches(9, name="<script>window.stolen = 1</script>\u202e$x^2$" + "long" * 2000)]))
    found = top_images(these, tmp_path, number=2, progress=False)
    assert "<script>" not in found._repr_html_() and "&lt;script&gt;" in found._repr_html_()
    equal(found, TopImages.load(tmp_path))
