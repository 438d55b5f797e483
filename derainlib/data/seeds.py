"""Seeds that no training draws with, so that no network is scored on rain that it has seen."""

from derainlib.errors import DataError

HOLDOUT_SEEDS = range(10**9, 10**9 + 1000)
"""The first are the hold-out's (`holdout.KINDS`), the last is validation's (`validation.SEED`), and test scenes have
one in the middle (`scenes.SEED`)."""


def check_seed(seed: int):
    """Refuses a seed that is kept from training.

    Raises:
        DataError: it is one of `HOLDOUT_SEEDS`.
    """
    if seed in HOLDOUT_SEEDS:
        raise DataError(f"seed {seed} belongs to the hold-out; choose one outside {HOLDOUT_SEEDS}")
