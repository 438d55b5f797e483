"""A demonstration in a real kernel, moved by the messages that JupyterLab sends, also on a thread of its own."""

import time
from queue import Empty

import pytest
from jupyter_client.manager import start_new_kernel

CODE = """
from derainlib.lab.widgets import demo, slider
import torch

levels = []

def shade(level):
    levels.append(level)
    if level == 3:
        raise ValueError("no shade")
    return torch.full((3, 16, 16), level / 10)

live = demo(shade, film={"level": [0, 5]}, level=slider(0, 5, 1))
print(*(widget.comm.comm_id for widget in (live.controls["level"], live._image, live._message, live._note)))
live
"""

BUSY = """
import time

before, end = len(levels), time.monotonic() + 20
while len(levels) == before and time.monotonic() < end:
    time.sleep(0.05)
assert levels[before:] == [4]
"""


@pytest.fixture(scope="module")
def session():
    """A kernel's client, and the ids of a demonstration's control, picture, message and note in it."""
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        printed = []
        reply = client.execute_interactive(CODE, timeout=120, output_hook=lambda m: printed.append(m["content"]))
        assert reply["content"]["status"] == "ok"
        ids = next(content["text"] for content in printed if "text" in content).split()
        yield client, ids
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def subshell(client) -> str:
    """Opens a subshell, as JupyterLab does for widgets where the kernel offers it."""
    message = client.session.msg("create_subshell_request", {})
    client.control_channel.send(message)
    while True:
        reply = client.control_channel.get_msg(timeout=30)
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            return reply["content"]["subshell_id"]


def move(client, ids: list[str], value: int, thread: str | None = None) -> dict[str, object]:
    """Moves the control as a browser does; what the kernel then sends to the picture and to the message."""
    update = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    message = client.session.msg("comm_msg", {"comm_id": ids[0], "data": update})
    if thread:
        message["header"]["subshell_id"] = thread
    client.shell_channel.send(message)
    names, got = dict(zip(ids, ("control", "picture", "message", "note"), strict=True)), {}
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            answer = client.get_iopub_msg(timeout=1)
        except Empty:
            continue
        if answer["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            continue
        if answer["msg_type"] == "comm_msg" and answer["content"]["data"]["method"] == "update":
            state = answer["content"]["data"]["state"]
            got[names.get(answer["content"]["comm_id"], "other")] = state.get("value", answer["buffers"])
        if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
            return got
    raise AssertionError("the kernel did not come to rest")


def test_first_move_is_answered_while_a_cell_runs(session):
    client, ids = session
    thread = subshell(client)
    cell = client.execute(BUSY)
    assert "picture" in move(client, ids, 4, thread)
    while (end := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != cell:
        assert end["msg_type"] != "execute_reply"
    assert end["content"]["status"] == "ok"


@pytest.mark.parametrize("on_a_thread", [False, True], ids=["main thread", "subshell"])
def test_moved_control_sends_a_new_picture(session, on_a_thread):
    client, ids = session
    thread = subshell(client) if on_a_thread else None
    first = move(client, ids, 2, thread)["picture"]
    second = move(client, ids, 4, thread)["picture"]
    assert bytes(first[0]).startswith(b"\x89PNG")
    assert bytes(first[0]) != bytes(second[0])


def test_page_without_subshells_says_that_it_waits(session):
    client, ids = session
    assert move(client, ids, 0, subshell(client)).get("note", "") == ""
    assert "cannot answer while a cell runs" in move(client, ids, 1)["note"]


def test_exception_is_shown_to_the_reader(session):
    client, ids = session
    assert move(client, ids, 3)["message"] == "<b>ValueError:</b> no shade"
    assert move(client, ids, 5)["message"] == ""
