"""`derain …`: each command once, every mistake in one line, nothing half-written."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import derainlib
from derainlib import cli, images, models, studies, training
from derainlib.data import export, scenes
from derainlib.inference import clean
from derainlib.models import weights
from tests import icc
from tests.hostile_files import HOSTILE


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test works in a folder of its own that holds `rainy.png` and the weights of a tiny network."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    weights.save(models.create("srn", stages=1, width=6), "tiny.safetensors", {})
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("rainy.png")
    return tmp_path


def fails(capsys, *words: str) -> str:
    """Runs `derain …`, which must fail with status 2 and one line; returns that line."""
    before = sorted(os.listdir())
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("derain: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert sorted(os.listdir()) == before, "something was written"
    return err


TINY = ("--model", "tiny.safetensors")


class TestImage:
    def test_takes_the_rain_off(self, capsys):
        assert cli.main(["image", "rainy.png", "dry.png", *TINY]) == 0
        assert capsys.readouterr() == ("", "")
        expected = clean(weights.load("tiny.safetensors"), images.read("rainy.png")[None])[0]
        assert (images.read("dry.png") - expected).abs().max() <= 0.5 / 255 + 1e-6

    def test_into_a_folder(self, here, capsys):
        (here / "dry").mkdir()
        assert "dry: a folder; name the file in it" in fails(capsys, "image", "rainy.png", "dry", *TINY)

    def test_a_segmenter(self, capsys):
        assert "takes no rain off" in fails(capsys, "image", "rainy.png", "dry.png", "--model", "espnet")
        assert "takes no rain off" in fails(capsys, "score", "espnet", "--sets", "skimage-light", "--limit", "1")

    def test_sixteen_bits_and_tiles(self):
        assert cli.main(["image", "rainy.png", "dry.png", *TINY, "--bits", "16", "--tile", "35"]) == 0
        expected = clean(weights.load("tiny.safetensors"), images.read("rainy.png")[None])[0]
        assert (images.read("dry.png") - expected).abs().max() < 2e-5

    def test_ensemble_and_strength(self):
        words = ["image", "rainy.png", "dry.png", *TINY, "--bits", "16", "--ensemble", "--strength", "0.7"]
        assert cli.main(words) == 0
        model, rainy = weights.load("tiny.safetensors"), images.read("rainy.png")[None]
        expected = clean(model, rainy, ensemble=True, strength=0.7)
        assert (images.read("dry.png") - expected[0]).abs().max() < 2e-5
        assert (expected - clean(model, rainy, ensemble=True)).abs().max() > 1e-3
        assert (expected - clean(model, rainy, strength=0.7)).abs().max() > 1e-3

    def test_what_is_lost_is_said_in_one_line_and_the_profile_kept_when_told(self, capsys):
        exif = Image.Exif()
        exif[306] = "2024:05:17 08:30:00"
        Image.open("rainy.png").save("wide.png", icc_profile=icc.P3, exif=exif)
        assert cli.main(["image", "wide.png", "dry.bmp", *TINY]) == 0
        assert (
            capsys.readouterr().err
            == "derain: dry.bmp: 8-bit BMP cannot hold this EXIF (date, place, camera): left out\n"
        )
        assert cli.main(["image", "wide.png", "dry.png", *TINY, "--keep-profile", "--strength", "0"]) == 0
        assert capsys.readouterr() == ("", "")
        dry = Image.open("dry.png")
        assert dry.info["icc_profile"] == icc.P3
        assert dry.getexif()[306] == exif[306]

    def test_replaces_only_when_told(self, capsys):
        assert cli.main(["image", "rainy.png", "dry.png", *TINY]) == 0
        assert "--overwrite" in fails(capsys, "image", "rainy.png", "dry.png", *TINY)
        assert "--overwrite" in fails(capsys, "image", "rainy.png", "rainy.png", *TINY)
        assert cli.main(["image", "rainy.png", "dry.png", *TINY, "--overwrite"]) == 0

    @pytest.mark.parametrize("hostile", HOSTILE, ids=lambda h: ascii(h.name)[:40])
    def test_hostile_files(self, hostile, here, capsys):
        path = here / hostile.name
        hostile.make(path)
        line = fails(capsys, "image", str(path), "dry.png", *TINY)
        assert hostile.words in line
        assert (str(path) if str(path).isprintable() else ascii(str(path))) in line

    def test_a_bad_target_costs_no_time(self, capsys, monkeypatch):
        monkeypatch.setattr(images, "photograph", lambda path: pytest.fail("the image was read first"))
        assert "ending" in fails(capsys, "image", "rainy.png", "dry.xyz", *TINY)
        assert "no folder" in fails(capsys, "image", "rainy.png", "missing/dry.png", *TINY)
        assert "16 bits" in fails(capsys, "image", "rainy.png", "dry.jpg", "--bits", "16", *TINY)

    def test_bad_settings(self, capsys):
        assert "nosuch" in fails(capsys, "image", "rainy.png", "dry.png", "--model", "nosuch")
        assert "dtype" in fails(capsys, "image", "rainy.png", "dry.png", *TINY, "--dtype", "int3")
        assert "device" in fails(capsys, "image", "rainy.png", "dry.png", *TINY, "--device", "tpu-please")
        assert "tile" in fails(capsys, "image", "rainy.png", "dry.png", *TINY, "--tile", "3")
        assert "strength" in fails(capsys, "image", "rainy.png", "dry.png", *TINY, "--strength", "2.1")

    def test_interrupted(self, capsys, monkeypatch):
        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(images, "photograph", interrupt)
        assert cli.main(["image", "rainy.png", "dry.png", *TINY]) == 130
        assert capsys.readouterr().err == "derain: interrupted\n"


class TestFolder:
    def test_good_and_bad(self, here, capsys):
        (here / "rain").mkdir()
        Image.new("RGB", (20, 20)).save("rain/good.png")
        assert cli.main(["folder", "rain", "dry", *TINY]) == 0
        (here / "rain/bad.png").write_text("rain")
        capsys.readouterr()
        assert cli.main(["folder", "rain", "dry", *TINY]) == 1
        out = capsys.readouterr().out.splitlines()
        assert out[0] == "0 written, 1 already there, 1 failed"
        assert "bad.png: text" in out[1]
        assert os.listdir("dry") == ["good.png"]

    def test_no_strength_copies(self, here):
        (here / "rain").mkdir()
        os.rename("rainy.png", "rain/rainy.png")
        assert cli.main(["folder", "rain", "same", *TINY, "--strength", "0", "--ensemble"]) == 0
        assert torch.equal(images.read("same/rainy.png"), images.read("rain/rainy.png"))

    def test_refuses(self, capsys):
        assert "strength" in fails(capsys, "folder", ".", "dry", *TINY, "--strength", "-1")
        assert "no folder" in fails(capsys, "folder", "missing", "dry", *TINY)

    def test_sixteen_bits(self, here):
        (here / "rain").mkdir()
        Image.fromarray(np.random.default_rng(0).integers(0, 2**16, (20, 30), dtype=np.uint16)).save("rain/deep.png")
        assert cli.main(["folder", "rain", "same", *TINY, "--strength", "0", "--bits", "16"]) == 0
        assert torch.equal(images.read("same/deep.png"), images.read("rain/deep.png"))

    def test_what_is_left_out_is_counted(self, here, capsys):
        (here / "rain").mkdir()
        os.rename("rainy.png", "rain/rainy.png")
        (here / "rain/photo.nef").write_bytes(b"rain")
        assert cli.main(["folder", "rain", "dry", *TINY]) == 0
        assert capsys.readouterr().out == "1 written, 0 already there, 0 failed\n1 file left out: 1 .nef\n"

    def test_an_absolute_pattern(self, here, capsys):
        assert "is no name in a folder" in fails(capsys, "folder", ".", "dry", *TINY, "--pattern", f"{here}/*.png")


class TestModels:
    def test_lists_every_network(self, capsys):
        assert cli.main(["models"]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
        assert [row[0] for row in rows] == models.list_models()
        found = {row[0]: row[1:] for row in rows}
        assert found["srn"][:2] == ["168,963", "78"]
        assert [name for name, row in found.items() if row[-1] == "shipped"] == [
            name for name in models.list_models() if name in weights.shipped()
        ]


class TestConvert:
    @pytest.fixture
    def checkpoint(self) -> dict:
        """What the authors' public file of SRN looks like: one convolution per gate, DataParallel's names."""
        source = models.create("srn").state_dict()
        names = {"network.input": "conv0.0", "network.output": "conv.0"}
        for block in range(5):
            for place, number in (("first", 0), ("second", 2)):
                names[f"network.blocks.{block}.{place}"] = f"res_conv{block + 1}.{number}"
        found = {
            f"module.{to}.{kind}": source[f"{name}.{kind}"] for name, to in names.items() for kind in ("weight", "bias")
        }
        for kind in ("weight", "bias"):
            gates = source[f"network.cell.gates.{kind}"].chunk(4)
            found |= {f"module.conv_{gate}.0.{kind}": part for gate, part in zip("ifog", gates, strict=True)}
        torch.save(found, "authors.pth")
        return source

    def test_writes_our_weights(self, checkpoint, capsys):
        words = ["convert", "authors.pth", "ours.safetensors", "--model", "srn", "--stages", "4"]
        assert cli.main(words) == 0
        assert "168,963" in capsys.readouterr().out
        network = weights.load("ours.safetensors")
        assert network.stages == 4
        assert all(torch.equal(tensor, checkpoint[key]) for key, tensor in network.state_dict().items())
        assert "authors.pth" in weights.card("ours.safetensors")["source"]
        assert "--overwrite" in fails(capsys, *words)
        assert cli.main([*words, "--overwrite"]) == 0

    def test_a_neighbour_of_another_kind_is_never_replaced(self, checkpoint, here, capsys):
        words = ["convert", "authors.pth", "ours.safetensors", "--model", "srn"]
        for mine in ('{"mine": 1}', "[]", "no JSON"):
            (here / "ours.json").write_text(mine)
            assert "ours.json is there already" in fails(capsys, *words)
            assert "no card of weights; name another output" in fails(capsys, *words, "--overwrite")
            assert (here / "ours.json").read_text() == mine

    def test_refuses(self, checkpoint, capsys):
        assert "no weights file" in fails(capsys, "convert", "missing.pth", "ours.safetensors")
        assert "brn" in fails(capsys, "convert", "authors.pth", "ours.safetensors", "--model", "brn")
        assert "nothing in it was executed" in fails(capsys, "convert", "rainy.png", "ours.safetensors")
        assert "safetensors" in fails(capsys, "convert", "authors.pth", "ours.bin", "--model", "srn")


class TestScenes:
    @pytest.fixture
    def streets(self, here):
        """Two drawn streets in a folder, without rain."""
        export.write(scenes.drawn(range(2), (64, 80)), "streets/train", "none")

    def test_in_the_rain_with_labels(self, streets, capsys):
        words = "scenes streets wet/train --split train --rain streets-large --seed 4 --copies 2"
        assert cli.main(words.split()) == 0
        assert capsys.readouterr().out == "wet/train: 4 scenes with their labels, in streets-large rain\n"
        written, dry = scenes.read("wet", "train"), scenes.read("streets", "train")
        expected = scenes.RainyScenes(dry, "streets-large", seed=4)
        for scene, pair in zip(written[::2], expected, strict=True):
            assert (scene.read()[0] - pair.rainy[0]).abs().max() <= 0.5 / 255 + 1e-6
            assert torch.equal(scene.read()[1], pair.labels[0])

    def test_derained(self, streets, capsys):
        assert cli.main(["scenes", "streets", "dry", "--split", "train", *TINY, "--tile", "40"]) == 0
        assert capsys.readouterr().out == "dry: 2 scenes with their labels, in streets rain, derained by tiny\n"
        rainy = scenes.RainyScenes(scenes.read("streets", "train"), "streets", seed=0)[1].rainy
        found, _ = scenes.read("dry")[1].read()
        network = weights.load("tiny.safetensors")
        assert (found - clean(network, rainy)[0]).abs().max() <= 0.5 / 255 + 1e-5
        words = ["scenes", "streets", "damp", "--split", "train", *TINY, "--ensemble", "--strength", "0.5"]
        assert cli.main(words) == 0
        found, _ = scenes.read("damp")[1].read()
        assert (found - clean(network, rainy, ensemble=True, strength=0.5)[0]).abs().max() <= 0.5 / 255 + 1e-5

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            ("streets wet", "choose one"),
            ("streets streets --split train", "there already"),
            ("streets wet --split train --rain hail", "hail"),
            ("streets wet --split train --model nosuch", "nosuch"),
        ],
    )
    def test_mistakes(self, streets, capsys, words, reason):
        assert reason in fails(capsys, "scenes", *words.split())


class TestCommandLine:
    def test_every_command_has_help(self, capsys):
        for name, command in cli.COMMANDS.items():
            with pytest.raises(SystemExit) as stopped:
                cli.main([name, "--help"])
            assert stopped.value.code == 0
            assert command.summary.capitalize() in " ".join(capsys.readouterr().out.split())

    @pytest.mark.parametrize("words", [[], ["nosuch"], ["image"], ["image", "a.png", "b.png", "--tile", "wide"]])
    def test_wrong_words_end_with_status_2(self, words):
        with pytest.raises(SystemExit) as stopped:
            cli.main(words)
        assert stopped.value.code == 2

    @pytest.mark.parametrize("start", [["derain"], [sys.executable, "-m", "derainlib"]], ids=["command", "module"])
    def test_as_a_process(self, start, here):
        if start == ["derain"]:
            start = [os.path.join(os.path.dirname(sys.executable), "derain")]
        run = subprocess.run([*start, "image", "rainy.png", "dry.png", *TINY], capture_output=True, text=True)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
        assert images.read("dry.png").shape == (3, 30, 40)
        run = subprocess.run([*start, "image", "missing.png", "x.png", *TINY], capture_output=True, text=True)
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr == "derain: missing.png: No such file or directory\n"

    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (PermissionError(13, "Permission denied", "closed"), "closed: Permission denied"),
            (OSError(18, "Invalid cross-device link", "a", None, "b"), "a: b: Invalid cross-device link"),
            (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
            (MemoryError(), "not enough memory"),
            (OverflowError("too\nlarge"), "unexpected OverflowError: too large; DERAIN_TRACEBACK=1"),
            (derainlib.errors.DerainError("a\nb\x1b[31m.png: no"), r"a\nb\x1b[31m.png: no"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_whatever_happens_is_one_line(self, capsys, monkeypatch, error, line):
        def fail(*_):
            raise error

        monkeypatch.setattr(models, "list_models", fail)
        assert line in fails(capsys, "models")
        monkeypatch.setenv("DERAIN_TRACEBACK", "1")
        with pytest.raises(type(error)):
            cli.main(["models"])

    def test_a_warning_is_one_line(self, capsys, monkeypatch):
        monkeypatch.setattr(models, "list_models", lambda: warnings.warn("look\nhere", stacklevel=1) or ["srn"])
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert cli.main(["models"]) == 0
        assert capsys.readouterr().err == r"derain: look\nhere" + "\n"

    @pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
    def test_a_console_of_another_encoding(self, here, encoding):
        """As on Windows, and under the C locale."""
        (here / "\u96e8").mkdir()
        Image.new("RGB", (8, 8)).save("\u96e8/\u96e8.png")
        words = [sys.executable, "-m", "derainlib", "folder", "\u96e8", "dry", *TINY]
        run = subprocess.run(words, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding})
        assert (run.returncode, run.stderr) == (1, b"")
        assert b"\\u96e8.png: 8 x 8 pixels" in run.stdout

    @pytest.mark.parametrize("words", ["models", "--help", "train --help"])
    def test_a_reader_that_stops_reading(self, words):
        reading, writing = os.pipe()
        os.close(reading)
        run = subprocess.run(
            [sys.executable, "-m", "derainlib", *words.split()], stdout=writing, stderr=subprocess.PIPE
        )
        os.close(writing)
        assert run.returncode in (0, 141)
        assert run.stderr == b""


CLOSED = {
    "image photographs/1.png dry.png --model tiny.safetensors": (2, "dry.png: cannot be written: Permission denied"),
    "image closed/1.png mine/dry.png --model tiny.safetensors": (2, "closed/1.png: Permission denied"),
    "folder photographs dry --model tiny.safetensors": (1, "dry/1.png: Permission denied"),
    "folder closed mine/dry --model tiny.safetensors": (2, "closed: Permission denied"),
    "train srn run --scale tiny --clean-dir photographs": (2, "run: Permission denied"),
    "train srn mine/run --scale tiny --clean-dir closed": (2, "closed: Permission denied"),
    "train srn mine/run --scale tiny --clean-dir photographs --clean-list closed.txt": (
        2,
        "closed.txt: Permission denied",
    ),
    "check closed": (2, "closed: is not a folder that can be read"),
}
"""Commands of a user who may read neither `closed` nor `closed.txt`, and write into `mine` alone."""

AS_ANOTHER_USER = """
import contextlib, io, json, os, sys
import derainlib.training, derainlib.inference, derainlib.data.check, accelerate, cProfile, torch._dynamo
from derainlib import cli
from PIL import Image
Image.init()  # what is imported later on, the other user may not read
os.setgid(65534), os.setuid(65534)
told = []
for words in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        status = cli.main(words.split())
    told.append((status, out.getvalue()))
