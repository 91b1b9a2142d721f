"""Pickles, archives and HDF5: what they hold is read rightly, a call that is not on the list is refused by its name,
and every limit holds.

Each limit is an argument, tried with a small valid file and a small limit; nothing here would harm another reader."""

import argparse
import collections
import datetime
import io
import json
import pickle
import random
import struct
import sys
import zipfile
from functools import partial
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
import sentences

from inner_detectors.core.errors import InputError
from inner_detectors.networks.weights.formats import read_weights
from inner_detectors.networks.weights.hdf5 import h5_arrays
from inner_detectors.networks.weights.numpy import zip_members, npy_header
from inner_detectors.networks.weights.pickled_arrays import arrays_in
from inner_detectors.networks.weights.pickles import Limits, check_pickle, read_pickle
from inner_detectors.networks.weights.safetensors import write_safetensors
from inner_detectors.networks.weights.torch import storages as storages_in

MAGIC = (
    0x1950A86A20F9469CFC6C,
    1001,
    {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}},
)
NAMES = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
    "complex64": "ComplexFloat",
}
ARRAY = np.arange(24, dtype=np.float32).reshape(4, 6)
STORAGE = [("0", 24, ARRAY.tobytes())]  # key, number of values, bytes
assert_says = partial(sentences.assert_says, most=1000)


# ---- a pickle by hand: each piece leaves one value on the stack


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value) if -1 << 31 <= value < 1 << 31 else b"\x8a\x08" + struct.pack("<q", value)


def piece(value):
    return value if isinstance(value, bytes) else number(value) if isinstance(value, int) else text(value)


def row(*parts):
    return b"(" + b"".join(map(piece, parts)) + b"t"


def table(**entries):
    return b"}(" + b"".join(text(name) + piece(value) for name, value in entries.items()) + b"u"


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def called(module, name, *given):
    return named(module, name) + row(*given) + b"R"


def body(value, protocol=2):
    return pickle.dumps(value, protocol)[2:-1]


def whole(part):
    return b"\x80\x02" + part + b"."


def storage(kind="Float", key="0", numel=24, *view):
    return row("storage", named("torch", f"{kind}Storage"), key, "cpu", numel, *view) + b"Q"


def tensor(stored=None, offset=0, shape=(4, 6), strides=(6, 1)):
    return called(
        "torch._utils",
        "_rebuild_tensor_v2",
        stored or storage(),
        offset,
        row(*shape),
        row(*strides),
        b"\x89",
        called("collections", "OrderedDict"),
    )


