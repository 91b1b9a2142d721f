"""Label maps as tools write them: what their numbers are called, how they are stored, and where nothing is shown.

Every case is a small folder of one's own or in VOC's layout, read by `load_data`; numbers and masks are known, since
the test draws them.
"""

import json
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sentences import assert_says

from inner_detectors.networks import registry
from inner_detectors.cli.main import run
from inner_detectors.core.errors import NOTE, InputError, without_notes
from inner_detectors.data.survey import survey
from dataclasses import replace
from inner_detectors.dissection.plan import plan
from inner_detectors.dissection.protocol import netdissect
from inner_detectors.dissection.run import dissect
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.data.readers.label_maps import read_labels
from inner_detectors.data.readers.names import text_rows
from inner_detectors.data.readers.registry import load_data

LABELS = np.zeros((40, 48), np.uint8)
LABELS[4:24, 8:20], LABELS[10:36, 26:44] = 1, 2  # crack, spall
AREAS = {"crack": int((LABELS == 1).sum()), "spall": int((LABELS == 2).sum())}
COLOURS = np.array([(0, 0, 0), (250, 50, 83), (51, 221, 255)], np.uint8)
HEAD, BACK, CRACK, SPALL = (
    "# label:color_rgb:parts:actions\n",
    "background:0,0,0::\n",
    "crack:250,50,83::\n",
    "spall:51,221,255::\n",
)
TABLE = HEAD + BACK + CRACK + SPALL


def forward(parameters, images):
    "64 cells of three colours and their complements."
    cells = images.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4))
    return {"cells": jnp.concatenate([cells, 255 - cells], -1)}


TOY = Model(
    "toy",
    forward,
    size=32,
    preprocess=lambda images: images.astype(jnp.float32),
    geometry={"cells": half_pixel(32, (8, 8))},
)
MANY = replace(netdissect, quantile=0.2)


def notes(data):
    return [problem.removeprefix(NOTE) for problem in data.problems if problem.startswith(NOTE)]


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*LABELS.shape, 3), np.uint8))


def with_palette(labels, palette=COLOURS):
    made = Image.fromarray(labels, mode="P")
    made.putpalette(palette.ravel().tolist())
    return made


def match(place, **more):
    return dissect(TOY, load_data(place, **more), protocol=MANY, progress=False)


def layout(path, kind="voc", maps=(LABELS,), tables=(), ending=".png", images="p{}.jpg", masks="p{}", **settings):
    "A folder in VOC's layout or one's own: an image for each map, which is an array or an image, and tables by name."
    pictures, labels = {"voc": ("JPEGImages", "SegmentationClass"), "folder": ("images", "masks")}[kind]
    for name in (pictures, labels):
        (path / name).mkdir(parents=True, exist_ok=True)
    for i, one in enumerate(maps):
        picture(i).save(path / pictures / images.format(i))
        (Image.fromarray(one) if isinstance(one, np.ndarray) else one).save(
            path / labels / (masks.format(i) + ending), **settings
        )
    for name, text in dict(tables).items():
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"{kind}:{path}"


def areas(place, on_problem="stop"):
    "Concept -> pixels in the first image."
    return load_data(place, on_problem=on_problem).sources[0].sample("p0").regions and {
        region.concept: int(region.mask.sum()) for region in load_data(place, on_problem=on_problem).sample(0).regions
    }


# ---- what the numbers are called

