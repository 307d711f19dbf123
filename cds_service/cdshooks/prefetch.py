"""What the EHR sent: each declared key decoded, checked against the patient, and its policy's question answered.

A key has one of four states on arrival (absent, nothing found, resources, refused) and one more of its own
making: incomplete, when a page is left unread. ``completion.py`` asks the client's FHIR server for what is missing.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Literal
from urllib.parse import parse_qsl

from msgspec import Struct

from cds_service.cdshooks.check_data import brings
from cds_service.cdshooks.declaration import PrefetchKey, Service
from cds_service.cdshooks.prefetch_lint import parse_query
from cds_service.clinical import fhir_shapes
from cds_service.clinical.facts import Facts
from cds_service.clinical.feature_spec import FeatureSet, FeatureSpec
from cds_service.clinical.key_content import KeyContent, Sent, decode_key
from cds_service.clinical.times import Interval, TimeFault, interval_of
from cds_service.errors import Fault, PatientMismatch, TooLarge, WireError

__all__ = [
    "MAX_RESOURCES",
    "KeyState",
    "Prefetch",
    "features_by_key",
    "judge_key",
    "proves_absence",
    "read_prefetch",
    "unordered_features",
]

KeyState = Literal["sent", "none", "absent", "failed", "refused", "incomplete"]

MAX_RESOURCES = 5000
"""SEC-046: resources in one request."""

_UNANSWERED: Mapping[KeyState, str] = {
    "absent": "key_absent",
    "failed": "key_failed",
    "refused": "key_failed",
    "incomplete": "key_incomplete",
}
_ABSENT = KeyContent()


class Prefetch(Struct, frozen=True):
    """The declared keys of one call."""

    contents: Mapping[str, KeyContent]
    states: Mapping[str, KeyState]
    unknown_keys: int = 0
    """Keys that discovery does not list: ignored, counted, never used (CH-055)."""
    fetched: frozenset[str] = frozenset()
    """Keys that the client did not send, or not whole, and that its FHIR server gave."""

    def unanswered(self, brought: Mapping[str, tuple[str, ...]]) -> Mapping[str, str]:
        """Feature → ``key_absent``, ``key_failed`` or ``key_incomplete`` of a key that could bring it."""
        return {
            feature: _UNANSWERED[state]
            for key, state in self.states.items()
            if state in _UNANSWERED
            for feature in brought.get(key, ())
        }

    def has_failed(self, key: str) -> bool:
        """Whether nothing is known of a key: absent, refused or failed."""
        return self.states[key] in ("absent", "failed", "refused")


def read_prefetch(service: Service, sent: Mapping[str, Sent], *, patient: str) -> Prefetch:
    """Decode the keys that a service declares.

    Args:
        service: Its keys are looked at and no others.
        sent: Key → what arrived.
        patient: ``context.patientId``.

    Raises:
        PatientMismatch: A Patient that was read for this patient is another one (W-05): the whole call is refused.
        WireError: A key holds the pre-1.0 wrapper.
        TooLarge: More than 5,000 resources.
    """
    contents: dict[str, KeyContent] = {}
    states: dict[str, KeyState] = {}
    faults: list[Fault] = []
    resources = 0
    for key in service.prefetch:
        if key.name not in sent:
            contents[key.name], states[key.name] = _ABSENT, "absent"
            continue
        content = decode_key(sent[key.name])
        resources += content.entries
        if content.failure == "wrapper":
            faults.append(
                Fault(f"prefetch.{key.name}", "the pre-1.0 form {response, resource}", "Send the resource itself")
            )
        contents[key.name], states[key.name] = judge_key(key, content, patient)
    if faults:
        raise WireError(*faults)
    if resources > MAX_RESOURCES:
        raise TooLarge.of(
            f"{resources} resources, at most {MAX_RESOURCES} are read",
            where="prefetch",
            do="Ask for fewer with _count, or leave out what discovery does not ask for",
        )
    known = len(states) - sum(1 for state in states.values() if state == "absent")
    return Prefetch(contents, states, unknown_keys=len(sent) - known)


def judge_key(key: PrefetchKey, content: KeyContent, patient: str) -> tuple[KeyContent, KeyState]:
    """Say what state a key is in by what it holds; what can't be an answer to its query is taken away.

    Raises:
        PatientMismatch: A Patient that was read for this patient is another one.
    """
    if content.failure is not None:
        return _ABSENT, "refused" if content.failure == "refused" else "failed"
    expected = key.resource_type
    if not content.is_bundle and not content.resources:
        return content, "none"
    if key.is_search != content.is_bundle:
        return _ABSENT, "failed"
    if not key.is_search and expected:
        resource = content.resources[0].resource
        if not isinstance(resource, getattr(fhir_shapes, expected, fhir_shapes.Invalid)):
            return _ABSENT, "failed"
        if isinstance(resource, fhir_shapes.Patient) and resource.id != patient:
            raise PatientMismatch.of(
                "a Patient that is not context.patientId",
                where=f"prefetch.{key.name}",
                do="Send the data of the patient whose chart was opened",
            )
    if key.is_search and content.entries and not _of_type(key, content):
        return _ABSENT, "failed"  # what another FHIR version calls it is no answer to our question (CH-076, CH-109)
    if content.has_next or (content.total is not None and content.total > content.entries):
        return content, "incomplete"  # a total without its entries too: a count is no answer to what they say
    return content, "sent" if content.entries else "none"


def _of_type(key: PrefetchKey, content: KeyContent) -> int:
    """How many entries are of the type that the query asks for, readable or not."""
    wanted = getattr(fhir_shapes, key.resource_type, fhir_shapes.Invalid)
    if content.kinds <= {wanted}:
        return len(content.resources)
    return sum(
        isinstance(entry.resource, wanted)
        or (isinstance(entry.resource, fhir_shapes.Invalid) and entry.resource.resource_type in ("", key.resource_type))
        for entry in content.resources
    )


def proves_absence(key: PrefetchKey, prefetch: Prefetch, facts: Facts, *, back_to: datetime | None) -> bool:
    """Whether what a key does not hold, the chart does not hold (W-12b).

    Args:
        key: The key that would hold it.
        prefetch: The state of the keys.
        facts: What was read; a key in which something could not be read proves nothing.
        back_to: How far back the absence must reach; None: all of the past.
    """
    state = prefetch.states[key.name]
    content = prefetch.contents[key.name]
    if key.name in facts.unproven or (content.is_bundle and _of_type(key, content) != content.entries):
        return False
    if state == "none":
        return True
    parameters = _parameters(key.query)
    count = parameters.get("_count")
    if state == "sent" and (count is None or content.entries < int(count)):
        return True
    if state not in ("sent", "incomplete") or back_to is None or parameters.get("_sort", "").split(",")[0] != "-date":
        return False
    oldest = facts.oldest.get(key.name)
    return oldest is not None and oldest < back_to and _is_newest_first(content)


def unordered_features(service: Service, prefetch: Prefetch, features: FeatureSet) -> frozenset[str]:
    """Features of which a newer result may stand on a page that was not read (ADR 14).

    A page of several holds the newest results only if it was asked for newest first and is so. A feature is safe
    all the same where another key, of which nothing is left unread, asks for every code that it counts.
    """
    keys = [key for key in service.prefetch if key.resource_type == "Observation"]
    cut = [key for key in keys if prefetch.states[key.name] == "incomplete" and not _holds_the_newest(key, prefetch)]
    if not cut:
        return frozenset()
    whole = [key for key in keys if prefetch.states[key.name] in ("sent", "none")]
    return frozenset(
        spec.name
        for spec in features.features
        if any(_can_bring(key, spec) for key in cut)
        and not any(_can_bring(key, spec) and all(brings(key, code) for code in spec.codes) for key in whole)
    )


def _holds_the_newest(key: PrefetchKey, prefetch: Prefetch) -> bool:
    sort = _parameters(key.query).get("_sort", "")
    return sort.split(",")[0] == "-date" and _is_newest_first(prefetch.contents[key.name])


@lru_cache(maxsize=256)
def _parameters(query: str) -> Mapping[str, str]:
    return dict(parse_qsl(query.partition("?")[2]))


def _is_newest_first(content: KeyContent) -> bool:
    """Whether a page is sorted as it was asked: a server may pass over ``_sort``, and then its page proves nothing."""
    taken: list[Interval] = []
    for entry in content.resources:
        resource = entry.resource
        text = resource.effective_date_time if isinstance(resource, fhir_shapes.Observation) else None
        try:
            taken.append(interval_of(text or ""))
        except TimeFault:
            return False
    return all(newer.end >= older.start for newer, older in pairwise(taken))


def features_by_key(service: Service, features: FeatureSet) -> Mapping[str, tuple[str, ...]]:
    """Key → the features that it can bring, by the codes or the category that its query asks for."""
    return {
        key.name: tuple(spec.name for spec in features.features if _can_bring(key, spec))
        for key in service.prefetch
        if key.resource_type == "Observation"
    }


def _can_bring(key: PrefetchKey, spec: FeatureSpec) -> bool:
    if spec.origin != "observation" or not any(brings(key, code) for code in spec.codes):
        return False
    categories = parse_query(key.query).values("category")
    return not categories or spec.category is None or any(spec.category in category for category in categories)
