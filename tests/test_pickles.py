"Pickles, archives and HDF5: what they hold is read rightly, what they ask for is refused by its name, and nothing in them is ever run."
import collections
import copy
import copyreg
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import time
import zipfile
from functools import partial

import h5py
import ml_dtypes
import numpy as np
import pytest
import sentences

from inner_detectors.concepts import Refused
from inner_detectors.weights import read_weights, write_safetensors

MAGIC = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}})
NAMES = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int32": "Int", "int16": "Short",
         "int8": "Char", "uint8": "Byte", "bool": "Bool"}
ARRAY = np.arange(24, dtype=np.float32).reshape(4, 6)
STORAGE = [("0", 24, ARRAY.tobytes())]  # key, number of values, bytes
assert_says = partial(sentences.assert_says, most=1000)


# ---- a pickle by hand: each piece leaves one value on the stack

def text(value): return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
def number(value): return b"J" + struct.pack("<i", value) if -1 << 31 <= value < 1 << 31 else b"\x8a\x08" + struct.pack("<q", value)
def piece(value): return value if isinstance(value, bytes) else number(value) if isinstance(value, int) else text(value)
def row(*parts): return b"(" + b"".join(map(piece, parts)) + b"t"
def table(**entries): return b"}(" + b"".join(text(name) + piece(value) for name, value in entries.items()) + b"u"
def named(module, name): return f"c{module}\n{name}\n".encode()
def called(module, name, *given): return named(module, name) + row(*given) + b"R"
def body(value, protocol=2): return pickle.dumps(value, protocol)[2:-1]
def whole(part): return b"\x80\x02" + part + b"."


def storage(kind="Float", key="0", numel=24, *view):
    return row("storage", named("torch", f"{kind}Storage"), key, "cpu", numel, *view) + b"Q"


def tensor(stored=None, offset=0, shape=(4, 6), strides=(6, 1)):
    return called("torch._utils", "_rebuild_tensor_v2", stored or storage(), offset, row(*shape), row(*strides), b"\x89",
                  called("collections", "OrderedDict"))


# ---- the four places of a pickle

def npy(path, part):
    "A .npy of one object."
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }\n"
    array = called("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), row(0), b"C\x01b")
    kind = called("numpy", "dtype", "O8", b"\x89", b"\x88") + row(3, "|", b"N", b"N", b"N", -1, -1, 63) + b"b"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + whole(array + row(1, b")", kind, b"\x89", b"]" + part + b"a") + b"b"))
    return path


def zipped(path, part, storages=STORAGE, **more):
    "PyTorch's zip form."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", whole(part))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for key, _, content in storages: archive.writestr(f"archive/data/{key}", content)
        for name, content in more.items(): archive.writestr(f"archive/{name}", content)
    return path


def old(path, part, storages=STORAGE, first=MAGIC, keys=None):
    "PyTorch's form before 2020."
    start = b"".join(value if isinstance(value, bytes) else pickle.dumps(value, 2) for value in first)
    keys = keys or pickle.dumps([key for key, _, _ in storages], 2)
    path.write_bytes(start + whole(part) + keys + b"".join(struct.pack("<q", numel) + content for _, numel, content in storages))
    return path


FORMS = {"npy": npy, "zip.pth": zipped, "old.pth": old}


# ---- attacks: a piece of a pickle, and what the refusal says

class Calls:
    "What pickle writes for a call."
    def __init__(self, *reduced): self.reduced = reduced
    def __reduce_ex__(self, protocol): return self.reduced


