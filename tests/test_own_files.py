"""VGG16 and Lite0 as people have them: other heads, other names, what wrappers put before the names, endings, networks
of the family, Theano's kernels.

A narrow network (a sixteenth of the units); the convolutions must be those of our own file, whatever the form."""

import json

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file
from sentences import assert_says
from test_forms import ARRAYS, KERAS_NAMES, LAYERS, load, torch_names, units_first
from test_pickles import old, write_state, zipped

from inner_detectors.core.errors import InputError
from inner_detectors.networks.efficientnet import LITE0_BLOCKS, lite0_form
from inner_detectors.networks.model import Model, check_layers, layers
from inner_detectors.networks.registry import load_model
from inner_detectors.networks.weights.formats import read_weights

NAMES = dict(torch_names())
CONV = {name: array for name, array in ARRAYS.items() if name.startswith("conv")}
noise = np.random.default_rng(0)


def torchish(arrays=ARRAYS, before="", **renamed):
    "Our arrays as torchvision has them; layers may be called otherwise."
    names = {"kernel": "weight", "bias": "bias"}
    pairs = [(*name.split("/"), array) for name, array in arrays.items()]
    return {
        f"{before}{renamed.get(layer, NAMES[layer])}.{names[part]}": np.ascontiguousarray(
            units_first(layer, array) if part == "kernel" else array
        )
        for layer, part, array in pairs
    }


def random(*shape):
    return noise.normal(size=shape).astype(np.float32)


def saved(path, arrays):
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    return path


def same_convolutions(model: Model):
    "The thirteen convolutions are ours."
    for name, array in CONV.items():
        layer, part = name.split("/")
        np.testing.assert_array_equal(np.asarray(model.parameters[layer][part][...]), array, name)


def absent(model, layer):
    with pytest.raises(InputError) as said:
        check_layers(model, [layer])
    return str(said.value)


TEN = {**ARRAYS, "fc8/kernel": random(256, 10), "fc8/bias": random(10)}
TIMM = torchish(ARRAYS, fc6="pre_logits.fc1", fc7="pre_logits.fc2", fc8="head.fc")
TIMM |= {
    "pre_logits.fc1.weight": TIMM["pre_logits.fc1.weight"].reshape(256, 32, 7, 7),
    "pre_logits.fc2.weight": TIMM["pre_logits.fc2.weight"][:, :, None, None],
}
FULL = {  # arrays of which everything is read -> number of classes
    "ten classes": (torchish(TEN), 10),
    "timm": (TIMM, 62),
    "before 2017": (torchish(ARRAYS, fc6="classifier.1", fc7="classifier.4", fc8="classifier.6"), 62),
    "features in parallel": (
        {name.replace("features.", "features.module."): array for name, array in torchish().items()},
        62,
    ),
    "Caffe's names": (
        dict(
            zip([name.replace("/kernel", ".weight").replace("/bias", ".bias") for name in ARRAYS], torchish().values())
        ),
        62,
    ),
    "slim's names": (
        {
            f"vgg_16/{name[:5]}/{name}" if name.startswith("conv") else f"vgg_16/{name}": array
            for name, array in ARRAYS.items()
        },
        62,
    ),
    "gluon's names": (
        {
            f"vgg0_{'conv' if place < 13 else 'dense'}{place % 13}_{part}": torchish()[f"{NAMES[layer]}.{part}"]
            for place, layer in enumerate(LAYERS)
            for part in ("weight", "bias")
        },
        62,
    ),
}
FULL["slim's names"] = (
    {
        name.replace("/kernel", "/weights").replace("/bias", "/biases"): array
        for name, array in FULL["slim's names"][0].items()
    },
    62,
)
FULL |= {
    f"begins with {before}": (torchish(before=before), 62)
    for before in (
        "module.",
        "model.",
        "net.",
        "backbone.",
        "encoder.",
        "_orig_mod.",
        "vgg.",
        "vgg16.",
        "model._orig_mod.module.",
        "state_dict.model.",
        "ema_model.module.",
        "shadow.",
        "model_ema.",
    )
}


