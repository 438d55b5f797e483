"""Numbers in prose, each bound to where it comes from, so that no sentence outlives its measurement.

A bound number of a notebook or of the README stands between two comments that a reader does not see:

    SRN reaches <!-- = card('srn/scores/rain100l/psnr_y/mean'):.1f -->33.9<!-- / --> dB

The first has what an f-string has between its braces: an expression and, behind a colon, how to write it. A claim, a
phrase that holds as long as a comparison does, has a question mark in place of the equals sign:

    <!-- ? card('srn/parameters') < card('brn/parameters') -->SRN is the smaller one<!-- / -->

Expressions have numbers, + - * / and comparisons, `and`, `or`, `not`, the functions `FUNCTIONS`, and five sources:

    results('rain_statistics/images')          benchmarks/results: name of the file, then keys
    paper('brn/table-3/CRN/Rain100H/psnr')     derainlib.papers: table, row, then as in its figures, its differences
                                               or its note, a text; or table/stages
    card('srn/parameters')                     the card of shipped weights: name, then keys
    output('BRN', 2, 'PSNR')                   printed by the same notebook: the second number behind "BRN" on its line,
                                               in an output that has "PSNR" (the first, and any, where left out)
    catalogue('rain800')                       what derainlib.data.catalogue tells of a public set, a text

Of a text, `number` takes the one behind some words: number(catalogue('rain800'), 'not purely additive').

A path's parts are keys, which may have slashes themselves; in a list they are a place from 0, or key=value, which picks
the records that have it: results('scores/results/model=srn/dataset=rain100l/summary/psnr_y/mean').

`python -m derainlib.lab.publish --links` brings all numbers up to date; the gate and a test refuse those that are not,
claims that no longer hold, and sources that do not exist. A mark must not begin a line: there a comment would make the
whole line raw HTML.
"""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache, partial

import nbformat

from derainlib import papers
from derainlib.data import catalogue
from derainlib.errors import DerainError
from derainlib.lab.results import results
from derainlib.models import weights

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
FUNCTIONS = {
    "abs": abs, "len": len, "max": max, "min": min, "round": round, "sum": sum, "word": WORDS.__getitem__,
    "number": lambda text, *words: _behind([text], *words),
}  # fmt: skip
"""What an expression may call beside the sources; `word` writes a whole number up to twelve in letters."""

