"""What users call has a docstring that names each argument, what comes back and what is refused; its examples run.

The names of the package's own face are looked at elsewhere: they are documented with it.
"""

import ast
import doctest
import importlib
import inspect
import re
import textwrap

import numpy as np
import pytest

from inner_detectors.core.errors import InputError, at_least

# Module -> what users call in it.
DOCUMENTED = {
    "data.vocabulary": "Concept Vocabulary Vocabulary.index Vocabulary.parts",
    "data.sample": "Region Sample Example Source Source.sample Source.identity",
    "data.images": "read_image",
    "data.groups": "UsedImage independent",
    "data.dataset": "Data Data.sample Data.example Data.shuffled Data.at Data.take Data.about Data.identity",
    "data.survey": "Survey Survey.rows Survey.lines Survey.write survey balance_images",
    "data.labels": "Labels Labels.truth as_labels read_class_labels folder_classes classes_from_masks",
    "data.readers.coco": "Coco CocoStuff",
    "data.readers.voc": "Voc",
    "data.readers.coco_panoptic": "CocoPanoptic",
    "data.readers.pascal_part": "PascalPart",
    "data.readers.folder": "Folder",
    "networks.weights.formats": "read_weights read_metadata",
    "networks.fetch.published": "homes home",
    "networks.fetch.fetch": "fetch",
    "networks.geometry": "Geometry Geometry.then compose_geometry half_pixel",
    "networks.preprocessing": "preprocessing",
    "networks.model": "Model layers check_layers geometry_of layer_table",
    "networks.vgg": "vgg16",
    "networks.efficientnet": "efficientnet_lite0",
    "synthetic.scenes": "Scenes sheet",
    "synthetic.staged": "Staged",
    "synthetic.writers": "write_coco write_voc write_pascal_part write_folder",
    "synthetic.planted": "Rings planted_model Squares colours_model",
    "passes.probe": "probe",
    "passes.interpolation": "enlarge sampling_grid",
    "passes.measured": "measure_geometry",
    "passes.fold": "Fold Batch combine",
    "passes.batches": "View",
    "passes.sweep": "SweepResult Checkpoint sweep",
    "passes.edit": "edit",
    "analyses.gradients": "gradient gradient_image deconvolution guided_backpropagation",
    "analyses.attribution": "IntegratedGradients integrated_gradients Ascent OptimisedImage optimise_image "
    "gradients_figure",
    "analyses.imagenet": "classes_of_concept match_vocabulary concepts_of",
    "analyses.top_images": "TopImages.images TopImages.maps TopImages.fires TopImages.outcomes TopImages.units",
    "transfer.bank": "Bank",
    "transfer.detector_bank": "detector_bank gather thin",
    "transfer.head": "label_evidence fit_head",
    "transfer.network": "TransferModel TransferModel.weights TransferModel.concepts TransferModel.forbid "
    "Transfer Transfer.refit Transfer.scores transfer weights_figure",
    "transfer.reasons": "Reasons Reasons.concepts reasons raise_evidence what_if",
    "transfer.rules": "rules",
    "transfer.store": "read_bank load_network",
    "transfer.pooled_units": "all_units pool_images",
    "transfer.baselines": "contest contest_draws contest_figure",
    "transfer.faithfulness": "faithful faithfulness",
    "views.overlays": "interpolate_over_image reveal heat agreement_overlay box_of crop contours draw_outline",
    "views.report": "report",
    "views.explanation": "explanation_page",
}
NAMES = [(module, name) for module, names in DOCUMENTED.items() for name in names.split()]


def find(module, name):
    thing = importlib.import_module(f"inner_detectors.{module}")
    for word in name.split("."):
        thing = getattr(thing, word)
    return inspect.unwrap(thing)


def arguments(thing):
    "What a caller gives; of a class that nobody makes by hand, what it has."
    if getattr(thing, "_is_protocol", False):
        return set(thing.__annotations__)
    return {name for name in inspect.signature(thing).parameters if name != "self" and name[0] != "_"}


