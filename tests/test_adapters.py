"""Networks of every kind that people bring, through the adaptors: which axis of what a layer gives is its units, in
which types images are given, and
what is said where a network cannot be run. What needs PyTorch is skipped where it is not installed: `make
test-torch` runs it.
"""

import warnings
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
from inner_detectors.networks.adapters.nnx import from_nnx
from inner_detectors.networks.adapters.onnx import from_onnx
from inner_detectors.networks.weights.onnx import check_external
from inner_detectors.networks.adapters.torch import from_torch
from inner_detectors.networks.model import check_layers, layers
from inner_detectors.networks.preprocessing import mean_std, pixels
from inner_detectors.networks.registry import load_model

REASON = "nothing tells which of its axes are rows, columns and units"


@pytest.fixture
def torch():
    found = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    found.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield found


def pictures(count, size):
    return np.random.RandomState(1).randint(0, 256, (count, size, size, 3)).astype(np.uint8)


def answers(model, count=3):
    "Every layer of a model for some images, after a look at their shapes."
    found = layers(model)
    out = model.forward(
        model.parameters, model.preprocess(pictures(count, model.size)), *([list(found)] if not model.traced else [])
    )
    for name, shape in found.items():
        assert out[name].shape == (count, *shape) and out[name].dtype == np.float32, name
    return out


def assert_absent(model, **reasons):
    for name, words in reasons.items():
        with pytest.raises(InputError) as refused:
            check_layers(model, [name.replace("__", ".")])
        assert_says(refused.value, model.name, words, "Name another layer" if words == REASON else "")


# ---- layouts: PyTorch


