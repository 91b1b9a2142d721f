#!/usr/bin/env bash
# SciPy 1.17.1: permutation_test gives a statistic that is not a number the p-value 0, the surest finding that there is.
# Seen: Pearson's r of a constant sample is nan, and the test says statistic nan, p-value 0.0; with numbers p is never below 1/(resamples + 1)
# where permutations are drawn at random. A good guess is p = nan, as pearsonr and ttest_ind answer; the p-value counts the permutations that
# are "as extreme", every comparison with nan is false, and none is counted. Sorted by p, the constant units come first.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
venv/bin/python - <<'PY'
import warnings
import numpy as np
from scipy.stats import pearsonr, permutation_test
warnings.simplefilter("ignore")
constant, other = np.ones(6), np.arange(6.0)
def r(x, y): return np.corrcoef(x, y)[0, 1]
found = permutation_test((constant, other), r, permutation_type="pairings", vectorized=False, n_resamples=99, rng=0)
print("permutation_test: statistic", found.statistic, "p", found.pvalue)
print("pearsonr: p", pearsonr(constant, other).pvalue)
assert np.isnan(found.statistic) and found.pvalue == 0
assert np.isnan(pearsonr(constant, other).pvalue)
PY
