"""The commands by which a patient leaves the log."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from cds_service.cli.faults import says_what_is_wrong
from cds_service.errors import Fault, SettingsError
from cds_service.settings import Settings, read_settings

__all__ = ["patient"]


@click.group()
def patient() -> None:
    """What a patient may ask for.

    \b
    $ cds-service patient forget --tenant hospital-a --id-stdin < id
    """


@patient.command()
@click.option("--tenant", required=True, help="The hospital whose patient it is, as in clients.toml.")
@click.option("--id-stdin", is_flag=True, required=True, help="The FHIR id of the patient comes on standard input.")
@click.option("--settings", "file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="settings.toml")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Run-time folder")
@says_what_is_wrong
def forget(tenant: str, file: Path | None, state: Path | None, *, id_stdin: bool) -> None:
    """Blank what the log holds of a patient, and keep nothing of the patient from now on; the service may run.

    \b
    $ cds-service patient forget --tenant hospital-a --id-stdin < id
    Blank now: 3 answers, 2 feedback items. On the list from now on: 1 name, new.
    """
    del id_stdin  # it is there to be written: an id never stands among the arguments, which others can see
    from cds_service.cli.audited import audit_log
    from cds_service.events.forgetting import Tombstones, tombstones_of
    from cds_service.events.forgetting import forget as forget_patient
    from cds_service.events.forgotten_list import add_to_list
    from cds_service.events.pseudonym import load_key, pseudonyms_of

    settings = read_settings(file, state=state)
    on = f"tenant:{tenant}" if _is_known(settings, tenant) else None
    with audit_log(settings).action("patient_forgotten", on=on) as noted:
        if on is None:
            raise SettingsError(
                Fault("--tenant", "neither clients.toml nor the log knows it", "Write it as in clients.toml")
            )
        names = pseudonyms_of(_read_id(), tenant=tenant, masters={"v1": load_key(settings.pseudonym_key)})
        noted.patients = tuple(sorted(names))
        done = forget_patient(settings.event_store, Tombstones(names, frozenset()), datetime.now(UTC))
        if settings.backup_folder is not None:
            add_to_list(settings.backup_folder, tombstones_of(settings.event_store))
        noted.counts = {"answers": done.answers, "feedback": done.feedback, "names": done.patients}
    known = "new" if done.patients else "known before"
    click.echo(
        f"Blank now: {done.answers} answers, {done.feedback} feedback items. "
        f"On the list from now on: {len(names)} name, {known}."
    )
    if not done.journal_is_clean:
        click.echo("Another program was reading: the journal still holds old pages. Run the command again.")
    for line in _trained_on(settings):
        click.echo(line)


def _is_known(settings: Settings, tenant: str) -> bool:
    """Whether anybody has this tenant: a slip of the pen would end in *0 answers* and a false assurance."""
    from cds_service.events.forgetting import has_tenant
    from cds_service.trust import read_trusted

    return tenant in {client.tenant for client in read_trusted(settings)} or has_tenant(settings.event_store, tenant)


def _read_id() -> str:
    from cds_service.cdshooks.wire_fields import FHIR_ID

    if sys.stdin.isatty():
        click.echo("The patient's FHIR id, Enter, Ctrl-D:", err=True)
    text = sys.stdin.read(1000).removesuffix("\n").removesuffix("\r")
    if not FHIR_ID.fullmatch(text):
        raise SettingsError(Fault("standard input", "not one FHIR id", "Send the id alone, without Patient/ or spaces"))
    return text


def _trained_on(settings: Settings) -> list[str]:
    """What each model that is served was made of: the log is among it or is not."""
    from cds_service.model.bundle import read_parts
    from cds_service.model.channels import read_channels

    lines = []
    for folder in sorted(path.parent for path in settings.assets.glob("*/channels.toml")):
        manifest = read_parts(folder / read_channels(folder).champion)[0]
        data = ", ".join(one.name for one in manifest.data)
        lines.append(f"{manifest.model} {manifest.version} was trained on: {data}.")
    return lines
