#!/usr/bin/env bash
# statsmodels 0.15.0: with fdr_bh, one p-value that is not a number makes every corrected p-value not a number, and the rejections beside them stay.
# Seen: multipletests([0.001, 0.002, nan, 0.5], method="fdr_bh") gives reject [True, True, False, False] and q [nan, nan, nan, nan];
# method="holm" loses only the one. SciPy 1.17.1's false_discovery_control raises a ValueError on the same list. A unit that is constant has no
# p-value, so such lists are common. A good guess is that the one is left out, as R's p.adjust does, or that all is refused. `reject` alone
# looks right, and a filter `q < 0.05` drops every finding without a warning. Known since 2016 (statsmodels, issue 2899).
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 statsmodels==0.15.0
venv/bin/python - <<'PY'
import numpy as np
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests
p = np.array([0.001, 0.002, np.nan, 0.5])
reject, q = multipletests(p, method="fdr_bh")[:2]
print("statsmodels: reject", reject, "q", q)
print("without the one:", multipletests(p[[0, 1, 3]], method="fdr_bh")[1])
holm = multipletests(p, method="holm")[1]
print("with holm:", holm)
assert np.isnan(holm).tolist() == np.isnan(p).tolist()
assert np.isnan(q).all() and reject.tolist() == [True, True, False, False]
try: false_discovery_control(p)
except ValueError as error: print("SciPy raises:", error)
else: raise SystemExit("SciPy no longer raises")
PY
