"""Ways back from a unit to pixels: golden values of PyTorch (tests/torch_golden.py), planted truths, restraints, and
what is refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_models import lite0, real, small  # noqa: F401  fixtures
from torch_golden import GOLDEN, GRADIENTS, INTEGRATED, picture, sampled

from inner_detectors.analyses import gradients
from inner_detectors.core.errors import InputError
from inner_detectors.analyses.attribution import (
    METHODS,
    Ascent,
    IntegratedGradients,
    OptimisedImage,
    gradients_figure,
    integrated_gradients,
    optimise_image,
)
from inner_detectors.analyses.gradients import (
    deconvolution,
    double,
    fit_network_image,
    gradient,
    guided_backpropagation,
    unit_map,
)
from inner_detectors.networks.adapters.nnx import from_nnx
from inner_detectors.networks.adapters.onnx import from_onnx
from inner_detectors.networks.model import Model
from inner_detectors.networks.registry import load_model
from inner_detectors.networks.vgg_arrays import VGG16_UNITS
from inner_detectors.synthetic.planted import Rings, planted_model
from inner_detectors.networks.weights.safetensors import write_safetensors

QUICK = Ascent(steps=24)


def drawn(model, image, layer, unit, cells, method):
    "What a method says, as an array."
    function = (
        partial(integrated_gradients, steps=INTEGRATED)
        if method == "integrated_gradients"
        else getattr(gradients, method)
    )
    found = function(model, image, layer, unit, cells)
    return found.values if isinstance(found, IntegratedGradients) else found


@pytest.mark.parametrize("network, layer, unit, cells, method", GRADIENTS)
def test_methods_equal_torch(request, network, layer, unit, cells, method):
    "VGG16 and EfficientNet-Lite0 as trained: 150 of the values and the largest, to 1e-4 of the largest."
    model = request.getfixturevalue({"vgg16": "real", "lite0": "lite0"}[network])
    name = f"{network} {layer} {unit} {cells} {method}"
    golden = np.load(GOLDEN / "gradients.npz")[name]
    assert golden[-1] > 0 and np.unique(golden).size > 25
    found = sampled(name, drawn(model, picture(), layer, unit, cells, method))
    assert np.abs(found - golden).max() < 1e-4 * golden[-1]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """VGG16's architecture with an upright and a level edge, red and blue in conv1_1, carried on to conv5_3; other
    units are noise that no one reads."""
    noise, arrays, below = np.random.default_rng(3), {}, 3
    for name, units in [(name, units // 8) for name, units in VGG16_UNITS.items() if name.startswith("conv")]:
        kernel = noise.normal(0, 0.05, (3, 3, below, units)).astype(np.float32)
        kernel[..., :4] = 0
        for unit in range(4 if below > 3 else 0):
            kernel[1, 1, unit, unit] = 1
        if below == 3:
            slope = np.float32([-1, 0, 1])
            kernel[..., 0], kernel[..., 1] = slope[None, :, None] / 9, slope[:, None, None] / 9
            kernel[1, 1, :, 2], kernel[1, 1, :, 3] = [1, -0.5, -0.5], [-0.5, -0.5, 1]
        arrays |= {
            f"{name}/kernel": kernel,
            f"{name}/bias": np.where(np.arange(units) < 4, -0.01 * (below == 3), 0).astype(np.float32),
        }
        below = units
    return load_model(
        "vgg16",
        write_safetensors(tmp_path_factory.mktemp("planted") / "p.safetensors", arrays),
        width=1 / 8,
        size=64,
        preprocess="unit-range",
    )


def square(seed, colour):
    "A square of one colour on grey, away from the rim; and its (top, left, side)."
    random, image = np.random.default_rng(seed), np.full((64, 64, 3), 100, np.uint8)
    top, left, side = random.integers(6, 36), random.integers(6, 36), random.integers(12, 22)
    image[top : top + side, left : left + side] = colour
    return image, (top, left, side)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("layer", ["conv2_2", "conv5_3"])
def test_deconvolution_of_a_planted_edge_shows_its_edge(planted, layer, seed):
    """Within two pixels of where the edge is, dark before and bright behind; the same edge the other way round is not
    drawn."""
    image, (top, left, side) = square(seed, 240)
    for unit, start, far in ((0, left, left + side), (1, top, top + side)):
        values = deconvolution(planted, image, layer, unit, "map").sum(-1)
        values = values.T if unit == 0 else values  # the edge lies along the rows now
        values[:2] = 0  # the rim: padding with zeros makes it an edge
        lit = np.flatnonzero(np.abs(values).sum(1))
        assert len(lit) and set(lit) <= set(range(start - 2, start + 2)) and far not in lit
        assert (
            values[start - 2 : start].min() < 0 <= values[start : start + 2].min()
            and values[start : start + 2].max() > 0
        )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("unit, colour", [(2, (230, 30, 30)), (3, (30, 30, 230))])
def test_deconvolution_of_a_planted_colour_shows_its_colour(planted, unit, colour, seed):
    image, (top, left, side) = square(seed, colour)
    for cells in ("map", "strongest"):
        values = deconvolution(planted, image, "conv5_3", unit, cells)
        lit = np.argwhere(values.any(-1))
        assert len(lit) and ((lit >= (top, left)) & (lit < (top + side, left + side))).all()
        here = values[tuple(lit.T)]
        own, others = here[:, 0 if unit == 2 else 2], here[:, [1, 2 if unit == 2 else 0]]
        assert (own > 0).all() and (others < 0).all()
    assert not deconvolution(planted, square(seed, (30, 230, 30))[0], "conv5_3", unit, "map").any()


def test_an_optimised_picture_shows_what_was_planted(planted):
    upright, level, red, blue = (
        optimise_image(planted, "conv2_2", unit, choices=QUICK).image.astype(float) for unit in range(4)
    )
    steps = [[np.abs(np.diff(one, axis=axis)).mean() for axis in (0, 1)] for one in (upright, level)]
    assert steps[0][1] > 3 * steps[0][0] and steps[1][0] > 3 * steps[1][1]
    assert [one.mean((0, 1)).argmax() for one in (red, blue)] == [0, 2]


def test_an_optimised_picture_pleases_more_than_any_other(small):  # noqa: F811
    """A narrow VGG16 of random parameters: above twenty images, by the activation of the image itself, rounded to
    bytes."""
    best = optimise_image(small, "conv2_2", 5, choices=QUICK)

    def mean(image):
        return unit_map(small, image, "conv2_2.pre", 5).mean()

    assert (
        isinstance(best, OptimisedImage)
        and best.image.shape == (224, 224, 3)
        and best.reached == pytest.approx(mean(best.image))
    )
    assert best.reached > max(mean(picture(seed)) for seed in range(20)) and best.course[0] < best.course[-1]


def test_seeds_and_choices_decide_everything_and_nothing_global_does(planted):
    state, wide = np.random.get_state()[1].copy(), jax.config.jax_enable_x64
    one = optimise_image(planted, "conv1_2", 0, choices=QUICK, seed=4)
    np.random.seed(99)
    again, other = (optimise_image(planted, "conv1_2", 0, choices=QUICK, seed=seed) for seed in (4, 5))
    assert (
        np.array_equal(one.image, again.image)
        and np.array_equal(one.course, again.course)
        and not np.array_equal(one.image, other.image)
    )
    rough = optimise_image(
        planted, "conv1_2", 0, choices=replace(QUICK, blur=0.0, variation=0.0, fade=0.0, jitter=0), seed=4
    )
    assert rough.reached > one.reached  # restraints cost
    np.random.set_state(("MT19937", state, 624))
    gradient(planted, picture(0, 64), "conv1_2", 0)
    assert (
        np.array_equal(np.random.get_state()[1], state)
        and jax.config.jax_enable_x64 == wide
        and jnp.ones(1).dtype == jnp.float32
    )


def test_several_threads_get_the_same(planted):
    images = [picture(seed, 64) for seed in range(6)]
    alone = [guided_backpropagation(planted, image, "conv3_3", 2) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: guided_backpropagation(planted, image, "conv3_3", 2), images))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


def test_more_steps_are_more_complete(small):  # noqa: F811
    found = [integrated_gradients(small, picture(), "conv2_2", 7, "map", steps=steps) for steps in (1, 4, 16)]
    assert found[2].gap < 0.03 and found[2].gap < found[0].gap
    itself = integrated_gradients(small, picture(), "conv2_2", 7, "map", baseline=picture(), steps=2)
    assert not itself.values.any() and itself.gap == 0


def test_a_flax_network_of_ones_own():
    "Guided backpropagation of two layers, against its definition written out."
    network = nnx.Sequential(
        nnx.Conv(3, 5, (3, 3), rngs=nnx.Rngs(1)), nnx.relu, nnx.Conv(5, 4, (1, 1), rngs=nnx.Rngs(2))
    )
    model, image = from_nnx("own", network, 16), picture(0, 16)
    first, last = network.layers[0], network.layers[2]
    inner, back = jax.vjp(first, jnp.asarray(image[None] / 255, jnp.float32))
    signal = jnp.broadcast_to(last.kernel[...][0, 0, :, 2], inner.shape)
    expected = back(jnp.where((inner > 0) & (signal > 0), signal, 0))[0][0] / 255
    np.testing.assert_allclose(
        guided_backpropagation(model, image, "output", 2, "map"), expected, atol=1e-6 * np.abs(expected).max()
    )
    expected = back(jnp.maximum(signal * jnp.maximum(last(nnx.relu(inner))[..., 2:3], 0), 0))[0][0] / 255
    np.testing.assert_allclose(
        deconvolution(model, image, "output", 2, "map"), expected, atol=1e-5 * np.abs(expected).max()
    )


def test_a_network_with_constants_of_its_own_runs_in_single_precision():
    fixed = jnp.ones((3, 3, 3, 2), jnp.float32)

    def forward(_, images):
        return {
            "a": jnp.maximum(
                jax.lax.conv_general_dilated(images, fixed, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
                0,
            )
        }

    model = Model("fixed", forward, size=16)
    assert not double(model) and double(planted_model())
    inside = gradient(model, picture(0, 16), "a", 0, "map")[2:-2, 2:-2]
    np.testing.assert_allclose(inside, 9 / 255, rtol=1e-6)


def test_the_figure(planted):
    from matplotlib import pyplot

    axes = gradients_figure(
        planted, picture(0, 128), "conv2_1", 0, best=optimise_image(planted, "conv1_2", 0, choices=QUICK)
    )
    assert [axis.get_title().split("\n")[0] for axis in axes] == ["conv2_1:0", *METHODS, "optimised"] and len(
        axes[0].patches
    ) == 2
    axes = gradients_figure(planted, picture(), "conv2_1", 0, "map", methods={"$x$ <b>": gradient})
    assert axes[1].get_title() == "$x$ <b>" and not axes[0].patches
    axes[0].figure.canvas.draw()
    pyplot.close("all")


def test_names_of_strangers_are_escaped_and_results_show_themselves():
    network = Model("<b>x</b>", lambda parameters, images: {"<script>": nnx.relu(images)}, size=16)
    shown = (
        optimise_image(network, "<script>", 0, choices=QUICK)._repr_html_()
        + integrated_gradients(network, picture(0, 16), "<script>", 0)._repr_html_()
    )
    assert "<script>" not in shown and "&lt;script&gt;:0" in shown and shown.count("data:image/png;base64,") == 2


def test_a_grey_network_answers_in_colour():
    network = from_nnx("grey", nnx.Sequential(nnx.Conv(1, 2, (3, 3), rngs=nnx.Rngs(0)), nnx.relu), 16, "grey-range")
    values = gradient(network, picture(0, 16), "output", 0, "map")
    seen = np.abs(values).max(-1) > 0
    np.testing.assert_allclose(
        values[seen] / values[seen].sum(-1, keepdims=True), np.tile([0.299, 0.587, 0.114], (seen.sum(), 1)), rtol=1e-4
    )


def refused(words, function, *given, **more):
    "InputError in one line with these words."
    with pytest.raises(InputError) as error:
        function(*given, **more)
    assert words in str(error.value) and "\n" not in str(error.value) and str(error.value)[-1] in ".?"


@pytest.mark.parametrize(
    "choice, value",
    [
        ("steps", 0),
        ("steps", -3),
        ("steps", 12.5),
        ("steps", "64"),
        ("steps", None),
        ("steps", True),
        ("rate", 0),
        ("rate", -1.0),
        ("rate", float("nan")),
        ("rate", float("inf")),
        ("jitter", -1),
        ("jitter", 1.5),
        ("fade", -0.1),
        ("fade", 1.1),
        ("variation", -1),
        ("variation", float("inf")),
        ("blur", -0.5),
        ("blur", float("nan")),
        ("blur", 1e9),
        ("every", 0),
        ("start", -1),
        ("start", float("nan")),
        ("start", 1000),
    ],
)
def test_choices_that_make_no_sense_are_refused(choice, value):
    "By name, with a remedy, before anything is computed; also where they are changed later."
    refused(f"{choice}={value!r}. Give a", Ascent, **{choice: value})
    refused(f"such as {getattr(Ascent(), choice)}.", replace, Ascent(), **{choice: value})


def test_choices_that_make_sense_are_taken():
    for choice, value in (
        ("steps", np.int64(1)),
        ("rate", 1),
        ("jitter", 0),
        ("fade", 0),
        ("variation", 0),
        ("blur", 0),
        ("every", 1),
        ("start", 0),
    ):
        assert getattr(Ascent(**{choice: value}), choice) == value


def test_an_onnx_network_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    shapes = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 16, 16]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", shapes[:1], shapes[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "net.onnx"))
    network = from_onnx(tmp_path / "net.onnx")
    for method in (*METHODS.values(), gradients_figure):
        refused("net: is run outside JAX and cannot be differentiated", method, network, picture(0, 16), "y", 0)
    refused("cannot be differentiated", optimise_image, network, "y", 0)


def test_what_is_not_there_is_refused(planted):
    image = picture(0, 64)
    for method in (*METHODS.values(), gradients_figure):
        refused("no layer 'conv5-3'. Did you mean 'conv5_3'", method, planted, image, "conv5-3", 0)
        refused("no unit 64 in layer 'conv5_3'. Give one from 0 to 63", method, planted, image, "conv5_3", 64)
        refused("no unit -1", method, planted, image, "conv5_3", -1)
        refused("has only the convolutions", method, planted, image, "fc8", 0)
    refused("no cell (4, 0) in a map of 4 x 4", gradient, planted, image, "conv5_3", 0, (4, 0))
    refused("Did you mean 'middle'?", optimise_image, planted, "conv5_3", 0, "midle")
    refused("no layer", optimise_image, planted, "conv9", 0)
    for wrong in (image / 255, image[..., 0], image.tolist(), None, np.zeros((4, 4, 4), np.uint8)):
        refused("Give uint8", fit_network_image, planted, wrong)
    refused("Give uint8", integrated_gradients, planted, image, "conv5_3", 0, baseline=image[..., 0])


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda images: images.astype(jnp.uint8).astype(jnp.float32),
        lambda images: jnp.arange(256.0)[images],
        lambda images: images / 255 if images.dtype == jnp.uint8 else images * 1.0,
    ],
)
def test_preprocessing_that_gives_no_gradient_is_refused(preprocess):
    model = Model("odd", lambda parameters, images: {"a": nnx.relu(images)}, size=16, preprocess=preprocess)
    refused("no gradient passes its preprocessing", gradient, model, picture(0, 16), "a", 0)
    refused("no gradient passes its preprocessing", optimise_image, model, "a", 0)


def test_without_a_relu_only_the_gradient_is_given():
    smooth = from_nnx("smooth", nnx.Sequential(nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.softplus), 16)
    assert gradient(smooth, picture(0, 16), "output", 0).any()
    for method in (guided_backpropagation, deconvolution):
        refused("smooth: layer 'output': holds no ReLU", method, smooth, picture(0, 16), "output", 0)


def test_a_silent_unit_draws_nothing():
    "Grey, and no warning."
    silent = replace(planted_model(), parameters=jnp.zeros((11, 11, 3, 8)))
    image = Rings().sample("0001").image
    for method in (gradient, deconvolution, guided_backpropagation):
        assert not method(silent, image, "planted", 7, "map").any()
    found = integrated_gradients(silent, image, "planted", 7)
    assert found.gap == 0 and not found.values.any() and json.dumps(repr(found))
