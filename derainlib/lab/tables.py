"""Tables as text, for notebooks: what a paper reports, what a study found, how quick networks are.

print(tables.paper("phpnet/table-5"))
print(tables.study(results("study_menet-table-1")))
print(tables.speed(224))
"""

from collections.abc import Mapping

from derainlib import papers
from derainlib.evaluation import aligned
from derainlib.lab.results import results

FORMATS = {"psnr": ".2f", "ssim": ".4f", "accuracy": ".3f", "miou": ".3f", "seconds": "g", "parameters": ","}
"""How a paper's figures are written, by measure."""


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
    """A study's budget, and the mean PSNR and SSIM of each row on each set, the rainy input's among them.

    Args:
        found: a report of `derainlib.studies`, as its JSON holds it.
        psnr: from the sets to show to the kind of PSNR; without it all sets, in RGB.
    """
    budget = found["budget"]
    sets = psnr or dict.fromkeys((name for row in found["rows"] for name in row["sets"]), "psnr_rgb")
    seeds = ", ".join(map(str, budget["seeds"]))
    heading = f"every row: {budget['steps']:,} steps of {budget['batch']} patches of {budget['patch']}², seeds {seeds}"
    if budget["without"]:
        heading += f", without {' and '.join(budget['without'])}"
    rows = [("rainy input", found["rows"][0], "rainy"), *((row["row"], row, "mean") for row in found["rows"])]
    lines = [["PSNR (dB) / SSIM", *sets]]
    for title, row, what in rows:
        scores = [(row["sets"][name][kind][what], row["sets"][name]["ssim_y"][what]) for name, kind in sets.items()]
        lines.append([title, *(f"{decibels:.2f} / {similarity:.3f}" for decibels, similarity in scores)])
    return f"{heading}\n\n{aligned(lines)}"


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
    machine = measured["machine"]
    where = f"{machine['threads']} thread(s), {machine['gpu'] or 'cpu'}, PyTorch {machine['torch'].split('+')[0]}"
    return f"{size} × {size} pixels, {where}\n\n{aligned(lines)}"
