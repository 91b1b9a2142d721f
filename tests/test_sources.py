"""The readers against what others say of the same files: the authors' table, SciPy and Pillow alone, other masks of the
same images, areas in a json.

Then what is written and read back, and bad input: each with one clear sentence that names file, item and remedy.
"""

import csv
import json
import re
import time
from collections import Counter
from urllib.parse import unquote

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import loadmat, savemat
from sentences import assert_says

from inner_detectors.cli.main import run
from inner_detectors.core.errors import Problems, InputError
from inner_detectors.core.text import inert
from inner_detectors.data.vocabulary import Concept, Vocabulary, standard_name
from inner_detectors.data.dataset import Data
from inner_detectors.data.outlines import outline_of
from inner_detectors.data.sample import Region, Sample
from inner_detectors.data.survey import balance_images, survey
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.synthetic.writers import LAYOUTS, structs
from inner_detectors.data.readers.coco import Coco
from inner_detectors.data.readers.coco_json import read_json
from inner_detectors.data.readers.coco_panoptic import whole_segments
from inner_detectors.data.readers.masks import decode_mask, packed_mask
from inner_detectors.data.readers.pascal_part import PART_CODES, PART_WORDS, number_codes
from inner_detectors.data.readers.registry import load_data
from inner_detectors.data.readers.voc import VOC_CLASSES


def by_concept(regions):
    "Concept -> mask, or-ed."
    masks = {}
    for concept, mask in regions:
        masks[concept] = masks.get(concept, False) | mask
    return masks


def fitted(mask, side=112):
    "Cropped to the short side about the middle and resized by Pillow's NEAREST."
    height, width = mask.shape
    short = min(height, width)
    left, top = (width - short) // 2, (height - short) // 2
    square = Image.fromarray(mask.astype(np.uint8)).crop((left, top, left + short, top + short))
    return np.array(square.resize((side, side), Image.Resampling.NEAREST)) > 0


# ---- PASCAL-Part: the authors' table


def authors_table(path):
    "[(class, {code: comment})] of part2ind.m, by doing what its lines do. A line that is not understood fails."
    classes, maps, copied, many = [], {}, None, None
    steps = [
        (r"pimap\{(\d+)\}\('(\w+)'\)", lambda number, code: maps[int(number)].update({code: comment})),
        (
            r"pimap\{(\d+)\}\(sprintf\('(\w+_)%d', ?ii\)\)",
            lambda number, stem: maps[int(number)].update({f"{stem}{i}": comment for i in range(1, many + 1)}),
        ),
        (
            r"pimap\{(\d+)\} = containers.Map\(keySet, valueSet\)",
            lambda number: maps.update({int(number): dict(copied)}),
        ),
        (r"pimap\{ii\} = containers.Map\('KeyType'", lambda: maps.update({i: {} for i in range(1, many + 1)})),
        (
            r"remove\(pimap\{(\d+)\}, \{(.*)\}\)",
            lambda number, codes: [maps[int(number)].pop(code) for code in re.findall(r"\w+", codes)],
        ),
    ]
    for line in path.read_text().splitlines():
        code, comment, *_ = (
            part.strip() for part in (*re.split("(?<!_)%", line, maxsplit=1), "")
        )  # `_%d` starts no comment
        if not code:
            classes += re.findall(r"^\[(\w+)\]", comment)
        elif found := re.match(r"for ii = 1:(\d+)", code):
            many = int(found[1])
        elif found := re.match(r"keySet = keys\(pimap\{(\d+)\}\)", code):
            copied = maps[int(found[1])]
        elif not re.match(r"end$|function |valueSet = values|pimap = cell\(20, 1\)", code):
            found, do = next((found, do) for pattern, do in steps if (found := re.match(pattern, code)))
            do(*found.groups())
    assert len(classes) == len(maps) == 20
    return list(zip(classes, (maps[i] for i in range(1, 21))))


@pytest.fixture(scope="module")
def authors(samples):
    return authors_table(samples / "pascal_part" / "trainval" / "part2ind.m")


def test_the_part_table_is_the_authors(authors):
    ours = {
        name.replace("table", "diningtable"): set(number_codes(codes)) for name, codes in PART_CODES.items()
    }  # the files say `table`
    assert ours == {name: set(codes) for name, codes in authors}
    assert list(ours) == list(VOC_CLASSES) and sum(map(len, ours.values())) == 384
    for codes in PART_CODES.values():
        assert len(set(number_codes(codes))) == len(number_codes(codes))


def test_the_words_of_parts_are_the_authors_comments(authors):
    said = {(code.partition("_")[0], comment) for _, codes in authors for code, comment in codes.items() if comment}
    plural = {
        ("engine", "multiple engines"),
        ("wheel", "multiple wheels"),
    }  # tell how many there may be, not what one is called
    assert plural < said and len(said) == 58
    assert {(stem, PART_WORDS.get(stem, stem)) for stem, _ in said - plural} == said - plural


# ---- PASCAL-Part: counted with SciPy and Pillow alone

UNCOMMENTED = {
    "frontside": "side",
    "leftside": "side",
    "rightside": "side",
    "backside": "side",
    "roofside": "roof side",
    "leftmirror": "mirror",
    "rightmirror": "mirror",
    "lfho": "hoof",
    "rfho": "hoof",
    "lbho": "hoof",
    "rbho": "hoof",
}
COCO_NAMES = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "table": "dining table",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


@pytest.fixture(scope="module")
def merged(authors):
    "A code -> what it is called where left, right, front, back and numbers do not matter."
    comments = {
        code.partition("_")[0]: comment
        for _, codes in authors
        for code, comment in codes.items()
        if comment and not comment.startswith("multiple")
    }

    def merged(code):
        stem = code.partition("_")[0]
        return " ".join(
            word
            for word in UNCOMMENTED.get(stem, comments.get(stem, stem)).split()
            if word not in ("left", "right", "front", "back")
        )

    return merged


def test_pascal_part_is_counted_as_by_scipy_and_pillow_alone(samples, merged):
    "Every class: objects, parts, and pixels at 112 x 112 of the object and of each of its parts."
    folder = samples / "pascal_part"
    theirs, pixels, files = Counter(), Counter(), sorted((folder / "trainval" / "Annotations_Part").glob("*.mat"))
    for path in files:
        masks = []
        for thing in loadmat(path)["anno"][0, 0]["objects"][0]:
            name = COCO_NAMES.get(thing["class"][0], thing["class"][0])
            masks.append((name, thing["mask"] > 0))
            if thing["parts"].size:
                masks += [(f"{name}/{merged(part['part_name'][0])}", part["mask"] > 0) for part in thing["parts"][0]]
        theirs.update(name for name, _ in masks)
        pixels.update(
            {
                (path.stem, name): int(fitted(mask).sum())
                for name, mask in by_concept(masks).items()
                if fitted(mask).any()
            }
        )
    data = load_data(f"pascal-part:{folder}")
    ours = Counter(region.concept for place in range(len(data)) for region in data.sample(place).regions)
    examples = [data.example(place, size=224, mask_size=112) for place in range(len(data))]
    assert ours == theirs and [example.name for example in examples] == [path.stem for path in files]
    assert pixels == {
        (example.name, data.concepts[i].name): int(mask.sum())
        for example in examples
        for i, mask in zip(example.concepts, example.masks)
    }
    whole = Counter(data.concepts[data.concepts.index(name)].category for name in ours.elements())
    assert (len(files), whole["object"], whole["part"]) == (22, 62, 517)
    assert {name: number for name, number in theirs.items() if "/" not in name} == {
        "person": 21,
        "dog": 7,
        "chair": 7,
        "car": 5,
        "bird": 4,
        "tv": 4,
        "cat": 3,
        "bottle": 3,
        "horse": 2,
        "cow": 2,
        "boat": 1,
        "dining table": 1,
        "airplane": 1,
        "bus": 1,
    }