@pytest.mark.parametrize("case", FULL)
def test_everything_is_read(case, tmp_path):
    arrays, classes = FULL[case]
    model = load(saved(tmp_path / "some.safetensors", arrays))
    same_convolutions(model)
    np.testing.assert_allclose(np.asarray(model.parameters["fc6"]["kernel"][...]), ARRAYS["fc6/kernel"])
    np.testing.assert_allclose(np.asarray(model.parameters["fc7"]["kernel"][...]), ARRAYS["fc7/kernel"])
    assert layers(model)["prob"] == (1, 1, classes) and not model.absent
    assert model.record["preprocessing"] == {"Caffe's names": "bgr-means", "slim's names": "rgb-means"}.get(
        case, "mean-std"
    )


HEADS = {  # other heads -> what is said of fc8, and the last layer
    "none": ({}, "has only the convolutions", "pool5"),
    "one linear": (
        {"classifier.weight": random(10, 32), "classifier.bias": random(10)},
        "'classifier.weight' (10, 32) in their place",
        "pool5",
    ),
    "smaller": (
        {"classifier.0.weight": random(16, 1568), "classifier.0.bias": random(16)},
        "'classifier.0.weight' of shape (16, 1568)",
        "pool5",
    ),
    "another size": (
        {"classifier.0.weight": random(256, 32), "classifier.0.bias": random(256)},
        "'classifier.0.weight' of shape (256, 32)",
        "pool5",
    ),
    "with batch normalisation": (
        {
            "classifier.1.running_mean": random(9),
            "classifier.0.weight": random(9, 1568),
            "classifier.0.bias": random(9),
        },
        "(9, 1568)",
        "pool5",
    ),
    "two layers": (
        {
            **{name: array for name, array in torchish().items() if "classifier.0" in name},
            "classifier.3.weight": random(10, 256),
            "classifier.3.bias": random(10),
        },
        "'classifier.3.weight' of shape (10, 256)",
        "fc6",
    ),
    "a head for fc8": (
        {
            **{name: array for name, array in torchish().items() if "classifier.6" not in name},
            "classifier.6.0.weight": random(10, 256),
            "classifier.6.0.bias": random(10),
        },
        "'classifier.6.0.weight' (10, 256) in their place",
        "fc7",
    ),
    "one more": (
        {**torchish(), "classifier.7.weight": random(10, 62), "classifier.7.bias": random(10)},
        "goes on behind it with 'classifier.7.weight'",
        "fc7",
    ),
}


@pytest.mark.parametrize("case", HEADS)
def test_what_does_not_fit_is_absent(case, tmp_path):
    head, words, last = HEADS[case]
    model = load(saved(tmp_path / "some.safetensors", torchish(CONV) | head))
    same_convolutions(model)
    assert list(layers(model))[-1] == last
    assert_says(
        absent(model, "fc8"),
        "layer 'fc8' needs the fully connected parameters",
        "some.safetensors",
        words,
        f"take {last}",
    )


@pytest.mark.parametrize("write", [zipped, old])
@pytest.mark.parametrize("ending", [".bin", ".ckpt", ".pth.tar", ".pkl"])
def test_any_ending(ending, write, tmp_path):
    same_convolutions(load(write_state(tmp_path / f"some{ending}", torchish(CONV, "state_dict.model."), write)))


