"""Whose certificate is believed: the right name, signed by whom we trust, and no old TLS (F54)."""

import asyncio
import json
import ssl

import pytest

from cds_service.outbound.fhir import Ask, FHIRReader
from tests.auth.key_server import make_certificate
from tests.completion.toxic import patient


async def asked(server_context, authorities, name="127.0.0.1"):
    body = json.dumps(patient()).encode()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            f"HTTP/1.1 200 x\r\ncontent-type: application/fhir+json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
    port = server.sockets[0].getsockname()[1]

    async def here(host, _):
        return ["127.0.0.1"]

    reader = FHIRReader(authorities, resolve=here)
    gave = await reader.ask(
        f"https://{name}:{port}/fhir", Ask("Patient/p1", None), tenant="t", token="x", private=False, loopback=True,
        left_s=2.0,
    )  # fmt: skip
    await reader.close()
    server.close()
    return gave


@pytest.fixture
def contexts(tmp_path):
    certificate, authority = make_certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    return server, ssl.create_default_context(cafile=authority)


@pytest.mark.sec("SEC-031")
def test_a_certificate_of_the_hospitals_own_authority_is_believed(contexts):
    server, trusting = contexts
    gave = asyncio.run(asked(server, trusting))
    assert (gave.reason, gave.content.entries) == (None, 1)


@pytest.mark.fault("F54")
@pytest.mark.sec("SEC-031")
def test_a_certificate_of_nobody_we_trust_is_not(contexts):
    server, _ = contexts
    assert asyncio.run(asked(server, ssl.create_default_context())).reason == "unreachable"


@pytest.mark.fault("F54")
@pytest.mark.sec("SEC-031", "SEC-032")
def test_a_certificate_for_another_name_is_not(contexts):
    """The connection goes to the judged address, and the certificate must still be the name's."""
    server, trusting = contexts
    assert asyncio.run(asked(server, trusting, name="ehr.example.org")).reason == "unreachable"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.fault("F54")
@pytest.mark.sec("SEC-031")
def test_old_tls_is_not_spoken(contexts):
    server, trusting = contexts
    server.set_ciphers("ALL:@SECLEVEL=0")
    server.minimum_version = ssl.TLSVersion.TLSv1
    server.maximum_version = ssl.TLSVersion.TLSv1_1
    assert asyncio.run(asked(server, trusting)).reason == "unreachable"
