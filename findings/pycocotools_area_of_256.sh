#!/usr/bin/env bash
# pycocotools 2.0.11 with NumPy 2.4.6: mask.area, mask.toBbox and mask.iou take lists of masks; area alone cannot take more than 255 at once.
# Seen: area([rle] * 255) gives 255 areas, area([rle] * 256) raises "OverflowError: Python integer 256 out of bounds for uint8", while toBbox
# and iou of the same list answer. A good guess is a limit on pixels: it is the number of masks that is put into eight bits, which NumPy 1.26
# lets pass with a deprecation warning and the right areas. Code that worked image by image ends at the first crowded one, or
# when a whole data set's areas are asked for at once.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 pycocotools==2.0.11
venv/bin/python - <<'PY'
import numpy as np
from pycocotools import mask
one = mask.encode(np.asfortranarray(np.ones((4, 4), np.uint8)))
print("255 masks:", mask.area([one] * 255).sum() / 255, "pixels each")
print("256 boxes:", mask.toBbox([one] * 256).shape, "256 overlaps:", mask.iou([one] * 256, [one], [0]).shape)
try: print("256 masks:", mask.area([one] * 256).sum() / 256)
except OverflowError as error: print("256 masks: OverflowError:", error)
else: raise SystemExit("256 masks have areas now")
PY
