"""Networks of one's own: the same small network as a JAX function, a Flax module, a PyTorch module and an ONNX file;
and where its cells look.

Two convolutions with ReLU, a pool, a convolution, a head; random parameters that never change. Every kind must give
one dissection.
What needs PyTorch is skipped where it is not installed: `make test-torch` runs it.
"""

import warnings
from collections import OrderedDict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx
from onnx import TensorProto, helper, numpy_helper
from sentences import assert_says

from inner_detectors.core.errors import InputError
from inner_detectors.data.dataset import Data
from inner_detectors.dissection.protocol import netdissect
from dataclasses import replace
from inner_detectors.dissection.identity import weights_of
from inner_detectors.dissection.run import dissect
from inner_detectors.networks.adapters.nnx import from_nnx
from inner_detectors.networks.adapters.onnx import from_onnx
from inner_detectors.networks.adapters.torch import from_torch
from inner_detectors.networks.building import run_steps
from inner_detectors.networks.efficientnet import EfficientNetLite0, lite0_geometry
from inner_detectors.networks.geometry import compose_geometry, half_pixel
from inner_detectors.networks.model import Model, check_layers, geometry_of, layers
from inner_detectors.networks.preprocessing import preprocessing, signed_range, unit_range
from inner_detectors.networks.registry import load_model
from inner_detectors.passes.measured import measure_geometry
from inner_detectors.passes.edit import edit
from inner_detectors.passes.probe import probe
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.data.readers.registry import load_data

CONVOLUTIONS = {"conv1": 6, "conv2": 7, "conv3": 8}
STEPS = ["conv1", "relu1", "conv2", "relu2", "pool", "conv3", "mean", "head"]
MAPS, HEAD = STEPS[:-2], 5
SHAPES = {
    "conv1": (32, 32, 6),
    "relu1": (32, 32, 6),
    "conv2": (32, 32, 7),
    "relu2": (32, 32, 7),
    "pool": (16, 16, 7),
    "conv3": (16, 16, 8),
    "mean": (1, 1, 8),
    "head": (1, 1, 5),
}
EARLY, LATE = compose_geometry([(3, 1, 1)] * 2), compose_geometry([(3, 1, 1), (3, 1, 1), (2, 2, 0), (3, 1, 1)])
PLACES = {
    "conv1": compose_geometry([(3, 1, 1)]),
    "relu1": compose_geometry([(3, 1, 1)]),
    "conv2": EARLY,
    "relu2": EARLY,
    "pool": EARLY.then(2, 2, 0),
    "conv3": LATE,
}
KINDS = ["function", "nnx", "torch", "onnx"]
TENTH = replace(netdissect, quantile=0.1)
NCHW, NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def numbers(seed=0, channels=3):
    """The parameters: kernels [3, 3, below, unit], biases, and the head's matrix. RandomState's stream is frozen by
    NumPy."""
    noise, out, below = np.random.RandomState(seed), {}, channels
    for name, units in CONVOLUTIONS.items():
        out[name] = (
            noise.normal(0, np.sqrt(2 / (9 * below)), (3, 3, below, units)).astype(np.float32),
            noise.normal(0, 0.1, units).astype(np.float32),
        )
        below = units
    return out | {"head": noise.normal(0, 1, (below, HEAD)).astype(np.float32)}


def convolved(x, kernel, stride=1):
    "A convolution with TensorFlow's SAME padding."
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def steps(parameters):
    "The network as steps with names."

    def convolution(name):
        def run(x):
            return convolved(x, parameters[name][0]) + parameters[name][1]

        return name, run

    return [
        convolution("conv1"),
        ("relu1", nnx.relu),
        convolution("conv2"),
        ("relu2", nnx.relu),
        ("pool", lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2))),
        convolution("conv3"),
        ("mean", lambda x: x.mean((1, 2), keepdims=True)),
        ("head", lambda x: x @ parameters["head"]),
    ]


class Step(nnx.Module):
    "A function under a submodule's name."

    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)


