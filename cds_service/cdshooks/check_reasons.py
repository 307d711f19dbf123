"""An override reason's code never changes its meaning: ``override_reasons.lock.toml`` remembers each."""

from collections.abc import Iterator

from cds_service.cdshooks.catalog_toml import read_document
from cds_service.cdshooks.check_findings import Checked, Finding, finding_of
from cds_service.errors import DeclarationError

__all__ = ["LOCK_FILE", "MOST_REASONS", "check_reasons"]

LOCK_FILE = "override_reasons.lock.toml"
MOST_REASONS = 6
"""A clinician reads no longer list while a chart is open."""


def check_reasons(checked: Checked) -> Iterator[Finding]:
    """Compare the declared reasons with the locked ones."""
    reasons = checked.service.card.override_reasons
    if not reasons:
        return
    if len(reasons) > MOST_REASONS:
        yield checked.warning(
            ("card", "override_reason"), f"{len(reasons)} reasons are offered, {MOST_REASONS} are read", "merge some"
        )
    path = checked.folder / LOCK_FILE
    if not path.is_file():
        yield checked.error(
            ("card", "override_reason"), f"the meanings are not locked in {LOCK_FILE}", "write that file"
        )
        return
    try:
        lock = read_document(path)
    except DeclarationError as error:
        yield from map(finding_of, error.faults)
        return
    for place, reason in enumerate(reasons):
        where = ("card", "override_reason", place, "code")
        meaning = lock.data.get(reason.code)
        if meaning is None:
            yield checked.error(where, f"the code '{reason.code}' is not in {LOCK_FILE}", "add its meaning there")
            continue
        says = {"maps_to": reason.maps_to, **reason.display}
        for key, locked in meaning.items():
            if says.get(key, locked) != locked:
                yield checked.error(
                    where,
                    f"the code '{reason.code}' changed its meaning ('{key}' is locked otherwise in {lock.file}:{lock.line((reason.code, key))})",
                    "give the new meaning a new code",
                )
