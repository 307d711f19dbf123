"""The help costs a blink: a command imports what it works with when it runs."""

import subprocess
import sys

import pytest

HEAVY = {
    "cryptography", "fhir", "httpx", "joserfc", "msgspec", "numpy", "onnx", "onnxruntime", "sklearn", "starlette", "structlog",
    "torch", "uvicorn",
}  # fmt: skip
ASK = """
import sys
from cds_service.cli import main
{planted}
main({arguments!r}, standalone_mode=False)
print("LOADED", *{{name.partition(".")[0] for name in sys.modules}})
"""


def loaded(*arguments, planted=""):
    """The heavy packages in a process that was asked this."""
    command = [sys.executable, "-c", ASK.format(arguments=list(arguments), planted=planted)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return HEAVY & set(said.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("serve", "--help"), ("train", "--help"), ("check", "--help")], ids=" ".join
)
def test_help_loads_nothing_heavy(arguments):
    assert loaded(*arguments) == set()


def test_and_would_be_seen_to():
    assert loaded("--help", planted="import httpx") >= {"httpx"}
