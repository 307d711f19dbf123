"""What of a chart can't be a fact, counted and named by its reason."""

__all__ = ["SetAside"]


class SetAside:
    """Resources that were not used, and the keys that can prove no absence for it."""

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}
        """Reason → how many resources were not used for it."""
        self.sources: dict[str, str] = {}
        """``Type/id`` → reason."""
        self.unproven: set[str] = set()
        """Keys in which something could not be read."""

    def add(self, source: str, reason: str) -> None:
        """Set a resource aside."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.sources[source] = reason
