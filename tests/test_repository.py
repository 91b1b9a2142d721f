"The repository agrees with itself: notebooks, package, README and version say the same, and the linters are content."

import ast
import configparser
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
HEAVY = ("jax", "flax", "numpy", "pandas", "xarray", "matplotlib", "pycocotools", "PIL", "IPython")


def call(*command, cwd=ROOT, **more):
    environment = {name: value for name, value in os.environ.items() if name != "IN_TEST"}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, env=environment, **more
    )


def passes(*command, cwd=ROOT):
    done = call(*command, cwd=cwd)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done


def version():
    config = configparser.ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]["version"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    "A copy of what nbdev reads and writes, exported and cleaned: the checkout itself stays as it is."
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("nbs", "inner_detectors"):
        shutil.copytree(
            ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        )
    for file in ("settings.ini", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / file, copy)
    for path in (copy / "inner_detectors").rglob("*.py"):
        if path.name != "__init__.py":
            path.unlink()  # so that a module whose notebook is gone is noticed
    for command in ("nbdev_export", "nbdev_clean"):
        passes(BIN / command, cwd=copy)
    return copy


def differing(copy, pattern):
    names = {
        path.relative_to(base)
        for base in (ROOT, copy)
        for path in base.glob(pattern)
        if ".ipynb_checkpoints" not in path.parts
    }

    def read(base, name):
        return (base / name).read_bytes() if (base / name).exists() else None

    return sorted(str(name) for name in names if read(ROOT, name) != read(copy, name))


def test_package_is_what_the_notebooks_give(copy):
    assert not differing(copy, "inner_detectors/**/*.py"), "run: make export"


def test_notebooks_are_clean(copy):
    assert not differing(copy, "nbs/**/*.ipynb"), "run: make export"


def test_pyproject_is_what_nbdev_writes(copy):
    assert not differing(copy, "pyproject.toml"), "run: make export"


def test_readme_is_what_the_index_gives():
    passes(sys.executable, "tools/readme.py", "--check")


def test_lines_are_at_most_120_wide():
    wide = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in ROOT.glob("inner_detectors/**/*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 120 and "https://" not in line
    ]
    assert not [place for place in wide if not written_by_nbdev(place)]


def written_by_nbdev(place):
    "Whether a line is the list of a module's names, or stands in the index of all modules."
    name, number = place.rsplit(":", 1)
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return name.endswith("_modidx.py") or lines[int(number) - 1].startswith("__all__ = ")


def test_code_is_formatted():
    passes(
        BIN / "ruff",
        "format",
        "--isolated",
        "--line-length",
        "120",
        "--check",
        "nbs",
        "tests",
        "tools",
        "benchmarks",
        "studies",
    )  # make export


def test_notebooks_are_small():
    large = {path.name: path.stat().st_size for path in ROOT.glob("nbs/**/*.ipynb") if path.stat().st_size > 400_000}
    assert not large, "keep fewer or smaller outputs"


@pytest.mark.parametrize(
    "path",
    sorted(ROOT.glob("nbs/**/[0-9]*.ipynb")),
    ids=lambda path: str(path.relative_to(ROOT / "nbs").with_suffix("")),
)
def test_notebook_opens_as_a_room(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first = "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "markdown"))
    assert re.match(r"# \S.*\n\n> \S.*", first), (
        "the first cell of prose must be `# name`, an empty line, `> one sentence`"
    )


def test_no_registry_in_the_lock():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock and "--index" not in lock and "--find-links" not in lock
    names = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.M))
    assert {"jax", "flax", "nbdev", "pytest", "setuptools"} <= names
    assert "torch" not in names


def test_every_dependency_is_explained():
    "In docs/dependencies.md, those of an extra with its name; in CONTRIBUTING where it builds and tests."
    config = configparser.ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    names = {
        key.removesuffix("requirements").rstrip("_"): [re.split(r"[\[<>=]", one)[0] for one in value.split()]
        for key, value in config["DEFAULT"].items()
        if key.endswith("requirements")
    }
    assert {"", "onnx", "inpaint", "cuda", "dev"} == set(names)
    runs, builds = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/dependencies.md", "CONTRIBUTING.md"))
    for extra in names.keys() - {"cuda"}:
        table = builds if extra == "dev" else runs
        rows = [
            re.findall(r"[\w.-]+", row.split("|")[1].partition("(`")[0])
            for row in re.findall(r"^\| .*\|$", table, re.M)
            if extra in ("", "dev") or f"(`[{extra}]`)" in row
        ]
        assert not [name for name in names[extra] if name not in sum(rows, [])], extra


