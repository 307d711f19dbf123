"""The gateway's own configuration in a real nginx, in front of a real service; and what the compose file promises."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def nginx():
    found = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
    if found is None:
        what = "nginx is needed: apt-get install nginx-light"
        pytest.fail(what) if os.environ.get("CI") else pytest.skip(what)
    return found


def wait_for(url, process):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert process.poll() is None
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"{url} did not answer")


@pytest.fixture
def gateway(nginx, tmp_path):
    behind, before = free_port(), free_port()
    config = (ROOT / "deploy/gateway/nginx.conf").read_text(encoding="utf-8")
    config = config.replace("127.0.0.1:8001", f"127.0.0.1:{behind}").replace(
        "listen 8000", f"listen 127.0.0.1:{before}"
    )
    config = config.replace("/tmp/", f"{tmp_path}/").replace("/dev/stdout", f"{tmp_path}/access.log")
    if os.geteuid() == 0:  # else its workers are "nobody" and may not enter the test's folder
        config = f"user root;\n{config}"
    (tmp_path / "nginx.conf").write_text(config, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "cds_service",
        "sandbox",
        "--port",
        str(behind),
        "--state",
        str(tmp_path / "state"),
    ]
    service = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    proxy = subprocess.Popen(
        [nginx, "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(f"http://127.0.0.1:{behind}/health/ready", service)
        wait_for(f"http://127.0.0.1:{before}/health/ready", proxy)
        yield httpx.Client(base_url=f"http://127.0.0.1:{before}", timeout=10), tmp_path / "access.log"
    finally:
        for process in (proxy, service):
            process.terminate()
            process.wait(timeout=30)


def test_a_card_comes_through_the_gateway_and_no_path_is_logged(gateway):
    client, log = gateway
    with client:
        found = subprocess.run(
            [sys.executable, "tests/ask_for_a_card.py", str(client.base_url).rstrip("/"), "hooks"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stdout + found.stderr
        assert client.get("/cds-services/who-is-this?patient=secret").status_code == 405
        assert client.post("/cds-services/x", content=b" " * (9 << 20)).status_code == 413
    written = log.read_text(encoding="utf-8")
    assert "POST 200" in written
    assert "secret" not in written
    assert "who-is-this" not in written


def test_the_compose_file_keeps_its_promises():
    """SEC-140, as far as a file can show it: it is read as text, since no engine is here to run it."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    services = re.split(r"(?m)^  (?=[a-z]+:$)", text.split("\nservices:\n", 1)[1].split("\nnetworks:\n", 1)[0])[1:]
    assert len(services) == 2
    for service in services:
        for promise in (
            "read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", "pids_limit:", "mem_limit:", "cpus:", "noexec",
        ):  # fmt: skip
            assert promise in service, promise
        assert "privileged: true" not in service
        assert "network_mode: host" not in service
    assert re.findall(r'ports: \["([^"]+)"\]', text) == ["127.0.0.1:8000:8000"]


def test_the_image_runs_as_nobody_and_carries_what_the_wheel_carries():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"(?m)^USER 10001$", text)
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]["force-include"]
    for folder in shipped:
        assert f"COPY {folder} {folder}" in text
    assert "requirements/train.txt" not in text
