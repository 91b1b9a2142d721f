"""VGG16 and EfficientNet-Lite0 against golden values of independent passes in PyTorch (tests/torch_golden.py), and
stability to the bit."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import skimage.data
from torch_golden import GOLDEN, picture, sampled, small_weights

from inner_detectors.data.sample import fit_image
from inner_detectors.networks.efficientnet import depthwise_slowly, shifted_sum
from inner_detectors.networks.model import check_layers, layers
from inner_detectors.networks.registry import load_model
from inner_detectors.networks.weights.formats import read_weights
from inner_detectors.networks.weights.safetensors import write_safetensors


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    "A complete VGG16 with 1/16 of the units and random parameters."
    return load_model(
        "vgg16",
        write_safetensors(tmp_path_factory.mktemp("weights") / "small.safetensors", small_weights()),
        width=1 / 16,
    )


@pytest.fixture(scope="session")
def real(vgg16_weights):
    "The thirteen convolutions that ImageNet trained."
    return load_model("vgg16", vgg16_weights)


@pytest.fixture(scope="session")
def lite0(lite0_weights):
    "EfficientNet-Lite0 as ImageNet trained it."
    return load_model("efficientnet-lite0", lite0_weights)


def activations(model, images, names=None):
    "Layer -> activations, from one jitted call."
    names = names or list(layers(model))

    def forward(parameters, images):
        out = model.forward(parameters, model.preprocess(images))
        return {name: out[name] for name in names}

    return {name: np.asarray(out) for name, out in jax.jit(forward)(model.parameters, np.asarray(images)).items()}


def assert_golden(model, file):
    "Every layer equals the golden values to 1e-4 of its largest."
    golden = dict(np.load(GOLDEN / file))
    found = {name: sampled(name, out) for name, out in activations(model, picture()[None]).items()}
    assert list(golden) == list(layers(model))
    worst = {name: np.abs(found[name] - values).max() / values[-1] for name, values in golden.items()}
    assert max(worst.values()) < 1e-4, worst


def test_small_network_equals_torch(small):
    assert_golden(small, "vgg16_small.npz")


def test_real_convolutions_equal_torch(real):
    assert_golden(real, "vgg16_conv.npz")


def test_efficientnet_lite0_equals_torch(lite0):
    assert_golden(lite0, "efficientnet_lite0.npz")


@pytest.mark.parametrize("photograph, index, words", [("chelsea", 285, "Egyptian cat"), ("coffee", 967, "espresso")])
def test_efficientnet_lite0_knows_what_it_sees(lite0, photograph, index, words):
    "Two photographs that scikit-image ships: the whole path of crop, preprocessing, network and names of classes."
    found = activations(lite0, fit_image(getattr(skimage.data, photograph)(), 224)[None], ["prob"])["prob"].squeeze()
    assert found.argmax() == index and lite0.classes[index] == words and abs(found.sum() - 1) < 1e-5


@pytest.mark.parametrize(
    "size, stride, length", [(3, 1, 7), (3, 2, 7), (3, 2, 8), (5, 1, 9), (5, 2, 9), (5, 2, 14), (5, 2, 3)]
)
def test_the_fast_depthwise_convolution_is_xlas(size, stride, length):
    "k x k shifted copies against XLA's grouped convolution, and both against plain loops in float64."
    noise = np.random.default_rng(size * stride * length)
    x, kernel = (
        noise.normal(size=(2, length, length + 1, 6)).astype(np.float32),
        noise.normal(size=(size, size, 1, 6)).astype(np.float32),
    )
    fast, slow = (
        np.asarray(jax.jit(form, static_argnums=2)(x, kernel, stride)) for form in (shifted_sum, depthwise_slowly)
    )
    np.testing.assert_allclose(fast, slow, atol=2e-5)
    rows, columns = (-(-n // stride) for n in x.shape[1:3])
    above, left = (max((-(-n // stride) - 1) * stride + size - n, 0) // 2 for n in x.shape[1:3])
    plain = np.zeros((2, rows, columns, 6))
    for i, j, down, right in np.ndindex(rows, columns, size, size):
        y, z = i * stride + down - above, j * stride + right - left
        if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
            plain[:, i, j] += x[:, y, z].astype(np.float64) * kernel[down, right, 0]
    np.testing.assert_allclose(fast, plain, atol=2e-5)


def test_the_golden_values_are_not_trivial():
    for file in ("vgg16_small.npz", "vgg16_conv.npz", "efficientnet_lite0.npz"):
        for name, values in np.load(GOLDEN / file).items():
            assert values[-1] > 0 and np.unique(values).size > 2, f"{file}: {name}"


@pytest.mark.parametrize("batch", [2, 4, 9])
@pytest.mark.parametrize(
    "model, names",
    [
        ("real", ["conv3_3", "conv5_3", "pool5"]),
        ("small", ["fc6", "fc7", "fc8", "prob"]),
        ("lite0", ["blocks_0", "blocks_10", "blocks_15", "head", "pool", "fc", "prob"]),
    ],
)
def test_an_image_has_the_same_bits_in_any_batch(request, model, names, batch):
    "Convolutions, that is; means and dense layers may add in another order, on some machines."
    model, images = request.getfixturevalue(model), np.stack([picture(seed) for seed in range(batch)])
    alone, first, last = (activations(model, some, names) for some in (images[:1], images, np.roll(images, -1, 0)))
    for name in names:
        loose = name.startswith(("fc", "prob", "pool")) and name != "pool5"
        for other in (first[name][0], last[name][-1]):
            off = 1e-5 * np.abs(other).max() if loose else 0  # of its scale, as fingerprints are compared
            np.testing.assert_allclose(alone[name][0], other, rtol=0, atol=off, err_msg=name)


def test_only_what_is_asked_for_is_computed(small):
    "Two convolutions lead to pool1, and no more are in the program."

    def pool1(parameters, images):
        return small.forward(parameters, images)["pool1"]

    image = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    assert jax.jit(pool1).lower(small.parameters, image).as_text().count("stablehlo.convolution") == 2


def test_real_weights_are_the_keras_form(vgg16_weights):
    arrays = read_weights(vgg16_weights)
    assert len(arrays) == 26 and sum(array.size for array in arrays.values()) == 14_714_688
    assert arrays["conv1_1/kernel"].flat[0] == np.float32(0.42947057)
    assert check_layers(load_model("vgg16", vgg16_weights), ["conv3_1", "pool5"])


def test_importing_starts_no_device():
    code = (
        "import inner_detectors.networks.registry, jax._src.xla_bridge as bridge; assert not bridge._backends, "
        "bridge._backends"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