def of_torch(torch):
    "Blocks of one's own, as networks have them."
    nn, F = torch.nn, torch.nn.functional

    class Permute(nn.Module):
        def __init__(self, *order):
            super().__init__()
            self.order = order

        def forward(self, x):
            return x.permute(*self.order)

    class Windows(nn.Module):
        "Swin's attention in windows of 4 x 4, on maps with channels last."

        def __init__(self, width):
            super().__init__()
            self.qkv, self.soft, self.out = nn.Linear(width, 3 * width), nn.Softmax(-1), nn.Linear(width, width)

        def forward(self, x):
            count, rows, columns, width = x.shape
            x = (
                torch.roll(x, (-2, -2), (1, 2))
                .view(count, rows // 4, 4, columns // 4, 4, width)
                .permute(0, 1, 3, 2, 4, 5)
                .reshape(-1, 16, width)
            )
            q, k, v = self.qkv(x).reshape(len(x), 16, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
            x = self.out((self.soft(q @ k.transpose(-2, -1)) @ v).transpose(1, 2).reshape(len(x), 16, width))
            x = (
                x.view(count, rows // 4, columns // 4, 4, 4, width)
                .permute(0, 1, 3, 2, 4, 5)
                .reshape(count, rows, columns, width)
            )
            return torch.roll(x, (2, 2), (1, 2))

    class Swin(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.patch, self.last, self.norm, self.attention = (
                nn.Conv2d(3, width, 2, 2),
                Permute(0, 2, 3, 1),
                nn.LayerNorm(width),
                Windows(width),
            )
            self.mlp, self.less = (
                nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(), nn.Linear(4 * width, width)),
                nn.Linear(4 * width, 7),
            )
            self.front, self.head = Permute(0, 3, 1, 2), nn.Linear(7, 5)

        def forward(self, x):
            x = self.last(self.patch(x))
            x = x + self.attention(self.norm(x))
            x = x + self.mlp(x)
            x = self.less(torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1))
            return self.head(self.front(x).mean((2, 3)))

    class Convolutional(nn.Module):
        "A ResNet's sum, a DenseNet's concatenation, squeeze and excitation, ShuffleNet's shuffle, a U-Net's way up."

        def __init__(self):
            super().__init__()
            self.stem, self.norm, self.relu = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
            self.body, self.dense, self.gate = (
                nn.Conv2d(8, 8, 3, padding=1),
                nn.Conv2d(8, 4, 3, padding=1),
                nn.Linear(12, 12),
            )
            self.shuffled, self.up, self.last = (
                nn.Identity(),
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.ConvTranspose2d(12, 6, 2, 2),
            )
            self.attended, self.place = nn.Identity(), nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, x):
            x = self.relu(self.norm(self.stem(x)))
            x = x + self.relu(self.body(x))
            x = torch.cat([x, self.dense(x)], 1)
            x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
            count, units, rows, columns = x.shape
            x = self.shuffled(x.view(count, 2, units // 2, rows, columns).transpose(1, 2).reshape(x.shape))
            x = self.attended(x * torch.sigmoid(self.place(torch.stack([x.mean(1), x.amax(1)], 1))))
            return self.last(F.relu(self.up(x)))

    class Unknown(nn.Module):
        "Axes that no map has."

        def __init__(self):
            super().__init__()
            self.stem, self.scores, self.columns, self.spectrum, self.sorted = (
                nn.Conv2d(3, 8, 8, 8),
                *(nn.Identity() for _ in range(4)),
            )
            self.mix, self.wrong, self.after = nn.Linear(4, 4), nn.Identity(), nn.ReLU()

        def forward(self, x):
            x = self.stem(x)
            flat = x.flatten(2).unflatten(1, (2, 4)).transpose(2, 3)
            self.scores(torch.softmax(flat @ flat.transpose(2, 3), -1))
            self.spectrum(torch.fft.fft2(x).real)
            self.sorted(torch.sort(x, 3)[0])
            self.wrong(x.reshape(len(x), 4, 4, 8))
            return self.after(self.mix(x))

    return Permute, Swin, Convolutional, Unknown


def test_channels_last_inside_a_torch_network(torch):
    "Units are channels, in every layer, and numbers are those of the tensors."
    _, Swin, _, _ = of_torch(torch)
    module = Swin(12).eval()
    model = from_torch("net", module, 32)
    found = layers(model)
    assert {
        name: found[name] for name in ("patch", "last", "norm", "attention", "mlp", "mlp.0", "mlp.1", "less", "front")
    } == {
        "patch": (16, 16, 12),
        "last": (16, 16, 12),
        "norm": (16, 16, 12),
        "attention": (16, 16, 12),
        "mlp": (16, 16, 12),
        "mlp.0": (16, 16, 48),
        "mlp.1": (16, 16, 48),
        "less": (8, 8, 7),
        "front": (8, 8, 7),
    }
    out = answers(model)
    np.testing.assert_array_equal(out["patch"], out["last"])
    np.testing.assert_array_equal(out["less"], out["front"])
    with torch.no_grad():
        patch = module.patch(torch.tensor(np.asarray(model.preprocess(pictures(3, 32))).transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(out["patch"], patch.permute(0, 2, 3, 1).numpy(), atol=1e-6)
    assert_absent(model, attention__soft=REASON, attention__qkv="an array of 3 axes")


def test_convolutional_networks_keep_every_layer(torch):
    model = from_torch("net", of_torch(torch)[2](), 32)
    assert not model.absent and layers(model) == {
        "stem": (16, 16, 8),
        "norm": (16, 16, 8),
        "relu": (16, 16, 8),
        "body": (16, 16, 8),
        "dense": (16, 16, 4),
        "gate": (1, 1, 12),
        "shuffled": (16, 16, 12),
        "place": (16, 16, 1),
        "attended": (16, 16, 12),
        "up": (32, 32, 12),
        "last": (64, 64, 6),
        "output": (64, 64, 6),
    }
    answers(model)


def test_what_is_no_map_is_refused_alone(torch):
    """Scores of an attention, a Fourier transform, what is sorted by place, a reshaping across axes, a mixture of
    columns."""
    model = from_torch("net", of_torch(torch)[3](), 32)
    assert list(layers(model)) == ["stem"]
    assert_absent(
        model,
        scores=REASON,
        spectrum=REASON,
        sorted=REASON,
        wrong=REASON,
        mix=REASON,
        after=REASON,
        output=REASON,
        columns="is not run",
    )


def test_rows_and_columns_that_change_places_are_put_back(torch):
    Permute = of_torch(torch)[0]
    model = from_torch(
        "net", torch.nn.Sequential(torch.nn.Conv2d(3, 5, 4, 4), Permute(0, 1, 3, 2), Permute(0, 2, 3, 1)), 32
    )
    out = answers(model)
    np.testing.assert_array_equal(out["0"], out["1"])
    np.testing.assert_array_equal(out["0"], out["2"])


# ---- PyTorch: types, wrappers, odd parts


def small(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def around(torch, run, **parts):
    "A module that runs a function of itself and the images."

    class Around(torch.nn.Module):
        def forward(self, x):
            return run(self, x)

    module = Around()
    for name, part in {"conv": torch.nn.Conv2d(3, 8, 3, 2, 1), **parts}.items():
        setattr(module, name, part)
    return module


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("ready", ["mean-std", "the type's own"])
def test_other_precisions(torch, kind, ready):
    "Images are given in the module's type, whatever type the preprocessing gives; activations are read as float32."
    module, usual = small(torch), small(torch)
    usual.load_state_dict(module.state_dict())
    own = {"float16": jnp.float16, "bfloat16": jnp.bfloat16, "float64": jnp.float32}[kind]
    model = from_torch(
        "net", module.to(getattr(torch, kind)), 32, ready if ready == "mean-std" else lambda x: mean_std(x).astype(own)
    )
    expected = answers(from_torch("net", usual, 32))
    for name, out in answers(model).items():
        np.testing.assert_allclose(out, expected[name], atol=0.05 * np.abs(expected[name]).max())


def test_parts_in_half_precision(torch):
    answers(
        from_torch(
            "net", around(torch, lambda self, x: self.low(self.conv(x).half()), low=torch.nn.Conv2d(8, 8, 3).half()), 32
        )
    )
    mixed = around(torch, lambda self, x: self.low(self.conv(x)), low=torch.nn.Conv2d(8, 8, 3).half())
    with pytest.raises(InputError) as refused:
        from_torch("net", mixed, 32)
    assert_says(refused.value, "net", "RuntimeError", "module.float()")


WRAPPED = {
    "compiled": lambda torch, net: torch.compile(net, backend="eager"),
    "compiled and used": lambda torch, net: used(torch, torch.compile(net, backend="eager")),
    "compiled in place and used": lambda torch, net: (net.compile(backend="eager"), used(torch, net))[1],
    "on several devices": lambda torch, net: torch.nn.DataParallel(net),
    "traced by fx": lambda torch, net: torch.fx.symbolic_trace(net),
    "channels last in memory": lambda torch, net: net.to(memory_format=torch.channels_last),
}


def used(torch, net):
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
    return net


@pytest.mark.parametrize("how", WRAPPED)
def test_wrapped_modules_are_read_as_what_they_wrap(torch, how):
    plain = small(torch).eval()
    expected = answers(from_torch("net", plain, 32))
    found = answers(from_torch("net", WRAPPED[how](torch, plain), 32))
    assert list(found) == list(expected)
    for name, out in found.items():
        np.testing.assert_allclose(out, expected[name], atol=1e-5)


def test_torchscript_shows_its_end_alone(torch):
    scripted, traced = (
        torch.jit.script(small(torch).eval()),
        torch.jit.trace(small(torch).eval(), torch.zeros(1, 3, 32, 32)),
    )
    for module in (scripted, traced, torch.jit.freeze(scripted)):
        assert layers(from_torch("net", module, 32)) == {"output": (1, 1, 5)}
    assert_absent(
        from_torch("net", torch.jit.script(small(torch)), 32),
        **{"0": "is inside TorchScript, which shows only what it gives at its end"},
    )
    beside = from_torch(
        "net", torch.nn.Sequential(torch.jit.script(torch.nn.Conv2d(3, 4, 3)), torch.nn.Conv2d(4, 5, 3)), 32
    )
    assert layers(beside) == {"1": (28, 28, 5), "output": (28, 28, 5)}


def test_quantised_modules_and_extra_state(torch):
    class Extra(torch.nn.Conv2d):
        def get_extra_state(self):
            return {"version": 1}

        def set_extra_state(self, state):
            pass

    assert "5" in layers(
        from_torch(
            "net", torch.ao.quantization.quantize_dynamic(small(torch), {torch.nn.Linear}, dtype=torch.qint8), 32
        )
    )
    assert "output" in layers(from_torch("net", Extra(3, 4, 3), 32))


ODD = {
    "a list": lambda x: [x],
    "a dict": lambda x: {"maps": x},
    "nothing": lambda x: None,
    "sparse": lambda x: x.to_sparse(),
    "a number": lambda x: x.sum(),
    "whole numbers": lambda x: x.argmax(1, keepdim=True),
    "truths": lambda x: x > 0,
    "complex": lambda x: x + 1j,
    "NumPy": lambda x: x.numpy(),
}


@pytest.mark.parametrize("what", ODD)
def test_one_odd_part_is_absent_alone(torch, what):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return ODD[what](x)

    module = around(
        torch, lambda self, x: (self.odd(self.conv(x)), self.after(self.conv(x)))[1], odd=Odd(), after=torch.nn.ReLU()
    )
    model = from_torch("net", module, 32)
    assert layers(model) == {name: (16, 16, 8) for name in ("conv", "after", "output")}
    assert_absent(model, odd="gives ")


class Mute(Exception):
    "An error that cannot say what it is."

    def __str__(self):
        raise ValueError("no words")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("key"),
        AssertionError("input height 32 does not match the model's 96"),
        TypeError(),
        NotImplementedError(),
        StopIteration(),
        ZeroDivisionError("zero"),
        Mute(),
        ValueError("two\nlines " + "long " * 200),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_module_raises_is_one_sentence(torch, error):
    def fails(self, x):
        raise error

    module = around(torch, fails)
    with pytest.raises(InputError) as refused:
        from_torch("net", module, 32)
    assert_says(refused.value, "net", type(error).__name__, "32 x 32 x 3", "mean-std", most=600)
    assert not any(part._forward_hooks for part in module.modules())


def test_what_is_asked_for_besides_images(torch):
    for run in (lambda self, x: self.conv(x["pixel_values"]), lambda self, x: self.conv(x, self.text)):
        with pytest.raises(InputError, match="Wrap it in a module whose forward takes images"):
            from_torch("net", around(torch, run), 32)


def test_modules_without_numbers(torch):
    for module, words in {
        small(torch).to("meta"): "is on the device meta",
        torch.nn.LazyConv2d(3, 3): "has no shape yet",
    }.items():
        with pytest.raises(InputError) as refused:
            from_torch("net", module, 32)
        assert_says(refused.value, "net", "weight", words, "Load" if "meta" in words else "load")
    with pytest.raises(InputError, match="a dict is no network"):
        from_torch("net", {"weight": 1}, 32)
    assert layers(from_torch("net", torch.nn.AvgPool2d(2), 32)) == {"output": (16, 16, 3)}


def test_a_module_that_takes_one_image_at_a_time(torch):
    "It is given them one by one; a layer that does not follow the number of images is absent."
    one = around(torch, lambda self, x: self.conv(x).reshape(1, 8, 16, 16))
    out = answers(from_torch("net", one, 32))
    np.testing.assert_array_equal(out["output"], out["conv"])
    fixed = around(
        torch,
        lambda self, x: (self.token(self.held), self.conv(x))[1],
        token=torch.nn.Identity(),
        held=torch.nn.Parameter(torch.zeros(1, 7)),
    )
    assert_absent(from_torch("net", fixed, 32), token="gives something else for two images than for one")


# ---- Flax


class Step(nnx.Module):
    def __init__(self, run):
        self.run = run

    def __call__(self, x):
        return self.run(x)


class Chain(nnx.Module):
    def __init__(self, **parts):
        self.order = tuple(parts)
        for name, part in parts.items():
            setattr(self, name, part)

    def __call__(self, x):
        for name in self.order:
            x = getattr(self, name)(x)
        return x


def test_flax_attention_is_no_map():
    class Attention(nnx.Module):
        def __init__(self, rngs):
            self.stem, self.attention = (
                nnx.Conv(3, 16, (4, 4), strides=4, rngs=rngs),
                nnx.MultiHeadAttention(4, 16, decode=False, rngs=rngs),
            )
            self.weights, self.back = Step(lambda x: nnx.softmax(x @ x.mT)), Step(lambda x: x.reshape(len(x), 8, 8, 16))

        def __call__(self, x):
            tokens = self.stem(x).reshape(len(x), 64, 16)
            self.weights(tokens.reshape(len(x), 64, 4, 4).transpose(0, 2, 1, 3))
            return self.back(tokens + self.attention(tokens))

    model = from_nnx("net", Attention(nnx.Rngs(0)), 32)
    assert set(layers(model)) == {"stem", "back", "output"} and layers(model)["back"] == (8, 8, 16)
    assert_absent(model, weights=REASON, attention__query=REASON, attention="an array of 3 axes")


def test_flax_networks_keep_every_layer():
    "Sums, gates, resizing, repeating, concatenation, branches, checkpoints, products by name."
    rngs = nnx.Rngs(0)
    model = from_nnx(
        "net",
        Chain(
            conv=nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs),
            norm=nnx.BatchNorm(8, rngs=rngs),
            group=nnx.GroupNorm(8, num_groups=2, rngs=rngs),
            gate=Step(lambda x: x + x * nnx.sigmoid(x.mean((1, 2)))[:, None, None]),
            pool=Step(lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2))),
            larger=Step(lambda x: jax.image.resize(x, (len(x), 16, 16, 8), "bilinear")),
            twice=Step(lambda x: x.repeat(2, 1).repeat(2, 2)),
            both=Step(lambda x: jnp.concatenate([x, x], -1)),
            kept=Step(jax.checkpoint(nnx.gelu)),
            either=Step(lambda x: jax.lax.cond(x.sum() > 0, nnx.relu, jnp.abs, x)),
            named=nnx.Einsum("nhwc,cd->nhwd", (16, 5), (5,), rngs=rngs),
            back=nnx.ConvTranspose(5, 4, (2, 2), strides=2, rngs=rngs),
        ),
        32,
    )
    assert not model.absent
    assert layers(model)["twice"] == (32, 32, 8) and layers(model)["back"] == (64, 64, 4)
    answers(model)


def test_flax_with_channels_first():
    first = Chain(
        front=Step(lambda x: x.transpose(0, 3, 1, 2)),
        more=Step(lambda x: jnp.concatenate([x, 1 - x], 1)),
        sorted=Step(lambda x: jnp.sort(x, 2)),
    )
    model = from_nnx("net", first, 32)
    assert layers(model) == {"front": (32, 32, 3), "more": (32, 32, 6)}
    np.testing.assert_array_equal(answers(model)["more"][..., :3], model.preprocess(pictures(3, 32)))
    assert_absent(model, sorted=REASON, output=REASON)


# ---- ONNX


def weights(*shape, kind=np.float32):
    return (np.random.RandomState(2).normal(size=shape) / 5).astype(kind)


def onnx_file(
    path,
    nodes,
    outputs=(),
    arrays=(),
    shape=("N", 3, 32, 32),
    kind=TensorProto.FLOAT,
    half=False,
    external=None,
    opset=18,
    channels=3,
    given="image",
    **more,
):
    "A file whose input `image` goes through the nodes, with a convolution of `given` to `conv` before them."
    held = {"kernel": weights(8, channels, 3, 3, kind=np.float16 if half else np.float32), **dict(arrays)}
    nodes = [*nodes, helper.make_node("Conv", [given, "kernel"], ["conv"], pads=[1] * 4, strides=[2, 2])]
    nodes.sort(key=lambda node: node.input[0] != "image" and node.output[0] != "conv")
    nodes.sort(
        key=lambda node: (
            0
            if node.output[0] == given or node.input[0] == "image" and given != "image"
            else 1
            if node.output[0] == "conv"
            else 2
        )
    )
    images = [helper.make_tensor_value_info("image", kind, shape)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT16 if half else TensorProto.FLOAT, None)
        for name in outputs or ["conv"]
    ]
    graph = helper.make_graph(
        nodes, "net", images, ends, [numpy_helper.from_array(array, name) for name, array in held.items()]
    )
    domains = [helper.make_opsetid(node.domain, 1) for node in nodes if node.domain]
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), *domains], ir_version=8, **more)
    path.parent.mkdir(exist_ok=True, parents=True)
    if external:
        onnx.save_model(made, str(path), save_as_external_data=True, location=external, size_threshold=0)
    else:
        onnx.save(made, path)
    return path


