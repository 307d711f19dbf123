"""Production starts when everything is said, and refuses every insecure way at once; so does ``clients.toml``."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from cds_service.cdshooks import client
from cds_service.cdshooks.client import read_clients
from cds_service.cli import main
from cds_service.errors import SettingsError
from cds_service.outbound.key_set import ALGORITHMS, KeySet
from cds_service.settings import read_settings
from cds_service.trust import check_start
from tests.auth import tokens
from tests.auth.tokens import BASE, EC, RSA, sign, token

OK = None
SANDBOX = "https://sandbox.cds-hooks.org"
PUBLISHED = {
    "kty": "EC", "use": "sig", "crv": "P-384", "kid": "44823f3d-0b01-4a6c-a80e-b9d3e8a7226f", "alg": "ES384",
    "x": "dw_JGR8nB2I6XveNxUOl2qk699ZPLM2nYI5STSdiEl9avAkrm3CkfYMbrrjr8laB",
    "y": "Sm3mLE-n1zYNla_aiE3cb3nZsL51RbC7ysw3q8aJLxGm-hx79RPMYpITDjp7kgzy",
}  # fmt: skip
"""The public half of the public sandbox's key, as its own page serves it."""


def faults_of(settings):
    try:
        check_start(settings)
    except SettingsError as error:
        return [fault.where for fault in error.faults]
    return OK


@pytest.mark.sec("SEC-001")
@pytest.mark.ch("CH-007", "CH-282", "CH-311")
@pytest.mark.parametrize(
    ("changes", "at"),
    [
        pytest.param({}, OK, id="all is said"),
        pytest.param({"host": "0.0.0.0"}, OK, id="on the private network behind the gateway"),
        pytest.param({"clients": None}, ["clients"], id="nobody may call"),
        pytest.param({"clients": "none.toml"}, ["clients"], id="a file that is not there"),
        pytest.param({"public_base_url": None}, ["public_base_url"], id="no address"),
        pytest.param({"public_base_url": "http://cds.example.org"}, ["public_base_url"], id="address without TLS"),
        pytest.param({"public_base_url": f"{BASE}?x"}, ["public_base_url"], id="address with a query"),
        pytest.param({"public_base_url": "https://u:p@cds.example.org"}, ["public_base_url"], id="address with a user"),
        pytest.param({"public_base_url": "https://[::1"}, ["public_base_url"], id="no address at all"),
        pytest.param({"allowed_hosts": ()}, ["allowed_hosts"], id="no hosts"),
        pytest.param({"allowed_hosts": ("*",)}, ["allowed_hosts"], id="any host"),
        pytest.param({"cors_origins": ("*",)}, ["cors_origins"], id="any page"),
        pytest.param({"behind_tls_proxy": False}, ["behind_tls_proxy"], id="nobody ends TLS"),
        pytest.param({"tls_key": "none.pem"}, ["tls_key", "tls_key"], id="half of a TLS pair, and not there"),
        pytest.param({"lab": True}, OK, id="a lab on this machine"),
        pytest.param({"lab": True, "host": "0.0.0.0"}, ["host"], id="a lab for the whole net"),
        pytest.param({"lab": True, "public_base_url": "http://127.0.0.1:8000", "behind_tls_proxy": False}, OK, id="a lab without TLS"),
        pytest.param({"auth": "off-for-development", "clients": None}, OK, id="development"),
        pytest.param({"auth": "off-for-development", "clients": None, "host": "0.0.0.0"}, ["host"], id="development for the whole net"),
        pytest.param(
            {"clients": None, "public_base_url": None, "allowed_hosts": (), "cors_origins": ("*",), "behind_tls_proxy": False},
            ["clients", "public_base_url", "allowed_hosts", "cors_origins", "behind_tls_proxy"], id="every reason at once",
        ),
    ],
)  # fmt: skip
def test_the_start_matrix(changes, at, tmp_path):
    clients = tokens.write_clients(tmp_path)
    given = {
        "public_base_url": BASE, "allowed_hosts": ("cds.example.org",), "behind_tls_proxy": True, "clients": clients,
        "state": tmp_path / "state",
    } | changes  # fmt: skip
    assert (
        faults_of(read_settings(environment={}, **{key: value for key, value in given.items() if value is not None}))
        == at
    )


@pytest.mark.sec("SEC-001")
def test_faults_of_settings_and_clients_are_told_together(tmp_path):
    file = tmp_path / "clients.toml"
    file.write_text(f'[[client]]\nname = "a"\nissuer = "{SANDBOX}"\nkeys = "http://x/"\n')
    at = faults_of(read_settings(environment={}, clients=file))
    assert at is not None
    assert "public_base_url" in at
    assert f"{file} client[0].issuer" in at
    assert f"{file} client[0].keys" in at


