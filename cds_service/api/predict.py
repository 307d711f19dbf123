"""The plain window: named values in, calibrated probabilities out; kept like any other prediction.

``POST /predict/{model}`` with ``{"age_years": 62, "bmi": {"value": 31.2, "unit": "kg/m2"}}``. It shares every
definition with the hooks: the same features, the same gate, the same model, the same event log.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import perf_counter
from typing import Any, Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service.api.caller import Authenticate, Caller, everybody_is, guarded
from cds_service.api.refusal import refusal_event
from cds_service.api.values import read_values
from cds_service.cdshooks.client import DEVELOPMENT, Client
from cds_service.cdshooks.strict_json import parse_small
from cds_service.clinical.feature_spec import FeatureSet
from cds_service.clinical.features import Feature
from cds_service.clinical.units import text_spelling
from cds_service.errors import CdsServiceError, Fault, NotPermitted, StoreUnavailable, UnknownService
from cds_service.events.ids import new_id
from cds_service.events.schema import (
    AnyEvent,
    Door,
    PredictionMade,
    PredictionWithheld,
    Reported,
)
from cds_service.model.explain import Explanation, explain
from cds_service.model.predict import Abstention, Prediction, predict
from cds_service.model.runtime import Model
from cds_service.web.body import read_body
from cds_service.web.limits import DEFAULT_LIMITS, KIB, Limits

__all__ = ["NOTICE", "AppendEvents", "Window", "answer_of", "event_of", "predict_routes"]

Handler = Callable[[Request], Awaitable[Response]]
AppendEvents = Callable[[Sequence[AnyEvent]], Awaitable[object]]
"""Keeps events: durable when it returns, ``StoreUnavailable`` when they can't be kept."""

NOTICE: Final = "A demonstration of method, not a medical device: it does not diagnose, and a clinician decides."

_EXPLAIN = b"explain=true"
"""The one query that is understood: what each input adds stands beside the answer."""
_LARGEST: Final = 64 * KIB
_ANNOTATION: Final = re.compile(r"\{[^{}]*\}")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Window:
    """What the plain windows work with.

    Args:
        models: Name → open model.
        append_events: The event store.
        clock: The moment now, with a time zone.
        tenant: For whom events are kept.
        client: Who is calling.
        site_prevalence: Model → output → the site's declared prevalence.
        limits: See ``web/limits.py``.
        authenticate: Says who is calling; None in development, where it is always ``client``.
        prevalence_of: The client's name → what ``site_prevalence`` is for it.
    """

    models: Mapping[str, Model]
    append_events: AppendEvents
    clock: Callable[[], datetime]
    tenant: str | None = None
    client: str | None = None
    site_prevalence: Mapping[str, Mapping[str, float]] | None = None
    limits: Limits = DEFAULT_LIMITS
    authenticate: Authenticate | None = None
    prevalence_of: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    def of(self, caller: Caller) -> "Window":
        """The same window for one request of one caller."""
        if not caller.is_authenticated:
            return self
        client = caller.client
        return replace(
            self,
            append_events=caller.append,
            tenant=client.tenant,
            client=client.name,
            site_prevalence=self.prevalence_of.get(client.name),
        )

    def guard(self, handler: Callable[[Request, "Window"], Awaitable[Response]]) -> Handler:
        """Ask who calls, and whether the model of the path is one that this client may ask."""

        async def answer(request: Request, caller: Caller) -> Response:
            return await handler(request, self.of(caller))

        async def refused(error: NotPermitted, request: Request, caller: Caller) -> None:
            door: Door = "predict" if request.scope["path"].startswith("/predict/") else "infer"
            await self.of(caller).note_refusal(door, error, perf_counter())

        name = self.client or DEVELOPMENT
        implicit = Client(name=name, tenant=self.tenant or name)
        answer.__name__ = getattr(handler, "__name__", "answer")
        return guarded(answer, self.authenticate or everybody_is(implicit, self.append_events), _may_ask, refused)

    def model(self, name: str) -> Model:
        """The open model of this name.

        Raises:
            UnknownService: There is none.
        """
        model = self.models.get(name)
        if model is None:
            raise UnknownService(Fault("model", "there is no model of this name", "see /openapi.json for the names"))
        return model

    def prevalence(self, name: str) -> Mapping[str, float] | None:
        return (self.site_prevalence or {}).get(name)

    async def note_refusal(self, door: Door, error: CdsServiceError, started: float) -> None:
        """Keep that a call was refused and why; a store that fails must not hide the first error."""
        event = refusal_event(
            error, door=door, now=self.clock(), tenant=self.tenant, client=self.client, took_ms=_took_ms(started)
        )
        if event is None:
            return
        try:
            await self.append_events([event])
        except StoreUnavailable:
            log.exception("event_lost", door=door)


