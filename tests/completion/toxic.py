"""A FHIR server in this process that behaves as it is told: honest, slow, dripping, cut, lying. Over real sockets."""

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

__all__ = ["Toxic", "bundle", "observation", "patient"]

FHIR = "application/fhir+json"


def patient(name="p1"):
    return {"resourceType": "Patient", "id": name, "gender": "male", "birthDate": "1961-04-12"}


def observation(name, of="p1", code="4548-4", value=5.4, unit="%", taken="2022-01-10T08:00:00Z"):
    return {
        "resourceType": "Observation", "id": name, "status": "final", "subject": {"reference": f"Patient/{of}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]}, "effectiveDateTime": taken,
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }  # fmt: skip


def bundle(*resources, following=None):
    held = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources]}
    return held | ({"link": [{"relation": "next", "url": following}]} if following else {})


@dataclass
class Toxic:
    """Answers by path: JSON, or (status, headers, body), or a coroutine function that gets the writer."""

    answers: dict = field(default_factory=dict)
    seen: list = field(default_factory=list)
    """(method, path, query, headers, body) of every request."""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()

    @property
    def base(self):
        return f"http://127.0.0.1:{self.port}/fhir"

    @property
    def paths(self):
        return sorted(path.removeprefix("/fhir/") for _, path, *_ in self.seen)

    async def _serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                parts = urlsplit(target)
                query = parse_qs(parts.query or body.decode())
                self.seen.append((method, parts.path, query, headers, body))
                await self._answer(parts.path, query, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, path, query, writer):
        name = path.removeprefix("/fhir/").removesuffix("/_search")
        given = self.answers.get((name, query.get("page", [""])[0]), self.answers.get(name))
        if callable(given):
            await given(writer)
            return
        if given is None:
            given = (404, {}, b"{}")
        status, headers, body = given if isinstance(given, tuple) else (200, {}, json.dumps(given).encode())
        fields = {"content-type": FHIR, "content-length": str(len(body))} | headers
        lines = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
        writer.write(f"HTTP/1.1 {status} x\r\n{lines}\r\n".encode() + body)
        await writer.drain()