@pytest.mark.sec("SEC-001")
@pytest.mark.ch("CH-007", "CH-311")
def test_the_command_refuses_with_every_reason(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cds_service", "serve", "--state", str(tmp_path)], capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin", "PYTHONPATH": str(tokens.DATA.parents[1])}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    for name in ("clients", "public_base_url", "allowed_hosts", "behind_tls_proxy"):
        assert f"{name}: " in done.stderr


# clients.toml

WHOLE = {
    "name": '"ehr"', "issuer": '"https://ehr.example.org"', "keys": '"https://ehr.example.org/jwks.json"',
    "services": '["case-labs"]',
}  # fmt: skip


def write(tmp_path, more="", **changes):
    given = {key: value for key, value in (WHOLE | changes).items() if value}
    file = tmp_path / "clients.toml"
    file.write_text("[[client]]\n" + "".join(f"{key} = {value}\n" for key, value in given.items()) + more)
    return file


@pytest.mark.sec("SEC-003", "SEC-007", "SEC-008", "SEC-014", "SEC-018")
@pytest.mark.parametrize(
    ("changes", "at"),
    [
        pytest.param({}, [], id="all is well"),
        pytest.param({"keys": '"https://ehr.example.org:8443/a/b?c"'}, [], id="a port and a query"),
        pytest.param({"keys": ""}, ["keys"], id="no keys"),
        pytest.param({"keys": '"http://ehr.example.org/jwks.json"'}, ["keys"], id="keys over http"),
        pytest.param({"keys": '"http://127.0.0.1/jwks.json"'}, ["keys"], id="keys over http on this machine"),
        pytest.param({"keys": '"file:///etc/passwd"'}, ["keys"], id="keys from another kind of address"),
        pytest.param({"keys": '"https://u:p@ehr.example.org/"'}, ["keys"], id="keys with a user"),
        pytest.param({"keys": '"https://"'}, ["keys"], id="keys from nowhere"),
        pytest.param({"keys": '"none.json"'}, ["keys"], id="a key file that is not there"),
        pytest.param({"algorithms": '["HS256"]'}, ["algorithms"], id="HMAC"),
        pytest.param({"algorithms": '["none"]'}, ["algorithms"], id="none"),
        pytest.param({"algorithms": "[]"}, ["algorithms"], id="no algorithm"),
        pytest.param({"algorithms": '"ES384"'}, ["algorithms"], id="not a list"),
        pytest.param({"services": ""}, ["services"], id="nothing to call"),
        pytest.param({"services": "", "models": '["m"]'}, [], id="models only"),
        pytest.param({"max_token_life_s": "3600"}, [], id="an hour"),
        pytest.param({"max_token_life_s": "3601"}, ["max_token_life_s"], id="more than an hour"),
        pytest.param({"max_token_life_s": "true"}, ["max_token_life_s"], id="life no number"),
        pytest.param({"tenants": '["a b"]'}, ["tenants"], id="a tenant that no event could hold"),
        pytest.param({"tenants": "[]"}, ["tenants"], id="no tenant"),
        pytest.param({"tenants": '["a"]', "tenant": '"b"'}, ["tenant"], id="tenant and tenants"),
        pytest.param({"strict_aud": '"yes"'}, ["strict_aud"], id="neither true nor false"),
        pytest.param({"is_silent": '"false"'}, ["is_silent"], id="a text for a switch"),
        pytest.param({"issuer": "", "services": ""}, ["keys"], id="keys without an issuer"),
        pytest.param({"issuer": '"with space"'}, ["issuer"], id="an issuer with a space"),
        pytest.param({"name": '"a b"'}, ["name"], id="a name that no event could hold"),
        pytest.param({"typo": "1"}, ["typo"], id="an unknown key"),
        pytest.param({"algorithms": "1", "tenants": "1", "max_token_life_s": "0"}, ["algorithms", "tenants", "tenants", "max_token_life_s"], id="all at once"),
    ],
)  # fmt: skip
def test_a_client(changes, at, tmp_path):
    try:
        read_clients(write(tmp_path, **changes))
        found = []
    except SettingsError as error:
        found = [fault.where.rpartition("].")[2] for fault in error.faults]
    assert found == at


def test_every_key_and_quirk_has_its_line():
    page = (tokens.DATA.parents[1] / "docs/reference/clients.md").read_text(encoding="utf-8")
    for key in client._KEYS - {"orders", "prefetch", "prevalence", "quirks"}:
        assert f"| `{key}` |" in page
    for quirk in client._QUIRKS:
        assert f"`{quirk} = " in page
    for algorithm in ALGORITHMS:
        assert f"`{algorithm}`" in page


def test_clients_are_told_apart(tmp_path):
    file = write(tmp_path)
    file.write_text(file.read_text() * 2 + "[x]\n")
    with pytest.raises(SettingsError) as caught:
        read_clients(file)
    assert [fault.where.rpartition(" ")[2] for fault in caught.value.faults] == ["x", "client.name", "client.issuer"]


