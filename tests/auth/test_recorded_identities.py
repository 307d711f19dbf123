"""Tokens as real EHRs make them: the shapes are the vendors' own, the keys are made here.

Sources: the public sandbox's source (ES384, ``iat`` rounded, so that half of its tokens come from up to half a second
ahead); Epic's page on CDS Hooks (RS384, ``jku``, ``nbf`` five minutes back, ``sub``, a life of 15 minutes, an ``aud``
that the health system types in); Oracle Health's page (``iss`` of the vendor, ``tenant``, keys at their authorisation
server); Meld, known to send ``aud: "sand_man"``.
"""

from uuid import uuid4

import pytest

from tests.auth import tokens
from tests.auth.tokens import BASE, CALL, S, sign

SANDBOX = "https://sandbox.cds-hooks.org"
EPIC = "https://interconnect.example.org/interconnect-prd-oauth"
ORACLE = "https://cds-hooks.cerner.com"
TENANT = "ec2458f2-1e24-41c8-b71b-0e701af7583d"


def sandbox(**changes):
    return {"iss": SANDBOX, "aud": BASE + CALL, "exp": S + 300, "iat": S, "jti": str(uuid4())} | changes


def epic(**changes):
    return {
        "aud": BASE + CALL, "exp": S + 900, "iat": S, "iss": EPIC, "jti": str(uuid4()), "nbf": S - 300,
        "sub": "f35a1aa7-a9ed-4a9f-a2a2-1a1c4f4b8d5c",
    } | changes  # fmt: skip


def oracle(**changes):
    return {
        "iss": ORACLE,
        "aud": BASE + CALL,
        "exp": S + 300,
        "iat": S,
        "jti": str(uuid4()),
        "tenant": TENANT,
    } | changes


IDENTITIES = [
    pytest.param("sandbox", SANDBOX, "", "ES384", sandbox, {}, {"lab": True}, 200, id="sandbox, in a lab"),
    pytest.param("sandbox", SANDBOX, "", "ES384", sandbox, {"iat": S + 0.5, "exp": S + 300.5}, {"lab": True}, 200, id="sandbox, half a second ahead"),
    pytest.param("sandbox", SANDBOX, "", "ES384", sandbox, {"iat": S + 1, "exp": S + 301}, {"lab": True}, 200, id="sandbox, rounded up"),
    pytest.param("epic", EPIC, "max_token_life_s = 900", "RS384", epic, {}, {}, 200, id="Epic, its life agreed"),
    pytest.param("epic", EPIC, "", "RS384", epic, {}, {}, 401, id="Epic, its life not agreed"),
    pytest.param("epic", EPIC, 'max_token_life_s = 900\n[client.quirks]\naudience = ["cds.hospital"]', "RS384", epic, {"aud": "cds.hospital"}, {}, 200, id="Epic, aud as typed in"),
    pytest.param("epic", EPIC, "max_token_life_s = 900", "RS384", epic, {"nbf": S + 120}, {}, 401, id="Epic, nbf ahead"),
    pytest.param("epic", EPIC, 'max_token_life_s = 900\nalgorithms = ["ES384"]', "RS384", epic, {}, {}, 401, id="Epic, algorithm not agreed"),
    pytest.param("oracle", ORACLE, f'tenants = ["{TENANT}"]', "RS384", oracle, {}, {}, 200, id="Oracle"),
    pytest.param("oracle", ORACLE, f'tenants = ["{TENANT}"]', "RS384", oracle, {"tenant": str(uuid4())}, {}, 401, id="Oracle, another hospital"),
    pytest.param("meld", "https://meld.example", '[client.quirks]\naudience = ["sand_man"]', "ES384", sandbox, {"iss": "https://meld.example", "aud": "sand_man"}, {}, 200, id="Meld"),
]  # fmt: skip


@pytest.mark.ch("CH-315", "CH-324", "CH-326", "CH-327", "W-06", "W-10")
@pytest.mark.sec("SEC-007", "SEC-009", "SEC-010")
@pytest.mark.parametrize(("name", "issuer", "more", "alg", "make", "changes", "settings", "status"), IDENTITIES)
def test_identity(name, issuer, more, alg, make, changes, settings, status, started, tmp_path):
    file = tokens.write_clients(tmp_path, more, name=name, issuer=issuer)
    head = {"alg": alg, "typ": "JWT", "kid": "k1", "jku": tokens.JKU}
    assert started(file, **settings).call(sign(make(**changes), head)).status_code == status
