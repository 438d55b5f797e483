"""What a kernel does first when a notebook is tried: every demonstration is built twice.

At first with a callback that raises as soon as a control moves: the exception must stop the construction, hence the
cell. Then as the notebook wants it. So one run of a notebook shows that it gives what it stores, and that no error of
a demonstration would be swallowed. Each leaves a line in the file that DERAIN_TRIED names.
"""

import os
from pathlib import Path

import numpy as np

from derainlib.lab import widgets

START_UP = "__import__('importlib').import_module('tests.notebooks.broken_first').install()"
"""A start-up file of IPython; it leaves no name behind in the notebook."""


class BrokenCallback(Exception):
    """What the broken callback raises."""


def install():
    build = widgets.Demo.__init__

    def twice(self, function, controls, *options, **more):
        break_first(build, controls, *options, **more)
        build(self, function, controls, *options, **more)
        with Path(os.environ["DERAIN_TRIED"]).open("a") as file:
            file.write("tried\n")

    widgets.Demo.__init__ = twice


def break_first(build, controls, *options, **more):
    """Builds a copy that breaks, and leaves the controls as they were.

    Raises:
        AssertionError: the exception was lost on the way.
    """
    copy, first = object.__new__(widgets.Demo), {name: control.value for name, control in controls.items()}

    def broken(**values):
        if values != first:
            raise BrokenCallback
        return np.zeros((3, 16, 16))

    try:
        build(copy, broken, controls, *options, **more)
    except BrokenCallback:
        for name, control in controls.items():
            control.unobserve(copy._follow, names="value")
            control.value = first[name]
    else:
        raise AssertionError("this demonstration swallows what its callback raises")