NAMES = {
    "CVAT's": ("labelmap.txt", TABLE),
    "background second": ("labelmap.txt", HEAD + CRACK + BACK + SPALL),
    "background last": ("labelmap.txt", HEAD + CRACK + SPALL + BACK),
    "no background": ("labelmap.txt", HEAD + CRACK + SPALL),
    "byte order mark": ("labelmap.txt", "\ufeff" + TABLE),
    "byte order mark, no comment": ("labelmap.txt", "\ufeff" + BACK + CRACK + SPALL),
    "carriage returns": ("labelmap.txt", TABLE.replace("\n", "\r\n")),
    "old Macintosh": ("labelmap.txt", TABLE.replace("\n", "\r")),
    "comments and blank lines anywhere": (
        "labelmap.txt",
        "\n" + BACK + "\n# walls\n   \n" + CRACK + "  # bridges\n\n" + SPALL + "\n#end",
    ),
    "tabs and spaces around": (
        "labelmap.txt",
        "\tbackground : 0, 0, 0 : :\n  crack\t:250,50,83::\nspall :51 , 221,255::  \n",
    ),
    "no colours": ("labelmap.txt", "background:::\ncrack:::\nspall:::\n"),
    "no colons": ("labelmap.txt", "background\ncrack\nspall\n"),
    "one trailing colon": ("labelmap.txt", "background:\ncrack:\nspall:\n"),
    "colours alone": ("labelmap.txt", "background:0,0,0\ncrack:250,50,83\nspall:51,221,255"),
    "parts and actions": (
        "labelmap.txt",
        "background::a,b:run\ncrack:250,50,83:tip,edge:grow\nspall:51,221,255:edge:fall,grow\n",
    ),
    "labelme's": ("class_names.txt", "_background_\ncrack\nspall\n"),
    "labelme's with ignored": ("class_names.txt", "__ignore__\n_background_\ncrack\nspall"),
    "the name in capitals": ("Labelmap.TXT", TABLE.replace("background", "Background").replace("crack", "Crack")),
    "label_names.txt": ("label_names.txt", "_background_\ncrack\nspall\n"),
    "classes.txt": ("classes.txt", "background\ncrack\nspall\n"),
    "labels.txt, numbered": ("labels.txt", "0: background\n2: spall\n1: crack\n"),
    "labels.txt, numbered by tabs": ("labels.txt", "0\tbackground\n1\tcrack\n2\tspall\n"),
    "void first": ("labels.txt", "void\ncrack\nspall\n"),
    "CamVid's": ("label_colors.txt", "0 0 0\t\tVoid\n250 50 83\tcrack\n51 221 255\tspall\n"),
    "name, then colour": ("colors.txt", "neutral 224 224 192\ncrack 250 50 83\nspall 51 221 255\n"),
    "brackets": ("colors.txt", "crack (250, 50, 83)\nspall (51, 221, 255)\n"),
    "names.csv": ("names.csv", "index,name\n1,crack\n2,spall\n"),
    "names.csv with colours": ("names.csv", 'index,name,color\n1,crack,#FA3253\n2,spall,"51, 221, 255"\n'),
    "red, green and blue": ("class_dict.csv", "name,r,g,b\nbackground,0,0,0\nspall,51,221,255\ncrack,250,50,83\n"),
    "numbers behind": ("labelmap.txt", "background 0\ncrack 1\nspall 2\n"),
    "numbers behind, colons": ("classes.txt", "spall: 2\ncrack: 1\nbackground: 0\n"),
    "in quotes": ("classes.txt", '"background"\n"crack"\n"spall"\n'),
    "bg": ("classes.txt", "bg\ncrack\nspall\n"),
    "none": ("classes.txt", "none\ncrack\nspall\n"),
    "label_map.txt": ("label_map.txt", "background\ncrack\nspall\n"),
    "names.txt": ("names.txt", "background\ncrack\nspall\n"),
    "classes.csv without background": ("classes.csv", "name,id\ncrack,1\nspall,2\n"),
    "names.csv in capitals": ("names.csv", "Index,Name\n1,crack\n2,spall\n"),
    "names.csv with spaces": ("names.csv", "index, name\n1, crack\n2, spall\n"),
    "Pixel Value, Class": ("_classes.csv", "Pixel Value, Class\n0, background\n1, crack\n2, spall\n"),
}


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.parametrize("kind", ["voc", "folder"])
def test_names_are_read_from_the_tables_that_tools_write(case, kind, tmp_path):
    place = layout(tmp_path, kind, [with_palette(LABELS)], [NAMES[case]])
    data = load_data(place)
    assert areas(place) == AREAS and sorted(data.concepts.names) == ["crack", "spall"]
    found = survey(data, progress=False)
    assert not without_notes(found.problems) and (found.images, found.nothing) == (1, 0)


@pytest.mark.parametrize(
    "name",
    [
        "light: red",
        "a:b",
        "crack, wide",
        "Riß im Beton",
        "ひび割れ",
        "трещина",
        "crack (old)",
        "2 wheels",
        "C#",
        "half/whole",
        "crack 2",
    ],
)
def test_names_may_hold_what_tables_are_made_of(name, tmp_path):
    coloured = layout(
        tmp_path / "coloured", maps=[COLOURS[LABELS]], tables=[("labelmap.txt", TABLE.replace("crack", name))]
    )
    plain = layout(tmp_path / "plain", tables=[("class_names.txt", f"_background_\n{name}\nspall\n")])
    for place in (coloured, plain):
        assert areas(place) == {name.lower(): AREAS["crack"], "spall": AREAS["spall"]}