def attacks(canary):
    "Pieces, each of which would touch the canary in one reader or another."
    shell, code = f"touch {canary}", f"open({str(canary)!r}, 'w')"
    system = called("os", "system", shell)
    evil = Calls(os.system, (shell,))
    yield "os.system", system, "asks for os.system"
    yield "posix.system", body(evil), f"asks for {os.system.__module__}.system"
    yield "protocol 4", pickle.dumps(evil, 4)[11:-1], "asks for posix.system"
    yield "eval", called("builtins", "eval", code), "asks for builtins.eval"
    yield "exec", body(Calls(exec, (code,))), "asks for __builtin__.exec"
    yield "subprocess", body(Calls(subprocess.Popen, (["touch", str(canary)],)), 3), "asks for subprocess.Popen"
    yield "getattr", called("builtins", "getattr", named("os", "path"), "system"), "asks for builtins.getattr"
    yield "import", called("builtins", "__import__", "os"), "asks for builtins.__import__"
    for module, name in ("numpy", "load"), ("torch", "load"), ("pickle", "loads"), ("runpy", "_run_code"), ("functools", "partial"), \
            ("operator", "attrgetter"), ("numpy.testing._private.utils", "runstring"), ("torch._utils", "_import_dotted_name"), \
            ("torch.storage", "_load_from_bytes"), ("builtins", "bytearray"), ("copyreg", "_reconstructor"), ("numpy", "core.multiarray.fromfile"):
        yield f"{module}.{name}", called(module, name, shell), f"asks for {module}.{name}"
    yield "in an allowed call", called("collections", "OrderedDict", system), "asks for os.system"
    yield "in a tensor", called("torch._utils", "_rebuild_tensor_v2", system, 0, row(1), row(1), b"\x89", b"}"), "asks for "
    yield "in a hook", table(a=body(collections.OrderedDict(hook=evil))), "asks for posix.system"
    yield "as an entry", body(Calls(collections.OrderedDict, (), None, None, iter([("a", evil)]))), "asks for posix.system"
    yield "as a state", body(Calls(collections.OrderedDict, (), {"_metadata": evil})), "asks for posix.system"
    yield "as a list's item", body(Calls(list, (), None, iter([evil]), None)), "asks for __builtin__.list"
    yield "as a key", b"}" + system + b"Ns", "asks for os.system"
    yield "in an array of objects", body(np.array([evil])), "asks for posix.system"
    yield "array of objects", table(a=body(np.array([None, 1]))), "type 'O8', which is not a number"
    yield "array of records", table(a=body(np.zeros(2, "i4,f4"))), "type 'V8', which is not a number"
    yield "type of its own", called("numpy", "dtype", system), "asks for os.system"
    yield "instance", b"(" + text(shell) + b"ios\nsystem\n", "asks for os.system"
    yield "object", b"(" + named("os", "system") + text(shell) + b"o", "asks for os.system"
    yield "object of an allowed", b"(" + named("numpy", "dtype") + text(shell) + b"o", "opcode 'o'"
    yield "stack global", text("os") + text("system") + b"\x93" + row(shell) + b"R", "asks for os.system"
    yield "numbers as names", b"K\1K\2\x93", "whose name is no text"
    yield "lists as names", b"]" + text("system") + b"\x93", "whose name is no text"
    yield "bytes as names", b"C\2os" + b"C\6system" + b"\x93", "whose name is no text"
    yield "no names", b"\x93", "file: it "
    yield "two lines", text("os\nsystem") + text("\x1b[31m" * 100) + b"\x93", r"asks for os\nsystem.\x1b[31m"
    yield "look-alike", text("оs") + text("system") + b"\x93", r"asks for \u043es.system"
    yield "look-alike of an allowed", text("torch․_utils") + text("_rebuild_tensor_v2") + b"\x93", r"asks for torch\u2024_utils"
    yield "half a character", b"X\3\0\0\0\xed\xa0\x80" + text("system") + b"\x93", "can't decode"
    for size, opcode in (1, b"\x82\xf0"), (2, b"\x83\xf0\0"), (4, b"\x84\xf0\0\0\0"):
        yield f"extension {size}", opcode + row(shell) + b"R", "opcode"
    yield "new object", named("os", "system") + row(shell) + b"\x81", "asks for os.system"
    yield "new object with names", named("numpy", "dtype") + row("f4") + b"}" + b"\x92", "opcode"
    yield "defaults of an allowed", named("numpy", "dtype") + table(__defaults__=row(1)) + b"b", "changes what is no value"
    yield "slots of an allowed", named("_codecs", "encode") + row(b"N", table(__code__="x")) + b"b", "changes what is no value"
    yield "state of a list", b"]" + table(append=1) + b"b", "changes what is no value"
    yield "entries of an allowed", named("numpy", "dtype") + text("a") + text("b") + b"s", "into what is no dictionary"
    yield "items of an allowed", called("numpy", "dtype", "f4") + text("a") + b"a", "into what is no list"
    yield "a call of a call", called("numpy", "dtype", "f4") + row("x") + b"R", "calls what cannot be called"
    yield "a call of a text", text("os.system") + row(shell) + b"R", "calls what cannot be called"
    yield "a call with a list", named("numpy", "dtype") + b"]" + b"R", "calls what cannot be called"
    yield "another encoding", called("_codecs", "encode", shell, "zlib_codec"), "calls what cannot be called"
    yield "another class of array", table(a=called("numpy.core.multiarray", "_reconstruct", named("os", "system"), row(0), "b")), "asks for os.system"
    yield "array without state", table(a=called("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), row(0), "b")), "gives no array"
    yield "old texts", b"S'a'\n", "opcode 'S'"
    yield "old persistent id", b"Pa\n", "opcode 'P'"
    yield "next buffer", b"\x97", "opcode"
    yield "a key of tuples", b"}" + row(row(1)) + b"Ns", "no text"
    yield "a name twice", b"}" + text("a") + b"Ns" + text("a") + b"Ns", "there twice"
    yield "recalls nothing", b"h\7", "values that it does not have"
    yield "pops nothing", b"0" * 9, "values that it does not have"
    yield "marks nothing", b"1" * 9, "values that it does not have"


FORBIDDEN = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "compile", "ctypes.dlopen", "socket.connect"}
seen: list | None = None  # what of it happened, while one of these tests reads


@sys.addaudithook
def watch(event, given):
    "Python itself says when it does any of this; a hook cannot be taken away again."
    if seen is not None and event in FORBIDDEN: seen.append(event)


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    "Attacks on a canary, and a reader that watches what Python does. The registry of extensions holds os.system."
    monkeypatch.setitem(copyreg._inverted_registry, 240, ("os", "system"))
    monkeypatch.setitem(copyreg._extension_cache, 240, os.system)
    known = list(attacks(tmp_path / "canary"))
    def read(path):
        global seen
        seen = []
        try: return read_weights(path)
        finally:
            happened, seen = seen, None
            assert not happened and not (tmp_path / "canary").exists(), path
    for name, write in FORMS.items(): read_weights(write(tmp_path / f"a.{name}", table(a=python2(ARRAY), b=b"N" * (write is npy) or tensor())))  # loads all
    return known, read, tmp_path / "canary"


def test_the_attacks_are_real(tmp_path, monkeypatch):
    "Python's own reader does what they say."
    calls, known = [], list(attacks(tmp_path / "canary"))
    monkeypatch.setattr(os, "system", lambda *given: calls.append(given))
    monkeypatch.setitem(copyreg._inverted_registry, 240, ("os", "system"))
    monkeypatch.setitem(copyreg._extension_cache, 240, os.system)
    real = {"os.system", "in an allowed call", "in a tensor", "as a key", "instance", "object", "stack global", "new object", "extension 1"}
    for name, part, _ in known:
        if name not in real: continue
        before = len(calls)
        try: pickle.loads(whole(part))
        except Exception: pass
        assert len(calls) == before + (name not in ("new object", "in a tensor")), name


PLACES = {
    "npy": ("a.npy", lambda path, part: npy(path, part)),
    "npy alone": ("a.npy", lambda path, part: path.write_bytes(npy(path, b"N").read_bytes().split(b"\x80\x02")[0] + whole(part))),
    "zip": ("a.pth", zipped),
    "old": ("a.pth", lambda path, part: old(path, row(tensor(), part))),
    "old, first": ("a.pth", lambda path, part: old(path, tensor(), first=(whole(part), *MAGIC[1:]))),
    "old, third": ("a.pt", lambda path, part: old(path, tensor(), first=(*MAGIC[:2], whole(part)))),
    "old, keys": ("a.pth", lambda path, part: old(path, tensor(), keys=whole(part))),
}


def zip_of(path, content, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items(): archive.writestr(name, data)
    return path


@pytest.mark.parametrize("place", PLACES)
def test_attacks_are_refused_by_name(tmp_path, guarded, place):
    known, read, _ = guarded
    name, write = PLACES[place]
    # what stands where no arrays are looked for is not looked at either: these only say that the file is another
    quiet = ("array of", "array without", "another class") if "," in place or place == "npy alone" else ()
    for attack, part, words in known:
        write(tmp_path / name, part)
        with pytest.raises(Refused) as said: read(tmp_path / name)
        words = words if not attack.startswith(quiet) or not quiet else ""
        try: assert_says(said.value, tmp_path / name, words, "again")
        except AssertionError: raise AssertionError(f"{attack}: {said.value}") from None


def test_pickles_elsewhere_in_an_archive_stay_bytes(tmp_path, guarded):
    _, read, canary = guarded
    evil = whole(called("os", "system", f"touch {canary}"))
    path = zipped(tmp_path / "a.pth", table(weight=tensor()), **{"evil.pkl": evil, "constants.pkl": evil, "data/9": evil})
    np.testing.assert_equal(read(path), {"weight": ARRAY})
    nested = table(a=tensor(storage("Byte", numel=len(evil)), 0, (len(evil),), (1,)))
    np.testing.assert_equal(read(zipped(path, nested, [("0", len(evil), evil)])), {"a": np.frombuffer(evil, np.uint8)})
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "a") as archive: archive.writestr("archive/data.pkl", evil)
    with pytest.raises(Refused, match="'archive/data.pkl' is in it twice"): read(path)
    with zipfile.ZipFile(path, "w") as archive: archive.writestr("a/data.pkl", evil), archive.writestr("b/data.pkl", evil)
    with pytest.raises(Refused, match="without a data.pkl"): read(path)
    with pytest.raises(Refused, match="is compressed"): read(zip_of(path, {"archive/data.pkl": evil}, zipfile.ZIP_DEFLATED))


# ---- tensors that reach beyond their storages

WRONG = {
    "offset": (dict(offset=1), "does not fit its storage of 24"),
    "negative offset": (dict(offset=-1), "does not fit"),
    "huge offset": (dict(offset=1 << 62), "does not fit"),
    "shape": (dict(shape=(5, 6)), "does not fit"),
    "strides": (dict(strides=(6, 2)), "does not fit"),
    "negative shape": (dict(shape=(-4, -6)), "the shape of an array in it is none"),
    "negative strides": (dict(strides=(-6, -1)), "the shape of an array in it is none"),
    "repeats": (dict(shape=(1 << 40, 6), strides=(0, 1)), "does not fit"),
    "wraps round": (dict(shape=(1 << 40, 1 << 40), strides=(1 << 40, 1 << 40)), "does not fit"),
    "strides missing": (dict(strides=(6,)), "has 1 strides"),
    "many axes": (dict(shape=(1,) * 33, strides=(1,) * 33), "the shape of an array in it is none"),
    "shape of text": (dict(shape=("a",), strides=("b",)), "the shape of an array in it is none"),
    "numel": (dict(stored=storage(numel=1 << 40)), "claim"),
    "negative numel": (dict(stored=storage(numel=-1)), "claim"),
    "type": (dict(stored=storage("Double")), "claim"),
    "key": (dict(stored=storage(key="7")), "the storage '"),
    "view": (dict(stored=storage("Float", "0", 24, row("v", 20, 8))), "does not fit"),
    "complex": (dict(stored=storage("ComplexFloat")), "asks for torch.ComplexFloatStorage"),
    "no storage": (dict(stored=row("module", named("torch", "FloatStorage"), "0", "cpu") + b"Q"), "not that of a storage"),
    "text as id": (dict(stored=text("0") + b"Q"), "not that of a storage"),
}


@pytest.mark.parametrize("write", [zipped, old])
def test_no_tensor_reaches_beyond_its_storage(tmp_path, write):
    for case, (how, words) in WRONG.items():
        with pytest.raises(Refused) as said: read_weights(write(tmp_path / "a.pth", table(weight=tensor(**how))))
        try: assert_says(said.value, "a.pth", words, "again")
        except AssertionError: raise AssertionError(f"{case}: {said.value}") from None


# ---- what is read, is read rightly

def python2(array):
    "An array as NumPy in Python 2 pickled it: bytes everywhere."
    kind = named("numpy", "dtype") + row(b"U" + bytes([len(array.dtype.str[1:])]) + array.dtype.str[1:].encode(), 0, 1) + b"R"
    kind += row(3, b"U\1" + array.dtype.str[:1].encode(), b"N", b"N", b"N", -1, -1, 0) + b"b"
    start = named("numpy.core.multiarray", "_reconstruct") + row(named("numpy", "ndarray"), row(0), b"U\1b") + b"R"
    data = array.tobytes()
    data = b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data
    return start + row(1, row(*array.shape), kind, b"\x89", data) + b"b"


def test_the_npy_of_python_2(tmp_path):
    kernel, bias = np.random.RandomState(0).randn(3, 3, 3, 64).astype(np.float32), np.arange(64, dtype=np.float32)
    path = npy(tmp_path / "vgg16.npy", b"}(U\x07conv1_1](" + python2(kernel) + python2(bias) + b"eu")
    assert np.load(path, allow_pickle=True, encoding="latin1").item().keys() == {"conv1_1"}  # NumPy agrees that it is one
    np.testing.assert_equal(read_weights(path), {"conv1_1.0": kernel, "conv1_1.1": bias})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_in_every_protocol(tmp_path, protocol):
    kinds = {kind: np.arange(12).reshape(3, 4).astype(kind) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")}
    tree = {"kinds": kinds, "order": [ARRAY.T, np.asfortranarray(ARRAY), ARRAY[::2, ::3]], b"axes": (np.array(2.5), np.zeros((0, 3))),
            "beside": [np.float32(3), 10**20, 1.5, "text", None, {1, 2}, frozenset({3}), np.dtype("f4"), ()]}
    tree["again"] = kinds["f4"]
    if protocol < 4: tree["beside"][5:7] = []
    npy(tmp_path / "a.npy", b"N")
    head = (tmp_path / "a.npy").read_bytes().split(b"\x80\x02")[0]
    outer = np.empty((), object)
    outer[()] = tree
    (tmp_path / "a.npy").write_bytes(head + pickle.dumps(outer, protocol))
    found = read_weights(tmp_path / "a.npy")
    expected = {f"kinds.{kind}": array for kind, array in kinds.items()} | {f"order.{place}": array for place, array in enumerate(tree["order"])}
    np.testing.assert_equal(found, expected | {"axes.0": np.array(2.5), "axes.1": np.zeros((0, 3)), "again": kinds["f4"]})
    assert {name: array.dtype for name, array in found.items() if name in expected} == {name: array.dtype for name, array in expected.items()}
    assert np.shares_memory(found["again"], found["kinds.f4"])


def test_plain_npy_and_npz(tmp_path):
    for array in (ARRAY, ARRAY.T, ARRAY.astype(">f8"), np.float32(3), np.zeros((2, 0)), np.arange(5, dtype="u2") > 2):
        np.save(tmp_path / "conv.npy", array)
        found, = read_weights(tmp_path / "conv.npy").items()
        np.testing.assert_equal(found, ("conv", np.asarray(array)))
        assert found[1].dtype.isnative
    for array in (np.zeros(2, "i4,f4"), np.zeros(2, "M8[s]"), np.array(["text"]), np.zeros(2, complex), np.array([None, 1])):
        np.save(tmp_path / "conv.npy", array)
        with pytest.raises(Refused) as said: read_weights(tmp_path / "conv.npy")
        assert_says(said.value, "conv.npy")
    np.savez(tmp_path / "some.npz", a=ARRAY, b=ARRAY.T, c=ARRAY.astype(">f8"))
    np.testing.assert_equal(read_weights(tmp_path / "some.npz"), {"a": ARRAY, "b": ARRAY.T, "c": ARRAY})
    np.savez(tmp_path / "some.npz", a=np.array({"c": ARRAY}, object))
    with pytest.raises(Refused, match="its type '|O' is not a number"): read_weights(tmp_path / "some.npz")


def as_tensor(array, key, *more):
    "A tensor that is a window into the storage of its base, as PyTorch would write it."
    base = array.base if array.base is not None else array
    name = NAMES["bfloat16" if array.dtype == ml_dtypes.bfloat16 else array.dtype.name]
    offset = (array.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // array.itemsize if array.size else 0
    return tensor(storage(name, key, base.size, *more), offset, array.shape, [stride // array.itemsize for stride in array.strides]), base


def write_state(path, arrays, write, wrap=lambda part: part):
    "The arrays in one of PyTorch's forms."
    parts, storages = {}, {}
    for key, (name, array) in enumerate(arrays.items()): parts[name], storages[str(key)] = as_tensor(array, str(key), *[b"N"] * (write is old))
    return write(path, wrap(table(**parts)), [(key, base.size, base.tobytes()) for key, base in storages.items()])


@pytest.mark.parametrize("write", [zipped, old])
def test_tensors_of_both_forms(tmp_path, write):
    arrays = {kind: np.arange(12).astype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind) for kind in NAMES}
    base = np.arange(24, dtype=np.float32)
    square = np.ndarray((4, 6), np.float32, base)
    arrays |= {"conv.weight": square, "turned": square.T, "steps": square[1:3, ::2], "lone": base[5:6].reshape(()), "none": base[:0]}
    read = read_weights(write_state(tmp_path / "a.pth", arrays, write))
    np.testing.assert_equal(read, arrays)
    assert {name: array.dtype for name, array in read.items()} == {name: array.dtype for name, array in arrays.items()}
    read["conv.weight"][0, 0] = 7  # it is ours to change


@pytest.mark.parametrize("write", [zipped, old])
def test_names_of_a_training(tmp_path, write):
    def read(wrap, arrays=None): return set(read_weights(write_state(tmp_path / "a.pth", arrays or {"module.a": ARRAY, "module.b.c": ARRAY}, write, wrap)))
    assert read(lambda part: table(epoch=3, arch="x", state_dict=part)) == {"a", "b.c"}
    assert read(lambda part: table(model=part, optimizer=table(state=b"}" + number(0) + table(exp_avg=tensor()) + b"s"))) == {"a", "b.c"}
    assert read(lambda part: table(state_dict=part, best=tensor())) == {"a", "b.c", "best"}
    assert read(lambda part: table(state_dict=part, ema=part)) == {"state_dict.module.a", "state_dict.module.b.c", "ema.module.a", "ema.module.b.c"}
    assert read(lambda part: part, {"model.a": ARRAY, "a": ARRAY}) == {"model.a", "a"}  # would be the same name
    assert read(lambda part: b"](" + part + b"e", {"a": ARRAY}) == {"0.a"}
    one = {"w": ARRAY}
    assert read(lambda part: tensor(), one) == {"a"}  # the file's
    assert read(lambda part: called("torch._utils", "_rebuild_parameter", tensor(), b"\x88", b"}"), one) == {"a"}
    assert read(lambda part: called("collections", "OrderedDict", b"]" + b"](" + text("w") + tensor() + b"ea"), one) == {"w"}  # of Python 2
    with pytest.raises(Refused, match="holds no array"): read(lambda part: table(optimizer=part, epoch=3))
    both = b"}(" + text("a.b") + tensor() + text("a") + table(b=tensor()) + b"u"
    with pytest.raises(Refused, match="two arrays in it are called 'a.b'"): read(lambda part: both, one)


def test_big_endian_is_refused(tmp_path):
    old(tmp_path / "old.pth", tensor(), first=(*MAGIC[:2], {"little_endian": False}))
    zip_of(tmp_path / "zip.pth", {"x/data.pkl": whole(tensor()), "x/data/0": ARRAY.tobytes(), "x/byteorder": "big"})
    npy(tmp_path / "a.npy", table(a=body(ARRAY.astype(">f4"))))
    for name in ("old.pth", "zip.pth", "a.npy"):
        with pytest.raises(Refused) as said: read_weights(tmp_path / name)
        assert_says(said.value, name, "big-endian. Convert")


def test_a_storage_behind_a_storage(tmp_path):
    "A window into a storage, as PyTorch knew it before 2017."
    part = table(a=tensor(storage("Float", "0", 24, row("v", 4, 6)), 0, (2, 3), (3, 1)), b=tensor(storage("Float", "0", 24, b"N")))
    for write in (zipped, old): np.testing.assert_equal(read_weights(write(tmp_path / "a.pth", part)), {"a": ARRAY.ravel()[4:10].reshape(2, 3), "b": ARRAY})


def test_pytorch_writes_what_we_read(tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.).reshape(4, 6)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Sequential(torch.nn.Linear(4, 2)))
    views = {"a": base, "t": base.t(), "s": base[1:3, ::2], "e": torch.zeros(0, 3), "p": torch.nn.Parameter(base), "l": [base, (base,)],
             "n": np.arange(6, dtype=np.int16).reshape(2, 3), "size": base.shape, "type": torch.float16, "device": torch.device("cpu"), "x": np.float64(0.1)}
    kinds = {name: torch.tensor([1, 0, 3]).to(getattr(torch, name)) for name in NAMES}
    optimiser = torch.optim.Adam(net.parameters())
    training = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in net.state_dict().items()}, "optimizer": optimiser.state_dict()}
    def plain(value): return value.detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16) if value.dtype == torch.bfloat16 else value.detach().numpy()
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
            with pytest.raises(Refused, match="asks for torch.nn.modules.container.Sequential"): read(net)
            with pytest.raises(Refused, match="asks for torch._utils._rebuild_sparse_tensor"): read(base.to_sparse())
    with open(tmp_path / "a.pth", "wb") as file: pickle.dump(base, file)
    with pytest.raises(Refused, match="asks for torch.storage._load_from_bytes"): read_weights(tmp_path / "a.pth")
    for write in (zipped, old):  # and it reads what this file writes
        assert torch.equal(torch.load(write_state(tmp_path / "a.pth", {"w": ARRAY}, write))["w"], torch.from_numpy(ARRAY))


