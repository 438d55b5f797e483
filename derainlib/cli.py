"""`derain …`: each command reads its words and calls the library.

Ends with status 0, with 1 if some of a folder's images or of a study's trainings failed or a check found faults, with 2
and one line on stderr if nothing could be done, whatever the reason (DERAIN_TRACEBACK=1 in the environment shows it
all). An existing file is replaced only with --overwrite.
"""

import argparse
import ast
import functools
import itertools
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from derainlib import __version__
from derainlib.errors import DerainError, one_line, printable


class Command(NamedTuple):
    """One word after `derain`: its line in the help, its arguments, and what it does (returns the exit status)."""

    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


# --- words that are the fields of a dataclass ---------------------------------------------------------------

JOB, ORDER = ("training/job.py", "Job"), ("studies.py", "Order")
"""Where a dataclass stands, and its name."""


class Field(NamedTuple):
    """A field of a dataclass as its source has it: the annotation, the default (if it is plain), and the sentence."""

    kind: str
    default: object
    sentence: str


@functools.cache
def _fields(place: tuple[str, str]) -> dict[str, Field]:
    """The fields of a dataclass by name. They are read, not imported: help must not wait for torch."""
    file, name = place
    module = ast.parse((Path(__file__).parent / file).read_text(encoding="utf-8"))
    (body,) = (node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
    return {
        field.target.id: Field(ast.unparse(field.annotation), _plain(field.value), sentence.value.value)
        for field, sentence in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(sentence, ast.Expr)
    }


def _plain(value: ast.expr | None) -> object:
    """The default that is written down; argparse.SUPPRESS leaves any other to the dataclass."""
    try:
        return ast.literal_eval(value)
    except ValueError:
        return argparse.SUPPRESS


def _help(place: tuple[str, str], name: str) -> str:
    """A field's sentence as help, with its default where that says something."""
    _, default, sentence = _fields(place)[name]
    text = " ".join(sentence.split()).replace("%", "%%").removesuffix(".")
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return text[0].lower() + text[1:] + (f" ({shown})" if shown and shown != argparse.SUPPRESS else "")


def _option(parser: argparse.ArgumentParser, place: tuple[str, str], name: str, old: str | None = None) -> None:
    """The option that a field is, of its type and with its default; it goes by its old name too, which help hides."""
    kind, default, _ = _fields(place)[name]
    how = {"type": {"int": int, "float": float}.get(kind.removeprefix("tuple[").split(",")[0], str), "dest": name}
    if kind.startswith("tuple"):
        how["nargs"] = "+"
    parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=_help(place, name), **how)
    if old:
        parser.add_argument(old, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **how)


# --- image, folder ------------------------------------------------------------------------------------------


def _network_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="brn", help="shipped weights by name, or a .safetensors file (%(default)s)")
    _inference_arguments(parser)
    parser.add_argument("--bits", type=int, default=8, help="8, or 16 for PNG and TIFF (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there already")
    parser.add_argument(
        "--keep-profile", action="store_true", help="the source's colour profile in the result, in place of sRGB"
    )


def _inference_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tile", type=int, help="largest side of a window in pixels (chosen to bound memory)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (a GPU if there is one)")
    parser.add_argument("--dtype", default="fp32", help="fp32, bf16 or, on a GPU, fp16 (%(default)s)")
    parser.add_argument(
        "--ensemble", action="store_true", help="mean over four mirrored copies: a little better, four times the work"
    )
    parser.add_argument(
        "--strength", type=float, default=1.0,
        help="how much of the rain found is taken off: 0 none, 1 all, up to 2 (%(default)s)",
    )  # fmt: skip


def _settings(args: argparse.Namespace) -> dict:
    names = ("tile", "device", "dtype", "ensemble", "strength")
    return {name: getattr(args, name) for name in names} | {"progress": sys.stderr.isatty()}


def _image_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="the rainy photograph")
    parser.add_argument("output", type=Path, help="the file to write; its ending decides on the format")
    _network_arguments(parser)