@pytest.mark.ch("CH-332")
@pytest.mark.sec("SEC-007")
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"issuer": f'"{SANDBOX}"'}, id="its issuer"),
        pytest.param({"issuer": f'"{SANDBOX.upper()}/"'}, id="its issuer in other case"),
        pytest.param({"issuer": '"sandbox.cds-hooks.org"'}, id="its host alone"),
        pytest.param({"keys": f'"{SANDBOX}/.well-known/jwks.json"'}, id="its keys under another issuer"),
        pytest.param({"keys": '"published.json"'}, id="its key in a file"),
    ],
)
def test_the_public_sandbox_is_no_client_of_production(changes, tmp_path):
    (tmp_path / "published.json").write_text(json.dumps({"keys": [PUBLISHED]}))
    file = write(tmp_path, **changes)
    with pytest.raises(SettingsError):
        read_clients(file)
    assert read_clients(file, lab=True)


@pytest.mark.ch("CH-319")
def test_a_key_set_in_a_file(tmp_path):
    (tmp_path / "keys.json").write_text(json.dumps(tokens.public(EC, RSA)))
    (known,) = read_clients(write(tmp_path, keys='"keys.json"'))
    assert known.identity is not None
    assert isinstance(known.identity.keys, KeySet)
    assert known.identity.jku is None


def test_a_service_that_is_not_served_is_named(started, tmp_path):
    with pytest.raises(SettingsError, match=r"ehr\.services: nothing-here is not served"):
        started(tokens.write_clients(tmp_path, services=("nothing-here",)))


@pytest.mark.parametrize(
    ("text", "mode", "what"),
    [("x" * 32, 0o400, None), ("x" * 31, 0o400, "32"), ("x" * 32, 0o644, "chmod"), ("x " * 32, 0o400, "space")],
)
def test_the_scrapers_secret(text, mode, what, started, tmp_path):
    file = tmp_path / "secret"
    file.write_text(text)
    file.chmod(mode)
    clients = tokens.write_clients(tmp_path)
    if what is None:
        assert started(clients, metrics_token_file=file).parts.trust.metrics_token == text.encode()
    else:
        with pytest.raises(SettingsError, match=what):
            started(clients, metrics_token_file=file)


# the operator


def settings_file(tmp_path, clients):
    file = tmp_path / "settings.toml"
    file.write_text(
        f'public_base_url = "{BASE}"\nallowed_hosts = ["cds.example.org"]\nbehind_tls_proxy = true\n'
        f'clients = "{clients}"\nstate = "{tmp_path / "state"}"\n'
    )
    return str(file)


@pytest.mark.ch("CH-330")
@pytest.mark.sec("SEC-017")
@pytest.mark.parametrize(
    ("make", "service", "says", "status"),
    [
        pytest.param(lambda: sign(tokens.real_claims()), "case-labs", "accepted for https://cds.example.org/cds-services/case-labs", 0, id="accepted"),
        pytest.param(lambda: sign(tokens.real_claims()), None, "aud: aud does not name the address", 1, id="for another address"),
        pytest.param(lambda: sign(tokens.real_claims("/cds-services")), None, "accepted", 0, id="for discovery"),
        pytest.param(lambda: token(iat=1, exp=300), "case-labs", "exp: exp is missing, not a number, or past", 1, id="expired"),
        pytest.param(lambda: sign(tokens.real_claims(), key=tokens.OTHER), "case-labs", "signature:", 1, id="forged"),
        pytest.param(lambda: "what", "case-labs", "malformed:", 1, id="no token"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", ["argument", "standard input"])
def test_the_operator_is_told_why(by, make, service, says, status, tmp_path):
    one = make()
    arguments = ["check", "--settings", settings_file(tmp_path, tokens.write_clients(tmp_path)), "--jwt"]
    arguments += [one if by == "argument" else "-", *(["--service", service] if service else [])]
    done = CliRunner().invoke(main, arguments, input=one)
    assert (done.exit_code, done.output.startswith(says)) == (status, True), done.output
    assert one not in done.output
    assert one.rpartition(".")[2] not in done.output or one == "what"
    assert not (tmp_path / "state").exists(), "explaining leaves no trace"


@pytest.mark.sec("SEC-016")
def test_a_dropped_key_is_refused_from_the_next_call_on(started, tmp_path):
    clients = tokens.write_clients(tmp_path)
    asker = started(clients)
    assert asker.call(token()).status_code == 200
    settings = settings_file(tmp_path, clients)
    for says in ("Dropped.", "It was dropped before."):
        done = CliRunner().invoke(main, ["keys", "drop", "https://ehr.example.org", "k1", "--settings", settings])
        assert (done.exit_code, done.output[: len(says)]) == (0, says)
    assert asker.call(token()).status_code == 401
    assert asker.refused("denied_key") == 1
    (tmp_path / "state" / "denied_keys.json").write_text("{")
    assert asker.call(token()).status_code == 503, "nobody is let in while it can't be read"
