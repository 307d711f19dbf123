"""The page for EHR integrators says what the service supports, and says it truly."""

from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "integrators" / "service-agreement.md"


@pytest.mark.ch("CH-010", "CH-333")
@pytest.mark.parametrize("topic", ["Hooks", "Prefetch", "Cards", "Feedback", "Trust", "CORS", "What is kept"])
def test_the_page_speaks_of(topic):
    assert topic in PAGE.read_text(encoding="utf-8")


@pytest.mark.ch("CH-010")
def test_the_page_names_each_hook_that_is_served(app):
    text = PAGE.read_text(encoding="utf-8")
    shipped = {service.hook for service in app.parts.catalog.services if service.id == "dysglycaemia-screening"}
    assert all(f"`{hook}`" in text for hook in shipped)