def node(kind, inputs, outputs, **more):
    return helper.make_node(kind, inputs.split(), outputs.split(), **more)


def test_onnx_layouts(tmp_path):
    """Transposed any way, channels last inside, cut into tokens and put together again; scores and crosswise reshapings
    are no maps."""
    nodes = [
        node("Transpose", "conv", "last", perm=[0, 2, 3, 1]),
        node("Transpose", "conv", "turned", perm=[0, 1, 3, 2]),
        node("Relu", "turned", "relu"),
        node("MatMul", "last matrix", "mlp"),
        node("LayerNormalization", "mlp scale", "norm", axis=-1),
        node("Transpose", "norm", "front", perm=[0, 3, 1, 2]),
        node("Reshape", "conv flat", "tokens"),
        node("Transpose", "tokens", "rows", perm=[0, 2, 1]),
        node("MatMul", "rows tokens", "scores"),
        node("Unsqueeze", "scores one", "scores4"),
        node("Reshape", "tokens again", "back"),
        node("Reshape", "conv across", "crosswise"),
        node("ArgMax", "conv", "best", axis=1),
        node("Shape", "conv", "shape"),
        node("Relu", "matrix", "constant"),
    ]
    arrays = {
        "matrix": weights(8, 5),
        "scale": weights(5),
        "flat": np.array([0, 8, -1]),
        "one": np.array([1]),
        "again": np.array([0, 8, 16, 16]),
        "across": np.array([0, 16, 8, 16]),
    }
    model = from_onnx(onnx_file(tmp_path / "net.onnx", nodes, ["front"], arrays), preprocess="unit-range")
    assert layers(model) == {
        "conv": (16, 16, 8),
        "last": (16, 16, 8),
        "turned": (16, 16, 8),
        "relu": (16, 16, 8),
        "mlp": (16, 16, 5),
        "norm": (16, 16, 5),
        "front": (16, 16, 5),
        "back": (16, 16, 8),
    }
    out = answers(model)
    for name in ("last", "turned", "back"):
        np.testing.assert_array_equal(out[name], out["conv"])
    np.testing.assert_array_equal(out["front"], out["norm"])
    assert_absent(
        model,
        scores4=REASON,
        crosswise=REASON,
        tokens="an array of 3 axes",
        best="tensor(int64), which is no activation",
        shape="no activation",
        constant="does not depend on the image",
    )


