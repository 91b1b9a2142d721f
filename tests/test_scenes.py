"""The generated set, as a user has it: across processes and threads, as a COCO folder, and on a full disk."""

import errno
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from inner_detectors.core.errors import InputError
from inner_detectors.data.sample import Sample, Source
from inner_detectors.synthetic.drawing import COLOUR_RADIUS, COLOUR_WORDS, PATTERNS, colour_mask, pattern
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.synthetic.staged import Staged
from inner_detectors.synthetic.things import ANGLES, SCALES
from inner_detectors.synthetic.writers import write_coco

DIGEST = """
import hashlib
from inner_detectors.synthetic.scenes import Scenes
sample = Scenes(20, seed=5).sample("000013")
text = sample.image.tobytes() + b"".join(region.concept.encode() + region.mask.tobytes() for region in sample.regions)
print(hashlib.sha256(text).hexdigest())
"""


def digest(sample) -> str:
    masks = b"".join(region.concept.encode() + region.mask.tobytes() for region in sample.regions)
    return hashlib.sha256(sample.image.tobytes() + masks).hexdigest()


def test_same_in_another_process_and_in_a_larger_set():
    other = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True).stdout.strip()
    assert other == digest(Scenes(20, seed=5).sample("000013")) == digest(Scenes(999, seed=5).sample("000013"))
    assert other != digest(Scenes(20, seed=6).sample("000013"))


def test_same_from_threads_and_in_any_order():
    scenes = Scenes(24)
    alone = [digest(scenes.sample(key)) for key in scenes.keys]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda key: digest(scenes.sample(key)), reversed(scenes.keys))) == alone[::-1]


def test_is_a_source_and_says_what_it_is():
    scenes = Scenes(3)
    assert isinstance(scenes, Source)
    assert len(set(scenes.keys)) == len(scenes.keys) == 3
    identities = [Scenes(3), Scenes(4), Scenes(3, seed=1), Scenes(3, size=112)]
    assert len({str(source.identity()) for source in identities}) == 4
    assert Scenes(3).identity() == scenes.identity()


@pytest.mark.parametrize("size", [32, 97, 224, 300])
def test_masks_at_any_size(size):
    scenes = Scenes(6, size=size)
    for sample in map(scenes.sample, scenes.keys):
        assert sample.image.shape == (size, size, 3) and sample.image.dtype == np.uint8
        for region in sample.regions:
            assert region.mask.shape == (size, size) and region.mask.dtype == bool and region.mask.any()
            assert region.concept in scenes.concepts


def test_things_do_not_overlap_and_parts_are_inside():
    scenes = Scenes(60)
    things = {concept.name for concept in scenes.concepts if concept.category == "object"}
    for sample in map(scenes.sample, scenes.keys):
        drawn = [region.mask for region in sample.regions if region.concept in things]
        assert not drawn or np.sum(drawn, 0).max() == 1, "a pixel shows one thing"
        whole = {name: np.logical_or.reduce([m for n, m in sample.regions if n == name]) for name, _ in sample.regions}
        for concept in scenes.concepts:
            if concept.parent and concept.name in whole:
                assert not (whole[concept.name] & ~whole[concept.parent]).any()


def test_colours_are_what_a_detector_by_hand_finds():
    scenes = Scenes(40)
    for sample in map(scenes.sample, scenes.keys):
        masks = {region.concept: region.mask for region in sample.regions if region.concept in COLOUR_WORDS}
        for name, nominal in COLOUR_WORDS.items():
            by_hand = abs(sample.image.astype(int) - nominal).max(-1) <= COLOUR_RADIUS
            assert (masks.get(name, np.zeros_like(by_hand)) == by_hand).all()
            assert (colour_mask(sample.image, name) == by_hand).all()


def fingerprint(ink):
    """The strength of every spatial frequency of a patch: it does not change when the pattern is shifted."""
    power = abs(np.fft.rfft2(ink - ink.mean()))
    return power / (np.linalg.norm(power) + 1e-9)


def widest_square(mask, side=72):
    """The top left corner of a full square in a mask, or None."""
    total = np.pad(mask.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    full = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side] == side * side
    return tuple(np.argwhere(full)[0]) if full.any() else None


