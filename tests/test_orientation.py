"""EXIF orientation against masks: by their size where it tells, else upright with a note, or as the source's option
says; in every reader.

The images are made so that a turn shows: whoever turns one wrongly reads other pixels. `UNDO` is written by hand
from the tag's meaning.
"""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from sentences import assert_says

from inner_detectors.cli.main import run
from inner_detectors.core.errors import InputError, without_notes
from inner_detectors.data.images import read_image, read_turned
from inner_detectors.data.outlines import glance
from inner_detectors.data.survey import survey
from inner_detectors.synthetic.writers import structs
from inner_detectors.data.readers.registry import absolute_source, load_data
from inner_detectors.data.readers.voc import VOC_CLASSES

# what a viewer does with the stored pixels, by tag
UNDO = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
SHAPES = {"wide": (20, 30), "square": (24, 24)}


def pixels(height, width):
    return np.random.RandomState(height * width).randint(0, 256, (height, width, 3), np.uint8)


def tagged(path, stored, tag):
    "An image file with an EXIF orientation."
    exif = Image.Exif()
    if tag != 1:
        exif[0x0112] = tag
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored).save(path, exif=exif)


def labels(shape):
    "A label map with a 1 in one corner."
    made = np.zeros(shape, np.uint8)
    made[:7, :5] = 1
    return made


def write_json(path, shape, segmentation, **more):
    image = {"id": 1, "file_name": "a.png", "height": shape[0], "width": shape[1], **more}
    read = {
        "images": [image],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "segmentation": segmentation}],
    }
    path.mkdir(parents=True, exist_ok=True)
    (path / "a.json").write_text(json.dumps(read))


def coco(path, stored, tag, shape):
    tagged(path / "images/a.png", stored, tag)
    write_json(path, shape, [[0, 0, 5, 0, 5, 7, 0, 7]])
    return f"coco:{path}/a.json,{path}/images"


def runs(path, stored, tag, shape):
    "COCO again, without sizes: the mask has one."
    tagged(path / "images/a.png", stored, tag)
    marks = labels(shape).T.ravel()
    ends = np.flatnonzero(np.diff(np.concatenate([[0], marks]))).tolist()
    counts = np.diff([0, *ends, marks.size]).tolist()
    write_json(path, (None, None), {"size": list(shape), "counts": counts})
    return f"coco-stuff:{path}/a.json,{path}/images"


def panoptic(path, stored, tag, shape):
    tagged(path / "images/a.png", stored, tag)
    tagged(path / "a/a.png", np.dstack([labels(shape)] * 3) * np.array([1, 0, 0], np.uint8), 1)
    image = {"id": 1, "file_name": "a.png", "height": shape[0], "width": shape[1]}
    (path / "a.json").write_text(
        json.dumps(
            {
                "images": [image],
                "categories": [{"id": 1, "name": "cat"}],
                "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 1, "category_id": 1}]}],
            }
        )
    )
    return f"coco-panoptic:{path}/a.json,{path}/images"


def voc(path, stored, tag, shape):
    tagged(path / "JPEGImages/a.png", stored, tag)
    tagged(path / "SegmentationClass/a.png", labels(shape), 1)
    (path / "labelmap.txt").write_text("background\n" + "".join(f"{name}\n" for name in VOC_CLASSES))
    return f"voc:{path}"


def folder(path, stored, tag, shape):
    tagged(path / "images/a.png", stored, tag)
    tagged(path / "masks/a.png", labels(shape), 1)
    (path / "names.csv").write_text("index,name\n1,cat\n")
    return f"folder:{path}"


def part(path, stored, tag, shape):
    tagged(path / "JPEGImages/a.png", stored, tag)
    (path / "Annotations_Part").mkdir(exist_ok=True)
    objects = structs(
        [{"class": "cat", "mask": labels(shape), "parts": structs([{"part_name": "head", "mask": labels(shape)}])}]
    )
    savemat(path / "Annotations_Part/a.mat", {"anno": structs([{"imname": "a", "objects": objects}])})
    return f"pascal-part:{path}/Annotations_Part,{path}/JPEGImages"


