"""A plug-in of pytest: `-p tests.shuffled --shuffle SEED` runs files, and the tests in each, in a random order.

Files stay together, so that what a file prepares once is prepared once.
"""

import random
from itertools import groupby


def pytest_addoption(parser):
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run files, and tests in each, in this random order")


def pytest_collection_modifyitems(config, items):
    seed = config.getoption("shuffle")
    if seed is None:
        return
    draws = random.Random(seed)
    files = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
    draws.shuffle(files)
    for tests in files:
        draws.shuffle(tests)
    items[:] = [test for tests in files for test in tests]
