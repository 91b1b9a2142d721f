"""Figures that one would publish: no text lies upon text or is cut off, letters have a paper's size, and the network and
the data are named. Every figure that an analysis declares is drawn here, and those of `Dissection.plot`."""

import re
from itertools import combinations
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_up import VGG16, dissection, pictures
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from sentences import assert_says
from small_network import small

from inner_detectors.analyses.chance import CHANCE
from inner_detectors.analyses.concept_removal import CONCEPT_REMOVAL
from inner_detectors.analyses.correlation import CORRELATION
from inner_detectors.analyses.correlations import dendrogram_figure
from inner_detectors.analyses.drawing import STYLES, name_points, new_axis, source_line, styled
from inner_detectors.analyses.sensitivity import SENSITIVITY
from inner_detectors.analyses.top_images import TopImages
from inner_detectors.analyses.unit_removal import UNIT_REMOVAL
from inner_detectors.core.errors import InputError
from inner_detectors.data.readers.registry import load_data
from inner_detectors.data.survey import survey
from inner_detectors.dissection.protocol import netdissect
from inner_detectors.dissection.requests import FIGURES
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.views.comparison import compare_figure, layers_apart
from inner_detectors.views.figures import concepts_figure, distribution_figure, survey_figure, write_figure
from inner_detectors.views.unit_images import WAYS, UnitImage, outcome_figure, unit_figure
from dataclasses import replace

WORDS = (
    "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign bench bird cat dog "
    "horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase skis snowboard sports_ball kite"
).split()
WORDS = [word.replace("_", " ") for word in WORDS]


@pytest.fixture(autouse=True)
def closed():
    "Figures that are shown are closed again."
    yield
    plt.close("all")


def said(figure) -> list[tuple[str, Bbox, float]]:
    "Every text that is drawn, where it lies in the picture, and its size in points."
    found: list[tuple[str, Bbox, float]] = []
    draw = Text.draw

    def recorded(self, renderer, *rest, **choices):
        if self.get_visible() and self.get_text().strip():
            found.append((self.get_text(), self.get_window_extent(renderer), self.get_fontsize()))
        return draw(self, renderer, *rest, **choices)

    with patch.object(Text, "draw", recorded):
        FigureCanvasAgg(figure).draw()
    return found


def overlaps(figure, texts=None) -> list[tuple[str, str]]:
    "Pairs of texts that lie upon one another; the lines of two may touch, since letters do not fill them."
    boxes = [
        (text, box.shrunk(1, 0.75) if box.height < box.width else box.shrunk(0.75, 1))
        for text, box, _ in texts or said(figure)
    ]
    return [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]


def cut_off(figure, texts=None) -> list[str]:
    "Texts that reach beyond the figure."
    edge = figure.bbox.padded(1.5)
    return [text for text, box, _ in texts or said(figure) if not (edge.contains(*box.min) and edge.contains(*box.max))]


def publishable(figure, names=(), width=3.3):
    "All that can be told of a figure without looking at it."
    texts = said(figure)
    assert overlaps(figure, texts) == [] and cut_off(figure, texts) == []
    words = " ".join(text for text, _, _ in texts).replace("\n", " ")
    for name in names:
        assert name in words, (name, words)
    assert min(size for _, _, size in texts) >= 4.8
    assert figure.get_figwidth() == pytest.approx(width)


# ---- the measure itself


def test_what_is_measured_is_seen():
    figure = plt.figure(figsize=(3, 2))
    figure.text(0.2, 0.5, "one"), figure.text(0.22, 0.52, "other"), figure.text(0.95, 0.1, "beyond")
    assert overlaps(figure) == [("one", "other")] and cut_off(figure) == ["beyond"]
    assert figure.text(0.2, 0.5, "hidden", visible=False) and len(said(figure)) == 3


# ---- figures of a dissection


@pytest.fixture(scope="module")
def deep() -> Dissection:
    "Twelve layers, 5,120 units."
    return dissection(VGG16, WORDS, [f"{place:012}.jpg" for place in range(60)])