READERS = [coco, runs, panoptic, voc, folder, part]


def one(place):
    "The sample of a place, and that the survey says the same of it."
    data = load_data(place, progress=False)
    sample = data.sample(0)
    found = survey(data, progress=False)
    assert list(found.problems) == list(sample.notes) and found.images == 1
    return sample


@pytest.mark.parametrize("write", READERS)
@pytest.mark.parametrize("tag", UNDO)
def test_every_reader_turns_a_picture_to_its_masks(write, tag, tmp_path):
    for shape in SHAPES.values():
        upright = pixels(*shape)
        back = {6: 8, 8: 6}.get(tag, tag)
        stored = np.ascontiguousarray(UNDO[back](upright))
        assert np.array_equal(UNDO[tag](stored), upright)
        told = tag > 4 and shape[0] != shape[1]  # by size
        for masks in ("upright", "stored"):
            size = shape if masks == "upright" else stored.shape[:2]
            place = write(tmp_path, stored, tag, size)
            for option in (None, "upright", "stored"):
                sample = one(place + (f"?orientation={option}" if option else ""))
                way = masks if told else option or "upright"
                assert np.array_equal(sample.image, upright if way == "upright" else stored), (shape, masks, option)
                assert len(sample.notes) == (tag != 1 and not told and option is None)
                assert sample.regions[0].mask.sum() in (35, 48), "the corner, as label map or polygon"
                for note in sample.notes:
                    assert_says(
                        note,
                        "note: ",
                        "a.png",
                        f"EXIF orientation {tag}",
                        "?orientation=stored",
                        "?orientation=upright",
                    )


@pytest.mark.parametrize("end", ["png", "tif", "bmp", "webp"])
def test_every_form_of_file_is_turned_once(end, tmp_path):
    "Pillow turns TIFF files by itself. BMP has no tag."
    for tag, undo in UNDO.items():
        upright = pixels(20, 30)
        stored = np.ascontiguousarray(UNDO[{6: 8, 8: 6}.get(tag, tag)](upright))
        exif = Image.Exif()
        exif[0x0112] = tag
        Image.fromarray(stored).save(
            tmp_path / f"a.{end}",
            **({} if end == "bmp" else {"exif": exif}),
            **({"lossless": True} if end == "webp" else {}),
        )
        seen = stored if end == "bmp" else undo(stored)
        for way, image in (("upright", seen), ("stored", stored)):
            for size in (None, image.shape[:2]):
                told = size and stored.shape != upright.shape
                if told or size or way == "upright":
                    assert np.array_equal(read_image(tmp_path / f"a.{end}", size, way), image), (tag, way, size)


def test_masks_of_neither_size_are_a_problem_of_that_picture(tmp_path):
    for tag in UNDO:
        place = coco(tmp_path, pixels(20, 30), tag, (24, 24))
        for option in ("", "?orientation=stored"):
            found = survey(load_data(place + option, progress=False), progress=False)
            assert found.images == 0
            assert_says(found.problems[0], "a.png", "30 x 20", "24 x 24")


def test_a_json_without_sizes_is_turned_with_a_note(tmp_path):
    place = coco(tmp_path, pixels(20, 30), 6, (None, None))
    assert one(place).image.shape == (30, 20, 3) and len(one(place).notes) == 1
    assert one(f"{place}?orientation=stored").image.shape == (20, 30, 3)


def test_a_picture_without_masks_needs_no_note(tmp_path):
    place = folder(tmp_path, pixels(24, 24), 3, (24, 24))
    tagged(tmp_path / "masks/a.png", np.zeros((24, 24), np.uint8), 1)
    assert one(place).notes == ()


def test_a_glance_says_what_reading_says(tmp_path):
    for end in ("png", "jpg", "tif"):
        for tag in UNDO:
            for size in (None, (20, 30), (30, 20)):
                tagged(path := tmp_path / f"a.{end}", pixels(20, 30), tag)
                try:
                    image, notes = read_turned(path, size)
                except InputError as refused:
                    with pytest.raises(InputError, match="its masks are"):
                        glance(path, size)
                    assert "20" in str(refused)
                else:
                    assert glance(path, size) == (image.shape[:2], notes)


