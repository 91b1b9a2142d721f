"""Figures of runs and of units: names of strangers are harmless in them, and what is missing is said in its place."""

import json
import os
import re
import subprocess
import sys
import unicodedata
import warnings

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sentences import assert_says

from inner_detectors.analyses.drawing import new_figure, styled
from inner_detectors.core.errors import InputError
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.data.dataset import Data
from inner_detectors.data.sample import Region, Sample
from inner_detectors.data.survey import survey
from inner_detectors.dissection.protocol import netdissect, per_image
from dataclasses import replace
from inner_detectors.dissection.detectors import read_netdissect
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.store import save_table
from inner_detectors.dissection.study import study
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.data.readers.registry import load_data
from inner_detectors.analyses.top_images import TopImages, top_images
from inner_detectors.core.text import HIDDEN, file_name, label
from inner_detectors.views.comparison import compare_figure, detectors_by_run, layers_apart
from inner_detectors.views.figures import (
    PRINT,
    distribution_figure,
    layers_figure,
    sizes_figure,
    survey_figure,
    unit_concept_figure,
    write_figure,
    write_figures,
)
from inner_detectors.views.overlays import (
    UNIT,
    agreement_overlay,
    contours,
    crop,
    draw_outline,
    heat,
    interpolate_over_image,
    reveal,
)
from inner_detectors.views.unit_images import WAYS, outcome_figure, show, unit_figure, write_unit_images

HOSTILE = [
    "plain",
    "$x^2$",
    "$\\frac{",
    "\\alpha $",
    "_hidden",
    "\u202egnp.exe",
    "line\nbreak\ttab\x00\x1b[31m",
    "a" * 10_000,
    "=SUM(1)",
    "<b>bold</b>",
    "\u200b",
    "\ud800 alone",
    "%s %d {0}",
    "a/../up",
]


@pytest.fixture(autouse=True)
def closed():
    "Figures that are shown are closed again."
    yield
    plt.close("all")


class Blocks:
    """Images of a bright block each: its concept goes by a name that the test gives. `gone`: keys that can no longer
    be read."""

    def __init__(self, names=("left", "right"), count=12, called="image {}.jpg"):
        self.name, self.called, self.gone = "blocks", called, set()
        self.keys = [str(place) for place in range(count)]
        self.concepts = Vocabulary([Concept(name, "object") for name in names])

    def sample(self, key):
        if key in self.gone:
            raise InputError(f"{key}: no such file. Put it there, or remove it from the annotations.")
        place = int(key)
        image, mask = np.full((32, 32, 3), 40, np.uint8), np.zeros((32, 32), bool)
        mask[4 + place % 9 : 16 + place % 9, 2 + (place % 2) * 14 : 14 + (place % 2) * 14] = True
        image[mask] = (200 + place, 60, 60) if place % 2 else (60, 60, 200 + place)
        regions = (Region(self.concepts.names[place % len(self.concepts)], mask),) if place % 5 else ()
        return Sample(self.called.format(key), image, regions)

    def identity(self):
        return {"what": "blocks"}


def network(name="maps"):
    "Red and blue in cells of four pixels, and nothing; a layer of one cell; two classes."

    def forward(_, images):
        cells = images.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4))[..., ::2]
        ends = images.mean((1, 2), keepdims=True)[..., ::2]
        return {
            name: jnp.concatenate([cells, cells[..., :1] * 0], -1),
            "pool": ends,
            "prob": ends / ends.sum(-1, keepdims=True),
        }

    return Model(
        "blocks",
        forward,
        size=32,
        preprocess=lambda images: images.astype(jnp.float32),
        classes=("red", "blue"),
        geometry={name: half_pixel(32, (8, 8))},
    )


PROTOCOL = replace(netdissect, quantile=0.1)


def made(source, layers=("maps", "pool"), protocol=PROTOCOL):
    "(dissection, top, data) of a source."
    model, data = network(layers[0]), Data([source])
    found = dissect(model, data, list(layers), protocol, progress=False)
    return found, top_images(study(found, model, data), number=4, progress=False), data


@pytest.fixture(scope="module")
def plain():
    return made(Blocks())


