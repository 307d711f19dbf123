"""Every limit on what comes in, in one place: its default, its bounds, and what happens past it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from cds_service.errors import Fault, SettingsError

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Bound:
    """Between which values a limit may be set, and what a caller meets when it is passed."""

    low: float
    high: float
    unit: str
    meaning: str
    then: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one process; a value outside its bounds is refused at start.

    Raises:
        SettingsError: A value lies outside its bounds; names every such value.
    """

    head_s: float = 5.0
    head_bytes: int = 32 * KIB
    head_fields: int = 100
    target_bytes: int = 8 * KIB
    body_s: float = 15.0
    body_bytes_per_s: int = KIB
    body_bytes: int = 8 * MIB
    body_bytes_held: int = 256 * MIB
    gzip_ratio: int = 20
    deadline_s: float = 2.0
    in_work: int = 64
    queue: int = 128
    retry_after_s: int = 2
    write_stall_s: float = 30.0
    keep_alive_s: float = 20.0
    connections: int = 12_000

    def __post_init__(self) -> None:
        faults = tuple(
            Fault(
                f"limits.{field.name}",
                f"the value is not between {BOUNDS[field.name].low:g} and {BOUNDS[field.name].high:g}",
                f"give {BOUNDS[field.name].meaning} in {BOUNDS[field.name].unit}; the default is {field.default}",
            )
            for field in fields(self)
            if not BOUNDS[field.name].low <= getattr(self, field.name) <= BOUNDS[field.name].high
        )
        if faults:
            raise SettingsError(*faults)


BOUNDS: Mapping[str, Bound] = MappingProxyType(
    {
        "head_s": Bound(0.1, 60, "s", "time for the whole head, from connect or from its first byte", "closed"),
        "head_bytes": Bound(4 * KIB, 256 * KIB, "bytes", "request line and header fields together", "400, closed"),
        "head_fields": Bound(16, 1000, "fields", "header fields", "400, closed"),
        "target_bytes": Bound(256, 64 * KIB, "bytes", "request target (path and query)", "400, closed"),
        "body_s": Bound(0.1, 300, "s", "time for the whole body", "408, closed"),
        "body_bytes_per_s": Bound(1, MIB, "bytes/s", "slowest rate of a body, after the first 2 s", "closed"),
        "body_bytes": Bound(64 * KIB, 256 * MIB, "bytes", "body, after decompression", "413, closed"),
        "body_bytes_held": Bound(8 * MIB, 16_384 * MIB, "bytes", "bodies being read, all together", "503, closed"),
        "gzip_ratio": Bound(2, 1000, "times", "growth of a gzip body past its first MiB", "413, closed"),
        "deadline_s": Bound(0.05, 60, "s", "time to answer, from the end of the body", "503"),
        "in_work": Bound(1, 4096, "requests", "requests in work at once", "they wait in the queue"),
        "queue": Bound(0, 65_536, "requests", "requests that wait for a place", "503 with Retry-After"),
        "retry_after_s": Bound(1, 300, "s", "what Retry-After says", "-"),
        "write_stall_s": Bound(1, 600, "s", "time for which a client may not take our answer", "closed"),
        "keep_alive_s": Bound(1, 600, "s", "time a connection may be idle between two requests", "closed"),
        "connections": Bound(1, 200_000, "connections", "open connections", "closed"),
    }
)

DEFAULT_LIMITS = Limits()