# ---- HDF5

def keras(path, top=True, wrap="", libver=None):
    "As Keras 2 writes it."
    with h5py.File(path, "w", libver=libver) as file:
        group = file.require_group(wrap) if wrap else file
        group.attrs["layer_names"] = np.array([b"block1_conv1", b"flatten", b"predictions"][:2 + top])
        group.create_group("flatten").attrs["weight_names"] = np.array([], "S1")
        for layer, shape in [("block1_conv1", (3, 3, 3, 4)), ("predictions", (4, 2))][:1 + top]:
            group.create_group(layer).attrs["weight_names"] = np.array([f"{layer}/{layer}_W_1:0".encode(), f"{layer}/{layer}_b_1:0".encode()])
            group[f"{layer}/{layer}_W_1:0"] = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
            group[f"{layer}/{layer}_b_1:0"] = np.ones(shape[-1], np.float32)
        if wrap: file["optimizer_weights/training/Adam/iterations:0"] = np.int64(3)
    return path


def test_keras_of_every_age(tmp_path):
    expected = {f"{layer}/{layer}_{part}_1:0" for layer in ("block1_conv1", "predictions") for part in "Wb"}
    for libver in ("earliest", "latest"):
        assert set(read_weights(keras(tmp_path / "a.h5", libver=libver))) == expected
        assert set(read_weights(keras(tmp_path / "a.hdf5", wrap="model_weights", libver=libver))) == expected
    notop = read_weights(keras(tmp_path / "a.h5", top=False))
    np.testing.assert_equal(notop["block1_conv1/block1_conv1_W_1:0"].ravel(), np.arange(108, dtype=np.float32))
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for options in ({}, {"chunks": (2, 3)}, {"chunks": (2, 3), "compression": "gzip", "shuffle": True}, {"compression": "lzf", "fletcher32": True}):
            file.create_dataset(f"layers/conv2d_{len(file.get('layers', ()))}/vars/0", data=ARRAY, **options)
        file["layers/swapped/vars/0"], file["layers/half/vars/0"], file["layers/flag/vars/0"] = ARRAY.astype(">f8"), ARRAY.astype("f2"), ARRAY > 3
        file["optimizer/vars/0"], file["layers/same/vars/0"] = np.int64(3), file["layers/flag/vars/0"]
        file["layers/seed/vars/0"] = np.float32(2)
    found = read_weights(tmp_path / "a.weights.h5")
    assert found.pop("layers/seed/vars/0").shape == ()
    assert len(found) == 8 and "layers/same/vars/0" in found and all(array.dtype.isnative for array in found.values())
    for name, array in found.items(): np.testing.assert_equal(array, ARRAY > 3 if array.dtype == bool else ARRAY, name)


