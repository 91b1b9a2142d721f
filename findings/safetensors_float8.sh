#!/usr/bin/env bash
# safetensors 0.8.0 with ml_dtypes 0.6.0: safetensors.numpy writes arrays of float8 and cannot read them again.
# Seen: save_file of an ml_dtypes.float8_e4m3fn array succeeds and its header says F8_E4M3; load_file of that file raises
# "AttributeError: module 'numpy' has no attribute 'float8_e4m3fn'". A good guess is that what a library writes without a complaint it reads,
# and bfloat16, which NumPy has not either, does come back. The file itself is whole: the bytes after the header are the array.
# Reported where PaddlePaddle reads through the NumPy side (safetensors, issue 682).
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 ml_dtypes==0.6.0 safetensors==0.8.0
venv/bin/python - <<'PY'
import json
import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file
values = np.arange(6, dtype=np.float32).astype(ml_dtypes.float8_e4m3fn)
save_file({"x": values}, "x.safetensors")
data = open("x.safetensors", "rb").read()
long = int.from_bytes(data[:8], "little")
print("written:", json.loads(data[8:8 + long]))
save_file({"x": values.astype(ml_dtypes.bfloat16)}, "b.safetensors")
print("bfloat16 comes back as", load_file("b.safetensors")["x"].dtype)
try: load_file("x.safetensors")
except AttributeError as error: print("float8: AttributeError:", error)
else: raise SystemExit("float8 can be read now")
again = np.frombuffer(data[8 + long:], ml_dtypes.float8_e4m3fn)
print("its bytes are", again)
assert (again == values).all()
PY