def test_a_table_without_background_says_what_it_took(tmp_path):
    (note,) = notes(load_data(layout(tmp_path, tables=[("classes.txt", "crack\nspall\n")])))
    assert_says(note, tmp_path / "classes.txt", "no line is called background", "'crack'", "the number 1")


def test_where_vocs_twenty_are_taken_it_is_said(tmp_path, capsys, monkeypatch):
    place = layout(tmp_path / "own")
    data = load_data(place)
    (note,) = notes(data)
    assert_says(note, tmp_path / "own", "VOC's twenty classes were taken", "labelmap.txt")
    assert areas(place) == {"airplane": AREAS["crack"], "bicycle": AREAS["spall"]}
    assert run(["map", place, "--quiet"]) == 0 and "VOC's twenty classes were taken" in capsys.readouterr().out
    assert run(["map", place, "--quiet", "--json"]) == 0 and json.loads(capsys.readouterr().out)["problems"] == [
        NOTE + note
    ]
    monkeypatch.setitem(registry.MODELS, "toy", registry.Family("one small layer", lambda weights=None: TOY))
    for _ in range(2):  # the second time, the finished run is read
        assert (
            run(["match", "toy", "--data", place, "--quantile", "0.2", "--quiet", "--out", str(tmp_path / "out")]) == 0
        )
        assert "VOC's twenty classes were taken" in capsys.readouterr().out
    assert not notes(load_data(layout(tmp_path / "VOCdevkit" / "VOC2012").replace("/VOCdevkit/VOC2012", "")))
    assert not notes(load_data(layout(tmp_path / "copied", images="2007_00000{}.jpg", masks="2007_00000{}"))), (
        "VOC's own images"
    )


