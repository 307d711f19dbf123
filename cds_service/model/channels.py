"""Which version speaks: the pointer file ``channels.toml`` of one model."""

import tomllib
from pathlib import Path

import msgspec
from msgspec import Struct

from cds_service.errors import BundleError, Fault

__all__ = ["Canary", "Channels", "read_channels"]


class Canary(Struct, frozen=True, forbid_unknown_fields=True):
    """A version that a share of the patients sees, by keyed hash."""

    version: str
    share: float


class Channels(Struct, frozen=True, forbid_unknown_fields=True):
    """The versions of one model: who answers, who listens, who is tried."""

    champion: str
    shadow: str | None = None
    canary: Canary | None = None


def read_channels(folder: Path) -> Channels:
    """Read ``channels.toml``.

    Args:
        folder: ``model_assets/<model>``, or a site's own copy under its state.

    Raises:
        BundleError: There is no such file, it does not say what it must, or a version that it names has no folder.
    """
    path = folder / "channels.toml"
    try:
        channels = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Channels)
    except OSError as fault:
        raise BundleError(
            Fault(str(path), f"can't be read ({fault.strerror})", 'Write champion = "<version>"')
        ) from None
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise BundleError(Fault(str(path), str(fault), "See docs/reference/model-bundle.md")) from None
    versions = [channels.champion, channels.shadow, channels.canary.version if channels.canary else None]
    faults = [
        Fault(str(path), f"version {version} is no folder name", 'Write a version such as "1.0.0"')
        for version in versions
        if version is not None and not _is_version(version)
    ]
    if channels.canary is not None and not 0 < channels.canary.share <= 0.5:
        faults.append(Fault(f"{path}: canary.share", "not above 0 and at most 0.5", "A canary is the smaller arm"))
    if faults:
        raise BundleError(*faults)
    return channels


def _is_version(version: str) -> bool:
    parts = version.split(".")
    return len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts)
