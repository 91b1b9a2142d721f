"""README.md from nbs/index.ipynb.

python tools/readme.py           writes README.md, and the notebook's images into nbs/images
python tools/readme.py --check   writes nothing; shows what differs and exits with 1
"""

import re
import sys
from difflib import unified_diff
from pathlib import Path

import nbformat
from nbconvert.exporters import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS, IMAGES = ROOT / "nbs", ROOT / "nbs" / "images"
HEAD = "<!-- Made from nbs/index.ipynb by `make readme`. Change it there. -->\n\n"
PICTURE = "images/index_{cell_index}_{index}{extension}"
ROOMS = "<!-- wings -->"  # where the index wants the table of wings
WINGS = {
    "core": "what everything may use: errors, text, files, locks, threads",
    "data": "what is in an image: concepts, samples, data sets, surveys, classes",
    "data/readers": "one file a published layout, and `KIND:PLACE` in one word",
    "networks/weights": "one file a format of parameters; nothing in them is run",
    "networks/fetch": "brings published files to this machine",
    "networks": "what a network is: layers with names, layouts, geometry, identity; VGG16 and EfficientNet-Lite0",
    "networks/adapters": "a network of one's own: Flax, PyTorch, ONNX",
    "synthetic": "images made on the spot with exact truth, and planted networks",
    "passes": "one pass over the data: probe, interpolation, fold, sweep, checkpoint",
    "dissection": "which unit stands for which concept: scores, protocol, thresholds, counts, result, store, study",
    "analyses": "one file an analysis, and what they share",
    "transfer": "a network made of detectors",
    "views": "figures, report, explanation",
    "views/explorer": "a dissection to play with in JupyterLab",
    "cli": "the command: one file a command",
}
HIDDEN = re.compile(r"^#\s*\|\s*(hide|include:\s*false)\s*$", re.M)
SILENT = re.compile(r"^#\s*\|\s*(hide_output|output:\s*false)\s*$", re.M)
BLIND = re.compile(r"^#\s*\|\s*(hide_input|echo:\s*false)\s*$", re.M)
DIRECTIVE = re.compile(r"^#\s*\|.*\n?", re.M)


def room(path: Path) -> tuple[str, str] | None:
    "A notebook's title and its one sentence, or None where it has no such opening."
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "markdown":
            continue
        title, sentence = re.search(r"^# (.+)$", cell.source, re.M), re.search(r"^> (.+)$", cell.source, re.M)
        return (title[1].strip(), sentence[1].strip()) if title and sentence else None
    return None


def table() -> str:
    "The wings in the order in which data flows, with links to their notebooks; then the guides in their own words."
    lines = ["| wing | what it is for | its notebooks |", "|---|---|---|"]
    for wing, purpose in WINGS.items():
        paths = sorted((NOTEBOOKS / wing).glob("*.ipynb"))
        links = ", ".join(f"[{found[0]}](nbs/{path.relative_to(NOTEBOOKS)})" for path in paths if (found := room(path)))
        lines.append(f"| `{wing}` | {purpose} | {links} |")
    lines += ["", "| guide | what it shows |", "|---|---|"]
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        if found := room(path):
            lines.append(f"| [{found[0]}](nbs/{path.name}) | {found[1].replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def shown(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    "The notebook as a reader sees it: no hidden cell, no directive, no output that moves."
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if HIDDEN.search(cell.source):
                continue
            if SILENT.search(cell.source):
                cell.outputs = []
            blind = BLIND.search(cell.source)
            cell.source = "" if blind else DIRECTIVE.sub("", cell.source).strip("\n")
            cell.outputs = [plain(output) for output in cell.outputs if output.get("name") != "stderr"]
            if not cell.source and not cell.outputs:
                continue
        cells.append(cell)
    notebook.cells = cells
    notebook.metadata["language_info"] = {"name": "python"}  # what the fences of code say
    return notebook


def plain(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    "Of several forms of one output, the one that GitHub shows: markdown, image, text. HTML stays in the notebook."
    if "data" in output:
        kept = next((kind for kind in ("text/markdown", "image/png", "text/plain") if kind in output.data), None)
        output.data = {kept: output.data[kept]} if kept else {}
    return output


def readme() -> tuple[str, dict[Path, bytes]]:
    "The text of README.md, and the images that it shows."
    exporter = MarkdownExporter(config=Config(ExtractOutputPreprocessor={"output_filename_template": PICTURE}))
    notebook = shown(nbformat.read(NOTEBOOKS / "index.ipynb", as_version=4))
    text, resources = exporter.from_notebook_node(notebook)
    # Links in the notebook are seen from nbs/, those in README.md from its parent.
    text = re.sub(r"(\]\()(?!https?:|#|/|\.\./)([^)\s]+\))", r"\1nbs/\2", text).replace("](../", "](")
    text = text.replace(ROOMS, table())
    text = re.sub(r"^```python\n\s*```\n", "", text, flags=re.M)  # code that is not shown
    text = re.sub(r"[ \t]+$", "", text, flags=re.M)
    text = HEAD + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    return text, {NOTEBOOKS / name: data for name, data in resources.get("outputs", {}).items()}


def differences(text: str, pictures: dict[Path, bytes]) -> list[str]:
    "What README.md and its images would have to change, as lines to print."
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = list(unified_diff(old.splitlines(), text.splitlines(), "README.md", "nbs/index.ipynb", lineterm=""))
    for picture in sorted(set(pictures) | set(IMAGES.glob("index_*"))):
        if (picture.read_bytes() if picture.exists() else None) != pictures.get(picture):
            lines.append(f"{picture.relative_to(ROOT)} differs")
    return lines


def main(arguments: list[str]) -> int:
    text, pictures = readme()
    if arguments == ["--check"]:
        lines = differences(text, pictures)
        if lines:
            print("\n".join([*lines, "", "README.md is not what nbs/index.ipynb gives. Run: make readme"]))
        return 1 if lines else 0
    if arguments:
        sys.exit(__doc__)
    for picture in IMAGES.glob("index_*"):
        if picture not in pictures:
            picture.unlink()
    for picture, data in pictures.items():
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(data)
    (ROOT / "README.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