def test_onnx_blocks_keep_every_layer(tmp_path):
    nodes = [
        helper.make_node("Resize", ["conv", "", "factors"], ["larger"]),
        node("Concat", "larger larger", "both", axis=1),
        node("Slice", "both begin end first", "some"),
        node("ReduceMean", "some places", "mean", keepdims=1),
        node("Mul", "some mean", "gated"),
        node("Split", "gated", "left right", axis=1, num_outputs=2),
        node("Pad", "left more", "padded"),
        node("DepthToSpace", "conv", "spread", blocksize=2),
        node("GlobalAveragePool", "gated", "pooled"),
        node("Flatten", "pooled", "flat"),
        node("Gemm", "flat matrix", "head", transB=1),
    ]
    arrays = {
        "factors": np.array([1, 1, 2, 2], np.float32),
        "begin": np.array([0]),
        "end": np.array([12]),
        "first": np.array([1]),
        "places": np.array([2, 3]),
        "more": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "matrix": weights(4, 12),
    }
    model = from_onnx(onnx_file(tmp_path / "net.onnx", nodes, ["head"], arrays))
    assert (
        not model.absent
        and layers(model)["gated"] == (32, 32, 12)
        and layers(model)["padded"] == (34, 34, 6)
        and layers(model)["spread"] == (32, 32, 2)
    )
    answers(model)


