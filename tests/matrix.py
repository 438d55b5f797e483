"""Is the suite green on other machines? It runs for each instruction set and number of threads, in a random order.

    python tests/matrix.py                                     # all of it: the suite six times
    python tests/matrix.py --sets avx2 --threads 2 --seed 7
    python tests/matrix.py tests/training -k "resumed"         # what follows is pytest's

Notebooks and end-to-end tests are left out. Ends with status 0 if all runs are green.
"""

import argparse
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETS = {
    "own": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "default": {"ATEN_CPU_CAPABILITY": "default"},
}
"""Instruction sets by name, and the environment that takes them: the machine's own, an older machine's, none.

oneDNN's convolutions cannot be held to AVX2 on a processor with AVX-512: PyTorch asks the processor, not oneDNN,
whether they can do bf16, and they fail. Held to AVX512_CORE they do it without bf16 instructions.
"""
LEFT_OUT = ("--ignore=tests/notebooks", "--ignore=tests/test_end_to_end.py")


def run(name: str, threads: int, seed: int, jobs: int, pytest: Sequence[str]) -> tuple[int, str]:
    """pytest's exit status, and its last line and red tests."""
    flags = ["-q", "-p", "no:cacheprovider", "-p", "tests.shuffled", "--shuffle", str(seed), *LEFT_OUT]
    flags += ["-n", str(jobs), "--dist", "worksteal"] if jobs > 1 else []
    given = {
        key: value for key, value in os.environ.items() if key not in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
    }
    given |= SETS[name] | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *flags, *pytest], cwd=ROOT, env=given, capture_output=True, text=True
    )
    lines = (done.stdout + done.stderr).strip().splitlines() or [""]
    red = [line for line in lines if re.match("FAILED |ERROR ", line)]
    return done.returncode, "\n    ".join([lines[-1].strip("= "), *red])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if all runs are green."""
    parser = argparse.ArgumentParser(
        description="Runs the suite for instruction sets and numbers of threads.",
        allow_abbrev=False,  # what is not ours is pytest's
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="instruction sets (%(default)s)")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="OMP_NUM_THREADS (%(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first order; each run has the next")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share a run (%(default)s)")
    options, pytest = parser.parse_known_args(arguments)
    worst = 0
    for seed, (name, threads) in enumerate(itertools.product(options.sets, options.threads), options.seed):
        status, said = run(name, threads, seed, options.jobs, pytest)
        worst = max(worst, status)
        print(f"{name:8} {threads} threads, order {seed}: {said}", flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