def _image(args: argparse.Namespace) -> int:
    from derainlib import images, inference

    images.check_target(args.output, args.bits)
    _refuse_existing(args.output, args.overwrite)
    settings = _settings(args) | {"bits": args.bits, "keep_profile": args.keep_profile}
    if lost := inference.derain_file(args.input, args.output, args.model, **settings):
        print(f"derain: {lost}", file=sys.stderr)
    return 0


def _folder_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="the folder with the rainy photographs")
    parser.add_argument("output", type=Path, help="the folder for the results; made if missing")
    parser.add_argument("--pattern", help="which files to take, for example '*.jpg' (all images)")
    _network_arguments(parser)


def _folder(args: argparse.Namespace) -> int:
    from derainlib import inference

    report = inference.derain_folder(
        args.input, args.output, args.model, pattern=args.pattern, overwrite=args.overwrite, bits=args.bits,
        keep_profile=args.keep_profile, **_settings(args),
    )  # fmt: skip
    print(report)
    return 1 if report.failed else 0


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise DerainError(f"{path} is there already; --overwrite replaces it")


# --- video -------------------------------------------------------------------------------------------------


def _video_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="the rainy video")
    parser.add_argument("output", type=Path, help="the video to write: .mp4, .m4v, .mov or .mkv, H.264 with the sound")
    parser.add_argument("--model", default="brn", help="shipped weights by name, or a .safetensors file (%(default)s)")
    _inference_arguments(parser)
    parser.add_argument("--quality", type=int, default=18, help="0 (largest, loses nothing) to 51 (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there already")


def _video(args: argparse.Namespace) -> int:
    from derainlib import video

    _refuse_existing(args.output, args.overwrite)
    if lost := video.derain(args.input, args.output, args.model, quality=args.quality, **_settings(args)):
        print(f"derain: {lost}", file=sys.stderr)
    return 0


# --- scenes -------------------------------------------------------------------------------------------------


def _scenes_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="the folder of labelled scenes, as CamVid or Cityscapes lie")
    parser.add_argument("output", type=Path, help="the folder to make, in CamVid's layout")
    parser.add_argument("--split", help="train, val or test, where the folder has them")
    parser.add_argument("--rain", default="streets", help="preset or mix of rain (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the rain; another one for each split (%(default)s)")
    parser.add_argument("--copies", type=int, default=1, help="how often each scene, in other rain (%(default)s)")
    parser.add_argument("--model", help="derain the scenes with these weights, a shipped name or a .safetensors file")
    _inference_arguments(parser)


def _scenes(args: argparse.Namespace) -> int:
    from functools import partial

    from derainlib import inference
    from derainlib.data import export, scenes
    from derainlib.models import weights

    folder = scenes.read(args.input, args.split, scenes.CAMVID)
    settings = _settings(args) | {"progress": False}
    clean = partial(inference.clean, weights.load(args.model), **settings) if args.model else None
    how = {"seed": args.seed, "copies": args.copies, "progress": sys.stderr.isatty()}
    written = export.write(folder, args.output, args.rain, clean=clean, **how)
    derained = f", derained by {Path(args.model).stem}" if args.model else ""
    print(f"{args.output}: {len(written)} scenes with their labels, in {args.rain} rain{derained}")
    return 0


# --- check --------------------------------------------------------------------------------------------------


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the folder of pairs, photographs or labelled streets")
    parser.add_argument("--recipe", default="brn", help="whose patches must fit into the images (%(default)s)")
    _option(parser, JOB, "scale")
    parser.add_argument(
        "--sets-dir", type=Path, help="the folder that holds bsds500/, rain100l/ … and splits/: what is kept for tests",
    )  # fmt: skip


def _check(args: argparse.Namespace) -> int:
    from derainlib import recipes
    from derainlib.data import check

    patch = recipes.get(args.recipe, args.scale).patch
    checked = check.check(args.folder, patch=patch, kept=args.sets_dir, progress=sys.stderr.isatty())
    print(checked)
    return 1 if checked.findings else 0


# --- models, convert ----------------------------------------------------------------------------------------