def test_a_tag_that_means_nothing_turns_nothing(tmp_path):
    for tag in (0, 9, 77):
        tagged(tmp_path / "a.jpg", pixels(20, 30), tag)
        assert read_image(tmp_path / "a.jpg").shape == (20, 30, 3)


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("tag", [3, 6])
def test_a_label_map_that_says_that_it_is_turned_is_refused(tag, ending, tmp_path):
    "Libraries differ: some turn a TIFF by themselves and a PNG not."
    tagged(tmp_path / "images/a.jpg", pixels(20, 30), tag)
    tagged(tmp_path / f"masks/a{ending}", labels((20, 30)), tag)
    (tmp_path / "names.csv").write_text("index,name\n1,cat\n")
    with pytest.raises(InputError) as refused:
        load_data(f"folder:{tmp_path}").sample(0)
    assert_says(refused.value, f"a{ending}", f"EXIF orientation {tag}", "save it without")


# ---- options


@pytest.mark.parametrize(
    "words, said",
    [
        ("?orientation=left", ["orientation=left", "upright, stored"]),
        ("?orientaton=stored", ["no option 'orientaton'", "There are: orientation"]),
        ("?orientation", ["'orientation' is no option", "?NAME=VALUE"]),
        ("?orientation=", ["'orientation=' is no option"]),
        ("?orientation=stored&orientation=stored", ["'orientation' is given twice"]),
        ("?orientation=stored&", ["'' is no option"]),
    ],
)
def test_an_option_that_is_none_is_answered_with_the_list(words, said, tmp_path, capsys):
    for write in READERS:
        place = write(tmp_path / write.__name__, pixels(20, 30), 1, (20, 30))
        with pytest.raises(InputError) as refused:
            load_data(place + words)
        assert_says(refused.value, *said)
    assert run(["map", place + words, "--quiet"]) == 1
    assert_says(capsys.readouterr().err.strip(), *said)


@pytest.mark.parametrize(
    "place, options",
    [("scenes:3", "none"), ("staged:3", "none"), ("voc:{}", "orientation"), ("pascal-part:{}", "orientation")],
)
def test_a_reader_without_groups_says_which_options_it_has(place, options, tmp_path):
    with pytest.raises(InputError) as refused:
        load_data(f"{place.format(tmp_path)}?group=video")
    assert_says(refused.value, "no option 'group'", options)


def test_a_folder_is_what_its_whole_name_says(tmp_path):
    names = ("what?", "a?b=c", "p&q", "c,d", "e:f", "g?orientation=stored")
    for name in names:
        tagged(tmp_path / name / "val/a.png", pixels(20, 30), 3)
        write_json(tmp_path / name / "annotations", (20, 30), [[0, 0, 5, 0, 5, 7, 0, 7]])
        (tmp_path / name / "annotations/a.json").rename(tmp_path / name / "annotations/instances_val.json")
        for place in (
            f"coco:{tmp_path}/{name}",
            f"coco:{tmp_path}/{name}:val",
            f"coco:{tmp_path}/{name}/annotations/instances_val.json,{tmp_path}/{name}/val",
        ):
            assert len(one(place).notes) == 1, place
            assert one(f"{place}?orientation=upright").notes == (), place


def test_options_stay_with_the_command_on_record(tmp_path, monkeypatch):
    place = coco(tmp_path / "x", pixels(20, 30), 3, (20, 30))
    monkeypatch.chdir(tmp_path)
    short = f"{place.replace(str(tmp_path) + '/', '')}?orientation=stored&group=file_name"
    assert absolute_source(short) == f"{place}?orientation=stored&group=file_name"
    assert load_data(absolute_source(short)).sample(0).group == "a.png"
    assert absolute_source("scenes:64") == "scenes:64"
    comma = coco(tmp_path / "x, y", pixels(20, 30), 3, (20, 30))
    assert absolute_source(comma.replace(f"{tmp_path}/", "")) == comma
    assert absolute_source("folder:x, y?orientation=stored") == f"folder:{tmp_path}/x, y?orientation=stored"
    identities = [
        load_data(place + option).identity()["sources"] for option in ("", "?orientation=stored", "?group=id")
    ]
    assert identities[0] != identities[1] != identities[2], "options are part of what a data set is"


