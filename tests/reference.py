"""A slow, obvious dissection, written from the definitions alone: nothing of the package is used but a network's activations.

Every fast path is held against this one. It keeps all activations of the units asked for, sorts them, and counts pixels one mask at a time.
"""
import numpy as np


def weights(cells: int, centre: float, jump: float, size: int, side: int) -> np.ndarray:
    "R [side, cells]: a row holds the two weights of one sample point."
    matrix = np.zeros((side, cells), np.float32)
    for sample in range(side):
        place = min(max(((sample + 0.5) * size / side - 0.5 - centre) / jump, 0), cells - 1)
        low = min(int(np.floor(place)), max(cells - 2, 0))
        share = np.float32(place - low)
        matrix[sample, low] += np.float32(1) - share
        if cells > 1: matrix[sample, low + 1] += share
    return matrix


def interpolate(maps: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    "U = R_y A R_x^T for maps [height, width, unit], float32: every product and every sum rounded once, zeros left out."
    def along(matrix, values):
        found = []
        for row in matrix:
            (first, *rest) = np.flatnonzero(row)
            total = values[first] * row[first]
            for cell in rest: total = total + values[cell] * row[cell]
            found.append(total)
        return np.stack(found)
    tall = along(rows, maps)
    return along(columns, tall.swapaxes(0, 1)).swapaxes(0, 1)


def thresholds(maps: list[np.ndarray], quantile: float) -> np.ndarray:
    "T_u over all positions of all images, float32. `maps` [height, width, unit] of each image."
    values = np.concatenate([one.reshape(-1, one.shape[-1]) for one in maps]).astype(np.float64)
    return np.quantile(values, 1 - quantile, axis=0).astype(np.float32)


def count(maps: list[np.ndarray], masks: list[dict[int, np.ndarray]], limits: np.ndarray,
          rows: np.ndarray, columns: np.ndarray, concepts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    "|B & M| [unit, concept], |B| [unit], |M| [concept], summed over the images."
    units = len(limits)
    both, on_area, mask_area = np.zeros((units, concepts), np.int64), np.zeros(units, np.int64), np.zeros(concepts, np.int64)
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
    return np.array(picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.NEAREST)) > 0
