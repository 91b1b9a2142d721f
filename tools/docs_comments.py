"""For the reference: what stands as a comment beside a parameter or a field is shown with it, as if the docstring said
so. Where a docstring has its own `Args:`, that is what is shown."""

import ast
import importlib
import inspect
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import griffe


@cache
def comments(path: Path) -> dict[int, str]:
    "Line -> the comment that ends it."
    words = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return {word.start[0]: word.string.lstrip("# ") for word in words if word.type == tokenize.COMMENT}


def beside(path: Path, first: int, end: int) -> str:
    "The comments of some lines, as one text."
    return " ".join(comments(path)[line] for line in range(first, end) if line in comments(path))


def format_signature(name: str, signature: inspect.Signature) -> str:
    "A signature with a parameter on each line."
    return "\n".join([f"{name}(", *(f"    {one}," for one in signature.parameters.values()), ")"])


def as_page(text: str) -> str:
    "A help text with its examples as blocks: what is indented there is typed into a terminal."
    return re.sub(
        r"^(examples?):\n(?=  )", r"\1:\n\n", re.sub(r"^  (?=inner-detectors )", "      ", text, flags=re.M), flags=re.M
    )


class Comments(griffe.Extension):
    "Moves comments into docstrings."

    def on_function(self, *, func, **_) -> None:
        parameters = [one for one in func.parameters if one.name not in ("self", "cls")]
        node = source_of(func)
        if node is None or not parameters:
            return
        every = [*node.args.posonlyargs, *node.args.args, *filter(None, [node.args.vararg]), *node.args.kwonlyargs]
        every += filter(None, [node.args.kwarg])
        starts = {one.arg: one.lineno for one in every}
        lines = sorted({*starts.values(), (node.returns or node.body[0]).lineno})
        said = {
            name: beside(func.filepath, line, next((one for one in lines if one > line), line + 1))
            for name, line in starts.items()
        }
        given = beside(func.filepath, node.returns.lineno, node.body[0].lineno) if node.returns else ""
        text = func.docstring.value if func.docstring else ""
        if any(said.values()) and "Args:" not in text:
            text += "\n\nArgs:\n" + "".join(f"    {name}: {comment}\n" for name, comment in said.items() if comment)
        if given and "Returns:" not in text:
            text += f"\n\nReturns:\n    {given}\n"
        if func.docstring:
            func.docstring.value = text
        elif text:
            func.docstring = griffe.Docstring(text.strip(), parent=func)

    def on_attribute(self, *, attr, **_) -> None:
        if str(attr.value).startswith("function_of("):  # its signature and its help are made when it is imported
            made = getattr(importlib.import_module(attr.module.path), attr.name)
            head = f"```python\n{format_signature(attr.name, inspect.signature(made))}\n```"
            attr.docstring = griffe.Docstring(f"{head}\n\n{as_page(inspect.getdoc(made) or '')}", parent=attr)
            return
        if attr.docstring or attr.lineno is None or not isinstance(attr.filepath, Path):
            return
        if said := beside(attr.filepath, attr.lineno, (attr.endlineno or attr.lineno) + 1):
            attr.docstring = griffe.Docstring(said, parent=attr)


@cache
def functions(path: Path) -> dict[int, ast.FunctionDef | ast.AsyncFunctionDef]:
    "Line of a `def` -> the function, and line of its first decorator likewise."
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found[node.lineno] = found[min([node.lineno, *(one.lineno for one in node.decorator_list)])] = node
    return found


def source_of(func) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    return functions(func.filepath).get(func.lineno) if isinstance(func.filepath, Path) else None
