"""A slow, obvious dissection, written from the definitions alone: nothing of the package is used but a network's
activations.

Every fast path is held against this one. It keeps all activations of the units asked for, sorts them, and counts
pixels one mask at a time.
"""

from contextlib import redirect_stdout
from fractions import Fraction

import numpy as np


def weights(cells: int, centre: float, jump: float, size: int, side: int) -> np.ndarray:
    "R [side, cells]: a row holds the two weights of one sample point."
    matrix = np.zeros((side, cells), np.float32)
    for sample in range(side):
        place = min(max(((sample + 0.5) * size / side - 0.5 - centre) / jump, 0), cells - 1)
        low = min(int(np.floor(place)), max(cells - 2, 0))
        share = np.float32(place - low)
        matrix[sample, low] += np.float32(1) - share
        if cells > 1:
            matrix[sample, low + 1] += share
    return matrix


def interpolate(maps: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """U = R_y A R_x^T for maps [height, width, unit], float32: every product and every sum rounded once, zeros left
    out, no sum above all its cells."""

    def along(matrix, values):
        found = []
        for row in matrix:
            (first, *rest) = np.flatnonzero(row)
            total = values[first] * row[first]
            for cell in rest:
                total = total + values[cell] * row[cell]
            found.append(np.minimum(total, values[[first, *rest]].max(0)))
        return np.stack(found)

    tall = along(rows, maps)
    return along(columns, tall.swapaxes(0, 1)).swapaxes(0, 1)


def thresholds(maps: list[np.ndarray], quantile: float) -> np.ndarray:
    "T_u over all positions of all images, float32. `maps` [height, width, unit] of each image."
    values = np.concatenate([one.reshape(-1, one.shape[-1]) for one in maps]).astype(np.float64)
    return np.quantile(values, 1 - quantile, axis=0).astype(np.float32)


def count(
    maps: list[np.ndarray],
    masks: list[dict[int, np.ndarray]],
    limits: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    concepts: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    "|B & M| [unit, concept], |B| [unit], |M| [concept], summed over the images."
    units = len(limits)
    both, on_area, mask_area = (
        np.zeros((units, concepts), np.int64),
        np.zeros(units, np.int64),
        np.zeros(concepts, np.int64),
    )
    for one, shown in zip(maps, masks):
        on = interpolate(one, rows, columns) > limits
        on_area += on.sum((0, 1))
        for concept, mask in shown.items():
            both[:, concept] += (on & mask[..., None]).sum((0, 1))
            mask_area[concept] += mask.sum()
    return both, on_area, mask_area


def fit_image(image: np.ndarray, size: int) -> np.ndarray:
    "Centre-cropped to the short side and resized by Pillow's BILINEAR."
    from PIL import Image

    picture = Image.fromarray(image)
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return np.array(picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR))


def fit_mask(mask: np.ndarray, size: int) -> np.ndarray:
    "Cropped likewise and resized by Pillow's NEAREST."
    from PIL import Image

    picture = Image.fromarray(mask.astype(np.uint8))
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return (
        np.array(picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.NEAREST)) > 0
    )


# ---- one threshold an image, means of images, several sources


def medians(maps: np.ndarray, percent: float = 50) -> np.ndarray:
    "NumPy's percentile of each unit's map [height, width, unit] in one image, float32."
    return np.array([np.percentile(maps[..., unit].ravel(), percent) for unit in range(maps.shape[-1])], np.float32)


def means(
    maps: list[np.ndarray],
    masks: list[dict[int, np.ndarray]],
    limits: list[np.ndarray],
    rows: np.ndarray,
    columns: np.ndarray,
    concepts: int,
    dice: bool = False,
) -> np.ndarray:
    """The mean of |B & M| / |B or M|, or of Dice's 2 |B & M| / (|B| + |M|), over the images that show a concept, each
    rounded to a multiple of 2^-32 [unit, concept]; 0 where none does."""
    total = [[Fraction(0)] * concepts for _ in limits[0]]
    for one, shown, limit in zip(maps, masks, limits):
        on = np.ascontiguousarray(np.moveaxis(interpolate(one, rows, columns) > limit, -1, 0))
        for concept, mask in shown.items():
            for unit in range(len(limit)):
                both, either = int((on[unit] & mask).sum()), int((on[unit] | mask).sum())
                ratio = Fraction(2 * both, int(on[unit].sum()) + int(mask.sum())) if dice else Fraction(both, either)
                total[unit][concept] += Fraction(round(ratio * 2**32), 2**32)
    images = [sum(concept in shown for shown in masks) for concept in range(concepts)]
    return np.array([[float(one / max(number, 1)) for one, number in zip(row, images)] for row in total])


