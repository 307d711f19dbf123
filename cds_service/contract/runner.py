"""Runs the contract of CDS Hooks 2.0 against any service, over HTTP only.

It knows no service's ids: it reads discovery and builds its calls from what is advertised there.
"""

import time
from typing import Any
from urllib.parse import urlsplit

import httpx

from cds_service.contract.call_checks import check_calls
from cds_service.contract.cors_checks import check_cors
from cds_service.contract.discovery_checks import check_discovery
from cds_service.contract.feedback_checks import check_feedback
from cds_service.contract.probe import BudgetSpent, Probe
from cds_service.contract.report import Report
from cds_service.contract.results import Results
from cds_service.contract.synthetic import Subject

__all__ = ["PUBLIC_SANDBOX", "run_contract"]

PUBLIC_SANDBOX = "https://sandbox.cds-hooks.org"
"""The origin of the client that most services meet first."""
SERVICES_MAX = 4


def run_contract(url: str, *, origin: str = PUBLIC_SANDBOX, transport: httpx.BaseTransport | None = None) -> Report:
    """Test the service at an address.

    Args:
        url: The base URL; ``/cds-services`` at its end is taken off.
        origin: The origin of a browser-based client that the service should know; without one that it allows, CORS is
            not applicable.
        transport: For tests in process; None: the network, without proxies from the environment.

    Returns:
        One finding a check and service, at most 4 services of the hook patient-view; at most 600 requests and 180 s.

    Raises:
        ValueError: The address is no absolute http or https URL.
    """
    base = url.rstrip("/").removesuffix("/cds-services")
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("the address is no absolute http or https URL")
    results = Results()
    began = time.monotonic()
    with httpx.Client(transport=transport, follow_redirects=False, trust_env=False) as client:
        probe = Probe(base, client, origin)
        try:
            for subject in _subjects(check_discovery(probe, results), results):
                of_service = results.of(subject.id)
                cards = check_calls(probe, subject, of_service)
                check_feedback(probe, subject, cards, of_service)
                check_cors(probe, subject, of_service)
        except BudgetSpent:
            results.skip(
                "CH-009", "SHOULD", "the rest of the contract", "the run's budget of requests or time is spent"
            )
        return Report(base, tuple(results.found), probe.requests, time.monotonic() - began)


def _subjects(entries: list[dict[str, Any]], results: Results) -> list[Subject]:
    subjects = [
        Subject(entry["id"], entry["prefetch"] if isinstance(entry.get("prefetch"), dict) else {})
        for entry in entries
        if entry.get("hook") == "patient-view" and isinstance(entry.get("id"), str) and entry["id"]
    ]
    if not subjects:
        results.skip("CH-060", "SHALL", "calls", "no service of the hook patient-view is advertised")
    for subject in subjects[SERVICES_MAX:]:
        results.of(subject.id).skip("CH-060", "SHALL", "calls", f"only the first {SERVICES_MAX} services are called")
    return subjects[:SERVICES_MAX]