def soft(file): file["a"] = h5py.SoftLink("/etc")
def external(file): file["a"] = h5py.ExternalLink("/etc/passwd", "/")
def loop(file): file["a/b"] = file.create_group("a")
def texts(file): file.create_dataset("a", (2,), h5py.string_dtype())
def references(file): file.create_dataset("a", (2,), h5py.ref_dtype)
def records(file): file["a"] = np.zeros(2, "i4,f4")
def ragged(file): file.create_dataset("a", (2,), h5py.vlen_dtype(np.int32))
def opaque(file): file["a"] = np.zeros(2, "V5")
def kind(file): file["a"] = np.dtype("f4")
def outside(file): file.create_dataset("a", (4,), "u1", external=[("/etc/passwd", 0, 4)])
def terabyte(file): file.create_dataset("a", (10**6, 10**6), "f4")
def chunks(file): file.create_dataset("a", (10**6, 10**6), "f4", chunks=(100, 100), compression="gzip")
def wraps(file): file.create_dataset("a", (1 << 31, 1 << 31, 4), "f4", chunks=(1, 1, 4))
def one_chunk(file): file.create_dataset("a", (2,), "f4", maxshape=(None,), chunks=(1 << 29,))
def together(file):
    for place in range(40): file.create_dataset(f"a{place}", (10**6,), "f4", chunks=(1000,), compression="gzip")
