"""Reading single fields of a request: each returns the value, or notes a fault at its JSON path and returns None."""

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from cds_service.cdshooks.fhir_authorization import AccessToken, FHIRAuthorization
from cds_service.cdshooks.hook_specs import ContextField
from cds_service.errors import Fault

__all__ = ["FHIR_ID", "REFERENCE", "UUID", "Field", "Reader", "read_authorization", "read_context_field"]

UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
FHIR_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
"""FHIR R4, datatype ``id``."""
REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,63})/([A-Za-z0-9.-]{1,64})")
_URL = re.compile(r"https?://[^\s\x00-\x1f]{1,2040}")
_INSTEAD_OF_NULL = b"null"

Field = msgspec.Raw | msgspec.UnsetType
_T = TypeVar("_T")

_STRING = msgspec.json.Decoder(str)
_INTEGER = msgspec.json.Decoder(int)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


class _Identified(msgspec.Struct):
    """A resource, seen by nothing but its identity."""

    resourceType: str = ""  # noqa: N815
    id: str = ""


class _Entry(msgspec.Struct):
    resource: _Identified | None = None


class _Bundle(msgspec.Struct):
    resourceType: str = ""  # noqa: N815
    entry: list[_Entry] | None = None


_BUNDLE = msgspec.json.Decoder(_Bundle)
_RESOURCE = msgspec.json.Decoder(_Identified)


class Reader:
    """Collects what is wrong, and what is unusual but accepted, while a request is read."""

    __slots__ = ("faults", "quirks")

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.quirks: dict[str, None] = {}
        """An ordered set."""

    def fault(self, where: str, what: str, do: str) -> None:
        self.faults.append(Fault(where, what, do))

    def quirk(self, name: str) -> None:
        self.quirks[name] = None

    def is_present(self, field: Field) -> bool:
        """Whether an optional field has a value; ``null`` counts as absent and is noted."""
        if field is msgspec.UNSET:
            return False
        if bytes(field) == _INSTEAD_OF_NULL:
            self.quirk("null_optional")
            return False
        return True

    def text(self, field: Field, where: str, expected: str) -> str | None:
        """A required, non-empty string."""
        if field is msgspec.UNSET:
            self.fault(where, "missing", f"Send {expected}")
            return None
        value = self.decode(_STRING, field, where, "not a string", f"Send {expected}")
        if value == "":
            self.fault(where, "empty", f"Send {expected}")
            return None
        return value

    def integer(self, field: Field, where: str, expected: str) -> int | None:
        """A required whole number."""
        if field is msgspec.UNSET:
            self.fault(where, "missing", f"Send {expected}")
            return None
        return self.decode(_INTEGER, field, where, "not a whole number", f"Send {expected}")

    def object(self, field: msgspec.Raw, where: str) -> dict[str, msgspec.Raw] | None:
        return self.decode(_OBJECT, field, where, "not a JSON object", "Send an object")

    def array(self, field: msgspec.Raw, where: str) -> list[msgspec.Raw] | None:
        return self.decode(_ARRAY, field, where, "not an array", "Send an array")

    def url(self, field: Field, where: str, expected: str) -> str | None:
        """An optional absolute http or https URL."""
        if not self.is_present(field):
            return None
        value = self.text(field, where, expected)
        if value is not None and _URL.fullmatch(value) is None:
            self.fault(where, "not an absolute http or https URL", f"Send {expected}")
            return None
        return value

    def fhir_id(self, field: Field, where: str) -> str | None:
        value = self.text(field, where, "a FHIR id: letters, digits, '-' and '.', at most 64")
        if value is not None and FHIR_ID.fullmatch(value) is None:
            self.fault(where, "not a FHIR id", "Send the bare id: letters, digits, '-' and '.', at most 64")
            return None
        return value

    def patient_id(self, field: Field, where: str, *, strip_prefix: bool) -> str | None:
        """A FHIR id; for a client with that quirk ``Patient/`` before it is taken off and noted (W-02)."""
        value = self.text(field, where, "a FHIR id: letters, digits, '-' and '.', at most 64")
        if value is None:
            return None
        if strip_prefix and value.startswith("Patient/"):
            value = value.removeprefix("Patient/")
            self.quirk("patient_prefix")
        if FHIR_ID.fullmatch(value) is None:
            self.fault(where, "not a FHIR id", "Send the bare id, without a type: letters, digits, '-' and '.'")
            return None
        return value

    def reference(self, field: Field, where: str, types: tuple[str, ...] = ()) -> str | None:
        """``Type/id``, of one of the types."""
        expected = f"Type/id, where Type is one of {', '.join(types)}" if types else "Type/id"
        value = self.text(field, where, expected)
        if value is None:
            return None
        match = REFERENCE.fullmatch(value)
        if match is None:
            self.fault(where, "not a relative reference", f"Send {expected}")
            return None
        if types and match[1] not in types:
            self.fault(where, "a reference to another type than this hook allows", f"Send {expected}")
            return None
        return value

    def decode(
        self, decoder: "msgspec.json.Decoder[_T]", raw: msgspec.Raw, where: str, what: str, do: str
    ) -> _T | None:
        try:
            return decoder.decode(raw)
        except (msgspec.DecodeError, RecursionError):  # also a wrong type, a lone surrogate, a number beyond a double
            self.fault(where, what, do)
            return None


