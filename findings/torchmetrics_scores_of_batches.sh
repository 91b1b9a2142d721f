#!/usr/bin/env bash
# torchmetrics 1.9.0 with torch 2.13.0: the AUROC of the same six scores hangs on how they are cut into batches.
# Seen: of scores 0.2 0.9 1.5 | 0.4 0.3 0.8 (1.5: they are not probabilities) AUROC is 0.556 in one update and 0.444 in two. A good guess is that
# ranks do not hang on batches, and that scores need not be probabilities for a measure of ranks. Each update that holds a value outside
# [0, 1] is put through a sigmoid and the others are not, so two scales are mixed: activations after a ReLU, of which some batches
# leave [0, 1] and others do not, are just such scores. The documentation tells of the sigmoid, not that each update decides anew. Known
# since 2023 (torchmetrics, issue 2195).
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0 torchmetrics==1.9.0
venv/bin/python - <<'PY'
import torch
from torchmetrics.classification import BinaryAUROC
scores, truth = torch.tensor([0.2, 0.9, 1.5, 0.4, 0.3, 0.8]), torch.tensor([0, 1, 0, 0, 1, 1])
whole, parts = BinaryAUROC(), BinaryAUROC()
whole.update(scores, truth)
for some in (slice(3), slice(3, None)): parts.update(scores[some], truth[some])
print(f"in one update {whole.compute():.3f}, in two {parts.compute():.3f}")
pairs = [float(a > b) for a, yes in zip(scores, truth) for b, no in zip(scores, truth) if yes and not no]
print(f"pairs in the right order {sum(pairs) / len(pairs):.3f}")
assert abs(float(whole.compute()) - sum(pairs) / len(pairs)) < 1e-6 and abs(float(parts.compute()) - float(whole.compute())) > 0.1
PY