def predict_routes(window: Window) -> list[Route]:
    """The plain window's one address."""
    limits = replace(window.limits, body_bytes=min(_LARGEST, window.limits.body_bytes))

    async def predict_once(request: Request, window: Window) -> Response:
        started = perf_counter()
        try:
            model = window.model(request.path_params["model"])
            now = window.clock()
            body = parse_small(await read_body(request.scope, request.receive, limits))
            features = read_values(body, model.features, now)
        except CdsServiceError as error:
            await window.note_refusal("predict", error, started)
            raise
        result = predict(model, features, site_prevalence=window.prevalence(model.name))
        event = event_of(window, model.features, features, result, hook="predict", now=now, started=started)
        await window.append_events([event])
        answer = answer_of(model, features, result, event.id)
        if request.scope["query_string"] == _EXPLAIN and not isinstance(result, Abstention):
            answer["explanation"] = explanation_of(explain(model, features))
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return [Route("/predict/{model}", window.guard(predict_once), methods=["POST"])]


def _may_ask(client: Client, request: Request) -> bool:
    return request.path_params.get("model") is None or request.path_params["model"] in client.models


def event_of(
    window: Window,
    feature_set: FeatureSet,
    features: Mapping[str, Feature],
    result: Prediction | Abstention,
    *,
    hook: str,
    now: datetime,
    started: float,
) -> PredictionMade | PredictionWithheld:
    """What is kept of one prediction: inputs, scores, what was missing; the plain windows know no patient."""
    inputs = {spec.name: features[spec.name] for spec in feature_set.inputs}
    asked: dict[str, Any] = {
        "id": new_id(now),
        "at": now,
        "tenant": window.tenant,
        "client": window.client,
        "hook": hook,
        "model": result.model,
        "version": result.version,
        "features": {name: feature.value for name, feature in inputs.items()},
        "reported": {
            name: Reported(feature.reported[0], _unit_alone(feature.reported[1], feature_set[name].spellings))
            for name, feature in inputs.items()
            if feature.reported is not None
        },
        "missing": {name: feature.reason or "no_result" for name, feature in inputs.items() if feature.value is None},
        "flags": tuple(sorted({flag for feature in inputs.values() for flag in feature.flags})),
        "took_ms": _took_ms(started),
    }
    if isinstance(result, Abstention):
        return PredictionWithheld(**asked, reason=result.reason, detail=next(iter(result.features), None))
    return PredictionMade(**asked, scores=result.probabilities, operating_point=result.operating_point)


def answer_of(
    model: Model, features: Mapping[str, Feature], result: Prediction | Abstention, event_id: str
) -> dict[str, Any]:
    """What the caller reads."""
    answer: dict[str, Any] = {"id": event_id, "model": result.model, "version": result.version}
    if isinstance(result, Abstention):
        answer["abstained"] = {"reason": result.reason, "features": result.features}
    else:
        outputs = model.bundle.manifest.outputs
        answer["abstained"] = None
        answer["probabilities"] = {
            name: {"means": outputs[name], "value": value, "relation": sign}
            for name, (value, sign) in result.display.items()
        }
        answer["operating_point"] = result.operating_point
        answer["prevalence"] = "site" if result.at_site_prevalence else "calibration set"
    inputs = [features[spec.name] for spec in model.features.inputs]
    answer["used"] = {one.name: {"value": one.value, "unit": one.unit} for one in inputs if one.value is not None}
    answer["missing"] = [one.name for one in inputs if one.value is None]
    answer["notice"] = NOTICE
    return answer


def explanation_of(parts: dict[str, Explanation] | Abstention) -> dict[str, Any] | None:
    """What each input adds, in log odds, the strongest first."""
    if isinstance(parts, Abstention):
        return None
    return {
        output: {
            "base": one.base,
            "contributions": dict(sorted(one.contributions.items(), key=lambda pair: -abs(pair[1]))),
            "estimate": one.estimate,
        }
        for output, one in parts.items()
    }


def _unit_alone(unit: str, spellings: Mapping[str, str]) -> str:
    """The unit as the log may hold it: UCUM, without annotations, which are free text (SEC-080)."""
    return _ANNOTATION.sub("", text_spelling(unit, spellings) or unit) or "1"


def _took_ms(started: float) -> float:
    return round((perf_counter() - started) * 1000, 2)
