"""COCO jsons as labelling tools, pandas and people write them: what says the same is read the same, and a refusal names
the true cause."""

import gzip
import json
from copy import deepcopy

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask
from sentences import assert_says

from inner_detectors.cli.main import run
from inner_detectors.core.errors import InputError
from inner_detectors.data.outlines import outline_of
from inner_detectors.data.survey import survey
from inner_detectors.dissection.run import dissect
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.data.readers.coco_files import locate_images, path_parts
from inner_detectors.data.readers.coco_json import is_inside as stays_inside, read_image_entry
from inner_detectors.data.readers.masks import decode_mask, packed_mask
from inner_detectors.data.readers.registry import load_data

SQUARE = [10, 10, 40, 10, 40, 40, 10, 40]
PAIRS = [[10, 10], [40, 10], [40, 40], [10, 40]]
POINTS = [{"x": x, "y": y} for x, y in PAIRS]
PLAIN = {
    "images": [{"id": i, "file_name": f"pic{i}.jpg", "height": 64, "width": 96} for i in (1, 2, 3)],
    "categories": [{"id": 1, "name": "crack", "supercategory": "none"}],
    "annotations": [
        {
            "id": 10 + i,
            "image_id": i,
            "category_id": 1,
            "bbox": [10, 10, 30, 30],
            "iscrowd": 0,
            "segmentation": [SQUARE],
        }
        for i in (1, 2, 3)
    ],
}
LEFT_OUT = object()
RUNS = {
    "size": [64, 96],
    "counts": [10 * 64 + 10, *[30, 34] * 29, 30, 6144 - (39 * 64 + 40)],
}  # the square, drawn column by column


def pictures(folder, names=("pic1.jpg", "pic2.jpg", "pic3.jpg")):
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.RandomState(seed).randint(0, 256, (64, 96, 3), np.uint8)).save(folder / name)


def put(key, which=slice(None), **fields):
    "The json with fields of its entries changed: to a value, by a function of the entry's own, or left out."

    def change(read):
        for entry in read[key][which]:
            for name, value in fields.items():
                if value is LEFT_OUT:
                    del entry[name]
                else:
                    entry[name] = value(entry) if callable(value) else value

    return change


def images(**fields):
    return put("images", **fields)


def annotations(**fields):
    return put("annotations", **fields)


def first(**fields):
    return put("annotations", slice(1), **fields)


def drawn(segmentation):
    return annotations(segmentation=segmentation)


def both(*changes):
    return lambda read: [change(read) for change in changes]


def name(pattern):
    return images(file_name=lambda image: pattern.format(image["file_name"]))


def categories(*entries):
    return lambda read: read.update(categories=[dict(zip(("id", "name", "supercategory"), entry)) for entry in entries])


def mapped(*keys):
    "Entries as a mapping from their ids."
    return lambda read: read.update({key: {str(entry.pop("id")): entry for entry in read[key]} for key in keys})


def tables(form):
    "The json's lists as tables of another form."
    return lambda read: read.update({key: form(read[key]) for key in ("images", "annotations", "categories")})


def written(root, change=lambda read: None, where="images"):
    "A json above its three images."
    pictures(root / where)
    read = deepcopy(PLAIN)
    change(read)
    (root / "a.json").write_text(json.dumps(read))
    return f"coco:{root}/a.json,{root}/{where}"


def counts(place, **more):
    "Images, annotations and pixels of a place; that samples and outlines agree."
    data = load_data(place, progress=False, **more)
    found = survey(data, progress=False)
    samples = [data.sample(i) for i in range(len(data))]
    for sample in samples:
        assert data.sources[0].outline(sample.name).areas == outline_of(sample).areas
    return found, (
        found.images,
        int(found.annotations.sum()),
        sum(int(region.mask.sum()) for sample in samples for region in sample.regions),
    )


def uuid(value):
    return f"550e8400-e29b-41d4-a716-44665544000{value}"


