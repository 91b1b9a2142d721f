"""VGG16 in every form in which people have it, as the libraries write them: the same probabilities through each, and
one sentence where one is broken.

One sixteenth of the width, so that the files are small. A form is a file's name, what turns our arrays into those
that stand in it, what writes them,
and its preprocessing. Names, places and axes are worked out here a second time, and are not the package's.
"""

import json
import random
import struct
import tracemalloc
from functools import partial
from pathlib import Path
from typing import NamedTuple

import h5py
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from sentences import assert_says
from test_pickles import npy, old, python2, write_state, zipped
from torch_golden import BLOCKS, GOLDEN, picture, sampled, small_weights, torch_pass

from inner_detectors.networks import registry
from inner_detectors.cli.main import run
from inner_detectors.core.errors import InputError
from inner_detectors.dissection.result import Dissection
from inner_detectors.networks.model import check_layers, layers
from inner_detectors.networks.registry import load_model
from inner_detectors.networks.vgg import vgg16, vgg16_form
from inner_detectors.networks.weights.safetensors import write_safetensors

LAYERS = [f"conv{block}_{place}" for block, (_, count) in enumerate(BLOCKS, 1) for place in range(1, count + 1)] + [
    "fc6",
    "fc7",
    "fc8",
]
ARRAYS = small_weights()
load = partial(load_model, "vgg16", width=1 / 16)


# ---- what stands in a file: names, axes, order


def renamed(names, kernel, bias, turn=lambda layer, array: array):
    "Our arrays under other names, kernels turned."

    def change(arrays):
        return {
            names[layer] + (kernel if part == "kernel" else bias): np.ascontiguousarray(
                turn(layer, array) if part == "kernel" else array
            )
            for (layer, part), array in ((name.split("/"), array) for name, array in arrays.items())
        }

    return change


def torch_names():
    """torchvision counts the modules: a convolution and its ReLU are two, a pooling is one; in the classifier, a
    dropout follows each ReLU."""
    at = 0
    for block, (_, count) in enumerate(BLOCKS, 1):
        for place in range(1, count + 1):
            yield f"conv{block}_{place}", f"features.{at}"
            at += 2
        at += 1
    yield from {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}.items()


def units_first(layer, kernel):
    "PyTorch's axes: [unit, below, height, width], and fc6 reads a map flattened as unit, height, width."
    if kernel.ndim == 4:
        return np.moveaxis(kernel, (3, 2), (0, 1))
    if layer == "fc6":
        kernel = np.moveaxis(kernel.reshape(7, 7, -1, kernel.shape[1]), 2, 0).reshape(kernel.shape)
    return kernel.T


def convolution_turned(layer, kernel):
    "What tf2onnx does with Keras' kernels: Conv wants them as PyTorch has them, MatMul takes dense ones as they are."
    return np.moveaxis(kernel, (3, 2), (0, 1)) if kernel.ndim == 4 else kernel


KERAS_NAMES = {layer: f"block{layer[4]}_conv{layer[6]}" for layer in LAYERS[:13]} | {
    "fc6": "fc1",
    "fc7": "fc2",
    "fc8": "predictions",
}
NUMBERED = [f"conv2d_{place}" for place in range(13)] + [f"dense_{place}" for place in range(3)]
NUMBERED = {layer: name.removesuffix("_0") for layer, name in zip(LAYERS, NUMBERED)}
OURS = dict(zip(LAYERS, LAYERS))
ours, torchvision = renamed(OURS, "/kernel", "/bias"), renamed(dict(torch_names()), ".weight", ".bias", units_first)
machrisaa, keras3 = renamed(OURS, ".0", ".1"), renamed(NUMBERED, "/0", "/1")
early, keras = renamed(KERAS_NAMES, "_W_1:0", "_b_1:0"), renamed(KERAS_NAMES, "/kernel:0", "/bias:0")
tf2onnx = renamed(
    {layer: f"vgg16/{name}" for layer, name in KERAS_NAMES.items()},
    "/ReadVariableOp:0",
    "/BiasAdd/ReadVariableOp:0",
    convolution_turned,
)


