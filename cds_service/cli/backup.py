"""The commands that copy a state folder away, and bring it back."""

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cds_service.cli.faults import says_what_is_wrong
from cds_service.errors import Fault, SettingsError
from cds_service.settings import Settings, read_settings

if TYPE_CHECKING:
    from cds_service.events.backup_archive import Manifest

__all__ = ["backup", "restore"]

SETTINGS = click.option(
    "--settings", "file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="settings.toml"
)


@click.command()
@SETTINGS
@click.option("--state", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Run-time folder")
@says_what_is_wrong
def backup(file: Path | None, state: Path | None) -> None:
    """Make a sealed backup beside the running service: checked, read back, named by its hash; the oldest go.

    \b
    $ cds-service backup --settings settings.toml
    /mnt/backup/backup-20261125T030000Z-5f0c….cds: 118204 events up to 118311, 212 audit entries. 1 older one went.
    """
    from cds_service.cli.audited import audit_log
    from cds_service.events.audit_entry import object_name
    from cds_service.events.backup import Source, make_backup
    from cds_service.events.pseudonym import load_key
    from cds_service.events.sealed_file import fingerprint

    settings = read_settings(file, state=state)
    folder, key = _folder(settings), _key(settings.backup_key_file)
    source = Source(
        settings.event_store,
        settings.audit,
        settings.kept_files,
        fingerprint(load_key(settings.pseudonym_key)),
    )
    with audit_log(settings).action("backup_made", on=object_name(folder.name)) as noted:
        made = make_backup(
            source,
            folder,
            key=key,
            now=datetime.now(UTC),
            generations=settings.keep_backups,
            days=settings.keep_backup_days,
        )
        noted.counts = {"events": made.manifest.rows["event"], "last": made.manifest.last_seq, "removed": made.removed}
    click.echo(f"{made.path}: {_told(made.manifest)}. {made.removed} older went.")
    if not made.manifest.audit_holds:
        click.echo("The audit log does not hold: it was copied as it is. Run cds-service audit verify.", err=True)


@click.command()
@click.argument("backup_file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@SETTINGS
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="Run-time folder to restore into")
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The key's file  [default: backup_key_file]",
)
@click.option(
    "--forgotten",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The list of today  [default: forgotten.txt beside FILE]",
)
@says_what_is_wrong
def restore(
    backup_file: Path, file: Path | None, state: Path | None, key_file: Path | None, forgotten: Path | None
) -> None:
    """Restore a backup into a state folder without an event store; who was forgotten since stays forgotten.

    \b
    $ cds-service restore /mnt/backup/backup-20261125T030000Z-5f0c….cds --settings settings.toml
    Restored: 118204 events up to 118311, 212 audit entries.
    Forgotten since: 3 answers, 2 feedback items are blank now.
    """
    from cds_service.cli.audited import audit_log
    from cds_service.events.audit_entry import object_name, segments
    from cds_service.events.forgotten_list import LIST, read_list
    from cds_service.events.pseudonym import load_key
    from cds_service.events.restoring import Place, restore_backup
    from cds_service.events.sealed_file import fingerprint

    settings = read_settings(file, state=state)
    audit, on = audit_log(settings), object_name(backup_file.name)
    has_chain = bool(segments(settings.audit))
    with audit.action("restored", on=on) if has_chain else nullcontext() as noted:
        place = Place(
            settings.state,
            settings.event_store,
            settings.audit,
            settings.kept_files,
            fingerprint(load_key(settings.pseudonym_key)),
        )
        done = restore_backup(
            backup_file,
            place,
            key=_key(key_file or settings.backup_key_file),
            forgotten=read_list(forgotten or backup_file.with_name(LIST)),
            now=datetime.now(UTC),
        )
        counts = {
            "events": done.manifest.rows["event"],
            "last": done.manifest.last_seq,
            "answers": done.left_out.answers,
        }
        if noted is not None:
            noted.counts = counts
    if not has_chain:
        audit.write("restored", on=on, counts=counts)
    click.echo(f"Restored: {_told(done.manifest)}.")
    click.echo(
        f"Forgotten since: {done.left_out.answers} answers, {done.left_out.feedback} feedback items are blank now."
    )
    for name in done.kept:
        click.echo(f"{name} was there already and is kept.")


def _told(manifest: "Manifest") -> str:
    return f"{manifest.rows['event']} events up to {manifest.last_seq}, {manifest.audit_entries} audit entries"


def _folder(settings: Settings) -> Path:
    if settings.backup_folder is None:
        raise SettingsError(Fault("backup_folder", "there is none", "Name a folder on another disk"))
    return settings.backup_folder


def _key(path: Path | None) -> bytes:
    from cds_service.events.pseudonym import load_key

    if path is None:
        raise SettingsError(Fault("backup_key_file", "there is none", "Name a file with 32 random bytes, mode 0600"))
    return load_key(path, "backup")
