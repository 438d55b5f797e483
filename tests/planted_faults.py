"""Faults that the tests must see: each is planted in a copy of the tree, and the tests named beside it must turn red.

    python tests/planted_faults.py                                   # all of them
    python tests/planted_faults.py --only "swapped gates" --jobs 2
    python tests/planted_faults.py --tree OLDER --json tests/planted_faults.json --label before

A fault is a piece of text and what to put in its place. The text is looked for in derainlib/ and notebooks/, wherever
it stands, so that the same list runs on an older and on a newer layout; one that is not found exactly once is an error.
Of each fault only its tests run, up to the first that is red; in the end all those that turned red run without any
fault, and must be green. They need no research data. Ends with status 0 if every fault was caught.
"""

import argparse
import json
import os
import platform
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = ("derainlib/**/*.py", "derainlib/weights/*.json", "notebooks/*.ipynb")
"""Where faults are planted."""
LEFT_OUT = (".git", ".venv", "runs", "pack", "__pycache__", ".*_cache")
"""What no copy of the tree needs."""
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
NBVAL = ("--nbval", "--nbval-current-env", "--nbval-cell-timeout=600")
GREEN, RED = 0, 1
"""Exit statuses of pytest; others mean that it could not do its work."""
PATIENCE = 900
"""Seconds after which a fault is taken for one that makes the tests hang."""

Edit = tuple[str, str | Callable[[str], str]]
"""A piece of text and its replacement; a function is given the whole file that holds the text, and returns it anew."""


class PlantError(Exception):
    """A fault that cannot be planted, or not be judged."""


@dataclass(frozen=True)
class Fault:
    """One fault."""

    name: str
    tests: str
    """Test files, paths or globs with blanks between them, or a notebook, which nbval runs: one must turn red. Those
    that are missing are left out if there is another."""
    old: str
    """The text, as it stands in one place of one file."""
    new: str | Callable[[str], str]
    """What stands there with the fault; or what makes the whole file with the fault of the whole file."""
    others: tuple[Edit, ...] = ()
    """The same fault in other layouts of the code: further pairs of old and new."""

    @property
    def edits(self) -> tuple[Edit, ...]:
        return ((self.old, self.new), *self.others)


@dataclass(frozen=True)
class Result:
    """What became of a fault."""

    fault: str
    file: str
    tests: str
    outcome: str
    """"caught", "missed", or what went wrong."""
    seconds: float = 0.0
    by: str = ""
    """The test that turned red."""

    def __str__(self) -> str:
        return f"{self.outcome:8}{self.seconds:7.1f} s  {self.fault:45} {self.file:38} {self.by or self.tests}"


# --- the faults -----------------------------------------------------------------------------------------------------