def test_keras_with_a_head_of_its_own(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in CONV.items():
            layer, part = name.split("/")
            file[f"model_weights/vgg16/{KERAS_NAMES[layer]}/{part}:0"] = array
        file["model_weights/dense/dense/kernel:0"], file["model_weights/batch_normalization/gamma:0"] = (
            random(1568, 16),
            random(16),
        )
    model = load(tmp_path / "a.h5")
    same_convolutions(model)
    assert "'dense/dense/kernel:0' (1568, 16)" in absent(model, "fc6")
    assert "is not read" in absent(model, "dense/dense/kernel:0")


def test_batch_normalisation_is_folded(tmp_path):
    "Each convolution and what is behind it give what both gave."
    arrays, at = {}, 0
    for place, layer in enumerate(LAYERS[:13]):
        units = len(ARRAYS[f"{layer}/bias"])
        arrays[f"features.{at}.weight"], arrays[f"features.{at}.bias"] = (
            units_first(layer, ARRAYS[f"{layer}/kernel"]),
            ARRAYS[f"{layer}/bias"],
        )
        arrays |= {
            f"features.{at + 1}.{part}": np.abs(random(units)) + 0.1
            for part in ("weight", "bias", "running_mean", "running_var")
        }
        at += 3 + (place in (1, 3, 6, 9))
    model = load(saved(tmp_path / "bn.safetensors", arrays))
    weight, bias, mean, variance = (
        arrays[f"features.1.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(
        np.asarray(model.parameters["conv1_1"]["kernel"][...]), ARRAYS["conv1_1/kernel"] * scale, rtol=1e-5
    )
    np.testing.assert_allclose(
        np.asarray(model.parameters["conv1_1"]["bias"][...]),
        (ARRAYS["conv1_1/bias"] - mean) * scale + bias,
        rtol=1e-5,
        atol=1e-6,
    )
    assert "folded" in model.record["batch normalisation"]
    lost = {name: array for name, array in arrays.items() if "running_mean" not in name}
    with pytest.raises(InputError, match="with batch normalisation, whose arrays are missing"):
        load(saved(tmp_path / "lost.safetensors", lost))


def test_the_family_and_two_networks_are_named(tmp_path):
    for name, counts in {"VGG11": (1, 1, 2, 2, 2), "VGG13": (2, 2, 2, 2, 2), "VGG19": (2, 2, 4, 4, 4)}.items():
        places, at, keras = [], 0, {}
        for block, count in enumerate(counts, 1):
            for inner in range(count):
                places.append(at)
                keras[f"block{block}_conv{inner + 1}_kernel"] = random(3, 3, 4, 5)
                at += 2
            at += 1
        for arrays in ({f"features.{at}.weight": random(4, 4, 3, 3) for at in places}, keras):
            with pytest.raises(InputError) as said:
                load(saved(tmp_path / "some.safetensors", arrays))
            assert_says(said.value, f"the weights of {name}", "another network than VGG16")
    two = torchish(CONV, "left.") | torchish({name: array + 1 for name, array in CONV.items()}, "right.")
    with pytest.raises(InputError) as said:
        load(saved(tmp_path / "two.safetensors", two))
    assert_says(said.value, "two networks, 'left.*' and 'right.*', which differ", "Save the one")
    same_convolutions(
        load(saved(tmp_path / "two.safetensors", torchish(CONV, "state_dict.") | torchish(CONV, "state_dict_ema.")))
    )
    with pytest.raises(InputError, match="has no place in VGG16"):
        load(
            saved(tmp_path / "scaled.safetensors", torchish(CONV) | {"features.0.weight_scale": np.ones(1, np.float32)})
        )


def theano(path, turned, first, colon, **said):
    "Keras' file, its kernels turned or not, units first or last, names of TensorFlow or Theano."
    with h5py.File(path, "w") as file:
        file.attrs.update(said)
        for name, array in ARRAYS.items():
            layer, part = name.split("/")
            if array.ndim == 4:
                array = (array[::-1, ::-1] if turned else array).transpose((3, 2, 0, 1) if first else (0, 1, 2, 3))
            if part == "kernel" and layer == "fc6" and first:
                array = array.reshape(7, 7, 32, -1).transpose(2, 0, 1, 3).reshape(array.shape)
            file[f"{KERAS_NAMES[layer]}/{KERAS_NAMES[layer]}_{'Wb'[part == 'bias']}{'_1:0' * colon}"] = (
                np.ascontiguousarray(array)
            )
    return path


@pytest.mark.parametrize(
    "name, turned, first, colon, said, whole",
    [
        ("vgg16_weights_th_dim_ordering_th_kernels.h5", True, True, True, {}, True),
        ("vgg16_weights_th_dim_ordering_tf_kernels.h5", False, True, True, {}, True),
        ("vgg16_weights_tf_dim_ordering_th_kernels.h5", True, False, True, {}, False),
        ("vgg16_weights_tf_dim_ordering_tf_kernels.h5", False, False, True, {}, True),
        ("a_th_kernels.h5", True, True, False, {}, True),
        ("a.h5", True, True, True, {"backend": b"theano"}, True),
        ("a.h5", True, False, True, {"backend": b"theano"}, False),
        ("a.h5", False, True, True, {"backend": "tensorflow"}, True),
        ("a.h5", False, False, True, {"backend": b"tensorflow"}, True),
    ],
)
def test_theanos_kernels_are_turned_and_reordered(name, turned, first, colon, said, whole, tmp_path):
    "The same network, where a file says how its kernels lie; fc6 only where its order is known."
    model = load(theano(tmp_path / name, turned, first, colon, **said))
    same_convolutions(model)
    assert ("kernels" in model.record) == turned
    if whole:
        np.testing.assert_allclose(np.asarray(model.parameters["fc6"]["kernel"][...]), ARRAYS["fc6/kernel"])
    else:
        assert "does not say in which order" in absent(model, "fc6")


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("first, colon", [(True, True), (True, False), (False, False)])
def test_kernels_that_may_be_turned_are_not_read(turned, first, colon, tmp_path):
    "Units first, or Keras 1's names without TensorFlow's :0, and nothing that says who wrote them."
    with pytest.raises(InputError) as said:
        load(theano(tmp_path / "a.h5", turned, first, colon))
    assert_says(said.value, "a.h5", "turned by 180 degrees", "th_kernels.h5", "tf_kernels.h5")


@pytest.mark.parametrize("names", ["{0}_W {0}_b", "{0}/{0}_W {0}/{0}_b", "{0}/{0}_W_1:0 {0}/{0}_b_1:0"])
def test_theanos_kernels_under_other_names(names, tmp_path):
    "The paper's names, as Keras 1 wrote them, or in an .npz: never read in silence where the units are first."
    one, two = names.split()
    arrays = {
        (one if name.endswith("kernel") else two).format(name.split("/")[0]): array[::-1, ::-1].transpose(3, 2, 0, 1)
        if array.ndim == 4
        else array
        for name, array in CONV.items()
    }
    np.savez(tmp_path / "a.npz", **arrays)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = np.ascontiguousarray(array)
    for name in ("a.npz", "a.h5"):
        with pytest.raises(InputError, match="turned by 180 degrees"):
            load(tmp_path / name)


FROSSARD = {name.replace("/kernel", "_W").replace("/bias", "_b"): array for name, array in ARRAYS.items()}


@pytest.mark.parametrize("before", ["", "module.", "vgg/"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_frossards_file(save, before, tmp_path):
    "vgg16_weights.npz, whose first layer takes RGB: whole, without fc8, without fully connected layers."

    def read(last):
        save(
            tmp_path / "vgg16_weights.npz", **{before + name: array for name, array in FROSSARD.items() if name < last}
        )
        return load(tmp_path / "vgg16_weights.npz")

    for last, layer in (("z", "prob"), ("fc8", "fc7"), ("fc", "pool5")):
        model = read(last)
        same_convolutions(model)
        assert list(layers(model))[-1] == layer and model.record["preprocessing"] == "rgb-means"
        if layer != "pool5":
            np.testing.assert_array_equal(np.asarray(model.parameters["fc6"]["kernel"][...]), ARRAYS["fc6/kernel"])


@pytest.mark.parametrize("wrap", ["", "model_weights/", "vgg16/"])
def test_keras_with_ten_classes(wrap, tmp_path):
    with h5py.File(tmp_path / "ten.h5", "w") as file:
        for name, array in TEN.items():
            file[
                f"{wrap}{KERAS_NAMES[name.split('/')[0]]}/{KERAS_NAMES[name.split('/')[0]]}/{name.split('/')[1]}:0"
            ] = array
    model = load(tmp_path / "ten.h5")
    same_convolutions(model)
    assert layers(model)["prob"] == (1, 1, 10) and not model.absent
    np.testing.assert_array_equal(np.asarray(model.parameters["fc8"]["kernel"][...]), TEN["fc8/kernel"])


# ---- Lite0


def lite0(stages=(1, 2, 2, 3, 3, 4, 1), before=""):
    "The arrays of a Lite0 with timm's names, and the same with lukemelas'."
    timm, other, place, below = {}, {}, 0, 32

    def add(one, two, shape, norm_one, norm_two):
        kernel = random(*shape)
        timm[f"{one}.weight"], other[f"{two}.weight"] = kernel, kernel
        for part in ("weight", "bias", "running_mean", "running_var"):
            timm[f"{norm_one}.{part}"] = other[f"{norm_two}.{part}"] = np.abs(random(shape[0])) + 0.1

    add("conv_stem", "_conv_stem", (32, 3, 3, 3), "bn1", "_bn0")
    for stage, count in enumerate(stages):
        for inner in range(count):
            kernel, _, wider, units = LITE0_BLOCKS[place]
            here, there, wide = f"blocks.{stage}.{inner}", f"_blocks.{place}", below * wider
            if wider > 1:
                add(f"{here}.conv_pw", f"{there}._expand_conv", (wide, below, 1, 1), f"{here}.bn1", f"{there}._bn0")
            add(
                f"{here}.conv_dw",
                f"{there}._depthwise_conv",
                (wide, 1, kernel, kernel),
                f"{here}.bn{1 + (wider > 1)}",
                f"{there}._bn1",
            )
            add(
                f"{here}.conv_pw{'l' * (wider > 1)}",
                f"{there}._project_conv",
                (units, wide, 1, 1),
                f"{here}.bn{2 + (wider > 1)}",
                f"{there}._bn2",
            )
            place, below = place + 1, units
    add("conv_head", "_conv_head", (1280, below, 1, 1), "bn2", "_bn1")
    timm["classifier.weight"], timm["classifier.bias"] = other["_fc.weight"], other["_fc.bias"] = (
        random(7, 1280),
        random(7),
    )
    return {before + name: array for name, array in timm.items()}, other


def test_timms_lite0(tmp_path):
    "The same network as by lukemelas' names; of any number of classes, and without."
    from inner_detectors.networks.registry import load_model

    timm, other = lite0(before="model.")
    path = saved(tmp_path / "tf_efficientnet_lite0.safetensors", timm)
    one, two = lite0_form(read_weights(path), path), lite0_form(other, tmp_path / "x")
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], name)
    model = load_model("efficientnet-lite0", path)
    assert layers(model)["prob"] == (1, 1, 7) and model.record["preprocessing"] == "signed-range"
    headless = {name: array for name, array in timm.items() if "classifier" not in name}
    assert (
        list(layers(model := load_model("efficientnet-lite0", saved(tmp_path / "b.safetensors", headless))))[-1]
        == "pool"
    )
    assert_says(absent(model, "prob"), "b.safetensors", "Take pool")
    with pytest.raises(InputError, match="pads both sides alike"):
        load_model("efficientnet-lite0", saved(tmp_path / "efficientnet_lite0_ra-3.safetensors", timm))
    (tmp_path / "config.json").write_text('{"architecture": "efficientnet_lite0"}')
    with pytest.raises(InputError, match="pads both sides alike"):
        load_model("efficientnet-lite0", path)


def test_an_index_of_several_files_is_called_so(tmp_path):
    index = {"metadata": {"total_size": 4}, "weight_map": {"features.0.weight": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError) as said:
        read_weights(tmp_path / "model.safetensors.index.json")
    assert_says(said.value, "the index of a network in several files", "save it as one")


@pytest.mark.parametrize(
    "parts",
    [
        ("weight_orig", "weight_mask"),
        ("weight_g", "weight_v"),
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ],
)
def test_a_pruned_kernel_is_called_so(tmp_path, parts):
    others = [f"features.{place}" for place in (2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
    arrays = {f"features.0.{part}": np.ones((4, 3, 3, 3), np.float32) for part in parts}
    arrays |= {f"{name}.weight": np.ones((4, 4, 3, 3), np.float32) for name in others}
    arrays |= {f"{name}.bias": np.zeros(4, np.float32) for name in ["features.0", *others]}
    save_file(arrays, tmp_path / "pruned.safetensors")
    with pytest.raises(InputError) as said:
        load_model("vgg16", tmp_path / "pruned.safetensors")
    assert_says(said.value, "pruned.safetensors", "array 'features.0.", "pruned or written otherwise", "prune.remove")