def fit_masks(regions: list[tuple[str, np.ndarray]], size: int, keep: Fraction | int = 0) -> dict[str, np.ndarray]:
    """Name -> all its regions, or-ed, at `size` x `size`, where there is a pixel; without those that the crop leaves
    less than a share `keep` of."""
    whole: dict[str, np.ndarray] = {}
    for name, mask in regions:
        height, width = mask.shape
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        if int(mask[top : top + side, left : left + side].sum()) >= keep * int(mask.sum()):
            whole[name] = whole.get(name, False) | mask
    fitted = {name: fit_mask(mask, size) for name, mask in whole.items()}
    return {name: mask for name, mask in fitted.items() if mask.any()}


# ---- data sets, read with what their authors name


def read_coco(annotations, images) -> list[tuple[str, np.ndarray, list[tuple[str, np.ndarray]]]]:
    "(name, image, [(concept, mask)]) by file name, with pycocotools and Pillow alone."
    from PIL import Image
    from pycocotools.coco import COCO

    with redirect_stdout(None):
        coco = COCO(annotations)
    found = []
    for number in sorted(coco.imgs, key=lambda number: coco.imgs[number]["file_name"]):
        name = coco.imgs[number]["file_name"]
        regions = [
            (coco.cats[entry["category_id"]]["name"], coco.annToMask(entry).astype(bool))
            for entry in coco.loadAnns(coco.getAnnIds(number))
        ]
        found.append((name, np.asarray(Image.open(images / name).convert("RGB")), regions))
    return found


# PASCAL-Part's codes by what they are called once left and right, front and back are one. Those that occur in the 22
# samples.
PARTS = {
    word: codes.split()
    for word, codes in {
        "body": "body",
        "engine": "engine",
        "wing": "lwing rwing",
        "stern": "stern",
        "tail": "tail",
        "wheel": "wheel",
        "beak": "beak",
        "head": "head",
        "foot": "lfoot rfoot",
        "leg": "lleg rleg lfleg rfleg lbleg rbleg",
        "neck": "neck",
        "eye": "leye reye",
        "torso": "torso",
        "cap": "cap",
        "license plate": "fliplate bliplate",
        "side": "frontside backside leftside rightside",
        "headlight": "headlight",
        "mirror": "leftmirror rightmirror",
        "window": "window",
        "door": "door",
        "ear": "lear rear",
        "paw": "lfpa rfpa lbpa rbpa",
        "nose": "nose",
        "muzzle": "muzzle",
        "lower leg": "lflleg rflleg lblleg rblleg llleg rlleg",
        "upper leg": "lfuleg rfuleg lbuleg rbuleg luleg ruleg",
        "hoof": "lfho rfho lbho rbho",
        "hair": "hair",
        "eyebrow": "lebrow rebrow",
        "mouth": "mouth",
        "hand": "lhand rhand",
        "lower arm": "llarm rlarm",
        "upper arm": "luarm ruarm",
        "screen": "screen",
    }.items()
}
OBJECTS = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "table": "dining table",
    "tvmonitor": "tv",
}


def read_pascal_part(annotations, images) -> list[tuple[str, np.ndarray, list[tuple[str, np.ndarray]]]]:
    "(name, image, [(concept, mask)]) by name, objects and merged parts, with SciPy and Pillow alone."
    from PIL import Image
    from scipy.io import loadmat

    called, found = {code: word for word, codes in PARTS.items() for code in codes}, []
    for path in sorted(annotations.glob("*.mat")):
        regions = []
        for thing in np.atleast_1d(loadmat(path, squeeze_me=True, struct_as_record=False)["anno"].objects):
            kind = getattr(thing, "class")
            kind = OBJECTS.get(kind, kind)
            regions.append((kind, thing.mask == 1))
            for part in np.atleast_1d(thing.parts) if np.size(thing.parts) else []:
                regions.append((f"{kind}/{called[part.part_name.split('_')[0]]}", part.mask == 1))
        found.append((path.stem, np.asarray(Image.open(images / f"{path.stem}.jpg").convert("RGB")), regions))
    return found