def test_each_way_to_merge_parts_keeps_every_part(samples, authors):
    """The ways differ in names alone: as many regions, the same pixels object by object; merged names are a part of
    separate ones."""
    datas = {
        parts: load_data(f"pascal-part:{samples / 'pascal_part'}", parts=parts)
        for parts in ("merged", "front-back", "separate")
    }

    def words(region):
        return set(re.split("[ /]", region.concept))

    numbers = [Counter(concept.category for concept in data.concepts) for data in datas.values()]
    assert numbers[0]["part"] < numbers[1]["part"] < numbers[2]["part"] == sum(len(codes) for _, codes in authors)
    for place in range(22):
        one, *others = (data.sample(place).regions for data in datas.values())
        for other in others:
            assert all((a.mask == b.mask).all() and words(a) <= words(b) for a, b in zip(one, other, strict=True))


# ---- PASCAL-Part against VOC's class masks of the same images

LOW = {
    ("2008_000726", "person"): "the grown-up who holds the baby is not in VOC's map",
    ("2010_005243", "chair"): "two of the three chairs are not in VOC's map",
    ("2008_000008", "horse"): "VOC's map goes on over the obstacle in front of the horse, and leaves out its tail",
    ("2008_000026", "dog"): "VOC's dog takes in the hand that holds it",
    ("2010_001199", "dining table"): "PASCAL-Part's table goes on behind two chairs",
    ("2010_002526", "tv"): "PASCAL-Part's right screen goes on behind an arm",
    ("2010_005243", "person"): "a child is not in VOC's map, and PASCAL-Part's woman takes in her chair",
    ("2009_001103", "bottle"): "VOC's bottle takes in the bag beside it",
}


def test_pascal_part_agrees_with_voc_about_the_same_pictures(samples):
    parts, voc = (
        load_data(place).sources[0]
        for place in (f"pascal-part:{samples / 'pascal_part'}", f"voc:{samples / 'voc2012_aug'}")
    )
    found = {}
    for key in parts.keys:
        border = np.array(Image.open(voc.files[key][0])) == 255
        ones = {
            name: mask
            for name, mask in by_concept(parts.sample(key).regions).items()
            if parts.concepts[parts.concepts.index(name)].category == "object"
        }
        others = by_concept(voc.sample(key).regions)
        assert set(ones) == set(others), "the same classes are in every image"
        for name, mask in ones.items():
            found[key, name] = (mask & others[name] & ~border).sum() / ((mask | others[name]) & ~border).sum()
    for (key, name), iou in sorted(found.items(), key=lambda item: item[1]):
        print(f"{iou:.4f} {key} {name:14} {LOW.get((key, name), '')}")
    assert len(found) == 34 and np.median(list(found.values())) > 0.88
    assert {pair for pair, iou in found.items() if iou < 0.8} == set(LOW) and min(found.values()) > 0.45


# ---- VOC, COCO, stuff, panoptic


def test_voc_objects_make_up_the_classes(samples):
    source = load_data(f"voc:{samples / 'voc2007_seg'}").sources[0]
    assert len(source.keys) == 44
    for key in source.keys:
        path = source.files[key][0]
        classes, objects = (
            np.array(Image.open(path.parent.with_name(name) / path.name))
            for name in ("SegmentationClass", "SegmentationObject")
        )
        regions = source.sample(key).regions
        assert sum(region.mask.astype(int) for region in regions).max() == 1
        for name, mask in by_concept(regions).items():
            assert (mask == (classes == 1 + source.concepts.index(name))).all()
        assert len(regions) == len(set(objects[(classes > 0) & (classes < 255)].tolist()))
        for number in set(objects.ravel().tolist()) - {0, 255}:
            assert len(set(classes[objects == number].tolist()) - {255}) == 1


def test_a_grey_label_map_reads_as_one_with_a_palette(samples, tmp_path):
    source = load_data(f"voc:{samples / 'voc2012_aug'}").sources[0]
    keys = source.keys[::20]
    (tmp_path / "SegmentationClassAug").mkdir()
    (tmp_path / "JPEGImages").symlink_to(source.root / "JPEGImages")
    for key in keys:
        with Image.open(source.files[key][0]) as file:
            assert file.mode == "P"
            Image.fromarray(np.array(file)).save(tmp_path / "SegmentationClassAug" / f"{key}.png")
    with Image.open(tmp_path / "SegmentationClassAug" / f"{key}.png") as file:
        assert file.mode == "L"
    grey = load_data(f"voc:{tmp_path}").sources[0]
    assert grey.keys == keys
    for key in keys:
        for one, other in zip(grey.sample(key).regions, source.sample(key).regions, strict=True):
            assert one.concept == other.concept and (one.mask == other.mask).all()


@pytest.mark.parametrize(
    "place, images, annotations",
    [
        ("coco:{}:val2017", 255, 2135),
        ("coco:{}:train2017", 40, 715),
        ("coco-stuff:{}:val2017", 86, 563),
        ("coco-stuff:{}:train2017", 7, 48),
    ],
)
def test_an_outline_says_what_the_masks_say(place, images, annotations, samples):
    "`outline` never decodes; sizes, groups, numbers and areas are equal, and there is no problem."
    source = load_data(place.format(samples / "coco2017_mini")).sources[0]
    outlines = [source.outline(key) for key in source.keys]
    for outline, key in zip(outlines, source.keys):
        assert outline == outline_of(source.sample(key)), key
    assert sum(sum(outline.annotations.values()) for outline in outlines) == annotations
    assert not any(outline.problems for outline in outlines)
    assert len(outlines) == images


def test_stuff_is_read_with_the_areas_that_its_json_says(samples):
    source = load_data(f"coco-stuff:{samples / 'coco2017_mini'}:val2017").sources[0]
    said = {entry["id"]: entry["area"] for entry in read_json(source.annotations)["annotations"]}
    for key in source.keys:
        sample = source.sample(key)
        for (number, concept, _), region in zip(source.entries[key].annotations, sample.regions, strict=True):
            assert concept == region.concept and region.mask.sum() == said[number]


def test_panoptic_segments_have_the_areas_that_their_json_says(samples):
    source = load_data(f"coco-panoptic:{samples / 'coco2017_mini'}").sources[0]
    read = read_json(source.annotations, "segments_info")
    names = {entry["id"]: entry["name"] for entry in read["categories"]}
    said = {entry["file_name"].replace(".png", ".jpg"): entry["segments_info"] for entry in read["annotations"]}
    assert set(said) == set(source.keys) and sum(map(len, said.values())) == 277
    for key in source.keys:
        regions = source.sample(key).regions
        assert Counter((region.concept, int(region.mask.sum())) for region in regions) == Counter(
            (names[one["category_id"]], one["area"]) for one in said[key]
        )
        assert sum(region.mask.astype(int) for region in regions).max() == 1


