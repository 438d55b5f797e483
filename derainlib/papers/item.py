"""What else a paper holds beside its tables: equations, figures, and claims in running text, and where each stands."""

from dataclasses import dataclass

STATES = {
    "code": "a line of the library, with a test that would catch a wrong sign",
    "shown": "drawn or measured in a notebook, with our photographs and networks",
    "partly": "some of it is shown",
    "waits": "can be done here, and is not yet",
    "impossible": "cannot be done here; the note says why",
}
"""How far an item has come."""

OF_TABLES = {
    "run": "all its rows that have recipes were trained again as a study",
    "partly": "we measured some of its figures ourselves; the others are quoted",
    "waits": "it is a study that was not run yet",
    "quoted": "its figures are the paper's alone",
}
"""How far a table has come."""

COMPARED = "the other methods' weights are not here; what runs here is compared in notebook 16"
"""Why a figure that compares methods is impossible here."""


@dataclass(frozen=True)
class Item:
    """An equation, a figure, or a claim of a paper."""

    label: str
    """"Eq. 3", "Fig. 8", or of a claim, what it says, in our words."""
    about: str
    """What an equation or a figure is about, in our words; of a claim, where it stands in the paper."""
    state: str
    """One of `STATES`."""
    where: tuple[str, ...] = ()
    """Where it stands: dotted names of the library, "05: A heading" of a notebook, names of studies."""
    tests: tuple[str, ...] = ()
    """The tests that would catch a wrong sign in an equation, as pytest names them."""
    note: str = ""
    """What one must know, for example why something is impossible."""


def equation(number: str, about: str, where: str | tuple[str, ...], *tests: str, note: str = "") -> Item:
    """An equation, a line of the library.

    Args:
        number: the paper's; several that are one line here may stand together, "4, 5".
        about: what it says.
        where: dotted names below `derainlib`.
        tests: below tests/, "models/test_qsnet.py::test_parameters".
        note: what one must know.
    """
    places = (where,) if isinstance(where, str) else where
    names = tuple(f"derainlib.{name}" for name in places)
    return Item(f"Eq. {number}", about, "code", names, tuple(f"tests/{test}" for test in tests), note)


def figure(number: int, about: str, state: str, *where: str, note: str = "") -> Item:
    """A figure, see `Item`."""
    return Item(f"Fig. {number}", about, state, where, (), note)


def claim(says: str, section: str, state: str, *where: str, note: str = "") -> Item:
    """A claim in running text, see `Item`."""
    return Item(says, section, state, where, (), note)
