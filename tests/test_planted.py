"""A network with planted detectors: units built to see known colours and patterns of the generated set. Dissected, each
must get its name.

The colour units are exact, so their IoU follows from the pixels of the images alone. The pattern units compare the
spectrum around a
point with those of known patterns; their IoU is counted from their own maps by the slow reference.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import nnx

from inner_detectors.dissection.protocol import netdissect
from inner_detectors.dissection.run import dissect
from dataclasses import replace
from inner_detectors.networks.geometry import compose_geometry
from inner_detectors.networks.model import Model
from inner_detectors.synthetic.drawing import COLOUR_RADIUS, COLOUR_WORDS, PATTERNS, pattern
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.synthetic.things import ANGLES, SCALES
from inner_detectors.synthetic.writers import write_coco
from inner_detectors.data.readers.registry import load_data

PICTURES, SEED, SIZE = 48, 3, 224
WINDOW, STRIDE = 40, 8  # of the pattern units, pixels
PLANTED = {"colours": list(COLOUR_WORDS), "patterns": list(PATTERNS)}
DEAD, CONSTANT, FLOOR = (
    "patterns:8",
    "patterns:9",
    0.107,
)  # the constant unit's activation: interpolated, it is rounded up in places
# A planted unit is active in fewer than this share of positions: its threshold is 0, and it is on wherever it is
# active.
HALF = replace(netdissect, quantile=0.2)  # S = 112
WHOLE = replace(HALF, mask_size=1.0)  # S = 224


class ColourUnits(nnx.Module):
    """One unit a colour: COLOUR_RADIUS + 1/2 less the distance to it, in the channel where that is largest; 0 beyond."""

    def __init__(self):
        nominal = np.array(list(COLOUR_WORDS.values()), np.float32)
        self.apart = nnx.Conv(3, 6 * len(COLOUR_WORDS), (1, 1), precision="highest", rngs=nnx.Rngs(0))
        self.apart.kernel[...] = jnp.tile(jnp.concatenate([jnp.eye(3), -jnp.eye(3)], 1), len(COLOUR_WORDS))[None, None]
        self.apart.bias[...] = jnp.concatenate([-nominal, nominal], 1).ravel()

    def __call__(self, levels):
        distance = self.apart(levels).reshape(*levels.shape[:3], len(COLOUR_WORDS), 6).max(-1)
        return nnx.relu(COLOUR_RADIUS + 0.5 - distance)


def spectrum(ink, window):
    """The strength of every spatial frequency, which does not change when a pattern is shifted; of length 1."""
    power = abs(np.fft.rfft2((ink - (ink * window).sum() / window.sum()) * window)).ravel()
    power[0] = 0
    return power / np.linalg.norm(power)


def decoys(y, x):
    """What must not be taken for a pattern: edges and lone bars in every direction, and bricks."""
    for turn in np.radians(range(0, 180, 15)):
        along = np.cos(turn) * (x - WINDOW / 2) - np.sin(turn) * (y - WINDOW / 2) + 0.01
        yield from (along > 0, along > WINDOW / 4, abs(along) < 2, abs(along) < 4)
    for high in range(9, 20):
        yield (y % high < 2) | ((x / (2.4 * high) + y // high % 2 / 2) % 1 * 2.4 * high < 2)


class PatternUnits(nnx.Module):
    """One unit a pattern: how much better its spectra, of all scales and angles, fit those around a point than all
    others do."""

    def __init__(self):
        y, x = np.mgrid[:WINDOW, :WINDOW].astype(np.float32)
        self.window = np.outer(*[np.hanning(WINDOW + 2)[1:-1].astype(np.float32)] * 2)
        shifts = ((0, 0), (0.37, 0.21), (0.11, 0.73))
        known = [
            np.mean(
                [spectrum(pattern(name, y + v * scale, x + u * scale, scale, angle), self.window) for v, u in shifts], 0
            )
            for name in PATTERNS
            for scale in SCALES
            for angle in sorted(set(ANGLES))
        ]
        self.known = len(known)
        spectra = np.stack(known + [spectrum(ink, self.window) for ink in decoys(y, x)], 1).astype(np.float32)
        self.match = nnx.Linear(*spectra.shape, use_bias=False, precision="highest", rngs=nnx.Rngs(0))
        self.match.kernel[...] = spectra / np.linalg.norm(spectra, axis=0)

    def __call__(self, levels):
        patches, contrast = self.patches(levels)
        power = jnp.abs(jnp.fft.rfft2(patches * self.window)).reshape(*patches.shape[:3], -1).at[..., 0].set(0)
        fit = self.match(power / (jnp.linalg.norm(power, axis=-1, keepdims=True) + 1e-3))
        own = fit[..., : self.known].reshape(*fit.shape[:3], len(PATTERNS), -1).max(-1)
        every = jnp.concatenate([own, fit[..., self.known :].max(-1, keepdims=True)], -1)
        others = jnp.stack([jnp.delete(every, unit, -1).max(-1) for unit in range(len(PATTERNS))], -1)
        return nnx.relu(jnp.minimum(own - 0.75, own - others - 0.05)) * (contrast > 25)

    def patches(self, levels):
        """Around every point, the channel with the most contrast less its mean [batch row column WINDOW WINDOW], and
        that contrast."""
        edge = (WINDOW - STRIDE) // 2
        padded = jnp.pad(levels, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="edge")
        places = jnp.arange(0, SIZE, STRIDE)[:, None] + jnp.arange(WINDOW)
        patches = padded[:, places][:, :, :, places].transpose(0, 1, 3, 5, 2, 4)
        weight = self.window / self.window.sum()
        patches -= (patches * weight).sum((-1, -2), keepdims=True)
        contrast = jnp.sqrt((patches**2 * weight).sum((-1, -2)))
        chosen = contrast.argmax(-1)[..., None, None, None]
        return jnp.take_along_axis(patches, chosen, 3)[:, :, :, 0], contrast.max(-1, keepdims=True)


class Planted(nnx.Module):
    """Colours, patterns, and two units that say nothing: one is never active, one always and equally."""

    def __init__(self):
        self.colours, self.patterns = ColourUnits(), PatternUnits()

    def __call__(self, levels):
        patterns = self.patterns(levels)
        idle = jnp.broadcast_to(jnp.array([0, FLOOR], jnp.float32), (*patterns.shape[:3], 2))
        return {"colours": self.colours(levels), "patterns": jnp.concatenate([patterns, idle], -1)}


def levels(images):
    """RGB as it is, 0 to 255."""
    return images.astype(jnp.float32)


@pytest.fixture(scope="module")
def model():
    graph, parameters = nnx.split(Planted())
    return Model(
        "planted",
        lambda parameters, images: nnx.merge(graph, parameters)(images),
        parameters,
        SIZE,
        levels,
        {"colours": compose_geometry([]), "patterns": compose_geometry([(WINDOW, STRIDE, (WINDOW - STRIDE) // 2)])},
    )


@pytest.fixture(scope="module")
def scenes():
    return load_data(f"scenes:{PICTURES}", seed=SEED)


@pytest.fixture(scope="module")
def dissection(model, scenes):
    return dissect(model, scenes, list(PLANTED), HALF, progress=False)


@pytest.fixture(scope="module")
def pictures():
    """Every image with its masks, a mask a concept."""
    found = []
    for sample in map((source := Scenes(PICTURES, SEED)).sample, source.keys):
        masks: dict[str, np.ndarray] = {}
        for concept, mask in sample.regions:
            masks[concept] = masks.get(concept, False) | mask
        found.append((sample.image, masks))
    return found


def near(image, colour):
    """The pixels of one colour, by its definition."""
    return abs(image.astype(int) - COLOUR_WORDS[colour]).max(-1) <= COLOUR_RADIUS


def check_names(dissection):
    """Every planted unit has its name and is far better at it than at anything else; the idle ones are dead and have
    none."""
    units = dissection.units().set_index(dissection.table.unit.values)
    for layer, names in PLANTED.items():
        assert units[units.layer == layer].concept.tolist()[: len(names)] == names
        for unit, name in enumerate(names):
            ordered = dissection.scores.sel(unit=f"{layer}:{unit}").to_series().sort_values()
            assert ordered.index[-1] == name and ordered.iloc[-1] > max(0.2, 1.3 * ordered.iloc[-2]), (unit, name)
    dead = dissection.table.dead.to_series()
    assert dead[dead].index.tolist() == [DEAD, CONSTANT]
    for unit in (DEAD, CONSTANT):
        assert units.loc[unit, ["concept", "category", "iou"]].tolist() == ["", "", 0]


def test_every_planted_unit_is_named(dissection):
    check_names(dissection)
    table = dissection.table
    assert (table.threshold.to_series().drop(CONSTANT) == 0).all(), (
        "q is above the share of positions where any unit is active"
    )
    assert table.sparse.to_series().drop([DEAD, CONSTANT]).all()
    assert table.threshold.sel(unit=CONSTANT) == np.float32(FLOOR)


def test_colours_at_half_size_are_counted_by_hand(dissection, pictures):
    """S = 112: a sample point lies in the middle of four pixels, so U > 0 where one of them has the colour; the mask is
    the last one's."""
    table, iou = dissection.table, dissection.scores
    for unit, colour in enumerate(COLOUR_WORDS):
        both = on_area = mask_area = 0
        for image, masks in pictures:
            on = near(image, colour).reshape(112, 2, 112, 2).any((1, 3))
            mask = masks.get(colour, np.zeros(image.shape[:2], bool))[1::2, 1::2]
            both, on_area, mask_area = both + (on & mask).sum(), on_area + on.sum(), mask_area + mask.sum()
        one = table.sel(unit=f"colours:{unit}")
        found = [
            int(one.intersection.sel(concept=colour)),
            int(one.unit_area.sel(category="colour")),
            int(table.concept_area.sel(concept=colour)),
        ]
        assert found == [both, on_area, mask_area], colour
        least = 0.55 if colour == "green" else 0.7  # blades of grass are green in single pixels
        assert iou.sel(unit=f"colours:{unit}", concept=colour) == both / (on_area + mask_area - both) > least, colour


