"""What a serving process does to itself, in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ALLOCATES = """
import gc, resource
from thinkvla.serve.process import settle_in
settle_in()
def messages(count):
    for _ in range(count):
        message = bytes(300_000), bytearray(b"1") * 256_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = messages(10)
print(gc.get_freeze_count() > 0, messages(200) - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told")
def test_memory_of_messages_is_kept() -> None:
    found = subprocess.run([sys.executable, "-c", ALLOCATES], capture_output=True, text=True, check=True)
    frozen, faults = found.stdout.split()
    assert frozen == "True"
    assert int(faults) < 50  # 200 messages of 136 pages
