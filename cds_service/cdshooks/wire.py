"""CDS Hooks requests: bytes in, one typed request out, or every fault at once with its JSON path.

A whole chart is decoded in one pass over the body, into the few fields that features read. Where anything in it does
not fit, the envelope alone is decoded and the prefetch keys stay raw, to be judged one by one. No message carries a
value from the request (SEC-085). What the resources say is checked by
``prefetch.py``; how clients differ is counted in ``quirks``.
"""

from collections.abc import Collection, Mapping

import msgspec

from cds_service.cdshooks.fhir_authorization import FHIRAuthorization
from cds_service.cdshooks.hook_specs import CUSTOM_FIELDS, CUSTOM_HOOK, HOOKS
from cds_service.cdshooks.wire_fields import UUID, Field, Reader, read_authorization, read_context_field
from cds_service.clinical.key_content import Decoded, Sent
from cds_service.errors import TooLarge, WireError

__all__ = ["MAX_PREFETCH_KEYS", "CDSRequest", "Context", "read_request"]

MAX_PREFETCH_KEYS = 64
"""SEC-046."""

_BOM = b"\xef\xbb\xbf"


class Context(msgspec.Struct, frozen=True):
    """Where the user is in the EHR. CDS Hooks, "HTTP Request", ``context``."""

    user_id: str | None
    """``Type/id``; order-dispatch has none."""
    patient_id: str
    encounter_id: str | None
    raw: Mapping[str, msgspec.Raw]
    """Every field of the context as it came, by name."""

    @property
    def user_type(self) -> str | None:
        """The resource type of the user, such as ``Practitioner``."""
        return None if self.user_id is None else self.user_id.partition("/")[0]

    def __repr__(self) -> str:
        return "Context(***)"


class CDSRequest(msgspec.Struct, frozen=True):
    """One invocation of a hook, free of faults. CDS Hooks, "HTTP Request"."""

    hook: str
    hook_instance: str
    """A UUID in lower case; the same in a retry (CH-065)."""
    context: Context
    prefetch: Mapping[str, Sent]
    """By key: a resource, a Bundle, ``null`` or an OperationOutcome; a key may also hold anything else."""
    fhir_server: str | None
    fhir_authorization: FHIRAuthorization | None
    quirks: tuple[str, ...]
    """Where this client leaves the specification and we go along: ``patient_prefix``, ``null_optional``,
    ``order_dispatch_1_0``."""

    def __repr__(self) -> str:
        return f"CDSRequest({len(self.prefetch)} prefetch keys, ***)"


