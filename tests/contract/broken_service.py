"""A CDS service written as somebody else would, with faults that are switched on by name.

It shares no code with ours, so that the contract test is tried against a foreign service.
"""

import json
import re
import uuid
from collections.abc import Callable, Collection
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

ORIGIN = "https://sandbox.cds-hooks.org"
FAULTS: dict[str, str] = {
    "discovery redirects": "CH-021",
    "discovery holds a null": "CH-002",
    "one pair of id and hook twice": "CH-034",
    "a prefetch token that no hook has": "CH-043",
    "an absolute prefetch template": "CH-041",
    "an entry without description": "CH-026",
    "null in a card": "CH-002",
    "an empty array in a card": "CH-003",
    "nothing to say is 204": "CH-160",
    "a summary of 140 characters": "CH-170",
    "indicator hard-stop": "CH-171",
    "no selectionBehavior": "CH-177",
    "several recommended under at-most-one": "CH-203",
    "a source without label": "CH-172",
    "a relative source.url": "CH-191",
    "HTML in detail": "CH-174",
    "appContext on an absolute link": "CH-234",
    "an override reason without display": "CH-221",
    "an action in capitals": "CH-207",
    "an order for another patient": "CH-212",
    "one uuid for all cards": "CH-175",
    "a key of its own in a card": "CH-292",
    "answers as text/html": "CH-001",
    "GET calls the service": "CH-060",
    "an unknown service is answered": "CH-061",
    "hook is not checked": "CH-062",
    "context is not checked": "CH-080",
    "hookInstance is not checked": "CH-063",
    "extensions are refused": "CH-072",
    "null prefetch crashes": "CH-102",
    "an OperationOutcome crashes": "CH-104",
    "missing prefetch is a 400": "CH-101",
    "an error page under a key crashes": "CH-164",
    "another patient's data are used": "CH-109",
    "the token is not checked": "CH-140",
    "errors are HTML pages": "CH-165",
    "errors echo the request": "CH-074",
    "deep nesting crashes": "CH-074",
    "no CORS on errors": "CH-280",
    "preflights need a token": "CH-281",
    "any origin with credentials": "CH-282",
    "no feedback endpoint": "CH-250",
    "empty feedback is accepted": "CH-251",
    "accepted without suggestions is stored": "CH-254",
    "a retry is refused": "CH-259",
    "an unknown card is refused": "CH-263",
    "a comment comes back in an error": "CH-261",
}
"""What can be planted, and the id under which the contract test must find it."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_USERS = ("Practitioner/", "PractitionerRole/", "Patient/", "RelatedPerson/")


class Refusal(Exception):
    def __init__(self, status: int, echo: str = "") -> None:
        self.status = status
        self.echo = echo


class BrokenService:
    """The app's state: which faults are on, what was shown and reported."""

    def __init__(self, faults: Collection[str] = ()) -> None:
        self.faults = set(faults)
        self.shown: set[str] = set()
        self.reported: set[str] = set()

    def has(self, fault: str) -> bool:
        assert fault in FAULTS, fault
        return fault in self.faults

    def discovery(self) -> dict[str, Any]:
        patient = "Patient/{{context.patientId}}"
        if self.has("a prefetch token that no hook has"):
            patient = "Patient/{{context.draftOrders}}"
        labs = "Observation?patient={{context.patientId}}&category=laboratory"
        if self.has("an absolute prefetch template"):
            labs = f"https://fhir.example.org/{labs}"
        entry: dict[str, Any] = {
            "hook": "patient-view",
            "id": "sugar",
            "title": "Sugar",
            "description": "Speaks about high glucose.",
            "prefetch": {"patient": patient, "labs": labs},
        }
        if self.has("discovery holds a null"):
            entry["usageRequirements"] = None
        if self.has("an entry without description"):
            del entry["description"]
        return {"services": [entry, *([entry] if self.has("one pair of id and hook twice") else [])]}

    def read(self, raw: bytes) -> dict[str, Any]:
        try:
            body = json.loads(raw.decode(), parse_constant=_refuse)
        except RecursionError:
            raise Refusal(500 if self.has("deep nesting crashes") else 400) from None
        except ValueError:
            raise Refusal(400, raw[:200].decode(errors="replace")) from None
        if not isinstance(body, dict):
            raise Refusal(400)
        return body

    def check(self, body: dict[str, Any]) -> None:
        echo = json.dumps(body)[:2000]
        context, prefetch = body.get("context"), body.get("prefetch", {})
        if self.has("extensions are refused") and "extension" in body:
            raise Refusal(400)
        if body.get("hook") != "patient-view" and not self.has("hook is not checked"):
            raise Refusal(400, echo)
        instance = body.get("hookInstance")
        if not (isinstance(instance, str) and _UUID.fullmatch(instance)) and not self.has(
            "hookInstance is not checked"
        ):
            raise Refusal(400, echo)
        if not isinstance(prefetch, dict):
            raise Refusal(400, echo)
        if not self.has("context is not checked"):
            if not isinstance(context, dict) or not str(context.get("userId")).startswith(_USERS):
                raise Refusal(400, echo)
            if not re.fullmatch(r"[A-Za-z0-9.-]{1,64}", str(context.get("patientId", ""))):
                raise Refusal(400, echo)
        if "fhirAuthorization" in body and not self.has("the token is not checked"):
            token = body["fhirAuthorization"]
            strings = ("access_token", "token_type", "scope", "subject")
            if not isinstance(token, dict) or not all(isinstance(token.get(key), str) for key in strings):
                raise Refusal(400)
            if token["token_type"].lower() != "bearer" or not isinstance(token.get("expires_in"), int):
                raise Refusal(400)
            if "fhirServer" not in body or token.get("patient", context["patientId"]) != context["patientId"]:
                raise Refusal(400)

    def cards(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        prefetch = body.get("prefetch", {})
        context = body["context"] if isinstance(body.get("context"), dict) else {}
        for key in ("patient", "labs"):
            if key not in prefetch:
                raise Refusal(400 if self.has("missing prefetch is a 400") else 412)
            value = prefetch[key]
            if value is None and self.has("null prefetch crashes"):
                raise Refusal(500)
            if not isinstance(value, dict | None) and self.has("an error page under a key crashes"):
                raise Refusal(500)
            kind = value.get("resourceType") if isinstance(value, dict) else None
            if kind == "OperationOutcome" and self.has("an OperationOutcome crashes"):
                raise Refusal(500)
            if value is not None and kind not in {"Patient", "Bundle"}:
                raise Refusal(412)
        patient = prefetch["patient"] or {}
        if patient.get("id") != context.get("patientId") and not self.has("another patient's data are used"):
            raise Refusal(400)
        entries = (prefetch["labs"] or {}).get("entry", [])
        values = [entry["resource"].get("valueQuantity", {}).get("value", 0) for entry in entries]
        return [self.card(context.get("patientId", ""))] if max(values, default=0) > 200 else []

    def card(self, patient: str) -> dict[str, Any]:
        card, suggestion = str(uuid.uuid4()), str(uuid.uuid4())
        if self.has("one uuid for all cards"):
            card = "7c1c9a52-3a61-4d0c-8f1b-0d5b6f1f3a10"
        self.shown.add(card)
        subject = "somebody-else" if self.has("an order for another patient") else patient
        order = {"resourceType": "ServiceRequest", "status": "draft", "subject": {"reference": f"Patient/{subject}"}}
        kind = "Create" if self.has("an action in capitals") else "create"
        made: dict[str, Any] = {
            "uuid": card,
            "summary": "S" * (140 if self.has("a summary of 140 characters") else 139),
            "detail": "<b>high</b>" if self.has("HTML in detail") else "**high**",
            "indicator": "hard-stop" if self.has("indicator hard-stop") else "warning",
            "source": {"label": "Lab", "url": "/about" if self.has("a relative source.url") else "https://lab.example/"},
            "suggestions": [
                {"label": "Order", "uuid": suggestion, "isRecommended": True, "actions": [{"type": kind, "description": "Order", "resource": order}]},
                {"label": "Ask", "uuid": str(uuid.uuid4())},
            ],
            "selectionBehavior": "at-most-one",
            "overrideReasons": [{"system": "urn:x", "code": "known", "display": "Known"}],
            "links": [{"label": "More", "url": "https://lab.example/more", "type": "absolute"}],
        }  # fmt: skip
        if self.has("null in a card"):
            made["extension"] = {"org.example": None}
        if self.has("an empty array in a card"):
            made["links"] = []
        if self.has("no selectionBehavior"):
            del made["selectionBehavior"]
        if self.has("several recommended under at-most-one"):
            made["suggestions"][1]["isRecommended"] = True
        if self.has("a source without label"):
            del made["source"]["label"]
        if self.has("appContext on an absolute link"):
            made["links"][0]["appContext"] = "x"
        if self.has("an override reason without display"):
            del made["overrideReasons"][0]["display"]
        if self.has("a key of its own in a card"):
            made["colour"] = "red"
        return made

    def feedback(self, raw: bytes) -> None:
        body = self.read(raw)
        items = body.get("feedback")
        if not isinstance(items, list) or (not items and not self.has("empty feedback is accepted")):
            raise Refusal(400)
        for item in items:
            echo = json.dumps(item) if self.has("a comment comes back in an error") else ""
            if not isinstance(item, dict) or item.get("outcome") not in {"accepted", "overridden"}:
                raise Refusal(400, echo)
            if not isinstance(item.get("card"), str) or not _TIME.fullmatch(str(item.get("outcomeTimestamp"))):
                raise Refusal(400, echo)
            lenient = self.has("accepted without suggestions is stored")
            if item["outcome"] == "accepted" and not item.get("acceptedSuggestions") and not lenient:
                raise Refusal(400, echo)
            if item["card"] not in self.shown and self.has("an unknown card is refused"):
                raise Refusal(404)
            known = json.dumps(item, sort_keys=True)
            if known in self.reported and self.has("a retry is refused"):
                raise Refusal(409)
            self.reported.add(known)


def _refuse(_: str) -> None:
    raise ValueError


def create_app(service: BrokenService) -> Starlette:
    """Make the app; faults may be switched in ``service.faults`` while it runs."""

    def answer(request: Request, status: int, body: Any) -> Response:
        headers = {}
        if service.has("any origin with credentials"):
            headers = {"Access-Control-Allow-Origin": request.headers.get("origin", "*")}
            headers["Access-Control-Allow-Credentials"] = "true"
        elif request.headers.get("origin") == ORIGIN and not (status >= 400 and service.has("no CORS on errors")):
            headers = {"Access-Control-Allow-Origin": ORIGIN}
        if status == 405:
            headers["Allow"] = "POST"
        media = "text/html" if status == 200 and service.has("answers as text/html") else "application/json"
        return Response(json.dumps(body), status, headers, media)

    def refuse(request: Request, refusal: Refusal) -> Response:
        if service.has("errors are HTML pages"):
            return HTMLResponse("<html>wrong</html>", refusal.status)
        text = (
            refusal.echo
            if service.has("errors echo the request") or service.has("a comment comes back in an error")
            else "wrong"
        )
        issue = {"severity": "error", "code": "invalid", "details": {"text": text or "wrong"}}
        return answer(request, refusal.status, {"resourceType": "OperationOutcome", "issue": [issue]})

    def preflight(request: Request) -> Response:
        if service.has("preflights need a token"):
            return refuse(request, Refusal(401))
        response = answer(request, 200, {})
        response.headers["Access-Control-Allow-Methods"] = "GET, POST"
        response.headers["Access-Control-Allow-Headers"] = "authorization, content-type"
        return response

    def refuse_media(request: Request) -> None:
        if request.method == "POST" and int(request.headers.get("content-length", 0)) > 8 << 20:
            raise Refusal(413)
        if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
            raise Refusal(415)

    def guarded(work: Callable[[Request, bytes], Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            if request.method == "OPTIONS":
                return preflight(request)
            try:
                refuse_media(request)
                return work(request, await request.body())
            except Refusal as refusal:
                return refuse(request, refusal)

        return endpoint

    def discovery(request: Request, _: bytes) -> Response:
        if service.has("discovery redirects"):
            return RedirectResponse("/v2/cds-services")
        return answer(request, 200, service.discovery())

    def call(request: Request, raw: bytes) -> Response:
        if request.path_params["id"] != "sugar" and not service.has("an unknown service is answered"):
            raise Refusal(404)
        if request.method == "GET":
            if service.has("GET calls the service"):
                return answer(request, 200, {"cards": []})
            raise Refusal(405)
        body = service.read(raw)
        service.check(body)
        cards = service.cards(body)
        if not cards and service.has("nothing to say is 204"):
            return Response(status_code=204)
        return answer(request, 200, {"cards": cards})

    def feedback(request: Request, raw: bytes) -> Response:
        if service.has("no feedback endpoint") or request.path_params["id"] != "sugar":
            raise Refusal(404)
        service.feedback(raw)
        return answer(request, 200, {})

    methods = ["GET", "POST", "OPTIONS"]
    return Starlette(
        routes=[
            Route("/cds-services", guarded(discovery), methods=["GET", "OPTIONS"]),
            Route("/cds-services/{id}", guarded(call), methods=methods),
            Route("/cds-services/{id}/feedback", guarded(feedback), methods=methods),
        ]
    )