# ---- one vocabulary


def test_every_source_speaks_of_a_thing_by_one_name(samples):
    mini = samples / "coco2017_mini" / "annotations"
    raw = {
        f"coco {name}": [entry["name"] for entry in json.loads(path.read_text())["categories"]]
        for name, path in {
            "instances": mini / "instances_val2017.json",
            "stuff": mini / "stuff_val2017.json",
            "panoptic": mini / "panoptic_val2017.json",
            "camvid": samples / "camvid" / "instances_val.json",
        }.items()
    }
    raw["voc"] = list(VOC_CLASSES)
    raw["pascal-part"] = sorted(
        {
            thing["class"][0]
            for path in (samples / "pascal_part" / "trainval" / "Annotations_Part").glob("*.mat")
            for thing in loadmat(path)["anno"][0, 0]["objects"][0]
        }
    )
    names = {source: {standard_name(name, source.split()[0]) for name in own} for source, own in raw.items()}
    for source, own in raw.items():
        assert len(names[source]) == len(own), f"two names of {source} became one"
    coco = names["coco instances"]
    assert len(coco) == 80 and coco == set(raw["coco instances"]), "COCO's names stay as they are"
    assert len(names["voc"]) == 20 and len(names["pascal-part"]) == 14
    assert names["voc"] < coco and names["pascal-part"] < coco and coco < names["coco panoptic"]
    assert not names["coco stuff"] & coco and "table" in names["coco stuff"], "a table among stuff is no dining table"
    assert names["coco camvid"] & coco == {"car"}
    together = load_data(
        f"pascal-part:{samples / 'pascal_part'}",
        f"coco:{mini.parent}:val2017",
        f"coco-stuff:{mini.parent}:val2017",
        f"coco-panoptic:{mini.parent}",
        f"voc:{samples / 'voc2012_aug'}",
        f"coco:{samples / 'camvid'}:val",
    )
    assert {concept.name for concept in together.concepts if concept.category == "object"} == set().union(
        *names.values()
    )


def test_pascal_part_and_coco_share_the_objects_that_both_annotate(samples, authors, merged):
    data = load_data(f"pascal-part:{samples / 'pascal_part'}", f"coco:{samples / 'coco2017_mini'}:val2017")
    assert data.categories == ["object@pascal-part+coco", "part", "object@coco"]
    assert np.bincount(data.category_of).tolist() == [20, 116, 60]
    assert data.annotated.tolist() == [[True, True, False], [True, False, True]]
    assert len({(name, merged(code)) for name, codes in authors for code in codes}) == 116
    shared = {standard_name(name, "voc") for name in VOC_CLASSES}
    for concept, entry in zip(data.concepts, data.category_of):
        assert entry == (1 if concept.parent else 0 if concept.name in shared else 2)
        assert concept.parent is None or concept.parent in shared and concept.name.startswith(f"{concept.parent}/")


# ---- written in each layout and read back


class Odd(Scenes):
    "The generated set with names that no file can have, groups, and images that are not square."

    names = ("video 1/frame:2.jpg", "Straße/猫", "../up", "100% *?[x]", ".hidden\n", "a%2Fb")
    groups = ("clip 1", "clip 1", 'a, "b"\nc', None, "猫", "x/y")

    def sample(self, key):
        whole, place = super().sample(key), int(key)
        down, right = 5 * place, 41 - 8 * place
        cut = [Region(name, mask[down:, right:]) for name, mask in whole.regions if mask[down:, right:].any()]
        return Sample(self.names[place], whole.image[down:, right:], tuple(cut), self.groups[place])


HOLDS = {
    "coco": ("object", "part", "material", "texture", "colour"),
    "pascal-part": ("object", "part"),
    "voc": ("object",),
    "folder": ("object", "part", "material", "texture", "colour"),
}


@pytest.mark.parametrize("kind", [Scenes, Odd])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_reads_back(layout, kind, tmp_path):
    source = kind(6, seed=3, size=96)
    LAYOUTS[layout](source, tmp_path)
    data = load_data(f"{layout}:{tmp_path}")
    held = [concept for concept in source.concepts if concept.category in HOLDS[layout]]
    wanted = [(concept.name, "object" if layout == "coco" else concept.category, concept.parent) for concept in held]
    found = [(concept.name, concept.category, concept.parent) for concept in data.concepts]
    assert found == wanted
    names = {name for name, _, _ in wanted}
    written = {sample.name: sample for sample in map(source.sample, source.keys)}
    read = {
        unquote(sample.name.removesuffix(".png") if layout == "coco" else sample.name): sample
        for sample in map(data.sample, range(len(data)))
    }
    assert set(read) == set(written)
    for name, sample in written.items():
        regions = [region for region in sample.regions if region.concept in names]
        ones, others = by_concept(regions), by_concept(read[name].regions)
        assert set(ones) == set(others) and all((ones[concept] == others[concept]).all() for concept in ones)
        if layout != "folder":  # where it is one mask a concept
            assert Counter((c, m.tobytes()) for c, m in regions) == Counter(
                (c, m.tobytes()) for c, m in read[name].regions
            )
        assert read[name].group == (sample.group if layout in ("coco", "folder") else None)
        apart = np.abs(read[name].image.astype(int) - sample.image)
        assert apart.max() == 0 if layout in ("coco", "folder") else apart.mean() < 8
    one, other = survey(Data([source]), progress=False), survey(data, progress=False)
    assert other.problems == one.problems == () and other.images == one.images == 6
    assert other.groups == (one.groups if layout in ("coco", "folder") else 0)
    rows = {row["concept"]: row for row in one.rows()}
    for row in other.rows():
        mine = rows[row["concept"]]
        assert (row["images"], row["part_of"], row["mean_area"]) == (
            mine["images"],
            mine["part_of"],
            pytest.approx(mine["mean_area"], abs=1e-12),
        )
        assert row["annotations"] == (mine["images"] if layout == "folder" else mine["annotations"])


class Mine:
    "A source held in memory: concepts, and samples of one image."

    name = "mine"

    def __init__(self, concepts, *samples):
        self.concepts, self.samples = Vocabulary(concepts), {sample.name: sample for sample in samples}
        self.keys = list(self.samples)

    def sample(self, key):
        return self.samples[key]

    def identity(self):
        return {}


BLANK, CORNER = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), bool)
CORNER[:5, :7] = True
CAT, DOG, HASH = (Concept(name, "object") for name in ("cat", "dog", "#1"))


def mine(concepts, shown, name="a", group=None):
    return Mine(concepts, Sample(name, BLANK, tuple(Region(one.name, CORNER) for one in shown), group))


WHEEL = [Concept("car", "object"), Concept("wheel", "part", "car")]
SLASH = [Concept("a/b", "object"), Concept("a/b/c", "part", "a/b")]
TABLE = [Concept("table", "object")]
COLON = [Concept("light: red", "object")]
MANY = [Concept(f"thing {i}", "object") for i in range(300)]


