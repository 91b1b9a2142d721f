"""Killed at any moment, or out of room: the same command goes on, and ends with the counts of a run that was left
alone.

`RUN` is the real command on the real VGG16. What must happen at one exact moment happens to `TOY`: the same code, a
network of one small layer.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from inner_detectors.dissection.result import Dissection

COMMAND = Path(sys.executable).parent / "inner-detectors"
RUN = "match vgg16 --data scenes:12 --layers pool2 --batch 1 --checkpoint 0".split()
SMALL = "match toy --data scenes:8 --batch 2 --checkpoint 0".split()
ENDS = [signal.SIGKILL, signal.SIGINT, signal.SIGTERM]
SWEEPS = ["thresholds", "scores"]
GOES_ON = "What writes into a folder goes on where it stopped when it is started again."
TABLES = {"units.csv", "concepts.csv", "summary.csv", "units.txt", "concepts.txt"}
FILES = {"dissection.nc", *TABLES}
FIGURES = {"layers.png", "layers.pdf", "sizes.png", "sizes.pdf"}

TOY = '''
import json, os, resource, signal, subprocess, sys, warnings
import h5netcdf, inner_detectors.dissection.plan, jax.numpy as jnp, matplotlib.figure, matplotlib.backends.backend_agg, matplotlib.backends.backend_pdf
from inner_detectors.cli.main import run
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.networks.registry import MODELS, Family
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.views import figures as views

def forward(parameters, images):
    cells = images.reshape(-1, 8, 28, 8, 28, 3).mean((2, 4))
    return {"cells": jnp.concatenate([cells, 1 - cells], -1)}

tiles = {"cells": half_pixel(224, (8, 8))}
MODELS["toy"] = Family("one small layer", lambda weights=None: Model("toy", forward, geometry=tiles))
warnings.filterwarnings("ignore", "os.fork")          # nothing runs yet
replace, replaced = os.replace, 0

sample, read = Scenes.sample, 0

def room(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def stage(words, limit=-1, full_after=0, before=None, die=None, interrupt=(0, 0), figures=False):
    """One run: files of at most `limit` bytes once `full_after` files are in place; killed before or after so many are;
    `interrupt`: a signal as image number so and so is read; figures, which are slow, if asked."""
    def counted(part, path):
        global replaced
        replaced += 1
        if die == ["before", replaced]: os.kill(os.getpid(), signal.SIGKILL)
        replace(part, path)
        if die == ["after", replaced]: os.kill(os.getpid(), signal.SIGKILL)
        if replaced == full_after: room(limit)
    def signalled(self, key):
        global read
        read += 1
        if read == interrupt[1]: os.kill(os.getpid(), interrupt[0])
        return sample(self, key)
    os.replace, Scenes.sample = counted, signalled
    if not figures: views.write_figures = lambda *_: None
    if before: subprocess.run(before, check=True)
    if not full_after: room(limit)
    code = run(words)
    sys.stdout.flush()
    return code

for line in sys.stdin:                                # a process of its own for each run, but imports only once
    ours, its = os.pipe()                             # a file would be subject to the limit itself
    child = os.fork()
    if child == 0:
        for old in (1, 2): os.dup2(its, old)
        os.close(its)
        sys.exit(stage(**json.loads(line)))
    os.close(its)
    with os.fdopen(ours) as said: text = said.read()
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text]), flush=True)
'''


@pytest.fixture(scope="module")
def quick(root):
    "The environment of all runs: the same weights."
    return {**os.environ, "INNER_DETECTORS_HOME": os.environ.get("INNER_DETECTORS_HOME") or str(root / "pre-models")}


@pytest.fixture(scope="module")
def toy(tmp_path_factory, quick):
    "Runs the toy in a process of its own; gives its exit code and all it said but tables."

    def play(words, **settings):
        print(json.dumps(dict(words=[*words, "--json"], **settings)), file=process.stdin, flush=True)
        code, text = json.loads(process.stdout.readline())
        assert "Traceback" not in text, text
        return code, "".join(line for line in text.splitlines(True) if not line.startswith("{"))

    with subprocess.Popen(
        [sys.executable, "-c", TOY], env=quick, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield play
        process.stdin.close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory, toy):
    "A toy run that nothing happens to."
    out = tmp_path_factory.mktemp("alone")
    assert toy([*SMALL, "--out", str(out)])[0] == 0
    return out


def assert_same(one, two):
    "Every variable, and the checksum over all of them."
    one, two = (Dissection.load(folder).table for folder in (one, two))
    assert set(one.variables) == set(two.variables) and int(one.intersection.sum()) > 0
    for name in one.variables:
        assert np.array_equal(one[name].values, two[name].values), name
    assert one.attrs["checksum"] == two.attrs["checksum"]
    assert one.attrs["images"] == two.attrs["images"]


def reached(out):
    "(which sweep, images done) by the checkpoints that lie in `out`."
    for number, name in ((1, "score"), (0, "threshold")):
        try:
            with np.load(out / f"{name}.checkpoint.npz") as read:
                return number, json.loads(str(read["about"]))["parts"][0]["place"]
        except FileNotFoundError:
            continue
    return 0, 0


# ---- the real command


def started(out, quick):
    return subprocess.Popen(
        [COMMAND, *RUN, "--out", out], env=quick, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended_at(moment, delay, sign, out, quick):
    """Runs the command until its checkpoints pass `moment` and `delay` seconds more, ends it by a signal, and gives its
    code and stderr."""
    process, before = started(out, quick), reached(out)
    while process.poll() is None and not moment <= reached(out) > before:
        time.sleep(0.02)
    time.sleep(delay)
    assert process.poll() is None, process.communicate()
    process.send_signal(sign)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_killed_three_times(tmp_path, quick, vgg16_weights):
    whole = started(tmp_path / "whole", quick)  # beside the others
    draw = random.Random(3)
    ends = len(ENDS)
    steps = [
        draw.randrange(22 * i // ends + 1, 22 * (i + 1) // ends + 1) for i in range(ends)
    ]  # of 24: one a batch, over both sweeps
    out, before = tmp_path / "killed", (0, 0)
    for step, sign in zip(steps, ENDS):
        moment = (step // 12, step % 12)
        code, said = ended_at(moment, draw.uniform(0, 0.3), sign, out, quick)
        assert not (out / "dissection.nc").exists()
        assert "Traceback" not in said
        assert f"{SWEEPS[before[0]]}: going on at image {before[1]}," in said or before == (0, 0)
        if sign == signal.SIGINT:
            assert (code, said.strip().splitlines()[-1]) == (130, f"inner-detectors: interrupted. {GOES_ON}")
        else:
            assert code == -sign
        before = reached(out)
        assert before >= moment
    last = started(out, quick)
    said = last.communicate(timeout=120)[1]
    assert last.returncode == 0, said
    assert {path.name for path in out.iterdir()} == FILES | FIGURES
    assert f"{SWEEPS[before[0]]}: going on at image {before[1]}," in said
    assert whole.wait(120) == 0, whole.communicate()[1]
    assert_same(tmp_path / "whole", out)


# ---- killed at one exact moment


@pytest.mark.parametrize(
    "die",
    [("before", 1), ("after", 4), ("before", 7), ("before", 11), ("after", 11), ("before", 14)],
    ids=lambda die: f"{die[0]}-{die[1]}",
)
def test_killed_while_it_saves(die, tmp_path, toy, alone):
    """8 images in batches of 2: files 1 to 5 are the threshold's state, 6 to 10 the score's, 11 is dissection.nc, then
    come tables."""
    words = [*SMALL, "--out", str(tmp_path)]
    assert toy(words, die=die)[0] == -signal.SIGKILL
    place = reached(tmp_path)
    code, said = toy(words)
    assert code == 0, said
    assert ("going on" in said) == (place > (0, 0) and die[1] <= 11 and die != ("after", 11))
    assert_same(alone, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_long_before_the_next_checkpoint(sign, tmp_path, toy, alone):
    "A first Ctrl-C or kill lets the batch end and saves."
    words = [*SMALL, "--passes", "two", "--checkpoint", "1000", "--out", str(tmp_path)]
    code, said = toy(words, interrupt=(sign, 8 + 2))  # the second sweep has begun
    assert code == (130 if sign == signal.SIGINT else -sign)
    assert (GOES_ON in said) == (sign == signal.SIGINT)
    number, place = reached(tmp_path)
    assert number == 1 and 0 < place < 8
    code, said = toy(words)
    assert code == 0 and f"scores: going on at image {place}," in said
    assert_same(alone, tmp_path)


# ---- whose checkpoint is it?


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, toy):
    "What a run leaves that was killed in its second sweep."
    out = tmp_path_factory.mktemp("stopped")
    assert toy([*SMALL, "--out", str(out)], die=("after", 8))[0] == -signal.SIGKILL
    assert (1, 0) < reached(out) < (1, 8)
    return out


@pytest.mark.parametrize("other", [["--quantile", "0.02"], ["--seed", "1"]], ids=" ".join)
def test_another_runs_checkpoint_is_not_taken_up(other, stopped, tmp_path, toy):
    here, fresh = tmp_path / "here", tmp_path / "fresh"
    shutil.copytree(stopped, here)
    for folder in (here, fresh):
        code, said = toy([*SMALL, *other, "--out", str(folder)])
        assert code == 0 and "going on" not in said
    assert_same(here, fresh)
    assert {path.name for path in here.iterdir()} == FILES


def test_a_damaged_checkpoint_is_named(stopped, tmp_path, toy, alone):
    out = tmp_path / "out"
    shutil.copytree(stopped, out)
    path = out / "score.checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-100])
    words = [*SMALL, "--out", str(out)]
    code, said = toy(words)
    assert code == 1 and str(path) in said and "Delete it" in said
    path.unlink()
    assert toy(words)[0] == 0
    assert_same(alone, out)


# ---- no room

ROOM = {
    "first checkpoint": (dict(limit=3000), "threshold.checkpoint.npz", (0, 0)),
    "later checkpoint": (dict(limit=3000, full_after=7), "score.checkpoint.npz", (1, 4)),
    "dissection": (dict(limit=12_000), "dissection.nc", (1, 8)),
    "table": (dict(limit=200, full_after=11), "units.csv", (0, 0)),
    "figure": (dict(limit=6_000, full_after=11, figures=True), "layers.png", (0, 0)),
}


def assert_refused_once(code, said, name):
    "Exit code 1, and one line that names the file, what is wrong, and what to do."
    lines = [line for line in said.splitlines() if not line.startswith(("thresholds: ", "scores: ", "weights: "))]
    assert (code, len(lines)) == (1, 1), said
    assert name in lines[0] and "cannot be written" in lines[0] and "Make room" in lines[0]


@pytest.mark.parametrize("when", ROOM)
def test_no_room(when, tmp_path, toy, alone):
    "A limit on the size of files stands for the full disk. No half file is left, and what was there before is good."
    settings, name, place = ROOM[when]
    words = [*SMALL, "--out", str(tmp_path)]
    assert_refused_once(*toy(words, **settings), f"{tmp_path}/{name}")
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= FILES | FIGURES | {"threshold.checkpoint.npz", "score.checkpoint.npz"}
    assert name not in left or when == "later checkpoint"
    assert reached(tmp_path) == place
    if when in ("table", "figure"):
        assert_same(alone, tmp_path)
    code, said = toy(words, figures=when == "figure")
    assert code == 0, said
    assert (f"going on at image {place[1]}," in said) == (place > (0, 0))
    assert_same(alone, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES | (FIGURES if when == "figure" else set())
    for table in TABLES:
        assert (tmp_path / table).read_bytes() == (alone / table).read_bytes()


def test_a_full_file_system(tmp_path, toy, alone):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        words = [*SMALL, "--out", str(disk / "out")]
        code, said = toy(words)
        assert_refused_once(code, said, f"{disk}/out/dissection.nc")
        assert "No space left on device" in said
        code, said = toy(words, before=["mount", "-o", "remount,size=4m", str(disk)])
        assert code == 0 and "going on at image 8," in said
        assert_same(alone, disk / "out")
    finally:
        subprocess.run(["umount", disk], check=True)
