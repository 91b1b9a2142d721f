#!/usr/bin/env bash
# safetensors 0.8.0, the NumPy side: save_file of a transposed or strided array writes other numbers, without a word; 0.7.0 writes the right ones.
# Seen in 0.8.0: the transpose of [[0 1 2] [3 4 5]] comes back as [[0 1] [2 3] [4 5]], not [[0 3] [1 4] [2 5]], and arange(8)[::2] as [0 1 2 3].
# A good guess is that a library that says it stores tensors copies what is not contiguous, as np.save and 0.7.0 do, or refuses it, as
# safetensors.torch does: 0.8.0 writes the memory as it lies under the shape that the array says. Its documentation asks for tensors that are
# "contiguous and dense", and nothing looks. Kernels that are turned from one framework's order to another's (x.T, moveaxis) are just such
# arrays; shapes and types agree, so only the answers are wrong. Known since August 2026 (safetensors, issue 825).
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
cat > look.py <<'PY'
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file
x = np.arange(6, dtype=np.float32).reshape(2, 3)
save_file({"turned": x.T, "strided": np.arange(8)[::2], "copied": np.ascontiguousarray(x.T)}, "x.safetensors")
back = load_file("x.safetensors")
print(safetensors.__version__, {name: back[name].tolist() for name in sorted(back)})
turned, strided = {"0.7.0": (x.T, [0, 2, 4, 6]), "0.8.0": (x.reshape(3, 2), [0, 1, 2, 3])}[safetensors.__version__]
assert (back["copied"] == x.T).all()
assert back["turned"].shape == (3, 2) and (back["turned"] == turned).all()
assert back["strided"].tolist() == strided
PY
python3 -m venv venv
for release in 0.7.0 0.8.0; do
    venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 "safetensors==$release"
    venv/bin/python look.py
done