@pytest.mark.parametrize(
    "layout, source",
    [
        pytest.param("pascal-part", mine(WHEEL, WHEEL), id="a part without a slash"),
        pytest.param("pascal-part", mine(SLASH, SLASH), id="an object with a slash"),
        pytest.param("pascal-part", mine(TABLE, TABLE), id="a table that is no dining table"),
        pytest.param("voc", mine(COLON, COLON), id="a colon"),
        pytest.param("voc", mine([HASH, CAT, DOG], [CAT]), id="a hash"),
        pytest.param("folder", mine([CAT], [CAT], " a", "clip 1"), id="a name with a space in front"),
        pytest.param("folder", mine([CAT], [CAT], "a", " clip 1"), id="a group with a space in front"),
        pytest.param("coco", mine([CAT], [CAT], "..", "clip 1"), id="a name of dots"),
        pytest.param("coco", mine([CAT], [CAT], "猫" * 29, "clip 1"), id="a long name"),
        pytest.param("pascal-part", mine([Concept("striped", "texture")], []), id="no object"),
        pytest.param("voc", mine([Concept("striped", "texture")], []), id="no object for VOC"),
        pytest.param("voc", mine(MANY, MANY[254:255]), id="the 255th class"),
        pytest.param("voc", mine(MANY, MANY[-1:]), id="the 300th class"),
        pytest.param("folder", mine(MANY, MANY[-1:]), id="the 300th concept of a folder"),
    ],
)
def test_odd_names_read_back_or_are_refused_when_written(layout, source, tmp_path):
    try:
        LAYOUTS[layout](source, tmp_path)
    except InputError as refused:
        assert_says(refused)
        assert "space" not in str(refused), "a full disk is not what is wrong"
        return
    data = load_data(f"{layout}:{tmp_path}")
    (sample,), (written,) = [data.sample(0)], source.samples.values()
    assert [concept.name for concept in data.concepts] == [
        concept.name for concept in source.concepts if concept.category in ("object", "part")
    ]
    assert [region.concept for region in sample.regions] == [region.concept for region in written.regions]
    assert sample.group == (written.group if layout in ("coco", "folder") else None)


# ---- bad input: PASCAL-Part

ONES = CORNER.astype(np.uint8)
STATIC = np.random.RandomState(0).randint(0, 2, (20, 30)).astype(np.uint8)


def annotation(name="dog", mask=ONES, parts=(("head", ONES),)):
    "What a PASCAL-Part file holds, with one object."
    inner = structs([{"part_name": code, "mask": mask} for code, mask in parts])
    return {
        "anno": structs(
            [{"imname": "a", "objects": structs([{"class": name, "class_ind": 1, "mask": mask, "parts": inner}])}]
        )
    }


def saved(content):
    return lambda path: savemat(path, content, do_compression=True)


def holds(content):
    return lambda path: path.write_bytes(content)


def cut(share):
    "The file up to a share of its length."

    def cut(path):
        savemat(path, annotation(mask=STATIC), do_compression=True)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return cut


def hdf5(path):
    "As MATLAB writes with -v7.3: HDF5 behind a header of its own."
    with h5py.File(path, "w", userblock_size=512) as file:
        file["anno"] = np.zeros(3)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


UNREADABLE, TABLED, SIZED = (
    "cannot be read as a PASCAL-Part annotation",
    "not in the table of parts",
    "not of the image's size",
)
MATS = {
    "another file of MATLAB's": (saved({"x": np.arange(3)}), [UNREADABLE, "'anno'", "Unpack it again, or remove it"]),
    "an anno of numbers": (saved({"anno": np.arange(3)}), [UNREADABLE]),
    "an anno of text": (saved({"anno": "hello"}), [UNREADABLE]),
    "an anno without objects": (saved({"anno": {"imname": "a"}}), [UNREADABLE, "objects"]),
    "cut in the header": (cut(0.1), [UNREADABLE]),
    "cut in the middle": (cut(0.5), [UNREADABLE]),
    "cut at the end": (cut(0.99), [UNREADABLE]),
    "empty": (holds(b""), [UNREADABLE, "truncated"]),
    "text": (holds(b"This is a note that somebody gave the wrong ending.\n" * 20), [UNREADABLE]),
    "a page of HTML": (holds(b"<html>404 not found</html>"), [UNREADABLE]),
    "MATLAB v7.3": (hdf5, [UNREADABLE, "v7.3"]),
    "a part without a mask": (
        saved(annotation(parts=[("head", np.zeros((0, 0)))])),
        ["dog head", SIZED, "Repair or remove it"],
    ),
    "a part of another size": (saved(annotation(parts=[("head", ONES[:9, :9])])), ["dog head", SIZED]),
    "two parts of another size": (
        saved(annotation(parts=[("head", ONES[:9]), ("tail", ONES), ("nose", ONES.T)])),
        ["dog head, dog nose", SIZED],
    ),
    "an unknown part": (saved(annotation(parts=[("wing_3", ONES)])), ["dog wing_3", TABLED]),
    "an unknown class": (saved(annotation("unicorn", parts=[])), ["unicorn", TABLED]),
    "a class that is a number": (saved(annotation(7, parts=[])), ["7", TABLED]),
    "no class": (saved(annotation("", parts=[])), [UNREADABLE]),
    "a mask of text": (saved(annotation(mask="mask")), [UNREADABLE]),
    "unknown and of another size": (saved(annotation(parts=[("horn", ONES[:3])])), ["dog horn", TABLED, SIZED]),
    "parts that are text": pytest.param(
        saved(
            {"anno": structs([{"imname": "a", "objects": structs([{"class": "dog", "mask": ONES, "parts": "head"}])}])}
        ),
        [UNREADABLE],
    ),
    "objects that are a number": pytest.param(saved({"anno": {"imname": "a", "objects": 5}}), [UNREADABLE]),
}


def cases(table):
    return [
        pytest.param(*getattr(one, "values", one), marks=getattr(one, "marks", ()), id=name)
        for name, one in table.items()
    ]


def part_folder(path, **files):
    "A PASCAL-Part folder with an image for each file."
    marks, pictures = path / "trainval" / "Annotations_Part", path / "VOCdevkit" / "VOC2010" / "JPEGImages"
    for place in (marks, pictures):
        place.mkdir(parents=True, exist_ok=True)
    for name, write in files.items():
        Image.fromarray(BLANK).save(pictures / f"{name}.jpg")
        write(marks / f"{name}.mat")
    return f"pascal-part:{path}", marks


@pytest.mark.filterwarnings("ignore::Warning:scipy")
@pytest.mark.parametrize("write, words", cases(MATS))
def test_a_bad_annotation_of_parts_is_said(write, words, tmp_path):
    place, marks = part_folder(tmp_path, a=write, b=saved(annotation()))
    data = load_data(place)
    with pytest.raises(InputError) as refused:
        data.sample(0)
    assert_says(refused.value, marks / "a.mat", *words)
    found = survey(data, progress=False)
    assert found.problems == (str(refused.value),) and found.images == 1 and found.annotations.sum() == 2


