"Data are known by their bytes, images by source and name, and a folder is one process's at a time."

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sentences import assert_says

from inner_detectors.core import files, locks
from inner_detectors.analyses.splits import parts, shares
from inner_detectors.data.labels import (
    Labels,
    as_labels,
    check_labels,
    folder_classes,
    read_class_labels,
    classes_from_masks,
)
from inner_detectors.transfer.faithfulness import family_names
from inner_detectors.core.errors import InputError
from inner_detectors.core.files import part_beside, replacing
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.data.dataset import Data
from inner_detectors.data.groups import UsedImage, groups_in, independent
from inner_detectors.data.sample import Region, Sample
from inner_detectors.data.survey import survey
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.analyses.chance import chance
from inner_detectors.core.files import (
    FileChangedError,
    FileGoneError,
    cache_file,
    hash_files,
    load_digests,
    current_digest,
)
from inner_detectors.core.locks import LOCK, holding
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.data.readers.registry import load_data


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    "A cache of this test's own, and nothing remembered by the process."
    monkeypatch.setenv("INNER_DETECTORS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "DIGESTS", {})
    return tmp_path / "cache"


def forward(parameters, images):
    return {"colours": jnp.stack([images[..., 0], images[..., 1], images[..., 2], images.max(-1)], -1)}


MODEL = Model("colours", forward, {}, 32, geometry={"colours": half_pixel(32, (32, 32))})


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 255, (32, 48, 3)).astype(np.uint8)


def paint(root, seeds=range(6), names="p{}", masks=0, groups=None):
    "A folder of bitmaps with label maps, all of equal size; `groups` by place."
    for place in ("images", "masks"):
        (root / place).mkdir(parents=True, exist_ok=True)
    for place, seed in enumerate(seeds):
        mask = np.zeros((32, 48), np.uint8)
        mask[8:24, 12 + masks : 36 + masks] = 1
        name = names.format(place)
        Image.fromarray(pixels(seed)).save(root / f"images/{name}.bmp")
        Image.fromarray(mask).save(root / f"masks/{name}.png")
    (root / "names.csv").write_text("index,name\n1,crack\n")
    if groups:
        (root / "images.csv").write_text(
            "image,group\n" + "".join(f"{names.format(i)}.bmp,{group}\n" for i, group in groups.items())
        )
    return root


def data_of(*roots):
    return load_data(*(f"folder:{root}" for root in roots))


def run(root, out=None, **more):
    return dissect(
        MODEL, data_of(root) if isinstance(root, Path) else root, ["colours"], out=out, progress=False, **more
    )


def swap(one, other):
    "Each file's bytes under the other's name, in place."
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b), other.write_bytes(a)


def set_back(path, change):
    "A change after which size and time of modification are as before."
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def relink(root):
    path = root / "images/p0.bmp"
    other = root.parent / "other.bmp"
    Image.fromarray(pixels(77)).save(other)
    path.unlink(), path.symlink_to(other)