def texts(figure):
    "All that a figure says."
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def drawn(figure, tmp_path, name="one"):
    "A figure as PNG and PDF, without a warning but of letters that the font lacks."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        return write_figure(figure, tmp_path / name)


def size(path):
    "Width and height of a PNG."
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size


# ---- labels and names of files


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_labels(name):
    said = label(name, 24)
    assert 0 < len(said.replace("\\$", "$")) <= 25
    assert all(unicodedata.category(letter) not in HIDDEN for letter in said)
    assert not said.startswith("_") and "$" not in said.replace("\\$", "")


def test_long_labels_are_cut_by_what_is_seen():
    assert label("b" * 24, 24) == "b" * 24 and label("b" * 25, 24) == "b" * 23 + "…"
    assert label("\u200b" * 9999 + "seen", 24).endswith("…")
    assert label("seen" + "\u200b" * 9999, 24).startswith("seen")


def test_names_of_files():
    units = [
        f"{layer}:{index}"
        for layer in [*HOSTILE, "a/b", "a-b", "a b", "CON", ".", "..", "../up", "conv-1", "x" * 41, "x" * 42]
        for index in (0, 11)
    ]
    names = [file_name(unit) for unit in units]
    assert len(set(names)) == len(names) and file_name("conv5_3:12") == "unit-conv5_3-12"
    for name in names:
        assert re.fullmatch(r"unit-[A-Za-z0-9._-]*", name) and len(name) < 80 and name not in (".", "..")


# ---- hostile names in every figure


@pytest.fixture(scope="module")
def hostile():
    "Concepts, images and a layer with hostile names; NUL is refused in a concept's."
    return made(
        Blocks([name.replace("\x00", "") for name in HOSTILE], 28, "pic $ {} \u202e\n" + "n" * 9_000),
        ("$layer_{\u202e\n" + "l" * 5_000, "pool"),
    )


def harmless(figure, paths):
    "No control or turning letters, nothing long, no image wider than a page."
    for text in texts(figure):
        assert all(unicodedata.category(letter) not in HIDDEN for letter in text.replace("\n", ""))
        assert max(map(len, text.split("\n"))) < 160
    assert max(size(paths[0])) <= 9 * 200


def test_hostile_names_in_figures_of_runs(hostile, tmp_path):
    found, _, data = hostile
    figures = [
        layers_figure(found),
        sizes_figure(found, best=2),
        unit_concept_figure(found),
        *(distribution_figure(found, by) for by in ("layer", "category", "concept")),
        compare_figure({"$one": found, "\u202etwo" + "o" * 9_000: found})[0],
    ]
    for place, figure in enumerate([axis.figure for axis in figures] + [survey_figure(survey(data, progress=False))]):
        harmless(figure, drawn(figure, tmp_path, str(place)))


def test_hostile_names_in_pictures_of_units(hostile, tmp_path):
    found, best, data = hostile
    units = [unit for unit in best.table.unit.values.tolist() if not unit.startswith("pool")][:2]
    written = write_unit_images(found, best, data, tmp_path, units, says="red")
    assert (
        len(written) == 8 and {path.parent for path in written} == {tmp_path} and all(path.exists() for path in written)
    )
    for path in written:
        assert re.fullmatch(r"unit-[A-Za-z0-9._-]+\.(png|pdf)", path.name) and len(path.name) < 100
    for concept in found.table.concept.values.tolist()[1:10:2]:
        figure = unit_figure(found, best, data, units[0], concept, shown=False)[0].figure
        harmless(figure, drawn(figure, tmp_path, "figure"))


def test_a_name_that_begins_with_an_underscore_is_in_the_legend():
    "Matplotlib leaves it out."
    table = made(Blocks(("_one", "_two")))[0].table.copy()
    table["concept_category"] = ("concept", np.array(["_kind", "_kind"], object))
    table = table.assign_coords(category=np.array(["_kind"], object))
    words = [word.get_text() for word in layers_figure(Dissection(table)).figure.legends[0].get_texts()]
    assert words == [" _kind"]


# ---- what is missing is said in its place


