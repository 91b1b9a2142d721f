"""How long `inner-detectors map` takes on a COCO folder of val2017's size: 5,000 images, 36,000 annotations, made on
the spot.

python benchmarks/map.py [--images 5000] [--annotations 36000]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 640, 480


def outline(random: np.random.Generator) -> list[float]:
    "A wobbly closed outline of 8 to 60 points somewhere in the image, as people draw them."
    points = int(random.integers(8, 61))
    angle = np.sort(random.uniform(0, 2 * np.pi, points))
    radius = random.uniform(5, 140) * random.uniform(0.7, 1, points)
    x = np.clip(random.uniform(0, WIDTH) + radius * np.cos(angle), 0, WIDTH)
    y = np.clip(random.uniform(0, HEIGHT) + radius * np.sin(angle), 0, HEIGHT)
    return np.stack([x, y], 1).round(2).ravel().tolist()


def crowd(random: np.random.Generator) -> dict:
    "A mask as a list of runs."
    cuts = np.sort(random.choice(WIDTH * HEIGHT, 400, replace=False))
    return {"size": [HEIGHT, WIDTH], "counts": np.diff(np.concatenate([[0], cuts, [WIDTH * HEIGHT]])).tolist()}


def write(folder: Path, images: int, annotations: int) -> None:
    "A COCO folder: photographs of noise (40 files, linked), 80 categories, one annotation in a hundred a crowd."
    random = np.random.default_rng(0)
    (folder / "val2017").mkdir()
    (folder / "annotations").mkdir()
    for number in range(images):
        path = folder / "val2017" / f"{number:012}.jpg"
        if number < 40:
            Image.fromarray(random.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)).resize(
                (WIDTH, HEIGHT)
            ).save(path)
        else:
            os.link(folder / "val2017" / f"{number % 40:012}.jpg", path)
    entries = [
        {
            "id": number,
            "image_id": int(random.integers(images)),
            "category_id": int(1 + random.integers(80)),
            "iscrowd": int(number % 100 == 0),
            "segmentation": crowd(random)
            if number % 100 == 0
            else [outline(random) for _ in range(1 + int(random.integers(4) == 0))],
        }
        for number in range(annotations)
    ]
    whole = {
        "images": [
            {"id": number, "file_name": f"{number:012}.jpg", "height": HEIGHT, "width": WIDTH}
            for number in range(images)
        ],
        "categories": [{"id": 1 + number, "name": f"thing {number}"} for number in range(80)],
        "annotations": entries,
    }
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(whole))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--annotations", type=int, default=36000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, chosen.images, chosen.annotations)
        size = (folder / "annotations" / "instances_val2017.json").stat().st_size / 1e6
        command = [
            Path(sys.executable).parent / "inner-detectors",
            "map",
            f"coco:{folder}",
            "--out",
            folder / "out",
            "--quiet",
        ]
        start = time.perf_counter()
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]
        print(f"{said}\njson of {size:.0f} MB; the whole command, figure included: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