def _models(args: argparse.Namespace) -> int:
    from derainlib import models
    from derainlib.models import weights

    shipped = weights.shipped()
    names = models.list_models()
    width = max(map(len, names))
    print(f"{'name':{width}} {'parameters':>10} {'halo':>5}  weights")
    for name in names:
        network = models.create(name)
        count = sum(parameter.numel() for parameter in network.parameters())
        print(f"{name:{width}} {count:>10,} {network.halo:>5}  {'shipped' if name in shipped else '-'}")
    return 0


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="the authors' .pth file")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    parser.add_argument("--model", help="name of the network (told from the tensors)")
    parser.add_argument("--stages", type=int, help="T, which no checkpoint tells (the network's default)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there already")


def _convert(args: argparse.Namespace) -> int:
    from derainlib.models import weights

    card = args.output.with_suffix(".json")
    for path in (args.output, card):
        _refuse_existing(path, args.overwrite)
    if card.exists() and not weights.is_card(card):
        raise DerainError(f"{card}, where the card belongs, is no card of weights; name another output")
    options = {} if args.stages is None else {"stages": args.stages}
    network = weights.convert(args.input, model=args.model, **options)
    weights.save(network, args.output, {"source": f"converted from the authors' checkpoint {args.input.name}"})
    print(f"{args.output}: {network.name} with {sum(p.numel() for p in network.parameters()):,} parameters")
    return 0


# --- score, train, study ------------------------------------------------------------------------------------


def _set_arguments(parser: argparse.ArgumentParser) -> None:
    _option(parser, ORDER, "sets")
    _option(parser, ORDER, "sets_dir", old="--data")


def _score_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", help="shipped weights by name, or .safetensors files")
    _set_arguments(parser)
    parser.add_argument("--scores", nargs="+", default=["psnr_rgb", "psnr_y", "ssim_y"], help="(%(default)s)")
    parser.add_argument("--limit", type=int, help="score only the first so many pairs of each set")


def _score(args: argparse.Namespace) -> int:
    from derainlib import evaluation
    from derainlib.models import weights

    networks = {name: weights.load(name) for name in args.models}
    sets = {name: evaluation.dataset(name, args.sets_dir or None) for name in args.sets}
    show = sys.stderr.isatty()
    print(evaluation.table(evaluation.compare(networks, sets, args.scores, limit=args.limit, progress=show)))
    return 0


def _data() -> list[str]:
    """The fields of a job that say what to train on."""
    return [name for name in _fields(JOB) if name.endswith(("_dir", "_list")) and name != "out_dir"]


def _training_arguments(parser: argparse.ArgumentParser) -> None:
    """What `train` and `study` share."""
    for name in ("scale", *_data(), "steps"):
        _option(parser, JOB, name, old=f"--data-{name[6:]}" if name.startswith("pairs") else None)
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="FIELD=VALUE", dest="changes",
        help=_help(JOB, "changes") + """, values in JSON: batch=4 'options={"stages": 3}'""",
    )  # fmt: skip


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("recipe", "out_dir"):
        parser.add_argument(name, help=_help(JOB, name))
    _training_arguments(parser)
    for name in ("minutes", "start", "vgg", "workers"):
        _option(parser, JOB, name)
    parser.add_argument("--compile", action="store_true", dest="compiled", help=_help(JOB, "compiled"))


def _train(args: argparse.Namespace) -> int:
    from derainlib.training import Job

    words = {name: value for name, value in vars(args).items() if name != "run"}
    result = Job.of(words | {"changes": dict(map(_change, args.changes))}).run(progress=sys.stderr.isatty())
    print(f"{result.steps} steps in {result.seconds:.0f} s; the weights are {result.last}")
    return 0