# ---- what writes it


def listed(arrays):
    "A dictionary of [kernel, bias], as vgg16.npy holds it."
    return {
        layer: [array for name, array in arrays.items() if name.split(".")[0] == layer]
        for layer in {name.split(".")[0]: 0 for name in arrays}
    }


def by_numpy(path, arrays):
    np.save(path, listed(arrays), allow_pickle=True)


def by_python2(path, arrays):
    "vgg16.npy itself was written by Python 2: names are bytes."
    rows = [
        b"U" + bytes([len(name)]) + name.encode() + b"](" + b"".join(map(python2, row)) + b"e"
        for name, row in listed(arrays).items()
    ]
    npy(path, b"}(" + b"".join(rows) + b"u")


def by_keras2(path, arrays, wrap=""):
    """HDF5 as Keras 1 and 2 write it: a group a layer, which lists its arrays; a whole model has its parameters below
    `model_weights`."""
    with h5py.File(path, "w") as file:
        group = file.require_group(wrap) if wrap else file
        found = {name: {} for name in ("input_1", *(f"block{block}_pool" for block in range(1, 6)), "flatten")}
        for name, array in arrays.items():
            layer = name.split("/")[0].removesuffix("_W_1:0").removesuffix("_b_1:0")
            found.setdefault(layer, {})[f"{layer}/{name}" if "/" not in name else name] = array
        if not any(name.startswith("fc1") for name in arrays):
            del found["flatten"]
        group.attrs.update(
            layer_names=np.array([name.encode() for name in found]), backend=b"tensorflow", keras_version=b"2.1.6"
        )
        for layer, parts in found.items():
            group.create_group(layer).attrs["weight_names"] = np.array(
                [name.encode() for name in parts], None if parts else "S1"
            )
            for name, array in parts.items():
                group[f"{layer}/{name}" if name.count("/") else name] = array
        if wrap:
            file["optimizer_weights/Adam/block1_conv1/kernel/m:0"] = np.zeros((3, 3, 3, 4), np.float32)


def by_keras3(path, arrays):
    """HDF5 as Keras 3.15 writes it: layers by kind and number, whatever their names; those without parameters are there
    and empty."""
    with h5py.File(path, "w") as file:
        for name in ("input_layer", "flatten", "max_pooling2d", "max_pooling2d_1"):
            file.create_group(f"layers/{name}/vars").attrs["name"] = name
        file.create_group("vars").attrs["name"] = "vgg16"
        for name, array in arrays.items():
            file["layers/{}/vars/{}".format(*name.split("/"))] = array
        file["optimizer/vars/0"] = np.int64(1)


def by_onnx(path, arrays):
    "An ONNX file of initialisers; a shape to reshape to is among them, as exporters leave it."
    onnx = pytest.importorskip("onnx")
    tensors = [
        onnx.numpy_helper.from_array(array, name)
        for name, array in {**arrays, "flat_shape": np.array([-1, 1568])}.items()
    ]
    path.write_bytes(onnx.helper.make_model(onnx.helper.make_graph([], "vgg16", [], [], tensors)).SerializeToString())


class Form(NamedTuple):
    "A file's name, our arrays -> those in it, what writes them, and the preprocessing that belongs to it."

    file: str
    change: object
    write: object
    preprocessing: str = "bgr-means"