def test_without_photographs(plain, tmp_path):
    "From top-images.nc alone."
    found, best, _ = plain
    file = tmp_path / "top"
    save_table(best.table.assign_attrs(format=2, run="", columns="[]"), file / "top-images.nc")
    again = TopImages.load(file)
    for axes in (
        unit_figure(None, again, None, "maps:0", ways=list(WAYS)),
        outcome_figure(None, again, None, "maps:0"),
    ):
        assert "photographs are not at hand" in axes[0].figure.get_suptitle()
        assert "IoU" not in axes[0].figure.get_suptitle()
        drawn(axes[0].figure, tmp_path)
    outlines = unit_figure(None, again, None, "maps:0", ways=["outline"])
    assert all(axis.images[0].get_array().min() == 225 and axis.collections for axis in outlines)
    assert len(write_unit_images(None, again, None, tmp_path / "pictures", ["maps:0", "pool:1"])) == 8


def test_needs_no_photographs_and_no_dissection_in_a_process_of_its_own(plain, tmp_path):
    "A folder that holds nothing but top-images.nc."
    save_table(plain[1].table.assign_attrs(format=2, run="", columns="[]"), tmp_path / "top-images.nc")
    words = (
        "import sys; from inner_detectors.analyses.top_images import TopImages; from inner_detectors.views.unit_images "
        "import write_unit_images; "
        "print(len(write_unit_images(None, TopImages.load(sys.argv[1]), None, sys.argv[1], ['maps:1'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", words, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "agg"},
    )
    assert done.stdout.strip() == "4", done.stderr
    assert {path.name for path in tmp_path.iterdir()} > {"unit-maps-1.png", "unit-maps-1-outcomes.pdf"}


def test_a_picture_gone_from_disk(tmp_path):
    source = Blocks()
    found, best, data = made(source)
    first, second = best.images("maps:0")[:2]
    source.gone = {source.keys[int(best.table.image_index[first])]}
    axes = unit_figure(found, best, data, "maps:0")
    assert [text.get_text() for text in axes[0].texts] == ["cannot be read"] and not axes[1].texts
    assert axes[0].images[0].get_array().max() <= 225 and len(axes) == 8  # the region is drawn all the same
    assert "cannot be read" in texts(outcome_figure(found, best, data, "maps:0")[0].figure)
    drawn(axes[0].figure, tmp_path)