def _change(text: str) -> tuple[str, object]:
    """A field of the recipe and its value; what is not JSON is taken as a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise DerainError(f"--set takes FIELD=VALUE, not {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


class _ListStudies(argparse.Action):
    """`--list`: prints the studies and ends, as --help does."""

    def __init__(self, option_strings, dest, help=None):
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser, *_):
        from derainlib.studies import STUDIES

        for study in STUDIES.values():
            print(f"{study.name:20} {study.source} ({', '.join(row.label for row in study.rows)})")
        parser.exit()


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action=_ListStudies, help="list the studies and their rows, and end")
    parser.add_argument("studies", nargs="+", metavar="NAME", help=_help(ORDER, "studies"))
    parser.add_argument("out_dir", metavar="OUT", help=_help(ORDER, "out_dir"))
    _training_arguments(parser)
    for name in ("seeds", "rows", "without"):
        _option(parser, ORDER, name)
    _set_arguments(parser)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, each on one core (%(default)s)")


def _study(args: argparse.Namespace) -> int:
    from derainlib import studies

    words = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(args).items()}
    given = {name: words[name] for name in _fields(ORDER) if name in words}
    data = {name: words[name] for name in _data() if words[name]}
    order = studies.Order(**given | {"changes": dict(map(_change, args.changes)), "data": data})
    found = order.run(args.jobs, progress=True)
    print("\n\n".join(map(studies.table, found)))
    return 1 if any(report["failed"] for report in found) else 0


# --- all of them --------------------------------------------------------------------------------------------

COMMANDS = {
    "image": Command("take the rain off one photograph", _image_arguments, _image),
    "folder": Command("take the rain off every photograph below a folder", _folder_arguments, _folder),
    "video": Command("take the rain off a video, each frame by itself", _video_arguments, _video),
    "scenes": Command("write labelled street scenes in the rain, or derained", _scenes_arguments, _scenes),
    "check": Command("look for faults in a folder, before any training", _check_arguments, _check),
    "models": Command("list the networks", lambda parser: None, _models),
    "score": Command("score networks on sets of pairs, beside the rainy input", _score_arguments, _score),
    "train": Command("train a recipe, or go on with a run", _train_arguments, _train),
    "study": Command("train a paper's ablation table at one budget, and compare its rows", _study_arguments, _study),
    "convert": Command("turn the authors' weights into ours", _convert_arguments, _convert),
}
"""The commands by name."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="derain", description="Takes the rain off photographs.")
    parser.add_argument("--version", action="version", version=f"derainlib {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.summary, description=f"{command.summary.capitalize()}.")
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after `derain`; by default those of the command line.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console of another encoding is no reason to end
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"derain: {printable(str(message))}", file=sys.stderr)
            status = _run(argv)
        sys.stdout.flush()  # or Python would say at its end that nobody reads any more
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        reason, status = "interrupted", 130
    except Exception as error:
        if os.environ.get("DERAIN_TRACEBACK"):
            raise
        reason, status = _reason(error), 2
    print(f"derain: {printable(reason)}", file=sys.stderr)
    return status


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = _parser().parse_args(argv)
    except SystemExit as end:  # help was printed, or a word was wrong
        sys.stdout.flush()
        raise end from None
    return args.run(args)


ADVICE = {
    "or pass both as read((rainy_folder, clean_folder))": "or give a text file with two paths a line, rainy and clean",
    "name the layout or pass two folders": "give a text file with two paths a line, rainy and clean",
    "read them with pairs.photographs(), otherwise": "give them as --clean-dir, otherwise",
    "in `split`": "in a file for --pairs-list",
    "with `split`": "by a list, --pairs-list",
}
"""What messages advise people who write Python, and what it is called here."""


def _in_words(message: str) -> str:
    """A message in the words of the command line."""
    for theirs, ours in ADVICE.items():
        message = message.replace(theirs, ours)
    names = [name for place in (JOB, ORDER) for name in _fields(place) if "_" in name and name != "out_dir"]
    return re.sub(rf"\b({'|'.join(names)})\b", lambda found: f"--{found[0].replace('_', '-')}", message)


def _reason(error: Exception) -> str:
    """An error in one line: ours says what to do, the system's names its file, any other is a fault of this program."""
    if isinstance(error, DerainError):
        return _in_words(str(error))
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([*names, error.strerror])
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return f"not enough memory ({one_line(error)}); --tile 512, fewer --workers or a smaller batch need less"
    return f"unexpected {type(error).__name__}: {one_line(error)}; DERAIN_TRACEBACK=1 in the environment shows where"


if __name__ == "__main__":
    sys.exit(main())