FORMS = {
    "ours": Form(
        "vgg16.safetensors", ours, lambda path, arrays: write_safetensors(path, arrays, {"preprocessing": "bgr-means"})
    ),
    "ours npz": Form("vgg16.npz", ours, lambda path, arrays: np.savez(path, **arrays)),
    "torchvision safetensors": Form(
        "model.safetensors", torchvision, lambda path, arrays: save_file(arrays, path, {"format": "pt"}), "mean-std"
    ),
    "torchvision zip": Form(
        "vgg16-397923af.pth", torchvision, lambda path, arrays: write_state(path, arrays, zipped), "mean-std"
    ),
    "torchvision old": Form(
        "vgg16-397923af.pth", torchvision, lambda path, arrays: write_state(path, arrays, old), "mean-std"
    ),
    "torchvision onnx": Form("vgg16.onnx", torchvision, by_onnx, "mean-std"),
    "machrisaa npy": Form("vgg16.npy", machrisaa, by_numpy),
    "machrisaa python 2": Form("vgg16.npy", machrisaa, by_python2),
    "machrisaa npz": Form("vgg16.npz", machrisaa, lambda path, arrays: np.savez(path, **arrays)),
    "keras 1": Form("vgg16_weights_tf_dim_ordering_tf_kernels.h5", early, by_keras2),
    "keras 2": Form("vgg16.h5", keras, by_keras2),
    "keras 2 model": Form("vgg16.h5", keras, partial(by_keras2, wrap="model_weights")),
    "keras 3": Form("vgg16.weights.h5", keras3, by_keras3),
    "keras onnx": Form("vgg16.onnx", tf2onnx, by_onnx),
}


def written(folder, form, arrays=ARRAYS, spoil=lambda arrays: arrays):
    "The file of a form, with its arrays spoilt where asked."
    path = folder / FORMS[form].file
    FORMS[form].write(path, spoil(FORMS[form].change(arrays)))
    return path


def outputs(model, images):
    return {
        layer: np.asarray(out, np.float64).reshape(-1) for layer, out in model.forward(model.parameters, images).items()
    }


def bgr(image):
    return (image[None, :, :, ::-1] - np.array([103.939, 116.779, 123.68])).astype(np.float32)


def rgb(image):
    return ((image[None] / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])).astype(np.float32)


HDF5 = ("keras 1", "keras 2", "keras 2 model", "keras 3")
every_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(written(tmp_path_factory.mktemp("ours"), "ours"))


@pytest.fixture(scope="module")
def first(model):
    "All layers through our own file."
    return outputs(model, bgr(picture()))


# ---- the same network


@every_form
def test_the_same_probabilities_as_pytorch(tmp_path, first, form):
    """The same preprocessed tensor, through every form: the golden values of torch_golden's pass, and every class as
    through our own file.

    No loader turns the channels of conv1_1. A form that was trained on RGB (torchvision's) keeps its kernels, and
    its preprocessing keeps RGB; the
    others get BGR. So one tensor gives the same numbers through all files, whatever its channels are called."""
    read, golden = load(written(tmp_path, form)), np.load(GOLDEN / "vgg16_small.npz")
    found = outputs(read, bgr(picture()))
    for layer, size in ("prob", 1), ("fc8", golden["fc8"][-1]), ("pool5", golden["pool5"][-1]):
        assert np.abs(sampled(layer, found[layer]) - golden[layer]).max() < 1e-5 * size, layer
        assert np.abs(found[layer] - first[layer]).max() < 1e-5 * size, layer
    assert found["prob"].shape == (62,) and list(found) == list(first) == list(golden)


@every_form
def test_each_form_has_its_preprocessing(tmp_path, form):
    "It is recorded, it is what is done, and it can be said otherwise."
    path, image, makes, named = (
        written(tmp_path, form),
        picture(3),
        {"bgr-means": bgr, "mean-std": rgb},
        FORMS[form].preprocessing,
    )
    (other,) = set(makes) - {named}
    for name, read in (named, load(path)), (other, load(path, preprocess=other)):
        assert read.record["preprocessing"] == name and read.record["weights"] == path.name
        assert np.allclose(read.preprocess(image[None]), makes[name](image), rtol=1e-5, atol=1e-4), name


def test_the_preprocessing_of_the_form_reaches_the_network(tmp_path, model):
    """An RGB image through torchvision's file as it is: what our own file gives for torchvision's tensor, and not for
    its own."""
    read, image = load(written(tmp_path, "torchvision zip")), picture(3)
    found = outputs(read, read.preprocess(image[None]))["prob"]
    assert np.abs(found - outputs(model, rgb(image))["prob"]).max() < 1e-5
    assert np.abs(found - outputs(model, bgr(image))["prob"]).max() > 0.01