class Net(nnx.Module):
    "The network as a Flax module."

    def __init__(self, parameters):
        for name, function in steps(parameters):
            if name not in CONVOLUTIONS:
                setattr(self, name, Step(function))
        for name in CONVOLUTIONS:
            kernel, bias = parameters[name]
            layer = nnx.Conv(*kernel.shape[2:], (3, 3), rngs=nnx.Rngs(0))
            layer.kernel[...], layer.bias[...] = kernel, bias
            setattr(self, name, layer)
        self.head = nnx.Linear(*parameters["head"].shape, use_bias=False, rngs=nnx.Rngs(0))
        self.head.kernel[...] = parameters["head"]

    def __call__(self, x):
        for name in STEPS:
            x = getattr(self, name)(x)
        return x


def torch_module(parameters):
    "The network as a PyTorch module. Its ReLUs work in place."
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    nn = torch.nn
    parts = OrderedDict()
    for name in STEPS[:-2]:
        if name in CONVOLUTIONS:
            kernel, bias = parameters[name]
            parts[name] = nn.Conv2d(*kernel.shape[2:], 3, padding=1)
            parts[name].weight.data, parts[name].bias.data = (
                torch.tensor(kernel.transpose(3, 2, 0, 1)),
                torch.tensor(bias),
            )
        else:
            parts[name] = nn.MaxPool2d(2) if name == "pool" else nn.ReLU(inplace=True)
    parts |= {
        "mean": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "head": nn.Linear(*parameters["head"].shape, bias=False),
    }
    parts["head"].weight.data = torch.tensor(parameters["head"].T)
    return nn.Sequential(parts)


def onnx_file(path, parameters, shape, inputs=1, front=False):
    """The network as an ONNX file whose input has this shape; channels last where the shape says so, and then turned
    round inside, as tf2onnx writes it."""
    behind = shape[1] not in (1, 3) and not front
    nodes = [helper.make_node("Transpose", ["image"], ["turned"], perm=NCHW)] if behind else []
    below, arrays = "turned" if behind else "image", {}
    for name in STEPS[:-2]:
        if name in CONVOLUTIONS:
            arrays[f"{name}.kernel"], arrays[f"{name}.bias"] = (
                np.ascontiguousarray(parameters[name][0].transpose(3, 2, 0, 1)),
                parameters[name][1],
            )
            nodes.append(helper.make_node("Conv", [below, f"{name}.kernel", f"{name}.bias"], [name], pads=[1] * 4))
        elif name == "pool":
            nodes.append(helper.make_node("MaxPool", [below], [name], kernel_shape=[2, 2], strides=[2, 2]))
        else:
            nodes.append(helper.make_node("Relu", [below], [name]))
        below = name
    nodes += [
        helper.make_node("GlobalAveragePool", ["conv3"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["head"]),
    ]
    if behind:
        nodes.append(helper.make_node("Transpose", ["pool"], ["pool_behind"], perm=NHWC))
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "more")[:inputs]]
    out = helper.make_tensor_value_info("head", TensorProto.FLOAT, [shape[0], HEAD])
    held = [numpy_helper.from_array(array, name) for name, array in (arrays | {"matrix": parameters["head"]}).items()]
    onnx.save(
        helper.make_model(
            helper.make_graph(nodes, "small", given, [out], held),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        ),
        path,
    )
    return path


def made(kind, folder, size=32, channels=3, seed=0, places=PLACES):
    "The network in one of four kinds, as a Model."
    parameters, ready = numbers(seed, channels), "unit-range" if channels == 3 else "grey-range"
    if kind == "function":
        return Model(
            "small",
            lambda parameters, images: run_steps(steps(parameters), images),
            parameters,
            size,
            preprocessing(ready),
            places,
            {"preprocessing": ready},
        )
    if kind == "nnx":
        return from_nnx("small", Net(parameters), size, ready, places)
    if kind == "torch":
        return from_torch("small", torch_module(parameters), size, ready, places)
    return from_onnx(
        onnx_file(Path(folder) / "small.onnx", parameters, ["batch", channels, size, size]), size, ready, places
    )


