"""Health and metrics say enough for a machine and nothing more."""

import pytest


def test_health_says_that_nobody_is_asked_who_they_are(ask):
    live, ready = ask("GET", "/health/live"), ask("GET", "/health/ready")
    assert live.json() == {"status": "live", "mode": "development without authentication, not for patients"}
    assert ready.json()["parts"] == {"models": "ok", "store": "ok"}
    assert ready.status_code == 200


@pytest.mark.fault("F11")
def test_a_failing_store_turns_readiness_red_and_not_liveness(ask, kept):
    kept.fails = True
    assert ask("GET", "/health/live").status_code == 200
    ready = ask("GET", "/health/ready")
    assert (ready.status_code, ready.json()["parts"]["store"]) == (503, "failing")


@pytest.mark.sec("SEC-088")
def test_ten_thousand_names_make_no_new_series(ask, door):
    import asyncio

    import httpx

    async def many():
        transport = httpx.ASGITransport(door)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            for n in range(300):
                await client.get(f"/predict/patient-{n}")
                await client.request(f"M{n}", f"/nowhere/{n}")
            return await client.get("/metrics")

    lines = asyncio.run(many()).text.splitlines()
    assert ask("GET", "/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    assert len(lines) < 100
    assert not any("patient-" in line or "M29" in line for line in lines)
    assert 'cds_http_requests_total{route="/predict/{model}",method="GET",status="405"} 300' in lines
    assert 'cds_http_requests_total{route="other",method="other",status="404"} 300' in lines
