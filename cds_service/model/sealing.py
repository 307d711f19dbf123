"""What is finished is written at once or not at all; a bundle with the hash of every file."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cds_service.errors import BundleError, Fault, SettingsError
from cds_service.model.bundle import FileSeal, Manifest, OperatingPoint, files_of, read_parts, seal

__all__ = ["as_toml_points", "seal_contents", "write_bundle", "write_whole"]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file; after a kill, a full disk or a loss of power it is the old one or the new one.

    Args:
        path: Its folder is made. What is written meanwhile lies beside it as ``<name>.writing``.
        data: All of it.

    Raises:
        SettingsError: It can't be written: the disk is full, or the folder is not ours. The old file stands.
    """
    beside = path.with_name(f"{path.name}.writing")
    with _told(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_through(beside, data)
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise


def seal_contents(manifest: Manifest, contents: Mapping[str, bytes]) -> tuple[Manifest, bytes]:
    """Write the hashes of the contents into the manifest and give it as ``bundle.toml``."""
    sealed = msgspec.structs.replace(manifest, files=seal(contents))
    return sealed, _as_toml(sealed).encode()


def write_bundle(folder: Path, manifest: Manifest, contents: Mapping[str, bytes], *, replace: bool = False) -> Manifest:
    """Write a bundle folder.

    Args:
        folder: ``…/<model>/<version>``; it appears complete or not at all.
        manifest: What the bundle is; its ``files`` are filled in here. Where the same files are released already,
            the release stands, with the commit that made it.
        contents: Every file but ``bundle.toml``.
        replace: A candidate may be overwritten, a release never.

    Raises:
        BundleError: A file is lacking, or a released bundle of this version holds something else.
        SettingsError: It can't be written: the disk is full, or the folder is not ours. Nothing is left of it.
    """
    lacking = sorted(set(files_of(manifest.kind)) - set(contents))
    if lacking:
        raise BundleError(
            Fault(str(folder), f"the bundle lacks {', '.join(lacking)}", "Make it with cds-service train")
        )
    sealed, listing = seal_contents(manifest, contents)
    if folder.exists() and not replace:
        released = read_parts(folder)[0]
        if released.files == sealed.files:
            return released
        raise BundleError(
            Fault(
                str(folder),
                "this version is released and holds something else",
                "Releases never change: raise the version in the recipe",
            )
        )
    beside = folder.with_name(f".{folder.name}.writing")
    with _told(folder):
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            for name, data in {**contents, "bundle.toml": listing}.items():
                _write_through(beside / name, data)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(beside, folder)  # noqa: PTH105 - the word says that it is one step
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    return sealed


def as_toml_points(points: Mapping[str, OperatingPoint]) -> str:
    """Write ``operating_points.toml``."""
    tables = []
    for name, point in points.items():
        pairs = (f"{key:<17} = {_value(value)}" for key, value in msgspec.structs.asdict(point).items())
        tables.append("\n".join((f"[{name}]", *pairs)))
    return "\n\n".join(tables) + "\n"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in a sentence what the operating system refused."""
    try:
        yield
    except OSError as fault:
        do = "Free space, or name a folder that can be written; the same command then goes on from what is finished"
        raise SettingsError(Fault(str(path), f"can't be written ({fault.strerror})", do)) from None


def _write_through(path: Path, data: bytes) -> None:
    """Write, and wait until the disk has it: a name must never stand for bytes that are only promised."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _value(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    return f"[{', '.join(map(repr, value))}]" if isinstance(value, tuple) else repr(value)


def _as_toml(manifest: Manifest) -> str:
    lines = [
        f"format         = {manifest.format}",
        *(
            f"{key:<14} = {_text(getattr(manifest, key))}"
            for key in ("model", "version", "made_by", "commit", "parent")
        ),
        *([f"kind           = {_text(manifest.kind)}"] if manifest.kind != "tabular" else []),
        f"minimum_inputs = {manifest.minimum_inputs}",
        f"outputs        = {{ {', '.join(f'{name} = {_text(title)}' for name, title in manifest.outputs.items())} }}",
        f"prevalence     = {{ {', '.join(f'{name} = {share!r}' for name, share in manifest.prevalence.items())} }}",
        f"population     = {{ {', '.join(f'{name} = {_text(said)}' for name, said in manifest.population.items())} }}",
        "",
    ]
    for used in manifest.data:
        lines += [
            "[[data]]",
            f"name    = {_text(used.name)}",
            f"sha256  = {_text(used.sha256)}",
            f"rows    = {used.rows}",
            f"licence = {_text(used.licence)}",
            "",
        ]
    lines.append("[files]")
    lines += [f'"{name}" = {_seal(one)}' for name, one in manifest.files.items()]
    return "\n".join(lines) + "\n"


def _seal(one: FileSeal) -> str:
    return f'{{ sha256 = "{one.sha256}", bytes = {one.bytes} }}'


def _text(value: str) -> str:
    """Quote for TOML; JSON's escapes of strings are TOML's."""
    return msgspec.json.encode(value).decode()
