"""The command itself in production mode: TLS of its own, two workers, real tokens over real sockets."""

import asyncio
import contextlib
import ssl
import subprocess
import sys
import time

import httpx
import pytest

from tests.auth import tokens
from tests.auth.key_server import make_certificate
from tests.auth.test_replay import ROOT, at_once
from tests.auth.tokens import CALL, body, real_claims, sign

PORT = 18903
SETTINGS = """
public_base_url = "{base}"
allowed_hosts   = ["127.0.0.1"]
tls_certificate = "{certificate}"
tls_key         = "{certificate}"
clients         = "{folder}/clients.toml"
state           = "{folder}/state"
hooks           = "{hooks}"
assets          = "{folder}/assets"
"""


@contextlib.contextmanager
def serving(folder, certificate, authority, workers):
    (folder / "settings.toml").write_text(
        SETTINGS.format(base=tokens.BASE, certificate=certificate, folder=folder, hooks=tokens.DATA / "hooks")
    )
    command = [sys.executable, "-m", "cds_service", "serve", "--settings", str(folder / "settings.toml")]
    command += ["--port", str(PORT), "--workers", str(workers)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 40
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    url = f"https://127.0.0.1:{PORT}/health/ready"
                    if httpx.get(url, verify=ssl.create_default_context(cafile=authority), timeout=2).is_success:
                        break
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.slow
@pytest.mark.ch("CH-007", "CH-310", "CH-311", "CH-325")
@pytest.mark.sec("SEC-001", "SEC-012")
@pytest.mark.parametrize("workers", [1, 2])
def test_the_command_serves_production_over_tls(workers, tmp_path):
    certificate, authority = make_certificate(tmp_path)
    tokens.write_clients(tmp_path)
    tokens.write_assets(tmp_path)
    trusting = ssl.create_default_context(cafile=authority)
    with serving(tmp_path, certificate, authority, workers) as process:
        with httpx.Client(base_url=f"https://127.0.0.1:{PORT}", verify=trusting, timeout=10) as client:

            def ask(path, **sent):
                headers = {"Authorization": f"Bearer {sign(real_claims(path))}"}
                return client.request("POST" if sent else "GET", path, headers=headers, **sent)

            assert client.get("/cds-services").status_code == 401
            listed = ask("/cds-services")
            assert [service["id"] for service in listed.json()["services"]] == [tokens.SERVICE]
            assert "max-age" in listed.headers["strict-transport-security"]
            assert ask(CALL, json=body()).status_code == 200
            assert client.get("/health/ready").json()["mode"] == "production"
        one = sign(real_claims())
        answers = asyncio.run(at_once(one, [PORT], 16, scheme="https", verify=trusting))
        assert sorted(answer.status_code for answer in answers) == [200] + [401] * 15
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(cafile=authority)
        old.set_ciphers("AES128-SHA256")
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://127.0.0.1:{PORT}/health/live", verify=old)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{PORT}/health/live")
    assert process.returncode in {0, -15}
    log = (tmp_path / "log").read_text()
    assert "caller_refused" in log
    assert one.split(".")[1] not in log