def test_pictures_of_another_data_set(plain):
    "Fewer, or others under their names: none is passed off as the unit's."
    found, best, data = plain
    few = unit_figure(found, best, data.at([0, 1]), "maps:0", ways=["picture"])
    others = unit_figure(found, best, Data([Blocks(called="other {}.jpg")]), "maps:0", ways=["picture"])
    said = [[text.get_text() for axis in axes for text in axis.texts] for axes in (few, others)]
    assert (
        set(said[0]) <= {"not in the data", "another image"} and len(said[0]) >= 3 and said[1] == ["another image"] * 4
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_layer_without_maps(plain, way, tmp_path):
    found, best, data = plain
    axes = unit_figure(found, best, data, "pool:0", ways=[way])
    assert axes[0].get_ylabel() == f"{way}\n(no map)"
    assert {text.get_text() for axis in axes for text in axis.texts} <= {"silent"}
    with_maps = unit_figure(found, best, data, "maps:0", ways=[way])
    assert with_maps[0].get_ylabel() == way
    if way in ("picture", "reveal", "heat", "crop", "outline"):
        image = data.example(int(best.table.image_index[best.images("pool:0")[0]]), 32, 16).image
        np.testing.assert_array_equal(axes[0].images[0].get_array(), image)
    drawn(axes[0].figure, tmp_path)


def test_units_that_say_nothing(plain, tmp_path):
    "A dead unit: silent in all, no label, no outcomes of its own."
    found, best, data = plain
    axes = unit_figure(found, best, data, "maps:2")
    assert axes[0].figure.get_suptitle() == "maps:2: no label\nblocks on blocks, 12 images\n(the unit is silent in all)"
    assert [path.suffix for path in write_unit_images(found, best, data, tmp_path, ["maps:2"])] == [".png", ".pdf"]
    with pytest.raises(InputError) as refused:
        outcome_figure(found, best, data, "maps:2")
    assert_says(refused.value, "Name a concept")
    assert len(outcome_figure(found, best, data, "maps:2", "left")) % 5 == 0


# ---- the arrays


def test_layers_of_a_picture():
    random = np.random.default_rng(0)
    image, on, mask = (
        random.integers(0, 256, (16, 16, 3), np.uint8),
        random.random((16, 16)) > 0.5,
        random.random((16, 16)) > 0.5,
    )
    lit = reveal(image, on)
    np.testing.assert_array_equal(lit[on], image[on])
    assert (lit[~on][:, :1] == lit[~on]).all() and lit[~on].max() <= 102
    both = agreement_overlay(image, on, mask)
    assert (
        both.dtype == np.uint8
        and (both[~on & ~mask].max() <= 90)
        and both[on & mask][:, 2].mean() < both[on & mask][:, 0].mean()
    )
    values = random.random((16, 16)).astype(np.float32)
    warm = heat(np.zeros((16, 16, 3), np.uint8), values, 0.0, 1.0).sum(-1)
    assert (np.diff(warm.ravel()[values.ravel().argsort()].astype(int)) >= -2).all()  # brighter with the value
    assert heat(image, values * 0, 0.0, 0.0).shape == image.shape
    assert crop(image, on, values).shape[0] <= 16 and crop(image, on & False, values).shape == (2, 2, 3)
    assert crop(image, on | True, values).shape == (16, 16, 3)


def test_the_region_is_that_of_the_counts(plain):
    """A map laid over the image at S x S exceeds the threshold where the counts say, to the last point, whatever 16
    bits do to it."""
    found, best, data = plain
    geometry = json.loads(best.table.attrs["geometry"])["maps"]
    for unit in ("maps:0", "maps:1"):
        limit = float(best.limits(unit)[0])
        for rank, cells in enumerate(best.maps(unit)):
            np.testing.assert_array_equal(
                interpolate_over_image(cells, best.lit(unit)[rank], limit, geometry, 32).max() > limit,
                best.lit(unit)[rank].any(),
            )
    close = np.float32([[1 + 2**-20, 1 - 2**-20], [1, 3]])
    rounded = close.astype(np.float16).astype(np.float32)
    values = interpolate_over_image(rounded, close > 1, 1.0, {"centre": (0, 0), "jump": (1, 1)}, 2)
    np.testing.assert_array_equal(values > 1, close > 1)


def test_contours_close_and_stay_inside():
    random = np.random.default_rng(1)
    for field, level in (
        (random.random((20, 30)), 0.5),
        (random.random((20, 30)) > 0.7, 0.5),
        (np.ones((4, 4)), 0.5),
        (np.full((4, 4), -3.0), -4.0),
    ):
        lines = contours(field, level)
        assert lines
        for line in lines:
            np.testing.assert_array_equal(line[0], line[-1])
            assert line.min() >= -0.5 and (line.max(0) <= np.array(field.shape[::-1]) - 0.5).all()
    assert contours(np.zeros((5, 5)), 0.0) == []


def test_outlines_are_lines_in_print(plain, tmp_path):
    "A PDF of an outline holds its photographs as they were, and lines beside."
    found, best, data = plain
    from matplotlib.collections import LineCollection

    axes = unit_figure(found, best, data, "maps:0", ways=["outline"], shown=False)
    assert all(any(isinstance(one, LineCollection) for one in axis.collections) for axis in axes)
    pdf = drawn(axes[0].figure, tmp_path)[1].read_bytes()
    assert set(re.findall(rb"/Width (\d+)", pdf)) == {b"32"}  # no image was drawn anew


def test_photographs_in_print(tmp_path):
    """No finer than print shows, and a byte a pixel; the figure is as it was, and what is drawn over it lies where it
    lay."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (600, 600, 3), np.uint8)
    figure = new_figure(3, 1, shown=False)
    left, middle, right = figure.subplots(1, 3)
    show(left, noise)
    show(middle, noise)
    draw_outline(left, np.pad(np.ones((200, 200)), 200), 0.5, UNIT)
    middle.set(xlim=(100, 300), ylim=(300, 100))  # a part of it
    right.imshow(random.random((4, 4)), extent=(0, 10, 0, 10))  # numbers, not a photograph: left alone
    before = [axis.axis() for axis in figure.axes]
    paper = drawn(figure, tmp_path)[1]
    wide = left.get_position().width * 3 * PRINT
    assert abs(int(re.findall(rb"/Width (\d+)", paper.read_bytes())[0]) - wide) <= 1
    assert paper.stat().st_size < 2 * wide**2 < noise.size / 4
    for axis in (left, middle):
        np.testing.assert_array_equal(axis.images[0].get_array(), noise)
    assert [axis.axis() for axis in figure.axes] == before


# ---- figures of runs


def test_the_legend_lies_over_no_bar():
    "Equally high bars left no room for it."

    class Kinds(Blocks):
        def __init__(self):
            super().__init__()
            self.concepts = Vocabulary(
                [
                    Concept("left", "object"),
                    Concept("right", "colour"),
                    *(Concept(f"c{i}", f"kind {i}") for i in range(4)),
                ]
            )

    axis = layers_figure(made(Kinds())[0])
    axis.figure.canvas.draw()
    legend = axis.figure.legends[0].get_window_extent()
    for bar in axis.patches:
        assert not bar.get_window_extent().overlaps(legend) or bar.get_height() == 0
    assert legend.y1 <= axis.get_window_extent().y0  # under the axis


def test_runs_side_by_side(plain, tmp_path):
    found, _, _ = plain
    (tmp_path / "tally.csv").write_text(
        "unit,object-label,object-iou,scene-label,scene-iou\n1,left,.5,street-s,.1\n2,sofa,.3,,.0\n3,sofa,.01,pier-s,.2\n"
    )
    runs = {**layers_apart(found), "published": read_netdissect(tmp_path / "tally.csv")}
    rows = detectors_by_run(runs).set_index("concept")
    assert rows.published[rows.published > 0].to_dict() == {"left": 1, "couch": 1, "pier": 1}
    assert rows.loc["pier", "category"] == "scene" and "street" not in rows.index
    for layer in ("maps", "pool"):
        counts = found.summary().query("rule == 'best-label' and category == 'all' and layer == @layer")
        assert rows[layer].sum() == counts.detectors.item()
    above, below = compare_figure(runs, most=3)
    assert len(below.get_yticks()) == 3 and [word.get_text() for word in above.figure.legends[0].get_texts()] == [
        "maps",
        "pool",
        "published",
    ]
    assert "published 2" in below.figure.get_suptitle()
    drawn(above.figure, tmp_path)


def test_published_tables(samples):
    "Two networks of the paper, side by side."
    folder = samples / "netdissect_results" / "CSAILVision_NetDissect_plot"
    if not folder.is_dir():
        pytest.skip(f"no published tables at {folder}")
    runs = {
        name: read_netdissect(folder / f"{name}.csv")
        for name in ("caffe_reference_imagenet", "ResNet-152-model_imagenet")
    }
    rows = detectors_by_run(runs)
    assert [int(rows[name].sum()) for name in runs] == [97, 1325] and not rows.concept.str.endswith(("-s", "-c")).any()
    assert [int((rows[name] > 0).sum()) for name in runs] == [50, 197]
    assert {"skyscraper", "skyscraper (scene)"} <= set(rows.concept)
    assert len(compare_figure(runs)) == 2


def test_scores_that_are_means_of_images(tmp_path):
    "The per-image protocol: its word stands on the axes, and thresholds are each image's."
    found, best, data = made(Blocks(), ("maps",), per_image)
    assert distribution_figure(found, "concept").get_xlabel() == "score of units"
    axes = unit_figure(found, best, data, "maps:0")
    assert ", score 0." in axes[0].figure.get_suptitle()
    for axis in (layers_figure(found), unit_concept_figure(found), sizes_figure(found, best=2)):
        drawn(axis.figure, tmp_path)


def test_nothing_found(tmp_path):
    "A run in which no unit shares a pixel with a concept."
    table = made(Blocks())[0].table.copy(deep=True)
    table["intersection"][:] = 0
    found = Dissection(table)
    for axis in (
        layers_figure(found),
        distribution_figure(found),
        distribution_figure(found, "concept"),
        *compare_figure({"one": found, "two": found}),
    ):
        drawn(axis.figure, tmp_path)
    with pytest.raises(InputError) as refused:
        unit_concept_figure(found)
    assert_says(refused.value, "nothing to draw")


def test_column_width(plain):
    "What is made for a paper's column is of its width."
    found, best, data = plain
    with styled("paper"):
        figures = [
            layers_figure(found),
            sizes_figure(found),
            distribution_figure(found),
            *compare_figure(layers_apart(found)),
            unit_figure(found, best, data, "maps:0")[0],
            outcome_figure(found, best, data, "maps:0")[0],
        ]
    assert {axis.figure.get_size_inches()[0] for axis in figures} == {3.3}
    wide = unit_figure(found, best, data, "maps:0", width=6.9, style="paper")
    assert wide[0].figure.get_size_inches()[0] == 6.9


def test_write_figures_as_before(plain, tmp_path):
    assert [path.name for path in write_figures(plain[0], tmp_path)] == [
        "layers.png",
        "layers.pdf",
        "sizes.png",
        "sizes.pdf",
    ]
    assert not plt.get_fignums()  # nothing is left open


def test_outcomes_with_a_classifier(plain):
    found, best, data = plain
    axes = outcome_figure(found, best, data, "maps:0", "right", says=["red"])
    rows = best.outcomes("maps:0", "right", says=["red"])
    said = [axis.get_ylabel() for axis in axes[::5]]
    kinds = [
        f"{shown}, {on}, {word}"
        for shown in ("present", "absent")
        for on in ("fires", "silent")
        for word in ("said", "not said")
    ]  # the eight
    assert said == [
        kind.replace(", ", "\n") + f"\n({(rows.kind == kind).sum()})" for kind in kinds if kind in set(rows.kind)
    ] + ["any\nat random\n(12)"]
    assert "says red" in axes[0].figure.get_suptitle()


def test_pictures_at_random_are_the_same_for_every_unit(plain):
    "Whatever their outcome; to compare units by."
    found, best, data = plain
    figures = [
        outcome_figure(found, best, data, unit, concept) for unit, concept in (("maps:0", None), ("maps:2", "left"))
    ]
    last = [[axis.images[0].get_array() for axis in axes[-5:]] for axes in figures]
    for one, other in zip(*last, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({one.tobytes() for one in last[0]}) == 5


def test_real_units(vgg16_weights, tmp_path):
    "VGG16 on generated scenes: every way of drawing, of a unit with a label."
    from inner_detectors.networks.registry import load_model

    model, data = load_model("vgg16", vgg16_weights), load_data("scenes:4")
    found = dissect(model, data, ["conv5_3"], progress=False, batch=4)
    best = top_images(study(found, model, data, 4), number=3, progress=False)
    unit = found.units().sort_values("iou", ascending=False).iloc[0]
    written = write_unit_images(found, best, data, tmp_path, [unit.unit], ways=list(WAYS), number=3)
    assert len(written) == 4 and all(path.stat().st_size > 5_000 for path in written)


@pytest.mark.parametrize(
    "ask, says",
    [
        (lambda plain: unit_figure(*plain, "maps:9"), "no unit 'maps:9'"),
        (lambda plain: unit_figure(*plain, "maps:0", "lft"), "Did you mean 'left'"),
        (lambda plain: unit_figure(*plain, "maps:0", ways=["reveel"]), "Did you mean 'reveal'"),
        (lambda plain: outcome_figure(*plain, "maps:0", says="rde"), "'red'"),
        (lambda plain: distribution_figure(plain[0], "unit"), "There are: 'layer'"),
        (lambda plain: compare_figure({}), "two are needed"),
    ],
    ids=range(6),
)
def test_bad_questions(plain, ask, says):
    with pytest.raises(InputError) as refused:
        ask(plain)
    assert_says(refused.value, says)
