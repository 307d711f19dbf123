"""The application in production mode, asked in process."""

import asyncio

import httpx
import pytest

from tests.auth import tokens


class Asker:
    """Asks one application; every request has exactly the header fields that it is given."""

    def __init__(self, door, parts):
        self.door = door
        self.parts = parts
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(door, raise_app_exceptions=False), base_url="http://cds.example.org"
        )

    def send(self, method, path, *, token=None, headers=(), **sent):
        fields = list(headers)
        if token is not None:
            fields.append(("Authorization", f"Bearer {token}"))
        return self._runner.run(self._client.request(method, path, headers=fields, **sent))

    def call(self, token=None, *, service=tokens.SERVICE, **sent):
        return self.send("POST", f"/cds-services/{service}", token=token, json=tokens.body(), **sent)

    def run(self, awaitable):
        return self._runner.run(awaitable)

    def together(self, tokens_, path="/cds-services"):
        async def ask():
            return await asyncio.gather(
                *(self._client.get(path, headers={"Authorization": f"Bearer {one}"}) for one in tokens_)
            )

        return self._runner.run(ask())

    def refused(self, reason):
        """How often a token was refused for this reason so far."""
        for line in self.parts.registry.text().splitlines():
            if line.startswith("cds_auth_refused_total") and f'reason="{reason}"' in line:
                return int(float(line.rpartition(" ")[2]))
        return 0

    def close(self):
        self._runner.run(self._client.aclose())
        self._runner.close()


@pytest.fixture(scope="session")
def _one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auth")
    clients = tokens.write_clients(folder, keys=tokens.public(tokens.EC, tokens.RSA, tokens.EC256))
    with tokens.opened(folder, clients) as (door, parts):
        asker = Asker(door, parts)
        yield asker
        asker.close()


@pytest.fixture
def ehr(_one):
    """One application and one EHR for all rows; each row brings tokens of its own."""
    _one.parts.clock.now = tokens.NOW
    return _one


@pytest.fixture
def started(tmp_path):
    """Start an application of one's own: ``started(clients_text_or_more, **settings)``."""
    open_ones = []

    def start(clients, **changes):
        manager = tokens.opened(tmp_path, clients, **changes)
        door, parts = manager.__enter__()
        asker = Asker(door, parts)
        open_ones.append((manager, asker))
        return asker

    yield start
    for manager, asker in open_ones:
        asker.close()
        manager.__exit__(None, None, None)