SAME = {
    "plain": lambda read: None,
    "image ids as text": both(images(id=lambda e: str(e["id"])), annotations(image_id=lambda e: str(e["image_id"]))),
    "ids as text in one place": images(id=lambda e: str(e["id"])),
    "image_id as float": annotations(image_id=lambda e: float(e["image_id"])),
    "image_id as text of a float": annotations(image_id=lambda e: f"{e['image_id']}.0"),
    "ids as floats in both": both(
        images(id=lambda e: float(e["id"])), annotations(image_id=lambda e: float(e["image_id"]))
    ),
    "ids that are halves": both(
        images(id=lambda e: e["id"] + 0.5), annotations(image_id=lambda e: e["image_id"] + 0.5)
    ),
    "UUIDs": both(images(id=lambda e: uuid(e["id"])), annotations(image_id=lambda e: uuid(e["image_id"]))),
    "ids with spaces around": annotations(image_id=lambda e: f" {e['image_id']} "),
    "category_id as text": annotations(category_id="1"),
    "category_id as float": annotations(category_id=1.0),
    "category 0": both(put("categories", id=0), annotations(category_id=0)),
    "category by UUID": both(put("categories", id=uuid(1)), annotations(category_id=uuid(1))),
    "annotations without ids": annotations(id=LEFT_OUT),
    "annotations without iscrowd": annotations(iscrowd=LEFT_OUT),
    "a name with spaces": put("categories", name=" fine  crack "),
    "a name that is a number": put("categories", name=7),
    "a name that is a float": put("categories", name=7.0),
    "Roboflow's root of the class's name": categories((0, "crack", "none"), (1, "crack", "crack")),
    "Roboflow's root twice": categories((0, "Crack", "none"), (1, "crack", "Crack"), (2, "crack", "Crack")),
    "sizes as floats": images(height=64.0, width=96.0),
    "sizes as text": images(height="64", width="96.0"),
    "sizes null": images(height=None, width=None),
    "sizes missing": images(height=LEFT_OUT, width=LEFT_OUT),
    "one size": images(height=LEFT_OUT),
    "sizes NaN": images(height=float("nan"), width=float("nan")),
    "an image listed once an annotation": lambda read: read["images"].extend(deepcopy(read["images"])),
    "entries by id": mapped("images", "annotations", "categories"),
    "flat polygon": drawn(SQUARE),
    "a list too many": drawn([[SQUARE]]),
    "two lists too many": drawn([[[SQUARE]]]),
    "pairs": drawn(PAIRS),
    "list of pairs": drawn([PAIRS]),
    "points": drawn(POINTS),
    "list of points": drawn([POINTS]),
    "numbers as text": drawn([list(map(str, SQUARE))]),
    "a segmentation as text": drawn(json.dumps([SQUARE])),
    "RLE as Python's words": drawn(str(RUNS)),
    "RLE as Python's words, bytes": drawn(str(mask.frPyObjects(RUNS, 64, 96))),
    "tables, a column each": tables(
        lambda rows: {key: {str(i): row.get(key) for i, row in enumerate(rows)} for key in rows[0]}
    ),
    "tables, a list each": tables(lambda rows: {key: [row.get(key) for row in rows] for key in rows[0]}),
    "tables, split": tables(
        lambda rows: {
            "columns": list(rows[0]),
            "index": list(range(len(rows))),
            "data": [list(row.values()) for row in rows],
        }
    ),
    "tables with a schema": tables(lambda rows: {"schema": {"fields": []}, "data": rows}),
    "tables as text": tables(json.dumps),
}
LIKE = {  # read with a note that says how
    "./": (name("./{}"), []),
    ".\\": (name(".\\{}"), []),
    "the folder's own name": (name("images/{}"), []),
    "and a backslash": (name("images\\{}"), []),
    "Windows": (name("data\\new\\{}"), ["'data\\\\new\\\\pic1.jpg'"]),
    "a URL": (name("https://host.example/a/{}?token=1"), ["host.example"]),
    "a bucket": (name("s3://bucket/a/{}"), ["s3:"]),
    "above": (name("media/../upload/{}"), ["upload"]),
    "Label Studio": (name("data/local-files/?d=mine/{}"), ["local-files"]),
    "flattened": (name("train/{}"), ["3 of its 3 images", "'train/pic1.jpg'", "for 'pic1.jpg'"]),
    "an ending": (images(file_name=lambda e: e["file_name"].replace("jpg", "JPG")), ["pic1.JPG"]),
    "percents": (images(file_name=lambda e: e["file_name"].replace("p", "%70", 1)), ["%70ic1"]),
    "LVIS": (
        images(coco_url=lambda e: f"http://host.example/val2017/{e['file_name']}", file_name=LEFT_OUT),
        ["val2017"],
    ),
    "flickr_url": (
        images(flickr_url=lambda e: f"http://host.example/{e['file_name']}", file_name=None),
        ["host.example"],
    ),
    "path": (images(path=lambda e: f"datasets/x/{e['file_name']}", file_name=LEFT_OUT), ["datasets/x"]),
}
PIECES = {
    "an empty one": [],
    "two points": [1, 1, 2, 2],
    "one point": [5, 5],
    "half a point": [1, 1, 2, 2, 3, 3, 4],
    "far away": [1, 1, 2, 2, 300, 3],
    "null": None,
    "words": list("abcdef"),
    "a number": 5,
}
CAUSES = {
    "no image_id": (
        first(image_id=LEFT_OUT),
        ["annotation 11 is for no image (image_id is missing)", "--on-problem skip"],
    ),
    "image_id NaN": (first(image_id=float("nan")), ["annotation 11 is for no image (image_id is nan)"]),
    "a row of NaN": (
        lambda read: read["annotations"].append(dict.fromkeys(PLAIN["annotations"][0], float("nan"))),
        ["annotation at place 3 of its list"],
    ),
    "another image": (first(image_id="img1"), ["image img1, which is not listed"]),
    "category null": (first(category_id=None), ["annotation 11 is of no category (category_id is missing)"]),
    "a name null": (put("categories", name=None), ["category 1 has no name that is text or a number"]),
    "a name true": (put("categories", name=True), ["category 1 has no name"]),
    "two used categories of one name": (
        both(categories((1, "crack", "x"), (2, "crack", "x")), first(category_id=2)),
        ["'crack' is listed twice"],
    ),
    "image id 1 and '1'": (put("images", slice(1, 2), id="1"), ["image id 1 is listed twice"]),
    "no name of a file": (images(file_name=LEFT_OUT), ["image 1 has no file_name that is text"]),
    "a file's name that is a number": (images(file_name=7), ["image 1 has no file_name that is text"]),
    "an image without id": (images(id=None), ["image pic1.jpg has no id"]),
    "no annotations": (lambda read: read.pop("annotations"), ["no list of 'annotations'", "jsons of test images"]),
    "empty annotations": (lambda read: read.update(annotations=[]), ["none of its 0 annotations has a segmentation"]),
    "boxes, missing": (annotations(segmentation=LEFT_OUT), ["no masks", "boxes"]),
    "not one image": (name("other-{}"), ["not one of its images is in", "other-pic1.jpg", "ANNOTATIONS.json,IMAGES"]),
    "outside": (
        put("images", slice(1), file_name="images/../outside.jpg"),
        ["'images/../outside.jpg'", "it is outside", "1 of 3"],
    ),
}
PICTURES = {  # said of one image; the others are counted
    "sizes that have changed places": (
        put("images", slice(1), height=96, width=64),
        ["the image is 96 x 64, its masks are 64 x 96", "changed places"],
    ),
    "another size": (put("images", slice(1), height=10, width=10), ["its masks are 10 x 10"]),
    "RLE of the turned size": (
        first(segmentation={"size": [96, 64], "counts": [6144]}),
        ["its RLE is for size [96, 64], the image is [64, 96]"],
    ),
    "shares": (
        first(segmentation=[[0.1, 0.1, 0.6, 0.1, 0.6, 0.9, 0.1, 0.9]]),
        ["shares of the image and not pixels", "multiply x by 96 and y by 64"],
    ),
    "shares up to 1": (first(segmentation=[[0, 0, 1, 0, 1, 1, 0, 1.001]]), ["shares of the image"]),
    "shares as pairs": (first(segmentation=[[0.1, 0.1], [0.6, 0.1], [0.6, 0.9]]), ["shares of the image"]),
    "nothing but a bad piece": (first(segmentation=[[1, 1, 2, 2]]), ["three points or more"]),
    "no outline at all": (first(segmentation=3), ["neither polygons nor RLE"]),
}