@every_form
def test_without_top(tmp_path, model, form):
    "The convolutions are the same; a layer behind them is refused, and it says what it would need."
    path = written(tmp_path, form, {name: array for name, array in ARRAYS.items() if name.startswith("conv")})
    read = load(path)
    assert all(
        np.array_equal(*pair)
        for layer in LAYERS[:13]
        for pair in zip(*(jax.tree.leaves(one.parameters[layer]) for one in (read, model)))
    )
    assert list(layers(read))[-1] == "pool5"
    for layer in ("prob", "fc6"):
        with pytest.raises(InputError) as said:
            check_layers(read, [layer])
        assert_says(said.value, f"layer {layer!r} needs the fully connected parameters", path.name, "take pool5")


def test_an_unknown_preprocessing(tmp_path):
    with pytest.raises(InputError) as said:
        load(written(tmp_path, "ours"), preprocess="bgr-mean")
    assert_says(said.value, "preprocessing 'bgr-mean' is unknown", "'bgr-means'")


@pytest.mark.parametrize(
    "form, words, named",
    [("torchvision zip", (), "mean-std"), ("torchvision zip", ("--preprocessing", "bgr-means"), "bgr-means")],
)
def test_a_dissection_says_its_preprocessing(tmp_path, monkeypatch, capsys, form, words, named):
    "From the command line, in the attributes of what it writes; the same in JSON."
    monkeypatch.setitem(registry.MODELS, "vgg16", registry.Family("narrow", partial(vgg16, width=1 / 16)))
    path, out = written(tmp_path, form), tmp_path / "out"
    order = [
        "match",
        "vgg16",
        "--weights",
        path,
        "--data",
        "scenes:2",
        "--layers",
        "pool2",
        "--quantile",
        "0.02",
        "--out",
        out,
        "--json",
        "--quiet",
        *words,
    ]
    assert run(list(map(str, order))) == 0
    for about in (
        json.loads(Dissection.load(out).table.attrs["about"]),
        json.loads(capsys.readouterr().out)["made"]["about"],
    ):
        assert about["weights"]["preprocessing"] == named and about["weights"]["weights"] == path.name


# ---- PyTorch itself: `make test-torch`


