"""The client's FHIR access token: it lives for one request and can't be printed, stored or copied out by accident."""

from dataclasses import dataclass

MASK = "***"


class AccessToken:
    """A secret that only :meth:`reveal` gives away (CH-148, SEC-034).

    ``repr``, ``str``, formatting and pickle yield ``***``; msgspec, json and structlog can't encode it.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def reveal(self) -> str:
        """The token, for the ``Authorization`` header of a call to this request's own ``fhirServer``."""
        return self._secret

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __reduce__(self) -> tuple[type["AccessToken"], tuple[str]]:
        return AccessToken, (MASK,)


@dataclass(frozen=True, slots=True)
class FHIRAuthorization:
    """``fhirAuthorization``: what the token may be used for. CDS Hooks, "FHIR Resource Access" (CH-140 to CH-145)."""

    access_token: AccessToken
    expires_in: int
    """Seconds; 0 or less: not used."""
    scope: str
    """SMART scopes, separated by spaces; v1 and v2 spellings occur."""
    subject: str
    """The OAuth client id of this service at the EHR."""
    patient: str | None = None
    """The one patient that patient-level scopes are bound to."""
