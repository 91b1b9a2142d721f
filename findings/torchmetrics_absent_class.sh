#!/usr/bin/env bash
# torchmetrics 1.9.0 with torch 2.13.0: a class that neither the image nor the answer has scores 0, -1 or nan, in one library.
# Seen, for the third of three classes that is in neither: multiclass_jaccard_index 0.0, segmentation's MeanIoU -1.0, its DiceScore nan; the
# macro mean leaves the class out (1.0) in all three. A good guess is one convention a library, and that a mean of the scores by class is the
# macro mean: it is 0.67, 0.33 and nan here. The documentation tells of the -1 and, as zero_division, of the 0;
# of the nan it does not.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0 torchmetrics==1.9.0
venv/bin/python - <<'PY'
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index
from torchmetrics.segmentation import DiceScore, MeanIoU
said = shown = torch.tensor([0, 0, 1, 1])
more = dict(num_classes=3, input_format="index")
each = {"multiclass_jaccard_index": multiclass_jaccard_index(said, shown, num_classes=3, average=None),
        "MeanIoU": MeanIoU(**more, per_class=True)(said[None], shown[None]), "DiceScore": DiceScore(**more, average="none")(said[None], shown[None])}
macro = [multiclass_jaccard_index(said, shown, num_classes=3), MeanIoU(**more)(said[None], shown[None]),
         DiceScore(**more, average="macro")(said[None], shown[None])]
for (name, values), mean in zip(each.items(), macro): print(f"{name}: by class {values.tolist()}, their mean {values.mean():.2f}, macro {mean:.2f}")
third = [float(values.ravel()[2]) for values in each.values()]
assert third[:2] == [0, -1] and third[2] != third[2] and all(float(mean) == 1 for mean in macro)
PY
