"""Whose result it is: a reference is the patient whose chart was opened, another patient, or nobody we know."""

from collections.abc import Sequence

from cds_service.clinical import fhir_shapes as fhir
from cds_service.clinical.judging import Judged

__all__ = ["Subject"]

_DEFAULT_PORTS = {"https": ":443", "http": ":80"}
"""Ports that an address may leave out (RFC 3986, section 6.2.3)."""


class Subject:
    """Whether a reference is the patient whose chart was opened (case B-025)."""

    def __init__(self, patient: str, fhir_server: str | None, resources: Sequence[fhir.Entry | Judged] = ()) -> None:
        base = _normal(fhir_server.rstrip("/")) if fhir_server else None
        self._exact = {f"Patient/{patient}"} | ({f"{base}/Patient/{patient}"} if base else set())
        self._base = base
        for entry in resources:
            if not isinstance(entry.resource, fhir.Patient) or entry.resource.id != patient:
                continue
            if entry.full_url is not None and entry.full_url.startswith("urn:uuid:"):
                self._exact.add(entry.full_url)

    def reason(self, reference: fhir.Reference | None) -> str | None:
        """None if it is the patient, else ``other_patient`` or ``subject_unresolved``."""
        text = reference.reference if reference is not None else None
        if text is None:
            return "subject_unresolved"
        if text in self._exact:
            return None
        unversioned = _normal(text.split("/_history/", 1)[0])
        if unversioned in self._exact:
            return None
        if text.startswith(("urn:", "#")) or "Patient/" not in text:
            return "subject_unresolved"
        if self._base is None and "://" in text:
            return "subject_unresolved"
        return "other_patient"


def _normal(url: str) -> str:
    """An absolute URL with its scheme and host as RFC 3986 compares them; anything else as it is."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    host, slash, path = rest.partition("/")
    scheme, host = scheme.lower(), host.lower()
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}{slash}{path}"