@pytest.mark.parametrize("case", SAME)
def test_what_says_the_same_is_read_the_same(case, tmp_path):
    found, numbers = counts(written(tmp_path, SAME[case]))
    assert numbers == (3, 3, 2700) and found.problems == () and len(found.shown) == 1
    assert found.data.concepts.names == [
        {"a name with spaces": "fine crack", "a name that is a number": "7", "a name that is a float": "7"}.get(
            case, "crack"
        )
    ]


@pytest.mark.parametrize("case", LIKE)
def test_a_file_is_found_by_any_name_that_means_it_alone(case, tmp_path):
    change, words = LIKE[case]
    found, numbers = counts(written(tmp_path, change))
    assert numbers == (3, 3, 2700) and len(found.problems) == (1 if words else 0)
    for note in found.problems:
        assert_says(note, "note: ", tmp_path / "a.json", *words)
    assert found.data.sources[0].keys == ["pic1.jpg", "pic2.jpg", "pic3.jpg"], "called by what they are on the disk"


@pytest.mark.parametrize("case", PIECES)
def test_a_bad_piece_among_good_ones_is_left_out_alone(case, tmp_path):
    for pieces in ([SQUARE, PIECES[case]], [PIECES[case], SQUARE]):
        found, numbers = counts(written(tmp_path, first(segmentation=pieces)))
        assert numbers == (3, 3, 2700)
        (note,) = found.problems
        assert_says(
            note, "note: ", tmp_path / "a.json", "annotation 11 of pic1.jpg", "1 of its 2 polygons cannot be drawn"
        )


