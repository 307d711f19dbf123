"""What a careful developer writes by hand with FastAPI and pydantic: less work than our service does.

The envelope is validated, the latest value of each LOINC code is taken from the Observations, a logistic score is
computed, one card with one suggestion leaves. No event, no log, no metrics, no model file, no units, no exclusions.
``BENCH_GC=frozen`` tunes the garbage collector as our service does.
"""

import gc
import math
import os
import uuid
from contextlib import asynccontextmanager
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

_LOINC = "http://loinc.org"
_WEIGHTS = {"2345-7": 0.02, "39156-5": 0.05, "8280-0": 0.01, "2093-3": 0.002, "2085-9": -0.01}
_INTERCEPT = -5.0


class Context(BaseModel):
    model_config = ConfigDict(extra="allow")
    userId: str = Field(pattern=r"^[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}$")
    patientId: str = Field(pattern=r"^[A-Za-z0-9.-]{1,64}$")
    encounterId: str | None = None


class CDSRequest(BaseModel):
    hook: Literal["patient-view"]
    hookInstance: uuid.UUID
    context: Context
    fhirServer: str | None = None
    prefetch: dict[str, Any] = {}


class Coding(BaseModel):
    system: str
    code: str


class Source(BaseModel):
    label: str
    topic: Coding | None = None


class Action(BaseModel):
    type: Literal["create", "update", "delete"]
    description: str
    resource: dict[str, Any]


class Suggestion(BaseModel):
    label: str
    uuid: str
    actions: list[Action] = []


class Card(BaseModel):
    uuid: str
    summary: str = Field(max_length=140)
    detail: str | None = None
    indicator: Literal["info", "warning", "critical"]
    source: Source
    suggestions: list[Suggestion] = []
    selectionBehavior: Literal["any", "at-most-one"] | None = None


class CDSResponse(BaseModel):
    cards: list[Card]


@asynccontextmanager
async def lifespan(_):
    if os.environ.get("BENCH_GC") == "frozen":
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 50)
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/cds-services/{service}")
async def call(service: str, request: CDSRequest) -> CDSResponse:
    latest: dict[str, tuple[str, float]] = {}
    for key in ("labs", "vitals", "hba1c"):
        for entry in (request.prefetch.get(key) or {}).get("entry", ()):
            resource = entry["resource"]
            value = resource.get("valueQuantity", {}).get("value")
            if value is None or resource.get("status") not in ("final", "amended", "corrected"):
                continue
            for coding in resource["code"]["coding"]:
                if coding.get("system") == _LOINC:
                    taken = resource.get("effectiveDateTime", "")
                    known = latest.get(coding["code"])
                    if known is None or taken > known[0]:
                        latest[coding["code"]] = taken, value
    score = _INTERCEPT + sum(weight * latest[code][1] for code, weight in _WEIGHTS.items() if code in latest)
    risk = 1 / (1 + math.exp(-score))
    order = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "code": {"coding": [{"system": _LOINC, "code": "4548-4"}]},
        "subject": {"reference": f"Patient/{request.context.patientId}"},
    }
    suggestion = Suggestion(
        label="Order HbA1c",
        uuid=str(uuid.uuid4()),
        actions=[Action(type="create", description="Order HbA1c", resource=order)],
    )
    card = Card(
        uuid=str(uuid.uuid4()),
        summary=f"No recent HbA1c; estimated probability of 6.5 % or more: {100 * risk:.0f} %",
        indicator="info",
        source=Source(label="By hand"),
        suggestions=[suggestion],
        selectionBehavior="any",
    )
    return CDSResponse(cards=[card])
