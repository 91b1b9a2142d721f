"""Several analyses of one match: one command each, one after the other, against `study`, which runs them together.

    python benchmarks/study.py [--model vgg16] [--layers conv5_3] [--images 64]

Both do the same work in the same run, in fresh processes and copies of one folder, and leave the same tables; the ratio
of their times is printed last."""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import xarray as xr

NAMES = ("chance", "sensitivity", "correlation", "top-images")


def command(*words) -> float:
    "Seconds that a command takes in a process of its own."
    start = time.perf_counter()
    code = "from inner_detectors.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", code, *map(str, words), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--model", default="vgg16")
    asked.add_argument("--layers", nargs="+", default=["conv5_3"])
    asked.add_argument("--images", type=int, default=64)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as place:
        apart, together = Path(place) / "apart", Path(place) / "together"
        command("match", given.model, "--data", f"scenes:{given.images}", "--layers", *given.layers, "--out", apart)
        shutil.copytree(apart, together)
        alone = {name: command(name, apart) for name in NAMES}
        both = command("study", together, "--with", *NAMES)
        for path in sorted(apart.glob("*.nc")):
            one, other = xr.load_dataset(path), xr.load_dataset(together / path.name)
            assert one.equals(other), path.name
    for name, seconds in alone.items():
        print(f"{name:12} {seconds:6.1f} s")
    print(f"{'one by one':12} {sum(alone.values()):6.1f} s")
    print(f"{'study':12} {both:6.1f} s, {both / sum(alone.values()):.2f} of that; equal tables")


if __name__ == "__main__":
    main()
