"""An EHR with an RS384 key: its entry in ``clients.toml``, and a fresh token for every call, since each counts once."""

import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from uuid import uuid4

from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry
from servers import SERVICE

__all__ = ["BASE", "EHR"]

BASE = "https://cds.example.org"
_ISSUER = "https://ehr.example.org"
_LIFE_S = 240
_CLIENT = f"""[[client]]
name      = "ehr"
issuer    = "{_ISSUER}"
keys      = "keys.json"
services  = ["{SERVICE}"]
is_silent = false
rate_per_s = 100000
"""


class EHR:
    """Signs calls of one service.

    Args:
        folder: Where ``clients.toml`` and the public key are written.
    """

    def __init__(self, folder: Path) -> None:
        self._key = RSAKey.generate_key(2048, {"kid": "bench"})
        self._sign = JWSRegistry(algorithms=["RS384"]).get_alg("RS384").sign
        self._head = _fold(json.dumps({"alg": "RS384", "typ": "JWT", "kid": "bench"}).encode())
        folder.mkdir(parents=True, exist_ok=True)
        self.clients = folder / "clients.toml"
        self.clients.write_text(_CLIENT, encoding="utf-8")
        (folder / "keys.json").write_text(json.dumps({"keys": [self._key.as_dict(private=False)]}), encoding="utf-8")

    def token(self) -> str:
        """A token for one call, from now on for four minutes."""
        now = int(time.time())
        claims = {
            "iss": _ISSUER, "aud": f"{BASE}/cds-services/{SERVICE}", "iat": now, "exp": now + _LIFE_S, "jti": str(uuid4()),
        }  # fmt: skip
        signed = self._head + b"." + _fold(json.dumps(claims).encode())
        return (signed + b"." + _fold(self._sign(signed, self._key))).decode()


def _fold(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