def test_versions_agree():
    citation = re.search(r'^version: "?([^"\n]+)"?$', (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    changelog = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert (citation[1], changelog[1]) == (version(), version())
    assert (
        (ROOT / "inner_detectors" / "__init__.py")
        .read_text(encoding="utf-8")
        .startswith(f'__version__ = "{version()}"\n')
    )


@pytest.mark.parametrize("path", sorted(ROOT.glob("findings/*.sh")), ids=lambda path: path.stem)
def test_a_finding_stands_alone(path):
    text = path.read_text(encoding="utf-8")
    assert os.access(path, os.X_OK) and text.startswith("#!/usr/bin/env bash\n# ") and "\nset -euo pipefail\n" in text
    assert re.search(r"[\w.-]+==\d", text) and re.search(r"\d+\.\d+", text.splitlines()[1]), (
        "its first line names the versions"
    )
    assert not re.search(r"inner.detectors|://|index-url", text) and f"`{path.name}`" in (
        ROOT / "findings" / "README.md"
    ).read_text(encoding="utf-8")


WINGS = [
    wing.replace("/", ".") for wing in runpy.run_path(str(ROOT / "tools" / "readme.py"))["WINGS"]
]  # in the order in which data flows


def places(root):
    "Module -> (wing, number of its notebook), for the modules that notebooks make."
    found = {}
    for path in sorted(root.glob("nbs/*/**/[0-9]*.ipynb")):
        wing, (number, name) = ".".join(path.parent.relative_to(root / "nbs").parts), path.stem.split("_", 1)
        found[f"{wing}.{name}"] = (WINGS.index(wing), int(number))
    return found


def imported(path, module):
    """The modules of the package from which a file imports anywhere, inside functions too; and the private names that
    it takes from them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = ["inner_detectors", *module.split(".")][: -node.level] if node.level else []
        full = ".".join([*base, *([node.module] if node.module else [])])
        if full.startswith("inner_detectors."):
            yield full.removeprefix("inner_detectors."), [name.name for name in node.names if name.name.startswith("_")]


def upward(root):
    """Imports that go upward or round in a circle, and private names taken from outside their folder, each as a
    sentence."""
    found = places(root)
    for module, place in found.items():
        for other, private in imported(root / "inner_detectors" / f"{module.replace('.', '/')}.py", module):
            if other not in found:
                yield f"{module} imports from {other}, which no notebook makes"
            elif found[other] >= place:
                yield f"{module} imports from {other}, which stands behind it"
            if private and other.rpartition(".")[0] != module.rpartition(".")[0]:
                yield f"{module} takes {', '.join(private)} from {other}"


def public_names(root):
    "Name -> the modules whose `__all__` lists it, the package's own face left out."
    found = {}
    for path in sorted((root / "inner_detectors").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if (
                isinstance(node, ast.Assign)
                and ast.unparse(node.targets[0]) == "__all__"
                and path.parent != root / "inner_detectors"
            ):
                for name in ast.literal_eval(node.value):
                    found.setdefault(name, []).append(str(path.relative_to(root)))
    return found


def test_no_name_is_public_in_two_modules():
    found = public_names(ROOT)
    assert len(found) > 1000
    assert not {name: modules for name, modules in found.items() if len(modules) > 1}


def test_a_planted_second_meaning_is_found(tmp_path):
    for name in ("one", "other"):
        (tmp_path / "inner_detectors" / name).mkdir(parents=True)
        (tmp_path / "inner_detectors" / name / "it.py").write_text("__all__ = ['Part']\n")
    assert public_names(tmp_path) == {"Part": ["inner_detectors/one/it.py", "inner_detectors/other/it.py"]}


@pytest.mark.parametrize(
    ("reason", "code"), [("torch is not installed; make test-torch installs it", 0), ("not today", 1)]
)
def test_a_skip_needs_a_reason(tmp_path, reason, code):
    "Where everything must hold, what is skipped for another reason than those on the list fails."
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        f"import pytest\ndef test_it(): pytest.skip({reason!r})\ndef test_that(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "INNER_DETECTORS_CI": "1"})
    assert done.returncode == code, done.stdout
    assert ("not on the list" in done.stdout) == bool(code)


def test_data_flows_one_way():
    "Each module imports only from wings above its own, and in its own from modules above it."
    assert not list(upward(ROOT))


@pytest.mark.parametrize(
    "line, sentence",
    [
        (
            "def late():\n    from inner_detectors.passes.sweep import sweep",
            "core.text imports from passes.sweep, which stands behind it",
        ),
        ("from .locks import lock", "core.text imports from core.locks, which stands behind it"),
        ("from ..core.errors import _hidden", None),
        ("from inner_detectors.nowhere import this", "core.text imports from nowhere, which no notebook makes"),
    ],
)
def test_a_planted_import_is_found(tmp_path, line, sentence):
    for name in ("nbs", "inner_detectors"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "images", "pages"))
    with open(tmp_path / "inner_detectors" / "core" / "text.py", "a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    assert list(upward(tmp_path)) == ([sentence] if sentence else [])


def test_modules_are_small():
    "Under 400 lines each."
    large = {
        module: lines
        for module in places(ROOT)
        if (
            lines := len(
                (ROOT / "inner_detectors" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8").splitlines()
            )
        )
        >= 400
    }
    assert not large


def test_ruff():
    passes(BIN / "ruff", "check", "inner_detectors", "tools", "tests", "setup.py")


def test_types():
    passes(BIN / "mypy", f"--cache-dir={os.devnull}")


def light(code):
    "Runs code in a fresh Python; gives the heavy packages that it loaded."
    done = passes(
        sys.executable,
        "-c",
        f"""
import json, sys
try:
    {code}
except SystemExit as end:
    assert not end.code, end.code
print("\\n" + json.dumps(sorted(set({HEAVY!r}) & set(sys.modules))))
""",
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_import_is_light():
    assert not light("import inner_detectors")


@pytest.mark.parametrize("arguments", [["--help"], ["match", "--help"], ["layers", "--help"]], ids=" ".join)
def test_help_is_light(arguments):
    assert not light(f"sys.argv[1:] = {arguments!r}; from inner_detectors.cli.main import main; main()")


def test_the_command_is_installed():
    assert "match" in passes(BIN / "inner-detectors", "--help").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the Makefile is for POSIX")
def test_an_unfit_python_is_refused(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 10, 0, 'final', 0)")
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "environment.py", tmp_path / "none"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "3.11, 3.12 or 3.13 is needed" in done.stderr
    assert not (tmp_path / "none").exists()
