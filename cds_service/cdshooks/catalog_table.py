"""One table of a declaration, read key by key; every fault is noted with its line and reading goes on."""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any

from cds_service.cdshooks.catalog_toml import Document, KeyPath
from cds_service.errors import Fault

__all__ = ["REQUIRED", "Table"]


class _Required:
    """Stands where a default would: the key must be written."""


REQUIRED = _Required()


class Table:
    """Reads the keys of one TOML table.

    A reader never raises for a wrong value: it notes a fault with file and line and returns the default (or an
    empty value of the type), so that all faults of a folder are known at once.

    Args:
        document: The file.
        path: Where the table stands in it.
        faults: The list that faults are added to.
        known: The keys that may be written here; any other is a fault.
    """

    def __init__(self, document: Document, path: KeyPath, faults: list[Fault], known: Collection[str] | None) -> None:
        self.document = document
        self.path = path
        self.faults = faults
        data: Any = document.data
        for part in path:
            data = data[part]
        self.data: Mapping[str, Any] = data if isinstance(data, dict) else {}
        if not isinstance(data, dict):
            self.fault((), "this is not a table", "write it as a table of keys")
        for key in self.data:
            if known is not None and key not in known:
                self.fault((key,), "this key is not known", f"use one of: {', '.join(sorted(known))}")

    def fault(self, inside: KeyPath, what: str, do: str) -> None:
        self.faults.append(Fault(self.document.where((*self.path, *inside)), what, do))

    def has(self, key: str) -> bool:
        return key in self.data

    def text(self, key: str, default: str | _Required = REQUIRED) -> str:
        value = self._value(key, default, "a text")
        if isinstance(value, str) and (value.strip() or value == default):
            return value
        if value is not None:
            self.fault((key,), "this is not a text, or it is empty", "write a text in quotes")
        return default if isinstance(default, str) else ""

    def choice(self, key: str, allowed: Collection[str], default: str | _Required = REQUIRED) -> str:
        value = self.text(key, default)
        if value and value not in allowed:
            self.fault((key,), f"this value is not one of {', '.join(sorted(allowed))}", "write one of them")
            return default if isinstance(default, str) else ""
        return value

    def number(self, key: str, default: float | _Required | None = REQUIRED, *, least: float | None = None) -> float:
        value = self._value(key, default, "a number")
        if value is None:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fault((key,), "this is not a number", "write a number without quotes")
            return 0.0
        if least is not None and value < least:
            self.fault((key,), f"this number is below {least:g}", f"write {least:g} or more")
        return float(value)

    def integer(self, key: str, default: int | _Required | None = REQUIRED, *, least: int = 0) -> int:
        value = self._value(key, default, "a whole number")
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault((key,), "this is not a whole number", "write a whole number without quotes")
            return 0
        if value < least:
            self.fault((key,), f"this number is below {least}", f"write {least} or more")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key, default, "true or false")
        if isinstance(value, bool):
            return value
        self.fault((key,), "this is neither true nor false", "write true or false")
        return default

    def day(self, key: str) -> date | None:
        value = self.data.get(key)
        if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
            return value
        self.fault((key,), "this is not a date", "write a date without quotes, as in 2027-06-30")
        return None

    def texts(self, key: str, default: tuple[str, ...] | _Required = REQUIRED) -> tuple[str, ...]:
        value = self._value(key, default, "a list of texts")
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
            self.fault((key,), "this is not a list of texts", 'write a list, as in ["a", "b"]')
            return ()
        if len(set(value)) < len(value):
            self.fault((key,), "an entry stands twice in this list", "remove the second one")
        return tuple(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        value = self._value(key, REQUIRED, "a list of numbers")
        if value is None:
            return ()
        fits = isinstance(value, list) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
        if not fits or not value:
            self.fault((key,), "this is not a list of numbers", "write a list, as in [5.7, 6.5]")
            return ()
        return tuple(float(item) for item in value)

    def table(self, key: str, known: Collection[str] | None, *, required: bool = False) -> "Table | None":
        """The table under a key; None when it is not written."""
        if key not in self.data:
            if required:
                self.fault((key,), f"the table '{key}' is missing", "write it")
            return None
        return Table(self.document, (*self.path, key), self.faults, known)

    def tables(self, key: str, known: Collection[str] | None) -> "list[Table]":
        """The ``[[key]]`` tables, in the order in which they are written."""
        value = self.data.get(key, [])
        if not isinstance(value, list):
            self.fault((key,), "this is one table, not a list of tables", f"write it as [[{key}]]")
            return []
        return [Table(self.document, (*self.path, key, place), self.faults, known) for place in range(len(value))]

    def _value(self, key: str, default: object, kind: str) -> Any:
        if key in self.data:
            return self.data[key]
        if isinstance(default, _Required):
            self.fault((key,), f"'{key}' is missing", f"write {kind}")
            return None
        return default