@pytest.fixture(scope="module")
def network():
    "torchvision's module with 1/16 of the units, in PyTorch, with our parameters."
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    nn, below, features = torch.nn, 3, []
    for units, count in BLOCKS:
        for _ in range(count):
            features += [nn.Conv2d(below, units // 16, 3, padding=1), nn.ReLU(inplace=True)]
            below = units // 16
        features.append(nn.MaxPool2d(2))

    class VGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.avgpool = nn.Sequential(*features), nn.AdaptiveAvgPool2d((7, 7))
            self.classifier = nn.Sequential(
                nn.Linear(1568, 256),
                nn.ReLU(True),
                nn.Dropout(),
                nn.Linear(256, 256),
                nn.ReLU(True),
                nn.Dropout(),
                nn.Linear(256, 62),
            )

        def forward(self, x):
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    made = VGG().eval()
    made.load_state_dict({name: torch.from_numpy(array) for name, array in torchvision(ARRAYS).items()})
    return made


def probabilities(network, images):
    "In float64, of images [1, height, width, channel]."
    import torch

    with torch.no_grad():
        return torch.softmax(
            network.double()(torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2)), 1
        ).numpy()[0]


@pytest.mark.parametrize("wrap", ["state_dict", "training", "parallel"])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
def test_pytorch_writes_it(tmp_path, network, new, wrap):
    """Both of its forms, alone, in a checkpoint, and from several devices; its own probabilities, and those of
    torch_golden's pass."""
    import torch

    state = network.float().state_dict()
    if wrap == "training":
        state = {
            "epoch": 3,
            "state_dict": state,
            "optimizer": torch.optim.SGD(network.parameters(), 0.1, momentum=0.9).state_dict(),
        }
    if wrap == "parallel":
        state = torch.nn.DataParallel(network).state_dict()
    torch.save(state, tmp_path / "vgg16.pth", _use_new_zipfile_serialization=new)
    read, image = load(tmp_path / "vgg16.pth"), picture(7)
    assert read.record["preprocessing"] == "mean-std"
    assert np.abs(outputs(read, read.preprocess(image[None]))["prob"] - probabilities(network, rgb(image))).max() < 1e-5
    assert np.abs(outputs(read, bgr(image))["prob"] - torch_pass(ARRAYS, image)["prob"].reshape(-1)).max() < 1e-5


@every_form
def test_pytorch_says_the_same_live(tmp_path, network, form):
    "Its module's probabilities for the tensor that the form's own preprocessing makes."
    read, image = load(written(tmp_path, form)), picture(5)
    tensor = np.asarray(read.preprocess(image[None]))
    assert np.abs(outputs(read, tensor)["prob"] - probabilities(network, tensor)).max() < 1e-5


# ---- another network


def without(layer):
    "The arrays of a form but those of one layer: they stand in our order."

    def spoil(arrays):
        return {name: array for (name, array), key in zip(arrays.items(), ARRAYS) if key.split("/")[0] != layer}

    return spoil


def not_finite(arrays):
    return {
        name: np.where(array == array.max(), np.nan, array) if array.size == 1568 * 256 else array
        for name, array in arrays.items()
    }


WRONG = {
    "no conv5_3": (without("conv5_3"), 1 / 16, ("no array 'conv5_3/", "another network")),
    "wide": (dict, 1 / 8, ("'conv1_1/", "has shape", "expected", "another network")),
    "not finite": (not_finite, 1 / 16, ("'fc6/kernel' has values that are not finite", "again")),
}


@pytest.mark.parametrize("case", WRONG)
@every_form
def test_another_network_is_refused(tmp_path, form, case):
    "Naming the file and the array."
    spoil, width, words = WRONG[case]
    path = written(tmp_path, form, spoil=spoil)
    with pytest.raises(InputError) as said:
        load_model("vgg16", path, width=width)
    assert_says(said.value, path, *words, most=1000)


def test_what_is_not_vgg16s_batch_normalisation(tmp_path):
    "One array of a batch normalisation alone."
    path = written(
        tmp_path, "torchvision zip", spoil=lambda arrays: arrays | {"features.1.weight": np.ones(4, np.float32)}
    )
    with pytest.raises(InputError) as said:
        load(path)
    assert_says(said.value, path, "'features.1.weight' has no place in VGG16")


# ---- damage. What the readers survive is in test_pickles.py and test_weights.py: here, that a whole network does


def attempt(path):
    "The refusal's sentence, empty where it is read; and that neither takes more than some megabytes: the file has two."
    tracemalloc.start()
    try:
        load(path)
    except InputError as refused:
        assert_says(refused, path, most=1000)
        return str(refused)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 << 20, (path, peak)
    return ""


@every_form
def test_a_truncated_file(tmp_path, form):
    "Cut anywhere, it is refused."
    path = written(tmp_path, form)
    content = path.read_bytes()
    for share in (0, 0.0001, 0.02, 0.3, 0.6, 0.95, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        assert attempt(path), share


@pytest.mark.parametrize("form", [form for form in FORMS if form not in HDF5])
def test_flipped_bits(tmp_path, form):
    """Where names and sizes stand: at both ends of the file. It is read or it is refused, and nothing else. Not of
    HDF5, which another library reads."""
    path, chance = written(tmp_path, form), random.Random(0)
    content = path.read_bytes()
    said = []
    for flips in (8, 64):
        changed = bytearray(content)
        for _ in range(flips):
            changed[chance.choice((chance.randrange(1500), len(content) - 1 - chance.randrange(1500)))] ^= (
                1 << chance.randrange(8)
            )
        path.write_bytes(changed)
        said.append(attempt(path))
    assert said[-1]


def opcodes(*numbers):
    return b"".join(b"J" + struct.pack("<i", number) for number in numbers)


MORE = (
    {  # what fc6's kernel says of its shape, and what it is made to say: a row more
        "ours": (b'"fc6/kernel":{"dtype":"F32","shape":[1568,256]', b'"fc6/kernel":{"dtype":"F32","shape":[1568,257]'),
        "torchvision safetensors": (
            b'"classifier.0.weight":{"dtype":"F32","shape":[256,1568]',
            b'"classifier.0.weight":{"dtype":"F32","shape":[257,1568]',
        ),
        "torchvision onnx": (b"\x08\x80\x02\x08\xa0\x0c", b"\x08\x81\x02\x08\xa0\x0c"),
        "machrisaa npy": (b"M\x20\x06M\0\1\x86", b"M\x20\x06M\1\1\x86"),
        "machrisaa python 2": (opcodes(1568, 256), opcodes(1568, 257)),
        "keras onnx": (b"\x08\xa0\x0c\x08\x80\x02", b"\x08\xa0\x0c\x08\x81\x02"),
    }
    | dict.fromkeys(("ours npz", "machrisaa npz"), (b"(1568, 256)", b"(1568, 257)"))
    | dict.fromkeys(("torchvision zip", "torchvision old"), (opcodes(256, 1568), opcodes(257, 1568)))
)


@pytest.mark.parametrize("form", MORE)
def test_a_shape_that_claims_more_than_there_is(tmp_path, form):
    "It is refused."
    path, (before, after) = written(tmp_path, form), MORE[form]
    content = path.read_bytes()
    assert before in content and len(before) == len(after)
    path.write_bytes(content.replace(before, after))
    assert "no readable" in attempt(path)


@pytest.mark.parametrize("form", HDF5)
def test_an_array_that_was_never_written(tmp_path, form):
    "A good HDF5 file in which the shape of fc6's kernel stands, and no number of it."
    path, found = written(tmp_path, form), []
    with h5py.File(path, "r+") as file:
        file.visititems(lambda name, one: found.append(name) if getattr(one, "shape", ()) == (1568, 256) else None)
        del file[found[0]]
        file.create_dataset(found[0], (1568, 256), "f4")
    assert "claims 1605632 bytes and has 0" in attempt(path) and len(found) == 1


@pytest.mark.parametrize("cells", [3, 14])
def test_fc6_is_turned_for_other_sizes_of_input(cells, tmp_path):
    "torchvision's order over 3 x 3 and 14 x 14 cells: the same product as ours of the same map."
    noise = np.random.default_rng(cells)
    ours, maps = noise.normal(size=(cells, cells, 32, 256)).astype(np.float32), noise.normal(size=(cells, cells, 32))
    save_file(
        torchvision(ARRAYS)
        | {"classifier.0.weight": np.ascontiguousarray(ours.transpose(3, 2, 0, 1).reshape(256, -1))},
        tmp_path / "a.safetensors",
    )
    turned = np.asarray(load(tmp_path / "a.safetensors", size=32 * cells).parameters["fc6"]["kernel"][...])
    np.testing.assert_allclose(maps.reshape(-1) @ turned, np.einsum("hwu,hwuc->c", maps, ours))


def test_a_square_kernel_of_as_many_units_is_turned():
    "3 x 3 kernels of three units from three: PyTorch's axes cannot be told by their lengths."
    kernel = np.arange(81).reshape(3, 3, 3, 3)

    def first(names, ending):
        arrays = {
            f"{names[layer]}{end}": value
            for layer in LAYERS[:13]
            for end, value in zip(ending, (kernel, kernel[0, 0, 0]))
        }
        return vgg16_form(
            {name: value.astype(np.float32) for name, value in arrays.items()}, Path("a.safetensors")
        ).arrays["conv1_1/kernel"]

    np.testing.assert_array_equal(first(dict(torch_names()), (".weight", ".bias")), kernel.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(first(KERAS_NAMES, ("/kernel:0", "/bias:0")), kernel)


def test_an_empty_fc6_is_refused(tmp_path):
    "Not a single unit below: one sentence."
    path = tmp_path / "empty.safetensors"
    save_file(
        {
            "features.0.weight": np.zeros((4, 3, 3, 3), np.float32),
            "features.0.bias": np.zeros(4, np.float32),
            "classifier.0.weight": np.zeros((0, 1568), np.float32),
            "classifier.0.bias": np.zeros(0, np.float32),
        },
        path,
    )
    with pytest.raises(InputError, match="empty.safetensors"):
        load(path)