print(json.dumps(told))
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_what_may_not_be_read_or_written_is_named_in_one_line():
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        os.chmod(place, 0o755)
        for name, mode in (("mine", 0o777), ("closed", 0o700), ("photographs", 0o755)):
            os.mkdir(f"{place}/{name}")
            os.chmod(f"{place}/{name}", mode)
        Image.new("RGB", (40, 40)).save(f"{place}/photographs/1.png")
        with open(f"{place}/closed.txt", "w") as file:
            file.write("1\n")
        os.chmod(f"{place}/closed.txt", 0o600)
        weights.save(models.create("srn", stages=1, width=6), f"{place}/tiny.safetensors", {})
        run = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER_USER, *CLOSED], cwd=place, capture_output=True, text=True, check=True
        )
        there = {"closed", "closed.txt", "mine", "photographs", "tiny.safetensors", "tiny.json"}
        assert set(os.listdir(place)) == there
    for (status, told), (words, (expected, line)) in zip(json.loads(run.stdout), CLOSED.items(), strict=True):
        assert status == expected, words
        assert line in told, words
        assert len(told.splitlines()) == status % 2 + 1, words  # a folder's report counts before it names


class TestPublicFace:
    def test_the_names_are_there(self):
        for name in derainlib.__all__:
            assert getattr(derainlib, name).__name__ == name
        assert set(derainlib.__all__) <= set(dir(derainlib))
        assert derainlib.derain is derainlib.inference.derain
        assert derainlib.load is derainlib.models.weights.load

    def test_an_unknown_name(self):
        with pytest.raises(AttributeError, match="nosuch"):
            _ = derainlib.nosuch

    def test_importing_is_quick(self):
        """Nothing heavy is loaded before it is used, nor by help; networks load no notebook or plotting library."""
        code = """
import sys, derainlib
heavy = {'torch', 'numpy', 'PIL', 'skimage', 'scipy', 'matplotlib', 'accelerate', 'ipywidgets', 'kornia', 'pandas'}
print(sorted(heavy & set(sys.modules)))
from derainlib import cli
cli._parser().format_help()  # the words of Job and Order are read, not imported
print(sorted(heavy & set(sys.modules)))
derainlib.derain, derainlib.create, derainlib.load, derainlib.psnr, derainlib.add_rain
print(sorted((heavy - {'torch', 'numpy', 'PIL'}) & set(sys.modules)))
"""
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.splitlines() == ["[]", "[]", "[]"]