def test_an_object_of_another_size_names_the_picture(tmp_path):
    data = load_data(part_folder(tmp_path, a=saved(annotation(mask=ONES.T)))[0])
    with pytest.raises(InputError) as refused:
        data.sample(0)
    assert_says(refused.value, "a.jpg: the image is 30 x 20, its masks are 20 x 30", "Use the image that was annotated")


def test_a_mask_without_a_pixel_is_a_problem_and_no_end(tmp_path):
    found = survey(load_data(part_folder(tmp_path, a=saved(annotation(parts=[("head", 0 * ONES)])))[0]), progress=False)
    (sentence,) = found.problems
    assert_says(sentence, "a: an annotation of 'dog/head' has no pixel", "outline it again")
    assert found.images == 1 and found.annotations.sum() == 2 and found.shown.sum() == 1


def test_a_picture_without_objects_shows_nothing(tmp_path):
    data = load_data(part_folder(tmp_path, a=saved({"anno": {"imname": "a", "objects": np.zeros((0, 0))}}))[0])
    assert data.sample(0).regions == () and not survey(data, progress=False).problems


PARTS = {
    "empty": ("", ["no column 'class'", "Its first line must name the columns class, code, words"]),
    "no code": ("class,words\ndog,\n", ["no column 'code'", "Its first line must name the columns class, code, words"]),
    "no class": pytest.param("class,code,words\n,head,\n", ["parts.csv", "Name it, or leave it out"]),
    "two names for one class": pytest.param(
        "class,code,words\nsofa,,\ncouch,,\n", ["parts.csv", "Rename or remove one"]
    ),
    "words with a slash": pytest.param("class,code,words\ndog,head,a/b\n", ["parts.csv", "'dog/a'"]),
    "a code twice": pytest.param("class,code,words\ndog,head,a\ndog,head,b\n", ["parts.csv", "head"]),
}


@pytest.mark.parametrize("table, words", cases(PARTS))
def test_a_bad_table_of_parts_is_refused(table, words, tmp_path):
    place, marks = part_folder(tmp_path, a=saved(annotation()))
    (marks.parent / "parts.csv").write_text(table)
    with pytest.raises(InputError) as refused:
        load_data(place)
    assert_says(refused.value, *words)


# ---- bad input: one's own folder


def own_folder(path, names="index,name\n1,cat\n", masks=(("a", ONES),)):
    "Images, label maps and names.csv. A map is an array, or writes itself."
    for name in ("images", "masks"):
        (path / name).mkdir(parents=True, exist_ok=True)
    for name, labels in masks:
        Image.fromarray(BLANK).save(path / "images" / f"{name}.png")
        if callable(labels):
            labels(path / "masks" / f"{name}.png")
        else:
            Image.fromarray(labels).save(path / "masks" / f"{name}.png")
    (path / "names.csv").write_bytes(names if isinstance(names, bytes) else names.encode())
    return f"folder:{path}"


def coloured(mode):
    return lambda path: Image.fromarray(ONES[..., None] * np.uint8([200, 20, 1])).convert(mode).save(path)


def half_seen(path):
    Image.fromarray(np.dstack([ONES, ONES, ONES, 100 + ONES])).save(path)


def short(path, pixels=STATIC):
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:-40])


MAPS = {
    "a number without a name": (9 * ONES, ["holds the number 9, which has no name", "Name it, or replace it by 0"]),
    "colours": (
        coloured("RGB"),
        ["cannot be read as a label map", "(RGB)", "save it with a palette or as grey", "Replace or remove it"],
    ),
    "colours and transparency": (coloured("RGBA"), ["(RGBA)", "save it with a palette"]),
    "half transparent": (half_seen, ["transparent where it is not black", "save it without transparency"]),
    "truncated": (short, ["cannot be read as a label map", "truncated", "Replace or remove it"]),
    "empty": (holds(b""), ["cannot be read as a label map", "Replace or remove it"]),
    "text": (holds(b"not an image"), ["cannot be read as a label map"]),
}


@pytest.mark.parametrize("labels, words", cases(MAPS))
def test_a_bad_label_map_is_said(labels, words, tmp_path):
    data = load_data(own_folder(tmp_path, masks=[("a", labels), ("b", ONES)]))
    with pytest.raises(InputError) as refused:
        data.sample(0)
    assert_says(refused.value, tmp_path / "masks" / "a.png", *words)
    found = survey(data, progress=False)
    assert found.problems == (str(refused.value),) and found.images == 1 and found.shown.tolist() == [1]


def test_a_label_map_of_another_size_is_said(tmp_path):
    data = load_data(own_folder(tmp_path, masks=[("a", ONES[:9, :9])]))
    with pytest.raises(InputError) as refused:
        data.sample(0)
    assert_says(
        refused.value,
        tmp_path / "images" / "a.png",
        "the image is 30 x 20, its masks are 9 x 9",
        "Use the image that was annotated",
    )
    (tmp_path / "masks" / "more").mkdir()
    Image.fromarray(ONES).save(tmp_path / "masks" / "a.png")
    Image.fromarray(ONES.T).save(tmp_path / "masks" / "more" / "a.png")
    with pytest.raises(InputError) as refused:
        load_data(f"folder:{tmp_path}").sample(0)
    assert_says(refused.value, tmp_path / "masks" / "more" / "a.png", "is 20 x 30, its image 30 x 20", "Draw it again")


COLUMNS = "Its first line must name the columns index, name."
TABLES = {
    "no index": ("number,name\n1,cat\n", ["no column 'index'", COLUMNS]),
    "no name": ("index,label\n1,cat\n", ["no column 'name'", COLUMNS]),
    "semicolons": ("index;name\n1;cat\n", ["no column 'index'", COLUMNS]),
    "empty": ("", ["no rows", COLUMNS]),
    "no rows": ("index,name\n", ["no rows", COLUMNS]),
    "an index in words": ("index,name\none,cat\n", ["index 'one' is no whole number", "Give one from 0"]),
    "an index with a point": ("index,name\n1.0,cat\n", ["index '1.0' is no whole number"]),
    "an index below 0": ("index,name\n-1,cat\n", ["index '-1' is no whole number"]),
    "a raised index": ("index,name\n²,cat\n", ["index '²' is no whole number"]),
    "no number": ("index,name\n,cat\n", ["index '' is no whole number"]),
    "an index of 5,000 digits": pytest.param(f"index,name\n{'9' * 5000},cat\n", ["names.csv", "whole number"]),
    "an index twice": ("index,name\n1,cat\n1,dog\n", ["index 1 is listed twice", "Remove one"]),
    "a name twice": ("index,name\n1,cat\n2,cat\n", ["'cat' and 'cat' are both 'cat'", "Rename or remove one"]),
    "two spellings": ("index,name\n1,Dog\n2,dog \n", ["'Dog' and 'dog '", "Rename or remove one"]),
    "two names for one thing": pytest.param(
        "index,name\n1,sofa\n2,couch\n", ["'sofa' and 'couch'", "both 'couch'", "Rename or remove one"]
    ),
    "a part of nothing": ("index,name,part_of\n1,head,dog\n", ["'head' is a part of 'dog', which is not listed"]),
    "a part of itself": ("index,name,part_of\n1,dog,dog\n", ["'dog' is a part of 'dog'"]),
    "parts of each other": ("index,name,part_of\n1,a,b\n2,b,a\n", ["is a part of"]),
    "a blank name": ("index,name\n3, \n", ["index 3", "Name it, or leave it out"]),
    "Latin-1": (
        "index,name\n1,grün\n".encode("latin-1"),
        ["cannot be read as CSV", "Save it as UTF-8, separated by commas"],
    ),
    "UTF-16": ("index,name\n1,grün\n".encode("utf-16"), ["cannot be read as CSV", "Save it as UTF-8"]),
    "a field without an end": ('index,name\n1,"' + "cat\n2,dog\n" * 20_000, ["cannot be read as CSV"]),
}