def pictures(count, size, seed=0):
    "Smooth colours with noise, uint8."
    noise = np.random.RandomState(seed)
    coarse = noise.randint(0, 256, (count, 5, 5, 3)).repeat(-(-size // 5), 1).repeat(-(-size // 5), 2)[:, :size, :size]
    return np.clip(coarse + noise.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data():
    return load_data("scenes:12")


@pytest.fixture(scope="module")
def expected(data):
    return dissect(made("function", None), data, MAPS, TENTH, progress=False)


# ---- one network, one dissection


def assert_same(found, expected):
    """The same dissection. Frameworks add the products of a convolution in another order, so activations differ in
    their last bits: thresholds to
    1e-4 of themselves, and a pixel at the threshold may change sides: at most one in ten thousand of a layer's, and
    IoU by at most 0.001."""
    ours, theirs = expected.table, found.table
    for name in ("unit", "concept", "image"):
        assert ours[name].values.tolist() == theirs[name].values.tolist(), name
    for name in ("concept_area", "concept_images"):
        assert np.array_equal(ours[name], theirs[name]), name
    np.testing.assert_allclose(theirs.threshold, ours.threshold, rtol=1e-4, atol=1e-6)
    for name in ("intersection", "unit_area"):
        assert abs(theirs[name] - ours[name]).sum() <= 1e-4 * ours[name].sum(), name
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
    assert found.units().concept.tolist() == expected.units().concept.tolist()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_kind_gives_the_same_dissection(kind, data, expected, tmp_path):
    assert_same(dissect(made(kind, tmp_path), data, MAPS, TENTH, progress=False), expected)


def test_the_dissection_is_not_trivial(data, expected):
    "Layers differ, units have labels, and other parameters give other counts: equal results would be noticed."
    counts = expected.table.intersection
    assert (counts.sum("concept") > 0).mean() > 0.8 and expected.units().concept.nunique() > 5
    other = dissect(made("function", None, seed=1), data, MAPS, TENTH, progress=False).table.intersection
    assert abs(other - counts).sum() > 0.2 * counts.sum()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_activations_are_equal(kind, tmp_path):
    "Of every layer, to 1e-5 of its largest."
    images = pictures(3, 32)
    expected = probe(made("function", None), STEPS)(images)
    for name, found in probe(made(kind, tmp_path), STEPS)(images).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-5 * np.abs(expected[name]).max(), err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_have_the_names_of_parts(kind, tmp_path):
    found = layers(made(kind, tmp_path))
    assert {name: shape for name, shape in found.items() if name not in ("output", "flat")} == SHAPES
    assert ("output" in found) == (kind in ("nnx", "torch"))


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize(("size", "channels"), [(299, 3), (32, 1)])
def test_other_inputs(kind, size, channels, tmp_path):
    "299 x 299, which halves to 149; one channel. As the function gives it."
    model = made(kind, tmp_path, size, channels)
    rows = size // 2
    assert layers(model)["conv1"] == (size, size, 6) and layers(model)["conv3"] == (rows, rows, 8)
    images, reference = pictures(2, size), made("function", None, size, channels)
    found, expected = probe(model, ["conv3"])(images)["conv3"], probe(reference, ["conv3"])(images)["conv3"]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_preprocessing_is_recorded(kind, data, tmp_path):
    "By name, in the model and in the result."
    model = made(kind, tmp_path, channels=1)
    assert model.record["preprocessing"] == "grey-range"
    assert "grey-range" in dissect(model, data.take(2), ["conv3"], TENTH, progress=False).table.attrs["about"]


def test_a_preprocessing_of_ones_own():
    "A function is taken as it is, and recorded under its name."

    def halved(images):
        return images.astype(jnp.float32) / 510

    model, usual = from_nnx("small", Net(numbers()), 32, halved), made("function", None)
    assert model.record["preprocessing"] == "halved"
    np.testing.assert_allclose(model.preprocess(pictures(1, 32)) * 2, usual.preprocess(pictures(1, 32)), rtol=1e-6)
    with pytest.raises(InputError, match="Did you mean 'grey-range'") as refused:
        from_nnx("small", Net(numbers()), 32, "gray-range")
    assert_says(refused.value, "gray-range")


def test_evaluation_mode():
    "Dropout and batch normalisation behave as after training, and the module given stays in the mode it was in."

    class Noisy(nnx.Module):
        def __init__(self, rngs):
            self.conv, self.norm, self.drop = (
                nnx.Conv(3, 4, (1, 1), rngs=rngs),
                nnx.BatchNorm(4, rngs=rngs),
                nnx.Dropout(0.5, rngs=rngs),
            )

        def __call__(self, x):
            return self.drop(self.norm(self.conv(x)))

    module = Noisy(nnx.Rngs(0))
    look = probe(from_nnx("noisy", module, 32), ["norm", "drop"])
    found, again = look(pictures(1, 32)), look(pictures(1, 32))
    assert np.array_equal(found["norm"], found["drop"]) and np.array_equal(found["drop"], again["drop"])
    assert not module.drop.deterministic


# ---- parameters are part of what a run is


@pytest.mark.parametrize("kind", KINDS)
def test_other_parameters_are_another_network(kind, tmp_path):
    "Their hash changes with the parameters, and with nothing else."

    def marks(seed):
        record = weights_of(made(kind, tmp_path, seed=seed))
        return record.get("weights_sha256", record.get("computation_sha256"))

    assert len(marks(0)) == 64 and marks(0) == marks(0) != marks(1)


class Stopping(Scenes):
    "The generated set, which breaks off at one image where `stops` is set."

    stops = False

    def sample(self, key):
        if self.stops and key == self.keys[9]:
            raise RuntimeError("stopped")
        return super().sample(key)


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_other_parameters_are_not_mixed(kind, tmp_path, capsys):
    "A run is broken off; the same folder is given to a network with other parameters, and then to the first again."
    source, out = Stopping(12), tmp_path / "out"
    data = Data([source])

    def run(seed, out=out):
        return dissect(made(kind, tmp_path, seed=seed), data, ["conv3"], TENTH, out, batch=4, every=0, progress=False)

    source.stops = True
    with pytest.raises(RuntimeError, match="stopped"):
        run(0)
    assert (out / "threshold.checkpoint.npz").exists()
    source.stops = False
    found = run(1)
    assert "is of another run and will be replaced" in capsys.readouterr().err
    np.testing.assert_array_equal(found.table.intersection, run(1, None).table.intersection)
    with pytest.raises(InputError, match="holds the result of another run") as refused:
        run(0)
    assert_says(refused.value, "other weights", "Choose another folder")


@pytest.mark.parametrize("kind", KINDS)
def test_other_values_in_a_layer(kind, tmp_path):
    "All four kinds answer alike, with their own values and with half of them gone; test_edit.py has the rest."
    model, first, images = made(kind, tmp_path), made("function", None), pictures(2, 32)
    whole = probe(first, ["head"])(images)["head"]
    for share in (1, 0.5):
        found = edit(model, "conv3", lambda maps, share=share: np.asarray(maps) * np.float32(share), ["head"])(images)[
            "head"
        ]
        np.testing.assert_allclose(found, whole * share, rtol=1e-4, atol=1e-5)


# ---- what is refused


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_is_not_there(kind, data, tmp_path):
    with pytest.raises(InputError, match="no layer 'conv_3'. Did you mean 'conv3'") as refused:
        dissect(made(kind, tmp_path), data, ["conv_3"], progress=False)
    assert_says(refused.value, "small")


@pytest.mark.parametrize(("shape", "said"), [((-1, 3), "(1, 1024, 3)"), ((-1,), "(1, 3072)")])
def test_a_function_that_gives_no_maps(shape, said, data):
    model = Model("tokens", lambda _, images: {"tokens": images.reshape(len(images), *shape)}, size=32)
    with pytest.raises(InputError) as refused:
        dissect(model, data, ["tokens"], progress=False)
    assert_says(refused.value, "tokens", said, "[batch height width unit] is needed", "Reshape it")


def test_a_flax_module_that_gives_a_tuple():
    "Is no layer; what is inside it is."

    class Pair(nnx.Module):
        def __init__(self):
            self.conv = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))

        def __call__(self, x):
            return (out := self.conv(x)), out

    class Whole(nnx.Module):
        def __init__(self):
            self.pair, self.idle = Pair(), nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.pair(x)[0]

    model = from_nnx("whole", Whole(), 32)
    assert set(layers(model)) == {"output", "pair.conv"}
    for name, said in {"pair": "gives a tuple, not one array", "idle": "no layer 'idle'"}.items():
        with pytest.raises(InputError) as refused:
            check_layers(model, [name])
        assert_says(refused.value, "whole", repr(name), said)


@pytest.mark.parametrize("ready", ["grey-range", "unit-range"])
def test_a_flax_module_that_wants_other_channels(ready):
    "One sentence, when the model is made."
    module = nnx.Conv(1 if ready == "unit-range" else 3, 4, (3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(InputError) as refused:
        from_nnx("whole", module, 32, ready)
    assert_says(refused.value, "whole", "cannot take images of 32 x 32 x", ready, "Give another size or preprocess")


def test_a_torch_module_that_gives_a_tuple_or_tokens_or_nothing():
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.tokens, self.idle = (
                torch.nn.MaxPool2d(2, return_indices=True),
                torch.nn.Flatten(2),
                torch.nn.Conv2d(3, 4, 3),
            )
            self.last = torch.nn.Conv2d(3, 4, 3)

        def forward(self, x):
            self.tokens(x)
            return self.last(self.pool(x)[0])

    model = from_torch("whole", Whole(), 32)
    assert list(layers(model)) == ["last", "output"]
    for name, said in {
        "pool": "gives a tuple, not one array",
        "tokens": "gives an array of 3 axes",
        "idle": "is not run by the network",
    }.items():
        with pytest.raises(InputError) as refused:
            check_layers(model, [name])
        assert_says(refused.value, "whole", repr(name), said)


def test_an_in_place_relu_does_not_change_the_layer_before():
    "The convolution has values below 0, as it gave them, also where the ReLU behind it is not asked for."
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    module, images = torch_module(numbers()), pictures(2, 32)
    found = probe(from_torch("small", module, 32, "unit-range"), ["conv1", "relu1"])(images)
    with torch.no_grad():
        alone = module.conv1(torch.tensor(images.transpose(0, 3, 1, 2) / np.float32(255))).permute(0, 2, 3, 1).numpy()
    assert found["conv1"].min() < 0 and np.allclose(found["conv1"], alone, atol=1e-6)
    assert np.array_equal(found["relu1"], np.maximum(found["conv1"], 0))
    np.testing.assert_array_equal(
        probe(from_torch("small", module, 32, "unit-range"), ["conv1"])(images)["conv1"], found["conv1"]
    )


def test_torch_hooks_are_taken_away():
    "Also where the network fails."
    pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    module = torch_module(numbers())
    layers(from_torch("small", module, 32))
    with pytest.raises(Exception, match="channels"):
        from_torch("small", module, 32, "grey-range")
    assert not any(part._forward_hooks for part in module.modules())


def test_a_network_that_writes_into_its_input():
    "What it is given is its own: one channel needs no turning round, and would else be JAX's array."
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    torch.set_warn_always(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe(from_torch("small", torch_module(numbers(channels=1)), 32, "grey-range"), ["conv1"])(pictures(1, 32))


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_a_preprocessing_of_other_channels_is_refused(kind, tmp_path):
    "A network of three channels is offered one."
    if kind == "torch":
        module = torch_module(numbers())
        with pytest.raises(InputError) as refused:
            from_torch("small", module, 32, "grey-range")
    else:
        path = onnx_file(tmp_path / "small.onnx", numbers(), ["batch", 3, 32, 32])
        with pytest.raises(InputError) as refused:
            from_onnx(path, preprocess="grey-range")
    assert_says(refused.value, "small", "grey-range")


# ---- ONNX files


def test_an_onnx_file_of_one_image(tmp_path):
    "A batch that is fixed at 1 is given its images one by one."
    images = pictures(3, 32)
    alone = from_onnx(onnx_file(tmp_path / "one.onnx", numbers(), [1, 3, 32, 32]), preprocess="unit-range")
    expected = probe(made("onnx", tmp_path), MAPS)(images)
    for name, found in probe(alone, MAPS)(images).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_an_onnx_file_with_channels_last(batch, tmp_path):
    "Its images are given as they are, and a tensor with channels last is read as it is."
    images = pictures(3, 32)
    behind = from_onnx(onnx_file(tmp_path / "behind.onnx", numbers(), [batch, 32, 32, 3]), preprocess="unit-range")
    found = probe(behind, ["pool_behind", "head"])(images)
    expected = probe(made("onnx", tmp_path), ["pool", "head"])(images)
    np.testing.assert_allclose(found["pool_behind"], expected["pool"], atol=1e-5)
    np.testing.assert_allclose(found["head"], expected["head"], atol=1e-5)


def test_tensors_with_channels_in_front_behind_an_input_with_channels_last(tmp_path):
    behind = from_onnx(onnx_file(tmp_path / "behind.onnx", numbers(), ["batch", 32, 32, 3]), preprocess="unit-range")
    assert layers(behind)["conv3"] == SHAPES["conv3"]


def test_an_onnx_file_that_leaves_its_channels_open(tmp_path):
    model = from_onnx(
        onnx_file(tmp_path / "open.onnx", numbers(), ["batch", "channel", 32, 32], front=True), preprocess="unit-range"
    )
    assert layers(model)["conv3"] == SHAPES["conv3"]


@pytest.mark.parametrize(
    ("sides", "size", "asked"), [([32, 32], None, 32), (["high", "wide"], 48, 48), (["high", "wide"], None, 224)]
)
def test_the_size_of_an_onnx_file(sides, size, asked, tmp_path):
    "What the file says; where it leaves it open, what is asked for, else 224."
    model = from_onnx(onnx_file(tmp_path / "a.onnx", numbers(), ["batch", 3, *sides]), size)
    assert model.size == asked and layers(model)["conv1"] == (asked, asked, 6)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("words.onnx", b"These are no weights.", "no readable onnx file"),
        ("empty.onnx", b"", "onnxruntime cannot run it"),
        ("none.onnx", None, "No such file"),
    ],
)
def test_a_file_that_is_no_onnx_file(name, content, said, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as refused:
        from_onnx(tmp_path / name)
    assert_says(refused.value, name, said)


def test_an_onnx_file_cut_short(tmp_path):
    whole = onnx_file(tmp_path / "whole.onnx", numbers(), ["batch", 3, 32, 32]).read_bytes()
    for end in (1, len(whole) // 2, len(whole) - 9):
        (tmp_path / "cut.onnx").write_bytes(whole[:end])
        with pytest.raises(InputError) as refused:
            from_onnx(tmp_path / "cut.onnx")
        assert_says(refused.value, "cut.onnx")


@pytest.mark.parametrize(
    ("shape", "inputs", "said"),
    [(["batch", 3, 32, 32], 2, "has 2 inputs"), (["batch", 3072], 1, "its input has shape ['batch', 3072]")],
)
def test_an_onnx_file_for_something_else(shape, inputs, said, tmp_path):
    path = tmp_path / "other.onnx"
    if inputs == 2:
        onnx_file(path, numbers(), shape, inputs)
    else:
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "out")]
        graph = helper.make_graph([helper.make_node("Relu", ["image"], ["out"])], "flat", values[:1], values[1:])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(InputError) as refused:
        from_onnx(path)
    assert_says(refused.value, "other.onnx", said, "Export it")


# ---- where a cell looks


def smooth(parameters):
    "Kernels that weigh all pixels alike: a cell's centre of gravity is then exactly its field's centre."
    return {
        name: part if name == "head" else (np.full_like(part[0], 1 / part[0][..., 0].size), part[1] * 0)
        for name, part in parameters.items()
    }


@pytest.mark.parametrize(("layer", "tolerance"), [("conv2", 1e-3), ("conv3", 0.25)])
def test_measured_geometry_of_a_smooth_network(layer, tolerance):
    """Equal to the composed one: to a thousandth of a pixel for convolutions; a maximum takes one pixel of four, so to
    a quarter behind the pool."""
    model = replace(made("function", None), parameters=smooth(numbers()), geometry={})
    found, spread = measure_geometry(model, layer, pictures(4, 32))
    np.testing.assert_allclose([found.centre, found.jump], [PLACES[layer].centre, PLACES[layer].jump], atol=tolerance)
    assert found.field == PLACES[layer].field and max(spread) < 0.5


@pytest.mark.parametrize("kind", ["function", "nnx"])
def test_measured_geometry_of_a_random_network(kind, tmp_path):
    "Its kernels weigh pixels unevenly: centres are right to a pixel where the field is 10."
    found, spread = measure_geometry(made(kind, tmp_path, places={}), "conv3", pictures(4, 32))
    np.testing.assert_allclose(found.centre, LATE.centre, atol=1)
    np.testing.assert_allclose(found.jump, LATE.jump, atol=0.1)
    assert found.field == LATE.field == (10, 10) and 0 < max(spread) < 1


def test_strides_with_one_sided_padding_are_measured_and_not_half_pixel():
    "Two convolutions of stride 2 with TensorFlow's SAME begin at 3; tiles of 4 would begin at 1.5."
    kernel = np.full((3, 3, 3, 3), 1 / 27, np.float32)
    model = Model("strides", lambda _, x: {"second": convolved(convolved(x, kernel, 2), kernel, 2)}, size=32)
    found, _ = measure_geometry(model, "second", pictures(1, 32))
    np.testing.assert_allclose([found.centre, found.jump], [(3, 3), (4, 4)], atol=1e-3)
    assert found.field == (7, 7) and geometry_of(model, "second").centre == half_pixel(32, (8, 8)).centre == (1.5, 1.5)


def middle_cell(geometry, cells):
    return np.array(geometry.centre) + np.array(geometry.jump) * (cells // 2)


@pytest.mark.parametrize(("layer", "cells"), [("conv2_2", 112), ("conv3_3", 56)])
def test_measured_geometry_of_vgg16(layer, cells, vgg16_weights, data):
    "In the middle of the map to half a jump (trained kernels weigh unevenly), the jump to 2%, the field exactly."
    model = load_model("vgg16", vgg16_weights)
    found, _ = measure_geometry(model, layer, data.example(0, 224, 8).image[None], cells=2)
    known = model.geometry[layer]
    np.testing.assert_allclose(found.jump, known.jump, rtol=0.02)
    np.testing.assert_allclose(middle_cell(found, cells), middle_cell(known, cells), atol=known.jump[0] / 2)
    assert found.field == known.field


@pytest.fixture(scope="module")
def lite0(lite0_weights):
    return load_model("efficientnet-lite0", lite0_weights)


def test_the_field_of_efficientnet_lite0_is_where_its_geometry_says(lite0, data):
    """The pixels that can move a cell of blocks_4 at all lie exactly around 7 + 8 i, which is not half-pixel (3.5 + 8
    i)."""
    cell, known = 14, lite0.geometry["blocks_4"]

    def value(ready):
        return lite0.forward(lite0.parameters, ready)["blocks_4"][:, cell, cell].sum()

    slope = np.abs(np.asarray(jax.jit(jax.grad(value))(lite0.preprocess(data.example(0, 224, 8).image[None]))))[0].sum(
        -1
    )
    for axis in (0, 1):
        moved = np.flatnonzero(slope.sum(1 - axis))
        assert (moved[0] + moved[-1]) / 2 == middle_cell(known, 28)[axis] == 7 + 8 * cell
        assert moved[-1] - moved[0] + 1 == known.field[axis]
    assert half_pixel(224, (28, 28)).centre == (3.5, 3.5) != known.centre == (7, 7)


def test_measured_geometry_of_efficientnet_lite0_untrained(data):
    """With random kernels, which favour no side, centres are the field's to 1.5 pixels of 67 (half-pixel: 3.5 off), the
    jump to 4%."""
    graph, empty = nnx.split(nnx.eval_shape(lambda: EfficientNetLite0(rngs=nnx.Rngs(0))))
    noise = np.random.RandomState(0)

    def drawn(leaf):
        return noise.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0, leaf.shape).astype(
            np.float32
        )

    parameters = jax.tree.map(drawn, empty)
    model = Model(
        "untrained", lambda parameters, images: nnx.merge(graph, parameters)(images), parameters, 224, signed_range
    )
    found, _ = measure_geometry(model, "blocks_4", data.example(0, 224, 8).image[None], cells=3)
    known = lite0_geometry()["blocks_4"]
    np.testing.assert_allclose(middle_cell(found, 28), middle_cell(known, 28), atol=1.5)
    np.testing.assert_allclose(found.jump, known.jump, rtol=0.04)


def test_measured_geometry_of_efficientnet_lite0_trained(lite0, data):
    """The trained kernels lean up and to the left: the gradient's centre of gravity lies by 1 to 7 pixels before the
    field's centre, on both axes.
    So `measured` and `receptive-field` are different choices for this network, and this test says so; the jump is
    the same to 4%."""
    found, spread = measure_geometry(
        lite0, "blocks_4", np.stack([data.example(place, 224, 8).image for place in range(2)]), cells=3
    )
    known = lite0.geometry["blocks_4"]
    np.testing.assert_allclose(found.jump, known.jump, rtol=0.04)
    before = middle_cell(known, 28) - middle_cell(found, 28)
    assert (before > 1).all() and (before < 7).all() and max(spread) < 2


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_measured_geometry_needs_gradients(kind, data, tmp_path):
    with pytest.raises(InputError) as refused:
        dissect(made(kind, tmp_path), data, ["conv3"], replace(TENTH, geometry="measured"), progress=False)
    assert_says(refused.value, "small", "cannot be differentiated", "half-pixel")


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_is_known_a_warning_says_half_pixel(kind, data, tmp_path):
    "Only there: a geometry that is given, or a choice of half-pixel, warns of nothing."
    some, unknown = data.take(4), made(kind, tmp_path, places={})
    with pytest.warns(UserWarning, match=r"small: where the cells of conv3 look is not known; .* \(half-pixel\)"):
        found = dissect(unknown, some, ["conv3", "head"], TENTH, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "layer 'conv3': 3 of 8 units have a threshold below 0")
        chosen = dissect(unknown, some, ["conv3", "head"], replace(TENTH, geometry="half-pixel"), progress=False)
        if kind == "function":
            dissect(replace(unknown, geometry=PLACES), some, ["conv3", "head"], TENTH, progress=False)
    np.testing.assert_array_equal(found.table.intersection, chosen.table.intersection)


def test_measured_geometry_is_part_of_a_result(data):
    "Measured before the run, and recorded with its spread; the counts are those of that geometry given outright."
    model, some = made("function", None, places={}), data.take(4)
    found = dissect(model, some, ["conv3"], replace(TENTH, geometry="measured"), progress=False)
    where, _ = measure_geometry(model, "conv3", np.stack([some.example(place, 32, 8).image for place in range(4)]))
    given = dissect(replace(model, geometry={"conv3": where}), some, ["conv3"], TENTH, progress=False)
    np.testing.assert_array_equal(found.table.intersection, given.table.intersection)
    assert "geometry_spread_pixels" in found.table.attrs["about"]
    assert model.preprocess is unit_range
