"""JSON for small bodies, stricter than RFC 8259 asks: no key twice, no NaN, no number beyond a double (SEC-045)."""

import json
import math
from typing import Any, NoReturn

from cds_service.errors import WireError

__all__ = ["Duplicated", "parse_small"]


class Duplicated(dict[str, Any]):
    """An object in which a key stood twice: which value was meant is not for us to choose."""


def parse_small(body: bytes) -> object:
    """Parse a body of the kind that is small and must be unambiguous, such as feedback.

    Returns:
        The value; an object with a repeated key is a :class:`Duplicated`, wherever it stands.

    Raises:
        WireError: Not UTF-8, a byte order mark, not JSON, NaN or Infinity, a number beyond a double, too deep.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        raise WireError.of("starts with a byte order mark", where="body", do="Send UTF-8 without one")
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError:
        raise WireError.of("not UTF-8", where="body", do="Encode the body as UTF-8") from None
    except RecursionError:
        raise WireError.of("nested too deeply", where="body", do="Send the object as CDS Hooks describes it") from None
    except ValueError:  # JSONDecodeError, and an integer with thousands of digits
        raise WireError.of("not JSON", where="body", do="Send one JSON object, encoded as UTF-8") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else Duplicated(members)


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError
    return value