OTHERS = {
    "another image": lambda root: Image.fromarray(pixels(99)).save(root / "images/p3.bmp"),
    "time set back": lambda root: set_back(root / "images/p3.bmp", lambda path: Image.fromarray(pixels(99)).save(path)),
    "two images swapped": lambda root: swap(root / "images/p1.bmp", root / "images/p2.bmp"),
    "an image renamed": lambda root: [
        (root / f"{place}/p1.{end}").rename(root / f"{place}/q1.{end}")
        for place, end in (("images", "bmp"), ("masks", "png"))
    ],
    "a link to another image": relink,
    "a mask": lambda root: paint(root, masks=2),
    "two masks swapped": lambda root: (Image.fromarray(np.ones((32, 48), np.uint8)).save(root / "masks/p0.png"),),
    "a group": lambda root: (root / "images.csv").write_text("image,group\np0.bmp,film\n"),
    "a name": lambda root: (root / "names.csv").write_text("index,name\n1,crick\n"),
}
SAME = {
    "touched": lambda root: [os.utime(path) for path in root.rglob("*.*")],
    "written again": lambda root: [path.write_bytes(path.read_bytes()) for path in root.rglob("*.*")],
    "a hard link beside": lambda root: os.link(root / "images/p0.bmp", root.parent / "beside.bmp"),
    "permissions": lambda root: (root / "images/p0.bmp").chmod(0o600),
    "another folder": lambda root: shutil.move(root, root.with_name("moved")),
    "links in place of files": lambda root: (
        shutil.move(root / "images", root.parent / "kept"),
        (root / "images").mkdir(),
        [(root / "images" / path.name).symlink_to(path) for path in (root.parent / "kept").iterdir()],
    ),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_other_data_are_another_run(change, tmp_path):
    "The same names and sizes, other bytes: never the first run's numbers."
    root = paint(tmp_path / "set")
    first = run(root, tmp_path / "out")
    change(root)
    with pytest.raises(InputError) as refused:
        run(root, tmp_path / "out")
    assert_says(str(refused.value), "holds the result of another run (other data)")
    with pytest.raises(InputError) as refused:
        study(first, MODEL, data_of(root))
    assert_says(str(refused.value), "was made with other data (sources.folder")


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_same_bytes_are_the_same_run(change, tmp_path):
    root = paint(tmp_path / "set")
    first = run(root, tmp_path / "out")
    change(root)
    root = root if root.exists() else root.with_name("moved")
    assert run(root, tmp_path / "out").table.attrs["date"] == first.table.attrs["date"]
    study(first, MODEL, data_of(root))


def published(root, layout):
    from inner_detectors.synthetic.scenes import Scenes
    from inner_detectors.synthetic.writers import LAYOUTS

    LAYOUTS[layout](Scenes(3), root)


LAYOUT_FILES = [
    ("coco", "**/val2017/*"),
    ("coco", "**/*.json"),
    ("voc", "**/JPEGImages/*"),
    ("voc", "**/SegmentationClass/*"),
    ("voc", "**/SegmentationObject/*"),
    ("pascal-part", "**/JPEGImages/*"),
    ("pascal-part", "**/*.mat"),
]


@pytest.mark.parametrize("layout, pattern", LAYOUT_FILES)
def test_every_file_of_every_layout_counts(layout, pattern, tmp_path):
    published(tmp_path / "set", layout)

    def identity():
        return load_data(f"{layout}:{tmp_path / 'set'}").identity()

    found, before = sorted(path for path in (tmp_path / "set").glob(pattern) if path.is_file()), identity()
    if not found:
        pytest.skip("the writer of this layout makes none")
    if pattern.endswith("json"):
        found[0].write_bytes(found[0].read_bytes() + b"\n")
    else:
        swap(found[0], found[1])
    assert identity() != before


def test_label_maps_of_a_panoptic_json_count(tmp_path):
    "Swapped label maps, the json as it was."
    for place in ("panoptic_val", "val"):
        (tmp_path / place).mkdir()
    for i in range(2):
        Image.fromarray(pixels(i)).save(tmp_path / f"val/{i}.jpg")
        Image.fromarray(np.full((32, 48, 3), (i + 1, 0, 0), np.uint8)).save(tmp_path / f"panoptic_val/{i}.png")
    segments = [{"id": 1, "category_id": 1}, {"id": 2, "category_id": 1}]
    (tmp_path / "panoptic_val.json").write_text(
        json.dumps(
            {
                "images": [{"id": i, "file_name": f"{i}.jpg", "height": 32, "width": 48} for i in range(2)],
                "categories": [{"id": 1, "name": "sky"}],
                "annotations": [{"image_id": i, "file_name": f"{i}.png", "segments_info": segments} for i in range(2)],
            }
        )
    )

    def identity():
        return load_data(f"coco-panoptic:{tmp_path / 'panoptic_val.json'},{tmp_path / 'val'}").identity()

    before = identity()
    swap(tmp_path / "panoptic_val/0.png", tmp_path / "panoptic_val/1.png")
    assert identity() != before


def test_an_opened_source_says_what_it_read(tmp_path):
    "A table that is replaced after it was read does not change what the source knows; an image does."
    root = paint(tmp_path / "set")
    data = data_of(root)
    before = data.identity()
    (root / "names.csv").write_text("index,name\n1,hole\n")
    assert data.identity() == before and data_of(root).identity() != before
    Image.fromarray(pixels(99)).save(root / "images/p3.bmp")
    assert data.identity() != before


def test_unreadable_pictures_are_left_out_as_before(tmp_path):
    root = paint(tmp_path / "set")
    (root / "images/p0.bmp").write_bytes(b"no image")
    found = run(root, tmp_path / "out")
    assert found.table.attrs["images"] == 5 and "p0" in found.table.attrs["problems"]
    data = data_of(root)
    (root / "images/p1.bmp").unlink()
    with pytest.raises(FileGoneError) as refused:
        data.identity()
    assert_says(str(refused.value), "p1.bmp: was there when the data were opened, and is not now")


class Meddling:
    "A folder's source, in which something happens when an image is read for the so-manieth time."

    def __init__(self, source, turn, act):
        self.source, self.turn, self.act, self.turns = source, turn, act, 0
        self.name, self.concepts, self.keys = source.name, source.concepts, source.keys

    def sample(self, key):
        self.turns += 1
        if self.turns == self.turn:
            self.act()
        return self.source.sample(key)

    def identity(self):
        return self.source.identity()


class Telling(Meddling):
    def files_of(self, key):
        return self.source.files_of(key)


@pytest.mark.parametrize("kind", [Telling, Meddling])
@pytest.mark.parametrize("what", ["images/p5.bmp", "masks/p5.png"])
@pytest.mark.parametrize("turn", [1, 7])
def test_a_change_during_a_run_is_noticed(kind, what, turn, tmp_path):
    "In the first sweep and between the two; where a source does not tell its files, at the end."
    root = paint(tmp_path / "set")
    new = paint(tmp_path / "new", range(20, 26), masks=3) / what
    source = kind(data_of(root).sources[0], turn, lambda: os.replace(new, root / what))
    with pytest.raises(InputError) as refused:
        run(Data([source]), tmp_path / "out")
    assert "has changed" in str(refused.value) or "were others when they were read again" in str(refused.value)
    assert not (tmp_path / "out/dissection.nc").exists()


def test_a_change_between_match_and_a_room_is_noticed(tmp_path):
    root = paint(tmp_path / "set")
    found, data = run(root, tmp_path / "out"), data_of(root)
    these = study(found, MODEL, data)
    swap(root / "images/p1.bmp", root / "images/p2.bmp")
    with pytest.raises(FileChangedError) as refused:
        chance(these, tmp_path / "out", progress=False)
    assert_says(str(refused.value), "p1.bmp: has changed")


class OfOnesOwn:
    "A source with the five answers alone."

    name = "own"

    def __init__(self, keys="abcdef"):
        self.keys, self.concepts = list(keys), Vocabulary([Concept("crack", "object")])

    def sample(self, key):
        return Sample(key, pixels(ord(key)), (Region("crack", np.eye(32, 48, dtype=bool)),))

    def identity(self):
        return {"own": "1"}


def test_a_source_of_ones_own_works_as_before(tmp_path):
    first = run(Data([OfOnesOwn()]), tmp_path / "out")
    assert run(Data([OfOnesOwn()]), tmp_path / "out").table.equals(first.table)


def test_results_that_know_sizes_alone(tmp_path):
    "They are read as before, and in one sentence refused where images are asked for."
    root = paint(tmp_path / "set")
    found = run(root)
    about = json.loads(found.table.attrs["about"])
    del about["data"]["sources"][0]["images_by"]
    Dissection(found.table.assign_attrs(about=json.dumps(about), run="of earlier")).save(tmp_path / "out")
    assert len(Dissection.load(tmp_path / "out").units()) == 4
    with pytest.raises(InputError) as refused:
        run(root, tmp_path / "out")
    assert_says(str(refused.value), "knows the images of folder by name and size alone", "can still be read")
    with pytest.raises(InputError) as refused:
        study(Dissection.load(tmp_path / "out"), MODEL, data_of(root))
    assert_says(str(refused.value), "by name and size alone", "Run match again")


# ---- the cache


@pytest.fixture
def old(tmp_path, monkeypatch):
    "Files whose stamps are old enough to be relied on: the clock is ahead."
    root = paint(tmp_path / "set")
    now = time.time_ns()
    monkeypatch.setattr(files.time, "time_ns", lambda: now + 10 * files.FRESH)
    return sorted((root / "images").iterdir())


def reads(monkeypatch):
    "The paths that are read from now on."
    found, read = [], files.read_known
    monkeypatch.setattr(files, "read_known", lambda path: found.append(Path(path).name) or read(path))
    return found


def test_an_unchanged_file_is_not_read_twice(old, monkeypatch):
    first, seen = hash_files(old), reads(monkeypatch)
    assert hash_files(old) == first and not seen
    files.DIGESTS.clear()  # as in another process
    assert hash_files(old) == first and not seen
    swap(old[0], old[1])
    assert hash_files(old)[:2] == first[1::-1] and set(seen) == {"p0.bmp", "p1.bmp"}


def test_a_fresh_file_is_not_relied_on(tmp_path, monkeypatch):
    path = tmp_path / "a.bmp"
    path.write_bytes(b"one")
    hash_files([path])
    seen = reads(monkeypatch)
    hash_files([path])
    assert seen == ["a.bmp"] and not load_digests(str(tmp_path))


SPOILT = {
    "half": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
    "other words": lambda path: path.write_bytes(path.read_bytes().replace(b'"p0', b'"q0')),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "gone": lambda path: path.unlink(),
    "the cache gone": lambda path: shutil.rmtree(path.parent.parent),
    "a file in place of the cache": lambda path: (
        shutil.rmtree(path.parent.parent),
        path.parent.parent.write_bytes(b""),
    ),
    "somebody else's": lambda path: os.chown(path, 12345, -1) if os.geteuid() == 0 else path.unlink(),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_cache_is_no_error(spoil, old):
    first = hash_files(old)
    spoil(cache_file(str(old[0].parent)))
    files.DIGESTS.clear()
    assert hash_files(old) == first


def test_the_cache_may_be_moved_and_shared(old, monkeypatch, tmp_path):
    hash_files(old[:3])
    hash_files(old[3:])
    assert len(load_digests(str(old[0].parent))) == 6
    monkeypatch.setenv("INNER_DETECTORS_CACHE", str(tmp_path / "elsewhere"))
    assert not load_digests(str(old[0].parent))
    monkeypatch.delenv("INNER_DETECTORS_CACHE")
    assert "inner-detectors" in str(files.cache_folder())


# ---- equal names, and copies


def test_families_do_not_hang_on_order():
    one = [
        UsedImage(0, "1.jpg", "film", "aa"),
        UsedImage(0, "2.jpg", "film", "bb"),
        UsedImage(0, "3.jpg", None, "cc"),
        UsedImage(0, "4.jpg", None, "cc"),
    ]
    two = [UsedImage(1, "1.jpg", None, "aa"), UsedImage(1, "2.jpg", "film", "dd"), UsedImage(1, "3.jpg", None, "ee")]
    assert independent(one + two).tolist() == [0, 0, 1, 1, 0, 2, 3]
    assert groups_in(one + two) == 2 and groups_in(two) == 1 and groups_in([]) == 0
    turned = [image._replace(source=1 - image.source) for image in two + one]
    for salt in range(5):
        there = dict(zip([(image.source, image.name) for image in one + two], shares(one + two, salt)))
        again = {(1 - image.source, image.name): share for image, share in zip(turned, shares(turned, salt))}
        assert (
            there == again
            and there[0, "1.jpg"] == there[1, "1.jpg"] == there[0, "2.jpg"]
            and there[0, "3.jpg"] == there[0, "4.jpg"]
        )
    names = family_names(one + two)
    assert names[0] == names[1] == names[4] and len(set(names)) == 4


def test_one_photograph_in_two_sources_falls_into_one_half(tmp_path):
    first, second = (
        paint(tmp_path / "a", range(12)),
        paint(tmp_path / "b", range(20, 5, -1), names="x{}"),
    )  # 6 to 11 in both, under other names
    there = {}
    for order in ([first, second], [second, first]):
        data = data_of(*order)
        seen = [
            UsedImage(place, key, None, data.example(item, 8, 8).digest) for item, (place, key) in enumerate(data.items)
        ]
        assert len(seen) - len(np.unique(independent(seen))) == 6
        for fitted in (None, 1):
            uses = {
                (order[image.source].name, image.name): part for image, part in zip(seen, parts(seen, 0, 3, fitted))
            }
            assert there.setdefault(fitted, uses) == uses
            assert all(uses["a", f"p{seed}"] == uses["b", f"x{20 - seed}"] for seed in range(6, 12))


def test_groups_are_counted_one_way(tmp_path):
    "Two sources have a group of one name; a photograph in both sources makes two groups one."
    a = paint(tmp_path / "a", range(4), groups={0: "film", 1: "film", 2: "other"})
    b = paint(tmp_path / "b", [10, 11, 2], groups={0: "film", 1: "film", 2: "third"})
    data = data_of(a, b)
    found = run(data)
    assert survey(data, progress=False).groups == found.table.attrs["groups"] == 3
    assert survey(data_of(a), progress=False).groups == run(a).table.attrs["groups"] == 2


def test_labels_tell_equal_names_apart(tmp_path):
    a, b = paint(tmp_path / "a", range(4)), paint(tmp_path / "b", range(10, 14))
    data, table = data_of(a, b), tmp_path / "classes.csv"
    rows = [(f"folder-{source + 1}", key, "cat" if source == 0 or key == "p1" else "dog") for source, key in data.items]
    expected = [0 if one == "cat" else 1 for _, _, one in rows]
    for text in (
        "source,image,class\n" + "".join(",".join(row) + "\n" for row in rows),
        "image,class\n" + "".join(f"{source}/{key},{one}\n" for source, key, one in rows),
    ):
        table.write_text(text)
        labels = as_labels(read_class_labels(table), data)
        check_labels(labels, data)
        assert labels.truth([UsedImage(*item, None) for item in data.items]).tolist() == expected
        assert as_labels(labels, data) == labels
    table.write_text("image,class\n" + "".join(f"{key},cat\n" for key in data.sources[0].keys))
    with pytest.raises(InputError) as refused:
        as_labels(read_class_labels(table), data)
    assert_says(
        str(refused.value), "'p0' is the name of several images", "folder-1/p0 and folder-2/p0", "a column source"
    )
    assert as_labels(read_class_labels(table), data_of(a)).truth(["p0"]).tolist() == [0]
    table.write_text("image,class\np0,cat\np0,dog\n")
    with pytest.raises(InputError) as refused:
        read_class_labels(table)
    assert_says(str(refused.value), "'p0' is listed as cat and as dog")


def test_labels_by_masks_and_arrays_tell_equal_names_apart(tmp_path):
    a, b = paint(tmp_path / "a", range(3)), paint(tmp_path / "b", range(10, 13))
    for path in (b / "masks").iterdir():
        Image.fromarray(np.zeros((32, 48), np.uint8)).save(path)
    data = data_of(a, b)
    assert classes_from_masks(data, progress=False).truth(data.items).ravel().tolist() == [True] * 3 + [False] * 3
    rows = np.array([[True], [False], [True], [False], [True], [False]])
    assert (as_labels(rows, data, ["one"]).truth(data.items) == rows).all()


def test_a_photograph_that_two_sources_share_needs_one_label(tmp_path):
    a, b = paint(tmp_path / "a", range(3)), paint(tmp_path / "b", range(3))
    assert as_labels({"p0": "cat", "p1": "dog", "p2": "cat"}, data_of(a, b)).truth([(1, "p1"), (0, "p0")]).tolist() == [
        1,
        0,
    ]


def test_folders_of_equal_names():
    class Folders(OfOnesOwn):
        def __init__(self, name, keys):
            super().__init__()
            self.name, self.keys = name, keys

    data = Data([Folders("a", ["cat/1", "dog/1"]), Folders("b", ["cat/1", "dog/2"])])
    assert folder_classes(data).truth(data.items).tolist() == [0, 1, 0, 1]
    assert isinstance(folder_classes(data), Labels)


# ---- one process a folder

HOLD = (
    "import sys, time; from inner_detectors.core.locks import holding\nwith holding(sys.argv[1]): print('in', "
    "flush=True); time.sleep(100)"
)


@pytest.fixture
def other(tmp_path):
    "Another process that holds the folder `out`."
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_process_says_who_is_first(other, tmp_path):
    root, out = paint(tmp_path / "set"), tmp_path / "out"
    for _ in range(2):
        with pytest.raises(InputError) as refused:
            run(root, out)
        assert_says(
            str(refused.value),
            f"{out}: another process is writing into it (process {other.pid} on ",
            "since ",
            "Wait until it is done",
        )
    words = ["match", "vgg16", "--data", f"folder:{root}", "--out", str(out)]
    called = subprocess.run(
        [sys.executable, "-c", "from inner_detectors.cli.main import main; main()", *words],
        capture_output=True,
        text=True,
    )
    assert (
        called.returncode == 1
        and called.stderr.count("\n") == 1
        and "another process is writing into it" in called.stderr
    )
    other.kill()  # nothing is left to be cleared away by hand
    other.wait()
    assert (out / LOCK).exists()
    found = run(root, out)
    assert not (out / LOCK).exists() and Dissection.load(out).table.equals(found.table)


def test_readers_need_no_lock(tmp_path):
    root, out = paint(tmp_path / "set"), tmp_path / "out"
    found = run(root, out)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    try:
        assert Dissection.load(out).table.equals(found.table)
        these = study(found, MODEL, data_of(root))
        with pytest.raises(InputError) as refused:
            chance(these, out, progress=False)
        assert_says(str(refused.value), "another process is writing into it")
    finally:
        process.kill(), process.wait()


def test_a_lock_is_given_back_whatever_happens(tmp_path):
    "A cell that fails, a folder that was made for nothing; and as often as one likes within a thread."
    with pytest.raises(ZeroDivisionError), holding(tmp_path / "new/out"), holding(tmp_path / "new/out"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists() and not locks.FOLDER_LOCKS
    with holding(tmp_path / "out"):
        (tmp_path / "link").symlink_to(tmp_path / "out")
        with holding(tmp_path / "link"):
            assert (tmp_path / "out" / LOCK).exists()
        assert (tmp_path / "out" / LOCK).exists()
    assert not (tmp_path / "out" / LOCK).exists()


def test_threads_of_one_process(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def enter():
        with holding(tmp_path / "out"):
            return "in"

    with ThreadPoolExecutor(1) as pool:
        with holding(tmp_path / "out"), pytest.raises(InputError) as refused:
            pool.submit(enter).result()
        assert_says(str(refused.value), "another thread of this process")
        assert pool.submit(enter).result() == "in"


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def none(handle):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "lock", none)
    with pytest.warns(UserWarning, match="has no locks"), holding(tmp_path / "out"):
        pass


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "out" / LOCK).symlink_to(tmp_path / "mine")
    with holding(tmp_path / "out"):
        pass
    assert (tmp_path / "mine").read_text() == "kept"


def test_nobody_removes_a_living_process_part(other, tmp_path):
    path = tmp_path / "units.csv"
    mine, here = part_beside(path), part_beside(path).name.rsplit("-", 1)[1]
    theirs, dead = path.with_name(f".units.csv.{other.pid}-0-{here}"), path.with_name(f".units.csv.{2**30}-0-{here}")
    elsewhere, earlier = (
        path.with_name(f".units.csv.{2**30}-0-00000000.part"),
        path.with_name(f".units.csv.{2**30}.part"),
    )
    for left in (mine, theirs, dead, elsewhere, earlier):
        left.touch()
    with replacing(path) as part:
        part.write_text("whole")
    assert [left.exists() for left in (mine, theirs, dead, elsewhere, earlier)] == [True, True, False, True, False]


def test_two_writers_of_one_file(tmp_path):
    "Each has a part of its own; the last one's is there."
    path = tmp_path / "a[1].csv"
    with replacing(path) as one:
        one.write_text("one")
        with replacing(path) as two:
            two.write_text("two")
        assert path.read_text() == "two"
    assert path.read_text() == "one" and [left.name for left in tmp_path.iterdir()] == ["a[1].csv"]


def test_a_changed_file_stays_changed_until_it_is_hashed_anew(tmp_path):
    path = tmp_path / "a.bmp"
    path.write_bytes(b"one")
    assert current_digest(path) == ""
    (first,) = hash_files([path])
    assert current_digest(path) == first
    path.write_bytes(b"two")
    for _ in range(2):
        with pytest.raises(FileChangedError):
            current_digest(path)
    assert hash_files([path]) == [current_digest(path)]
