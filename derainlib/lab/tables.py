"""Tables as text, for notebooks: what a paper reports, what a study found, how quick networks are.

print(tables.paper("phpnet/table-5"))
print(tables.study(results("study_menet-table-1")))
print(tables.speed(224))
"""

from collections.abc import Mapping

from derainlib import papers, recipes
from derainlib.errors import DerainError
from derainlib.evaluation import RAINY, aligned
from derainlib.lab.results import results

FORMATS = {"psnr": ".2f", "ssim": ".4f", "accuracy": ".3f", "miou": ".3f", "seconds": "g", "parameters": ","}
"""How a paper's figures are written, by measure."""

EVERY_ROW = "every row: "
"""How a study's heading begins; the gate looks for it, and for the rainy input's row below it."""

PROTOCOLS = {"psnr_rgb": "RGB", "psnr_y": "Y"}
"""Where PSNR is taken, by its name in reports."""


def paper(name: str) -> str:
    """A table of a paper: its figures, by row, place and measure; empty where the paper gives none.

    Args:
        name: as `derainlib.papers.get` takes it, "brn/table-3".
    """
    table = papers.get(name)
    columns = list(
        dict.fromkeys((place, key) for row in table.rows for place in row.figures for key in row.figures[place])
    )
    lines = [["", *(place for place, _ in columns)], [table.source.partition(":")[0], *(key for _, key in columns)]]
    for row in table.rows:
        found = [row.figures.get(place, {}).get(key) for place, key in columns]
        cells = zip(found, columns, strict=True)
        lines.append([row.label, *("" if value is None else f"{value:{FORMATS[key]}}" for value, (_, key) in cells)])
    return aligned(lines)


def study(found: Mapping, psnr: Mapping[str, str] | None = None) -> str:
    """A study's budget and protocol, and the mean PSNR and SSIM of each row on each set, the rainy input's first.

    Args:
        found: a report of `derainlib.studies`, as its JSON holds it.
        psnr: from the sets to show to the kind of PSNR; without it all sets, in RGB.

    Raises:
        DerainError: the report lacks the rainy input, without which nobody sees whether a row takes rain off at all.
    """
    budget = found["budget"]
    sets = psnr or dict.fromkeys((name for row in found["rows"] for name in row["sets"]), "psnr_rgb")
    seeds = ", ".join(map(str, budget["seeds"]))
    heading = f"{EVERY_ROW}{budget['steps']:,} steps of {budget['batch']} patches of {budget['patch']}², seeds {seeds}"
    if budget["without"]:
        heading += f", without {' and '.join(budget['without'])}"
    if stages := _stages(found):
        heading += f"; T = {', '.join(map(str, stages))}"
    first = found["rows"][0]["sets"]
    told = (f"{name} ({first[name]['images']} images, PSNR in {PROTOCOLS[kind]})" for name, kind in sets.items())
    heading += f"\nmeans over seeds and images, SSIM in Y: {', '.join(told)}"
    if dry := [name for name, kind in sets.items() if not {kind, "ssim_y"} <= _rainy(first[name])]:
        raise DerainError(f"{found['study']} has no rainy input on {', '.join(dry)}: score it, or show no table")
    rows = [(RAINY, found["rows"][0], "rainy"), *((row["row"], row, "mean") for row in found["rows"])]
    lines = [["PSNR (dB) / SSIM", *sets]]
    for title, row, what in rows:
        scores = [(row["sets"][name][kind][what], row["sets"][name]["ssim_y"][what]) for name, kind in sets.items()]
        lines.append([title, *(f"{decibels:.2f} / {similarity:.3f}" for decibels, similarity in scores)])
    return f"{heading}\n\n{aligned(lines)}"


def _stages(found: Mapping) -> list[int]:
    """The numbers of stages T among a study's rows; none, where networks have none."""
    scale, shared = found["budget"]["scale"], found["budget"]["changes"].get("options", {})
    fixed = (recipes.get(row["recipe"]).options for row in found["rows"])  # what is a row's own no change undoes
    scaled = (recipes.get(row["recipe"], scale).options for row in found["rows"])
    options = [at_scale | shared | own for at_scale, own in zip(scaled, fixed, strict=True)]
    return sorted({chosen["stages"] for chosen in options if "stages" in chosen})


def _rainy(scores: Mapping) -> set[str]:
    """The measures of a row on a set that the rainy input has as well."""
    return {name for name, score in scores.items() if isinstance(score, Mapping) and "rainy" in score}


def speed(size: int) -> str:
    """Seconds that our networks take for a square photograph, in fp32, and how much quicker than BRN that is.

    Args:
        size: side in pixels, one of those that `benchmarks/network_speed.py` measured.
    """
    measured = results("network_speed")
    times = next(one["networks"] for one in measured["measured"] if (one["size"], one["precision"]) == (size, "fp32"))
    half = {one["size"]: one["networks"] for one in measured["measured"] if one["precision"] == "bf16"}.get(size, {})
    bases = [f"times quicker than {base}" for base in ("brn", "brn, textbook") if base in times]
    lines = [["", "fp32 (s)", "bf16 (s)", *bases]]
    for name, row in times.items():
        other = f"{half[name]['seconds']:.3f}" if name in half else ""
        lines.append([name, f"{row['seconds']:.3f}", other, *(f"{row[base]:.1f}" for base in bases)])
    return f"{size} × {size} pixels, {machine(measured)}\n\n{aligned(lines)}"


def machine(measured: Mapping) -> str:
    """What a benchmark's results were measured with: threads, processor or GPU, version of PyTorch."""
    facts = measured["machine"]
    return f"{facts['threads']} thread(s), {facts['gpu'] or 'cpu'}, PyTorch {facts['torch'].partition('+')[0]}"
