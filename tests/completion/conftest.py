"""The running sandbox, as the browser tests start it."""

from tests.e2e.conftest import sandbox

__all__ = ["sandbox"]
