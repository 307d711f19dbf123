"""Key sets: what may stand in one, how it is fetched from real servers that behave badly, how it is kept and rotated."""

import asyncio
import gzip
import json
import socket
import time

import httpx
import pytest
import respx
from joserfc.jwk import ECKey, OctKey, RSAKey

from cds_service.errors import SettingsError
from cds_service.outbound import jwks
from cds_service.outbound.jwks import BYTES_MAX, KeyRing, fetch_key_set, trusted_authorities
from cds_service.outbound.key_set import KeySetFault, is_signed_by, parse_strictly, read_key_set, unfold
from tests.auth import tokens
from tests.auth.key_server import KeyServer, make_certificate
from tests.auth.test_start import PUBLISHED
from tests.auth.tokens import EC, JKU, RSA, public, token

GOOD = public(EC, RSA)


def ec(**changes):
    return {name: value for name, value in (EC.as_dict(private=False) | changes).items() if value is not ...}


def rsa(**changes):
    return {name: value for name, value in (RSA.as_dict(private=False) | changes).items() if value is not ...}


def number(value):
    return tokens.fold(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


WEAK = (1 << 1023) + 155
HUGE = (1 << 8200) + 1


@pytest.mark.sec("SEC-003", "SEC-004")
@pytest.mark.parametrize(
    ("key", "reason"),
    [
        pytest.param(ec(), None, id="P-384"),
        pytest.param(ec(use="sig", key_ops=["verify"], alg="ES384"), None, id="with its use"),
        pytest.param(rsa(), None, id="RSA 2048"),
        pytest.param(ec(kid=...), "no_kid", id="no kid"),
        pytest.param(ec(kid=""), "no_kid", id="an empty kid"),
        pytest.param(ec(kid=1), "no_kid", id="kid a number"),
        pytest.param(ec(kid="k" * 257), "no_kid", id="kid too long"),
        pytest.param(ec(use="enc"), "not_for_signatures", id="for encryption"),
        pytest.param(ec(key_ops=["sign"]), "not_for_signatures", id="for signing only"),
        pytest.param(ec(key_ops="verify"), "not_for_signatures", id="key_ops no list"),
        pytest.param(ec(alg="RS384"), "algorithm", id="an algorithm of another type"),
        pytest.param(ec(alg="ES256"), "curve", id="an algorithm of another curve"),
        pytest.param(ec(alg="HS256"), "algorithm", id="a symmetric algorithm"),
        pytest.param(ec(alg=1), "algorithm", id="alg a number"),
        pytest.param(ec(crv="secp256k1"), "curve", id="another curve"),
        pytest.param(ec(crv="P-256"), "damaged", id="coordinates of another curve"),
        pytest.param(ec(x=number(5)), "damaged", id="a point that is not on the curve"),
        pytest.param(ec(y=...), "damaged", id="half a point"),
        pytest.param(rsa(n=number(WEAK)), "key_length", id="RSA 1024"),
        pytest.param(rsa(n=number(HUGE)), "key_length", id="RSA of more than 8192 bits"),
        pytest.param(rsa(e=number(3)), "exponent", id="exponent 3"),
        pytest.param(rsa(e=number(65536)), "exponent", id="an even exponent"),
        pytest.param(rsa(e=number(2**40 + 1)), "exponent", id="a huge exponent"),
        pytest.param(rsa(n="??"), "damaged", id="n no base64url"),
        pytest.param(rsa(n=...), "damaged", id="no n"),
        pytest.param(RSA.as_dict(private=True), "private", id="a private RSA key"),
        pytest.param(EC.as_dict(private=True), "private", id="a private EC key"),
        pytest.param(OctKey.generate_key(256, {"kid": "k1"}).as_dict(private=True), "key_type", id="a secret"),
        pytest.param(PUBLISHED, "published", id="the public sandbox's key", marks=pytest.mark.ch("CH-332")),
        pytest.param("x", "not_an_object", id="no object"),
    ],
)
def test_a_key(key, reason):
    other = ECKey.generate_key("P-384", {"kid": "other"}).as_dict(private=False)
    keys = read_key_set(json.dumps({"keys": [other, key]}).encode())
    assert list(keys.left_out) == ([] if reason is None else [("keys[1]", reason)])
    assert len(keys.keys) == (2 if reason is None else 1)


@pytest.mark.ch("CH-316")
@pytest.mark.sec("SEC-003", "SEC-004")
def test_a_kid_is_of_one_key_of_its_type():
    both = read_key_set(json.dumps(public(EC, RSA)).encode())
    assert both.find("k1", "EC") is not None
    assert both.find("k1", "RSA") is not None
    twice = read_key_set(json.dumps(public(EC, tokens.OTHER, RSA)).encode())
    assert twice.find("k1", "EC") is None
    assert twice.left_out == (("keys[1]", "kid_twice"),)
    key = both.find("k1", "EC")
    assert [key.fits(alg) for alg in ("ES384", "ES256", "RS384", "none", "HS384")] == [True, False, False, False, False]


@pytest.mark.sec("SEC-014")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"), (b"<html>", "not_json"), (b"\xff", "not_json"), (b'{"keys": NaN}', "not_json"),
        (b'{"keys": [], "keys": []}', "not_json"), (b"[" * 100_000, "not_json"), (b"[]", "not_a_key_set"),
        (b'{"keys": {}}', "not_a_key_set"), (b'{"keys": []}', "no_usable_key"),
        (json.dumps({"keys": [ec()] * 101}).encode(), "too_many_keys"), (b" " * (BYTES_MAX + 1), "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:20].decode("latin-1"),
)  # fmt: skip
def test_no_key_set(body, reason):
    with pytest.raises(KeySetFault) as caught:
        read_key_set(body)
    assert caught.value.reason == reason


def test_small_parts_refuse_what_is_none():
    for text in ("a", "a=", "a b", "\u3042\u3042", 5, None):
        with pytest.raises(ValueError, match="base64url"):
            unfold(text)
    with pytest.raises(ValueError, match="deeply"):
        parse_strictly(b"[" * 100_000)
    key = read_key_set(json.dumps(public(EC)).encode()).find("k1", "EC")
    assert not is_signed_by(key, "ES384", b"x", b"")


# fetching, from real servers


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(certificate):
    with KeyServer(certificate[0]) as running:
        running.reply = GOOD
        yield running


def fetch(url, certificate=None, **more):
    authorities = trusted_authorities(certificate and certificate[1])
    return asyncio.run(fetch_key_set(url, authorities=authorities, **more))


@pytest.mark.sec("SEC-014")
@pytest.mark.ch("CH-331")
def test_a_set_over_https_with_the_hospitals_own_authority(server, certificate, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    fetched = fetch(server.url, certificate)
    assert len(fetched.keys.keys) == 2
    assert fetched.fresh_s == 600
    with pytest.raises(KeySetFault) as caught:
        fetch(server.url)
    assert caught.value.reason == "unreachable", "an authority that nobody declared is not believed"


async def drip(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(100):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.1)


async def flood(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(1000):
        writer.write(b" " * 1_000_000)
        await writer.drain()


async def hang(_):
    await asyncio.sleep(60)


@pytest.mark.fault("F55")
@pytest.mark.sec("SEC-014")
@pytest.mark.ch("CH-331")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"status": "302 Found", "headers": "Location: https://127.0.0.1/x\r\n"}, "redirect", id="redirects"),
        pytest.param({"status": "404 Not Found"}, "status", id="404"),
        pytest.param({"status": "500 Oops"}, "status", id="500"),
        pytest.param({"headers": "Content-Type: text/html\r\n"}, "not_json", id="HTML"),
        pytest.param({"headers": ""}, "not_json", id="no type"),
        pytest.param({"reply": {"keys": []}}, "no_usable_key", id="0 keys"),
        pytest.param({"reply": {"keys": [{"kty": "x"}] * 10_000}}, "too_many_keys", id="10 000 keys"),
        pytest.param({"reply": flood}, "too_large", id="a gigabyte"),
        pytest.param({"reply": drip}, "timeout", id="drips"),
        pytest.param({"reply": hang}, "timeout", id="hangs"),
        pytest.param(
            {"reply": gzip.compress(json.dumps(GOOD).encode()), "headers": "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"},
            "encoded", id="gzip",
        ),
    ],
)  # fmt: skip
def test_an_address_that_behaves_badly(change, reason, server, certificate):
    for name, value in change.items():
        setattr(server, name, value)
    began = time.monotonic()
    with pytest.raises(KeySetFault) as caught:
        fetch(server.url, certificate)
    assert caught.value.reason == reason
    assert time.monotonic() - began < jwks.TOTAL_S + 1
    assert server.asked == 1