PACKED = mask.encode(np.asfortranarray(np.eye(64, 96, dtype=np.uint8)))["counts"]


@pytest.mark.parametrize(
    "runs, pixels",
    [([0.0, 6144.0], 6144), (["6000", "144"], 144), (PACKED.decode(), 64)],
    ids=["floats", "text", "packed"],
)
def test_run_lengths_as_others_write_them(runs, pixels, tmp_path):
    for size in ([64, 96], [64.0, 96.0], ["64", "96"]):
        for wrap in (lambda rle: rle, lambda rle: [rle], json.dumps):
            _, numbers = counts(written(tmp_path, drawn(wrap({"size": size, "counts": runs}))))
            assert numbers == (3, 3, 3 * pixels)


def test_run_lengths_as_pythons_bytes():
    "By hand: other readers take the quotes for run lengths."
    for rle in ({"size": size, "counts": str(PACKED)} for size in ([64, 96], [64.0, 96.0], ["64", "96"])):
        for one in (rle, [rle], json.dumps(rle)):
            assert decode_mask(one, 64, 96).sum() == mask.area(packed_mask(one, 64, 96)) == 64
    for decode in (decode_mask, packed_mask):
        with pytest.raises(ValueError, match="half of Python's bytes"):
            decode({"size": [64, 96], "counts": "b'PP"}, 64, 96)


@pytest.mark.parametrize("case", CAUSES)
def test_a_refusal_says_the_true_cause(case, tmp_path):
    change, words = CAUSES[case]
    with pytest.raises(InputError) as refused:
        load_data(written(tmp_path, change))
    assert_says(refused.value, tmp_path / "a.json", *words)


@pytest.mark.parametrize("case", PICTURES)
def test_what_is_wrong_with_one_picture_is_said_and_the_others_are_counted(case, tmp_path):
    change, words = PICTURES[case]
    data = load_data(written(tmp_path, change), progress=False)
    (problem,) = survey(data, progress=False).problems
    assert_says(problem, "pic1.jpg", *words)
    with pytest.raises(InputError) as refused:
        data.sample(0)
    assert str(refused.value) == problem
    assert [int(data.sample(i).regions[0].mask.sum()) for i in (1, 2)] == [900, 900]


