"""What the operator decides: ``settings.toml`` or ``CDS_*``; read by the apps and the command line alone."""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cds_service.errors import Fault, SettingsError

__all__ = ["Settings", "read_settings", "shipped"]

AUTH_OFF = "off-for-development"


def shipped(name: str) -> Path:
    """Where a folder of the project lies: in the checkout when there is one, else inside the installed package."""
    package = Path(__file__).parent
    checkout = package.parent / name
    return checkout if (package.parent / "pyproject.toml").is_file() else package / "_shipped" / name


class Settings(BaseModel):
    """Everything that can be set, with defaults that are safe for patients."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    auth: Literal["jwt", "off-for-development"] = "jwt"
    public_base_url: str | None = None
    """The URL under which clients call us, from which audiences are built; None: as bound, in development only."""
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    state: Path = Path("var")
    """Everything that changes at run time: the event store, keys."""
    hooks: Path = Field(default_factory=lambda: shipped("hooks"))
    assets: Path = Field(default_factory=lambda: shipped("model_assets"))
    clients: Path | None = None
    """``clients.toml``; production needs it."""
    behind_tls_proxy: bool = False
    """Declares that what reaches ``host`` comes from a gateway of ours that ends TLS (CH-007)."""
    tls_certificate: Path | None = None
    """With ``tls_key``: this process ends TLS itself."""
    tls_key: Path | None = None
    keys_ca_file: Path | None = None
    """Further certificate authorities, PEM, for the addresses of key sets: the hospital's own."""
    metrics_token_file: Path | None = None
    """What a scraper sends as its bearer token; without it production answers ``/metrics`` to nobody."""
    lab: bool = False
    """A test bench: key sets over http from this machine, the public sandbox's issuer; loopback addresses only."""
    deadline_ms: int = Field(2000, ge=50, le=30_000)
    events_required: bool = True
    """No card without its event on disk (F10)."""
    pseudonym_key_file: Path | None = None
    """None: made once under ``state``."""
    audit_key_file: Path | None = None
    """What signs the heads of the audit log; None: made once under ``state``."""
    keep_events_days: int = Field(400, ge=31, le=3650)
    keep_audit_days: int = Field(2192, ge=365, le=36500)
    backup_folder: Path | None = None
    """Where backups go: on another disk."""
    backup_key_file: Path | None = None
    """What seals backups; kept elsewhere too, since nothing opens them without it."""
    keep_backups: int = Field(8, ge=3, le=1000)
    keep_backup_days: int = Field(14, ge=0, le=3650)
    """The last backup of each of so many days stays too."""
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    """Empty: every Host is served, for development; production names them (SEC-042)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def is_development(self) -> bool:
        return self.auth == AUTH_OFF

    @property
    def scheme(self) -> str:
        """What this process itself speaks."""
        return "http" if self.tls_certificate is None else "https"

    @property
    def event_store(self) -> Path:
        return self.state / "events" / "events.db"

    @property
    def denied_keys(self) -> Path:
        return self.state / "denied_keys.json"

    @property
    def pseudonym_key(self) -> Path:
        return self.pseudonym_key_file or self.state / "pseudonym.key"

    @property
    def audit(self) -> Path:
        return self.state / "audit"

    @property
    def audit_key(self) -> Path:
        return self.audit_key_file or self.state / "audit.key"

    @property
    def kept_files(self) -> dict[str, Path]:
        """The small files beside the event store and the audit log that a backup holds, by name."""
        return {"denied_keys.json": self.denied_keys}

    def check(self) -> None:
        """Refuse to run in a way that is not safe (SEC-001, CH-007, CH-282, CH-311).

        Raises:
            SettingsError: Every reason at once.
        """
        faults = self.faults()
        if faults:
            raise SettingsError(*faults)

    def faults(self) -> list[Fault]:
        """Everything that makes these settings unsafe."""
        faults: list[Fault] = []
        if (self.is_development or self.lab) and not _is_loopback(self.host):
            what = "development mode knows no clients" if self.is_development else "a lab trusts what anybody can sign"
            faults.append(Fault("host", f"{what} and binds to loopback addresses only", "Use 127.0.0.1"))
        if (self.tls_certificate is None) != (self.tls_key is None):
            faults.append(Fault("tls_key", "certificate and key go together", "Set tls_certificate and tls_key"))
        faults += [
            Fault(name, "there is no such file", "Name a file that the service's user can read")
            for name in ("clients", "tls_certificate", "tls_key", "keys_ca_file", "metrics_token_file")
            if (file := getattr(self, name)) is not None and not file.is_file()
        ]
        if self.is_development:
            return faults
        if self.clients is None:
            faults.append(Fault("clients", "nobody may call", "Name a clients.toml; see docs/reference/clients.md"))
        faults += self._base_url_faults()
        if not self.allowed_hosts or "*" in self.allowed_hosts:
            faults.append(Fault("allowed_hosts", "any Host would be answered", "List the names by which we are called"))
        if "*" in self.cors_origins:
            faults.append(Fault("cors_origins", "* is for development only", "List the origins"))
        if self.tls_certificate is None and not (self.behind_tls_proxy or self.lab):
            faults.append(
                Fault(
                    "behind_tls_proxy", "nobody ends TLS", "Declare the gateway that does, or give certificate and key"
                )
            )
        return faults

    def _base_url_faults(self) -> list[Fault]:
        do = "Write it as clients call us, such as https://cds.hospital.example"
        if self.public_base_url is None:
            return [Fault("public_base_url", "missing: tokens are bound to it", do)]
        try:
            parts = urlsplit(self.public_base_url)
            _ = parts.port
        except ValueError:
            return [Fault("public_base_url", "not a URL", do)]
        if parts.scheme != "https" and not (self.lab and parts.scheme == "http"):
            return [Fault("public_base_url", "not https: patients' data would travel in the clear", do)]
        if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
            return [Fault("public_base_url", "needs a host, and neither user, query nor fragment", do)]
        return []


def read_settings(file: Path | None = None, *, environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """Put the settings together: command line, then ``CDS_*``, then the file, then the defaults.

    Args:
        file: ``settings.toml``, if there is one.
        environment: Where ``CDS_*`` is read; the process's own by default. ``CDS_CORS_ORIGINS`` and
            ``CDS_ALLOWED_HOSTS`` are comma lists.
        given: What the command line says; None means that it says nothing.

    Raises:
        SettingsError: A value is wrong or a key unknown; names all of them.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as fault:
            raise SettingsError(Fault(str(file), f"can't be read ({type(fault).__name__})", "Mend the file")) from None
    for name, text in (os.environ if environment is None else environment).items():
        key = name.removeprefix("CDS_").lower()
        if name.startswith("CDS_") and key in Settings.model_fields:
            values[key] = tuple(filter(None, text.split(","))) if key in ("cors_origins", "allowed_hosts") else text
    values |= {key: value for key, value in given.items() if value is not None}
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError(
            *(
                Fault(".".join(map(str, fault["loc"])), fault["msg"], "See docs/reference/settings.md")
                for fault in error.errors(include_input=False, include_url=False)
            )
        ) from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
