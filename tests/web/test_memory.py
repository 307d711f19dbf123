"""The memory of one large body serves the next (``docs/explanation/speed.md``)."""

import platform
import subprocess
import sys

import pytest

FAULTS_OF_200_BODIES = """
import resource
from cds_service.web.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    b"".join([bytes(65_536) for _ in range(22)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*, keep: bool) -> int:
    script = FAULTS_OF_200_BODIES.format(keep=keep)
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back at once")
def test_a_body_of_a_megabyte_does_not_pay_for_its_pages_anew():
    assert page_faults(keep=True) < page_faults(keep=False) / 20