@pytest.mark.sec("SEC-014")
def test_an_address_where_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(KeySetFault) as caught:
        fetch(f"https://127.0.0.1:{port}/")
    assert caught.value.reason == "unreachable"


@pytest.mark.sec("SEC-015")
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 600), ("max-age=1", 60), ("max-age=900", 900), ("public, max-age=99999", 3600), ("no-store", 60),
        ("max-age=x", 600), ("max-age=" + "9" * 30, 600), ("MAX-AGE=120", 120),
    ],
)  # fmt: skip
def test_how_long_a_set_is_fresh(header, seconds, server, certificate):
    server.headers += f"Cache-Control: {header}\r\n" if header else ""
    assert fetch(server.url, certificate).fresh_s == seconds


def test_a_file_that_is_no_authority(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("x")
    with pytest.raises(SettingsError, match="keys_ca_file"):
        trusted_authorities(file)


# keeping


class Ring:
    """A ring whose clock and address the test holds."""

    def __init__(self):
        self.now = 1000.0
        self.failures = []
        self.ring = KeyRing(
            "ehr", JKU, authorities=trusted_authorities(), clock=lambda: self.now, failed=self.failures.append
        )

    async def find(self, kid="k1", kty="EC"):
        return self.ring.known(kid, kty) or await self.ring.find(kid, kty)


@pytest.fixture
def address():
    with respx.mock(assert_all_called=False) as network:
        yield network.get(JKU).mock(return_value=httpx.Response(200, json=GOOD))


def answer(*keys):
    return httpx.Response(200, json=public(*keys))


@pytest.mark.sec("SEC-015")
@pytest.mark.ch("CH-331")
def test_ten_thousand_unknown_kids_cost_one_fetch(address):
    async def go():
        ring = Ring()
        assert await ring.find() is not None
        ring.now += 31
        found = await asyncio.gather(*(ring.find(f"random-{n}") for n in range(5_000)))
        found += [await ring.find(f"random-{n}") for n in range(5_000, 10_000)]
        assert found == [None] * 10_000
        assert address.call_count == 2
        ring.now += 31
        assert await ring.find("random") is None
        assert address.call_count == 3

    asyncio.run(go())


@pytest.mark.sec("SEC-015")
def test_many_at_once_share_the_first_fetch(address):
    async def go():
        ring = Ring()
        assert None not in await asyncio.gather(*(ring.find() for _ in range(200)))
        assert address.call_count == 1

    asyncio.run(go())


@pytest.mark.sec("SEC-015")
def test_a_set_is_fetched_anew_before_it_ends_and_nobody_waits(address):
    async def go():
        ring = Ring()
        await ring.find()
        ring.now += 479
        await ring.find()
        assert address.call_count == 1
        ring.now += 2
        assert await ring.find() is not None
        await asyncio.sleep(0.05)
        assert address.call_count == 2
        assert ring.ring.age_s == 0

    asyncio.run(go())


@pytest.mark.fault("F55")
@pytest.mark.sec("SEC-016")
@pytest.mark.ch("CH-331")
def test_an_outage_is_outlived_for_a_day(address):
    async def go():
        ring = Ring()
        await ring.find()
        address.mock(side_effect=httpx.ConnectError("gone"))
        for _ in range(4):
            ring.now += 6 * 3600 - 1
            assert await ring.find() is not None
        assert ring.failures == ["unreachable"] * 4
        for _ in range(100):
            assert await ring.find() is not None
        assert len(ring.failures) == 4, "between two tries there are 30 s"
        ring.now += 5
        assert await ring.find() is None
        ring.now += 31
        address.mock(return_value=answer(EC))
        assert await ring.find() is not None

    asyncio.run(go())


@pytest.mark.fault("F55")
@pytest.mark.sec("SEC-016")
@pytest.mark.ch("CH-316", "CH-318")
def test_a_rotation_loses_no_call(address):
    """The EHR adds a key, signs with it, drops the old one: each token finds its key while it may."""
    new = ECKey.generate_key("P-384", {"kid": "k2"})

    async def go():
        ring = Ring()
        await ring.find()
        address.mock(return_value=answer(EC, new))
        assert await ring.find("k2") is None, "31 s after the last fetch for a call at the latest"
        ring.now += 31
        assert await ring.find("k2") is not None
        assert await ring.find("k1") is not None
        address.mock(return_value=answer(new))
        ring.now += 601
        assert await ring.find("k2") is not None
        assert await ring.find("k1") is None

    asyncio.run(go())


def test_a_caller_that_goes_away_does_not_end_the_fetch(address):
    async def go():
        ring = Ring()
        began = asyncio.Event()

        async def slow(_):
            began.set()
            await asyncio.sleep(0.1)
            return answer(EC)

        address.mock(side_effect=slow)
        first, second = asyncio.create_task(ring.find()), asyncio.create_task(ring.find())
        await began.wait()
        first.cancel()
        assert await second is not None
        assert address.call_count == 1

    asyncio.run(go())


@pytest.mark.sec("SEC-015")
def test_the_process_fetches_at_its_start_and_goes_on(address, monkeypatch):
    async def go():
        ring = Ring()
        real = asyncio.sleep
        waits = []

        async def sleep(seconds):
            waits.append(seconds)
            ring.now += seconds
            await real(0)

        monkeypatch.setattr(jwks.asyncio, "sleep", sleep)
        task = asyncio.create_task(ring.ring.keep_fresh())
        while len(waits) < 4:
            await real(0.001)
        address.mock(side_effect=httpx.ConnectError("gone"))
        while len(ring.failures) < 2:
            await real(0.001)
        task.cancel()
        assert waits[:3] == [480.0] * 3
        assert waits[-1] == 30.0

    asyncio.run(go())


# no address of a token


@pytest.mark.sec("SEC-008")
@pytest.mark.ch("CH-318", "CH-320")
def test_no_socket_opens_for_what_a_token_says(started, tmp_path):
    file = tokens.write_clients(tmp_path)
    file.write_text(file.read_text().replace('"ehr.json"', f'"{JKU}"').replace(f'jku = "{JKU}"\n', ""))
    asker = started(file)
    with respx.mock(assert_all_called=False) as network:
        agreed = network.get(JKU).mock(return_value=answer(EC))
        evil = network.get(host="evil.example").mock(return_value=answer(tokens.OTHER))
        for head in ({"jku": "https://evil.example/jwks.json"}, {"x5u": "https://evil.example/x"}):
            assert asker.call(token(head=head, key=tokens.OTHER)).status_code == 401
        assert asker.call(token(iss="https://evil.example")).status_code == 401
        assert (evil.called, agreed.called) == (False, False)
        assert asker.call(token(head={"jku": JKU})).status_code == 200
        assert asker.call(token()).status_code == 200
        assert (evil.called, agreed.call_count) == (False, 1)


@pytest.mark.sec("SEC-014", "SEC-016")
def test_a_lab_fetches_from_this_machine_and_an_outage_is_a_401(started, tmp_path):
    with KeyServer() as plain:
        plain.reply = public(EC)
        file = tokens.write_clients(tmp_path, jku=False)
        file.write_text(file.read_text().replace('"ehr.json"', f'"{plain.url}"'))
        with pytest.raises(SettingsError, match="https only"):
            started(file)
        asker = started(file, lab=True)
        assert asker.call(token()).status_code == 200
    other = started(file, lab=True, state=tmp_path / "other")
    assert other.call(token()).status_code == 401
    assert 'cds_key_set_failures_total{client="ehr",reason="unreachable"} 1' in other.parts.registry.text()


def test_rsa_keys_of_common_lengths_verify():
    for bits in (2048, 3072, 4096):
        key = RSAKey.generate_key(bits, {"kid": str(bits)})
        read = read_key_set(json.dumps(public(key)).encode()).find(str(bits), "RSA")
        assert read is not None
        assert read.fits("PS512")
