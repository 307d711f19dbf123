"""A server of our own protocol on a free port."""

import pytest

from cds_service.web.limits import Limits
from tests.web.served import Served, make_door


@pytest.fixture
def served():
    running = []

    def serve(limits=None, **more):
        limits = limits or Limits()
        running.append(Served(make_door(limits, **more), limits))
        return running[-1]

    yield serve
    for one in running:
        one.stop()
