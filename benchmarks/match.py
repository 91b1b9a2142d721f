"""What a whole `inner-detectors match` costs, against the forward passes that it cannot do without.

    python benchmarks/match.py --data coco:FOLDER:val2017 --images 128 --memory 64 255

Prints seconds for one bare forward pass over the images (compiled, decoded before), for the whole command as a fresh
process
(imports, compilation, decoding, thresholds, scores, tables, figures), their ratio, and the command's peak memory for
two sizes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LAYERS = "conv3_1 conv3_2 conv3_3 pool3 conv4_1 conv4_2 conv4_3 pool4 conv5_1 conv5_2 conv5_3 pool5".split()


def bare_pass(data: str, images: int, batch: int) -> float:
    "Seconds of one forward pass over the images; decoding and compilation are done before."
    from inner_detectors.networks.registry import load_model
    from inner_detectors.passes.probe import probe
    from inner_detectors.data.readers.registry import load_data
    from inner_detectors.passes.batches import View, batches

    model, source = load_model("vgg16"), load_data(data, limit=images)
    ready = [
        batch_.images for _, batch_, _ in batches(source, View(model.size, 112, batch=batch)) if batch_ is not None
    ]
    look = probe(model, LAYERS)
    for value in look(ready[0]).values():
        value.block_until_ready()
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        for pictures in ready:
            for value in look(pictures).values():
                value.block_until_ready()
        best = min(best, time.perf_counter() - start)
    return best


def whole_match(data: str, images: int, batch: int) -> tuple[float, float]:
    "(seconds, peak memory in GB) of the whole command in a process of its own."
    with tempfile.TemporaryDirectory() as out:
        command = [
            str(Path(sys.executable).with_name("inner-detectors")),
            "match",
            "vgg16",
            "--data",
            data,
            "--layers",
            *LAYERS,
            "--limit",
            str(images),
            "--batch",
            str(batch),
            "--out",
            out,
            "--quiet",
        ]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds, usage.ru_maxrss / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default="scenes:255", help="what `inner-detectors match --data` takes (default: scenes:255)"
    )
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument(
        "--memory", type=int, nargs=2, default=(64, 255), help="compare peak memory for these numbers of images"
    )
    parser.add_argument("--batch", type=int, default=8)
    words = parser.parse_args()
    seconds, memory = whole_match(words.data, words.images, words.batch)
    passing = bare_pass(words.data, words.images, words.batch)
    print(f"{'one bare forward pass':34}{passing:8.1f} s{passing / words.images:8.3f} s an image")
    print(f"{'the whole match':34}{seconds:8.1f} s{seconds / words.images:8.3f} s an image")
    print(f"{'match / two bare passes':34}{seconds / 2 / passing:8.2f}")
    print(f"{f'peak memory, {words.images} images':34}{memory:8.2f} GB")
    few, many = (whole_match(words.data, number, words.batch)[1] for number in words.memory)
    print(f"{f'peak memory, {words.memory[0]} images':34}{few:8.2f} GB")
    print(f"{f'peak memory, {words.memory[1]} images':34}{many:8.2f} GB{many / few:8.3f} times that")


if __name__ == "__main__":
    main()