@pytest.mark.parametrize("names, words", cases(TABLES))
def test_a_bad_table_of_names_is_refused(names, words, tmp_path):
    with pytest.raises(InputError) as refused:
        load_data(own_folder(tmp_path, names))
    assert_says(refused.value, tmp_path / "names.csv", *words)


ODD = {
    1: ("a\nb", "a b"),
    2: ('x, "y"', 'x, "y"'),
    3: ("🐈", "🐈"),
    4: ("كلب", "كلب"),
    5: ("a/../x", "a/../x"),
    6: ("=1+1", "=1+1"),
    7: ("'; DROP", "'; drop"),
}


def test_any_name_survives_tables_and_what_it_is_a_part_of(tmp_path):
    with open(tmp_path / "table.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [
                ("index", "name", "part_of"),
                *((10 + number, f"{name}/{number}", name) for number, (name, _) in ODD.items()),
                *((number, name, "") for number, (name, _) in ODD.items()),
            ]
        )
    data = load_data(
        own_folder(tmp_path / "own", (tmp_path / "table.csv").read_bytes(), [("a", ONES + 12 * ONES[::-1])])
    )  # 1 above, 12 below
    wanted = [
        row for number, (_, name) in ODD.items() for row in ((name, ""), (f"{name}/{number}", name))
    ]  # a whole just before its first part
    found = survey(data, progress=False)
    found.write(tmp_path / "map")
    with open(tmp_path / "map" / "map.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["concept"], row["part_of"]) for row in found.rows()] == wanted
    assert [(row["concept"], row["part_of"]) for row in rows] == [(inert(name), inert(whole)) for name, whole in wanted]
    assert {row["concept"] for row in rows if row["images"] == "1"} == {"a b", 'x, "y"/2'} and not found.problems
    assert not [path for path in tmp_path.rglob("*") if path.name in ("a", "x")], "no name is taken for a path"


def test_a_name_for_two_things_names_both_sources(tmp_path):
    coco = LAYOUTS["coco"](mine([DOG], [DOG]), tmp_path / "coco").parent.parent
    texture = own_folder(tmp_path / "own", "index,name,category\n1,dog,texture\n")
    with pytest.raises(InputError) as refused:
        load_data(texture, f"coco:{coco}").concepts  # noqa: B018
    assert_says(
        refused.value,
        "'dog' means two things",
        "texture in folder",
        "object in coco",
        "Rename it in one of the data sets",
    )
    with pytest.raises(InputError) as refused:
        load_data(texture, own_folder(tmp_path / "more", "index,name\n1,dog\n")).concepts  # noqa: B018
    assert_says(refused.value, "texture in folder-1", "object in folder-2")


# ---- bad input: COCO's outlines, and absurd sizes


def coco_folder(path, *segmentations, more="", name="a.png"):
    "A COCO folder of one image, 20 x 30, with an annotation for each segmentation."
    for place in ("annotations", "val"):
        (path / place).mkdir(parents=True, exist_ok=True)
    Image.fromarray(BLANK).save(path / "val" / name)
    entries = [
        {"id": 100 + i, "image_id": 1, "category_id": 1, "segmentation": one} for i, one in enumerate(segmentations)
    ]
    said = {
        "images": [{"id": 1, "file_name": name, "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": entries,
    }
    (path / "annotations" / "instances_val.json").write_text(json.dumps(said).removesuffix("]}") + f"{more}]}}")
    return f"coco:{path}"


GOOD = {"size": [20, 30], "counts": [0, 150, 450]}
MASKS = {
    "too short": ({"size": [20, 30], "counts": [100, 50]}, "covers 150 pixels, the image has 600"),
    "another size": ({"size": [40, 30], "counts": [1200]}, "is for size [40, 30]"),
    "turned": ({"size": [30, 20], "counts": [600]}, "is for size [30, 20], the image is [20, 30]"),
    "half a pixel": ({"size": [20, 30], "counts": [599.5, 0.5]}, "no count of pixels"),
    "many runs": ({"size": [20, 30], "counts": [0] * 9_617}, "has 9617 entries for 600 pixels"),
    "many characters": ({"size": [20, 30], "counts": "0" * 9_617}, "has 9617 entries for 600 pixels"),
    "no counts": ({"size": [20, 30]}, "no counts"),
    "no size": ({"counts": [600]}, "is for size None"),
    "far away": ([[0, 0, 77, 0, 77, 77]], "far outside the image"),
    "words": ([["a", "b", "c", "d", "e", "f"]], "could not convert"),
    "two points": ([[0, 0, 5, 5]], "three points or more"),
    "neither": ("PP", "neither polygons nor RLE"),
}


@pytest.mark.parametrize("segmentation, words", cases(MASKS))
def test_a_mask_that_cannot_be_is_said_alike_by_outline_and_sample(segmentation, words, tmp_path):
    source = load_data(coco_folder(tmp_path, GOOD, segmentation)).sources[0]
    start = time.perf_counter()
    with pytest.raises(InputError) as refused:
        source.sample("a.png")
    outline = source.outline("a.png")
    assert time.perf_counter() - start < 2
    assert_says(
        refused.value,
        tmp_path / "annotations" / "instances_val.json",
        "annotation 101 of a.png",
        words,
        "Repair or remove it",
    )
    assert (
        outline.problems == (str(refused.value),)
        and outline.areas == {"cat": 150}
        and outline.annotations == {"cat": 1}
    )


@pytest.mark.parametrize(
    "segmentation, words",
    [
        ({"size": [20, 30], "counts": [300, 301]}, "covers 601 pixels, the image has 600"),
        ({"size": [20, 30], "counts": [601]}, "no count of pixels"),
        ({"size": [20, 30], "counts": [700, -100]}, "no count of pixels"),
        ({"size": [20, 30], "counts": "PP"}, "ends inside a number"),
        ({"size": [20, 30], "counts": "ic0"}, "no count of pixels"),
        ({"size": [20, 30], "counts": "ä"}, "ascii"),
        ([[0, 0, float("nan"), 5, 9, 9]], "no number"),
        ([[0, 0, None, 5, 9, 9]], "no number"),
    ],
    ids=range(8),
)
def test_what_other_readers_would_trust_is_refused(segmentation, words):
    "By hand, in no file: a mask of more pixels than its image has, and points that are no numbers."
    for decode in (decode_mask, packed_mask):
        with pytest.raises(ValueError, match=words):
            decode(segmentation, 20, 30)


def test_many_annotations_that_point_nowhere(tmp_path):
    place = coco_folder(tmp_path, GOOD, more=', {"id": 5, "image_id": 7}' * 10_000)
    data = load_data(place, on_problem="skip")
    assert len(data) == 1 and len(data.problems) == 10_000
    assert survey(data, progress=False).annotations.tolist() == [1]
    with pytest.raises(InputError) as refused:
        load_data(place)
    assert_says(refused.value, "annotation 5 is for image 7, which is not listed", "--on-problem skip")


# ---- bad input: panoptic


def panoptic_folder(path, change=None, save=lambda labels, path: Image.fromarray(labels).save(path)):
    "One image with one segment, number 263; and one that nobody annotated."
    for place in ("annotations/panoptic_val", "val"):
        (path / place).mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(BLANK).save(path / "val" / name)
    labels = BLANK.copy()
    labels[CORNER] = 7, 1, 0
    save(labels, path / "annotations" / "panoptic_val" / "a.png")
    read = {
        "images": [
            {"id": 1 + i, "file_name": name, "height": 20, "width": 30} for i, name in enumerate(("a.jpg", "b.jpg"))
        ],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 263, "category_id": 1, "area": 35}]}
        ],
    }
    if change:
        change(read["annotations"])
    (path / "annotations" / "panoptic_val.json").write_text(json.dumps(read))
    return f"coco-panoptic:{path}"


