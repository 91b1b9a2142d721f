"""Bad input, each with one clear sentence that names file, item and remedy; and odd input that is good, read rightly.

Almost all of it goes through the public door: a folder as people have it, `load_data` and `dissect` or the command,
on a network of one small layer.
"""

import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sentences import assert_says

from inner_detectors.networks import registry
from inner_detectors.cli.main import run
from inner_detectors.core.errors import InputError
from inner_detectors.core.text import inert
from inner_detectors.data.images import read_image
from inner_detectors.dissection.protocol import netdissect
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.tables import write_tables
from inner_detectors.networks.model import Model
from inner_detectors.networks.registry import load_model
from inner_detectors.networks.vgg_arrays import VGG16_UNITS
from inner_detectors.data.readers.registry import load_data
from inner_detectors.networks.weights.safetensors import write_safetensors

SIZE = 40  # of every image, unless said


def forward(parameters, images):
    "64 cells of three colours and their complements."
    cells = images.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4))
    return {"cells": jnp.concatenate([cells, 1 - cells], -1), "cells.pre": cells}


TOY = Model("toy", forward, size=32)
MANY = replace(netdissect, quantile=0.2)  # of 64 positions an image, 0.005 would keep none


def picture(seed, height=SIZE, width=SIZE):
    "Smooth colours, so that JPEG changes little."
    y, x = np.mgrid[:height, :width] / SIZE
    phases = np.random.RandomState(seed).uniform(0, 6, 3)
    return np.stack([127 + 120 * np.sin(4 * x + 3 * y + phase) for phase in phases], -1).astype(np.uint8)


def box(number, image, category=1, corner=4, side=20):
    "A square annotation."
    low, high = corner, corner + side
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": [[low, low, high, low, high, high, low, high]],
    }


class Folder:
    """A COCO folder of JPEGs, with a square annotation in each; what a test needs to be otherwise, it changes before
    `write`."""

    def __init__(self, path, names=("a.jpg", "b.jpg", "c.jpg")):
        self.path, self.images = Path(path), Path(path) / "val"
        self.json = self.path / "annotations" / "instances_val.json"
        self.images.mkdir(parents=True)
        self.json.parent.mkdir()
        self.read = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        }
        for seed, name in enumerate(names):
            self.add(name, picture(seed), category=1 + seed % 2)

    def add(self, name, pixels, category=1, segmentation=None):
        "One more image with one annotation."
        if isinstance(pixels, np.ndarray):
            pixels = Image.fromarray(pixels)
        (self.images / name).parent.mkdir(parents=True, exist_ok=True)
        pixels.save(self.images / name, quality=95)
        number = len(self.read["images"]) + 1
        self.read["images"].append({"id": number, "file_name": name, "height": pixels.height, "width": pixels.width})
        self.read["annotations"].append(
            box(100 + number, number, category) | ({"segmentation": segmentation} if segmentation else {})
        )

    def write(self):
        self.json.write_text(json.dumps(self.read))
        return f"coco:{self.path}"

    def without(self, path, name):
        "The same folder, with one image never listed."
        one = Folder(path, ())
        number = next(entry["id"] for entry in self.read["images"] if entry["file_name"] == name)
        one.images.rmdir()
        one.images.symlink_to(self.images)
        one.read = self.read | {
            "images": [entry for entry in self.read["images"] if entry["id"] != number],
            "annotations": [entry for entry in self.read["annotations"] if entry["image_id"] != number],
        }
        return one.write()


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "coco")


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(registry.MODELS, "toy", registry.Family("one small layer", lambda weights=None: TOY))