def test_onnx_functions_and_branches(tmp_path):
    "What is inside a function is a layer; what a branch gives is refused alone."
    inside = helper.make_function(
        "mine",
        "Twice",
        ["a"],
        ["b"],
        [node("Relu", "a", "rectified"), node("Neg", "rectified", "b")],
        [helper.make_opsetid("", 18)],
    )
    ways = {
        way: helper.make_graph(
            [node(kind, "conv", way)], way, [], [helper.make_tensor_value_info(way, TensorProto.FLOAT, None)]
        )
        for way, kind in (("then", "Relu"), ("otherwise", "Neg"))
    }
    nodes = [
        node("Twice", "conv", "twice", domain="mine"),
        node("If", "truth", "chosen", then_branch=ways["then"], else_branch=ways["otherwise"]),
    ]
    model = from_onnx(
        onnx_file(tmp_path / "net.onnx", nodes, ["twice", "chosen"], {"truth": np.array(True)}, functions=[inside])
    )
    assert len(layers(model)) == 3 and {"conv", "twice"} < set(layers(model))
    assert_absent(model, chosen=REASON)


@pytest.mark.parametrize("location", ["net.onnx.data", "inner/weights.bin"])
def test_external_data_from_anywhere(tmp_path, monkeypatch, location):
    plain = answers(from_onnx(onnx_file(tmp_path / "plain.onnx", [])))
    (tmp_path / "nets" / "inner").mkdir(parents=True)
    onnx_file(tmp_path / "nets" / "net.onnx", [], external=location)
    for stand, path in (
        (tmp_path / "nets", "net.onnx"),
        (tmp_path, "nets/net.onnx"),
        (Path("/"), tmp_path / "nets" / "net.onnx"),
    ):
        monkeypatch.chdir(stand)
        np.testing.assert_array_equal(answers(load_model(str(path)))["conv"], plain["conv"])


