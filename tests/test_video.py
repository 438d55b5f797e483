"""Videos: what goes in comes out, frame by frame, with its times, colours and sound; every fault is one line."""

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from derainlib import cli, inference, models, video
from derainlib.errors import DerainError
from derainlib.models import weights

UNEVEN = (0, 1, 2, 4, 5, 6, 9, 10, 11, 12)
"""Times of ten frames, in tenths of a second."""


class TestWithoutPyAV:
    def test_the_extra_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(DerainError, match=r"pip install 'derainlib\[video\]'"):
            video.derain(tmp_path / "in.mp4", tmp_path / "out.mp4")


def clip(path, times=UNEVEN, size=(48, 32), pixels="yuv420p", codec="libx264", sound="aac", **context):
    """A short film of moving colours and a tone."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    y, x = np.mgrid[: size[1], : size[0]]
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, 600)
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        tone = film.add_stream(sound, rate=8000) if sound else None
        for number, time in enumerate(times):
            shades = np.stack([x * 4 + number * 3, y * 6, 255 - x * 3], 2).clip(0, 255).astype(np.uint8)
            matrix = {"dst_colorspace": context.get("colorspace", 5), "dst_color_range": context.get("color_range", 1)}
            frame = av.VideoFrame.from_ndarray(shades, format="rgb24").reformat(format=pixels, **matrix)
            frame.pts, frame.time_base = time * 60, Fraction(1, 600)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
        if sound:
            for start in range(0, 8192, 1024):
                wave = np.sin(np.arange(start, start + 1024, dtype=np.float32) * 0.3)[None]
                heard = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                heard.sample_rate, heard.pts, heard.time_base = 8000, start, Fraction(1, 8000)
                film.mux(tone.encode(heard))
            film.mux(tone.encode())
    return path


def packets(path, kind: str) -> list:
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(path)) as film:
        streams = [stream for stream in film.streams if stream.type == kind]
        return [(p.pts * p.time_base, bytes(p)) for p in film.demux(streams) if p.dts is not None] if streams else []


def frames(path) -> list:
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(path)) as film:
        return list(film.decode(video=0))


def times(path) -> list:
    return [frame.pts * frame.time_base for frame in frames(path)]


def luma(path) -> np.ndarray:
    """Y of all frames, as it is stored."""
    return np.stack(
        [np.frombuffer(bytes(f.planes[0]), np.uint8).reshape(f.height, -1)[:, : f.width] for f in frames(path)]
    )


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in, and segments of four frames."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(video, "SEGMENT", 4)
    return tmp_path


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return models.create("srn", stages=1, width=6).eval()


class TestResult:
    @pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
    def test_times_and_sound_are_the_sources(self, network, ending):
        clip(f"in.{ending}")
        assert video.derain(f"in.{ending}", f"out.{ending}", network) == ""
        assert times(f"out.{ending}") == times(f"in.{ending}")
        assert len(times(f"out.{ending}")) == len(UNEVEN)
        assert packets(f"out.{ending}", "audio") == packets(f"in.{ending}", "audio") != []
        assert sorted(os.listdir()) == [f"in.{ending}", f"out.{ending}"]

    def test_a_frame_is_cleaned_as_a_photograph(self, network):
        clip("in.mp4", sound=None)
        video.derain("in.mp4", "out.mp4", network, quality=0, strength=2)
        rainy = torch.stack([torch.from_numpy(f.to_ndarray(format="rgb24").copy()) for f in frames("in.mp4")])
        wanted = inference.clean(network, rainy.permute(0, 3, 1, 2).float() / 255, strength=2).permute(0, 2, 3, 1)
        found = np.stack([frame.to_ndarray(format="rgb24") for frame in frames("out.mp4")])
        assert abs(wanted.numpy() * 255 - found).mean() < 3
        assert abs(wanted - rainy / 255).mean() * 255 > 8

    @pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p"])
    @pytest.mark.parametrize(("matrix", "full"), [(1, False), (5, False), (1, True), (9, False)])
    def test_colours_survive_both_ways(self, network, pixels, matrix, full):
        clip("in.mp4", UNEVEN[:2], pixels=pixels, sound=None, colorspace=matrix, color_range=1 + full)
        video.derain("in.mp4", "out.mp4", network, quality=0, strength=0)
        old, new = frames("in.mp4")[0], frames("out.mp4")[0]
        assert (new.colorspace, new.color_range == 2) == (matrix, full)
        assert new.format.name.replace("j", "") == pixels
        assert np.abs(luma("in.mp4").astype(int) - luma("out.mp4")).max() <= 1
        assert old.colorspace == matrix

    def test_a_turned_video_is_stored_upright(self, network):
        data = bytearray(clip(Path("in.mp4"), UNEVEN[:2], sound=None).read_bytes())
        place = data.index(b"tkhd") + 44
        turn = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4")
        data[place : place + 36] = turn.tobytes()  # a quarter to the right, as phones held upright write it
        Path("in.mp4").write_bytes(data)
        video.derain("in.mp4", "out.mp4", network, quality=0, strength=0)
        (new, *_) = frames("out.mp4")
        assert (new.width, new.height, new.rotation) == (32, 48, 0)
        assert np.abs(np.rot90(luma("in.mp4")[0], -1).astype(int) - luma("out.mp4")[0]).max() <= 1

    @pytest.mark.parametrize(
        ("how", "line"),
        [
            ({"size": (49, 33), "pixels": "yuv444p"}, ""),
            ({"size": (49, 33), "codec": "libvpx-vp9"}, "4:4:4"),
            ({"pixels": "yuv420p10le"}, "more than 8 bits become 8"),
            ({"pixels": "bgr0", "codec": "ffv1"}, ""),
        ],
        ids=["odd", "odd 4:2:0", "10 bits", "RGB"],
    )
    def test_what_is_unusual(self, network, how, line):
        clip("in.mkv", UNEVEN[:2], sound=None, **how)
        lost = video.derain("in.mkv", "out.mkv", network, strength=0, quality=0)
        assert line in lost
        assert bool(line) == bool(lost)
        old, new = (np.stack([f.to_ndarray(format="rgb24") for f in frames(name)]) for name in ("in.mkv", "out.mkv"))
        assert old.shape == new.shape
        assert np.abs(old.astype(int) - new).mean() < 3

    def test_from_the_command_line(self, network, capsys):
        clip("in.mp4", UNEVEN[:2])
        weights.save(network, "tiny.safetensors", {})
        words = ["video", "in.mp4", "new/out.mp4", "--model", "tiny.safetensors"]
        assert cli.main(words) == 0
        assert cli.main(words) == 2
        assert cli.main([*words, "--overwrite"]) == 0
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"derain: {Path('new/out.mp4')} is there already; --overwrite replaces it\n")


KILLED = """
import os, signal, torch
from derainlib import files, models, video
video.SEGMENT, rename, calls = 4, files.rename, []
def dies(source, target):
    calls.append(target)
    if len(calls) == 3:  # job.json, a segment, and the next one
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
video.files.rename = dies
torch.manual_seed(0)
video.derain("in.mp4", "out.mp4", models.create("srn", stages=1, width=6).eval())
"""


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
class TestKilled:
    def test_it_goes_on(self, network, monkeypatch):
        """Killed at its second segment, stopped just before the result gets its name, then in peace."""
        clip("in.mp4")
        video.derain("in.mp4", "whole.mp4", network)
        run = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True)
        assert run.returncode == -signal.SIGKILL, run.stderr
        parts = Path("out.mp4.parts")
        first = (parts / "00000000.nut").stat()
        assert len(list(parts.glob("????????.nut"))) == 1
        with monkeypatch.context() as patch:
            patch.setattr(video, "_join", interrupted)
            with pytest.raises(KeyboardInterrupt):
                video.derain("in.mp4", "out.mp4", network)
        assert len(list(parts.glob("????????.nut"))) == 3
        assert (parts / "00000000.nut").stat() == first, "a segment was made twice"
        assert not Path("out.mp4").exists()
        before = {path: path.stat().st_mtime_ns for path in Path("out.mp4.parts").iterdir()}
        with pytest.raises(DerainError, match=r"another strength than in\.mp4 has now; go on as before, or delete"):
            video.derain("in.mp4", "out.mp4", network, strength=0.5)
        clip("other.mp4", UNEVEN[:9])
        with pytest.raises(DerainError, match="another source than"):
            video.derain("other.mp4", "out.mp4", network)
        assert before.items() <= {path: path.stat().st_mtime_ns for path in Path("out.mp4.parts").iterdir()}.items()
        video.derain("in.mp4", "out.mp4", network)
        assert packets("out.mp4", "video") == packets("whole.mp4", "video")
        assert not Path("out.mp4.parts").exists()

    def test_two_at_once(self, network):
        clip("in.mp4", UNEVEN[:2], sound=None)
        Path("out.mp4.parts").mkdir()
        with video.files.locked(Path("out.mp4.parts/lock")), pytest.raises(DerainError, match="another process"):
            video.derain("in.mp4", "out.mp4", network)


class TestFaults:
    def refused(self, network, reason, source="in.mp4", target="out.mp4", **settings):
        before = sorted(map(str, Path().rglob("*")))
        with pytest.raises(DerainError, match=reason) as caught:
            video.derain(source, target, network, **settings)
        assert "\n" not in str(caught.value)
        assert sorted(map(str, Path().rglob("*"))) == before, "something was written"

    def test_what_is_asked(self, network):
        clip("in.mp4", UNEVEN[:2])
        Path("folder.mp4").mkdir()
        self.refused(network, "the video itself", target="in.mp4")
        self.refused(network, r"written to \.mp4", target="out.webm")
        self.refused(network, "is a folder", target="folder.mp4")
        self.refused(network, "there is no video", source="none.mp4")
        self.refused(network, "no regular file", source=".")
        self.refused(network, "quality must be", quality=99)
        self.refused(network, "strength must be", strength=9)

    def test_what_is_no_video(self, network):
        from PIL import Image

        Image.new("RGB", (40, 40)).save("photo.jpg")
        Image.new("RGB", (40, 40)).save("photo.gif")
        Path("text.mp4").write_text("no video")
        Path("list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/film.ts\n")
        Path("empty.mp4").touch()
        for name in ("photo.jpg", "photo.gif"):
            self.refused(network, "is a picture, not a video; `derain image` takes it", source=name)
        for name in ("text.mp4", "list.mp4", "empty.mp4"):
            self.refused(network, f"{name} is no video, or a damaged one", source=name)

    def test_sound_alone(self, network):
        av = pytest.importorskip("av", reason="PyAV is not installed")
        with av.open("in.mp4", "w") as film:
            tone = film.add_stream("aac", rate=8000)
            heard = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            heard.sample_rate = 8000
            film.mux(tone.encode(heard))
            film.mux(tone.encode())
        self.refused(network, "holds no moving pictures")

    def test_what_networks_cannot_take(self, network):
        clip("in.mp4", UNEVEN[:2], size=(48, 14), sound=None)
        self.refused(network, "48 x 14 pixels; at least 16 x 16 are needed")
        clip("in.mp4", UNEVEN[:2], sound=None, color_trc=16, pixels="yuv420p10le")
        self.refused(network, "is HDR")

    def test_sound_that_the_format_does_not_hold(self, network):
        clip("in.mkv", UNEVEN[:2], sound="wavpack")
        self.refused(network, r"out\.mp4 cannot hold the wavpack of in\.mkv; name the result .*\.mkv", source="in.mkv")

    def test_cut_off(self, network):
        """What can be read is kept, and the rest is said."""
        video.derain(clip("in.mkv", [4 * time for time in UNEVEN]), "in.mp4", network)
        for name in ("in.mkv", "in.mp4"):
            data = Path(name).read_bytes()
            Path(f"cut-{name}").write_bytes(data[: len(data) * 3 // 4])
            lost = video.derain(f"cut-{name}", f"out-{name}", network)
            assert 0 < len(times(f"out-{name}")) < len(UNEVEN)
            assert "cut off: its last" in lost
        Path("cut.mp4").write_bytes(data[:200])
        self.refused(network, "cut.mp4 (is no video|holds no moving pictures)", source="cut.mp4")

    def test_a_folder_of_somebody_else(self, network):
        clip("in.mp4", UNEVEN[:2], sound=None)
        Path("out.mp4.parts").mkdir()
        Path("out.mp4.parts/letter.txt").touch()
        with pytest.raises(DerainError, match=r"holds letter\.txt, no part of a video"):
            video.derain("in.mp4", "out.mp4", network)
