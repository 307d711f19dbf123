"""A stand-in CDS service for the sandbox's own tests: discovery, patient-view, feedback and an event list, in memory.

It knows no medicine: a known diabetic, a child or a recent HbA1c gets no card, everybody else gets one.
"""

import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cds_service.sandbox.people import HBA1C_CODES, age_on
from cds_service.sandbox.routes import sandbox_routes

SERVICE = "dysglycaemia-screening"
DIABETES = {"44054006", "73211009", "E11.9"}
HBA1C_QUERY = ",".join(f"http://loinc.org|{code}" for code in sorted(HBA1C_CODES) if "-" in code) + ",".join(
    f",http://medis.or.jp/CodeSystem/master-JLAC10-17digits|{code}" for code in sorted(HBA1C_CODES) if "-" not in code
)
PREFETCH = {
    "patient": "Patient/{{context.patientId}}",
    "problems": "Condition?patient={{context.patientId}}",
    "medications": "MedicationRequest?patient={{context.patientId}}&status=active",
    "hba1c": f"Observation?patient={{{{context.patientId}}}}&code={HBA1C_QUERY}",
    "labs": "Observation?patient={{context.patientId}}&category=laboratory&_count=200",
    "vitals": "Observation?patient={{context.patientId}}&category=vital-signs&_count=100",
}
SYSTEM = "https://cds.example.org/override-reasons"
REASONS = {
    "measured_elsewhere": ("Measured elsewhere", "他院・健診で測定済み"),
    "not_now": ("Not at this visit", "今回の受診では行わない"),
    "wrong_patient_or_value": ("A value or the patient is wrong", "入力値または患者が誤っている"),
}
SAY = {
    "en": {
        "summary": "No HbA1c found here in the last 36 months. Estimated probability of 6.5 % or more: 24 % (6.0 % or more: 47 %)",
        "detail": "**Values used** Age 52 years · BMI 31.2 kg/m² (2026-11-11) · glucose 108 mg/dL (2026-11-11, fasting state unknown)\n\n"
        "**Not available** waist circumference\n\nTests at other hospitals or at check-ups are not visible here.\n\n"
        "`dysglycaemia` 1.0.0, trained on a survey of US adults (NHANES 2007–2014); calibration at this site: none yet. "
        "Not a diagnosis: a reference for considering whether a test is needed.",
        "order": "Draft an order for HbA1c",
    },
    "ja": {
        "summary": "過去36か月のHbA1cが当院の記録に見当たりません。6.5%以上の推定確率 24%（6.0%以上 47%）",
        "detail": "**使用した値** 年齢 52歳・BMI 31.2 kg/m²（2026-11-11）・血糖 108 mg/dL（2026-11-11、空腹か不明）\n\n"
        "**取得できなかった値** 腹囲\n\n他院・健診での測定は確認できていません。\n\n"
        "`dysglycaemia` 1.0.0（米国調査データで学習。当院での較正：未実施）。本表示は診断ではなく、検査要否の検討のための参考情報です。",
        "order": "HbA1c（NGSP）の検査依頼を下書きする",
    },
}


class FakeCDS:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.invocations: dict[str, str] = {}

    def read(self, after: int, limit: int) -> list[dict[str, Any]]:
        return [event for event in self.events if event["seq"] > after][:limit]

    def keep(self, kind: str, **fields: Any) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        common = {"seq": len(self.events) + 1, "id": uuid.uuid4().hex, "type": kind, "at": at}
        self.events.append(common | {"tenant": "sandbox", "client": "development", "service": SERVICE, **fields})

    async def discovery(self, _: Request) -> Response:
        entry = {"hook": "patient-view", "id": SERVICE, "title": "Undetected diabetes", "prefetch": PREFETCH}
        return JSONResponse({"services": [entry | {"description": "A stand-in for tests.", "version": "2.0.1"}]})

    async def call(self, request: Request) -> Response:
        body = await request.json()
        prefetch: Mapping[str, Any] = body.get("prefetch", {})
        language = "ja" if request.headers.get("accept-language", "").startswith("ja") else "en"
        missing = [key for key in ("patient", "problems", "medications", "hba1c") if key not in prefetch]
        if missing:
            self.keep("call_refused", reason="required_input_missing", hook="patient-view")
            return JSONResponse(_outcome(missing), status_code=412)
        reason = _withheld(prefetch, body["context"]["userId"])
        patient = f"v1:{uuid.uuid5(uuid.NAMESPACE_OID, body['context']['patientId']).hex[:20]}"
        common = {"hook": "patient-view", "patient": patient, "language": language, "took_ms": 1.9}
        common |= {"prefetch": dict.fromkeys(prefetch, "sent"), "model": "dysglycaemia", "version": "1.0.0"}
        if reason:
            self.keep("prediction_withheld", reason=reason, **common)
            return JSONResponse({"cards": []})
        card = _card(body["context"], language, str(request.base_url).rstrip("/"))
        suggestions = [card["suggestions"][0]["uuid"]]
        scores = {"ge57": 0.71, "ge60": 0.47, "ge65": 0.24}
        self.keep(
            "prediction_made",
            card=card["uuid"],
            suggestions=suggestions,
            scores=scores,
            operating_point="high",
            **common,
        )
        return JSONResponse({"cards": [card]})

    async def feedback(self, request: Request) -> Response:
        for item in (await request.json())["feedback"]:
            fields = {"card": item["card"], "outcome_at": item["outcomeTimestamp"]}
            if item["outcome"] == "overridden":
                fields["reason"] = item.get("overrideReason", {}).get("reason", {}).get("code", "none")
            self.keep(f"card_{item['outcome']}", **fields)
        return JSONResponse({})


