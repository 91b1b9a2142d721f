"""Counting alone: one batch of VGG16-sized activations against its masks, ours and the other ways people do it.

    python benchmarks/scoring.py

All do the same work on the same arrays: lay 5,120 units' maps over 112 x 112 points, compare with thresholds, count
against every
mask. PyTorch is timed where it is installed. Prints seconds an image, and the ratio to ours; every way must give the
same counts,
up to the last bit of an interpolated value.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from inner_detectors.networks.geometry import Geometry
from inner_detectors.passes.interpolation import enlarge_slowly, sampling_grid
from inner_detectors.dissection.counts import count_batch

SIDE, SIZE, BATCH, SHOWN = 112, 224, 8, 8
LAYERS = {
    "conv3": (56, 768, 1.5, 4),
    "conv4": (28, 1536, 3.5, 8),
    "conv5": (14, 1536, 7.5, 16),  # sorted, as jit sorts the keys of a dictionary
    "pool3": (28, 256, 3.5, 8),
    "pool4": (14, 512, 7.5, 16),
    "pool5": (7, 512, 15.5, 32),
}
HIGHEST = jax.lax.Precision.HIGHEST


def matrix(row):
    "A grid's axis as a matrix [side, cells]."
    made = np.zeros((SIDE, int(row.high.max()) + 1), np.float32)
    np.add.at(made, (np.arange(SIDE), row.low), 1 - row.share)
    np.add.at(made, (np.arange(SIDE), row.high), row.share)
    return made


def einsum_batch(matrices):
    "All maps of the batch at S x S in one einsum, as one would first write it."

    @jax.jit
    def count(activations, thresholds, masks):
        every = jnp.concatenate([masks, jnp.ones_like(masks[:, :1])], 1).astype(jnp.float32)
        found = []
        for name, maps in activations.items():
            laid = jnp.einsum("yh,bhwu,xw->byxu", matrices[name], maps, matrices[name], precision=HIGHEST)
            found.append(
                jnp.einsum("bkyx,byxu->bku", every, (laid > thresholds[name]).astype(jnp.float32), precision=HIGHEST)
            )
        return jnp.concatenate(found, 2).astype(jnp.int32)

    return count


def einsum_scan(matrices):
    "One image at a time, each with one einsum."

    @jax.jit
    def count(activations, thresholds, masks):
        def one(picture):
            maps, shown = picture
            every = jnp.concatenate([shown, jnp.ones_like(shown[:1])]).astype(jnp.float32).reshape(len(shown) + 1, -1)
            found = []
            for name in maps:
                laid = jnp.einsum("yh,hwu,xw->yxu", matrices[name], maps[name], matrices[name], precision=HIGHEST)
                on = (laid > thresholds[name]).astype(jnp.float32).reshape(SIDE * SIDE, -1)
                found.append(jnp.dot(every, on, precision=HIGHEST))
            return jnp.concatenate(found, 1).astype(jnp.int32)

        return jax.lax.map(one, (activations, masks))

    return count


def numpy_loop(grids):
    "NumPy, one image and layer at a time."

    def count(activations, thresholds, masks):
        found = []
        for place, shown in enumerate(masks):
            every = np.concatenate([shown, np.ones_like(shown[:1])]).astype(np.float32).reshape(len(shown) + 1, -1)
            found.append(
                np.concatenate(
                    [
                        every
                        @ (enlarge_slowly(maps[place], *grids[name]) > thresholds[name])
                        .astype(np.float32)
                        .reshape(SIDE * SIDE, -1)
                        for name, maps in activations.items()
                    ],
                    1,
                )
            )
        return np.stack(found).astype(np.int32)

    return count


def torch_loop(matrices):
    "PyTorch, one image and layer at a time: interpolation as two matrix products."
    import torch

    def count(activations, thresholds, masks):
        found = []
        for place, shown in enumerate(masks):
            every = torch.from_numpy(
                np.concatenate([shown, np.ones_like(shown[:1])]).astype(np.float32).reshape(len(shown) + 1, -1)
            )
            row = []
            for name, maps in activations.items():
                weights = torch.from_numpy(matrices[name])
                laid = torch.einsum("yh,hwu,xw->yxu", weights, torch.from_numpy(maps[place]), weights)
                row.append(every @ (laid > torch.from_numpy(thresholds[name])).float().reshape(SIDE * SIDE, -1))
            found.append(torch.cat(row, 1))
        return torch.stack(found).numpy().astype(np.int32)

    return count


def timed(count, *arguments, repeats=3):
    "(seconds an image, counts), the best of a few after a first call."
    found = np.asarray(count(*arguments))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.asarray(count(*arguments))
        seconds.append(time.perf_counter() - start)
    return min(seconds) / BATCH, found


def main():
    random = np.random.default_rng(0)
    grids = {
        name: sampling_grid(Geometry((centre, centre), (jump, jump), (1, 1)), (cells, cells), SIZE, SIDE)
        for name, (cells, _, centre, jump) in LAYERS.items()
    }
    matrices = {name: matrix(rows) for name, (rows, _) in grids.items()}
    activations = {
        name: np.maximum(random.normal(size=(BATCH, cells, cells, units)), 0).astype(np.float32)
        for name, (cells, units, _, _) in LAYERS.items()
    }
    thresholds = {name: np.full(units, 1.2, np.float32) for name, (_, units, _, _) in LAYERS.items()}
    masks = random.random((BATCH, SHOWN, SIDE, SIDE)) < 0.2
    ours = lambda activations, thresholds, masks: count_batch(
        activations, thresholds, grids, masks, np.float32(-np.inf)
    )
    ways = {
        "inner-detectors": ours,
        "einsum over the batch (JAX)": einsum_batch(matrices),
        "einsum in a scan (JAX)": einsum_scan(matrices),
        "NumPy": numpy_loop(grids),
    }
    try:
        ways["PyTorch"] = torch_loop(matrices)
    except ModuleNotFoundError:
        print("PyTorch is not installed: not timed")
    results = {}
    for name, way in ways.items():
        results[name] = timed(way, activations, thresholds, masks, repeats=1 if name == "NumPy" else 3)
    first, truth = results["inner-detectors"]
    for name, (seconds, found) in results.items():
        apart = int(np.abs(found.astype(np.int64) - truth).sum())
        print(
            f"{name:30}{seconds:9.4f} s an image{seconds / first:8.1f} x    {apart} pixels of {int(truth.sum()):,} "
            "apart"
        )


if __name__ == "__main__":
    main()