def put(**fields):
    return lambda entries: entries[0].update(fields)


PANOPTIC = {
    "a number that is not listed": (
        put(segments_info=[{"id": 5, "category_id": 1}]),
        "a.png: holds the number 263, which has no name",
    ),
    "a category that is not listed": (
        put(segments_info=[{"id": 263, "category_id": 9}]),
        "annotation 263 is of category 9, which is not listed",
    ),
    "an image that is not listed": (put(image_id=9), "annotation 263 is for image 9, which is not listed"),
    "a map that is not there": (put(file_name="c.png"), "c.png: no such file"),
    "no name of a map": pytest.param(put(file_name=None), "image 1 has no file_name"),
    "a name that is a number": pytest.param(put(file_name=3), "image 1 has no file_name"),
    "segments that are text": pytest.param(put(segments_info="none"), "segments_info"),
    "segments that are numbers": pytest.param(put(segments_info=[1, 2]), "segments_info"),
    "a map outside": pytest.param(put(file_name="val/../a.png"), "outside"),
    "a segment without a pixel": pytest.param(
        lambda entries: entries[0]["segments_info"].append({"id": 9, "category_id": 1}),
        "a.jpg: an annotation of 'cat' has no pixel",
    ),
}


@pytest.mark.parametrize("change, words", cases(PANOPTIC))
def test_a_bad_panoptic_json_is_said(change, words, tmp_path):
    place = panoptic_folder(tmp_path, change)
    try:
        problems = survey(load_data(place), progress=False).problems
    except InputError as refused:
        problems = [str(refused)]
    assert len(problems) == 1
    assert_says(problems[0], words)


@pytest.mark.parametrize(
    "name, good",
    [("a.png", True), ("x/a.png", True), ("../../val/b.jpg", False), ("/b.jpg", False), ("x/../a.png", False)],
)
def test_a_label_map_lies_in_its_folder(name, good):
    problems = Problems("skip")
    assert (
        whole_segments("a.json", {"image_id": 1, "file_name": name, "segments_info": []}, problems) is good
        and len(problems) == 1 - good
    )


def test_a_damaged_panoptic_map_is_said(tmp_path):
    for name, save, words in (
        ("cut", lambda labels, path: short(path, labels), "truncated"),
        ("small", lambda labels, path: Image.fromarray(labels[:9]).save(path), "30 x 9"),
    ):
        (sentence,) = survey(load_data(panoptic_folder(tmp_path / name, save=save)), progress=False).problems
        assert_says(sentence, tmp_path / name / "annotations" / "panoptic_val" / "a.png", words)


def test_a_picture_that_nobody_annotated_is_left_out(tmp_path):
    assert [key for _, key in load_data(panoptic_folder(tmp_path)).items] == ["a.jpg"]


def test_a_picture_of_nothing_but_void_counts(tmp_path):
    def nothing(entries):
        entries.append({"image_id": 2, "file_name": "b.png", "segments_info": []})

    place = panoptic_folder(tmp_path, nothing)
    Image.fromarray(BLANK).save(tmp_path / "annotations" / "panoptic_val" / "b.png")
    assert survey(load_data(place), progress=False).images == 2


# ---- bad input: VOC


def voc_folder(path, year="VOC2012", listed=("a",), pictures=("a",), maps=("a",)):
    "A VOC folder under VOCdevkit/."
    root = path / "VOCdevkit" / year
    for place in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / place).mkdir(parents=True)
    for name in pictures:
        Image.fromarray(BLANK).save(root / "JPEGImages" / f"{name}.jpg")
    for name in maps:
        Image.fromarray(8 * ONES).save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(listed))
    return f"voc:{path}:val"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa\nb\n",
        "a\r\nb\r\n",
        "a.jpg\nb.jpg\n",
        "JPEGImages/a.jpg\nJPEGImages\\b.jpg\n",
        "JPEGImages/a.jpg SegmentationClass/a.png\nb\n",
        "# two\na\nb\n",
        '"a"\n"b"\n',
        "a 1\nb -1\n",
    ],
    ids=["byte order mark", "Windows", "endings", "folders", "pairs", "a comment", "quotes", "flags"],
)
@pytest.mark.parametrize("where", ["Segmentation/val.txt", "val.txt"])
def test_a_list_of_images_as_tools_write_it(text, where, tmp_path):
    place = voc_folder(tmp_path, pictures="abc", maps="abc")
    lists = tmp_path / "VOCdevkit/VOC2012/ImageSets"
    (lists / "Segmentation/val.txt").unlink()
    (lists / where).write_bytes(text.encode())
    assert load_data(place).sources[0].keys == ["a", "b"]


