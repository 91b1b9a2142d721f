"""The site: docs/, the notebooks as they are stored, the docstrings and the help of every command, as HTML.

python tools/docs.py FOLDER           builds it; a warning, a broken link or something loaded from outside is an error
python tools/docs.py FOLDER --brief   of the notebooks the prose alone, of the reference the public face: for the tests

Pages are laid into a temporary folder as they lie in the repository, so that a link is the same in both.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from readme import BLIND, DIRECTIVE, HIDDEN, ROOT, SILENT, WINGS, table
from readme import room as opening

PACKAGE, NOTEBOOKS = ROOT / "inner_detectors", ROOT / "nbs"
BESIDE = ["CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "CITATION.cff"]
BESIDE += [f"{folder}/README.md" for folder in ("findings", "benchmarks", "data")]
HOW_TO = ["own_data", "own_network", "papers", "figures", "results", "server"]
ABOUT = ["comparison", "dependencies", "house"]
room = lru_cache(opening)
PRUNED = re.compile(r"<style scoped>.*?</style>\s*", re.S)


# ---- notebooks


def as_read(notebook):
    "A notebook as a reader sees it: no hidden cell, no directive, no remark on stderr."
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if HIDDEN.search(cell.source):
                continue
            cell.outputs = [
                one for one in cell.outputs if one.get("name") != "stderr" and not SILENT.search(cell.source)
            ]
            cell.source = "" if BLIND.search(cell.source) else DIRECTIVE.sub("", cell.source).strip("\n")
            if not cell.source and not cell.outputs:
                continue
        cells.append(cell)
    notebook.cells, notebook.metadata["language_info"] = cells, {"name": "python"}
    return notebook


def write_notebook(path: Path, place: Path, brief: bool) -> None:
    "A notebook as a page, with its images beside it; of a brief one, the prose alone."
    import nbformat
    from nbconvert.exporters import MarkdownExporter

    page = (place / path.relative_to(ROOT)).with_suffix(".md")
    if brief:
        cells = nbformat.read(path, as_version=4).cells
        return write(page, to_pages("\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")))
    text, resources = MarkdownExporter().from_notebook_node(as_read(nbformat.read(path, as_version=4)))
    for name, data in resources.get("outputs", {}).items():
        picture = page.parent / f"{page.stem}-{name}"
        write(picture, data)
        text = text.replace(f"]({name})", f"]({picture.name})").replace("![png](", "![output of this cell](")
    write(
        page,
        re.sub(
            r"^```python\n\s*```\n",
            "",
            PRUNED.sub("", to_pages(text).replace(' border="1" class="dataframe"', "")),
            flags=re.M,
        ),
    )


def to_pages(text: str) -> str:
    "Links to notebooks as links to their pages."
    return re.sub(r"(\]\((?!https?:)[^)\s#]+)\.ipynb\b", r"\1.md", text)


# ---- reference and commands


def modules() -> Iterator[tuple[str, str, Path]]:
    "(folder, module, its notebook), in the order in which they are read."
    for wing in WINGS:
        for path in sorted((NOTEBOOKS / wing).glob("[0-9]*.ipynb")):
            yield wing, f"{wing.replace('/', '.')}.{path.stem.split('_', 1)[1]}", path


def public_names(path: Path) -> list[str]:
    "What a module's `__all__` lists."
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def module_file(module: str) -> Path:
    return PACKAGE / f"{module.replace('.', '/')}.py"


def reference_page(module: str, notebook: Path) -> str:
    "The page of a module: its sentence, its notebook, and each of its public names."
    found, names = room(notebook), public_names(module_file(module))
    lines = [f"# {module}", ""]
    lines += [
        f"The notebook: [{found[0] if found else module}](../{notebook.relative_to(ROOT).with_suffix('.md')})",
        "",
    ]
    return "\n".join([*lines, *entry(f"inner_detectors.{module}", names), ""])


def entry(path: str, members: list[str]) -> list[str]:
    "What mkdocstrings writes out: some members of a module."
    return [
        f"::: {path}",
        "    options:",
        "      show_root_heading: false",
        "      show_root_toc_entry: false",
        f"      members: {members}",
        "",
    ]


def face_page() -> str:
    "The page of the names that `inner_detectors` itself has."
    from inner_detectors import _PLACES

    lines = [
        "# The public face",
        "",
        "What `from inner_detectors import ...` gives. Each is imported when it is first used.",
        "",
    ]
    for name in public_names(PACKAGE / "__init__.py"):
        lines += [f"::: inner_detectors.{_PLACES[name]}.{name}", f"    options:\n      heading: {name}", ""]
    return "\n".join(lines)


def contents_page() -> str:
    "The list of all modules."
    lines = ["# All modules", "", "Every public name of every module, in the order in which data flows.", ""]
    lines += ["The names that most people need are on one page: [the public face](inner_detectors.md).", ""]
    for wing, purpose in WINGS.items():
        mine = [(module, path) for other, module, path in modules() if other == wing]
        lines += [
            f"## {wing}",
            "",
            f"{purpose[:1].upper()}{purpose[1:]}.",
            "",
            "| module | what it is for | names |",
            "|---|---|---|",
        ]
        for module, path in mine:
            names = ", ".join(f"`{name}`" for name in public_names(module_file(module)))
            sentence = (room(path) or ("", ""))[1].replace("|", "\\|")
            lines.append(f"| [{module}]({module}.md) | {sentence} | {names} |")
        lines.append("")
    return "\n".join(lines)


def command_pages() -> dict[str, str]:
    "File -> the page of a command, as its own parser describes it."
    from inner_detectors.cli.flags import parser
    from inner_detectors.cli.main import command_named, names, overview

    os.environ["COLUMNS"] = "100"
    pages = {"index.md": f"# Commands\n\nWhat `inner-detectors --help` prints:\n\n```text\n{overview()}\n```\n"}
    for name in names():
        command = command_named(name)
        sentence = " ".join(command.about.partition("\n\n")[0].split())
        pages[f"{name}.md"] = f"# {name}\n\n> {sentence}\n\n```text\n{parser(command).format_help()}```\n"
        pages["index.md"] += f"\n- [`{name}`]({name}.md): {sentence}"
    return pages


# ---- the whole


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def navigation(commands: list[str]) -> list:
    "What stands in the menu, in order."

    def of(folder: str) -> list[str]:
        paths = sorted((NOTEBOOKS / folder).glob("[0-9]*.ipynb"))
        return [str(path.relative_to(ROOT).with_suffix(".md")) for path in paths]

    guides = of("") + [f"studies/{path.stem}.md" for path in sorted((ROOT / "studies").glob("*.ipynb"))]
    reference = {
        wing: [{module: f"reference/{module}.md"} for other, module, _ in modules() if other == wing] for wing in WINGS
    }
    return [
        {"Home": "index.md"},
        {"Start": "docs/start.md"},
        {"How to": [f"docs/{name}.md" for name in HOW_TO]},
        {"Numbers": "docs/numbers.md"},
        {"Notebooks": [{"guides and studies": guides}, *({wing: of(wing)} for wing in WINGS)]},
        {"Commands": ["commands/index.md", *(f"commands/{name}" for name in commands if name != "index.md")]},
        {
            "Reference": [
                "reference/inner_detectors.md",
                "reference/index.md",
                *({wing: pages} for wing, pages in reference.items()),
            ]
        },
        {"About": [*(f"docs/{name}.md" for name in ABOUT), *(name for name in BESIDE if name.endswith(".md"))]},
    ]


def lay_out(place: Path, brief: bool) -> list:
    "Write every page, as Markdown, into a folder; the menu."
    for name in BESIDE:
        write(place / name, (ROOT / name).read_bytes())
    for folder in ("nbs/images", "docs/assets"):
        shutil.copytree(ROOT / folder, place / folder)
    folders = table().partition("\n\n")[0].replace("](nbs/", "](../nbs/")
    for path in sorted((ROOT / "docs").glob("*.md")):
        write(
            place / "docs" / path.name, to_pages(path.read_text(encoding="utf-8").replace("<!-- folders -->", folders))
        )
    first = (place / "docs" / "index.md").read_text(encoding="utf-8")
    (place / "docs" / "index.md").unlink()
    write(place / "index.md", re.sub(r"\]\((?=\w+\.md)", "](docs/", first).replace("](../", "]("))
    for path in [*NOTEBOOKS.rglob("[0-9]*.ipynb"), *(ROOT / "studies").glob("*.ipynb")]:
        if ".ipynb_checkpoints" not in path.parts:
            write_notebook(path, place, brief)
    for _, module, path in modules():
        short = brief and module != "core.errors"
        write(place / "reference" / f"{module}.md", f"# {module}\n" if short else reference_page(module, path))
    write(place / "reference" / "inner_detectors.md", face_page())
    write(place / "reference" / "index.md", contents_page())
    commands = command_pages()
    for name, text in commands.items():
        write(place / "commands" / name, text)
    return navigation(list(commands))


def build(site: Path, brief: bool = False) -> list[str]:
    "Build the site; what is wrong with it. Raises CalledProcessError where MkDocs warns."
    with tempfile.TemporaryDirectory() as folder:
        settings = (ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8").replace("tools/", f"{ROOT}/tools/")
        pages = Path(folder) / "pages"
        nav = lay_out(pages, brief)
        config = Path(folder) / "mkdocs.yml"
        config.write_text(
            yaml.safe_dump(
                yaml.safe_load(settings) | {"nav": nav, "docs_dir": str(pages), "site_dir": str(site.absolute())}
            )
        )
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", str(config)]
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "true"})
    (site / "404.html").unlink()  # for servers: its links begin at the root of one
    return faults(site)


# ---- what a browser would follow

LINK = re.compile(r"<(\w+)\b[^<>]*?\s(?:href|src)=\"([^\"]*)\"")
MARK = re.compile(r"\s(?:id|name)=\"([^\"]+)\"")
SCRIPTS = re.compile(r"<(script|style)\b(?![^>]*\ssrc=).*?</\1>", re.S)
FORM = re.compile(r"(https?://[\w.-]+\.[a-z]{2,}(:\d+)?([/?#]\S*)?|mailto:\S+@\S+)$")


def faults(site: Path) -> list[str]:
    "Links that lead nowhere, anchors that are not there, and what a page would load from outside, each as a sentence."
    pages = {path: SCRIPTS.sub("", path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    marks = {path: set(MARK.findall(text)) for path, text in pages.items()}
    found = []
    for path, text in pages.items():
        here = path.relative_to(site)
        for tag, link in sorted(set(LINK.findall(text))):
            link = link.replace("&amp;", "&")
            parts = urlsplit(link)
            if parts.scheme == "data":
                continue
            if parts.scheme or link.startswith("//"):
                if tag != "a":
                    found.append(f"{here}: loads {link} from outside")
                elif not FORM.match(link):
                    found.append(f"{here}: {link!r} is no address")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(f"{here}: {link!r} leads nowhere")
            elif parts.fragment and target in marks and unquote(parts.fragment) not in marks[target] | {"__skip"}:
                found.append(f"{here}: {link!r} names no place of that page")
    for path in site.rglob("*.css"):
        outside = re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)}: loads {link} from outside" for link in outside]
    return found


def main(words: list[str]) -> int:
    if not words or words[0].startswith("-") or words[1:] not in ([], ["--brief"]):
        sys.exit(__doc__)
    try:
        found = build(Path(words[0]), brief=len(words) > 1)
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    print("\n".join([*found, f"{words[0]}: {len(found)} faults"] if found else [f"Open {words[0]}/index.html"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
