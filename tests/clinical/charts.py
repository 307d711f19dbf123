"""Short ways to write a chart: one line a resource, as the tests of facts and features read best."""

import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cds_service.clinical.building import build_features
from cds_service.clinical.codings import CodeIndex
from cds_service.clinical.feature_spec import read_feature_set
from cds_service.clinical.key_content import decode_key
from cds_service.clinical.reading import read_facts
from cds_service.clinical.units import UCUM

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
ME = "me"
GLUCOSE, FASTING, MOLAR, JLAC_CASUAL = (
    "http://loinc.org|2345-7",
    "http://loinc.org|1558-6",
    "http://loinc.org|14749-6",
    "http://medis.or.jp/CodeSystem/master-JLAC10-17digits|3D010129901926101",
)
HBA1C, BMI, SBP, DBP = (
    "http://loinc.org|4548-4",
    "http://loinc.org|39156-5",
    "http://loinc.org|8480-6",
    "http://loinc.org|8462-4",
)

FEATURES = read_feature_set(tomllib.loads((ROOT / "recipes/dysglycaemia/features.toml").read_text(encoding="utf-8")))
INDEX = CodeIndex(
    {code for spec in FEATURES.features for code in spec.codes | spec.excludes_only} | {"http://loinc.org|82810-3"}
)


def ago(days=0.0, **more):
    """The instant so many days before NOW, as a chart writes it."""
    return (NOW - timedelta(days=days, **more)).isoformat()


def concept(*tokens):
    return {"coding": [dict(zip(("system", "code"), token.split("|"), strict=True)) for token in tokens]}


def quantity(value, unit="mg/dL", *, system=UCUM, **more):
    coded = {"system": system, "code": unit} if system else {"unit": unit}
    return {"value": value, **coded, **more}


def result(id_="r", value=100, unit="mg/dL", *, code=GLUCOSE, at=None, of=ME, status="final", **more):
    """An Observation; a keyword that is None leaves its field out."""
    fields = {
        "resourceType": "Observation",
        "id": id_,
        "status": status,
        "code": concept(code),
        "subject": {"reference": f"Patient/{of}"},
        "effectiveDateTime": at or ago(30),
        "valueQuantity": quantity(value, unit),
        **more,
    }
    return {key: field for key, field in fields.items() if field is not None}


def person(id_=ME, **more):
    return {"resourceType": "Patient", "id": id_, "gender": "male", "birthDate": "1961-02-14", **more}


def bundle(*resources, **more):
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [one if "resource" in one else {"resource": one} for one in resources],
        **more,
    }


def facts_of(*resources, keys=None, zone=None, server=None, expected=None, patient=ME):
    """The facts of one Bundle under the key `labs`, or of *keys*."""
    contents = {
        name: decode_key(json.dumps(content).encode())
        for name, content in (keys or {"labs": bundle(*resources)}).items()
    }
    return read_facts(contents, patient=patient, index=INDEX, zone=zone, fhir_server=server, expected=expected)


def features_of(*resources, now=NOW, features=FEATURES, **more):
    return build_features(features, facts_of(*resources, **more), now, zone=more.get("zone"))


def glucose_of(*resources, **more):
    feature = features_of(*resources, **more)["glucose"]
    return feature.value, feature.reason
