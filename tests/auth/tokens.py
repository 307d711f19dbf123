"""Keys made at run time, tokens signed with them or forged without, and the whole application in production mode."""

import json
import time
from base64 import urlsafe_b64encode
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from cds_service.service_app import create_app, open_parts
from cds_service.settings import read_settings
from tests.bundles import write_tiny_bundle

DATA = Path(__file__).parents[1] / "data"
ISSUER = "https://ehr.example.org"
JKU = "https://ehr.example.org/jwks.json"
BASE = "https://cds.example.org"
SERVICE = "case-labs"
CALL = f"/cds-services/{SERVICE}"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
S = int(NOW.timestamp())

EC = ECKey.generate_key("P-384", {"kid": "k1"})
RSA = RSAKey.generate_key(2048, {"kid": "k1"})
OTHER = ECKey.generate_key("P-384", {"kid": "k1"})
EC256 = ECKey.generate_key("P-256", {"kid": "p256"})
HEAD = {"typ": "JWT", "alg": "ES384", "kid": "k1"}


def claims(path=CALL, **changes):
    given = {"iss": ISSUER, "aud": BASE + path, "iat": S, "exp": S + 300, "jti": str(uuid4())} | changes
    return {name: value for name, value in given.items() if value is not ...}


def fold(data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return urlsafe_b64encode(data).rstrip(b"=")


def sign(payload, head=HEAD, key=None):
    """A token whose head and claims are exactly these: objects, or raw bytes for what no library would write."""
    alg = head["alg"] if isinstance(head, dict) else "ES384"
    signed = fold(head) + b"." + fold(payload)
    if key is None:
        key = RSA if alg[:2] in ("RS", "PS") else EC
    model = jws.JWSRegistry(algorithms=[alg]).get_alg(alg)
    return (signed + b"." + fold(model.sign(signed, key))).decode()


def token(path=CALL, head=(), key=None, **changes):
    given = HEAD | dict(head)
    return sign(claims(path, **changes), {name: value for name, value in given.items() if value is not ...}, key)


def public(*keys, **changes):
    return {"keys": [key.as_dict(private=False) | changes for key in keys]}


def write_clients(folder, more="", *, keys=None, services=(SERVICE,), name="ehr", issuer=ISSUER, jku=True):
    """A ``clients.toml`` with one EHR whose keys are a file; *more* goes into its table."""
    (folder / f"{name}.json").write_text(json.dumps(keys or public(EC, RSA)))
    known = f'jku = "{JKU}"\n' if jku else ""
    table = f'[[client]]\nname = "{name}"\nissuer = "{issuer}"\nkeys = "{name}.json"\n{known}'
    file = folder / "clients.toml"
    before = file.read_text() if file.exists() else ""
    file.write_text(f"{before}{table}services = {json.dumps(list(services))}\nis_silent = false\n{more}\n")
    return file


def write_assets(folder):
    assets = folder / "assets"
    if not assets.exists():
        write_tiny_bundle(assets, SERVICE, DATA / "recipes" / SERVICE / "features.toml")
    return assets


def production(folder, clients, **changes):
    """The settings of a production process on test data."""
    given = {
        "auth": "jwt", "public_base_url": BASE, "allowed_hosts": ("cds.example.org", "127.0.0.1"),
        "behind_tls_proxy": True, "clients": clients, "state": folder / "state", "hooks": DATA / "hooks",
        "assets": write_assets(folder), "cors_origins": ("https://sandbox.example.org",),
    } | changes  # fmt: skip
    return read_settings(environment={}, **given)


class Clock:
    """Stands still until it is set."""

    now = NOW

    def __call__(self):
        return self.now


@contextmanager
def opened(folder, clients, clock=None, **changes):
    parts = open_parts(production(folder, clients, **changes), clock=clock or Clock())
    try:
        yield create_app(parts), parts
    finally:
        parts.trust.authenticate.close()
        parts.store.close()


def body(**changes):
    return {
        "hook": "patient-view",
        "hookInstance": str(uuid4()),
        "context": {"userId": "Practitioner/u-1", "patientId": "pt-001"},
        "prefetch": {
            "patient": {"resourceType": "Patient", "id": "pt-001", "gender": "female", "birthDate": "1961-05-02"},
            "labs": None,
        },
    } | changes


def real_claims(path=CALL, **changes):
    """Claims by the real clock, for real server processes."""
    now = int(time.time())
    return claims(path, iat=now, exp=now + 300, **changes)
