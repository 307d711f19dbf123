"""The commands for the event log as a whole."""

from datetime import UTC, datetime
from pathlib import Path

import click

from cds_service.cli.faults import says_what_is_wrong
from cds_service.settings import read_settings

__all__ = ["events"]


@click.group()
def events() -> None:
    """The event log as a whole.

    \b
    $ cds-service events expire --settings settings.toml
    """


@events.command()
@click.option("--settings", "file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="settings.toml")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Run-time folder")
@click.option(
    "--catch-up", is_flag=True, help="Remove more than 31 days, or after the clock was set: after a look at it."
)
@says_what_is_wrong
def expire(file: Path | None, state: Path | None, *, catch_up: bool) -> None:
    """Remove days of events and years of the audit log whose time is over; each night, beside the running service.

    \b
    $ cds-service events expire --settings settings.toml
    Removed: 1 days with 4211 events, 0 years with 0 audit entries.
    """
    from cds_service.cli.audited import audit_log
    from cds_service.events.expiring import expire_audit, expire_events, refuse_set_clock

    settings = read_settings(file, state=state)
    audit, now = audit_log(settings), datetime.now(UTC)
    with audit.action("events_expired") as noted:
        if not catch_up:
            refuse_set_clock(audit, now)
        days = expire_events(settings.event_store, now=now, keep_days=settings.keep_events_days, catch_up=catch_up)
        noted.counts = {"days": days.parts, "events": days.rows}
        years = expire_audit(audit, now=now, keep_days=settings.keep_audit_days, catch_up=catch_up)
    click.echo(
        f"Removed: {days.parts} days with {days.rows} events, {years.parts} years with {years.rows} audit entries."
    )
