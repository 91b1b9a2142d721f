#!/usr/bin/env bash
# scikit-learn 1.7.2 and 1.8.0: LogisticRegression(solver="saga", l1_ratio=1.0), as the newer release's documentation writes a lasso, is a ridge
# in the older, and says so only in a warning. Seen: on the same 200 rows with 50 columns of which one matters, 1.8.0 keeps 1 weight and 1.7.2
# keeps all 50. A good guess is that an argument with a value either acts or is an error; before 1.8 l1_ratio acts only beside
# penalty="elasticnet", which 1.8 deprecates, so that one line of code is two models by the version installed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
cat > look.py <<'PY'
import warnings
import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
random = np.random.default_rng(0)
x = random.normal(size=(200, 50))
y = x[:, 0] > 0
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    model = LogisticRegression(solver="saga", l1_ratio=1.0, C=0.02, max_iter=5000, random_state=0).fit(x, y)
kept = int((model.coef_ != 0).sum())
print(sklearn.__version__, "weights that are not zero:", kept, [str(one.message)[:90] for one in said])
assert kept == {"1.7.2": 50, "1.8.0": 1}[sklearn.__version__]
PY
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 scikit-learn==1.7.2
venv/bin/python look.py
python3 -m venv other
other/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 scikit-learn==1.8.0
other/bin/python look.py