TABLES = {
    "Latin-1": (
        "labelmap.txt",
        "background\nflèche\n".encode("latin-1"),
        ["cannot be read as text", "Save it as UTF-8"],
    ),
    "UTF-16": ("labelmap.txt", "background\ncrack\n".encode("utf-16"), ["cannot be read as text", "Save it as UTF-8"]),
    "UTF-16 without a mark": ("labelmap.txt", "background\ncrack\n".encode("utf-16-le"), ["NUL", "Save it as UTF-8"]),
    "empty": ("labelmap.txt", "", ["names no class"]),
    "comments alone": ("labelmap.txt", HEAD, ["names no class"]),
    "background alone": ("labelmap.txt", BACK, ["names no class"]),
    "a name twice": ("labelmap.txt", "background\ncrack\ncrack\n", ["'crack' is listed twice", "Remove or rename one"]),
    "two spellings": ("labelmap.txt", "background\ncrack\nCrack\n", ["'crack' and 'Crack'", "Rename or remove one"]),
    "a colour twice": (
        "labelmap.txt",
        BACK + CRACK + "spall:250,50,83::\n",
        ["(250, 50, 83) is given to two names", "Change one"],
    ),
    "no colour": ("labelmap.txt", "crack:1,2,300::\n", ["1, 2, 300 is no colour"]),
    "an index twice": ("_classes.csv", "index,name\n1,crack\n1,spall\n", ["index 1 is listed twice"]),
    "no column of names": ("class_dict.csv", "r,g,b\n1,2,3\n", ["no column 'name'"]),
    "a blank name": ("labelmap.txt", "background\n:250,50,83::\n", ["Name it, or leave it out"]),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_bad_table_of_names_is_refused(case, tmp_path):
    name, text, words = TABLES[case]
    with pytest.raises(InputError) as refused:
        load_data(layout(tmp_path, tables=[(name, text)]))
    assert_says(refused.value, tmp_path / name, *words)


def test_two_tables_that_differ_are_said(tmp_path):
    (note,) = notes(
        load_data(layout(tmp_path, tables=[("labelmap.txt", TABLE), ("classes.txt", "background\nspall\ncrack\n")]))
    )
    assert_says(note, tmp_path / "labelmap.txt", "classes.txt", "says otherwise")
    assert not notes(
        load_data(
            layout(tmp_path / "same", tables=[("labelmap.txt", TABLE), ("classes.txt", "background\ncrack\nspall\n")])
        )
    )
    own = layout(
        tmp_path / "own", "folder", tables=[("labelmap.txt", TABLE), ("names.csv", "index,name\n1,rust\n2,moss\n")]
    )
    assert load_data(own).concepts.names == ["rust", "moss"], "names.csv comes first in a folder of one's own"


def test_a_number_above_the_names_is_named_with_its_file(tmp_path):
    data = load_data(
        layout(
            tmp_path,
            maps=[LABELS, LABELS + (LABELS == 2)],
            tables=[("class_names.txt", "_background_\ncrack\nspall\n")],
        )
    )
    (problem,) = survey(data, progress=False).problems
    assert_says(problem, "p1.png: holds the number 3, which has no name", "the names are of 1, 2")


def test_another_table_is_another_run(tmp_path):
    place = layout(tmp_path, tables=[("labelmap.txt", "background\ncrack\nspall\n")])
    one = load_data(place).identity()
    (tmp_path / "labelmap.txt").write_text("background\nspall\ncrack\n")
    assert load_data(place).identity() != one


# ---- how the numbers are stored


def rgb(labels):
    return Image.fromarray(np.stack([labels] * 3, -1))


def clear(labels):
    return Image.fromarray(np.dstack([labels] * 3 + [np.where(labels, 255, 0).astype(np.uint8)]))


TINTED = 'index,name,colour\n1,crack,#fa3253\n2,spall,"51,221,255"\n'
SHUFFLED = COLOURS[[1, 2, 0]]  # index 0 has the colour of 1, 1 of 2, 2 of 0
STORED = {
    "palette": lambda: with_palette(LABELS),
    "palette in another order": lambda: with_palette((LABELS + 2) % 3, SHUFFLED),
    "palette of greys": lambda: with_palette(LABELS, np.repeat(np.uint8([[0], [128], [255]]), 3, 1)),
    "palette of other colours": lambda: with_palette(LABELS, np.uint8([[0, 0, 0], [128, 0, 0], [0, 128, 0]])),
    "grey": lambda: Image.fromarray(LABELS),
    "three equal channels": lambda: rgb(LABELS),
    "equal and opaque": lambda: rgb(LABELS).convert("RGBA"),
    "LA": lambda: Image.fromarray(LABELS).convert("LA"),
    "transparent where nothing is": lambda: clear(LABELS),
    "16 bits": lambda: Image.fromarray(LABELS.astype(np.uint16)),
    "colours": lambda: Image.fromarray(COLOURS[LABELS]),
    "colours and opaque": lambda: Image.fromarray(COLOURS[LABELS]).convert("RGBA"),
}


@pytest.mark.parametrize("case", STORED)
@pytest.mark.parametrize("kind, table", [("voc", ("labelmap.txt", TABLE)), ("folder", ("names.csv", TINTED))])
def test_a_map_is_read_however_it_is_stored(case, kind, table, tmp_path):
    assert areas(layout(tmp_path, kind, [STORED[case]()], [table])) == AREAS


@pytest.mark.parametrize(
    "ending",
    [".png", ".PNG", ".Png", ".tif", ".TIF", ".tiff", ".TIFF", ".bmp", ".BMP", ".gif", ".GIF", ".webp", ".pgm", ".tga"],
)
@pytest.mark.parametrize(
    "kind, table", [("voc", ("labelmap.txt", TABLE)), ("folder", ("names.csv", "index,name\n1,crack\n2,spall\n"))]
)
def test_a_map_has_any_ending_that_loses_nothing(ending, kind, table, tmp_path):
    settings = {"lossless": True} if ending == ".webp" else {}
    assert areas(layout(tmp_path, kind, tables=[table], ending=ending, **settings)) == AREAS


@pytest.mark.parametrize(
    "make",
    [
        lambda: Image.fromarray(LABELS.astype(np.int32)),
        lambda: Image.fromarray(LABELS.astype(np.float32)),
        lambda: with_palette(LABELS),
    ],
    ids=["32 bits", "whole real numbers", "palette"],
)
def test_a_tiff_holds_numbers_of_many_kinds(make, tmp_path):
    assert (
        areas(
            layout(tmp_path, maps=[make()], tables=[("class_names.txt", "_background_\ncrack\nspall\n")], ending=".tif")
        )
        == AREAS
    )


def test_a_gif_counts_by_its_colours(tmp_path):
    "Its writer renumbers: 0 and 2 become 0 and 1."
    even = LABELS // 2 * 2
    assert areas(layout(tmp_path / "grey", maps=[even], tables=[("labelmap.txt", TABLE)], ending=".gif")) == {
        "spall": AREAS["spall"]
    }
    tinted = layout(tmp_path / "tinted", maps=[with_palette(even)], tables=[("labelmap.txt", TABLE)], ending=".gif")
    assert areas(tinted) == {"spall": AREAS["spall"]}
    (tmp_path / "tinted" / "labelmap.txt").write_text("background\ncrack\nspall\n")
    with pytest.raises(InputError) as refused:
        load_data(tinted).sample(0)
    assert_says(refused.value, "p0.gif", "its pixels are colours")


@pytest.mark.parametrize(
    "make, ending, settings",
    [
        (lambda: Image.fromarray(LABELS > 0), ".png", {}),
        (lambda: Image.fromarray(LABELS > 0), ".bmp", {}),
        (lambda: Image.fromarray(LABELS > 0), ".tif", {}),
    ],
)
def test_a_map_of_bits_is_of_ones(make, ending, settings, tmp_path):
    assert areas(
        layout(tmp_path, "folder", [make()], [("names.csv", "index,name\n1,damage\n")], ending, **settings)
    ) == {"damage": sum(AREAS.values())}


def test_vocs_border_is_void_in_colours_too(tmp_path):
    rim = COLOURS[LABELS].copy()
    rim[:2] = 224, 224, 192
    palette = np.zeros((256, 3), np.uint8)
    palette[:3], palette[255] = COLOURS, (224, 224, 192)
    index = LABELS.copy()
    index[:2] = 255
    for name, made in (("colours", Image.fromarray(rim)), ("palette", with_palette(index, palette))):
        assert areas(layout(tmp_path / name, maps=[made], tables=[("labelmap.txt", TABLE)])) == AREAS


def test_an_index_is_taken_where_only_void_has_a_colour_of_the_table(tmp_path):
    palette = np.full((256, 3), 7, np.uint8)
    palette[255] = 224, 224, 192
    assert areas(layout(tmp_path, maps=[with_palette(LABELS, palette)], tables=[("labelmap.txt", TABLE)])) == AREAS


def smooth():
    return (
        Image.fromarray(COLOURS[LABELS])
        .resize((47, 39), Image.Resampling.BILINEAR)
        .resize((48, 40), Image.Resampling.BILINEAR)
    )


ODD = np.where(LABELS[..., None] == 2, np.uint8([9, 8, 7]), COLOURS[LABELS])
BAD = {
    "an unknown colour": (
        lambda: Image.fromarray(ODD),
        ".png",
        {},
        ["(9, 8, 7)", f"{AREAS['spall']} of its pixels", "not in the table of names"],
    ),
    "an unknown colour in the palette": (
        lambda: with_palette(LABELS, np.uint8([[0, 0, 0], [250, 50, 83], [9, 8, 7]])),
        ".png",
        {},
        ["number 2", "(9, 8, 7)"],
    ),
    "smoothed colours": (
        smooth,
        ".png",
        {},
        ["of its pixels", "more; add what is missing, or save the map without smoothing"],
    ),
    "transparent": (
        lambda: Image.fromarray(np.dstack([COLOURS[LABELS], np.full_like(LABELS, 90)])),
        ".png",
        {},
        ["transparent where it is not black"],
    ),
    "a JPEG called PNG": (
        lambda: Image.fromarray(LABELS),
        ".png",
        {"format": "JPEG"},
        ["JPEG changes the pixels", "save the map as .png where it was made"],
    ),
    "WebP with loss": (lambda: rgb(LABELS), ".webp", {"lossless": False}, ["WEBP changes the pixels"]),
    "a TIFF of JPEG": (lambda: Image.fromarray(LABELS), ".tif", {"compression": "jpeg"}, ["JPEG changes the pixels"]),
    "several pages": (
        lambda: Image.fromarray(LABELS),
        ".tif",
        {"save_all": True, "append_images": [Image.fromarray(LABELS)]},
        ["it holds 2 images"],
    ),
    "real numbers": (lambda: Image.fromarray(LABELS / np.float32(2)), ".tif", {}, ["real numbers, not whole ones"]),
    "other colours": (
        lambda: Image.fromarray(COLOURS[LABELS]).convert("CMYK"),
        ".tif",
        {},
        ["its pixels are colours (CMYK)"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_map_that_may_be_read_wrong_is_refused(case, tmp_path):
    make, ending, settings, words = BAD[case]
    data = load_data(layout(tmp_path, maps=[make()], tables=[("labelmap.txt", TABLE)], ending=ending, **settings))
    with pytest.raises(InputError) as refused:
        data.sample(0)
    assert_says(
        refused.value,
        tmp_path / "SegmentationClass" / f"p0{ending}",
        "cannot be read as a label map",
        *words,
        "Replace or remove it.",
    )


def test_colours_without_a_table_stay_refused(tmp_path):
    with pytest.raises(InputError) as refused:
        load_data(layout(tmp_path, maps=[COLOURS[LABELS]])).sample(0)
    assert_says(refused.value, "its pixels are colours (RGB), not numbers", "write each class's colour in labelmap.txt")


def test_objects_may_be_told_apart_by_colours(tmp_path):
    place = layout(tmp_path, maps=[COLOURS[LABELS]], tables=[("labelmap.txt", TABLE)])
    (tmp_path / "SegmentationObject").mkdir()
    objects = np.zeros((*LABELS.shape, 3), np.uint8)
    objects[LABELS == 2] = 5, 6, 7
    objects[:14][LABELS[:14] == 1], objects[14:][LABELS[14:] == 1] = (90, 1, 1), (1, 90, 1)
    Image.fromarray(objects).save(tmp_path / "SegmentationObject" / "p0.PNG")
    found = [(region.concept, int(region.mask.sum())) for region in load_data(place).sample(0).regions]
    assert sorted(found) == [("crack", 10 * 12), ("crack", 10 * 12), ("spall", AREAS["spall"])]


# ---- files of a pair


@pytest.mark.parametrize(
    "kind, table", [("voc", ("labelmap.txt", TABLE)), ("folder", ("names.csv", "index,name\n1,crack\n2,spall\n"))]
)
@pytest.mark.parametrize(
    "images", ["p{}.JPG", "p{}.jpeg", "p{}.Jpeg", "p{}.PNG", "p{}.tif", "p{}.TIFF", "p{}.bmp", "p{}.webp", "p{}.gif"]
)
def test_a_picture_has_any_ending(images, kind, table, tmp_path):
    data = load_data(layout(tmp_path, kind, [LABELS, LABELS], [table], images=images))
    assert len(data) == 2 and survey(data, progress=False).problems == ()


@pytest.mark.parametrize(
    "kind, table", [("voc", ("labelmap.txt", TABLE)), ("folder", ("names.csv", "index,name\n1,crack\n2,spall\n"))]
)
@pytest.mark.parametrize("masks", ["p{}_mask", "p{}-gt", "p{}.jpg", "mask_p{}", "p{} label"])
def test_maps_with_one_more_word_are_paired_and_said(masks, kind, table, tmp_path):
    place = layout(tmp_path, kind, [LABELS, LABELS], [table], masks=masks)
    data = load_data(place)
    assert [key for _, key in data.items] == ["p0", "p1"] and areas(place) == AREAS
    (note,) = notes(data)
    assert_says(note, repr(masks.format(0)), "was taken for the image 'p0', and 1 more likewise")


@pytest.mark.parametrize("kind", ["voc", "folder"])
@pytest.mark.parametrize(
    "ending, words",
    [
        (".jpg", ["(JPEG)", "save it as .png where it was made"]),
        (".JPEG", ["(JPEG)"]),
        (".npy", ["p0.npy", "save one as .png"]),
    ],
)
def test_a_map_that_loses_numbers_is_named(kind, ending, words, tmp_path):
    "All of them, or one among good ones."
    place = layout(tmp_path, kind, [LABELS, LABELS], [("names.csv", "index,name\n1,crack\n2,spall\n")])
    folder = tmp_path / {"voc": "SegmentationClass", "folder": "masks"}[kind]
    (folder / "p0.png").unlink()
    if ending == ".npy":
        np.save(folder / "p0.npy", LABELS)
    else:
        Image.fromarray(LABELS).save(folder / f"p0{ending}")
    with pytest.raises(InputError) as refused:
        load_data(place)
    assert_says(refused.value, folder / f"p0{ending}", *words)
    data = load_data(place, on_problem="skip")
    assert len(data) == 1 and sum(f"p0{ending}" in problem for problem in data.problems) == 1
    (folder / "p1.png").unlink()
    with pytest.raises(InputError) as refused:
        load_data(place, on_problem="skip")
    assert_says(refused.value, folder, "holds no label map", folder / f"p0{ending}", *words)


def test_names_that_do_not_meet_are_both_named(tmp_path):
    with pytest.raises(InputError) as refused:
        load_data(layout(tmp_path, masks="x{}", tables=[("labelmap.txt", TABLE)]), on_problem="skip")
    assert_says(refused.value, "not one annotated image is in it", "x0.png", "p0.jpg")
    with pytest.raises(InputError) as refused:
        load_data(layout(tmp_path / "none", maps=[], tables=[("labelmap.txt", TABLE)]))
    assert_says(refused.value, "holds no label map")


def test_two_maps_or_two_pictures_of_one_name_are_said(tmp_path):
    place = layout(tmp_path, tables=[("labelmap.txt", TABLE)])
    picture(9).save(tmp_path / "JPEGImages" / "p0.png")
    (note,) = notes(load_data(place))
    assert_says(note, "p0.jpg: was taken", "p0.png beside it was not")
    (tmp_path / "JPEGImages" / "p0.json").write_text("{}")  # what a labelling tool leaves there is no image
    assert notes(load_data(place)) == [note]
    Image.fromarray(LABELS).save(tmp_path / "SegmentationClass" / "p0.tif")
    with pytest.raises(InputError) as refused:
        load_data(place)
    assert_says(refused.value, "p0.png", "p0.tif", "Remove one")


# ---- where nothing is shown

ONE, BLACK, WHITE = LABELS == 1, np.zeros_like(LABELS), np.full_like(LABELS, 255)


def spread(value):
    return (ONE * np.uint8(value)).astype(np.uint8)


CRACKS = [("names.csv", "index,name\n1,crack\n")]
NOTHING = {
    "0 and 255": (
        [spread(255)] * 3,
        CRACKS,
        ["holds only 0 and 255, and 255 has no name", "name it in names.csv or write 1 (crack) in its place"],
    ),
    "0 and 255 in three channels": ([rgb(spread(255))] * 3, CRACKS, ["holds only 0 and 255"]),
    "0 and 255 turned about": ([255 - spread(255)] * 3, CRACKS, ["holds only 0 and 255"]),
    "void alone": ([WHITE] * 3, CRACKS, ["holds nothing but 255", "Leave its image out"]),
    "one of them empty": ([BLACK, spread(255), BLACK], CRACKS, ["holds only 0 and 255"]),
    "empty": ([BLACK] * 3, CRACKS, ["there are no annotations of them", "inner-detectors map"]),
    "a bit, and 255 named": (
        [spread(1)] * 3,
        [("names.csv", "index,name\n255,crack\n")],
        ["not one image could be read", "number 1, which has no name", "of 255"],
    ),
    "0 and 128": ([spread(128)] * 3, CRACKS, ["number 128, which has no name"]),
    "smoothed": (
        [Image.fromarray(spread(255)).resize((20, 18)).resize((48, 40))] * 3,
        CRACKS,
        ["a map that was resized or smoothed holds such"],
    ),
    "indices moved by one": (
        [spread(1)] * 3,
        [("names.csv", "index,name\n0,background\n2,crack\n")],
        ["number 1, which has no name", "of 0, 2"],
    ),
}


@pytest.mark.parametrize("case", NOTHING)
@pytest.mark.parametrize("kind", ["voc", "folder"])
def test_where_nothing_is_shown_the_cause_is_said_before_the_network_runs(case, kind, tmp_path, monkeypatch):
    maps, tables, words = NOTHING[case]
    data = load_data(layout(tmp_path, kind, maps, tables))

    def never(*words, **more):
        raise AssertionError("no network is needed to see this")

    monkeypatch.setattr("inner_detectors.dissection.run.sweep", never)
    for act in (lambda: dissect(TOY, data, ["cells"], MANY, progress=False), lambda: plan(TOY, data, ["cells"], MANY)):
        with pytest.raises(InputError) as refused:
            act()
        assert_says(refused.value, *words)


@pytest.mark.parametrize("kind", ["voc", "folder"])
def test_some_images_in_doubt_are_counted_and_said(kind, tmp_path):
    place = layout(tmp_path, kind, [spread(255), spread(1), BLACK, spread(255), 9 * spread(1)], CRACKS)
    with pytest.warns(UserWarning) as said:
        found = match(place)
    left, doubt = (str(one.message) for one in said if "images" in str(one.message))
    assert_says(left, "1 of 5 images could not be used", "p4.png", "number 9")
    assert_says(doubt, "2 of 5 images count as showing nothing", "p0.png", "holds only 0 and 255")
    assert found.table.attrs["images"] == 4 and found.table.concept_images.values.tolist() == [1]
    seen = survey(load_data(place), progress=False)
    assert (seen.images, seen.nothing, len(seen.problems)) == (4, 3, 3) and "3 images show nothing" in repr(seen)


def test_good_maps_with_void_and_empty_images_raise_no_doubt(tmp_path):
    bordered = np.where(LABELS == 2, 255, LABELS).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = match(layout(tmp_path, "folder", [bordered, BLACK, bordered], CRACKS))
    assert found.table.concept_images.values.tolist() == [2]


def test_what_the_crop_or_the_choice_of_concepts_leaves_out_is_said_as_such(tmp_path):
    side = np.zeros((40, 90), np.uint8)
    side[:, :9] = 1
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.zeros((40, 90, 3), np.uint8)).save(tmp_path / "images" / "p.png")
    Image.fromarray(side).save(tmp_path / "masks" / "p.png")
    (tmp_path / "names.csv").write_text("index,name\n1,crack\n2,spall\n")
    with pytest.raises(InputError) as refused:
        match(f"folder:{tmp_path}")
    assert_says(refused.value, "not one image has a mask left after the crop")
    with pytest.raises(InputError) as refused:
        match(f"folder:{tmp_path}", concepts=["spall"])
    assert_says(refused.value, "not one image shows any of its concepts", "inner-detectors map")


def test_annotations_without_a_pixel_are_a_cause(tmp_path):
    for name in ("annotations", "val"):
        (tmp_path / name).mkdir()
    entries = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": {"size": [40, 48], "counts": [1920]}}
        for i in range(3)
    ]
    for i in range(3):
        picture(i).save(tmp_path / "val" / f"p{i}.png")
    said = {
        "images": [{"id": i, "file_name": f"p{i}.png", "height": 40, "width": 48} for i in range(3)],
        "categories": [{"id": 1, "name": "crack"}],
    }
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(said | {"annotations": entries}))
    with pytest.raises(InputError) as refused:
        match(f"coco:{tmp_path}")
    assert_says(refused.value, "not one image shows any of its concepts", "The likely cause", "p0.png")


def test_white_is_a_class_where_the_table_says_so(tmp_path):
    "In a map of greys, too; where it gives no white, 255 counts as nothing."
    table = [("class_dict.csv", "name,r,g,b\nroad,255,255,255\nbackground,0,0,0\n")]
    assert areas(layout(tmp_path, "folder", [np.where(LABELS > 0, 255, 0).astype(np.uint8)], table)) == {
        "road": sum(AREAS.values())
    }


def test_read_labels_needs_no_table(tmp_path):
    rgb(LABELS).save(tmp_path / "a.png")
    assert (read_labels(tmp_path / "a.png") == LABELS).all()


@pytest.mark.parametrize("line", ["{name} - {number}", "{number} - {name}", "{number}: {name}", "{name} {number}"])
def test_names_and_numbers_with_a_dash_or_without(tmp_path, line):
    names = ["background", "hair-line crack", "spall"]
    (tmp_path / "labelmap.txt").write_text(
        "\n".join(line.format(name=name, number=place) for place, name in enumerate(names))
    )
    assert [(row.name, row.number) for row in text_rows(tmp_path / "labelmap.txt")] == [
        ("background", 0),
        ("hair-line crack", 1),
        ("spall", 2),
    ]