class TestScore:
    def test_prints_a_table_beside_the_rainy_input(self, capsys):
        assert cli.main(["score", "tiny.safetensors", "--sets", "skimage-light", "--limit", "1"]) == 0
        out, _ = capsys.readouterr()
        assert "skimage-light (1)" in out
        assert "psnr_rgb" in out
        assert "rainy" in out

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["tiny.safetensors", "--sets", "rain100k"], "no set is called"),
            (["tiny.safetensors", "--sets", "rain100l"], "needs the folder"),
            (["tiny.safetensors", "--scores", "beauty"], "beauty"),
            (["missing.safetensors"], "missing.safetensors"),
        ],
    )
    def test_mistakes(self, capsys, words, reason):
        assert reason in fails(capsys, "score", *words)


def parsed(monkeypatch, words: str) -> dict:
    """What a command is given."""
    seen = []
    name, *rest = words.split()
    monkeypatch.setitem(cli.COMMANDS, name, cli.COMMANDS[name]._replace(run=lambda args: seen.append(vars(args)) or 0))
    assert cli.main([name, *rest]) == 0
    return {key: value for key, value in seen[0].items() if key != "run"}


class TestWordsOfFields:
    """Sentences, types and defaults stand once, in the dataclass."""

    @pytest.mark.parametrize("command", ["train", "study"])
    def test_help_is_the_fields_sentences(self, command, capsys):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert "--pairs-dir PAIRS_DIR folder of rainy/clean pairs" in shown
        assert "full (the paper's values), quick (two cores, hours) or tiny (seconds) (quick)" in shown
        assert "--data" not in shown  # an old name
        if command == "study":
            assert "each row is trained once for each. A seed decides" in shown
            assert "(0 1)" in shown

    def test_defaults_are_the_fields(self, monkeypatch):
        words = parsed(monkeypatch, "train srn out")
        assert training.Job.of(words | {"changes": {}}) == training.Job("srn", "out")
        fields = {spec.name for spec in dataclasses.fields(training.Job)}
        assert set(words) == fields - {"workers"}  # its default is no plain value: it is left to the job

    def test_old_names(self, monkeypatch):
        new = "--pairs-dir a --pairs-list b"
        assert parsed(monkeypatch, "train srn out --data-dir a --data-list b") == parsed(
            monkeypatch, f"train srn out {new}"
        )
        assert parsed(monkeypatch, "score brn --data here")["sets_dir"] == "here"

    def test_types(self, monkeypatch):
        words = parsed(monkeypatch, "study srn/table-1 out --steps 3 --seeds 4 5 --rows a --sets x y")
        assert (words["steps"], words["seeds"], words["rows"], words["sets"]) == (3, [4, 5], ["a"], ["x", "y"])
        assert parsed(monkeypatch, "train srn out --minutes 1.5 --workers 2 --compile")["minutes"] == 1.5

    def test_every_field_of_an_order_can_be_said(self, monkeypatch):
        words = parsed(monkeypatch, "study srn/table-1 out")
        fields = {spec.name for spec in dataclasses.fields(studies.Order)}
        assert fields - {"data"} <= set(words)


