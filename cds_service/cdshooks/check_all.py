"""``cds-service check``: every service folder, every model's bundle, and whether they fit."""

from dataclasses import dataclass
from pathlib import Path

from cds_service.cdshooks.catalog import load_services
from cds_service.cdshooks.check import check_services
from cds_service.cdshooks.check_findings import ModelFacts
from cds_service.cdshooks.declaration import Service
from cds_service.errors import BundleError, DeclarationError
from cds_service.model.bundle import load_bundle, read_parts
from cds_service.model.channels import read_channels
from cds_service.model.image_model import load_image_bundle, open_image_model
from cds_service.model.runtime import Model, open_model

__all__ = ["CheckReport", "check_all", "facts_of", "open_champion"]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What to print and how to end: 0 fit to serve, 2 not."""

    lines: tuple[str, ...]
    exit_code: int


def open_champion(assets: Path, name: str) -> Model:
    """Open the bundle that a model's channel file names as champion.

    Raises:
        BundleError: It is missing, damaged, or gives other numbers here than at its release.
    """
    folder = assets / name
    if not folder.is_dir():
        raise BundleError.of(
            "a service names this model and there is no bundle of it",
            where=str(folder),
            do=f"Run cds-service train {name}",
        )
    return open_model(load_bundle(folder / read_channels(folder).champion))


def facts_of(model: Model) -> ModelFacts:
    """What a declaration must fit."""
    bundle = model.bundle
    return ModelFacts(bundle.features, frozenset(bundle.operating_points), bundle.outputs)


def check_all(hooks: Path, assets: Path, *, production: bool = False) -> CheckReport:
    """Check all services and the champion of each model; every fault at once, with file and line.

    Args:
        hooks: The folder of service folders.
        assets: The folder of model bundles.
        production: Whether what only a real site needs (an owner, a review date) is an error.
    """
    services, lines = _readable(hooks)
    models: dict[str, Model] = {}
    broken = 0
    for name in sorted({service.model for service in services}):
        try:
            models[name] = open_champion(assets, name)
        except BundleError as error:
            broken += 1
            lines += [str(fault) for fault in error.faults]
    unasked: list[str] = []
    for name in sorted(_models_in(assets) - {service.model for service in services}):
        try:
            unasked.append(_open_unasked(assets / name))
        except BundleError as error:
            broken += 1
            lines += [str(fault) for fault in error.faults]
    findings = check_services(hooks, {name: facts_of(model) for name, model in models.items()}, production=production)
    lines += [str(found) for found in findings]
    errors = broken + sum(found.level == "error" for found in findings)
    if not errors:
        lines += [_line(service, models[service.model], hooks) for service in services]
        lines += unasked
    return CheckReport(tuple(lines), 2 if errors else 0)


def _readable(hooks: Path) -> tuple[tuple[Service, ...], list[str]]:
    """The services, if all of them can be read; else ``check_services`` says what is wrong with which line."""
    try:
        return load_services(hooks).services, []
    except DeclarationError:
        return (), []


def _models_in(assets: Path) -> set[str]:
    return {folder.name for folder in assets.iterdir() if folder.is_dir() and not folder.name.startswith(".")}


def _open_unasked(folder: Path) -> str:
    """Open the champion of a model that no service names, and say what it is.

    Raises:
        BundleError: As :func:`open_champion`.
    """
    version = folder / read_channels(folder).champion
    if read_parts(version)[0].kind == "image":
        seen = open_image_model(load_image_bundle(version)).bundle
        return f"{seen.model}: image model {seen.version}, {len(seen.golden.rows)} golden images, no service asks it"
    read = open_model(load_bundle(version)).bundle
    return f"{read.model}: model {read.version}, {len(read.golden.rows)} golden rows, no service asks it"


def _line(service: Service, model: Model, hooks: Path) -> str:
    examples = len(list((hooks / service.id / "examples").glob("*.request.json")))
    return (
        f"{service.id}: {len(service.prefetch)} prefetch keys, model {model.name} {model.version}, {examples} examples"
    )
