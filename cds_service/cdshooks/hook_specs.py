"""What each hook carries in its context: the table of CDS Hooks' hook library, as data.

Section E of ``docs/reference/standards/cds-hooks.md``. The wire checks requests against it, the catalog takes its
prefetch tokens and ``hookVersion`` from it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

ANY_USER = ("Practitioner", "PractitionerRole", "Patient", "RelatedPerson")
CLINICIAN = ("Practitioner", "PractitionerRole")

USER_TOKENS: Mapping[str, str] = MappingProxyType(
    {
        "userPractitionerId": "Practitioner",
        "userPractitionerRoleId": "PractitionerRole",
        "userPatientId": "Patient",
        "userRelatedPersonId": "RelatedPerson",
    }
)
"""The four tokens beside ``context.*`` (CH-044) and the type of user that gives each a value."""

CUSTOM_HOOK = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,8}")
"""A hook of one's own: reverse-domain, at least one dot (CH-089)."""


@dataclass(frozen=True, slots=True)
class ContextField:
    """One field of a hook's context.

    ``kind``: ``id`` is a bare FHIR id, ``reference`` is ``Type/id``, ``references`` an array of those, ``bundle`` a
    FHIR Bundle, ``resources`` an array of resources, ``resource`` one resource.
    """

    name: str
    kind: Literal["id", "reference", "references", "bundle", "resources", "resource"]
    required: bool = True
    token: bool = False
    """Whether a prefetch template may use it as ``{{context.<name>}}``."""
    types: tuple[str, ...] = ()
    """The types that a reference may have; empty: any."""
    points_into: str | None = None
    """The Bundle field that must hold each reference (CH-086)."""
    formerly: str | None = None
    """The single-valued name that an older version of the hook used."""


@dataclass(frozen=True, slots=True)
class HookSpec:
    """One published hook."""

    name: str
    version: str
    """The hook's own version, for ``hookVersion`` in discovery (CH-032)."""
    maturity: int | None
    fields: tuple[ContextField, ...]
    deprecated: str | None = None
    """What to use instead."""

    @property
    def tokens(self) -> frozenset[str]:
        """The context fields that a prefetch template may use (CH-043)."""
        return frozenset(field.name for field in self.fields if field.token)


def _user(types: tuple[str, ...] = ANY_USER, *, required: bool = True) -> ContextField:
    return ContextField("userId", "reference", required=required, token=True, types=types)


_PATIENT = ContextField("patientId", "id", token=True)
_ENCOUNTER = ContextField("encounterId", "id", token=True)
_MAYBE_ENCOUNTER = ContextField("encounterId", "id", required=False, token=True)
_DRAFT_ORDERS = ContextField("draftOrders", "bundle")

CUSTOM_FIELDS = (_user(required=False), _PATIENT, _MAYBE_ENCOUNTER)
"""What we ask of a hook outside the library: a patient; the rest is between the service and its client."""

_LIBRARY = (
    HookSpec("patient-view", "1.0", 5, (_user(), _PATIENT, _MAYBE_ENCOUNTER)),
    HookSpec(
        "order-select",
        "1.0",
        4,
        (
            _user(CLINICIAN),
            _PATIENT,
            _MAYBE_ENCOUNTER,
            ContextField("selections", "references", points_into="draftOrders"),
            _DRAFT_ORDERS,
        ),
    ),
    HookSpec("order-sign", "1.0", 5, (_user(CLINICIAN), _PATIENT, _MAYBE_ENCOUNTER, _DRAFT_ORDERS)),
    HookSpec("encounter-start", "1.0", 1, (_user(), _PATIENT, _ENCOUNTER)),
    HookSpec("encounter-discharge", "1.0", 1, (_user(), _PATIENT, _ENCOUNTER)),
    HookSpec(
        "appointment-book", "1.0", 1, (_user(), _PATIENT, _MAYBE_ENCOUNTER, ContextField("appointments", "bundle"))
    ),
    HookSpec(
        "order-dispatch",
        "1.1",
        0,
        (
            _PATIENT,
            ContextField("dispatchedOrders", "references", token=True, formerly="order"),
            ContextField("performer", "reference", token=True),
            ContextField("fulfillmentTasks", "resources", required=False),
        ),
    ),
    # Listed by the library at maturity 1 or deprecated, without a context that we could verify: the patient is asked for.
    HookSpec("allergyintolerance-create", "1.0", 1, CUSTOM_FIELDS),
    HookSpec("problem-list-item-create", "1.0", 1, CUSTOM_FIELDS),
    HookSpec("medication-refill", "1.0", 1, CUSTOM_FIELDS),
    HookSpec("medication-verify", "1.0", 1, CUSTOM_FIELDS),
    HookSpec("medication-prescribe", "1.0", None, CUSTOM_FIELDS, deprecated="order-select and order-sign"),
    HookSpec("order-review", "1.0", None, CUSTOM_FIELDS, deprecated="order-sign"),
)

HOOKS: Mapping[str, HookSpec] = MappingProxyType({spec.name: spec for spec in _LIBRARY})
"""Every hook of the published library, by name."""
