#!/usr/bin/env bash
# xarray 2026.9.0 with h5netcdf 1.8.2 (netCDF-4): an empty object array of words comes back as numbers, and a one-element list of words as a word.
# Seen: a variable of no strings, of NumPy's type object, is written and read as float64, while ["a", "b"] of that type is read as strings
# and no strings of type str stay strings; the attribute ["one"] comes back as "one", so that len() is 3. A good guess is that a file with types
# keeps the type of what is empty: with no element to look at, an array of objects is written as float64 (known of zarr: xarray, issue 7328).
# A table of the problems of a run then has another type, and another checksum, when there were none.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 xarray==2026.9.0 h5py==3.16.0 h5netcdf==1.8.2
venv/bin/python - <<'PY'
import numpy as np
import xarray as xr
def back(words, kind=object, **attributes):
    xr.Dataset({"words": ("x", np.array(words, kind))}, attrs=attributes).to_netcdf("words.nc", engine="h5netcdf")
    return xr.load_dataset("words.nc", engine="h5netcdf")
some, none, typed = back(["a", "b"], names=["one"]), back([]), back([], str)
print("two words:", some.words.dtype, "no words:", none.words.dtype, "of type str:", typed.words.dtype, "attribute ['one']:", repr(some.attrs["names"]))
assert some.words.dtype.kind in "OTU" and typed.words.dtype.kind in "OTU" and none.words.dtype == np.float64 and some.attrs["names"] == "one"
PY