def laughs(file):
    for place in range(20):
        group = file.create_group(str(place))
        for turn in range(10 * (place > 0)): group[str(turn)] = file[str(place - 1)]


def many_deep(file): file["a/" * 30 + "b"] = 1
def empty(file): file["a"] = h5py.Empty("f4")


def virtual(file):
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "a", (4,))
    file.create_virtual_dataset("a", layout)


def foreign(file):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4,))
    plan.set_filter(32004, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(file.id, b"a", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4,)), plan)


HDF5 = {soft: "'a' in it is a link", external: "'a' in it is a link", loop: "is in it twice", laughs: "is in it twice",
        texts: "is of type object", references: "is of type object",
        records: "is of type [('f0'", ragged: "is of type object", opaque: "is of type |V5", kind: "neither a group nor an array",
        outside: "'a' is kept in another file", virtual: "'a' is kept in another file", foreign: "packed by filter 32004", empty: "holds no array",
        many_deep: "more than 20 deep"} | dict.fromkeys((chunks, together), "1000 times as large") \
    | {terabyte: "claims 4000000000000 bytes and has 0", wraps: "bytes and has 0", one_chunk: "claims 2147483648 bytes and has 0"}


@pytest.mark.parametrize("write", HDF5, ids=lambda write: write.__name__)
def test_what_hdf5_can_do_beside(tmp_path, write):
    with h5py.File(tmp_path / "a.h5", "w") as file: write(file)
    with pytest.raises(Refused) as said: read_weights(tmp_path / "a.h5")
    assert_says(said.value, "a.h5", HDF5[write], "again")


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
    graph = helper.make_graph([], "nothing", [], [], [numpy_helper.from_array(array, name) for name, array in arrays.items()])
    (folder / "some.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    python2_file = npy(folder / "python2.npy", b"}(U\x07conv1_1](" + python2(ARRAY) + python2(ARRAY[0]) + b"eu")
    return [folder / "object.npy", folder / "plain.npy", folder / "some.npz", folder / "some.onnx", python2_file,
            write_safetensors(folder / "some.safetensors", arrays), write_state(folder / "new.pth", arrays, zipped),
            write_state(folder / "old.pth", arrays, old), keras(folder / "early.h5", libver="earliest"), keras(folder / "late.h5", libver="latest")]


def check(path):
    "Either arrays or a sentence, within a second. Whether arrays."
    start = time.perf_counter()
    try: assert all(isinstance(array, np.ndarray) for array in read_weights(path).values())
    except Refused as refused:
        assert str(path) in str(refused) and "\n" not in str(refused) and len(str(refused)) < 1000, refused
        return False
    finally: assert time.perf_counter() - start < 1
    return True


def test_truncated_anywhere(tmp_path):
    for path in files(tmp_path):
        content = path.read_bytes()
        read = 0
        for length in sorted({*range(0, len(content), max(1, len(content) // 150)), *range(min(60, len(content)))}):
            path.write_bytes(content[:length])
            read += check(path)
        assert read == 0 or path.suffix == ".onnx", path


def test_bits_flipped_anywhere(tmp_path):
    chance = random.Random(0)
    for path in files(tmp_path):
        content = path.read_bytes()
        for flips in (1, 2, 8) * 150:
            changed = bytearray(content)
            for place in chance.choices(range(len(changed)), k=flips): changed[place] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            check(path)


def test_noise_in_a_pickle(tmp_path):
    "Opcodes in any order, in each form."
    opcodes = list(b"NKMJGX\x8c)]}\x8f(lt\x91d\x85\x86\x87hcRQ\x81aesubq\x940\x80\x93i1\x88U") + [1] * 5
    chance = random.Random(1)
    seeds = [table(weight=tensor()), python2(ARRAY), body(collections.OrderedDict(a=ARRAY))]
    for name, write in FORMS.items():
        for turn in range(300):
            part = bytes(chance.choices(opcodes, k=chance.randrange(1, 40)))
            if turn % 2:
                seed = chance.choice(seeds)
                cut = chance.randrange(len(seed))
                part = seed[:cut] + part[:4] + seed[cut + chance.randrange(4):]
            check(write(tmp_path / f"a.{name}", part))


# ---- sizes: a few bytes that claim to be much

def swapped(count):
    "A .npy file of big-endian zeros."
    file = io.BytesIO()
    np.save(file, np.zeros(count, ">f4"))
    return file.getvalue()


def again(member, name):
    "The same member of an archive under another name."
    other = copy.copy(member)
    other.filename = name
    return other


def claims():
    "Pieces of a pickle that claim more than there is; and what is said of each."
    return {"bytes": (b"\x8e" + b"\xff" * 7 + b"\0", "a value claims"),
            "text": (b"\x8d" + b"\xff" * 7 + b"\x7f", "a value claims"),
            "negative": (b"T\xff\xff\xff\xff", "a value claims -1 bytes"),
            "number": (b"\x8b\x00\x00\x10\x00" + b"\x01" * (1 << 20), "a number has 1048576 bytes"),
            "long name": (b"}" + text("n" * 100_000) + b"Ns", "at most 200 characters"),
            "marks": (b"(" * 100_000, "values that it does not have")}


def growing():
    "Pieces of a pickle that grow where they are read, walked, hashed or thrown away."
    dictionary, encode = named("collections", "OrderedDict"), named("_codecs", "encode")
    pairs = b"](" + b"".join(text(str(place)) + b"N\x86" for place in range(1000)) + b"e"
    collide = b"".join(b"\x8a\x0a" + (place * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for place in range(50_000))
    return {"memo": (b"N" + b"r\xff\xff\xff\xff" * 5, "holds no array"),
            "deep": (b"]" * 900_000 + b"a" * 899_999, "20 deep"),
            "deep rows": (b")" + b"\x85" * 1_000_000, "20 deep"),
            "deep calls": (named("numpy", "dtype") + b"q\0" + b"h\0" * 300_000 + b")" + b"\x85R" * 300_000, "holds no array"),
            "deep key": (b"}" + b")" + b"\x85" * 500_000 + b"Ns", "no text of at most"),
            "lists": (b"]\x94" * 1_500_000, "2000000 steps"),
            "copies": (pairs + b"q\2" + (b"0" + dictionary + b"h\2\x85R") * 5000, "2000000 steps"),
            "encodings": (text("a" * (1 << 20)) + b"q\0" + (encode + b"h\0" + text("latin1") + b"\x86R0") * 1000, "copies more bytes than it has"),
            "collisions": (b"}(" + collide + b"u", "holds no array"),
            "laughs": (b")" + (b"q\0(" + b"h\0" * 10 + b"t") * 18, "2000000 values"),
            "laughs at itself": (b"]q\0(" + b"h\0" * 100 + b"e", "20 deep"),
            "long lists": (b"](" + b"N" * 100_000 + b"eq\1](" + b"h\1" * 100_000 + b"e", "2000000 values"),
            "long names": (b"}" + (text("n" * 100) + b"}") * 10 + b"s" * 10, "more than 200 characters")}


def bombs(folder):
    "Files, and what is said of each; an empty sentence where it is read."
    def lying(path, old, new):
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))
        return path
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    (folder / "claims.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(64))
    yield folder / "claims.npy", "an array of shape (1000000, 1000000)"
    (folder / "axes.npy").write_bytes(b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 31) + head)
    yield folder / "axes.npy", "does not begin"
    for name, write in FORMS.items():
        for case, (part, words) in claims().items(): yield write(folder / f"{case}.{name}", part), words
        array = python2(np.zeros(1 << 20, np.uint8)) if write is npy else tensor(storage("Byte", "0", 1 << 20), 0, (1 << 20,), (1,))
        data = () if write is npy else ([("0", 1 << 20, bytes(1 << 20))],)
        yield write(folder / f"shared.{name}", b"](" + array + b"q\3" + b"h\3" * 100_000 + b"e", *data), ""
    for case, (part, words) in growing().items(): yield zipped(folder / f"{case}.pth", part), words
    yield zipped(folder / "numel.pth", tensor(storage(numel=1 << 60))), "claims 1152921504606846976 values"
    yield old(folder / "length.pth", tensor(), [("0", 1 << 60, b"")]), "a value claims"
    yield old(folder / "keys.pth", tensor(), [(str(key), 0, b"") for key in range(3)]), "never mentioned"
    size = struct.pack("<II", ARRAY.nbytes, ARRAY.nbytes)
    yield lying(zipped(folder / "size.pth", tensor()), size, struct.pack("<II", 1 << 31, 1 << 31)), "its members claim more bytes than it has"
    yield lying(zipped(folder / "sizes.pth", tensor()), size, struct.pack("<II", ARRAY.nbytes, ARRAY.nbytes + 4)), "is compressed"
    (folder / "length.safetensors").write_bytes(b"\xff\xff\xff\xff\x0f\0\0\0{}")
    yield folder / "length.safetensors", "more than there are"
    (folder / "length.onnx").write_bytes(bytes([0x3A, *[0xFF] * 4, 0x7F]))
    yield folder / "length.onnx", "a field claims"
    for case in (laughs, terabyte, chunks, wraps, one_chunk, together):
        with h5py.File(folder / f"{case.__name__}.h5", "w") as file: case(file)
        yield folder / f"{case.__name__}.h5", HDF5[case]
    with zipfile.ZipFile(folder / "overlap.npz", "w") as archive:  # many names for one member of big-endian numbers, each of which would be a copy
        for place in range(5000):
            if place == 0: archive.writestr("0.npy", swapped(1 << 20))
            else: archive.filelist.append(again(archive.filelist[0], f"{place}.npy"))
        archive._didModify = True
    yield folder / "overlap.npz", "its members claim more bytes than it has"


READER = """
import json, resource, sys, time
from inner_detectors.concepts import Refused
from inner_detectors.weights import read_weights
for line in open("/proc/self/status"):
    if line.startswith("VmSize"): size = int(line.split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (size + (700 << 20),) * 2)                     # as much as a few million values need
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.stdin.read().split("\\n"):
    start = time.perf_counter()
    try: read_weights(path); said = ""
    except Refused as refused: said = str(refused)
    print(json.dumps([path, said, time.perf_counter() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10]), flush=True)
"""


def test_bombs_take_neither_memory_nor_time(tmp_path):
    said = {str(path): words for path, words in bombs(tmp_path)}
    done = subprocess.run([sys.executable, "-c", READER], input="\n".join(said), capture_output=True, text=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(said), (done.stdout[-300:], done.stderr[-2000:])
    for path, sentence, seconds, grown in results:
        assert bool(sentence) == bool(said[path]), (path, sentence)
        if sentence: assert_says(sentence, path, said[path])
        assert seconds < 8 and grown < 700, (path, seconds, grown)