_MARK = re.compile(r"<!-- ([=?]) ([^\n]+?) -->(.*?)<!-- / -->", re.DOTALL)
_OPENED = re.compile(r"<!-- [=?] ")
_FIRST = re.compile(r"^[\s>]*(?:(?:[-*+]|\d+[.)])\s+)*<!-- [=?] ", re.MULTILINE)
_NUMBER = re.compile(r"(?<![\w.])(?>[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?)(?!\w)")
_ALLOWED = (
    ast.Expression, ast.JoinedStr, ast.FormattedValue, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call,
    ast.Name, ast.Constant, ast.Load, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def written(text: str, outputs: Sequence[str] = ()) -> str:
    """`text` with its bound numbers as their sources have them; what cannot be read, and claims, stay as they are.

    Args:
        text: Markdown.
        outputs: the texts that the notebook printed, for `output`.
    """
    fresh = (match[3] if value is None else value for match, value, _ in _read(text, outputs))
    return _MARK.sub(lambda match: f"<!-- {match[1]} {match[2]} -->{next(fresh)}<!-- / -->", text)


def problems(text: str, outputs: Sequence[str] = ()) -> list[str]:
    """What is wrong with the bound numbers of a text, a line each.

    Args:
        text, outputs: as `written` takes them.
    """
    wrong = [
        fault or f"{match[3]!r} is {value!r} by now: {match[2]}"
        for match, value, fault in _read(text, outputs)
        if fault or value not in (None, match[3])
    ]
    if len(_OPENED.findall(text)) != len(_MARK.findall(text)):
        wrong.append("a bound number is without its end, <!-- / -->")
    if _FIRST.search(text):
        wrong.append("a bound number begins a line, which would then be raw HTML: put a word before it")
    return wrong


def refresh(notebook: nbformat.NotebookNode) -> bool:
    """Write the bound numbers of a notebook anew; whether that changed it."""
    outputs, changed = printed(notebook), False
    for cell in _prose(notebook):
        source = written(cell.source, outputs)
        changed |= source != cell.source
        cell.source = source
    return changed


def wrong(notebook: nbformat.NotebookNode) -> list[str]:
    """What is wrong with the bound numbers of a notebook, a line each."""
    outputs = printed(notebook)
    return [problem for cell in _prose(notebook) for problem in problems(cell.source, outputs)]


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """The texts among a notebook's outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    texts = [output.get("text", "") for output in outputs]
    return texts + [text for o in outputs for kind, text in o.get("data", {}).items() if kind.startswith("text/")]


def look_up(value: object, path: str) -> object:
    """What lies at `path` in nested mappings and lists: see the module.

    Raises:
        DerainError: nothing does.
    """
    while path:
        branches = _branches(value)
        fitting = [name for name in branches if path == name or path.startswith(f"{name}/")]
        if not fitting:
            raise DerainError(f"there is no {path!r}; there are {', '.join(branches)[:200] or 'no further parts'}")
        name = max(fitting, key=len)
        value, path = branches[name], path[len(name) + 1 :]
    return value


def _branches(value: object) -> dict[str, object]:
    if isinstance(value, dict):
        return {str(key): inner for key, inner in value.items()}
    if not isinstance(value, list):
        return {}
    branches: dict[str, object] = {str(place): inner for place, inner in enumerate(value)}
    picked: dict[str, list] = {}
    for record in value:
        for key, inner in record.items() if isinstance(record, dict) else ():
            picked.setdefault(f"{key}={inner}", []).append(record)
    return branches | {name: some[0] if len(some) == 1 else some for name, some in picked.items()}


def _read(text: str, outputs: Sequence[str]) -> Iterator[tuple[re.Match, str | None, str | None]]:
    """Each mark of a text with what it should say (None for a claim) or with what is wrong with it."""
    names = FUNCTIONS | {
        "results": partial(_at, _results), "card": partial(_at, _card), "paper": partial(look_up, _tables()),
        "catalogue": catalogue.describe, "output": partial(_behind, outputs),
    }  # fmt: skip
    for match in _MARK.finditer(text):
        kind, source, _ = match.groups()
        try:
            value = _evaluated(f'f"""{{{source}}}"""' if kind == "=" else source, names)
        except DerainError as error:
            yield match, None, f"{source}: {error}"
            continue
        holds = kind == "=" or value is True
        fault = None if holds else f"{match[3]!r} no longer holds: {source}"
        yield match, value.replace("-", "−") if kind == "=" else None, fault


def _evaluated(expression: str, names: dict) -> object:
    try:
        tree = ast.parse(expression, mode="eval")
        if strange := [type(node).__name__ for node in ast.walk(tree) if not isinstance(node, _ALLOWED)]:
            raise DerainError(f"{strange[0]} is no part of a bound number")
        return eval(compile(tree, "<number>", "eval"), {"__builtins__": {}} | names)
    except (SyntaxError, TypeError, ValueError, NameError, LookupError, ZeroDivisionError) as error:
        raise error if isinstance(error, DerainError) else DerainError(f"cannot be read: {error}") from None


def _at(source, path: str) -> object:
    """What lies in a file: the first part of `path` is its name."""
    name, _, inner = path.partition("/")
    return look_up(source(name), inner)


_results, _card = cache(results), cache(weights.card)


@cache
def _tables() -> dict[str, dict]:
    return {
        name: {"stages": table.stages}
        | {row.label: row.figures | {k: v for k, v in _beside(row).items() if v} for row in table.rows}
        for name, table in papers.TABLES.items()
    }


def _beside(row: papers.table.Row) -> dict[str, object]:
    return {"differences": row.differences, "note": row.note}


def _behind(outputs: Sequence[str], words: str, place: int = 1, within: str = "") -> float:
    """The number behind some words on a line of one of the texts, and of no other value anywhere."""
    whole = re.compile(rf"(?<![\w.−-]){re.escape(_spaced(words))}(?!(?<=\w)\w)")
    texts = [text for text in outputs if _spaced(within) in _spaced(text)]
    places = [whole.search(line) for text in texts for line in map(_spaced, text.splitlines())]
    behind = [_NUMBER.findall(found.string, found.end()) for found in places if found]
    found = sorted({numbers[place - 1] for numbers in behind if len(numbers) >= place})
    if len(found) != 1:
        seen = " or ".join(found) or "nowhere"
        raise DerainError(f"number {place} behind {words!r} is {seen}: give words that stand on one line only")
    return json.loads(found[0].replace(",", "").replace("−", "-").lstrip("+"))


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _prose(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]