def refuses(thing):
    "Whether its own code, of a class that which makes one, raises InputError."
    own = thing.__dict__ if inspect.isclass(thing) else {}
    made = [own[name] for name in ("__init__", "__post_init__") if name in own and not hasattr(thing, "_fields")]
    for code in made if inspect.isclass(thing) else [thing]:
        if code.__qualname__.startswith("__create_fn__") or "<string>" in code.__code__.co_filename:
            continue  # a dataclass's, which refuses nothing
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(code)))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("InputError", "at_least") or called.startswith("check_"):
                return True
    return False


def sections(doc):
    "The parts of a docstring by their titles, without their indent."
    parts = re.split(r"^(Args|Attributes|Returns|Raises|Example):\n", inspect.cleandoc(doc or ""), flags=re.M)
    return {"": parts[0], **{title: textwrap.dedent(text) for title, text in zip(parts[1::2], parts[2::2])}}


def gaps(thing):
    "What a docstring lacks, in words."
    found = sections(thing.__doc__)
    first = found[""].strip().partition("\n\n")[0]
    if first[-1:] not in tuple(".?") or "\n" in first:
        yield "begins with no sentence on a line"
    listed = set(re.findall(r"^\*{0,2}(\w+): \S", found.get("Args", found.get("Attributes", "")), re.M))
    for name in sorted(arguments(thing) - listed):
        yield f"does not say what {name} is"
    for name in sorted(listed - arguments(thing)):
        yield f"says what {name} is, which there is not"
    returned = "Returns" in found
    if not inspect.isclass(thing) and returned == (inspect.signature(thing).return_annotation is None):
        yield "says what comes back, and nothing does" if returned else "does not say what comes back"
    if refuses(thing) and "Raises" not in found:
        yield "does not say what is refused"


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[".".join(one) for one in NAMES])
def test_docstring_is_whole(module, name):
    assert not list(gaps(find(module, name)))


def whole(number: int) -> int:
    """One more.

    Args:
        number: From 0.

    Returns:
        The next number.

    Raises:
        InputError: Where it is negative.
    """
    at_least(0, number=number)
    return number + 1


def without(title):
    "`whole` without a part of its docstring."

    def one(number: int) -> int:
        at_least(0, number=number)
        return number

    one.__doc__ = re.sub(rf"{title}:\n +\S.*\n\n?", "", inspect.cleandoc(whole.__doc__) + "\n")
    return one


def nothing(number: int, more: str = "") -> None:
    """Gives nothing.

    Args:
        number: Above 0.
        other: Not there.
    """
    if number < 1:
        raise InputError("too small")


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (whole, []),
        (without("Args"), ["does not say what number is"]),
        (without("Returns"), ["does not say what comes back"]),
        (without("Raises"), ["does not say what is refused"]),
        (
            nothing,
            ["does not say what more is", "says what other is, which there is not", "does not say what is refused"],
        ),
    ],
    ids=["whole", "args", "returns", "raises", "nothing"],
)
def test_a_gap_is_found(thing, said):
    assert list(gaps(thing)) == said


@pytest.mark.parametrize("module", DOCUMENTED)
def test_examples_run(module, tmp_path, monkeypatch):
    "As a reader types them who has imported the module's names, and NumPy as np."
    monkeypatch.chdir(tmp_path)
    made = importlib.import_module(f"inner_detectors.{module}")
    known = {name: getattr(made, name) for name in made.__all__} | {"np": np}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for name in DOCUMENTED[module].split():
        text = sections(find(module, name).__doc__).get("Example", "")
        runner.run(doctest.DocTestParser().get_doctest(text, dict(known), name, module, 0))
    assert not runner.summarize(verbose=False).failed


def test_most_modules_have_an_example():
    "A module whose examples would need a network's published weights, or minutes, has none."
    bare = [
        module
        for module, names in DOCUMENTED.items()
        if not any("Example" in sections(find(module, name).__doc__) for name in names.split())
    ]
    assert len(bare) <= 16, bare