class TestTrain:
    def test_trains_and_goes_on(self, capsys):
        words = ["train", "srn", "run", "--scale", "tiny", "--steps", "2", "--set", 'options={"stages": 1, "width": 6}']
        assert cli.main(words) == 0
        assert cli.main(words) == 0  # the run is there already, nothing is left to do
        assert capsys.readouterr().out.count("2 steps in") == 2
        assert weights.load("run/last.safetensors").options == {"stages": 1, "width": 6}

    def test_minutes_are_added_in_phases(self, capsys):
        """Each starts from the weights of the one before, draws anew, and keeps to its time."""
        words = ["train", "srn", "run", "--scale", "tiny", "--minutes", "0.02"]
        assert cli.main([*words, "--set", 'options={"stages": 1, "width": 6}', "validation=1"]) == 0
        assert cli.main([*words, "--start", "tiny.safetensors"]) == 0
        assert cli.main(words) == 0
        assert "run/phase-3/last.safetensors" in capsys.readouterr().out
        before = "run/last.safetensors"
        for number in (2, 3):
            card = weights.card(f"run/phase-{number}/last.safetensors")
            assert card["start_sha256"] == weights.header(before)["sha256"]
            assert (card["recipe"]["seed"], card["recipe"]["minutes"]) == (number - 1, 0.02)
            assert card["megapixels"] == pytest.approx(card["steps"] * 2 * 32**2 / 1e6, abs=0.06)
            assert card["options"] == {"stages": 1, "width": 6}
            before = f"run/phase-{number}/last.safetensors"

    def test_fine_tunes_on_pairs(self, capsys):
        """The network is that of the weights, whatever the scale would make of it."""
        for side in ("rain", "clean"):
            os.makedirs(f"mine/{side}")
            Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
                f"mine/{side}/a.png"
            )
        words = "train srn run --start tiny.safetensors --pairs-dir mine --steps 1 --set patch=24"
        assert cli.main(words.split()) == 0
        assert weights.load("run/last.safetensors").options == {"stages": 1, "width": 6}
        card = weights.card("run/last.safetensors")
        assert card["start_sha256"] == weights.header("tiny.safetensors")["sha256"]
        assert card["recipe"]["batch"] == 8

    def test_labelled_scenes_are_handed_on(self, capsys):
        assert "missing" in fails(capsys, "train", "srn", "run", "--scale", "tiny", "--scenes-dir", "missing")

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["snr", "run"], "no recipe is called 'snr'"),
            (["srn", "run", "--scale", "huge"], "scale must be one of"),
            (["srn", "run", "--set", "batch"], "FIELD=VALUE"),
            (["srn", "run", "--set", "batch=many"], "batch must be int"),
            (["srn", "run", "--pairs-dir", "missing"], "missing"),
            (["srn", "run", "--data-dir", "missing"], "missing"),
            (["srn", "run", "--steps", "5", "--minutes", "5"], "steps or minutes"),
            (["srn", "run", "--set", "minutes=5"], "minutes are given by themselves"),
            (["srn", "run", "--minutes", "nan"], "minutes must be a finite number"),
            (["srn", "run", "--workers", "-5"], "workers is -5"),
            (["srn", "run", "--workers", "1000000"], "at most 256"),
            (["srn", "run", "--set", f"seed={10**20}"], "seed must be from 0"),
            (["srn", "run", "--set", "seed=-1"], "seed must be from 0"),
            (["srn", "run", "--vgg", "vgg.safetensors"], "no term of its loss is perceptual"),
            (["brn", "run", "--start", "tiny.safetensors"], "holds weights of srn, not of brn"),
            (["srn", "run", "--start", "nosuch"], "no shipped weights are called 'nosuch'"),
            (["srn", "run", "--pairs-dir", "."], "clean photographs alone are given as --clean-dir"),
            (
                ["srn", "run", "--clean-list", "some.txt"],
                "--clean-list names files of --clean-dir; give that folder too",
            ),
        ],
    )
    def test_mistakes(self, capsys, words, reason):
        assert reason in fails(capsys, "train", *words)

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            (["rain/1.png", "dry/1.png"], "rename one, or give a text file with two paths a line, rainy and clean"),
            (["rain/1.png", "clean/1.png", "rain/2.png"], "list the pairs you want in a file for --pairs-list"),
            (["a.png", "b.png"], "give them as --clean-dir, otherwise give a text file with two paths a line"),
        ],
    )
    def test_advice_is_in_the_words_of_the_command(self, capsys, names, words):
        for name in names:
            os.makedirs(os.path.dirname(f"mine/{name}"), exist_ok=True)
            pixels = np.random.default_rng(len(name)).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"mine/{name}")
        line = fails(capsys, "train", "srn", "run", "--scale", "tiny", "--pairs-dir", "mine")
        assert words in line
        assert not re.search("`split`|_dir|_list|read\\(|pass ", line)

    def test_a_run_on_other_data_is_refused(self, capsys, here):
        (here / "mine").mkdir()
        os.rename("rainy.png", "mine/1.png")
        words = ["train", "srn", "run", "--scale", "tiny", "--steps", "1", "--clean-dir", "mine", "--set", "patch=16"]
        words += ['options={"stages": 1, "width": 6}']
        assert cli.main(words) == 0
        capsys.readouterr()
        os.rename("mine/1.png", "mine/2.png")
        assert "run holds a run on other data" in fails(capsys, *words)


