"""What all tests share."""

import pytest
import structlog
from hypothesis import HealthCheck, settings

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")  # how fast a machine is at this moment is no property of the code


@pytest.fixture(autouse=True, scope="session")
def loggers_are_not_cached():
    """A cached logger would keep the stream of whichever test configured logging first."""
    configure = structlog.configure

    def uncached(**settings):
        configure(**{**settings, "cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", uncached)
        yield