def stripped(notebook: str) -> str:
    """A notebook without outputs, as it is before it was run."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def miscounted(notebook: str) -> str:
    """A notebook of whose numbers in prose, each bound to its source, the first one has another digit."""
    return re.sub(r"(<!-- = [^>]*-->)(\d)", lambda found: found[1] + str(9 - int(found[2])), notebook, count=1)


def misled(notebook: str) -> str:
    """A notebook whose first link to a neighbour leads nowhere."""
    return notebook.replace(".ipynb)", ".ipynd)", 1)


FAULTS = (
    # images, files
    Fault(
        "EXIF's orientation is ignored", "tests/test_images.py",
        "return image.getexif().get(0x0112, 1)", "return 1",
    ),
    Fault(
        "transparency over black", "tests/test_images.py",
        "planes += 1 - alpha", "planes += 0 * alpha",
        (
            ("values += 1 - alpha", "values += 0 * alpha"),
            ("image * alpha + (1 - alpha)", "image * alpha + (0 * alpha)"),
        ),
    ),
    Fault(
        "RGB read as BGR", "tests/test_images.py",
        "np.atleast_3d(colour).transpose(2, 0, 1)", "np.atleast_3d(colour).transpose(2, 0, 1)[::-1]",
    ),
    Fault(
        "files written in place, not atomically", "tests/test_images.py",
        "    _clear(path.parent)\n",
        "    return path.write_bytes(data)\n    _clear(path.parent)\n",
    ),
    # rain, streaks, sparsity
    Fault(
        "the screen blend's sign", "tests/test_rain.py",
        "1 - (1 - clean) * (1 - streaks.clamp(max=1))", "1 - (1 - clean) * (1 + streaks.clamp(max=1))",
    ),
    Fault(
        "the epoch plays no part in draws", "tests/test_rain.py",
        "np.random.SeedSequence((seed, epoch, index))", "np.random.SeedSequence((seed, 0, index))",
    ),
    Fault(
        "layers are never mirrored", "tests/test_streaks.py", "mirrored=draws[1] < 0.5", "mirrored=False",
    ),
    Fault(
        "a wide bin's density is not divided by its width", "tests/test_sparsity.py",
        "np.log(self.count / (self.width * self.total))", "np.log(self.count / self.total)",
    ),
    # metrics
    Fault(
        "SSIM's constants are swapped", "tests/test_metrics.py",
        "c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2",
        "c1, c2 = (K2 * data_range) ** 2, (K1 * data_range) ** 2",
    ),
    Fault(
        "Y without its offset of 16", "tests/test_metrics.py",
        ".sum(1, keepdim=True) + 16) / 255", ".sum(1, keepdim=True)) / 255",
    ),
    Fault(
        "PSNR leaves out the border", "tests/test_metrics.py",
        "return -10 * (estimate - truth).square()", "return -10 * (estimate - truth)[..., 1:-1, 1:-1].square()",
    ),
    Fault(
        "an estimate is scored unclipped", "tests/test_metrics.py",
        "_quantise(estimate.clamp(0, 1), protocol.quantise)", "_quantise(estimate, protocol.quantise)",
    ),
    # data
    Fault(
        "the seed plays no part in samples", "tests/data/test_synthetic.py",
        "generators = [rain.generator(self.seed, epoch, index)", "generators = [rain.generator(0, epoch, index)",
    ),
    Fault(
        "a seed of the hold-out is another one", "tests/data/test_holdout.py",
        "seed=HOLDOUT_SEEDS[0],", "seed=HOLDOUT_SEEDS[7],",
    ),
    Fault(
        "photographs shared with the test set are no fault", "tests/data/test_audit.py",
        "return not (self.unusable or self.mismatched or self.shared)", "return not (self.unusable or self.mismatched)",
    ),
    Fault(
        "the halves of Rain800 are swapped", "tests/data/test_pairs.py",
        '_find_side_by_side("right")', '_find_side_by_side("left")',
    ),
    Fault(
        "what lies outside a turned street has a class", "tests/data/test_scenes.py",
        "return found.masked_fill_(~inside, IGNORED)", "return found",
    ),
    Fault(
        "what judges a training trains, too", "tests/data/test_validation.py",
        "sorted(set(range(len(given))) - set(held))", "sorted(set(range(len(given))))",
    ),
    # networks
    Fault(
        "swapped gates", "tests/models/test_recurrent.py",
        "i, f, o, _ = _sigmoid(gates).chunk(4, 1)", "f, i, o, _ = _sigmoid(gates).chunk(4, 1)",
    ),
    Fault(
        "a gate's gradient by hand", "tests/models/test_recurrent.py",
        "None if c is None else grad_new.mul_(f)", "None if c is None else grad_new.mul_(i)",
    ),
    Fault(
        "SRN's halo is a pixel short", "tests/models/test_recurrent.py",
        "return self.reach * self.stages - self.resets", "return self.reach * self.stages - self.resets - 1",
    ),
    Fault(
        "DCDNet drops a stage", "tests/models/test_dcdnet.py",
        "        for _ in range(self.stages):\n            fused",
        "        for _ in range(self.stages - 1):\n            fused",
    ),
    Fault(
        "the channel shuffle does nothing", "tests/models/test_qsnet.py",
        ".transpose(dim, dim + 1).flatten(dim, dim + 1)", ".flatten(dim, dim + 1)",
    ),
    Fault(
        "PHPNet's halo forgets its blocks", "tests/models/test_phpnet.py",
        "(self.refinement.reach if self.refinement else 0) + self.stride - 1",
        "(self.refinement.reach if self.refinement else 0)",
    ),
    Fault(
        "MENET's attention without what it weighs", "tests/models/test_menet.py",
        'x = x * (1 + kept["attention"][:, :, None, None])', 'x = x * kept["attention"][:, :, None, None]',
    ),
    Fault(
        "a folded normalisation's sign", "tests/models/test_menet.py",
        "norm.bias.to(dtype) - norm.running_mean.to(dtype) * scale",
        "norm.bias.to(dtype) + norm.running_mean.to(dtype) * scale",
    ),
    Fault(
        "strips overlap a row too little", "tests/models/test_recurrent.py tests/models/test_dcdnet.py",
        "start, bottom = max(0, top - depth), min(", "start, bottom = max(0, top - depth + 1), min(",
    ),
    Fault(
        "ESPNet's scales are not summed", "tests/models/test_segmentation.py",
        "merged.append(merged[-1] + scale)", "merged.append(scale)",
    ),
    Fault(
        "a free network's card without its licence", "tests/models/test_weights.py",
        " They were trained on CC0 photographs and drawn rain alone, so no research data set's terms bind them.", "",
    ),
    # losses
    Fault(
        "the first term of a sum is dropped", "tests/losses/test_balance.py tests/losses/test_terms.py",
        "return sum(self.weights[name] * value for name, value in values.items())",
        "return sum(self.weights[name] * value for name, value in list(values.items())[1:])",
    ),
    Fault(
        "balance weights are inverted", "tests/losses/test_balance.py",
        "torch.where(total == 0, (count - 1) / count, others / total)",
        "torch.where(total == 0, (count - 1) / count, values / total)",
    ),
    Fault(
        "early stages weigh like the last", "tests/losses/test_terms.py",
        "[self.early] * (len(layers.stages) - 1) + [self.last]", "[self.last] * len(layers.stages)",
    ),
    Fault(
        "the edge loss sees one direction", "tests/losses/test_edge.py",
        "torch.stack([across, across.T])", "torch.stack([across, across])",
    ),
    Fault(
        "the edge loss unprotected from half precision", "tests/losses/test_edge.py",
        "wide = difference.to(torch.promote_types(difference.dtype, torch.float32))", "wide = difference",
    ),
    Fault(
        "the quasi-sparsity of the background alone", "tests/losses/test_qsnet_losses.py",
        "for layer in (rain, background)", "for layer in (background,)",
    ),
    Fault(
        "unlabelled pixels count", "tests/losses/test_semantic.py",
        "losses * labels.numel() / (labels != IGNORED).sum()", "losses",
    ),
    # inference
    Fault(
        "tiles reach a pixel into their halo", "tests/test_inference.py",
        "stop = length if start == last else end - halo", "stop = length if start == last else end - halo + 1",
    ),
    Fault(
        "the ensemble is not mirrored back", "tests/test_inference.py",
        "background += estimate(rainy.flip(axes)).flip(axes)", "background += estimate(rainy.flip(axes))",
    ),
    # recipes, papers
    Fault(
        "QSNet's λ_Q", "tests/test_recipes.py",
        '"Q": Loss("quasi_sparsity", 1e-3)', '"Q": Loss("quasi_sparsity", 1e-2)',
    ),
    Fault(
        "a wrong figure in BRN's Table III", "tests/test_papers.py",
        "_heavy(30.22, 0.910)", "_heavy(30.32, 0.910)",
    ),
    Fault(
        "DCDNet's refined image in Eq. 6", "tests/test_recipes.py tests/models/test_dcdnet.py",
        '"early": 1.0, "last": 0.0})', '"early": 1.0, "last": 1.0})',
    ),
    Fault(
        "MENET-LB balanced by gradients", "tests/test_recipes.py",
        'CA: MENET-LB", _P, _E, _T, balance="loss")', 'CA: MENET-LB", _P, _E, _T, balance="gradient")',
    ),
    Fault(
        "PHPNet's λ of colour", "tests/test_recipes.py",
        '_COLOUR = Loss("colour", 0.1)', '_COLOUR = Loss("colour", 0.01)',
    ),
    # training
    Fault(
        "a resumed training forgets its optimiser", "tests/test_training*.py tests/training/*.py",
        "            self.progress.step = done  # without",
        "            self.progress.step = done\n"
        "        else:\n            self.optimizer.optimizer.state.clear()  # without",
    ),
    Fault(
        "the schedule is a step ahead", "tests/test_training*.py tests/training/*.py",
        "else step / recipe.steps)", "else (step + 1) / recipe.steps)",
    ),
    Fault(
        "the average of the weights is not used", "tests/test_training*.py tests/training/*.py",
        "return self.average.module if self.average else self._plain()", "return self._plain()",
    ),
    Fault(
        "the best weights are the latest", "tests/test_training*.py tests/training/*.py",
        "if scores[self.recipe.criterion] > self.progress.best:", "if scores[self.recipe.criterion] > -1e9:",
    ),
    Fault(
        "gradients are never clipped", "tests/test_training*.py tests/training/*.py",
        "if process.sync_gradients and recipe.clip:", "if False:",
    ),
    # scores, studies, commands
    Fault(
        "a gain's interval is not paired", "tests/test_evaluation.py",
        "gain_low, gain_high = interval(gains)", "gain_low, gain_high = low - rainy.mean(), high - rainy.mean()",
    ),
    Fault(
        "the rainy streets are read dry", "tests/test_seeing.py",
        "read(RAINY, pair.rainy, pair)", "read(RAINY, pair.clean, pair)",
    ),
    Fault(
        "every seed of a study is 0", "tests/test_studies*.py tests/test_workshop*.py",
        '"seed": seed, "losses": losses}', '"seed": 0, "losses": losses}',
        (('changes = shared | row.changes | {"options": options, "seed": seed}',
          'changes = shared | row.changes | {"options": options, "seed": 0}'),),
    ),
    Fault(
        "--strength is ignored", "tests/test_cli.py",
        '("tile", "device", "dtype", "ensemble", "strength")', '("tile", "device", "dtype", "ensemble")',
    ),
    Fault("--limit is ignored", "tests/test_cli.py", "limit=args.limit, progress=show", "limit=None, progress=show"),
    # the house
    Fault(
        "data import networks", "tests/test_imports.py",
        "from derainlib.data.holdout import KINDS, Holdout\n",
        "from derainlib.data.holdout import KINDS, Holdout\nfrom derainlib.models import create\n",
    ),
    Fault(
        "other packages' networks are not found", "tests/test_sixth_network.py",
        "return own + [point.load() for point in entry_points(group=package)]", "return own",
        (("return own + [point.load() for point in _added().select(group=package)]", "return own"),),
    ),
    # lab, notebooks
    Fault(
        "a widget swallows what its callback raises", "tests/lab/test_widgets.py",
        "{html.escape(str(error))}\"\n            raise\n", "{html.escape(str(error))}\"\n            return\n",
    ),
    Fault(
        "an exercise forgives every difference", "tests/lab/test_exercises.py",
        "if worst > self.tolerance * max(", "if worst > 1e9 * max(",
    ),
    Fault(
        "an exercise refuses single numbers, right ones too", "tests/lab/test_exercises.py",
        "if mine.shape != theirs.shape:", "if mine.shape != theirs.shape or not mine.shape:",
    ),
    Fault(
        "a demonstration leaves no picture on the page", "tests/lab/test_widgets.py",
        "LIVE: live} | figures.stored(self.strip)", "LIVE: live}",
    ),
    Fault(
        "a photograph is stored with 256 colours", "tests/lab/test_figures.py", "_GRAPH = 2  #", "_GRAPH = 99  #",
    ),
    Fault(
        "a wrong number in the prose of notebook 06", "tests/notebooks/test_gate.py", "# 06 · DCDNet\\n", miscounted,
    ),
    Fault(
        "a broken link in notebook 04", "tests/notebooks/test_gate.py", "# 04 · Decomposition by descent", misled,
    ),
    Fault(
        "a notebook without its outputs", "tests/notebooks/test_gate.py",
        "# 04 · Decomposition by descent", stripped,
    ),
    Fault(
        "a widget of notebook 00 raises when it is moved", "notebooks/00_start_here.ipynb",
        "wet = derainlib.add_rain(astronaut, kind", "assert seed == 0; wet = derainlib.add_rain(astronaut, kind",
    ),
    Fault(
        "PSNR is half of what notebook 00 stores", "notebooks/00_start_here.ipynb",
        "return -10 * (estimate - truth).square().mean(dim=(1, 2, 3)).log10()",
        "return -5 * (estimate - truth).square().mean(dim=(1, 2, 3)).log10()",
    ),
)  # fmt: skip


# --- planting -------------------------------------------------------------------------------------------------------


def texts(tree: Path) -> dict[Path, str]:
    """Every file of a tree in which faults may be planted, by its path in the tree."""
    return {path.relative_to(tree): path.read_text() for place in PLACES for path in sorted(tree.glob(place))}


def planted(fault: Fault, files: dict[Path, str]) -> tuple[Path, str]:
    """The file that a fault stands in, and its text with the fault.

    Raises:
        PlantError: the text of none of its edits is found, or more than one.
    """
    found = [
        (path, old, new, text.count(old)) for old, new in fault.edits for path, text in files.items() if old in text
    ]
    if len(found) != 1 or found[0][-1] != 1:
        where = ", ".join(f"{count} x {path}" for path, *_, count in found) or "nowhere"
        raise PlantError(f"its text must stand in one place, and stands in: {where}")
    path, old, new, _ = found[0]
    return path, new(files[path]) if callable(new) else files[path].replace(old, new)


def named(tests: str, tree: Path) -> list[str]:
    """The test files of a tree that are meant.

    Raises:
        PlantError: there is none.
    """
    found = {str(path.relative_to(tree)) for pattern in tests.split() for path in tree.glob(pattern)}
    if not found:
        raise PlantError(f"there are no tests {tests}")
    return sorted(found)


def copied(tree: Path, folder: Path) -> Path:
    """A copy of a tree as `folder`, without what git and Python keep in it."""
    return Path(shutil.copytree(tree, folder, ignore=shutil.ignore_patterns(*LEFT_OUT)))


def run(tree: Path, tests: Sequence[str], *flags: str) -> tuple[int, str]:
    """pytest's exit status and what it printed, from a copy of the tree.

    Nothing compiled is kept: a fault may be as long as what it replaces, and as old as its restoration.
    """
    flags += NBVAL if any(test.endswith(".ipynb") for test in tests) else ()
    found = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    found.pop("DERAIN_DATA", None)
    try:
        done = subprocess.run(
            [*PYTEST, *flags, *tests], cwd=tree, env=found, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end after {PATIENCE} s"
    return done.returncode, done.stdout + done.stderr


def reds(output: str) -> list[str]:
    """The tests that pytest calls failed, or broken before they began."""
    return re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)


# --- judging --------------------------------------------------------------------------------------------------------


def judge(fault: Fault, tree: Path) -> Result:
    """Plants a fault in a copy of the tree, runs its tests up to the first red one, and takes the fault out again."""
    try:
        path, text = planted(fault, texts(tree))
        tests = named(fault.tests, tree)
    except PlantError as error:
        return Result(fault.name, "", fault.tests, f"error: {error}")
    before, began = (tree / path).read_text(), time.monotonic()
    (tree / path).write_text(text)
    try:
        status, output = run(tree, tests, "-x")
    finally:
        (tree / path).write_text(before)
    red = reds(output)
    if status == GREEN:
        outcome = "missed"
    elif status == RED and red:
        outcome = "caught"
    else:
        outcome = f"error: pytest ended with {status}: {output[-1500:]}"
    seconds = round(time.monotonic() - began, 1)
    return Result(fault.name, str(path), " ".join(tests), outcome, seconds, red[0] if outcome == "caught" else "")


def without_faults(results: Sequence[Result], tree: Path) -> list[Result]:
    """The results, but for those whose test is red without the fault, too."""
    # Of a notebook every cell wants those before it.
    wanted = {r.by: r.by.partition("::")[0] if ".ipynb::" in r.by else r.by for r in results if r.by}
    status, output = run(tree, sorted(set(wanted.values()))) if wanted else (GREEN, "")
    if status not in (GREEN, RED):
        raise PlantError(f"the tests cannot run without a fault: {output[-3000:]}")
    red = {test.partition("::")[0] if ".ipynb::" in test else test for test in reds(output)}
    return [replace(r, outcome="error: red without the fault") if wanted.get(r.by) in red else r for r in results]


def judge_all(
    faults: Sequence[Fault], tree: Path, jobs: int = 1, show: Callable[[object], None] = print
) -> list[Result]:
    """Judges faults in as many copies of the tree as there are jobs; then the tests that turned red run without any."""
    with tempfile.TemporaryDirectory() as folder:
        free = queue.Queue()
        for i in range(jobs):
            free.put(copied(tree, Path(folder, str(i))))

        def work(fault: Fault) -> Result:
            own = free.get()
            try:
                result = judge(fault, own)
            finally:
                free.put(own)
            show(result)
            return result

        with ThreadPoolExecutor(jobs) as pool:
            results = list(pool.map(work, faults))
        return without_faults(results, free.get())


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults of these names; all if there are none.

    Raises:
        PlantError: an unknown name.
    """
    known = {fault.name: fault for fault in FAULTS}
    if unknown := [name for name in names if name not in known]:
        raise PlantError(f"no fault is called {', '.join(unknown)}; there are {'; '.join(known)}")
    return [known[name] for name in names] or list(FAULTS)