# ---- boxes without masks


@pytest.mark.parametrize("segmentation", [[], [[]], None, {}, "", "NaN", float("nan"), LEFT_OUT], ids=range(8))
def test_a_picture_of_boxes_alone_does_not_tell_and_is_counted_apart(segmentation, tmp_path):
    "On the default, too, that stops at problems: such images are common, and no fault of the json."
    place = written(tmp_path, first(segmentation=segmentation))
    found, numbers = counts(place)
    assert numbers == (2, 2, 1800) and found.untold == 1 and found.data.untold == ["pic1.jpg"]
    assert "1 more that do not tell" in repr(found)
    (problem,) = found.problems
    assert_says(problem, tmp_path / "a.json", "pic1.jpg was left out", "annotation 11", "a box at most")
    assert not problem.startswith("note: ")


def test_a_box_beside_masks_is_left_out_alone(tmp_path):
    def more(read):
        read["annotations"] += [{"id": 20, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": []}]

    found, numbers = counts(written(tmp_path, more))
    assert numbers == (3, 3, 2700) and found.untold == 0
    assert_says(found.problems[0], "note: ", "annotation 20 of pic1.jpg", "a box at most")


def test_a_source_of_boxes_beside_another_is_counted_once(tmp_path):
    good, boxes = written(tmp_path / "a"), written(tmp_path / "b", drawn([]))
    model = Model("cells", lambda _, images: {"cells": images}, size=32, geometry={"cells": half_pixel(32, (32, 32))})
    found = dissect(model, load_data(good, boxes), progress=False)
    (remark,) = json.loads(found.table.attrs["remarks"])
    assert_says(remark, "3 images do not tell", "The first: ", tmp_path / "b" / "a.json", "pic1.jpg was left out")
    assert (found.table.attrs["images"], found.table.attrs["untold"], found.table.attrs["maskless"]) == (3, 3, 0)
    mixed = both(drawn([]), put("annotations", slice(2, 3), segmentation=[[0.1, 0.1, 0.6, 0.1, 0.6, 0.9]]))
    with pytest.raises(InputError) as refused:
        dissect(model, load_data(written(tmp_path / "c", mixed)), progress=False)
    assert_says(refused.value, "not one image could be read", "shares of the image")
    assert "its annotations are boxes" not in str(refused.value)


@pytest.mark.parametrize(
    "change, words",
    [(drawn([]), ["a box at most"]), (annotations(category_id=7), ["category 7, which is not listed"])],
    ids=["boxes", "category"],
)
def test_a_balance_of_nothing_names_the_cause(change, words, tmp_path):
    with pytest.raises(InputError) as refused:
        load_data(written(tmp_path, change), balance=1, on_problem="skip")
    assert_says(refused.value, "no image shows any of the concepts", *words)


def test_what_cannot_be_read_is_not_said_to_show_nothing(tmp_path):
    found = survey(load_data(written(tmp_path, first(segmentation=3))), progress=False)
    assert found.nothing == 0 and "show nothing" not in repr(found)


def test_images_that_were_searched_for_some_categories_alone_are_said(tmp_path):
    "LVIS: what is not annotated in an image may be in it."
    found, numbers = counts(
        written(tmp_path, put("images", slice(2), neg_category_ids=[], not_exhaustive_category_ids=[]))
    )
    (note,) = found.problems
    assert numbers == (3, 3, 2700) and repr(found).endswith("1 problems, 1 of them notes)")
    assert_says(note, "note: ", "2 of its images were searched for some categories alone", "count as absent")


def test_a_picture_without_annotations_shows_nothing_and_counts(tmp_path):
    found, numbers = counts(written(tmp_path, lambda read: read["annotations"].pop()))
    assert numbers == (3, 2, 1800) and found.problems == () and found.untold == 0


@pytest.mark.parametrize(
    "change", [drawn([]), drawn([[]]), drawn(None), drawn(float("nan")), first(segmentation=[])], ids=range(5)
)
def test_where_no_picture_tells_each_says_why(change, tmp_path):
    "`map` lists them, and who asks for masks is refused."
    data = load_data(written(tmp_path, both(change, put("annotations", slice(1, 3), segmentation=[]))), progress=False)
    found = survey(data, progress=False)
    assert (found.images, found.untold, len(found.problems)) == (0, 3, 3)
    for problem, key in zip(found.problems, data.sources[0].keys):
        assert_says(problem, f"{key} was left out", "a box at most")
    with pytest.raises(InputError, match="pic1.jpg was left out"):
        data.sample(0)


# ---- where files lie


def test_names_that_may_mean_several_files_are_no_guess(tmp_path):
    pictures(tmp_path / "i", ["x/pic1.jpg", "y/pic1.jpg", "y/pic2.jpg", "PIC3.jpg", "pic3.JPG"])
    found, doubtful = locate_images(
        ["pic1.jpg", "pic2.jpg", "z/pic2.jpg", "pic3.jpg", "y\\pic1.jpg", "pic4.jpg"], tmp_path / "i"
    )
    assert found == {"pic2.jpg": "y/pic2.jpg", "y\\pic1.jpg": "y/pic1.jpg"}
    assert doubtful == {"pic3.jpg", "pic1.jpg"}, "x/pic1.jpg and y/pic1.jpg end alike"


def test_two_names_for_one_file_are_no_guess(tmp_path):
    "Two folders that somebody flattened: one image wrote over the other."
    pictures(tmp_path / "i", ["pic1.jpg"])
    assert locate_images(["train/pic1.jpg", "val/pic1.jpg"], tmp_path / "i") == ({}, {"train/pic1.jpg", "val/pic1.jpg"})
    assert locate_images(["pic1.jpg", "val/pic1.jpg"], tmp_path / "i") == ({"pic1.jpg": "pic1.jpg"}, set()), (
        "taken by its very name"
    )


def test_another_folder_of_equal_names_is_another_folder(tmp_path):
    pictures(tmp_path / "i", ["cam1/pic1.jpg", "cam1/pic2.jpg"])
    assert locate_images(["cam2/pic1.jpg", "cam1/pic2.jpg"], tmp_path / "i")[0] == {"cam1/pic2.jpg": "cam1/pic2.jpg"}


@pytest.mark.parametrize(
    "name",
    [
        "../../media/upload/pic1.jpg",
        "/home/somebody/data/pic1.jpg",
        "/data/local-files/?d=mine/pic1.jpg",
        "C:\\data\\pic1.jpg",
    ],
)
def test_a_name_that_leads_elsewhere_means_the_one_inside(name, tmp_path):
    "By hand: a json with such a name would lead other tools out of its folder."
    pictures(tmp_path / "i")
    assert locate_images([name], tmp_path / "i") == ({name: "pic1.jpg"}, set())


def test_no_file_outside_is_found(tmp_path):
    pictures(tmp_path / "i")
    pictures(tmp_path, ["outside.jpg"])
    names = ["../outside.jpg", str(tmp_path / "outside.jpg"), "x/../../outside.jpg", "..", ""]
    assert (
        locate_images(names, tmp_path / "i") == ({}, set())
        and not any(map(stays_inside, names))
        and stays_inside("x/..y/outside.jpg")
    )


@pytest.mark.parametrize("size", [0, -1, 0.0, "0"])
def test_a_size_that_is_none_is_the_images_own(size):
    for more in ({"height": size, "width": size}, {"height": size, "width": 5}, {"height": 5, "width": size}):
        _, entry = read_image_entry("a.json", {"id": 1, "file_name": "a.jpg", **more})
        assert (entry.height, entry.width) == (None, None)


def test_parts_of_names():
    assert path_parts("C:\\a\\B.JPG") == ("c:", "a", "b.jpg") and path_parts("http://x.example/a%20b/c.png?t=1#2") == (
        "a b",
        "c.png",
    )
    assert (
        path_parts("./a//b/../c.png") == ("c.png",)
        and path_parts("..") == ()
        and path_parts("u\u0308.png") == ("ü.png",)
    )


def alone(root):
    written(root)


def inside(root):
    written(root, where=".")


def label_studio(root):
    written(root, name("images/{}"))
    (root / "a.json").rename(root / "result.json")


def cvat(root):
    written(root)
    (root / "annotations").mkdir()
    (root / "a.json").rename(root / "annotations/instances_default.json")


def cvat_deep(root):
    cvat(root)
    (root / "images").rename(root / "default")
    (root / "images").mkdir()
    (root / "default").rename(root / "images/default")


def roboflow(root):
    for one in ("train", "valid"):
        written(root / one, where=".")
        (root / one / "a.json").rename(root / one / "_annotations.coco.json")


def official(root):
    for one in ("train2017", "val2017"):
        written(root, where=one)
        (root / "annotations").mkdir(exist_ok=True)
        (root / "a.json").rename(root / f"annotations/instances_{one}.json")


@pytest.mark.parametrize(
    "lay, place",
    [
        (alone, "{}/a.json"),
        (alone, "{}"),
        (alone, "{}:a"),
        (inside, "{}/a.json"),
        (inside, "{}"),
        (label_studio, "{}"),
        (label_studio, "{}/result.json"),
        (label_studio, "{0}/result.json,{0}/images"),
        (label_studio, "{0}/result.json,{0}"),
        (cvat, "{}"),
        (cvat_deep, "{}"),
        (cvat, "{}/annotations/instances_default.json"),
        (roboflow, "{}:train"),
        (roboflow, "{}/valid"),
        (roboflow, "{}/valid/_annotations.coco.json"),
        (official, "{}:val2017"),
        (official, "{}/annotations/instances_val2017.json"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_any_layout_is_found(lay, place, tmp_path):
    lay(tmp_path)
    found, numbers = counts(f"coco:{place.format(tmp_path)}")
    assert numbers == (3, 3, 2700) and found.problems == ()
    if lay is official:
        assert found.data.sources[0].images == tmp_path / "val2017"


def test_a_folder_of_splits_asks_which(tmp_path):
    roboflow(tmp_path)
    with pytest.raises(InputError) as refused:
        load_data(f"coco:{tmp_path}")
    assert_says(refused.value, "several splits", f"coco:{tmp_path}:train, coco:{tmp_path}:valid")


def test_a_json_that_is_not_there_is_said(tmp_path):
    alone(tmp_path)
    with pytest.raises(InputError) as refused:
        load_data(f"coco:{tmp_path}/b.json")
    assert_says(refused.value, tmp_path / "b.json", "no such file")


@pytest.mark.parametrize(
    "write, words",
    [
        (lambda text: text.encode("utf-8-sig"), []),
        (lambda text: text.encode("utf-16"), []),
        (lambda text: f"[{text}]".encode(), []),
        (lambda text: gzip.compress(text.encode()), ["packed by gzip", "Unpack it"]),
        (
            lambda text: json.dumps(json.loads(text)["annotations"]).encode(),
            ["no list of 'images'", "as detectors write"],
        ),
    ],
    ids=["BOM", "UTF-16", "in a list", "gzip", "results"],
)
def test_a_json_of_unusual_bytes(write, words, tmp_path):
    place = written(tmp_path)
    (tmp_path / "a.json").write_bytes(write((tmp_path / "a.json").read_text()))
    if not words:
        assert counts(place)[1] == (3, 3, 2700)
    else:
        with pytest.raises(InputError) as refused:
            load_data(place)
        assert_says(refused.value, tmp_path / "a.json", *words)


def test_the_command_lists_what_was_read_in_another_way(tmp_path, capsys):
    place = written(tmp_path, both(first(segmentation=[]), name("/elsewhere/{}")))
    assert run(["map", place, "--quiet"]) == 0
    said = capsys.readouterr().out
    for words in ("2 images, 1 more that do not tell", "2 problems", "pic1.jpg was left out", "note: "):
        assert words in said