def lies_in(path, location):
    "The model in a file with its external data, said to lie elsewhere."
    model = onnx.load(path, load_external_data=False)
    next(entry for entry in model.graph.initializer[0].external_data if entry.key == "location").value = location
    return model


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("a:net.data", "outside the folder of the file. Save it again"),
        ("gone.data", "which is not there. Put that file beside it"),
        ("", "outside"),
    ],
)
def test_external_data_elsewhere(tmp_path, location, said):
    path = onnx_file(tmp_path / "nets" / "net.onnx", [], external="net.data")
    onnx.save(lies_in(path, location), path)
    with pytest.raises(InputError) as refused:
        from_onnx(path)
    assert_says(refused.value, "net.onnx", "kernel", repr(location), said)


@pytest.mark.parametrize(
    "location",
    ["../beside/net.data", "/net.data", "sub/../../beside/net.data", "..\\beside\\net.data", "..", "C:/net.data"],
)
def test_external_data_outside_the_folder(tmp_path, location):
    "By hand: no file on the disk says so."
    path = onnx_file(tmp_path / "nets" / "net.onnx", [], external="net.data")
    check_external(path, lies_in(path, "net.data"))
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "net.data").write_bytes(path.with_name("net.data").read_bytes())
    with pytest.raises(InputError) as refused:
        check_external(path, lies_in(path, location))
    assert_says(refused.value, "net.onnx", "kernel", repr(location), "outside the folder of the file. Save it again")