@pytest.fixture(scope="module")
def flat(deep) -> Dissection:
    "One layer of it."
    return layers_apart(deep)["conv5_3"]


@pytest.mark.parametrize("name", list(FIGURES))
@pytest.mark.parametrize("which", ["deep", "flat"])
def test_figures_of_a_dissection(which, name, request):
    axis = request.getfixturevalue(which).plot(name, style="paper")
    publishable(axis.figure, ["noise", "60 images", "12 layers" if which == "deep" else "conv5_3"])


@pytest.mark.parametrize("by", ["layer", "category", "concept"])
def test_figures_of_distributions(deep, by):
    publishable(distribution_figure(deep, by, style="paper").figure, ["noise", f"{by} (units)", "IoU > 0.04"])


def test_one_layer_is_more_than_one_bar(flat, deep):
    "Its commonest concepts, with the images that their labels rest on."
    axis = flat.plot("layers", style="paper")
    best = flat.detectors().query("rank == 1").concept.value_counts()
    assert sorted((bar.get_width() for bar in axis.patches), reverse=True) == best.head(20).tolist()
    images = flat.concepts().set_index("concept").images
    first = axis.get_yticklabels()[0].get_text()
    assert axis.texts[0].get_text() == f"{images[first]} images" and best[first] == best.max()
    assert len({bar.get_x() for bar in deep.plot("layers").patches}) == 12


def test_comparisons_and_surveys(deep):
    some = {name: one for name, one in layers_apart(deep).items() if name.startswith("conv5")}
    publishable(compare_figure(some, style="paper")[0].figure, ["noise", "conv5_2", "detectors"])
    publishable(survey_figure(survey(load_data("scenes:12"), progress=False)), ["scenes", "12 images"])


@pytest.fixture(scope="module")
def best(flat) -> TopImages:
    table = pictures(flat, {"conv5_3": VGG16["conv5_3"]})
    about = {name: flat.table.attrs[name] for name in ("model", "data", "geometry")}
    return TopImages(table.assign(label=("unit", flat.units().concept.to_numpy(object))).assign_attrs(about))


@pytest.mark.parametrize("ways", [(way,) for way in WAYS] + [("reveal", "heat", "outline", "agreement")], ids="+".join)
def test_figures_of_units(flat, best, ways):
    figure = unit_figure(flat, best, None, "conv5_3:3", ways=ways, style="paper")[0].figure
    publishable(figure, ["conv5_3:3", "noise", "images", "IoU 0."])
    words = " ".join(text for text, _, _ in said(figure))
    assert ("activation (heat)" in words) == ("heat" in ways)  # its scale
    assert ("lit: above threshold" in words) == ("reveal" in ways)
    assert ("unit alone" in words and "both" in words) == ("agreement" in ways)
    publishable(outcome_figure(flat, best, None, "conv5_3:3", style="paper")[0].figure, ["conv5_3:3", "noise"])


def test_the_label_rests_on_so_many_images(flat, best):
    concept = best.label("conv5_3:3")
    number = int(flat.table.concept_images.sel(concept=concept))
    title = unit_figure(flat, best, None, "conv5_3:3")[0].figure.get_suptitle()
    assert f": {concept}, IoU" in title and f", {number} images\n" in title


@pytest.mark.parametrize("way", ["reveal", "heat", "agreement"])
def test_a_silent_image_is_grey_and_not_black(way):
    "Where nothing is lit, the photograph is seen."
    flat = np.zeros((16, 16), np.float32)
    seen = UnitImage("one", np.full((16, 16, 3), 200, np.uint8), "", flat, 1.0, 0.0, None, 5.0, 16)
    axis = new_axis()
    WAYS[way](axis, seen)
    assert axis.images[0].get_array().min() >= 130


# ---- figures of analyses


@pytest.fixture(scope="module")
def these():
    "A small network on generated images; half of its units are constant or nearly so."
    model, data = small(), load_data("scenes:16")
    found = dissect(model, data, ["cells", "mixed"], replace(netdissect, quantile=0.05, detects=0.01), progress=False)
    return study(found, model, data)


