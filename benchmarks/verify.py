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
rate_per_s = 100000
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


async def cpu_ms(folder):
    """Mode → CPU of one call in the whole process, writer and verifying threads included.

    The modes take turns, so that a busy machine is busy for all; the median of the rounds.
    """
    secured = {
        "public_base_url": BASE, "allowed_hosts": ("cds.example.org",), "behind_tls_proxy": True,
        "clients": folder / "clients.toml",
    }  # fmt: skip
    costs = {mode: [] for mode in (None, "RS384", "ES384")}
    open_ones = {}
    for mode in costs:
        known = secured if mode else {"auth": "off-for-development"}
        parts = open_parts(read_settings(environment={}, state=folder / f"state-{mode}", **known))
        transport = httpx.ASGITransport(create_app(parts))
        open_ones[mode] = parts, httpx.AsyncClient(transport=transport, base_url="http://cds.example.org")
    template = call_template(SIZES[50])
    number = 0
    for _ in range(ROUNDS + 1):
        for mode, (_, client) in open_ones.items():
            sent = []
            for _ in range(CALLS):
                headers = {"content-type": "application/json"}
                if mode is not None:
                    signed, signature = token(mode)
                    headers["authorization"] = f"Bearer {(signed + b'.' + fold(signature)).decode()}"
                sent.append((one_call(template, number), headers))
                number += 1
            began = time.process_time()
            for body, headers in sent:
                answer = await client.post(CALL, content=body, headers=headers)
                if answer.status_code != 200:
                    sys.exit(f"{answer.status_code}: {answer.text}")
            costs[mode].append((time.process_time() - began) / CALLS * 1e3)
    for parts, client in open_ones.values():
        await client.aclose()
        parts.store.close()
        if parts.trust is not None:
            parts.trust.authenticate.close()
    return {mode: median(rounds[1:]) for mode, rounds in costs.items()}


def main():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    keys = read_key_set(json.dumps({"keys": [key.as_dict(private=False) for key in KEYS.values()]}).encode())
    for alg in KEYS:
        print(f"verify {alg:6} {verify_us(alg, keys):7.1f} us")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clients.toml").write_text(CLIENT)
        (folder / "keys.json").write_text(json.dumps({"keys": [key.as_dict(private=False) for key in KEYS.values()]}))
        costs = asyncio.run(cpu_ms(folder))
    for mode, cost in costs.items():
        print(f"call, {mode or 'nobody asked':12} {cost:6.3f} ms CPU  (+{(cost - costs[None]) * 1e3:.0f} us)")


if __name__ == "__main__":
    main()
