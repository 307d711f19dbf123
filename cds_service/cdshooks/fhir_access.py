"""Whether and where a client's own FHIR server may be asked (``clients.toml``), and what an address must look like.

A FHIR server is asked only if its base equals one of the client's list after both have their normal form (SEC-030,
CH-152): an address in a request is otherwise a way into the hospital's network.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from cds_service.cdshooks.identity import switch, texts
from cds_service.cdshooks.prefetch_lint import lint_query
from cds_service.errors import Fault

__all__ = ["ACCESS_KEYS", "FHIRAccess", "normal_base", "read_access"]

ACCESS_KEYS: Final = frozenset({
    "fhir_servers", "fhir_private_network", "fhir_open", "fhir_client_id", "fhir_post_search", "budget_ms", "prefetch",
})  # fmt: skip
_PORTS: Final = {"https": 443, "http": 80}
_HOST: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*|\[[0-9a-f:]{2,45}\]")
_NUMBERS: Final = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}")
"""What libraries read as an IPv4 address in one of its odd spellings; only the usual one is allowed."""
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*")
_LONGEST: Final = 2048
_DO: Final = "See docs/reference/clients.md"


@dataclass(frozen=True, slots=True)
class FHIRAccess:
    """What of a client's FHIR server may be used."""

    servers: tuple[str, ...] = ()
    """Bases in their normal form."""
    any_loopback: bool = False
    """Development: any server on this machine, as the sandbox's is."""
    is_private: bool = False
    """Whether its addresses may lie in a private network."""
    is_open: bool = False
    """Whether it may be asked without a token (CH-147): a test rig."""
    client_id: str | None = None
    """What ``fhirAuthorization.subject`` must say; None: anything (CH-144)."""
    post_search: bool = False
    """Searches go as POST ``_search``, so that no query stands in the server's own logs."""
    budget_ms: int = 800
    """The most that completing one call may take."""
    queries: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Service → key → this client's own query."""

    def base_of(self, server: str) -> str | None:
        """The normal form of a request's ``fhirServer``, if it may be asked."""
        base = normal_base(server)
        if base is None:
            return None
        if base in self.servers or (self.any_loopback and _is_loopback(base)):
            return base
        return None

    def may_be_this_machine(self, base: str) -> bool:
        """Whether a base that may be asked is one on this machine: the sandbox's, or a lab's."""
        return _is_loopback(base) and (self.any_loopback or base in self.servers)


def normal_base(url: str) -> str | None:
    """Write a FHIR base in the one form in which two are compared; None for what is no plain base.

    Scheme and host in lower case, the port always there, no trailing slash. Refused: user names, queries, fragments,
    dots and percent signs that could mean another path, addresses in odd spellings.

    >>> normal_base("HTTPS://Ehr.Example.org/fhir/")
    'https://ehr.example.org:443/fhir'
    >>> normal_base("https://ehr.example.org@evil.example/fhir")
    """
    if not url.isascii() or len(url) > _LONGEST or any(c <= " " or c in "\\\x7f" for c in url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()
    if scheme not in _PORTS or "@" in parts.netloc or "?" in url or "#" in url:
        return None
    name, colon, digits = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    host = name if colon else host
    if (colon and not digits) or not _HOST.fullmatch(host) or not _is_usual(host):
        return None
    path = parts.path.rstrip("/")
    if not _PATH.fullmatch(path) or any(segment in (".", "..") for segment in path.split("/")):
        return None
    return f"{scheme}://{host}:{port if port is not None else _PORTS[scheme]}{path}"


def read_access(document: Mapping[str, Any], where: str, faults: list[Fault], *, lab: bool) -> FHIRAccess | None:
    """Read the part of a ``[[client]]`` table that says how its FHIR server may be used.

    Args:
        document: The parsed table.
        where: File and table, for the faults.
        faults: Gets everything that is wrong.
        lab: Also take ``http`` on this machine.

    Returns:
        None where the client has no list: then nothing is ever fetched.
    """
    written = texts(document.get("fhir_servers", []), f"{where}.fhir_servers", faults)
    if not written:
        faults += [
            Fault(f"{where}.{key}", "without fhir_servers it means nothing", "Add fhir_servers")
            for key in sorted((ACCESS_KEYS - {"fhir_servers"}) & set(document))
        ]
        return None
    servers = []
    for url in written:
        base = normal_base(url)
        if base is None:
            faults.append(Fault(f"{where}.fhir_servers", "not a plain base URL", "Write https://host/path"))
        elif base.startswith("http:") and not (lab and _is_loopback(base)):
            faults.append(Fault(f"{where}.fhir_servers", "not https: charts would travel in the clear", "Use https"))
        else:
            servers.append(base)
    client_id = document.get("fhir_client_id")
    if client_id is not None and (not isinstance(client_id, str) or not client_id):
        faults.append(Fault(f"{where}.fhir_client_id", "not a text", "Write the OAuth client id of this service"))
        client_id = None
    budget = document.get("budget_ms", 800)
    if not isinstance(budget, int) or isinstance(budget, bool) or not 50 <= budget <= 10_000:
        faults.append(Fault(f"{where}.budget_ms", "not between 50 and 10000", "Write milliseconds, such as 800"))
        budget = 800
    return FHIRAccess(
        servers=tuple(servers),
        any_loopback=False,
        is_private=switch(document, "fhir_private_network", where, faults),
        is_open=switch(document, "fhir_open", where, faults),
        client_id=client_id,
        post_search=switch(document, "fhir_post_search", where, faults),
        budget_ms=budget,
        queries=_queries(document.get("prefetch", {}), f"{where}.prefetch", faults),
    )


def _queries(document: object, where: str, faults: list[Fault]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    if not isinstance(document, dict) or not all(isinstance(keys, dict) for keys in document.values()):
        faults.append(Fault(where, "not tables of queries", 'Write [client.prefetch."service-id"]'))
        return found
    for service, keys in document.items():
        for key, query in keys.items():
            place = f"{where}.{service}.{key}"
            if not isinstance(query, str):
                faults.append(Fault(place, "not a query", _DO))
                continue
            remarks = lint_query(query, "patient-view", for_client=True)
            faults += [Fault(place, one.what, one.do) for one in remarks if one.level == "error"]
            found.setdefault(service, {})[key] = query
    return found


def _is_usual(host: str) -> bool:
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return False
        return True
    if _NUMBERS.fullmatch(host):
        try:
            return str(ipaddress.IPv4Address(host)) == host
        except ValueError:
            return False
    return True


def _is_loopback(base: str) -> bool:
    host = urlsplit(base).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