def test_colours_at_full_size_are_perfect(model, scenes, pictures):
    """S = 224: a unit is on exactly where the image has its colour."""
    found = dissect(model, scenes, ["colours"], WHOLE, progress=False)
    for unit, colour in enumerate(COLOUR_WORDS):
        one = found.table.sel(unit=f"colours:{unit}")
        pixels = sum(near(image, colour).sum() for image, _ in pictures)
        assert pixels and one.intersection.sel(concept=colour) == one.unit_area.sel(category="colour") == pixels, colour
        assert found.scores.sel(unit=f"colours:{unit}", concept=colour) == 1
        best = found.units().iloc[unit]
        assert (best.concept, best.category, best.iou, best.intersection, best.unit_area, best.concept_area) == (
            colour,
            "colour",
            1,
            pixels,
            pixels,
            pixels,
        )


def test_patterns_are_counted_by_the_reference(model, dissection, pictures):
    run = jax.jit(lambda parameters, images: model.forward(parameters, model.preprocess(images))["patterns"])
    images = np.stack([image for image, _ in pictures])
    maps = [
        one for start in range(0, PICTURES, 8) for one in np.asarray(run(model.parameters, images[start : start + 8]))
    ]
    concepts = dissection.table.concept.values.tolist()
    masks = [
        {concepts.index(name): reference.fit_mask(mask, 112) for name, mask in shown.items()} for _, shown in pictures
    ]
    limits = reference.thresholds(maps, HALF.quantile)
    rows = reference.weights(SIZE // STRIDE, 3.5, STRIDE, SIZE, 112)
    both, on_area, mask_area = reference.count(maps, masks, limits, rows, rows, len(concepts))
    table = dissection.table.isel(unit=dissection.table.layer == "patterns").drop_sel(unit=CONSTANT)
    living = np.arange(len(PATTERNS) + 1)
    assert (table.threshold.values == limits[living]).all()
    assert (table.intersection.values == both[living]).all()
    assert (table.unit_area.values == on_area[living, None]).all(), "every category is annotated in every image"
    assert (table.concept_area.values == mask_area).all()
    for unit, name in enumerate(PATTERNS):
        place = concepts.index(name)
        by_hand = both[unit, place] / (on_area[unit] + mask_area[place] - both[unit, place])
        assert (
            dissection.scores.values[dissection.table.unit.values.tolist().index(f"patterns:{unit}"), place] == by_hand
        )


def test_the_same_through_a_coco_folder(model, scenes, dissection, tmp_path):
    write_coco(scenes.sources[0], tmp_path)
    found = dissect(model, load_data(f"coco:{tmp_path}"), list(PLANTED), HALF, progress=False)
    check_names(found)
    ours, theirs = dissection.table, found.table
    assert theirs.concept.values.tolist() == ours.concept.values.tolist() and "car/wheel" in theirs.concept.values
    assert theirs.category.values.tolist() == ["object"] and set(theirs.concept_category.values) == {"object"}
    for name in ("intersection", "concept_area", "concept_images", "threshold", "dead", "sparse"):
        assert (theirs[name].values == ours[name].values).all(), name
    assert (theirs.unit_area.values == ours.unit_area.values).all(), "one area a unit, whatever the category"