def test_external_data_too_short_or_linked(tmp_path, monkeypatch):
    "A link is told by where it leads; here there is none, it is only said so."
    path = onnx_file(tmp_path / "nets" / "net.onnx", [], external="net.data")
    data, resolve = path.with_name("net.data"), Path.resolve
    with monkeypatch.context() as linked:
        linked.setattr(
            Path, "resolve", lambda one, *more: tmp_path / "elsewhere.data" if one == data else resolve(one, *more)
        )
        with pytest.raises(InputError, match="is a link out of the folder of net.onnx") as refused:
            from_onnx(path)
    assert_says(refused.value, "Copy the file itself")
    data.write_bytes(b"short")
    with pytest.raises(InputError, match="has 5 bytes, and array 'kernel' of net.onnx ends at 864") as refused:
        from_onnx(path)
    assert_says(refused.value, "net.data", "Copy or export both files again")


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT64, TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_onnx_inputs_of_other_types(tmp_path, kind, last):
    "Whole numbers are the image as it is; other types are cast to. The answers are those of an input of float32."
    cast = [node("Cast", "image", "cast", to=TensorProto.FLOAT)]
    turned = [node("Transpose", "cast", "front", perm=[0, 3, 1, 2])] if last else []
    shape = ("N", 32, 32, 3) if last else ("N", 3, 32, 32)

    def made(kind):
        return onnx_file(
            tmp_path / f"{kind}.onnx", [*cast, *turned], shape=shape, kind=kind, given="front" if last else "cast"
        )

    whole = kind in (TensorProto.UINT8, TensorProto.INT64)
    found, expected = (
        from_onnx(made(kind)),
        from_onnx(made(TensorProto.FLOAT), preprocess="pixels" if whole else "mean-std"),
    )
    assert found.record["preprocessing"] == ("pixels" if whole else "mean-std")
    np.testing.assert_allclose(answers(found)["conv"], answers(expected)["conv"], rtol=1e-3, atol=0.01)
    if whole:
        for ready in ("mean-std", "unit-range"):
            with pytest.raises(InputError, match="takes whole numbers .* Give the preprocessing pixels"):
                from_onnx(made(kind), preprocess=ready)


