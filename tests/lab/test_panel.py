"""The training panel: it starts, stops, goes on and shows, and leaves no thread behind."""

import base64
import io
import threading
import time

import pytest
import torch
from PIL import Image

import derainlib
from derainlib import metrics, training
from derainlib.errors import DerainError
from derainlib.lab import contest, figures, miniature, panel
from derainlib.lab.panel import Panel
from derainlib.lab.widgets import choice

SMALL = {"options": {"stages": 1, "blocks": 1, "width": 4}, "patch": 16, "batch": 2}


@pytest.fixture(scope="module")
def scene():
    return miniature.shower("street", "heavy", size=(24, 32))


@pytest.fixture(scope="module")
def sources():
    return panel.scenes([image[..., :64, :64] for image in miniature.dry("street")[:2]])


def recipe(text: str = "l1", **changes):
    return contest.entry("srn", contest.losses(text)).replace(**SMALL | changes)


@pytest.fixture
def plain(monkeypatch):
    """Pictures that cost nothing."""
    blank = figures.png(torch.zeros(3, 8, 8))
    monkeypatch.setattr(panel, "draw", lambda courses, scene: blank)


@pytest.fixture
def make(scene, sources, tmp_path):
    """Makes panels of one run, "A", that is six steps long and has done two; at the end nothing trains."""

    def made(plan=lambda: {"A": recipe()}, **settings):
        return Panel(plan, sources, scene, **{"steps": 6, "first": 2, "folder": tmp_path} | settings)

    yield made
    panel.stop_all()
    assert threads() == []


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "derainlib panel"]


def steps(live: Panel) -> dict[str, int]:
    return {label: len(course.records) for label, course in live.courses.items()}


def press(live: Panel, name: str) -> None:
    """What the kernel does when a reader presses a button."""
    live.controls[name]._handle_button_msg(None, {"event": "click"}, [])


def until(true, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.005)


def test_page_without_a_kernel_shows_the_first_steps(make):
    live = make(lambda: {"A": recipe(), "B": recipe("l1 + 0.1 edge")})
    assert steps(live) == {"A, seed 0": 2, "B, seed 0": 2}
    data = live._repr_mimebundle_()
    assert data["text/plain"] == "Panel(A, seed 0, B, seed 0)"
    (kind,) = (kind for kind in data if kind.startswith("image/"))
    assert Image.open(io.BytesIO(base64.b64decode(data[kind]))).width == 900


@pytest.mark.usefixtures("plain")
def test_start_goes_on_and_ends_as_a_training_without_a_panel(make, scene, sources, tmp_path):
    live = make()
    press(live, "start")
    live.wait()
    label, folder = "A, seed 0", live.folders["A, seed 0"]
    assert steps(live) == {label: 6}
    assert "6 of 6 steps, finished; weights:" in live._status.value
    assert str(folder / "last.safetensors") in live._status.value
    network = derainlib.load(folder / "last.safetensors")
    plain = training.train(recipe(steps=6), sources, tmp_path / "plain", workers=0)
    expected = derainlib.load(plain.last).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    course = live.courses[label]
    assert torch.equal(course.background, panel.cleaned(network, scene.rainy))
    psnr = metrics.psnr(course.background, scene.clean, "rgb").item()
    assert course.records[-1]["psnr_rgb"] == pytest.approx(psnr, abs=1e-3)


@pytest.mark.usefixtures("plain")
def test_stop_keeps_the_weights_of_the_steps_that_are_done(make):
    live = make(steps=100_000)
    press(live, "start")
    until(lambda: steps(live).get("A, seed 0", 0) > 3)
    began = time.monotonic()
    press(live, "stop")
    assert time.monotonic() - began < 0.5  # it does not wait for the step
    live.wait()
    done = steps(live)["A, seed 0"]
    assert derainlib.models.weights.card(live.folders["A, seed 0"] / "last.safetensors")["steps"] == done
    press(live, "start")
    until(lambda: steps(live).get("A, seed 0", 0) > done)
    live.controls["anew"].value = True
    live.stop(wait=True)
    assert steps(live)["A, seed 0"] > done
    live._begin(first=1)
    live.wait()
    assert steps(live) == {"A, seed 0": 1}


@pytest.mark.usefixtures("plain")
def test_finished_run_is_shown_again(make):
    make(first=6)
    again = make()
    assert steps(again) == {"A, seed 0": 6}
    assert again.courses["A, seed 0"].weights == {"l1": 1.0}


