#!/usr/bin/env bash
# safetensors 0.8.0, the NumPy side: save_file of a transposed or strided array writes other numbers, without a word.
# Seen: the transpose of [[0 1 2] [3 4 5]] comes back as [[0 1] [2 3] [4 5]], not [[0 3] [1 4] [2 5]], and arange(8)[::2] as [0 1 2 3].
# A good guess is that a library that says it stores tensors copies what is not contiguous, as np.save does, or refuses it, as
# safetensors.torch does: the NumPy side writes the memory as it lies under the shape that the array says. Kernels that are turned from
# one framework's order to another's (x.T, moveaxis) are just such arrays; shapes and types agree, so only the answers are wrong.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 safetensors==0.8.0
venv/bin/python - <<'PY'
import numpy as np
from safetensors.numpy import load_file, save_file
x = np.arange(6, dtype=np.float32).reshape(2, 3)
save_file({"turned": x.T, "strided": np.arange(8)[::2], "copied": np.ascontiguousarray(x.T)}, "x.safetensors")
back = load_file("x.safetensors")
for name, values in back.items(): print(name, values.tolist())
assert (back["copied"] == x.T).all()
assert back["turned"].shape == (3, 2) and (back["turned"] == x.reshape(3, 2)).all()
assert back["strided"].tolist() == [0, 1, 2, 3]
PY
