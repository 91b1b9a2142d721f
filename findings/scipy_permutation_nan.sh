#!/usr/bin/env bash
# SciPy 1.17.1: permutation_test gives a statistic that is not a number the smallest p-value that it can give.
# Seen: Pearson's r of a constant sample is nan, and the test says p 0.02 of 99 resamples, which is what a perfect correlation gets; a
# difference of means in which one value is missing gets p 0.0 where all permutations are gone through, below what any number can get.
# A good guess is p = nan, as pearsonr answers; the p-value counts the permutations that are "as extreme", every comparison with nan is
# false, and none is counted (of drawn permutations one is added). Sorted by p, the constant units come first.
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
best = permutation_test((other, other), r, permutation_type="pairings", vectorized=False, n_resamples=99, rng=0)
every = permutation_test(([np.nan, 1.0, 2.0, 3.0], [5.0, 6.0, 7.0, 8.0]), lambda x, y: x.mean() - y.mean(), vectorized=False, n_resamples=9999)
print("permutation_test: statistic", found.statistic, "p", found.pvalue, "of 99; where one value is missing, p", every.pvalue, "of all 70")
print("perfect correlation: statistic", best.statistic, "p", best.pvalue, "of 99")
print("pearsonr: p", pearsonr(constant, other).pvalue)
assert np.isnan(found.statistic) and found.pvalue == best.pvalue == 0.02
assert every.pvalue == 0
assert np.isnan(pearsonr(constant, other).pvalue)
PY
