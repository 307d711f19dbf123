"""Checks for clients that run in a browser: section Q."""

from cds_service.contract.probe import Answer, Probe
from cds_service.contract.results import Results
from cds_service.contract.synthetic import Subject

__all__ = ["check_cors"]

_ALLOW = "access-control-allow-origin"
_FOREIGN = "https://foreign.contract.invalid"


def check_cors(probe: Probe, subject: Subject, results: Results) -> None:
    """Check preflights and headers, on success and on errors alike.

    A service serves browsers if it allows the origin somewhere; then it must do so everywhere.
    """
    origin = {"Origin": probe.origin}
    paths = {"discovery": "", "the call": subject.path, "feedback": f"{subject.path}/feedback"}
    preflights = {
        name: probe.send(
            "OPTIONS", path,
            headers={
                **origin,
                "Access-Control-Request-Method": "GET" if name == "discovery" else "POST",
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )
        for name, path in paths.items()
    }  # fmt: skip
    real = {
        "discovery": probe.get("", origin),
        "a call": probe.post(subject.path, subject.request(), origin),
        "400": probe.post(subject.path, {}, origin),
        "404": probe.post("/contract-no-such-service", subject.request(), origin),
        "feedback's 400": probe.post(f"{subject.path}/feedback", {}, origin),
    }
    _check_foreign(probe, subject, results)
    if not any(_allows(answer, probe.origin) for answer in (*preflights.values(), *real.values())):
        results.skip(
            "CH-280 CH-281", "SHALL", "browser-based clients are served", f"the origin {probe.origin} is not allowed"
        )
        return
    silent = [f"not on {name} ({answer.said})" for name, answer in real.items() if not _allows(answer, probe.origin)]
    title = "a listed origin finds its header on every answer, errors too"
    results.claim_all("CH-280", "SHALL", title, silent, len(real))
    refused = [
        f"{answer.said} on {name}" for name, answer in preflights.items() if not _is_allowed(answer, probe.origin)
    ]
    title = "preflights are answered 200 or 204 before authentication, with authorization and content-type allowed"
    results.claim_all("CH-281", "SHALL", title, refused, len(preflights))


def _check_foreign(probe: Probe, subject: Subject, results: Results) -> None:
    answer = probe.post(subject.path, subject.request(), {"Origin": _FOREIGN})
    allowed = answer.headers.get(_ALLOW)
    results.claim(
        "CH-282", "SHALL", "a foreign origin is not told that it may use credentials",
        not (allowed in {_FOREIGN, "*"} and answer.headers.get("access-control-allow-credentials") == "true"),
        "it is",
    )  # fmt: skip
    results.claim(
        "CH-282",
        "SHOULD",
        "origins are a list",
        allowed not in {_FOREIGN, "*"},
        "any origin is allowed; for development only",
    )


def _allows(answer: Answer, origin: str) -> bool:
    return answer.headers.get(_ALLOW) in {origin, "*"}


def _is_allowed(answer: Answer, origin: str) -> bool:
    named = {name.strip() for name in answer.headers.get("access-control-allow-headers", "").lower().split(",")}
    wanted = {"authorization", "content-type"}
    return answer.status in {200, 204} and _allows(answer, origin) and (wanted <= named)
