"""What the operator decides: ``settings.toml`` or ``CDS_*``; read by the apps and the command line alone."""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

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
    """The URL under which clients call us; None: as bound."""
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    state: Path = Path("var")
    """Everything that changes at run time: the event store, keys."""
    hooks: Path = Field(default_factory=lambda: shipped("hooks"))
    assets: Path = Field(default_factory=lambda: shipped("model_assets"))
    clients: Path | None = None
    deadline_ms: int = Field(2000, ge=50, le=30_000)
    events_required: bool = True
    """No card without its event on disk (F10)."""
    pseudonym_key_file: Path | None = None
    """None: made once under ``state``."""
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    """Empty: every Host is served, for development; production names them (SEC-042)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def is_development(self) -> bool:
        return self.auth == AUTH_OFF

    @property
    def event_store(self) -> Path:
        return self.state / "events" / "events.db"

    @property
    def pseudonym_key(self) -> Path:
        return self.pseudonym_key_file or self.state / "pseudonym.key"

    def check(self) -> None:
        """Refuse to run in a way that is not safe (SEC-001, CH-007, CH-282).

        Raises:
            SettingsError: Every reason at once.
        """
        faults: list[Fault] = []
        if not self.is_development:
            faults.append(
                Fault(
                    "auth",
                    "this release can't authenticate EHRs yet, so it serves no production traffic",
                    f"For development on this machine write CDS_AUTH={AUTH_OFF}; see docs/operators/running.md",
                )
            )
        elif not _is_loopback(self.host):
            faults.append(
                Fault(
                    "host",
                    "development mode knows no clients and binds to loopback addresses only",
                    "Use 127.0.0.1, or a tunnel to it",
                )
            )
        if "*" in self.cors_origins and not self.is_development:
            faults.append(Fault("cors_origins", "* is for development only", "List the origins"))
        if faults:
            raise SettingsError(*faults)


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
