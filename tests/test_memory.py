"""The allocator keeps what was freed: memory that is wanted again costs no page faults."""

import platform
import subprocess
import sys

import pytest

REPEATED = """
import resource, sys
from derainlib import memory

if sys.argv[1] == "keep":
    assert memory.keep_freed()
for turn in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**26
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of the last of four blocks of 64 MB, in a process of its own."""
    command = [sys.executable, "-c", REPEATED, how]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_freed_memory_is_kept():
    assert faults("keep") < 100 < faults("as it is")