CHOICES = {
    CONCEPT_REMOVAL: {"least": 5},
    SENSITIVITY: {"units": ["mixed:1"]},
    UNIT_REMOVAL: {
        "layer": "mixed",
        "labels": "shown",
        "classes": ["red", "blue"],
        "probe": "mixed",
        "controls": 3,
        "splits": 2,
    },
}


@pytest.mark.parametrize(
    "which", [CHANCE, SENSITIVITY, CONCEPT_REMOVAL, CORRELATION, UNIT_REMOVAL], ids=lambda a: a.name
)
def test_figures_of_analyses(these, which):
    found = which(these, progress=False, **CHOICES.get(which, {}))
    figures = which.figures(found)
    assert figures
    for axis in figures.values():
        publishable(axis.figure, ["small", "on scenes"])
    assert not plt.get_fignums()  # what a command writes needs no display


def test_a_tree_of_many_units_is_one_of_clusters(these):
    "At most forty leaves, each with a name."
    found = CORRELATION(these, progress=False, keep="all")
    few = dendrogram_figure(found, style="paper")
    assert all(re.match(r"\w+:\d+", tick.get_text()) for tick in few.get_yticklabels())


# ---- style


def test_a_style_ends_where_it_ends(deep):
    before = dict(plt.rcParams)
    sizes = {}
    for style in STYLES:
        figure = deep.plot(style=style).figure
        sizes[style] = figure.get_figwidth(), figure.axes[0].yaxis.label.get_fontsize()
    assert sizes["paper"] == (3.3, 7) and sizes["screen"][0] > 4 and sizes["screen"][1] > 9
    assert {name for name in before if before[name] != plt.rcParams[name]} <= {"pdf.fonttype"}
    assert new_axis().figure.get_figwidth() == 3.3
    with pytest.raises(InputError) as refused:
        deep.plot(style="papr")
    assert_says(refused.value, "Did you mean 'paper'")
    with styled("paper", shown=False):
        inner = deep.plot()
    assert (
        inner.figure.get_figwidth() == 3.3 and inner.figure.number not in plt.get_fignums()
        if hasattr(inner.figure, "number")
        else True
    )


def test_letters_stay_letters_in_print(flat, tmp_path):
    "TrueType, which a journal takes and a drawing program can edit; no Type 3."
    pdf = write_figure(concepts_figure(flat, style="paper").figure, tmp_path / "one")[1].read_bytes()
    assert b"/TrueType" in pdf or b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf


def test_photographs_of_a_unit_are_small_in_print(tmp_path):
    "Twelve images of noise, which no compression makes smaller."
    figure = plt.figure(figsize=(3.3, 1.4))
    random = np.random.default_rng(0)
    for axis in figure.subplots(2, 6).ravel():
        axis.imshow(random.integers(0, 256, (224, 224, 3), np.uint8))
        axis.set_axis_off()
    assert write_figure(figure, tmp_path / "one")[1].stat().st_size < 200_000


def test_names_of_data():
    attributes = {"model": "vgg16", "data": "coco", "images": 60}
    assert source_line(attributes, ["a", "a", "b"]) == "vgg16 a, b on coco, 60 images"
    assert source_line(attributes, list("abcd")) == "vgg16 4 layers on coco, 60 images"
    assert source_line({"model": "vgg16", "data": "a" * 40}) == f"vgg16 on {'a' * 31}…"


def test_names_beside_points_leave_one_another_room():
    axis = new_axis()
    random = np.random.default_rng(0)
    x, y = random.random((2, 60))
    axis.scatter(x, y)
    names = name_points(axis, [(*at, f"concept {place}") for place, at in enumerate(zip(x, y))], most=60)
    assert 8 < len(names) < 60 and names[0] == "concept 0" and overlaps(axis.figure) == []


def test_grey_tells_sequential_maps_apart():
    "The maps that figures use grow lighter all the way."
    for name in ("cividis", "inferno"):
        light = plt.get_cmap(name)(np.linspace(0, 1, 64))[:, :3] @ [0.299, 0.587, 0.114]
        assert (np.diff(light) > 0).all()