@pytest.fixture
def command(toy, capsys):
    "The command, in this process: a traceback would fail the test."

    def command(*words):
        try:
            code = run([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return command


def look(place, **more):
    return dissect(TOY, load_data(place, **more), protocol=MANY, progress=False)


def counts(dissection):
    table = dissection.table
    return {
        name: table[name].values.tolist()
        for name in ("intersection", "unit_area", "concept_area", "concept_images", "threshold")
    }


def problems(dissection):
    return json.loads(dissection.table.attrs["problems"])


# ---- one image or mask that cannot be read: said, left out, counted; the others' counts do not change


def cut(folder):
    path = folder.images / "b.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    return [path, "cannot be read as an image", "Replace or remove it"]


def emptied(folder):
    (folder.images / "b.jpg").write_bytes(b"")
    return [folder.images / "b.jpg", "cannot be read as an image", "Replace or remove it"]


def text(folder):
    (folder.images / "b.jpg").write_text("<html>404 not found</html>")
    return [folder.images / "b.jpg", "cannot be read as an image", "Replace or remove it"]


def real_numbers(folder):
    Image.fromarray(np.zeros((SIZE, SIZE), np.float32)).save(folder.images / "b.jpg", "TIFF")
    return [folder.images / "b.jpg", "real numbers", "save it with 8 or 16 bits"]


def resized(folder):
    Image.fromarray(picture(1, 30, 50)).save(folder.images / "b.jpg")
    return [folder.images / "b.jpg", "the image is 50 x 30, its masks are 40 x 40", "Use the image that was annotated"]


def turned_to_neither(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(1, 30, 50)).save(folder.images / "b.jpg", exif=exif)
    return [folder.images / "b.jpg", "the image is 50 x 30, its masks are 40 x 40", "Use the image that was annotated"]


def mask(segmentation, *words):
    "An image whose second annotation has this segmentation."

    def change(folder):
        folder.read["annotations"][1]["segmentation"] = segmentation
        return [folder.json, "annotation 102", "b.jpg", *words, "Repair or remove it"]

    return change


PICTURE = {
    "JPEG truncated": cut,
    "file empty": emptied,
    "not an image": text,
    "real numbers": real_numbers,
    "another size": resized,
    "turned to neither size": turned_to_neither,
    "RLE too short": mask({"size": [SIZE, SIZE], "counts": [100, 50]}, "covers 150 pixels, the image has 1600"),
    "RLE of another size": mask(
        {"size": [SIZE + 1, SIZE], "counts": [SIZE * (SIZE + 1)]}, f"is for size [{SIZE + 1}, {SIZE}]"
    ),
    "RLE with half a pixel": mask({"size": [SIZE, SIZE], "counts": [1599.5, 0.5]}, "a run that is no count"),
    "RLE without counts": mask({"size": [SIZE, SIZE]}, "no counts"),
    "compressed RLE too short": mask({"size": [SIZE, SIZE], "counts": "00"}, "covers 0 pixels"),
    "polygon far away": mask([[0, 0, 100, 0, 100, 100]], "far outside the image"),
    "polygon of two points": mask([[0, 0, 9, 9]], "three points"),
    "polygon of odd length": mask([[0, 0, 9, 9, 5, 5, 1]], "three points"),
    "polygon of words": mask([["a", "b", "c", "d", "e", "f"]]),
    "polygon in shares of the image": mask([[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], "shares of the image and not pixels"),
    "segmentation missing": mask(None, "neither polygons nor RLE"),
}


@pytest.mark.parametrize("case", PICTURE)
def test_one_bad_picture_is_said_and_left_out(case, folder, tmp_path):
    words = PICTURE[case](folder)
    found = look(folder.write())
    (sentence,) = problems(found)
    assert_says(sentence, *words)
    assert found.table.attrs["images"] == 2
    assert counts(found) == counts(look(folder.without(tmp_path / "two", "b.jpg")))
    assert int(found.table.intersection.sum()) > 0


def test_the_command_says_what_it_left_out(folder, command, tmp_path):
    path, *words = cut(folder)
    code, out, err = command("match", "toy", "--data", folder.write(), "--out", tmp_path / "out")
    assert code == 0
    line = next(line for line in out.splitlines() if str(path) in line)
    assert_says(line, *words)
    assert "1 image was left out" in out
    assert "2 images" in out.splitlines()[0]
    assert Dissection.load(tmp_path / "out").table.attrs["images"] == 2


def test_where_no_picture_can_be_read_the_first_problem_is_said(folder, command):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (folder.images / name).write_bytes(b"\xff\xd8")
    code, out, err = command("match", "toy", "--data", folder.write(), "--quiet")
    assert (code, out) == (1, "")
    assert_says(err.splitlines()[-1], folder.images / "a.jpg", "not one image could be read", "Replace or remove")


# ---- good images of unusual kinds

GREY = (np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % 256).astype(np.uint8)
COLOURS = picture(5)
SEEN = np.random.RandomState(0).randint(0, 256, (SIZE, SIZE), np.uint8)
WEB = np.array([[r, g, b] for r in range(0, 256, 51) for g in range(0, 256, 51) for b in range(0, 256, 51)], np.uint8)


def palette():
    "An image of 216 colours that are looked up."
    made = Image.frombytes("P", (SIZE, SIZE), (GREY % 216).tobytes())
    made.putpalette(WEB.tobytes())
    return made


def grey(levels):
    return np.repeat(levels[..., None], 3, -1)


KINDS = {
    "grey.png": (Image.fromarray(GREY), grey(GREY), {}),
    "grey.jpg": (Image.fromarray(GREY), grey(GREY), {}),
    "grey16.png": (Image.fromarray(GREY.astype(np.uint16) * 257), grey(GREY), {}),
    "grey16.tiff": (Image.fromarray(GREY.astype(np.uint16) * 257), grey(GREY), {}),
    "grey32.tiff": (Image.fromarray(GREY.astype(np.int32) * 257), grey(GREY), {}),
    "bits.png": (Image.fromarray(GREY > 99), grey(np.where(GREY > 99, 255, 0).astype(np.uint8)), {}),
    "grey_alpha.png": (Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(SEEN)]), grey(GREY), {}),
    "rgba.png": (Image.fromarray(np.dstack([COLOURS, SEEN])), COLOURS, {}),
    "palette.png": (palette(), WEB[GREY % 216], {}),
    "palette_clear.png": (palette(), WEB[GREY % 216], {"transparency": 7}),
    "palette.gif": (palette(), WEB[GREY % 216], {}),
    "cmyk.tiff": (Image.fromarray(COLOURS).convert("CMYK"), COLOURS, {}),
    "cmyk.jpg": (Image.fromarray(COLOURS).convert("CMYK"), COLOURS, {}),
    "colours.webp": (Image.fromarray(COLOURS), COLOURS, {"lossless": True}),
    "small.png": (Image.fromarray(COLOURS[:20, :20]), COLOURS[:20, :20], {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_any_kind_of_picture_is_read_as_its_rgb(name, tmp_path):
    made, equal, settings = KINDS[name]
    made.save(tmp_path / name, **settings, **({"quality": 95} if name.endswith("jpg") else {}))
    apart = np.abs(read_image(tmp_path / name, equal.shape[:2]).astype(int) - equal)
    if name.endswith("jpg"):
        assert apart.mean() < (3 if name.startswith("cmyk") else 8)  # lossy
    else:
        assert apart.max() == 0


def test_unusual_pictures_count_as_their_rgb(folder, tmp_path):
    plain = Folder(tmp_path / "plain")
    for name, (made, equal, _) in KINDS.items():
        if name.endswith(("jpg", "tiff", "webp", "gif")):
            continue
        folder.add(name, made)
        plain.add(name, equal)
    one, two = look(folder.write()), look(plain.write())
    assert not problems(one)
    assert counts(one) == counts(two) and one.table.attrs["images"] == 3 + 8


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_turned_picture_is_turned_unless_its_masks_are_not(orientation, folder, tmp_path):
    "The four orientations that change the size. The array that a viewer shows is `upright`."
    upright = picture(7, 30, 50)
    stored = {
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright.swapaxes(0, 1), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(folder.images / "turned.png", exif=exif)
    for height, width, seen in ((30, 50, upright), (50, 30, stored)):
        folder.read["images"][3:] = [{"id": 4, "file_name": "turned.png", "height": height, "width": width}]
        data = load_data(folder.write())
        assert np.array_equal(data.sample(data.items.index((0, "turned.png"))).image, seen)


@pytest.mark.parametrize("height, width", [(1, 1000), (1000, 1), (1, 1), (20, 20), (3, 4000)], ids=str)
def test_pictures_of_odd_shapes(height, width, folder):
    folder.add(
        "odd.png", picture(4, height, width), segmentation={"size": [height, width], "counts": [0, height * width]}
    )
    found = look(folder.write())
    assert not problems(found) and found.table.attrs["images"] == 4
    assert found.table.concept_images.values.tolist() == [3, 1]


def test_pictures_without_annotations_count(folder, tmp_path):
    folder.add("nothing.jpg", picture(9))
    del folder.read["annotations"][-1]
    found, three = look(folder.write()), look(folder.without(tmp_path / "three", "nothing.jpg"))
    assert found.table.attrs["images"] == 4
    assert found.table.concept_area.equals(three.table.concept_area)
    assert int(found.table.unit_area.sum()) > 0 and not found.table.threshold.equals(three.table.threshold)


def test_three_hundred_annotations_in_one_picture(folder, tmp_path):
    once = Folder(tmp_path / "once")
    folder.read["annotations"] += [box(1000 + i, 1) for i in range(300)]
    assert counts(look(folder.write())) == counts(look(once.write()))
    folder.read["categories"] += [{"id": 10 + i, "name": f"thing {i}"} for i in range(300)]
    folder.read["annotations"] += [box(2000 + i, 1, 10 + i) for i in range(300)]
    found = look(folder.write())
    assert (found.table.concept_images.values[2:] == 1).all()
    assert (found.table.intersection.values[:, 2:] == found.table.intersection.values[:, 2:3]).all()


# ---- a json that cannot be used: nothing starts


def change(key, value):
    def do(read):
        read[key] = value

    return do


def annotate(**fields):
    def do(read):
        read["annotations"][0].update(fields)

    return do


JSON = {
    "captions": (
        lambda read: (
            [entry.pop("segmentation") for entry in read["annotations"]]
            + [entry.update(caption="a cat") for entry in read["annotations"]]
        ),
        ["no masks", "Give the instances json, not captions"],
    ),
    "boxes only": (
        lambda read: [(entry.pop("segmentation"), entry.update(bbox=[0, 0, 5, 5])) for entry in read["annotations"]],
        ["no masks", "boxes"],
    ),
    "no annotation": (change("annotations", []), ["0 annotations", "no masks"]),
    "no list of images": (change("images", None), ["no list of 'images'", "Give a COCO instances json"]),
    "categories by name": (change("categories", {"cat": 1}), ["no list of 'categories'"]),
    "an image that is not listed": (
        annotate(image_id=42),
        ["annotation 101 is for image 42, which is not listed", "--on-problem skip"],
    ),
    "a category that is not listed": (
        annotate(category_id=9),
        ["annotation 101 is of category 9, which is not listed", "--on-problem skip"],
    ),
    "a file that is not there": (
        lambda read: read["images"][0].update(file_name="gone.jpg"),
        ["'gone.jpg' is not in", "1 of 3", "--on-problem skip"],
    ),
    "category id twice": (
        lambda read: read["categories"].append({"id": 2, "name": "cow"}),
        ["category id 2 is listed twice", "Remove one"],
    ),
    "category name twice": (
        lambda read: read["categories"].append({"id": 3, "name": "dog"}),
        ["'dog' is listed twice", "Remove or rename one"],
    ),
    "two spellings of one category": (
        lambda read: read["categories"].append({"id": 3, "name": "Dog "}),
        ["'dog' and 'Dog '", "both 'dog'", "Rename"],
    ),
    "category without a name": (lambda read: read["categories"].append({"id": 3, "name": " "}), ["' '", "Name it"]),
    "category without an id": (
        lambda read: read["categories"].append({"name": "cow"}),
        ["category ? has no id", "Repair or remove it"],
    ),
    "image id twice": (lambda read: read["images"][1].update(id=1), ["image id 1 is listed twice", "Remove one"]),
    "file name twice": (lambda read: read["images"][1].update(file_name="a.jpg"), ["a.jpg", "Remove one"]),
    "image without an id": (lambda read: read["images"][1].pop("id"), ["image b.jpg has no id", "Repair or remove it"]),
    "image without a name": (
        lambda read: read["images"][1].pop("file_name"),
        ["image 2 has no file_name", "Repair or remove it"],
    ),
    "an image id that is a list": (annotate(image_id=[1]), ["annotation 101", "image [1], which is not listed"]),
    "a file outside": (
        lambda read: read["images"][0].update(file_name="val/../outside.jpg"),
        ["'val/../outside.jpg'", "it is outside", "Repair or remove it"],
    ),
}


@pytest.mark.parametrize("case", JSON)
def test_a_bad_json_is_refused(case, folder):
    do, words = JSON[case]
    do(folder.read)
    with pytest.raises(InputError) as refused:
        load_data(folder.write())
    assert_says(refused.value, folder.json, *words)


@pytest.mark.parametrize(
    "content, words",
    [
        (lambda whole: whole[: len(whole) // 2], ["cannot be read as json", "Download or write it again"]),
        (lambda whole: b"", ["cannot be read as json"]),
        (lambda whole: b"\xff\xfe\x00" + whole, ["cannot be read as json"]),
        (lambda whole: b"[1, 2]", ["no list of 'images'"]),
    ],
    ids=["truncated", "empty", "no text", "a list"],
)
def test_a_damaged_json_is_refused(content, words, folder):
    folder.write()
    folder.json.write_bytes(content(folder.json.read_bytes()))
    with pytest.raises(InputError) as refused:
        load_data(f"coco:{folder.path}")
    assert_says(refused.value, folder.json, *words)


def test_a_picture_of_boxes_alone_is_in_no_count(folder, tmp_path, command):
    "Nothing says where things are in it: it is not one that shows nothing. A run that stops at problems goes on."
    folder.read["annotations"][1]["segmentation"] = []
    found = look(folder.write())
    assert found.table.attrs["images"] == 2 and found.table.attrs["untold"] == 1 and found.table.attrs["maskless"] == 0
    assert counts(found) == counts(look(folder.without(tmp_path / "two", "b.jpg")))
    assert_says(problems(found)[0], folder.json, "b.jpg was left out", "annotation 102 has neither polygons nor RLE")
    code, out, err = command("match", "toy", "--data", f"coco:{folder.path}", "--quiet")
    assert code == 0 and "1 image was left out:" in out and "note" not in out
    for entry in folder.read["annotations"]:
        entry["segmentation"] = []
    code, out, err = command("match", "toy", "--data", folder.write(), "--quiet")
    assert (code, out) == (1, "")
    assert_says(err.splitlines()[-1], "not one image tells where things are", "a.jpg was left out", "annotation 101")


def test_a_picture_that_says_that_it_lies_on_its_side_is_noted_and_used(folder, tmp_path, command):
    "Square ones: size does not tell whether the masks are turned."
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(picture(1)).save(folder.images / "b.jpg", exif=exif, quality=95)
    folder.read["annotations"][2]["segmentation"] = [*folder.read["annotations"][2]["segmentation"], [1, 1]]
    place = folder.write()
    found = look(place)
    assert found.table.attrs["images"] == 3 and found.table.attrs["maskless"] == 0
    (turned, piece) = problems(found)
    assert_says(turned, "note: ", folder.images / "b.jpg", "EXIF orientation 3")
    assert_says(piece, "note: ", folder.json, "annotation 103 of c.jpg: 1 of its 2 polygons cannot be drawn")
    stored, upright = (look(f"{place}?orientation={way}") for way in ("stored", "upright"))
    assert counts(upright) == counts(found) != counts(stored)
    assert len(problems(stored)) == len(problems(upright)) == 1
    code, out, err = command(
        "match", "toy", "--data", f"{place}:val?orientation=stored", "--out", tmp_path / "out", "--quiet"
    )
    assert code == 0 and "1 note:" in out and "left out:" not in out
    said = json.loads(Dissection.load(tmp_path / "out").table.attrs["command"])["data"]
    assert said == [f"{place}:val?orientation=stored"]
    code, out, err = command("chance", tmp_path / "out", "--quiet")
    assert code == 0 and "could not be used" not in err


def test_what_points_nowhere_can_be_skipped(folder, tmp_path, command):
    plain = counts(look(folder.write()))
    folder.read["annotations"] += [box(500, 42), box(501, 1, 9)]
    folder.read["images"].append({"id": 77, "file_name": "gone.jpg", "height": 9, "width": 9})
    found = look(folder.write(), on_problem="skip")
    assert counts(found) == plain
    for words in (["annotation 500", "image 42"], ["annotation 501", "category 9"], ["'gone.jpg' is not in"]):
        (sentence,) = [one for one in problems(found) if all(word in one for word in words)]
        assert_says(sentence, folder.json)
    code, out, err = command("match", "toy", "--data", folder.write(), "--quiet", "--on-problem", "skip")
    assert code == 0 and "annotation 500 is for image 42" in out + err


# ---- names

NAMES = [
    "traffic light",
    "Straße/Süd",
    "猫",
    "cat/head",
    "two\nlines",
    'a "quoted", name',
    "tab\there",
    "cat",
    "=1+1",
    "NA",
    "<b>",
]
SPELLED = [
    "traffic light",
    "straße/süd",
    "猫",
    "cat/head",
    "two lines",
    'a "quoted", name',
    "tab here",
    "cat",
    "=1+1",
    "na",
    "<b>",
]


def test_any_name_survives_files_and_tables(folder, tmp_path):
    folder.read["categories"] = [{"id": 1 + i, "name": name} for i, name in enumerate(NAMES)]
    folder.read["annotations"] = [box(200 + i, 1 + i % 3, 1 + i, corner=i, side=6 + i) for i in range(len(NAMES))]
    folder.add("with space ü\n.png", picture(8))
    out = tmp_path / "out"
    found = dissect(TOY, load_data(folder.write()), protocol=MANY, out=out, progress=False)
    write_tables(found, out)
    assert not problems(found)
    assert Dissection.load(out).table.concept.values.tolist() == SPELLED
    assert pd.read_csv(out / "concepts.csv", keep_default_na=False).concept.tolist() == [
        inert(name) for name in SPELLED
    ]
    named = pd.read_csv(out / "units.csv", keep_default_na=False).concept.tolist()
    assert named == [inert(name) for name in found.units().concept] and "'=1+1" in map(inert, SPELLED)
    assert "<b>" not in found._repr_html_().replace("&lt;b&gt;", "")
    lines = (out / "units.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(found.top(1))


# ---- words of the command

COMMANDS = {
    "unknown layer": (
        ["match", "toy", "--data", "scenes:2", "--layers", "cels"],
        1,
        ["toy: no layer 'cels'", "Did you mean 'cells'"],
    ),
    "unknown model": (["match", "vgg61", "--data", "scenes:2"], 1, ["no model 'vgg61'", "Did you mean 'vgg16'"]),
    "unknown source": (["match", "toy", "--data", "koko:x"], 1, ["no kind of source 'koko'", "'coco'"]),
    "no kind of source": (["match", "toy", "--data", "/data/coco"], 1, ["'/data/coco'", "coco:FOLDER"]),
    "no data": (["match", "toy"], 1, ["no data", "--data"]),
    "no image": (["match", "toy", "--data", "scenes:0"], 1, ["scenes:0", "scenes:64"]),
    "half an image": (["match", "toy", "--data", "scenes:1.5"], 1, ["scenes:1.5", "whole number"]),
    "no such folder": (
        ["match", "toy", "--data", "coco:/no/such/folder"],
        1,
        ["/no/such/folder: no such folder", "Give the one"],
    ),
    "batch 0": (["match", "toy", "--data", "scenes:2", "--batch", "0"], 1, ["--batch 0", "1 or more"]),
    "batch -3": (["match", "toy", "--data", "scenes:2", "--batch=-3"], 1, ["--batch -3", "1 or more"]),
    "limit 0": (["match", "toy", "--data", "scenes:2", "--limit", "0"], 1, ["limit 0", "1 or more"]),
    "seed -1": (["match", "toy", "--data", "scenes:2", "--limit", "1", "--seed=-1"], 1, ["seed -1"]),
    "no such device": (
        ["match", "toy", "--data", "scenes:2", "--device", "nonsense"],
        1,
        ["device 'nonsense'", "There are"],
    ),
    "device 99": (
        ["match", "toy", "--data", "scenes:2", "--device", "cpu:99"],
        1,
        ["device 'cpu:99'", "counted from 0"],
    ),
    "quantile 2": (["match", "toy", "--data", "scenes:2", "--quantile", "2"], 1, ["quantile=2", "between 0 and 1"]),
    "quantile 0": (["match", "toy", "--data", "scenes:2", "--quantile", "0"], 1, ["quantile 0", "between 0 and 1"]),
    "quantile nan": (
        ["match", "toy", "--data", "scenes:2", "--quantile", "nan"],
        1,
        ["quantile=nan", "between 0 and 1"],
    ),
    "mask size 0": (["match", "toy", "--data", "scenes:2", "--mask-size", "0"], 1, ["mask_size=0", "Choose"]),
    "geometry": (["match", "toy", "--data", "scenes:2", "--geometry", "half"], 1, ["geometry='half'", "half-pixel"]),
    "protocol": (
        ["match", "toy", "--data", "scenes:2", "--protocol", "netdisect"],
        1,
        ["no protocol 'netdisect'", "'netdissect'"],
    ),
    "on problem": (["match", "toy", "--data", "scenes:2", "--on-problem", "ignore"], 1, ["'ignore'", "'skip'"]),
    "batch of words": (["match", "toy", "--data", "scenes:2", "--batch", "many"], 2, ["--batch", "'many'"]),
    "unknown flag": (["match", "toy", "--data", "scenes:2", "--layer", "cells"], 2, ["--layer"]),
    "no model": (["match"], 2, ["model"]),
    "unknown command": (["macth", "toy"], 2, ["no command 'macth'", "Did you mean 'match'"]),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_wrong_word_is_answered(case, command):
    words, wanted, said = COMMANDS[case]
    code, out, err = command(*words)
    assert (code, out) == (wanted, "")
    for word in said:
        assert word in err
    if code == 1:
        assert_says(err.splitlines()[-1], *said)


def test_an_empty_folder(tmp_path, command):
    code, out, err = command("match", "toy", "--data", f"coco:{tmp_path}")
    assert (code, out) == (1, "")
    assert_says(err.strip(), f"{tmp_path}: no instances_*.json", "coco:ANNOTATIONS.json,IMAGES")


def test_annotations_without_an_image_folder(folder, command):
    place = folder.write()
    folder.images.rename(folder.path / "elsewhere")
    code, out, err = command("match", "toy", "--data", place)
    assert (code, out) == (1, "")
    assert_says(err.strip(), f"{folder.path}: no image folder", "Unpack")


def test_limit_beyond_the_data_takes_all(folder, command):
    place = folder.write()
    results = [
        command("match", "toy", "--data", place, "--quiet", *more)
        for more in ([], ["--limit", "1000"], ["--limit", "3"])
    ]
    assert results[0][0] == 0 and results[0] == results[1] == results[2]


def test_a_layer_named_twice_is_one(folder, command):
    place = folder.write()
    once, twice = (
        command("match", "toy", "--data", place, "--quiet", "--json", "--layers", *names)
        for names in (["cells", "cells.pre"], ["cells", "cells.pre", "cells"])
    )
    assert once[0] == 0 and json.loads(once[1])["units"] == json.loads(twice[1])["units"]


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_out_that_cannot_be_a_folder_is_said_before_any_work(below, folder, tmp_path, command):
    "Whoever runs the tests may be root, whom no permission stops: a file stands in the way."
    (tmp_path / "file").write_text("mine")
    code, out, err = command("match", "toy", "--data", folder.write(), "--out", tmp_path / "file" / below)
    assert (code, out) == (1, "")
    assert_says(err.splitlines()[-1], tmp_path / "file", "choose another folder")
    assert "images/s" not in err
    assert (tmp_path / "file").read_text() == "mine"


# ---- weights


def convolutions(width=1 / 64):
    "Small random parameters of VGG16's convolutions."
    arrays, units_in, noise = {}, 3, np.random.RandomState(0)
    for name, units in VGG16_UNITS.items():
        if not name.startswith("conv"):
            continue
        units = round(units * width)
        arrays[f"{name}/kernel"] = noise.normal(0, 0.3, (3, 3, units_in, units)).astype(np.float32)
        arrays[f"{name}/bias"], units_in = np.zeros(units, np.float32), units
    return arrays


def put(name, value):
    def do(arrays):
        arrays[name] = value

    return do


WEIGHTS = {
    "another network": (
        lambda arrays: arrays.clear() or arrays.update({"layer1.0.conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}),
        ["no array 'conv1_1/", "another network"],
    ),
    "an array missing": (lambda arrays: arrays.pop("conv3_2/bias"), ["no array 'conv3_2/bias'", "another network"]),
    "another of the family": (
        lambda arrays: arrays.update({f"conv{block}_4/bias": np.zeros(8, np.float32) for block in (3, 4, 5)}),
        ["of VGG19", "another network"],
    ),
    "another shape": (
        put("conv1_1/kernel", np.zeros((3, 3, 3, 2), np.float32)),
        ["'conv1_1/kernel' has shape (3, 3, 3, 2)", "expected (3, 3, 3, 1)"],
    ),
    "a NaN": (
        put("conv2_1/bias", np.array([np.nan, 0], np.float32)),
        ["'conv2_1/bias' has values that are not finite", "Fetch the file again"],
    ),
    "an infinity": (put("conv2_1/bias", np.array([0, 1e300])), ["'conv2_1/bias' has values that are not finite"]),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_wrong_weights_are_refused(case, tmp_path):
    do, words = WEIGHTS[case]
    arrays = convolutions()
    do(arrays)
    path = write_safetensors(tmp_path / "some.safetensors", arrays)
    with pytest.raises(InputError) as refused:
        load_model("vgg16", path, width=1 / 64)
    assert_says(refused.value, path, *words)


def test_right_weights_are_taken(tmp_path):
    more = load_model(
        "vgg16",
        write_safetensors(tmp_path / "more.safetensors", convolutions() | {"head": np.zeros(3, np.float32)}),
        width=1 / 64,
    )
    assert "without a place in VGG16" in more.absent["head"]
    assert (
        load_model("vgg16", write_safetensors(tmp_path / "some.safetensors", convolutions()), width=1 / 64).name
        == "vgg16"
    )


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("words.safetensors", b"These are no weights.", ["no readable safetensors file", "Fetch or export it again"]),
        ("empty.safetensors", b"", ["no readable safetensors file"]),
        ("words.onnx", b"These are no weights.", ["no readable onnx file"]),
        ("empty.onnx", b"", ["no readable onnx file"]),
        ("weights.txt", b"1 2 3", ["it begins as none of these does: safetensors", "Convert it to one of them"]),
        ("missing.safetensors", None, ["No such file", "Check the path"]),
    ],
)
def test_a_file_that_holds_no_weights(name, content, words, tmp_path, command):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    code, out, err = command("match", "vgg16", "--data", "scenes:2", "--weights", path)
    assert (code, out) == (1, "")
    assert_says(err.strip(), path, *words)


def test_activations_that_are_no_numbers(folder):
    broken = Model(
        "broken",
        lambda parameters, images: {"cells": images / jnp.where(images[:, :1, :1].sum() > 0, 0.0, 0.0) * 0},
        size=32,
    )
    with pytest.raises(InputError) as refused:
        dissect(broken, load_data(folder.write()), progress=False)
    assert_says(refused.value, "layer 'cells'", "a.jpg", "unit 0 is nan", "must be finite numbers", "Check the weights")


def test_a_model_whose_parameters_changed_is_another_run(folder, tmp_path):
    """No result of another run is ever taken for this one's, also where the model is one's own and names no file of
    weights."""

    def scaled(by):
        return Model(
            "mine",
            lambda by, images: {"cells": forward((), images)["cells"] * by},
            np.float32([1, 2, 3, 4, 5, by]),
            size=32,
        )

    data = load_data(folder.write())
    one = dissect(scaled(6), data, None, MANY, tmp_path / "out", progress=False)
    assert counts(dissect(scaled(6), data, None, MANY, tmp_path / "out", progress=False)) == counts(one)
    with pytest.raises(InputError) as refused:
        dissect(scaled(-7), data, None, MANY, tmp_path / "out", progress=False)
    assert_says(refused.value, tmp_path / "out", "another run", "Choose another folder")
