"""What knowing the caller costs: one verification, one authentication, and a chart open with it beside one without.

``python -m benchmarks.verify``: microseconds by algorithm, and milliseconds of CPU for a call of 50 resources through
the whole application and its event store, in one process without a network.
"""

import asyncio
import json
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from statistics import median
from uuid import uuid4

import httpx
import structlog
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from benchmarks.bundles import SIZES, call_template, one_call
from cds_service.outbound.key_set import is_signed_by, read_key_set
from cds_service.service_app import create_app, open_parts
from cds_service.settings import read_settings

BASE = "https://cds.example.org"
CALL = "/cds-services/dysglycaemia-screening"
KEYS = {
    "RS384": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ES384": ECKey.generate_key("P-384", {"kid": "p384"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "p256"}),
}
ROUNDS, CALLS, LOOPS = 7, 200, 300
CLIENT = f"""[[client]]
name = "ehr"
issuer = "https://ehr.example.org"
keys = "keys.json"
algorithms = {json.dumps(list(KEYS))}
services = ["dysglycaemia-screening"]
is_silent = false
"""


def fold(data):
    return urlsafe_b64encode(data).rstrip(b"=")


def token(alg):
    now = int(time.time())
    claims = {"iss": "https://ehr.example.org", "aud": BASE + CALL, "iat": now, "exp": now + 300, "jti": str(uuid4())}
    head = {"alg": alg, "typ": "JWT", "kid": KEYS[alg].kid}
    signed = fold(json.dumps(head).encode()) + b"." + fold(json.dumps(claims).encode())
    return signed, jws.JWSRegistry(algorithms=[alg]).get_alg(alg).sign(signed, KEYS[alg])


def verify_us(alg, keys):
    key = keys.find(KEYS[alg].kid, KEYS[alg].key_type)
    signed, signature = token(alg)
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(LOOPS):
            is_signed_by(key, alg, signed, signature)
        best = min(best, (time.perf_counter() - began) / LOOPS)
    return best * 1e6


async def cpu_ms(folder, alg):
    """CPU of one call in the whole process, writer and verifying threads included; the median of the rounds."""
    known = {"auth": "off-for-development"}
    if alg is not None:
        known = {
            "public_base_url": BASE, "allowed_hosts": ("cds.example.org",), "behind_tls_proxy": True,
            "clients": folder / "clients.toml",
        }  # fmt: skip
    parts = open_parts(read_settings(environment={}, state=folder / f"state-{alg}", **known))
    template = call_template(SIZES[50])
    number = 0
    costs = []
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://cds.example.org") as client:
        for _ in range(ROUNDS + 1):
            sent = []
            for _ in range(CALLS):
                headers = {"content-type": "application/json"}
                if alg is not None:
                    signed, signature = token(alg)
                    headers["authorization"] = f"Bearer {(signed + b'.' + fold(signature)).decode()}"
                sent.append((one_call(template, number), headers))
                number += 1
            began = time.process_time()
            for body, headers in sent:
                answer = await client.post(CALL, content=body, headers=headers)
                if answer.status_code != 200:
                    sys.exit(f"{answer.status_code}: {answer.text}")
            costs.append((time.process_time() - began) / CALLS * 1e3)
    parts.store.close()
    if parts.trust is not None:
        parts.trust.authenticate.close()
    return median(costs[1:])


def main():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    keys = read_key_set(json.dumps({"keys": [key.as_dict(private=False) for key in KEYS.values()]}).encode())
    for alg in KEYS:
        print(f"verify {alg:6} {verify_us(alg, keys):7.1f} us")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clients.toml").write_text(CLIENT)
        (folder / "keys.json").write_text(json.dumps({"keys": [key.as_dict(private=False) for key in KEYS.values()]}))
        without = asyncio.run(cpu_ms(folder, None))
        print(f"call, nobody asked {without:6.3f} ms CPU")
        for alg in ("RS384", "ES384"):
            cost = asyncio.run(cpu_ms(folder, alg))
            print(f"call, {alg}        {cost:6.3f} ms CPU  (+{(cost - without) * 1e3:.0f} us)")


if __name__ == "__main__":
    main()
