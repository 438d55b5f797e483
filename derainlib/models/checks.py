"""Checks that networks make of their options."""

from derainlib.errors import DerainError

LARGEST = 4096
"""Of any width, number of layers or of stages: a file that asks for more would take all memory, or for ever."""


def check_sizes(**sizes):
    """Refuses, by name, what is no whole number from 1 to `LARGEST`.

    Raises:
        DerainError: one of them is something else.
    """
    for name, value in sizes.items():
        if type(value) is not int or value < 1:
            raise DerainError(f"{name} must be a whole number from 1; got {value!r}")
        if value > LARGEST:
            raise DerainError(f"{name} is at most {LARGEST}, not {value}")


def check_switches(**switches):
    """Refuses, by name, what is neither True nor False.

    Raises:
        DerainError: one of them is something else.
    """
    for name, value in switches.items():
        if type(value) is not bool:
            raise DerainError(f"{name} must be True or False; got {value!r}")