def test_pixels_are_the_picture():
    np.testing.assert_array_equal(pixels(pictures(1, 4)), pictures(1, 4))


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_onnx_fixed_batches(tmp_path, batch):
    "Filled up, and what was filled in thrown away: five images' answers are those of a file with an open batch."
    expected = answers(from_onnx(onnx_file(tmp_path / "open.onnx", [])), 5)
    found = answers(from_onnx(onnx_file(tmp_path / "fixed.onnx", [], shape=(batch, 3, 32, 32))), 5)
    np.testing.assert_allclose(found["conv"], expected["conv"], atol=1e-6)


def test_onnx_in_half_precision_inside(tmp_path):
    half = from_onnx(
        onnx_file(
            tmp_path / "half.onnx", [node("Cast", "image", "cast", to=TensorProto.FLOAT16)], half=True, given="cast"
        )
    )
    assert layers(half)["conv"] == (16, 16, 8)
    np.testing.assert_allclose(
        answers(half)["conv"], answers(from_onnx(onnx_file(tmp_path / "full.onnx", [])))["conv"], atol=0.02
    )


def test_onnx_shapes_left_open(tmp_path):
    "Which axis is the channels' is then seen by what a convolution takes."
    for shape, given, nodes in (
        (("N", "c", "h", "w"), "image", []),
        (("N", "h", "w", "c"), "front", [node("Transpose", "image", "front", perm=[0, 3, 1, 2])]),
    ):
        assert layers(from_onnx(onnx_file(tmp_path / "open.onnx", nodes, shape=shape, given=given), 48))["conv"] == (
            24,
            24,
            8,
        )
    assert layers(from_onnx(onnx_file(tmp_path / "open.onnx", [], shape=None), 48))["conv"] == (24, 24, 8)


def test_onnx_arrays_listed_as_inputs(tmp_path):
    path = onnx_file(tmp_path / "net.onnx", [])
    model = onnx.load(path)
    model.graph.input.insert(0, helper.make_tensor_value_info("kernel", TensorProto.FLOAT, [8, 3, 3, 3]))
    onnx.save(model, path)
    assert layers(from_onnx(path)) == {"conv": (16, 16, 8)}


REMEDIES = {
    "another size": ({}, {"size": 64}, "takes images of 32 x 32 pixels, not of 64. Leave size out"),
    "no square": ({"shape": ("N", 3, 32, 48)}, {}, "Export it for square ones"),
    "one channel": ({"shape": ("N", 1, 32, 32), "channels": 1}, {}, "Give preprocessing grey-range"),
    "four channels": ({"shape": ("N", 4, 32, 32), "channels": 4}, {}, "Give a preprocessing that gives 4"),
    "bfloat16": (
        {"kind": TensorProto.BFLOAT16, "nodes": [node("Cast", "image", "cast", to=TensorProto.FLOAT)], "given": "cast"},
        {},
        "Export it with an input of float32",
    ),
    "an operation of one's own": (
        {"nodes": [node("Magic", "conv", "magic", domain="my.own")], "outputs": ["magic"]},
        {},
        "Export it with ONNX's own operations alone",
    ),
    "a newer opset": ({"opset": 99}, {}, "Export it with a lower opset"),
}


@pytest.mark.parametrize("what", REMEDIES)
def test_onnx_remedies_help(tmp_path, what):
    made, options, said = REMEDIES[what]
    path = onnx_file(tmp_path / "net.onnx", **{"nodes": [], **made})
    with pytest.raises(InputError) as refused:
        from_onnx(path, **options)
    assert_says(refused.value, "net.onnx", said)
    if what == "one channel":
        assert layers(from_onnx(path, preprocess="grey-range")) == {"conv": (16, 16, 8)}


def test_onnx_sequences_are_absent_alone(tmp_path):
    nodes = [node("SequenceConstruct", "conv conv", "both"), node("ConcatFromSequence", "both", "joint", axis=1)]
    model = from_onnx(onnx_file(tmp_path / "net.onnx", nodes, ["joint"]))
    assert layers(model) == {"conv": (16, 16, 8)}
    assert_absent(model, both="seq(tensor(float)), which is no activation", joint=REASON)
