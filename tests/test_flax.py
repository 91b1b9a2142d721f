"""Flax modules of every build: in the order in which they run, in evaluation mode, read or refused in one sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from sentences import assert_says

from inner_detectors.core.errors import InputError
from inner_detectors.dissection.protocol import netdissect
from dataclasses import replace
from inner_detectors.dissection.run import choose_layers, dissect
from inner_detectors.networks.adapters.nnx import from_linen, from_nnx
from inner_detectors.networks.model import layers
from inner_detectors.passes.probe import probe
from inner_detectors.data.readers.registry import load_data

TENTH = replace(netdissect, quantile=0.1, geometry="half-pixel")
SIZE = 16
ONE = jnp.ones((1, SIZE, SIZE, 3))


@pytest.fixture(scope="module")
def data():
    return load_data("scenes:4", progress=False)


def conv(below, units, stride=2):
    return nnx.Conv(below, units, (3, 3), strides=stride, rngs=nnx.Rngs(0))


class Net(nnx.Module):
    "Attributes in another order than calls, and others than the alphabet's; more parts by keyword."

    def __init__(self, **parts):
        self.deep, self.stem, self.body, self.classes = (
            conv(5, 6),
            conv(3, 4),
            conv(4, 5),
            nnx.Linear(6, 3, rngs=nnx.Rngs(0)),
        )
        for name, part in parts.items():
            setattr(self, name, part)

    def features(self, x):
        return self.deep(self.body(self.stem(x)))

    def __call__(self, x):
        return self.classes(self.features(x).mean((1, 2)))


class Heir(Net):
    "Its call is its parent's."


class Caller(Net):
    def __call__(self, x):
        return super().__call__(x) * 2


class Jitted(Net):
    @nnx.jit
    def features(self, x):
        return self.deep(self.body(self.stem(x)))


@pytest.mark.parametrize("kind", [Net, Heir, Caller, Jitted])
def test_layers_stand_in_the_order_in_which_they_run(kind):
    model = from_nnx("net", kind(), SIZE)
    assert list(layers(model)) == ["stem", "body", "deep", "classes", "output"]
    assert choose_layers(model, None) == ["deep"]


def test_lists_dictionaries_and_parts_called_twice():
    class Nested(nnx.Module):
        def __init__(self):
            self.stages, self.named, self.again = (
                nnx.List([conv(4, 4, 1), conv(4, 5)]),
                nnx.Dict(x=conv(5, 5, 1)),
                conv(5, 5, 1),
            )
            self.first = conv(3, 4)

        def __call__(self, x):
            x = self.first(x)
            for stage in self.stages:
                x = stage(x)
            return self.again(self.named["x"](self.again(x))).mean((1, 2))

    model = from_nnx("net", Nested(), SIZE)
    assert list(layers(model)) == ["first", "stages.0", "stages.1", "named.x", "again", "output"]
    pictures = np.random.RandomState(0).randint(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    found = probe(model, ["again", "output"])(pictures)
    np.testing.assert_allclose(
        found["again"].mean((1, 2)), found["output"][:, 0, 0], rtol=1e-5, atol=1e-6
    )  # the last call is the one that is kept


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"drop": nnx.Dropout(0.5, rngs=nnx.Rngs(0))},
        {"drop": nnx.Dropout(0.5, deterministic=True)},
        {"streams": nnx.Rngs(0)},
        {"drop": nnx.Dropout(0.5, rngs=nnx.Rngs(jax.random.PRNGKey(0)))},
    ],
    ids=["none", "dropout", "off", "streams", "old key"],
)
def test_random_streams(more, data):
    class Dropping(Net):
        def features(self, x):
            return super().features(self.drop(x) if hasattr(self, "drop") else x)

    plain = dissect(from_nnx("net", Net(), SIZE), data, ["deep"], TENTH, progress=False)
    found = dissect(from_nnx("net", Dropping(**more), SIZE), data, ["deep"], TENTH, progress=False)
    np.testing.assert_array_equal(found.table.threshold, plain.table.threshold)


def test_switches_stand_as_after_training(data):
    class Switched(nnx.Module):
        def __init__(self):
            self.conv, self.norm, self.drop = (
                conv(3, 4),
                nnx.BatchNorm(4, rngs=nnx.Rngs(0)),
                nnx.Dropout(0.5, rngs=nnx.Rngs(0)),
            )

        def __call__(self, x, train):
            return self.drop(self.norm(self.conv(x), use_running_average=not train), deterministic=not train)

    class Named(Switched):
        def __call__(self, x, *, deterministic):
            return super().__call__(x, not deterministic)

    class Always(Switched):
        def __call__(self, x):
            return self.drop(self.conv(x), deterministic=False)

    class Batch(Switched):
        def __call__(self, x):
            return self.norm(self.conv(x), use_running_average=False)

    counts = [
        dissect(from_nnx("net", kind(), SIZE), data, ["output"], TENTH, progress=False).table.intersection
        for kind in (Switched, Named)
    ]
    np.testing.assert_array_equal(*counts)
    for kind in (Always, Batch):
        with pytest.raises(InputError, match="layer 'output' answers an image otherwise"):
            dissect(from_nnx("net", kind(), SIZE), data, ["output"], TENTH, progress=False)
    assert (
        dissect(from_nnx("net", Batch(), SIZE), data, ["norm"], TENTH, batch=1, progress=False).table.sizes["unit"] == 4
    )


def asserting(x):
    assert x.shape[1] == 48, "48 pixels are needed"


def bare(x):
    assert x.shape[1] == 48


def missing(x):
    return {}["nothing"]


def one_image(x):
    return x.reshape(1, SIZE, SIZE, 3)


def refusing(x):
    raise InputError("these are the network's own words.")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (asserting, "48 pixels are needed"),
        (bare, "AssertionError"),
        (missing, "KeyError: 'nothing'"),
        (one_image, "It takes one image and not two"),
        (refusing, "the network's own words"),
    ],
)
def test_what_cannot_run_is_refused_in_its_own_words(body, said):
    class Odd(Net):
        def features(self, x):
            body(x)
            return super().features(x)

    with pytest.raises(InputError) as refused:
        from_nnx("odd", Odd(), SIZE)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_tuples_and_what_has_no_image_axis_are_absent():
    class Parted(nnx.Module):
        def __call__(self, x):
            return x, None, "word"

    class Summed(nnx.Module):
        def __call__(self, x):
            return x.sum(0, keepdims=True)

    class Odd(Net):
        def features(self, x):
            out = super().features(self.parts(x)[0])
            self.summed(out)
            return out

    model = from_nnx("odd", Odd(parts=Parted(), summed=Summed()), SIZE)
    assert list(layers(model)) == ["stem", "body", "deep", "classes", "output"]
    assert "gives a tuple" in model.absent["parts"] and "for two images" in model.absent["summed"]


# ---- linen


class Block(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Conv(6, (3, 3), name="alpha")(linen.Conv(5, (3, 3), name="zeta")(x))


class Whole(linen.Module):
    @linen.compact
    def __call__(self, x, train: bool):
        x = linen.BatchNorm(use_running_average=not train)(linen.Conv(4, (3, 3), strides=2)(x))
        x = linen.Dropout(0.5, deterministic=not train)(Block()(x))
        return linen.Dense(3)(x.mean((1, 2)))


NAMES = ["Conv_0", "BatchNorm_0", "Block_0.zeta", "Block_0.alpha", "Block_0", "Dropout_0", "Dense_0", "output"]


def test_modules_of_linen_are_read(data):
    "With their variables, bound to them, or wrapped by nnx.bridge: the same network."
    whole = Whole()
    variables = whole.init(jax.random.key(0), ONE, train=False)
    wrapped = nnx.bridge.lazy_init(nnx.bridge.ToNNX(whole, rngs=nnx.Rngs(0)), ONE, train=False)
    models = [
        from_linen("net", whole, variables, SIZE),
        from_nnx("net", whole.bind(variables), SIZE),
        from_nnx("net", wrapped, SIZE),
    ]
    assert all(list(layers(model)) == NAMES for model in models)
    pictures = np.random.RandomState(0).randint(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    expected = whole.apply(variables, models[0].preprocess(pictures), train=False)
    for model in models[:2]:
        np.testing.assert_allclose(
            probe(model, ["output"])(pictures)["output"][:, 0, 0], expected, rtol=1e-5, atol=1e-6
        )
    assert dissect(models[0], data, ["Block_0"], TENTH, progress=False).table.sizes["unit"] == 6


def test_a_module_of_linen_inside_one_of_nnx():
    body = nnx.bridge.ToNNX(Block(), rngs=nnx.Rngs(0)).lazy_init(jnp.ones((1, SIZE // 2, SIZE // 2, 4)))

    class Mixed(nnx.Module):
        def __init__(self):
            self.stem, self.body = conv(3, 4), body

        def __call__(self, x):
            return self.body(self.stem(x))

    assert list(layers(from_nnx("net", Mixed(), SIZE))) == ["stem", "body", "output"]


def test_variables_that_are_missing_are_said():
    with pytest.raises(InputError) as refused:
        from_nnx("net", Block(), SIZE)
    assert_says(refused.value, "from_linen(name, module, variables)")
    with pytest.raises(InputError) as refused:
        from_linen("net", Block(), {"params": {}}, SIZE)
    assert_says(refused.value, "net", "kernel")
    with pytest.raises(InputError, match="no module of linen"):
        from_linen("net", Net(), {}, SIZE)
    assert list(layers(from_linen("net", Block(), Block().init(jax.random.key(0), ONE)["params"], SIZE))) == [
        "zeta",
        "alpha",
        "output",
    ]
