#!/usr/bin/env bash
# Pillow 13.0.0, OpenCV 5.0.0 (headless) and jax 0.10.2: "nearest" takes other pixels, so that a label map is shifted by up to half a coarse cell.
# Seen, a row of 6 brought to 3: Pillow and JAX take 1 3 5, OpenCV's INTER_NEAREST takes 0 2 4; to 4: 0 2 3 5 against 0 1 3 4; to 2: 1 4
# against 0 3. A good guess is that nearest is exact, so all agree: Pillow and JAX ask at pixels' centres, OpenCV at their left upper corners (its
# INTER_NEAREST_EXACT is Pillow's; PyTorch's "nearest" and "nearest-exact" divide alike). Where one makes the masks and the other the maps,
# they are apart always in the same direction, which lowers the IoU of small parts most.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 pillow==13.0.0 opencv-python-headless==5.0.0.93 jax==0.10.2
venv/bin/python - <<'PY'
import cv2
import jax
import numpy as np
from PIL import Image
row = np.arange(6, dtype=np.uint8)[None]
for size in (3, 4, 2):
    pillow = np.array(Image.fromarray(row).resize((size, 1), Image.Resampling.NEAREST))[0].tolist()
    corner, exact = (cv2.resize(row, (size, 1), interpolation=way)[0].tolist() for way in (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT))
    by_jax = jax.image.resize(row.astype(np.float32), (1, size), "nearest")[0].astype(int).tolist()
    print(f"6 to {size}: Pillow {pillow}, JAX {by_jax}, OpenCV {corner}, OpenCV exact {exact}")
    assert pillow == by_jax == exact != corner
PY
