"""Public keys and signatures by joserfc: the one place that calls it. Imported with the first key, since it takes long."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

__all__ = ["PublicKey", "import_key", "is_signature"]

PublicKey = ECKey | RSAKey


def import_key(kty: str, members: Mapping[str, str]) -> tuple[PublicKey, str]:
    """Make a key of the members of a JWK, and give its RFC 7638 thumbprint.

    Args:
        kty: ``EC`` or ``RSA``.
        members: The public members that the type has.

    Raises:
        ValueError: It is no such key, such as a point that is not on its curve.
    """
    kind = ECKey if kty == "EC" else RSAKey
    try:
        key: PublicKey = kind.import_key({"kty": kty, **members})
        key.get_op_key("verify")  # what is wrong with it shows here, not at the first call
    except (JoseError, TypeError) as fault:
        raise ValueError("no usable key") from fault
    return key, key.thumbprint()


def is_signature(key: PublicKey, alg: str, signed: bytes, signature: bytes) -> bool:
    """Whether *signature* over *signed* was made with the private half of *key* by this algorithm."""
    try:
        return bool(_algorithm(alg).verify(signed, signature, key))
    except (JoseError, ValueError):
        return False


@cache
def _algorithm(name: str) -> Any:
    return JWSRegistry(algorithms=[name]).get_alg(name)
