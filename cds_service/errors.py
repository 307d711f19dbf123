"""What can go wrong, drawn once.

    CdsServiceError                 never raised itself
    ├── BadRequest                  the caller can mend it                      400
    │   ├── WireError               the body breaks the CDS Hooks specification
    │   └── PatientMismatch         a resource belongs to another patient
    ├── NotAllowed                  who is calling is not known                 401
    │   └── TokenUsed               the token was seen before
    ├── NotPermitted                known, but this is not theirs to ask        403
    ├── TooSlow                     the body did not come in time               408
    ├── RateLimited                 one caller asks more than its share         429
    ├── UnknownService              discovery does not list this id             404
    ├── UnsupportedMedia            not JSON, or an encoding we do not read     415
    ├── TooLarge                    over a limit on bytes, keys or resources    413
    ├── DataUnavailable             needed FHIR data could not be had           412
    ├── DeclarationError            a service folder is wrong                   refuses to start
    ├── BundleError                 a model bundle is damaged or unfit          refuses to start
    ├── SettingsError               the process would run insecurely            refuses to start
    └── Unavailable                 another part did not answer in time         503
        ├── StoreUnavailable        the event store cannot keep a promise
        └── Overloaded              more work than can be answered in time

Every error says what, where and what to do, and never carries a value that came from a patient.
The tree knows no HTTP; ``web/problems.py`` alone maps it. Abstaining is no error: it is a result
with a reason.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where (a JSON path, a file and line), what, and what to do about it."""

    where: str
    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.do}."


class CdsServiceError(Exception):
    """A failure that says everything that is wrong at once.

    Args:
        faults: One or more; order is the order in which a reader should mend them.
    """

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))

    @classmethod
    def of(cls, what: str, *, where: str, do: str) -> "CdsServiceError":
        """Make an error of one fault."""
        return cls(Fault(where, what, do))


class BadRequest(CdsServiceError):
    """The caller sent something that it can mend."""


class WireError(BadRequest):
    """The body breaks the CDS Hooks specification."""


class PatientMismatch(BadRequest):
    """The patient in the prefetch is not the patient whose chart was opened."""


class NotAllowed(CdsServiceError):
    """The caller is not known."""


class TokenUsed(NotAllowed):
    """The token was used before: a replay, or a client that sends one twice."""


class NotPermitted(CdsServiceError):
    """The caller is known and may not ask this, whether or not it exists."""


class TooSlow(CdsServiceError):
    """The body did not come in time, or came slower than the least rate."""


class RateLimited(CdsServiceError):
    """One caller asks for more than its share."""


class UnknownService(CdsServiceError):
    """No service of this id is listed by discovery."""


class UnsupportedMedia(CdsServiceError):
    """The body is not JSON, or is encoded in a way that we do not read."""


class TooLarge(CdsServiceError):
    """A limit on bytes, keys or resources is passed."""


class DataUnavailable(CdsServiceError):
    """FHIR data that the service needs could not be had: 412, Precondition Failed."""


class DeclarationError(CdsServiceError):
    """A service folder breaks its format; names file and line."""


class BundleError(CdsServiceError):
    """A model bundle is damaged, incomplete or unfit for its service."""


class SettingsError(CdsServiceError):
    """The process would run in a way that is not safe for patients."""


class Unavailable(CdsServiceError):
    """Another part did not answer in time."""


class StoreUnavailable(Unavailable):
    """The event store cannot promise to keep what it is given."""


class Overloaded(Unavailable):
    """There is more work than can be answered in time."""