class TestStudy:
    def test_hands_over_what_the_words_say(self, capsys, monkeypatch):
        seen = []
        monkeypatch.setattr(studies.Order, "run", lambda order, jobs, progress: seen.append((order, jobs)) or [])
        words = "study dcdnet/table-3 dcdnet/table-4 out --scale tiny --steps 9 --seeds 3 4 --rows ours --jobs 2"
        more = "--without perceptual --set lr=0.1 --clean-dir photos --scenes-dir streets --sets rain100l --data here"
        assert cli.main([*words.split(), *more.split()]) == 0
        assert seen == [
            (
                studies.Order(
                    ("dcdnet/table-3", "dcdnet/table-4"), "out", scale="tiny", steps=9, seeds=(3, 4),
                    changes={"lr": 0.1}, without=("perceptual",), rows=("ours",),
                    data={"clean_dir": "photos", "scenes_dir": "streets"}, sets=("rain100l",), sets_dir="here",
                ),
                2,
            )
        ]  # fmt: skip

    def test_trains_prints_and_goes_on(self, capsys):
        for folder in ("pairs/rain", "pairs/clean"):
            os.makedirs(folder)
            Image.new("RGB", (20, 20), "gray").save(f"{folder}/a.png")
        words = ["study", "qsnet/table-5", "out", "--scale", "tiny", "--steps", "1", "--seeds", "0", "--sets", "pairs"]
        assert cli.main(words) == 0
        first, log = capsys.readouterr()
        assert log.count("trained and scored") == 2
        assert "without sharing" in first
        assert cli.main(words) == 0
        assert capsys.readouterr().out == first

    def test_failed_trainings_end_with_status_1(self, capsys, monkeypatch):
        found = {"failed": [{"row": "a", "seed": 0, "error": "no room"}]}
        monkeypatch.setattr(studies.Order, "run", lambda *_, **__: [found])
        monkeypatch.setattr(studies, "table", lambda report: str(report["failed"]))
        assert cli.main(["study", "qsnet/table-5", "out"]) == 1
        assert "no room" in capsys.readouterr().out

    def test_lists_the_studies(self, capsys):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["study", "--list"])
        assert stopped.value.code == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == list(studies.STUDIES)

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["dcdnet/table-9", "out"], "no study is called 'dcdnet/table-9'"),
            (["qsnet/table-5", "out", "--jobs", "0"], "jobs is 0"),
            (["qsnet/table-5", "out", "--set", "patch"], "FIELD=VALUE"),
            (["qsnet/table-5", "out", "--pairs-dir", "missing"], "missing"),
        ],
    )
    def test_mistakes(self, capsys, words, reason):
        assert reason in fails(capsys, "study", *words)
        assert not os.path.exists("out")