def npy(path, part):
    "A .npy of one object."
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }\n"
    array = called("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), row(0), b"C\x01b")
    kind = called("numpy", "dtype", "O8", b"\x89", b"\x88") + row(3, "|", b"N", b"N", b"N", -1, -1, 63) + b"b"
    path.write_bytes(
        b"\x93NUMPY\1\0"
        + struct.pack("<H", len(head))
        + head
        + whole(array + row(1, b")", kind, b"\x89", b"]" + part + b"a") + b"b")
    )
    return path


def zipped(path, part, storages=STORAGE, **more):
    "PyTorch's zip form."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", whole(part))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for key, _, content in storages:
            archive.writestr(f"archive/data/{key}", content)
        for name, content in more.items():
            archive.writestr(f"archive/{name}", content)
    return path


def old(path, part, storages=STORAGE, first=MAGIC, keys=None):
    "PyTorch's form before 2020."
    start = b"".join(value if isinstance(value, bytes) else pickle.dumps(value, 2) for value in first)
    keys = keys or pickle.dumps([key for key, _, _ in storages], 2)
    path.write_bytes(
        start + whole(part) + keys + b"".join(struct.pack("<q", numel) + content for _, numel, content in storages)
    )
    return path


FORMS = {"npy": npy, "zip.pth": zipped, "old.pth": old}


def zip_of(path, content, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


# ---- what is refused, and what is only noted


class Own:
    "A class of somebody's own, as checkpoints keep for their configuration."

    def __init__(self):
        self.rate, self.names = 0.1, ["a"]

    def __eq__(self, other):
        raise AssertionError("it is never made")


@pytest.mark.parametrize("form", FORMS)
def test_a_call_that_is_not_on_the_list_is_refused_by_name(tmp_path, form):
    "Calls that would do no harm: a name on the list is noted, any other refused, wherever it stands."
    good = tensor() if form != "npy" else python2(ARRAY)
    for part, name in (
        (called("fractions", "Fraction", 1, 3), "fractions.Fraction"),
        (called("builtins", "len", "ab"), "builtins.len"),
        (text("math") + text("sqrt") + b"\x93" + row(4) + b"R", "math.sqrt"),
        (text("math") + text("f\u0430bs") + b"\x93" + row(4) + b"R", r"math.f\u0430bs"),
    ):
        for where in (
            table(a=good, b=part),
            b"](" + good + part + b"e",
            table(a=called("collections", "OrderedDict", part)),
        ):
            path = FORMS[form](tmp_path / f"a.{form}", where)
            with pytest.raises(InputError) as said:
                read_weights(path)
            assert_says(said.value, path, f"asks for a call of {name}", "Nothing in it was run", "again")


def test_nothing_is_looked_up(monkeypatch):
    "Python's own events say that no name is looked up and no module imported; the notes hold what was said."
    seen, watching = [], []
    sys.addaudithook(
        lambda event, given: seen.append(given) if watching and event in ("pickle.find_class", "import") else None
    )
    value = {
        "own": Own(),
        "folder": Path("a/b"),
        "arguments": argparse.Namespace(x=1),
        "when": datetime.date(2020, 1, 2),
        "count": collections.Counter("aab"),
        "state": np.random.RandomState(0),
        "new": np.random.default_rng(0),
        "array": ARRAY,
    }
    for protocol in (2, 3, 4, 5):
        stream = io.BytesIO(pickle.dumps(value, protocol))
        watching.append(protocol)
        notes, _ = read_pickle(stream)
        watching.clear()
        assert not seen and {type(type(note)).__name__ for note in notes.values()} == {"StandIn"}
        assert notes["own"].name.endswith(".Own") and notes["own"].state == {"rate": 0.1, "names": ["a"]}
        np.testing.assert_equal(arrays_in({"array": notes["array"], "own": notes["own"]}), {"array": ARRAY})


def test_what_python_would_do_with_an_object_is_not_done():
    "Attributes, entries and items of what was only named, and calls of what is no name: one sentence each."
    for part, words in (
        (named("a", "B") + table(c=1) + b"b", "cannot be unpickled"),
        (b"]" + table(c=1) + b"b", "cannot be unpickled"),
        (named("a", "B") + text("a") + text("b") + b"s", "cannot be unpickled"),
        (text("len") + row("ab") + b"R", "not callable"),
        (called("numpy", "dtype", "f4") + row("x") + b"R", "not callable"),
        (b"K\1K\2\x93", "cannot be unpickled"),
        (named("a", "B") + row("f4") + b"}" + b"\x92", "opcode NEWOBJ_EX"),
        (b"\x97", "opcode NEXT_BUFFER"),
        (b"Pa\n", "opcode PERSID"),
        (b"N2", "opcode DUP"),
        (b"\x82\1", "opcode EXT1"),
        (b"h\7", "does not have"),
        (b"0", "does not have"),
        (b"1", "does not have"),
        (b"(e", "does not have"),
        (b"Nr\7\0\0\0", "at place 7"),
        (b"\x95\x20" + bytes(7) + b"N", "a frame claims 32 bytes"),
        (b"X\7\0\0\0ab", "expected 7 bytes"),
    ):
        with pytest.raises(ValueError, match=words):
            read_pickle(io.BytesIO(whole(part)))
    note, _ = read_pickle(io.BytesIO(whole(named("a", "B") + b")\x81" + b"}" + b"b" + text("a") + b"a")))
    assert (note.name, note.given, note.state, list(note)) == ("a.B", (), {}, [])


LIMITS = {
    "operations": (Limits(operations=6), [1, 2, 3], "more than 6 steps"),
    "size": (Limits(size=20), ["a" * 30], "more than 20 bytes"),
    "depth": (Limits(depth=2), [[[["a"]]]], "more than 2 deep"),
    "depth of tuples": (Limits(depth=2), ((((1,),),),), "more than 2 deep"),
    "keys": (Limits(keys=2), {0.5: 1, 1.5: 2, 2.5: 3}, "more than 2 numbers"),
    "keys of tuples": (Limits(keys=2), {(1, 2, 3): 4}, "more than 2 numbers"),
    "wide keys": (Limits(keys=1), {1 << 40: 1, 1 << 41: 2}, "more than 1 numbers"),
    "sets": (Limits(keys=1), {0.5, 1.5}, "more than 1 numbers"),
    "digits": (Limits(digits=8), 1 << 80, "more than 8 bytes"),
    "names": (Limits(names=1), [Path("a"), argparse.Namespace()], "more than 1 names"),
    "length": (Limits(length=10), Path("a"), "a name of"),
    "copies": (Limits(operations=40), [Path("a/b"), Path("a/b/c/d/e/f/g/h")], "more than 40 steps"),
}


@pytest.mark.parametrize("case", LIMITS)
def test_each_limit_of_a_pickle(case):
    limits, value, words = LIMITS[case]
    stream = io.BytesIO(b"before" + pickle.dumps(value, 4))
    stream.seek(6)
    check_pickle(stream)
    assert stream.tell() == 6
    with pytest.raises(ValueError, match=words):
        read_pickle(stream, limits)
    stream.seek(6)
    read_pickle(stream)
    assert not stream.read()


def test_each_limit_of_a_tree_and_an_archive(tmp_path):
    with pytest.raises(ValueError, match="more than 3 values"):
        arrays_in([1, 2, 3], steps=3)
    with pytest.raises(ValueError, match="more than 1 deep"):
        arrays_in([[[1]]], deepest=1)
    path = zip_of(tmp_path / "a.zip", {"a": bytes(100), "b": b"b"}, zipfile.ZIP_DEFLATED)
    assert {name: bytes(view) for name, view in zip_members(path, ".").items()} == {"a": bytes(100), "b": b"b"}
    with pytest.raises(ValueError, match="more than 1 members"):
        zip_members(path, ".", most=1)
    with pytest.raises(ValueError, match="over 0 times as large"):
        zip_members(path, ".", swells=0)
    with pytest.raises(ValueError, match="does not begin"):
        npy_header(memoryview(b"\x93NUMPY\1\0\x10\0" + b" " * 20), most=9)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a/b/c", data=ARRAY, chunks=(2, 2), compression="gzip")
    with pytest.raises(ValueError, match="more than 1 deep"):
        h5_arrays(tmp_path / "a.h5", 1000, deepest=1)
    with pytest.raises(ValueError, match="over 2 times as large"):
        h5_arrays(tmp_path / "a.h5", 10, swells=2, spare=0)


def test_pickles_elsewhere_in_an_archive_stay_bytes(tmp_path):
    other = whole(called("fractions", "Fraction", 1, 3))
    path = zipped(
        tmp_path / "a.pth", table(weight=tensor()), **{"other.pkl": other, "constants.pkl": other, "data/9": other}
    )
    np.testing.assert_equal(read_weights(path), {"weight": ARRAY})
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", other)
    with pytest.raises(InputError, match="'archive/data.pkl' is in it twice"):
        read_weights(path)
    zip_of(path, {"a/data.pkl": other, "b/data.pkl": other})
    with pytest.raises(InputError, match="without a data.pkl"):
        read_weights(path)


# ---- tensors that reach beyond their storages

WRONG = {
    "offset": (dict(offset=1), "does not fit its storage of 24"),
    "negative offset": (dict(offset=-1), "does not fit"),
    "shape": (dict(shape=(5, 6)), "does not fit"),
    "strides": (dict(strides=(6, 2)), "does not fit"),
    "negative shape": (dict(shape=(-4, -6)), "the shape of an array in it is none"),
    "negative strides": (dict(strides=(-6, -1)), "the shape of an array in it is none"),
    "repeats": (dict(shape=(5, 6), strides=(0, 1)), "does not fit"),
    "strides missing": (dict(strides=(6,)), "has 1 strides"),
    "many axes": (dict(shape=(1,) * 33, strides=(1,) * 33), "the shape of an array in it is none"),
    "shape of text": (dict(shape=("a",), strides=("b",)), "the shape of an array in it is none"),
    "key": (dict(stored=storage(key="7")), "the storage '"),
    "view": (dict(stored=storage("Float", "0", 24, row("v", 20, 8))), "does not fit"),
    "quantised": (dict(stored=storage("QInt8")), "asks for torch.QInt8Storage"),
    "no storage": (
        dict(stored=row("other", named("torch", "FloatStorage"), "0", "cpu") + b"Q"),
        "not that of a storage",
    ),
    "text as id": (dict(stored=text("0") + b"Q"), "not that of a storage"),
}


@pytest.mark.parametrize("write", [zipped, old])
def test_no_tensor_reaches_beyond_its_storage(tmp_path, write):
    for case, (how, words) in WRONG.items():
        with pytest.raises(InputError) as said:
            read_weights(write(tmp_path / "a.pth", table(weight=tensor(**how))))
        try:
            assert_says(said.value, "a.pth", words, "again")
        except AssertionError:
            raise AssertionError(f"{case}: {said.value}") from None


@pytest.mark.parametrize(
    "stored", [storage(numel=25), storage(numel=-1), storage("Double")], ids=["numel", "negative numel", "type"]
)
def test_no_storage_is_larger_than_its_bytes(stored):
    "By hand, in no file: another reader might believe it."
    bytes_of = storages_in({"0": memoryview(ARRAY.tobytes())})
    np.testing.assert_equal(arrays_in(read_pickle(io.BytesIO(whole(tensor())))[0], bytes_of), {"": ARRAY})
    with pytest.raises(ValueError, match="claims .* and has 96 bytes"):
        arrays_in(read_pickle(io.BytesIO(whole(tensor(stored))))[0], bytes_of)


# ---- what is read, is read rightly


def python2(array):
    "An array as NumPy in Python 2 pickled it: bytes everywhere."
    kind = (
        named("numpy", "dtype")
        + row(b"U" + bytes([len(array.dtype.str[1:])]) + array.dtype.str[1:].encode(), 0, 1)
        + b"R"
    )
    kind += row(3, b"U\1" + array.dtype.str[:1].encode(), b"N", b"N", b"N", -1, -1, 0) + b"b"
    start = named("numpy.core.multiarray", "_reconstruct") + row(named("numpy", "ndarray"), row(0), b"U\1b") + b"R"
    data = array.tobytes()
    data = b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data
    return start + row(1, row(*array.shape), kind, b"\x89", data) + b"b"


def test_the_npy_of_python_2(tmp_path):
    kernel, bias = np.random.RandomState(0).randn(3, 3, 3, 64).astype(np.float32), np.arange(64, dtype=np.float32)
    path = npy(tmp_path / "vgg16.npy", b"}(U\x07conv1_1](" + python2(kernel) + python2(bias) + b"eu")
    assert np.load(path, allow_pickle=True, encoding="latin1").item().keys() == {
        "conv1_1"
    }  # NumPy agrees that it is one
    np.testing.assert_equal(read_weights(path), {"conv1_1.0": kernel, "conv1_1.1": bias})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_in_every_protocol(tmp_path, protocol):
    kinds = {
        kind: np.arange(12).reshape(3, 4).astype(kind)
        for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    }
    tree = {
        "kinds": kinds,
        "order": [ARRAY.T, np.asfortranarray(ARRAY), ARRAY[::2, ::3]],
        b"axes": (np.array(2.5), np.zeros((0, 3))),
        "beside": [np.float32(3), 10**20, 1.5, "text", None, {1, 2}, frozenset({3}), np.dtype("f4"), ()],
    }
    tree["again"] = kinds["f4"]
    if protocol < 4:
        tree["beside"][5:7] = []
    npy(tmp_path / "a.npy", b"N")
    head = (tmp_path / "a.npy").read_bytes().split(b"\x80\x02")[0]
    outer = np.empty((), object)
    outer[()] = tree
    (tmp_path / "a.npy").write_bytes(head + pickle.dumps(outer, protocol))
    found = read_weights(tmp_path / "a.npy")
    expected = {f"kinds.{kind}": array for kind, array in kinds.items()} | {
        f"order.{place}": array for place, array in enumerate(tree["order"])
    }
    np.testing.assert_equal(
        found, expected | {"axes.0": np.array(2.5), "axes.1": np.zeros((0, 3)), "again": kinds["f4"]}
    )
    assert {name: array.dtype for name, array in found.items() if name in expected} == {
        name: array.dtype for name, array in expected.items()
    }
    assert np.shares_memory(found["again"], found["kinds.f4"])


def test_plain_npy_and_npz(tmp_path):
    for array in (ARRAY, ARRAY.T, ARRAY.astype(">f8"), np.float32(3), np.zeros((2, 0)), np.arange(5, dtype="u2") > 2):
        np.save(tmp_path / "conv.npy", array)
        (found,) = read_weights(tmp_path / "conv.npy").items()
        np.testing.assert_equal(found, ("conv", np.asarray(array)))
        assert found[1].dtype.isnative
    for array in (np.zeros(2, "i4,f4"), np.zeros(2, "M8[s]"), np.array(["text"]), np.array([None, 1])):
        np.save(tmp_path / "conv.npy", array)
        with pytest.raises(InputError) as said:
            read_weights(tmp_path / "conv.npy")
        assert_says(said.value, "conv.npy")
    np.savez(tmp_path / "some.npz", a=ARRAY, b=ARRAY.T, c=ARRAY.astype(">f8"))
    np.testing.assert_equal(read_weights(tmp_path / "some.npz"), {"a": ARRAY, "b": ARRAY.T, "c": ARRAY})
    pair = np.empty(2, object)
    pair[:] = [ARRAY, ARRAY[0]]
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "some.npz", a=np.array({"c": ARRAY, "d": pair}, object), b=pair)
        np.testing.assert_equal(
            read_weights(tmp_path / "some.npz"),
            {"a.c": ARRAY, "a.d.0": ARRAY, "a.d.1": ARRAY[0], "b.0": ARRAY, "b.1": ARRAY[0]},
        )


def as_tensor(array, key, *more):
    "A tensor that is a window into the storage of its base, as PyTorch would write it."
    base = array.base if array.base is not None else array
    name = NAMES["bfloat16" if array.dtype == ml_dtypes.bfloat16 else array.dtype.name]
    offset = (
        (array.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // array.itemsize
        if array.size
        else 0
    )
    return tensor(
        storage(name, key, base.size, *more),
        offset,
        array.shape,
        [stride // array.itemsize for stride in array.strides],
    ), base


def write_state(path, arrays, write, wrap=lambda part: part):
    "The arrays in one of PyTorch's forms."
    parts, storages = {}, {}
    for key, (name, array) in enumerate(arrays.items()):
        parts[name], storages[str(key)] = as_tensor(array, str(key), *[b"N"] * (write is old))
    return write(path, wrap(table(**parts)), [(key, base.size, base.tobytes()) for key, base in storages.items()])


@pytest.mark.parametrize("write", [zipped, old])
def test_tensors_of_both_forms(tmp_path, write):
    arrays = {kind: np.arange(12).astype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind) for kind in NAMES}
    base = np.arange(24, dtype=np.float32)
    square = np.ndarray((4, 6), np.float32, base)
    arrays |= {
        "conv.weight": square,
        "turned": square.T,
        "steps": square[1:3, ::2],
        "lone": base[5:6].reshape(()),
        "none": base[:0],
    }
    read = read_weights(write_state(tmp_path / "a.pth", arrays, write))
    np.testing.assert_equal(read, arrays)
    assert {name: array.dtype for name, array in read.items()} == {name: array.dtype for name, array in arrays.items()}
    read["conv.weight"][0, 0] = 7  # it is ours to change


@pytest.mark.parametrize("write", [zipped, old])
def test_names_of_a_training(tmp_path, write):
    def read(wrap, arrays=None):
        return set(
            read_weights(
                write_state(tmp_path / "a.pth", arrays or {"module.a": ARRAY, "module.b.c": ARRAY}, write, wrap)
            )
        )

    assert read(lambda part: table(epoch=3, arch="x", state_dict=part)) == {"a", "b.c"}
    assert read(
        lambda part: table(model=part, optimizer=table(state=b"}" + number(0) + table(exp_avg=tensor()) + b"s"))
    ) == {"a", "b.c"}
    assert read(lambda part: table(state_dict=part, best=tensor())) == {"a", "b.c", "best"}
    assert read(lambda part: table(state_dict=part, ema=part)) == {
        "state_dict.module.a",
        "state_dict.module.b.c",
        "ema.module.a",
        "ema.module.b.c",
    }
    assert read(lambda part: part, {"model.a": ARRAY, "a": ARRAY}) == {"model.a", "a"}  # would be the same name
    assert read(lambda part: b"](" + part + b"e", {"a": ARRAY}) == {"0.a"}
    one = {"w": ARRAY}
    assert read(lambda part: tensor(), one) == {"a"}  # the file's
    assert read(lambda part: called("torch._utils", "_rebuild_parameter", tensor(), b"\x88", b"}"), one) == {"a"}
    assert read(
        lambda part: called("collections", "OrderedDict", b"]" + b"](" + text("w") + tensor() + b"ea"), one
    ) == {"w"}  # of Python 2
    with pytest.raises(InputError, match="holds no array"):
        read(lambda part: table(optimizer=part, epoch=3))
    both = b"}(" + text("a.b") + tensor() + text("a") + table(b=tensor()) + b"u"
    with pytest.raises(InputError, match="two arrays in it are called 'a.b'"):
        read(lambda part: both, one)


def test_big_endian_is_refused(tmp_path):
    old(tmp_path / "old.pth", tensor(), first=(*MAGIC[:2], {"little_endian": False}))
    zip_of(tmp_path / "zip.pth", {"x/data.pkl": whole(tensor()), "x/data/0": ARRAY.tobytes(), "x/byteorder": "big"})
    npy(tmp_path / "a.npy", table(a=body(ARRAY.astype(">f4"))))
    for name in ("old.pth", "zip.pth", "a.npy"):
        with pytest.raises(InputError) as said:
            read_weights(tmp_path / name)
        assert_says(said.value, name, "big-endian. Convert")


def test_a_storage_behind_a_storage(tmp_path):
    "A window into a storage, as PyTorch knew it before 2017."
    part = table(
        a=tensor(storage("Float", "0", 24, row("v", 4, 6)), 0, (2, 3), (3, 1)),
        b=tensor(storage("Float", "0", 24, b"N")),
    )
    for write in (zipped, old):
        np.testing.assert_equal(
            read_weights(write(tmp_path / "a.pth", part)), {"a": ARRAY.ravel()[4:10].reshape(2, 3), "b": ARRAY}
        )


def test_pytorch_writes_what_we_read(tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(4, 6)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Sequential(torch.nn.Linear(4, 2))
    )
    views = {
        "a": base,
        "t": base.t(),
        "s": base[1:3, ::2],
        "e": torch.zeros(0, 3),
        "p": torch.nn.Parameter(base),
        "l": [base, (base,)],
        "n": np.arange(6, dtype=np.int16).reshape(2, 3),
        "size": base.shape,
        "type": torch.float16,
        "device": torch.device("cpu"),
        "x": np.float64(0.1),
    }
    kinds = {name: torch.tensor([1, 0, 3]).to(getattr(torch, name)) for name in NAMES}
    optimiser = torch.optim.Adam(net.parameters())
    training = {
        "epoch": 3,
        "state_dict": {f"module.{name}": value for name, value in net.state_dict().items()},
        "optimizer": optimiser.state_dict(),
    }

    def plain(value):
        return (
            value.detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
            if value.dtype == torch.bfloat16
            else value.detach().numpy()
        )

    state = {name: plain(value) for name, value in net.state_dict().items()}
    for new in (True, False):
        for protocol in (2, 3, 4, 5):

            def read(value, new=new, protocol=protocol):
                torch.save(value, tmp_path / "a.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=new)
                return read_weights(tmp_path / "a.pth")

            np.testing.assert_equal(read(net.state_dict()), state)
            np.testing.assert_equal(read(training), state)
            np.testing.assert_equal(read(kinds), {name: plain(value) for name, value in kinds.items()})
            found = {name: plain(value) for name, value in views.items() if isinstance(value, torch.Tensor)}
            np.testing.assert_equal(read(views), found | {"l.0": base.numpy(), "l.1.0": base.numpy(), "n": views["n"]})
            np.testing.assert_equal(read(net), state)  # a whole module: its tensors are attributes
            with pytest.raises(InputError, match="asks for a call of torch._utils._rebuild_sparse_tensor"):
                read(base.to_sparse())
    for narrow in ("float8_e4m3fn", "float8_e5m2", "uint16"):
        values = torch.arange(6).reshape(2, 3).to(getattr(torch, narrow))
        torch.save({"w": values.t()}, tmp_path / "a.pth")
        np.testing.assert_equal(read_weights(tmp_path / "a.pth")["w"].astype(np.float32), values.t().float().numpy())
    checkpoint = {
        "state_dict": net.state_dict(),
        "hyper_parameters": argparse.Namespace(rate=0.1),
        "folder": Path("runs"),
        "own": Own(),
        "lr_schedulers": [{"milestones": collections.Counter([3])}],
        "rng": torch.get_rng_state(),
        "optimizer_states": [optimiser.state_dict()],
    }
    torch.save(checkpoint, tmp_path / "a.ckpt")
    found = read_weights(tmp_path / "a.ckpt")
    np.testing.assert_equal({name.removeprefix("state_dict."): found[name] for name in found if name != "rng"}, state)
    torch.jit.script(net.eval()).save(tmp_path / "script.pt")
    np.testing.assert_equal(read_weights(tmp_path / "script.pt"), state)
    with open(tmp_path / "a.pth", "wb") as file:
        pickle.dump(base, file)
    with pytest.raises(InputError, match="asks for a call of torch.storage._load_from_bytes"):
        read_weights(tmp_path / "a.pth")
    for write in (zipped, old):  # and it reads what this file writes
        assert torch.equal(
            torch.load(write_state(tmp_path / "a.pth", {"w": ARRAY}, write))["w"], torch.from_numpy(ARRAY)
        )


# ---- HDF5


def keras(path, top=True, wrap="", libver=None):
    "As Keras 2 writes it."
    with h5py.File(path, "w", libver=libver) as file:
        group = file.require_group(wrap) if wrap else file
        group.attrs["layer_names"] = np.array([b"block1_conv1", b"flatten", b"predictions"][: 2 + top])
        group.create_group("flatten").attrs["weight_names"] = np.array([], "S1")
        for layer, shape in [("block1_conv1", (3, 3, 3, 4)), ("predictions", (4, 2))][: 1 + top]:
            group.create_group(layer).attrs["weight_names"] = np.array(
                [f"{layer}/{layer}_W_1:0".encode(), f"{layer}/{layer}_b_1:0".encode()]
            )
            group[f"{layer}/{layer}_W_1:0"] = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
            group[f"{layer}/{layer}_b_1:0"] = np.ones(shape[-1], np.float32)
        if wrap:
            file["optimizer_weights/training/Adam/iterations:0"] = np.int64(3)
    return path


def test_keras_of_every_age(tmp_path):
    expected = {f"{layer}/{layer}_{part}_1:0" for layer in ("block1_conv1", "predictions") for part in "Wb"}
    for libver in ("earliest", "latest"):
        assert set(read_weights(keras(tmp_path / "a.h5", libver=libver))) == expected
        assert set(read_weights(keras(tmp_path / "a.hdf5", wrap="model_weights", libver=libver))) == expected
    notop = read_weights(keras(tmp_path / "a.h5", top=False))
    np.testing.assert_equal(notop["block1_conv1/block1_conv1_W_1:0"].ravel(), np.arange(108, dtype=np.float32))
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for options in (
            {},
            {"chunks": (2, 3)},
            {"chunks": (2, 3), "compression": "gzip", "shuffle": True},
            {"compression": "lzf", "fletcher32": True},
        ):
            file.create_dataset(f"layers/conv2d_{len(file.get('layers', ()))}/vars/0", data=ARRAY, **options)
        file["layers/swapped/vars/0"], file["layers/half/vars/0"], file["layers/flag/vars/0"] = (
            ARRAY.astype(">f8"),
            ARRAY.astype("f2"),
            ARRAY > 3,
        )
        file["optimizer/vars/0"], file["layers/same/vars/0"] = np.int64(3), file["layers/flag/vars/0"]
        file["layers/seed/vars/0"] = np.float32(2)
    found = read_weights(tmp_path / "a.weights.h5")
    assert found.pop("layers/seed/vars/0").shape == ()
    assert len(found) == 8 and "layers/same/vars/0" in found and all(array.dtype.isnative for array in found.values())
    for name, array in found.items():
        np.testing.assert_equal(array, ARRAY > 3 if array.dtype == bool else ARRAY, name)


def soft(file):
    file["a"], file["b"] = ARRAY, h5py.SoftLink("/a")


def texts(file):
    file.create_dataset("a", (2,), h5py.string_dtype())


def references(file):
    file.create_dataset("a", (2,), h5py.ref_dtype)


def records(file):
    file["a"] = np.zeros(2, "i4,f4")


def ragged(file):
    file.create_dataset("a", (2,), h5py.vlen_dtype(np.int32))


def opaque(file):
    file["a"] = np.zeros(2, "V5")


def kind(file):
    file["a"] = np.dtype("f4")


def unwritten(file):
    file.create_dataset("a", (100, 10), "f4")


def twice(file):
    file["a/b"], file["c"] = ARRAY, file["a"] if "a" in file else file.create_group("a")


def empty(file):
    file["a"] = h5py.Empty("f4")


def outside(file):
    "A second file beside it, with nothing but zeros."
    Path(file.filename).with_name("beside").write_bytes(bytes(4))
    file.create_dataset("a", (4,), "u1", external=[("beside", 0, 4)])


HDF5 = {
    soft: "'b' in it is a link",
    twice: "is in it twice",
    texts: "is of type object",
    references: "is of type object",
    records: "is of type [('f0'",
    ragged: "is of type object",
    opaque: "is of type |V5",
    kind: "neither a group nor an array",
    outside: "'a' is kept in another file",
    empty: "holds no array",
    unwritten: "claims 4000 bytes and has 0",
}


@pytest.mark.parametrize("write", HDF5, ids=lambda write: write.__name__)
def test_what_hdf5_can_do_beside(tmp_path, write):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
    with pytest.raises(InputError) as said:
        read_weights(tmp_path / "a.h5")
    assert_says(said.value, "a.h5", HDF5[write], "again")


# ---- safetensors' narrow numbers, ONNX' second files, forms by content


def test_safetensors_of_every_type(tmp_path):
    data = bytes(range(8, 32))
    kinds = {
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E5M2": ml_dtypes.float8_e5m2,
        "F8_E8M0": ml_dtypes.float8_e8m0fnu,
        "BF16": ml_dtypes.bfloat16,
        "U16": "u2",
        "C64": "c8",
        "F16": "f2",
    }
    header = {
        name: {"dtype": name, "shape": [24 // np.dtype(kind).itemsize], "data_offsets": [24 * place, 24 * place + 24]}
        for place, (name, kind) in enumerate(kinds.items())
    }

    def write(header):
        words = json.dumps(header).encode()
        (tmp_path / "a.bin").write_bytes(struct.pack("<Q", len(words)) + words + data * len(header))
        return read_weights(tmp_path / "a.bin")

    found = write(header)
    for name, kind in kinds.items():
        assert found[name].tobytes() == data and found[name].dtype == np.dtype(kind), name
    four = write({"F4": {"dtype": "F4", "shape": [4, 12], "data_offsets": [0, 24]}})["F4"]
    assert four.shape == (4, 12) and four.astype(np.float32).ravel()[:4].tolist() == [
        -0.0,
        0.0,
        -0.5,
        0.0,
    ]  # 0x08, 0x09: the lower half first
    with pytest.raises(InputError, match="'F6' is of type F6_E2M3, which is not read. Save it as F16"):
        write({"F6": {"dtype": "F6_E2M3", "shape": [32], "data_offsets": [0, 24]}})


def test_onnx_arrays_in_a_second_file(tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")

    def write(location, **more):
        array = onnx.numpy_helper.from_array(ARRAY, "a")
        onnx.external_data_helper.set_external_data(array, location, **more)
        array.ClearField("raw_data")
        (tmp_path / "net.onnx").write_bytes(
            onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [array])).SerializeToString()
        )
        return read_weights("net.onnx" if Path.cwd() == tmp_path else tmp_path / "net.onnx")

    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "net.data").write_bytes(b"before" + ARRAY.tobytes() + b"behind")
    np.testing.assert_equal(write("sub/net.data", offset=6, length=96), {"a": ARRAY})
    monkeypatch.chdir(tmp_path)
    np.testing.assert_equal(write("sub/net.data", offset=6, length=96), {"a": ARRAY})
    for location, more, words in (
        ("sub/net.data", dict(offset=6, length=1000), "has 108 bytes, and array 'a' of net.onnx ends at 1006"),
        ("sub/net.data", dict(offset=6), "buffer size"),
        ("a:net.data", {}, "outside the folder of the file"),
        (str(tmp_path / "net.data"), {}, "outside the folder of the file"),
        ("gone.data", {}, "is not there. Put that file beside it"),
        ("", {}, "outside the folder of the file"),
    ):
        with pytest.raises(InputError) as said:
            write(location, **more)
        assert_says(said.value, "net.onnx", words)


def test_the_form_is_known_by_the_content(tmp_path):
    for path in files(tmp_path):
        expected = read_weights(path)
        for ending in (".bin", ".ckpt", ".pth.tar", ".keras", ".h5", ".npy", ".safetensors", ".weights", ""):
            other = path.rename(path.with_name(f"other{ending}"))
            if path.suffix != ".onnx" or ending != ".safetensors":
                assert len(read_weights(other)) == len(expected), (path, ending)
            path = other.rename(path)
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = ARRAY
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = zip_of(
            tmp_path / "a.keras",
            {"config.json": "{}", "model.weights.h5": (tmp_path / "model.weights.h5").read_bytes()},
            compression,
        )
        np.testing.assert_equal(read_weights(path), {"layers/conv2d/vars/0": ARRAY})
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": [ARRAY, ARRAY.T]}, 0))
    np.testing.assert_equal(read_weights(tmp_path / "a.pkl"), {"a.0": ARRAY, "a.1": ARRAY.T})
    for content, words in (
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\n<html>", "web page"),
        (b"\x1f\x8b\x08", "gzip. Unpack it"),
        (bytes(257) + b"ustar", "tar archive. Unpack it"),
        (b"words", "it begins as none of these does"),
    ):
        (tmp_path / "a.weights").write_bytes(content)
        with pytest.raises(InputError) as said:
            read_weights(tmp_path / "a.weights")
        assert_says(said.value, "a.weights", words)
    with pytest.raises(InputError, match="without a data.pkl, a model.weights.h5"):
        read_weights(zip_of(tmp_path / "b.pth", {"readme": "words"}))


# ---- damage


def files(folder):
    "One good file of every form."
    arrays = {"conv.weight": ARRAY, "conv.bias": np.arange(4, dtype=np.float32)}
    outer = np.empty((), object)
    outer[()] = {"conv1": [ARRAY, np.arange(4)]}
    np.save(folder / "object.npy", outer)
    np.save(folder / "plain.npy", ARRAY)
    np.savez(folder / "some.npz", **arrays)
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        [], "nothing", [], [], [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    )
    (folder / "some.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    python2_file = npy(folder / "python2.npy", b"}(U\x07conv1_1](" + python2(ARRAY) + python2(ARRAY[0]) + b"eu")
    return [
        folder / "object.npy",
        folder / "plain.npy",
        folder / "some.npz",
        folder / "some.onnx",
        python2_file,
        write_safetensors(folder / "some.safetensors", arrays),
        write_state(folder / "new.pth", arrays, zipped),
        write_state(folder / "old.pth", arrays, old),
        keras(folder / "early.h5", libver="earliest"),
        keras(folder / "late.h5", libver="latest"),
    ]


def check(path):
    "Either arrays or a sentence. Whether arrays."
    try:
        assert all(isinstance(array, np.ndarray) for array in read_weights(path).values())
    except InputError as refused:
        assert str(path) in str(refused) and "\n" not in str(refused) and len(str(refused)) < 1000, refused
        return False
    return True


def test_cut_anywhere(tmp_path):
    for path in files(tmp_path):
        content = path.read_bytes()
        read = 0
        for length in sorted({*range(0, len(content), max(1, len(content) // 60)), *range(min(30, len(content)))}):
            path.write_bytes(content[:length])
            read += check(path)
        assert read == 0 or path.suffix == ".onnx", path


def test_bits_changed_anywhere(tmp_path):
    "Of HDF5 in its numbers alone: all else of it is read by a library that is not ours."
    chance, numbers = random.Random(0), np.arange(108, dtype=np.float32).tobytes()
    for path in files(tmp_path):
        content = path.read_bytes()
        places = (
            range(content.index(numbers), content.index(numbers) + len(numbers))
            if path.suffix == ".h5"
            else range(len(content))
        )
        for flips in (1, 2, 8) * 30:
            changed = bytearray(content)
            for place in chance.choices(places, k=flips):
                changed[place] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            assert check(path) or path.suffix != ".h5"
