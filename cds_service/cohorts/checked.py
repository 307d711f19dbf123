"""Data files are read against their list of hashes, or not at all."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cds_service.errors import Fault, SettingsError

__all__ = ["digest_of_files", "read_checked", "read_sums"]


def read_sums(data: Path) -> dict[str, str]:
    """Read ``SHA256SUMS`` of a data folder: file → sha256.

    Raises:
        SettingsError: There is no such list.
    """
    path = data / "SHA256SUMS"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as fault:
        raise SettingsError(
            Fault(str(path), f"can't be read ({fault.strerror})", "Point --data or CDS_DATA to the data's folder")
        ) from None
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {name.lstrip("*").removeprefix("./"): digest for digest, name in pairs}


def read_checked(data: Path, file: str, sums: Mapping[str, str]) -> tuple[bytes, str]:
    """Read one file and give its content and its hash.

    Raises:
        SettingsError: It is not there, is not listed, or has another hash than its list says.
    """
    try:
        content = (data / file).read_bytes()
    except OSError as fault:
        raise SettingsError(
            Fault(f"{data}/{file}", f"can't be read ({fault.strerror})", "Get the data set anew")
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if sums.get(file) != digest:
        what = "SHA256SUMS does not list it" if file not in sums else "its sha256 is not the one in SHA256SUMS"
        raise SettingsError(Fault(f"{data}/{file}", what, "Get the data set anew; never train on changed data"))
    return content, digest


def digest_of_files(files: Mapping[str, str]) -> str:
    """Name a data set: the hash of its files' hashes, in order of their names."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()