def _withheld(prefetch: Mapping[str, Any], user: str) -> str | None:
    patient = prefetch["patient"]
    age = age_on(patient.get("birthDate"), datetime.now(UTC).date().isoformat())
    if not user.startswith("Practitioner"):
        return "viewer_not_clinician"
    if patient.get("deceasedDateTime") or patient.get("deceasedBoolean"):
        return "patient_deceased"
    if age is None or not 35 <= age <= 79:
        return "excluded_age"
    if any(
        coding["code"] in DIABETES for problem in _entries(prefetch["problems"]) for coding in problem["code"]["coding"]
    ):
        return "excluded_condition"
    limit = (datetime.now(UTC).date() - timedelta(days=3 * 365)).isoformat()
    if any(observation.get("effectiveDateTime", "") > limit for observation in _entries(prefetch["hba1c"])):
        return "recent_measurement"
    return None


def _entries(bundle: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in (bundle or {}).get("entry", [])]


def _card(context: Mapping[str, Any], language: str, base: str) -> dict[str, Any]:
    say = SAY[language]
    order = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "category": [
            {"coding": [{"system": "http://snomed.info/sct", "code": "108252007", "display": "Laboratory procedure"}]}
        ],
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "4548-4", "display": "Hemoglobin A1c"}],
            "text": "HbA1c (NGSP)",
        },
        "subject": {"reference": f"Patient/{context['patientId']}"},
        "requester": {"reference": context["userId"]},
        "reasonCode": [{"text": "No HbA1c on record in 36 months"}],
    }
    topic = {"system": "https://cds.example.org/topics", "code": "dysglycaemia"}
    return {
        "uuid": str(uuid.uuid4()),
        "summary": say["summary"],
        "detail": say["detail"],
        "indicator": "info",
        "source": {"label": "CDS sandbox", "url": f"{base}/", "icon": f"{base}/icon.png", "topic": topic},
        "suggestions": [
            {
                "label": say["order"],
                "uuid": str(uuid.uuid4()),
                "isRecommended": True,
                "actions": [{"type": "create", "description": say["order"], "resource": order}],
            }
        ],
        "selectionBehavior": "any",
        "overrideReasons": [
            {"system": SYSTEM, "code": code, "display": display[language == "ja"]} for code, display in REASONS.items()
        ],
        "links": [
            {
                "label": "How this is calculated",
                "url": "https://cds.example.org/models/dysglycaemia",
                "type": "absolute",
            }
        ],
    }


def _outcome(missing: list[str]) -> dict[str, Any]:
    issues = [
        {
            "severity": "error",
            "code": "required",
            "details": {"text": f"Prefetch key '{key}' was not sent and could not be read from the FHIR server."},
            "diagnostics": "Send the key, or fhirServer and fhirAuthorization.",
        }
        for key in missing
    ]
    return {"resourceType": "OperationOutcome", "issue": issues}


def create_app(folder: Path) -> Starlette:
    fake = FakeCDS()
    return Starlette(
        routes=[
            Route("/health/ready", lambda _: JSONResponse({"ready": True})),
            Route("/cds-services", fake.discovery),
            Route(f"/cds-services/{SERVICE}", fake.call, methods=["POST"]),
            Route(f"/cds-services/{SERVICE}/feedback", fake.feedback, methods=["POST"]),
            *sandbox_routes(
                folder=folder, today=datetime.now(UTC).date(), read_events=fake.read, hooks=folder.parent / "hooks"
            ),
        ]
    )


if __name__ == "__main__":
    folder = Path(__file__).resolve().parents[2] / "sandbox"
    uvicorn.run(create_app(folder), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
