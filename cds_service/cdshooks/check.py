"""``cds-service check``: every service folder judged before a patient meets it, each finding with file and line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

from cds_service.cdshooks.catalog import duplicates
from cds_service.cdshooks.catalog_read import read_service
from cds_service.cdshooks.check_data import check_data
from cds_service.cdshooks.check_fhir import check_fhir
from cds_service.cdshooks.check_findings import Checked, Finding, ModelFacts, finding_of
from cds_service.cdshooks.check_model import check_model
from cds_service.cdshooks.check_reasons import check_reasons
from cds_service.cdshooks.check_texts import check_texts
from cds_service.cdshooks.prefetch_lint import lint_query
from cds_service.errors import DeclarationError, Fault

__all__ = ["Finding", "ModelFacts", "check_services", "refuse_unfit"]


def check_services(
    hooks: Path,
    models: Mapping[str, ModelFacts] | None = None,
    *,
    today: date | None = None,
    production: bool = False,
    fhir: bool = True,
) -> list[Finding]:
    """Check every service folder, and whether it fits the model that it names.

    Args:
        hooks: The folder of service folders.
        models: Model name → what its champion bundle says; None leaves the fit with models unjudged.
        today: For review dates; None takes today's.
        production: An owner and a review date are then demanded.
        fhir: Validate templates and examples with fhir.resources (R4B), which takes a second to import.

    Returns:
        All findings, by file and line. Nothing is raised for what a folder says.
    """
    checks: list[Callable[[Checked], Iterator[Finding]]] = [
        check_data, check_model, check_texts, check_reasons, _check_prefetch, *([check_fhir] if fhir else []),
    ]  # fmt: skip
    findings: list[Finding] = []
    read: list[Checked] = []
    if not hooks.is_dir():
        return [Finding(str(hooks), 1, "error", "there is no such folder", "name the folder that holds the services")]
    for folder in sorted(path for path in hooks.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))):
        try:
            service, document = read_service(folder)
        except DeclarationError as error:
            findings.extend(finding_of(fault) for fault in error.faults)
            continue
        checked = Checked(service, document, folder, (models or {}).get(service.model))
        read.append(checked)
        if models is not None and checked.model is None:
            known = ", ".join(sorted(models)) or "none"
            findings.append(
                checked.error(("model",), f"there is no model '{service.model}'", f"train it, or name one of: {known}")
            )
        for check in checks:
            findings.extend(check(checked))
        findings.extend(_check_owner(checked, today or date.today(), production=production))  # noqa: DTZ011
    findings.extend(finding_of(fault) for fault in duplicates([checked.service for checked in read]))
    return sorted(findings, key=lambda found: (found.file, found.line, found.level, found.what))


def refuse_unfit(hooks: Path, models: Mapping[str, ModelFacts]) -> None:
    """Refuse to start where a service does not fit its model.

    Raises:
        DeclarationError: ``check`` finds an error that a patient could meet (templates and examples are judged by the
            ``check`` command only).
    """
    errors = [found for found in check_services(hooks, models, fhir=False) if found.level == "error"]
    if errors:
        raise DeclarationError(*(Fault(f"{found.file}:{found.line}", found.what, found.do) for found in errors))


def _check_prefetch(checked: Checked) -> Iterator[Finding]:
    """What the loader lets pass but few servers can do (CH-046)."""
    for key in checked.service.prefetch:
        for remark in lint_query(key.query, checked.service.hook, required=key.required):
            if remark.level == "warning":
                yield checked.warning(("prefetch", key.name, "query"), remark.what, remark.do)


def _check_owner(checked: Checked, today: date, *, production: bool) -> Sequence[Finding]:
    owner, level = checked.service.owner, "error" if production else "warning"
    say = checked.error if level == "error" else checked.warning
    found = []
    if not owner.clinical:
        found.append(say(("owner", "clinical"), "no clinical owner is named", "write who answers for this service"))
    if owner.review_by is None:
        found.append(say(("owner", "review_by"), "no review date is set", "write review_by = YYYY-MM-DD"))
    elif owner.review_by < today:
        found.append(
            say(
                ("owner", "review_by"), "the review date has passed: the service is silent", "review it, set a new date"
            )
        )
    if not owner.stop_if:
        found.append(say(("owner", "stop_if"), "no stop rule is written", "write stop_if = when it must be stopped"))
    if checked.service.repeat.cards_per_100_opens_max is None:
        found.append(
            checked.warning(("repeat",), "nothing limits how often the card appears", "write cards_per_100_opens_max")
        )
    return found