# ---- groups


def test_groups_come_from_the_field_that_is_named(tmp_path):
    for number in (1, 2, 3):
        tagged(tmp_path / f"images/{number}.png", pixels(20, 30), 1)
    images = [
        {
            "id": number,
            "file_name": f"{number}.png",
            "height": 20,
            "width": 30,
            "group": "all",
            "video_id": said,
            "odd": {"a": 1},
        }
        for number, said in ((1, 7), (2, 7.0), (3, None))
    ]
    annotations = [
        {"id": number, "image_id": number, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 7]]}
        for number in (1, 2, 3)
    ]
    (tmp_path / "a.json").write_text(
        json.dumps({"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": annotations})
    )
    place = f"coco:{tmp_path}/a.json,{tmp_path}/images"
    assert [load_data(place).sample(i).group for i in range(3)] == ["all"] * 3
    data = load_data(f"{place}?group=video_id")
    assert [data.sample(i).group for i in range(3)] == ["7", "7", None]
    (note,) = data.problems
    assert_says(note, "1 of its images have no 'video_id'", "3.png") and without_notes(data.problems) == []
    for field in ("patient", "odd"):
        with pytest.raises(InputError) as refused:
            load_data(f"{place}?group={field}")
        assert_says(
            refused.value,
            tmp_path / "a.json",
            f"no '{field}'",
            "They have: id, file_name, height, width, group, video_id, odd",
        )


def test_groups_come_from_the_column_that_is_named(tmp_path):
    place = folder(tmp_path, pixels(20, 30), 1, (20, 30))
    with pytest.raises(InputError) as refused:
        load_data(f"{place}?group=patient")
    assert_says(refused.value, tmp_path / "images.csv", "no such file")
    (tmp_path / "images.csv").write_text("image,patient,eye colour\na.png,P1,blue\n")
    assert load_data(f"{place}?group=patient").sample(0).group == "P1"
    assert load_data(f"{place}?group=eye%20colour&orientation=stored").sample(0).group == "blue"
    with pytest.raises(InputError) as refused:
        load_data(f"{place}?group=video")
    assert_says(refused.value, tmp_path / "images.csv", "no column 'video'", "'patient', 'eye colour'")


@pytest.mark.parametrize(
    "lines",
    [
        "image,group\n{0}.png,v\n{1}.png,v\n{2}.png,w\n",
        "image, group\n{0}.png, v\n{1}.png, v\n{2}.png, w\n",
        "image,group\n{0}.png, v\n{1}.png,v\n{2}.png,w\n",
        "Image,Group\n{0},v\n{1},v\n{2},w\n",
        "image,group\nimages/{0}.png,v\nimages\\{1}.png,v\n{2}.PNG,w\n",
        "\ufeffimage,group\r\n{0}.png,v\r\n{0}.png,v\r\n{1}.png,v\r\n{2}.png,w\r\n",
    ],
    ids=["plain", "spaces", "a space", "stems", "paths", "twice"],
)
def test_groups_are_those_that_are_meant(lines, tmp_path):
    for name in "abc":
        tagged(tmp_path / f"images/{name}.png", pixels(20, 30), 1)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(labels((20, 30))).save(tmp_path / f"masks/{name}.png")
    (tmp_path / "names.csv").write_text("index,name\n1,cat\n")
    (tmp_path / "images.csv").write_text(lines.format(*"abc"), encoding="utf-8")
    assert [load_data(f"folder:{tmp_path}").sample(i).group for i in range(3)] == ["v", "v", "w"]