def test_a_filter_bank_tells_the_textures_apart():
    y, x = np.mgrid[:72, :72].astype(np.float32)
    bank = [
        (name, fingerprint(pattern(name, y, x, scale, angle).astype(float)))
        for name in PATTERNS
        for scale in SCALES
        for angle in sorted(set(ANGLES))
    ]
    scenes, right, seen = Scenes(300), 0, set()
    patches = [
        (region.concept, sample.image, widest_square(region.mask))
        for sample in map(scenes.sample, scenes.keys)
        for region in sample.regions
        if region.concept in PATTERNS
    ]
    patches = [
        (name, image[top : top + 72, left : left + 72])
        for name, image, corner in patches
        if corner
        for top, left in [corner]
    ]
    for name, patch in patches:
        channel = patch.reshape(-1, 3).std(0).argmax()
        seen.add(name)
        looks = fingerprint(patch[..., channel].astype(float))
        right += name == max(bank, key=lambda entry: (entry[1] * looks).sum())[0]
    assert seen == set(PATTERNS)
    assert right / len(patches) > 0.9, f"{right} of {len(patches)}"


def test_coco_folder(tmp_path, capsys):
    scenes = Scenes(5, seed=3)
    path = write_coco(scenes, tmp_path / "set", split="train2014")
    assert path == tmp_path / "set" / "annotations" / "instances_train2014.json"
    assert capsys.readouterr().err == "", "no progress for what is quick"
    coco = COCO(path)
    assert [entry["name"] for entry in coco.dataset["categories"]] == scenes.concepts.names
    assert len({entry["id"] for entry in coco.dataset["annotations"]}) == len(coco.dataset["annotations"])
    for listed, sample in zip(coco.dataset["images"], map(scenes.sample, scenes.keys), strict=True):
        assert (np.asarray(Image.open(tmp_path / "set" / "train2014" / listed["file_name"])) == sample.image).all()
        read = coco.loadAnns(coco.getAnnIds(listed["id"]))
        for entry, region in zip(read, sample.regions, strict=True):
            assert (
                (coco.annToMask(entry) == region.mask).all()
                and entry["area"] == region.mask.sum()
                and entry["iscrowd"] == 0
            )
            assert isinstance(entry["segmentation"]["counts"], str)


def test_names_with_slashes_become_one_file_name(tmp_path):
    class Video(Scenes):
        def sample(self, key):
            return Sample(f"video 1/frame:{key}.jpg", super().sample(key).image)

    listed = json.loads(write_coco(Video(1), tmp_path).read_text())["images"][0]["file_name"]
    assert listed == "video 1%2Fframe%3A000000.jpg.png" and (tmp_path / "val2017" / listed).exists()


def test_full_disk_is_refused_and_leaves_the_old_annotations(tmp_path, monkeypatch):
    path = write_coco(Scenes(2), tmp_path)
    before = path.read_bytes()

    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left on device.*Make room"):
        write_coco(Scenes(3), tmp_path)
    assert path.read_bytes() == before and sorted(file.name for file in path.parent.iterdir()) == [path.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_while_writing_pictures(tmp_path):
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "000001.png").symlink_to("/dev/full")
    with pytest.raises(InputError, match="No space left.*Free some space"):
        write_coco(Scenes(2), tmp_path)
    assert not (tmp_path / "annotations" / "instances_val2017.json").exists()


@pytest.mark.parametrize("text", ["", "many", "-3", "0", "6.4", "٣"])
def test_a_count_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="Try scenes:64"):
        Scenes.parse(text, 0)


def test_a_key_that_is_none_is_refused():
    for key in ("000003", "3", "x", "-00001", ""):
        with pytest.raises(InputError, match="Keys run from"):
            Scenes(3).sample(key)


def test_load_data_finds_the_set():
    from inner_detectors.data.readers.registry import load_data

    source = load_data("scenes:3", seed=2)
    source = getattr(source, "sources", [source])[0]
    assert (source.count, source.seed) == (3, 2) and source.identity() == Scenes(3, seed=2).identity()


def test_folders_of_earlier_versions_are_found_again():
    "What was made of a generated set is known by the hash of these words, which nobody may improve."
    for source, words in {
        Scenes(3): "scenes 1: 3 pictures of 224 pixels, seed 0",
        Staged(4, seed=2): "staged 1: 4 pictures of 224 pixels, seed 2, swapped False, own 0.95",
    }.items():
        assert list(source.identity().values()) == [hashlib.sha256(words.encode()).hexdigest()]
