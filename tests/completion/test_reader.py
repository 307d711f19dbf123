"""The reader of FHIR servers against one that misbehaves: every bound ends in a word, never in a hang or a second socket."""

import asyncio
import json
import ssl

import pytest

from cds_service.outbound.addresses import ForbiddenAddress, is_forbidden, resolve_safely
from cds_service.outbound.fhir import FAILURES_MAX, PAGES_MAX, Ask, FHIRReader
from tests.completion.toxic import Toxic, bundle, observation, patient

READ, SEARCH = Ask("Patient/p1", None), Ask("Observation", "patient=p1&code=http://loinc.org|4548-4")
OK = {"content-type": "application/fhir+json"}


def ask(toxic, one, *, left_s=1.5, token="secret", times=1, clock=None, loopback=True, first=None):
    async def asked():
        async with toxic:
            reader = FHIRReader(ssl.create_default_context(), **({"clock": clock} if clock else {}))
            try:
                return [
                    await reader.ask(
                        toxic.base,
                        one,
                        tenant="t",
                        token=token,
                        private=False,
                        loopback=loopback,
                        left_s=left_s,
                        first=first,
                    )
                    for _ in range(times)
                ]
            finally:
                await reader.close()

    return asyncio.run(asked())


@pytest.mark.ch("CH-146", "CH-147")
@pytest.mark.sec("SEC-034")
def test_a_read_and_a_search_carry_the_token_and_nothing_else_of_it():
    toxic = Toxic({"Patient/p1": patient(), "Observation": bundle(observation("o1"))})
    (gave,) = ask(toxic, READ)
    assert gave.content.resources[0].resource.id == "p1"
    (gave,) = ask(toxic, SEARCH)
    assert (gave.content.entries, gave.reason, gave.requests) == (1, None, 1)
    assert [headers["authorization"] for *_, headers, _ in toxic.seen] == ["bearer secret"] * 2
    assert toxic.seen[1][2] == {"patient": ["p1"], "code": ["http://loinc.org|4548-4"]}


@pytest.mark.ch("CH-147")
def test_an_open_server_is_sent_no_header():
    toxic = Toxic({"Patient/p1": patient()})
    ask(toxic, READ, token=None)
    assert "authorization" not in toxic.seen[0][3]


def test_a_search_can_go_as_post_and_a_long_one_always_does():
    toxic = Toxic({"Observation": bundle()})
    ask(toxic, SEARCH._replace(post=True))
    ask(toxic, Ask("Observation", "patient=p1&code=" + "a" * 2_000))
    assert [(method, path) for method, path, *_ in toxic.seen] == [("POST", "/fhir/Observation/_search")] * 2
    assert toxic.seen[0][2]["patient"] == ["p1"]


@pytest.mark.ch("CH-106")
@pytest.mark.sec("SEC-033")
def test_pages_are_followed_and_put_together():
    toxic = Toxic()

    async def asked():
        async with toxic:
            toxic.answers = {
                ("Observation", ""): bundle(observation("o1"), following=f"{toxic.base}/Observation?page=2"),
                ("Observation", "2"): bundle(observation("o2"), following="Observation?page=3"),
                ("Observation", "3"): bundle(observation("o3")),
            }
            reader = FHIRReader(ssl.create_default_context())
            gave = await reader.ask(
                toxic.base, SEARCH, tenant="t", token=None, private=False, loopback=True, left_s=2.0
            )
            await reader.close()
            return gave

    gave = asyncio.run(asked())
    assert [entry.resource.id for entry in gave.content.resources] == ["o1", "o2", "o3"]
    assert (gave.content.has_next, gave.requests) == (False, 3)


@pytest.mark.fault("F52")
@pytest.mark.sec("SEC-033")
def test_endless_pages_end_and_the_answer_says_that_one_follows():
    toxic = Toxic({"Observation": bundle(observation("o1"), following="Observation?page=again")})
    (gave,) = ask(toxic, SEARCH)
    assert gave.requests == PAGES_MAX
    assert gave.content.has_next


@pytest.mark.ch("CH-107")
@pytest.mark.fault("F52")
@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/fhir/Observation?page=2", "https://127.0.0.1/fhir/Observation?page=2", "//evil.example/x?page=2",
        "../admin?page=2", "http://user@127.0.0.1/fhir/Observation?page=2", "/other/Observation?page=2",
        "file:///etc/passwd", "Observation/%2e%2e/%2e%2e/x?page=2", "http://[::1/x", "http://127.0.0.1:1/fhir/Observation?page=2",
    ],
)  # fmt: skip
def test_a_next_link_to_elsewhere_opens_no_socket(url):
    toxic = Toxic({"Observation": bundle(observation("o1"), following=url)})
    (gave,) = ask(toxic, SEARCH)
    assert len(toxic.seen) == 1
    assert gave.content.has_next


