"How much of a concept a unit covers: the mean over the images that show it."

from inner_detectors.dissection.scores import MeanOfImages

MEAN_RECALL = MeanOfImages(
    name="mean-recall",
    column="recall",
    title="recall",
    words="the mean share of the concept that the unit covers",
    ratio=lambda both, unit, concept: both / concept,
    bound=0.5,
)
