"""The exceptions of derainlib: each message is one line that says what is wrong and what to do about it."""


class DerainError(ValueError):
    """Anything a caller can put right. The command line prints it without a traceback.

    The message is one line, whatever control characters the names and values in it have.
    """

    def __init__(self, message: str):
        super().__init__(printable(message))


class ImageError(DerainError):
    """A file or array that is not a usable image."""


class DataError(DerainError):
    """A folder, list or pair of images that does not fit the layout asked for."""


class RecipeError(DerainError):
    """A training set-up with an unknown name, a wrong type or a value out of range."""


class WeightsError(DerainError):
    """A weights file that is missing, damaged, or made for another network."""


def require(condition: bool, message: str):
    """Refuses, with a `DerainError`, what does not fulfil the condition."""
    if not condition:
        raise DerainError(message)


def printable(text: str) -> str:
    """One line without control characters, whatever the names of files in it are made of."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def one_line(error: Exception) -> str:
    """What another library says, in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