async def drip(writer):
    writer.write(b"HTTP/1.1 200 x\r\ncontent-type: application/fhir+json\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(1000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def stall(writer):
    await asyncio.sleep(30)


async def cut(writer):
    writer.write(b"HTTP/1.1 200 x\r\ncontent-type: application/fhir+json\r\ncontent-length: 1000\r\n\r\n{")
    await writer.drain()
    writer.close()


async def too_much(writer):
    writer.write(b"HTTP/1.1 200 x\r\ncontent-type: application/fhir+json\r\n\r\n")
    try:
        for _ in range(200):
            writer.write(b" " * 65_536)
            await writer.drain()
    except ConnectionError:
        return


async def gibberish(writer):
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.mark.fault("F50", "F51", "F52")
@pytest.mark.sec("SEC-031", "SEC-033")
@pytest.mark.ch("CH-151")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (drip, "timeout"), (stall, "timeout"), (cut, "unreachable"), (too_much, "too_large"), (gibberish, "unreachable"),
        ((301, {"location": "http://127.0.0.1:1/"}, b""), "redirect"), ((307, {"location": "/fhir/x"}, b""), "redirect"),
        ((401, {}, b"{}"), "refused"), ((403, {}, b"{}"), "refused"), ((404, {}, b"{}"), "status"),
        ((429, {"retry-after": "1"}, b"{}"), "status"), ((500, {}, b"<html>"), "status"), ((204, {}, b""), "status"),
        ((200, {"content-type": "text/html"}, b"<html>"), "not_json"), ((200, {"content-type": ""}, b"{}"), "not_json"),
        ((200, {**OK, "content-encoding": "gzip"}, b"x"), "encoded"),
    ],
)  # fmt: skip
def test_what_is_no_answer_ends_in_a_word(answer, reason):
    toxic = Toxic({"Observation": answer})
    (gave,) = ask(toxic, SEARCH, left_s=0.6)
    assert (gave.content, gave.reason) == (None, reason)


@pytest.mark.ch("CH-151")
def test_not_found_on_a_read_is_an_answer_without_a_resource():
    (gave,) = ask(Toxic(), READ)
    assert (gave.content.entries, gave.content.failure, gave.reason) == (0, None, None)


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b'{"resourceType": "List"}'])
def test_json_that_is_no_fhir_is_a_failure_of_the_key(body):
    (gave,) = ask(Toxic({"Observation": (200, {}, body)}), SEARCH)
    assert gave.content.failure in ("not_fhir", "wrong_type")


def test_a_server_that_fails_is_left_alone_for_a_while():
    now = [0.0]
    toxic = Toxic({"Observation": (500, {}, b"")})
    gave = ask(toxic, SEARCH, times=FAILURES_MAX + 2, clock=lambda: now[0])
    assert [one.reason for one in gave] == ["status"] * FAILURES_MAX + ["resting"] * 2
    assert len(toxic.seen) == FAILURES_MAX


@pytest.mark.sec("SEC-032")
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "::1", "0.0.0.0", "::", "169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "224.0.0.1",
        "ff02::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "100.100.100.200",
        "255.255.255.255", "240.0.0.1", "192.0.2.1", "not an address", "",
    ],
)  # fmt: skip
def test_nobody_is_sent_there_even_in_a_private_network(address):
    assert is_forbidden(address, private=True, loopback=False)


@pytest.mark.sec("SEC-032")
@pytest.mark.parametrize("address", ["10.1.2.3", "172.16.0.1", "192.168.1.1", "fd12:3456::1"])
def test_a_private_network_only_where_it_was_agreed(address):
    assert is_forbidden(address, private=False, loopback=False)
    assert not is_forbidden(address, private=True, loopback=False)


@pytest.mark.sec("SEC-032")
@pytest.mark.fault("F53")
@pytest.mark.parametrize(
    "found",
    [["8.8.8.8", "127.0.0.1"], ["10.0.0.1"], [], [f"8.8.8.{n}" for n in range(50)], ["8.8.8.8", "fd00:ec2::254"]],
)
def test_one_bad_address_refuses_the_name(found):
    async def fake(host, port):
        return found

    with pytest.raises(ForbiddenAddress):
        asyncio.run(resolve_safely("ehr.example.org", 443, private=False, loopback=False, resolve=fake))


@pytest.mark.sec("SEC-032")
@pytest.mark.fault("F53")
def test_a_name_that_turns_to_this_machine_opens_no_socket():
    """Rebinding: the address that was judged is the one that is used, and it is judged at every query."""
    toxic = Toxic({"Patient/p1": patient()})
    answers = iter([["127.0.0.1"]])

    async def turning(host, port):
        return next(answers)

    async def asked():
        async with toxic:
            reader = FHIRReader(ssl.create_default_context(), resolve=turning)
            base = f"http://ehr.example.org:{toxic.port}/fhir"
            gave = await reader.ask(base, READ, tenant="t", token="x", private=True, loopback=False, left_s=1.0)
            await reader.close()
            return gave

    gave = asyncio.run(asked())
    assert (gave.reason, gave.requests, toxic.seen) == ("forbidden_address", 0, [])


@pytest.mark.fault("F53")
def test_a_name_that_is_none_is_unreachable():
    async def asked():
        async def none(host, port):
            raise OSError(-2, "Name or service not known")

        reader = FHIRReader(ssl.create_default_context(), resolve=none)
        return await reader.ask(
            "https://none.example:443/fhir", READ, tenant="t", token="x", private=False, loopback=False, left_s=1.0
        )

    gave = asyncio.run(asked())
    assert (gave.content, gave.reason) == (None, "unreachable")


def test_what_the_tests_send_is_what_a_server_would(tmp_path):
    assert json.loads(json.dumps(bundle(observation("o"))))["entry"][0]["resource"]["id"] == "o"