def read_context_field(field: ContextField, context: Mapping[str, msgspec.Raw], reader: Reader) -> str | None:
    """Check one context field against the hook's definition; strings are returned.

    ``patientId`` is not read here but by :meth:`Reader.patient_id`, which knows its quirk.
    """
    raw: Field = context.get(field.name, msgspec.UNSET)
    where = f"context.{field.name}"
    if field.formerly is not None and raw is msgspec.UNSET and field.formerly in context:
        reader.quirk("order_dispatch_1_0")
        return reader.reference(context[field.formerly], f"context.{field.formerly}", field.types)
    if not field.required and not reader.is_present(raw):
        return None
    if field.kind == "id":
        return reader.fhir_id(raw, where)
    if field.kind == "reference":
        return reader.reference(raw, where, field.types)
    if raw is msgspec.UNSET:
        reader.fault(where, "missing", "Send it; the hook requires it")
    elif field.kind == "bundle":
        _check_bundle(raw, where, reader)
    elif field.kind == "resource":
        _check_resource(raw, where, reader)
    else:
        _check_array(field, raw, context, reader)
    return None


def _check_array(field: ContextField, raw: msgspec.Raw, context: Mapping[str, msgspec.Raw], reader: Reader) -> None:
    where = f"context.{field.name}"
    items = reader.array(raw, where)
    if items is None:
        return
    if field.kind == "resources":
        for index, item in enumerate(items):
            _check_resource(item, f"{where}[{index}]", reader)
        return
    if not items:
        reader.fault(where, "empty", "Send at least one Type/id")
    inside = _identities(context.get(field.points_into, msgspec.UNSET)) if field.points_into else None
    for index, item in enumerate(items):
        reference = reader.reference(item, f"{where}[{index}]", field.types)
        if reference is not None and inside is not None and reference not in inside:
            reader.fault(
                f"{where}[{index}]",
                f"points to nothing in context.{field.points_into}",
                f"Select only resources that stand in context.{field.points_into}",
            )


def _check_bundle(raw: msgspec.Raw, where: str, reader: Reader) -> None:
    """A Bundle; its type may be missing, as some clients leave it out (CH-087)."""
    bundle = reader.decode(_BUNDLE, raw, where, "not a FHIR Bundle", "Send a Bundle of type collection")
    if bundle is not None and bundle.resourceType != "Bundle":
        reader.fault(where, "not a FHIR Bundle", "Send a Bundle of type collection")


def _check_resource(raw: msgspec.Raw, where: str, reader: Reader) -> None:
    resource = reader.decode(_RESOURCE, raw, where, "not a FHIR resource", "Send a resource")
    if resource is not None and not resource.resourceType:
        reader.fault(where, "has no resourceType", "Send a FHIR resource")


def _identities(raw: Field) -> frozenset[str] | None:
    """``Type/id`` of every resource of a Bundle; None when there is no Bundle to look into."""
    if raw is msgspec.UNSET:
        return None
    try:
        bundle = _BUNDLE.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None  # noted at the Bundle's own path
    resources = (entry.resource for entry in bundle.entry or ())
    return frozenset(f"{resource.resourceType}/{resource.id}" for resource in resources if resource is not None)


def read_authorization(
    field: Field, patient_id: str | None, reader: Reader, *, strip_prefix: bool
) -> FHIRAuthorization | None:
    """Read ``fhirAuthorization`` (CH-140 to CH-145).

    Args:
        field: The raw value, or UNSET.
        patient_id: ``context.patientId``, None when it has a fault of its own.
        reader: Takes the faults.
        strip_prefix: Whether the client may write a patient's id with its type.
    """
    if not reader.is_present(field) or isinstance(field, msgspec.UnsetType):
        return None
    members = reader.object(field, "fhirAuthorization")
    if members is None:
        return None

    def member(name: str) -> Field:
        return members.get(name, msgspec.UNSET)

    path = "fhirAuthorization."
    token = reader.text(member("access_token"), f"{path}access_token", "the OAuth access token")
    kind = reader.text(member("token_type"), f"{path}token_type", "the fixed value Bearer")
    if kind is not None and kind.lower() != "bearer":
        reader.fault(f"{path}token_type", "not Bearer", "Send the fixed value Bearer")
    expires = reader.integer(member("expires_in"), f"{path}expires_in", "the token's remaining life in whole seconds")
    scope = reader.text(member("scope"), f"{path}scope", "the granted SMART scopes, separated by spaces")
    subject = reader.text(member("subject"), f"{path}subject", "the OAuth client id of this service")
    patient = None
    if reader.is_present(member("patient")):
        patient = reader.patient_id(member("patient"), f"{path}patient", strip_prefix=strip_prefix)
        if patient is not None and patient_id is not None and patient != patient_id:
            reader.fault(
                f"{path}patient", "another patient than context.patientId", "Send a token for the patient of this call"
            )
    if token is None or expires is None or scope is None or subject is None:
        return None
    return FHIRAuthorization(AccessToken(token), expires, scope, subject, patient)
