"""Hook calls of real charts with a canary in every text of a person, and ways to damage them."""

import json
import os
import random
from copy import deepcopy
from pathlib import Path

import msgspec

from tests.attacks.real import EXAMPLE, ROOT

CANARY = "zanarkand"
DATA = Path(os.environ.get("CDS_DATA", ROOT / "../shared/data"))
MOST_OF_A_TYPE = 25

_OF_A_PERSON = frozenset(
    {"family", "given", "text", "div", "display", "line", "city", "postalCode", "reference_", "comment", "valueString"}
)
_DEEP = "to be replaced by something deep"
_WRONG = (
    None, True, False, 0, -1, 2**63, 1e308, -1e-308, "", " ", CANARY, CANARY * 50, "2026-13-45", "9999-12-31T00:00:00Z",
    "0001-01-01", "0001", "9999", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-02-30", "Patient/zanarkand", "\u202eznak", "\U0001f600", [], {}, [[]], [None], [{}], {CANARY: CANARY},
    {"resourceType": CANARY}, {"coding": CANARY}, {"value": CANARY, "unit": CANARY}, {"reference": 7},
)  # fmt: skip


def calls():
    """Hook calls: the service's own examples, and real charts where the data sets are."""
    examples = sorted((ROOT / "hooks/dysglycaemia-screening/examples").glob("*.request.json"))
    yield from (planted(json.loads(path.read_text(encoding="utf-8"))) for path in examples)
    for folder in ("synthea", "us-core", "jp-style"):
        for path in sorted((DATA / "fhir" / folder).glob("*.json"))[:12]:
            call = of_chart(json.loads(path.read_text(encoding="utf-8")))
            if call is not None:
                yield planted(call)


def of_chart(bundle):
    """A call whose keys hold what one chart has of the types that they ask for."""
    if not isinstance(bundle, dict):
        return None
    by_type = {}
    for entry in bundle.get("entry", ()):
        resource = entry.get("resource", {})
        by_type.setdefault(resource.get("resourceType"), []).append(resource)
    patients = by_type.get("Patient")
    if not patients:
        return None
    prefetch = {}
    for key, sample in EXAMPLE["prefetch"].items():
        kind = _kind_of(sample)
        if kind == "Patient":
            prefetch[key] = patients[0]
        else:
            entries = [{"resource": resource} for resource in by_type.get(kind, ())[:MOST_OF_A_TYPE]]
            prefetch[key] = {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
    context = {**EXAMPLE["context"], "patientId": patients[0]["id"]}
    return {**EXAMPLE, "context": context, "prefetch": prefetch}


def _kind_of(sample):
    if sample is None or sample.get("resourceType") != "Bundle":
        return (sample or {}).get("resourceType", "Observation")
    entries = sample.get("entry", [])
    return entries[0]["resource"]["resourceType"] if entries else "Observation"


def planted(call):
    """The same call with the canary in every text of a person and in the patient's id."""
    patient = call["context"].get("patientId", "none")
    text = json.dumps(_plant(call)).replace(f'"{patient}"', f'"{CANARY}-7"').replace(f'/{patient}"', f'/{CANARY}-7"')
    return json.loads(text)


def _plant(node, name=""):
    if isinstance(node, dict):
        return {key: _plant(value, key) for key, value in node.items()}
    if isinstance(node, list):
        return [_plant(value, name) for value in node]
    return CANARY if isinstance(node, str) and name in _OF_A_PERSON else node


def damaged(call, chance: random.Random):
    """One to four things of a call made wrong: types, members, lists, or bytes of the text itself."""
    text = msgspec.json.encode(call)
    if chance.random() < 0.15:
        return _flipped(text, chance)
    copy = msgspec.json.decode(text)
    for _ in range(chance.randint(1, 4)):
        if copy:
            _damage(*_somewhere(copy, chance), chance)
    levels = chance.choice((1, 10, 100, 900, 5000))
    begin, end = chance.choice(((b"[", b"]"), (b'{"extension":', b"}")))
    deep = begin * levels + b"null" + end * levels
    return msgspec.json.encode(copy).replace(b'"%s"' % _DEEP.encode(), deep)


def _somewhere(root, chance):
    """A (holder, key) of a tree, by walking down until a coin says stop; mostly from a key's content."""
    node = root
    prefetch = root.get("prefetch") if isinstance(root, dict) else None
    if isinstance(prefetch, dict) and prefetch and chance.random() < 0.9:
        content = chance.choice(list(prefetch.values()))
        node = content if isinstance(content, dict | list) and content else root
    while True:
        key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
        below = node[key]
        if not isinstance(below, dict | list) or not below or chance.random() < 0.15:
            return node, key
        node = below


def _damage(holder, key, chance):
    kind = chance.randrange(7)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder[key], str):
        holder[key] = holder[key].swapcase() if chance.random() < 0.5 else holder[key] + CANARY
    elif kind == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = chance.choice((holder[key] * -1e6, str(holder[key]), 1e300, 2**63))
    elif kind == 3 and isinstance(holder, dict):
        holder[chance.choice((CANARY, "resourceType", "entry", "id", "value", ""))] = holder.pop(key)
    elif kind == 4 and isinstance(holder[key], list):
        holder[key] = holder[key] * chance.randint(2, 5) if chance.random() < 0.5 else holder[key][::-1]
    elif kind == 5:
        holder[key] = _DEEP
    else:
        holder[key] = deepcopy(chance.choice(_WRONG))


def _flipped(body, chance):
    data = bytearray(body)
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(data))
        kind = chance.randrange(3)
        if kind == 0:
            data[at] = chance.randrange(256)
        elif kind == 1:
            del data[at : at + chance.randint(1, 30)]
        else:
            data[at:at] = chance.choice((b"{", b"]", b'"', b"\\", b"\x00", b"9" * 30, b"\xff", b","))
    return bytes(data)