class _Fields(msgspec.Struct):
    context: dict[str, msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    hook: Field = msgspec.UNSET
    hook_instance: Field = msgspec.field(default=msgspec.UNSET, name="hookInstance")
    fhir_server: Field = msgspec.field(default=msgspec.UNSET, name="fhirServer")
    fhir_authorization: Field = msgspec.field(default=msgspec.UNSET, name="fhirAuthorization")


class _Envelope(_Fields):
    """The request with its two objects opened one level and everything else raw."""

    prefetch: dict[str, msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET


class _Whole(_Fields):
    """The request with its chart, where everything fits the shapes."""

    prefetch: dict[str, Decoded] | msgspec.UnsetType | None = msgspec.UNSET


_WHOLE = msgspec.json.Decoder(_Whole)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_request(
    body: bytes, *, hooks: Collection[str] | None = None, patient_prefix_quirk: bool = False
) -> CDSRequest:
    """Read one hook call.

    A key that stands twice in an object counts with its last value (SEC-045); ``null`` for an optional field counts
    as absent and is noted.

    Args:
        body: The HTTP body, already unpacked and bounded.
        hooks: The hooks under which the called service id is advertised; another one is a fault at ``hook`` and its
            context is then not judged (CH-062). None: any published or reverse-domain hook.
        patient_prefix_quirk: Whether this client may write ``context.patientId`` as ``Patient/123`` (W-02).

    Raises:
        WireError: The body breaks the specification; all faults are listed by JSON path.
        TooLarge: More than 64 prefetch keys.
    """
    reader = Reader()
    envelope = _open(body, reader)
    hook = _read_hook(envelope.hook, hooks, reader)
    instance = reader.text(envelope.hook_instance, "hookInstance", "a fresh UUID for each invocation")
    if instance is not None and UUID.fullmatch(instance) is None:
        reader.fault("hookInstance", "not a UUID", "Send a fresh UUID for each invocation")
    context = _read_context(envelope.context, hook, reader, strip_prefix=patient_prefix_quirk)
    server = reader.url(envelope.fhir_server, "fhirServer", "the base URL of the FHIR server")
    patient_id = None if context is None else context.patient_id
    authorization = read_authorization(
        envelope.fhir_authorization, patient_id, reader, strip_prefix=patient_prefix_quirk
    )
    if reader.is_present(envelope.fhir_authorization) and not reader.is_present(envelope.fhir_server):
        reader.fault("fhirServer", "required when fhirAuthorization is sent", "Send the base URL of the FHIR server")
    if envelope.prefetch is None:
        reader.quirk("null_optional")
    if reader.faults or context is None or instance is None or hook is None:
        raise WireError(*reader.faults)
    prefetch: Mapping[str, Sent] = envelope.prefetch or {}
    if len(prefetch) > MAX_PREFETCH_KEYS:
        raise TooLarge.of(
            f"{len(prefetch)} keys, at most {MAX_PREFETCH_KEYS} are read",
            where="prefetch",
            do="Send only the keys that discovery asks for",
        )
    return CDSRequest(hook, instance.lower(), context, prefetch, server, authorization, tuple(reader.quirks))


def _open(body: bytes, reader: Reader) -> _Whole | _Envelope:
    """Decode the body; where its shape is wrong, note that and keep what can still be judged."""
    if body.startswith(_BOM):
        raise WireError.of("starts with a byte order mark", where="body", do="Send UTF-8 without one")
    try:
        if not body.isascii():
            body.decode()  # the decoder skips raw values unread, and nobody further down should meet broken text
        try:
            return _WHOLE.decode(body)
        except (msgspec.DecodeError, RecursionError):
            pass  # one resource of an unknown shape is enough
        try:
            return _ENVELOPE.decode(body)
        except msgspec.ValidationError:
            return _open_misshapen(_OBJECT.decode(body), reader)
    except RecursionError:
        raise WireError.of("nested too deeply", where="body", do="Send FHIR resources as they are") from None
    except UnicodeDecodeError:
        raise WireError.of("not UTF-8", where="body", do="Encode the body as UTF-8") from None
    except msgspec.ValidationError:
        raise WireError.of("not a JSON object", where="body", do="Send one JSON object") from None
    except msgspec.DecodeError:
        raise WireError.of("not JSON", where="body", do="Send one JSON object, encoded as UTF-8") from None


def _open_misshapen(members: Mapping[str, msgspec.Raw], reader: Reader) -> _Envelope:
    def member(name: str) -> Field:
        return members.get(name, msgspec.UNSET)

    envelope = _Envelope(
        hook=member("hook"),
        hook_instance=member("hookInstance"),
        fhir_server=member("fhirServer"),
        fhir_authorization=member("fhirAuthorization"),
    )
    if "context" in members:
        context = reader.object(members["context"], "context")
        envelope.context = {} if context is None else context
    if "prefetch" in members and reader.is_present(members["prefetch"]):
        envelope.prefetch = reader.object(members["prefetch"], "prefetch")
    return envelope


def _read_hook(field: Field, hooks: Collection[str] | None, reader: Reader) -> str | None:
    hook = reader.text(field, "hook", "the name of the hook, such as patient-view")
    if hook is None:
        return None
    if hooks is not None:
        if hook in hooks:
            return hook
        reader.fault("hook", "not a hook of this service", f"It serves {', '.join(sorted(hooks))}")
    elif hook in HOOKS or CUSTOM_HOOK.fullmatch(hook):
        return hook
    else:
        reader.fault("hook", "not a published hook, nor one in reverse-domain form", "Send a hook that discovery lists")
    return None


def _read_context(
    context: dict[str, msgspec.Raw] | msgspec.UnsetType, hook: str | None, reader: Reader, *, strip_prefix: bool
) -> Context | None:
    if isinstance(context, msgspec.UnsetType):
        reader.fault("context", "missing", "Send the object that the hook defines")
        return None
    if any(fault.where == "context" for fault in reader.faults):
        return None
    spec = HOOKS.get(hook or "")
    read: dict[str, str | None] = {}
    for field in CUSTOM_FIELDS if spec is None else spec.fields:
        if field.name == "patientId":
            raw: Field = context.get("patientId", msgspec.UNSET)
            read["patientId"] = reader.patient_id(raw, "context.patientId", strip_prefix=strip_prefix)
        else:
            read[field.name] = read_context_field(field, context, reader)
    patient_id = read["patientId"]
    if patient_id is None:
        return None
    return Context(read.get("userId"), patient_id, read.get("encounterId"), context)