def keep(path: Path, label: str, results: Sequence[Result]) -> None:
    """Puts the results into a JSON file, beside those of other labels."""
    content = json.loads(path.read_text()) if path.exists() else {}
    content[label] = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "caught": sum(result.outcome == "caught" for result in results),
        "faults": [asdict(result) for result in results],
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if every fault was caught, 1 if not, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(description="Plants faults, and sees whether the tests turn red.")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these faults (all)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="faults at a time, each in a copy of the tree (%(default)s)"
    )
    parser.add_argument("--tree", type=Path, default=ROOT, help="the repository's root, or an older one (this one)")
    parser.add_argument("--json", type=Path, help="file that keeps the results")
    parser.add_argument("--label", default="after", help="what it calls them (%(default)s)")
    parser.add_argument("--list", action="store_true", help="name the faults, and end")
    options = parser.parse_args(arguments)
    try:
        faults = chosen(options.only)
        if options.list:
            print(*(fault.name for fault in faults), sep="\n")
            return 0
        results = judge_all(faults, options.tree.resolve(), options.jobs)
    except PlantError as error:
        print(error, file=sys.stderr)
        return 2
    others = [result for result in results if result.outcome != "caught"]
    print(f"\n{len(results) - len(others)} of {len(results)} faults caught", *others, sep="\n")
    if options.json:
        keep(options.json, options.label, results)
    return int(bool(others))


if __name__ == "__main__":
    sys.exit(main())