def test_runs_lie_over_one_another(make, request):
    draw = panel.draw
    request.getfixturevalue("plain")
    live = make(first=1)
    for seed in range(1, 5):
        live.controls["seed"].value = seed
        live._begin(first=1)
        live.wait()
    assert [*live.courses] == [f"A, seed {seed}" for seed in (1, 2, 3, 4)]
    (left,) = (ax for ax in draw(live.courses, live._scene).axes if ax.get_ylabel() == "PSNR (dB)")
    assert [line.get_label() for line in left.lines] == [*live.courses, "rainy"]


@pytest.mark.usefixtures("plain")
def test_controls_reach_the_plan(make):
    networks = choice(["l1", "mse"])
    live = make(lambda loss: {"A": recipe(loss)}, loss=networks)
    networks.value = "mse"
    live._begin(first=1)
    live.wait()
    assert live.courses["A, seed 0"].weights == {"mse": 1.0}
    assert live.controls["loss"].description == "loss"


@pytest.mark.usefixtures("plain")
def test_mistake_is_one_line_under_the_panel(make):
    given = ["l1"]
    live = make(lambda: {"A": recipe(given[0])})
    given[0] = "l1 + 3 <bogus>"
    press(live, "start")
    assert live._message.value.startswith('<b role="alert">&#x27;3 &lt;bogus&gt;&#x27; is no loss: write a sum')
    given[0] = "l1"
    press(live, "start")
    live.wait()
    assert live._message.value == ""


@pytest.mark.usefixtures("plain")
def test_error_of_the_training_is_one_line_under_the_panel(make, monkeypatch):
    live = make()

    def broken(*_, **__):
        raise RuntimeError("no\nmemory")

    monkeypatch.setattr(training, "train", broken)
    press(live, "start")
    live.wait()
    assert live._message.value == '<b role="alert">RuntimeError: no memory</b>'
    monkeypatch.undo()
    press(live, "start")
    live.wait()
    assert (live._message.value, live.error) == ("", None)


@pytest.mark.usefixtures("plain")
def test_recipe_that_cannot_start_stops_the_cell(make):
    with pytest.raises(DerainError, match="images smaller than the patch of 80"):
        make(lambda: {"A": recipe(patch=80)})


@pytest.mark.parametrize("how", ["made anew", "closed", "another starts"])
@pytest.mark.usefixtures("plain")
def test_no_thread_is_left(make, how, tmp_path):
    live = make(steps=100_000)
    other = make(steps=6, folder=tmp_path / "other") if how == "another starts" else None
    press(live, "start")
    until(lambda: live.is_training)
    (thread,) = threads()
    if how == "made anew":
        make()
    elif how == "closed":
        live._box.close()
    else:
        press(other, "start")
    until(lambda: not thread.is_alive())
    assert not live.is_training


@pytest.mark.usefixtures("plain")
def test_second_start_is_refused_in_words(make):
    live = make(steps=100_000)
    press(live, "start")
    press(live, "start")
    assert "it trains already: stop it first" in live._message.value
    assert len(threads()) == 1


@pytest.mark.usefixtures("plain")
def test_interrupted_kernel_stops_it(make, monkeypatch):
    live = make(steps=100_000)
    press(live, "start")
    waits = threading.Thread.join

    def interrupted(thread, timeout=None):
        monkeypatch.setattr(threading.Thread, "join", waits)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    live.wait()
    assert not live.is_training


@pytest.mark.usefixtures("plain")
def test_every_control_is_answered_at_once_and_has_its_name(make):
    live = make()
    for control in live.controls.values():
        assert control.comm._reply_subshell_for({}, "a subshell") == "a subshell"
        assert control.description
    assert "This page cannot answer" not in live._note.value


class TestShares:
    @pytest.mark.parametrize("balance", ["fixed", "loss", "gradient", "uncertainty"])
    def test_parts_add_up(self, make, balance, request):
        draw = panel.draw
        request.getfixturevalue("plain")
        live = make(lambda: {"A": recipe("l1 + 0.1 edge", balance=balance)}, first=4)
        (course,) = live.courses.values()
        parts = panel.shares(course)
        assert list(parts) == ["l1", "edge"]
        assert all(sum(at) == pytest.approx(1) for at in zip(*parts.values(), strict=True))
        if balance == "loss":  # two tasks are made equal
            assert parts["l1"] == pytest.approx([0.5] * 4, abs=1e-3)
        ax = draw(live.courses, live._scene).axes[1]
        assert [line.get_label() for line in ax.lines] == ["A, seed 0: l1", "A, seed 0: edge"]