def test_a_list_that_is_no_text_is_refused(tmp_path):
    place = voc_folder(tmp_path)
    for coding in ("utf-16", "latin-1"):
        (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_bytes("é\n".encode(coding))
        with pytest.raises(InputError) as refused:
            load_data(place)
        assert_says(refused.value, "val.txt", "cannot be read as text", "Save it as UTF-8")


@pytest.mark.parametrize(
    "pictures, maps, words",
    [
        ("ac", "abc", ["b.png", "its image b.jpg is not in", "--on-problem skip"]),
        ("abc", "ac", ["'b' is listed and has no annotation", "--on-problem skip"]),
        ("ac", "ac", ["'b' is listed and has no annotation"]),
    ],
    ids=["no image", "no label map", "neither"],
)
def test_a_list_that_names_what_is_not_there_is_said(pictures, maps, words, tmp_path):
    place = voc_folder(tmp_path, listed="abc", pictures=pictures, maps=maps)
    with pytest.raises(InputError) as refused:
        load_data(place)
    assert_says(refused.value, tmp_path, *words)
    data = load_data(place, on_problem="skip")
    assert [key for _, key in data.items] == ["a", "c"] and len(data.problems) == 1
    assert [region.concept for region in data.sample(0).regions] == ["cat"]


def test_a_list_that_names_nothing_that_is_there_is_refused(tmp_path):
    for on_problem in ("stop", "skip"):
        with pytest.raises(InputError) as refused:
            load_data(voc_folder(tmp_path / on_problem, listed="xy"), on_problem=on_problem)
        assert_says(refused.value, tmp_path)


def test_two_years_are_asked_about(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        voc_folder(tmp_path, year)
    with pytest.raises(InputError) as refused:
        load_data(f"voc:{tmp_path}")
    assert_says(
        refused.value,
        "several years",
        tmp_path / "VOCdevkit" / "VOC2007",
        tmp_path / "VOCdevkit" / "VOC2012",
        "Say which",
    )
    assert len(load_data(f"voc:{tmp_path / 'VOCdevkit' / 'VOC2007'}")) == 1


def test_a_split_that_is_none_is_answered(tmp_path):
    place = voc_folder(tmp_path)
    with pytest.raises(InputError) as refused:
        load_data(f"{place}2")
    assert_says(refused.value, "no list ImageSets/*/val2.txt", "Did you mean 'val'?")


# ---- choices that are none


@pytest.mark.parametrize(
    "choice, words",
    [
        (dict(balance=0), ["balance 0", "Give a positive number"]),
        (dict(balance=-3), ["balance -3", "Give a positive number"]),
        (dict(limit=0), ["limit 0"]),
        (dict(concepts=["dgo"]), ["no concept 'dgo'", "Did you mean 'dog'?"]),
        (dict(concepts=["dog", "zzzzzz"]), ["no concept 'zzzzzz'", "There are: 'face'"]),
        (dict(on_problem="ignore"), ["'ignore'", "'skip'"]),
    ],
    ids=str,
)
def test_a_choice_that_is_none_is_answered(choice, words):
    with pytest.raises(InputError) as refused:
        load_data("scenes:2", **choice)
    assert_says(refused.value, *words)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--balance", "0"], "balance 0"),
        (["--concepts", "dgo"], "Did you mean 'dog'?"),
        (["--concepts", ""], "no concept ''"),
    ],
)
def test_the_command_answers_alike(words, said, capsys):
    assert run(["map", "scenes:2", "--quiet", *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert_says(err.strip(), said)


def test_to_balance_where_nothing_is_shown_is_refused(tmp_path):
    with pytest.raises(InputError) as refused:
        load_data(own_folder(tmp_path, masks=[("a", 0 * ONES)]), balance=3, progress=False)
    assert_says(refused.value, "balance 3", "no image shows any of the concepts")


# ---- a survey goes on whatever is wrong with an image


@pytest.mark.filterwarnings("ignore::Warning:scipy")
def test_a_survey_finds_every_problem_and_counts_the_rest(tmp_path):
    own = own_folder(
        tmp_path / "own",
        masks=[
            *((name.replace(" ", "_"), labels) for name, (labels, _) in MAPS.items()),
            ("another_size", ONES[:9, :9]),
            *((name, ONES) for name in ("broken_picture", "cut_picture", "no_map", "no_picture", "fine")),
            ("void", 255 * ONES),
        ],
    )
    images = tmp_path / "own" / "images"
    (images / "broken_picture.png").write_bytes(b"\x89PNG")
    (images / "cut_picture.png").write_bytes((images / "cut_picture.png").read_bytes()[:-30])
    (images / "no_picture.png").unlink()
    (tmp_path / "own" / "masks" / "no_map.png").unlink()
    good = {name: write for name, write in MATS.items() if not hasattr(write, "marks")}
    parts, _ = part_folder(
        tmp_path / "parts", fine=saved(annotation()), **{name: write for name, (write, _) in good.items()}
    )
    coco = coco_folder(
        tmp_path / "coco",
        GOOD,
        *(one for one, _ in MASKS.values()),
        {"size": [20, 30], "counts": [600]},
        more=', {"id": 5, "image_id": 7}',
    )
    found = survey(load_data(own, parts, coco, on_problem="skip"), progress=False)
    expected = [
        *(f"own/masks/{name.replace(' ', '_')}.png" for name in MAPS),
        "another_size",
        "broken_picture",
        "cut_picture",
        "no_map",
        "no_picture",
        *(f"Annotations_Part/{name}.mat" for name in good),
        *(f"annotation {101 + i} of a.png" for i in range(len(MASKS) + 1)),
        "annotation 5 is for",
        "own/masks/void.png: holds only 0 and 255",
    ]
    for words in expected:
        assert sum(words in problem for problem in found.problems) == 1, words
    assert len(found.problems) == len(expected) == len(set(found.problems))
    for problem in found.problems:
        assert_says(problem)
    shown = dict(zip(found.data.concepts.names, zip(found.shown.tolist(), found.annotations.tolist())))
    assert found.images == 2 + 1 + 1  # fine and void, one of parts, one of COCO
    assert {name: numbers for name, numbers in shown.items() if numbers != (0, 0)} == {
        "cat": (2, 3),
        "dog": (1, 1),
        "dog/head": (1, 1),
    }


# ---- balanced subsets


class Listed:
    "A source that knows what each image shows, and has no image."

    name = "listed"

    def __init__(self, names, images):
        self.concepts, self.images = Vocabulary(Concept(name, "object") for name in names), images
        self.keys = [f"{i:03d}" for i in range(len(images))]

    def shown(self, key):
        return self.images[int(key)]


IMAGES = st.lists(st.sets(st.sampled_from("abcde")), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(IMAGES, st.integers(1, 12), st.integers(0, 5))
def test_a_balanced_subset_shows_each_concept_often_enough(images, number, seed):
    data = Data([Listed("abcde", images)])
    if not any(images):
        with pytest.raises(InputError, match="no image shows"):
            balance_images(data, number, seed)
        return
    chosen = balance_images(data, number, seed)
    shown = Counter(name for _, key in chosen.items for name in images[int(key)])
    there = Counter(name for image in images for name in image)
    for name in "abcde":
        assert shown[name] >= min(number, there[name])
    assert [key for _, key in chosen.items] == sorted({key for _, key in chosen.items}), "each once, in their order"
    assert len(chosen) <= sum(min(number, count) for count in there.values())
    assert balance_images(data, number, seed).items == chosen.items
    assert all(images[int(key)] for _, key in chosen.items)


def test_a_balanced_subset_does_not_depend_on_the_order_of_concepts():
    images = [{"a"}, {"a", "b"}, {"b"}]
    for seed in range(20):
        one, other = (balance_images(Data([Listed(names, images)]), 1, seed) for names in ("ab", "ba"))
        assert one.items == other.items


def test_a_balanced_subset_depends_on_the_seed_alone(samples):
    data = load_data(f"coco:{samples / 'coco2017_mini'}:val2017")
    subsets = [balance_images(data, 5, seed, progress=False).chosen for seed in (0, 0, 1)]
    assert subsets[0] == subsets[1] != subsets[2]
    places = [data.items[place][1] for place in subsets[0]]
    source: Coco = data.sources[0]
    there, shown = (Counter(name for key in keys for name in source.shown(key)) for keys in (source.keys, places))
    assert all(shown[name] >= min(5, there[name]) for name in data.concepts.names) and len(places) < len(data)
