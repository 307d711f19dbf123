"""A TOML file with the line of every key, so that a fault names the place where a person can mend it.

``tomllib`` reads the values and judges the syntax; the scanner here only walks the accepted text again and
notes where each key stands.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cds_service.errors import DeclarationError, Fault

__all__ = ["Document", "KeyPath", "read_document"]

KeyPath = tuple[str | int, ...]
"""Where a value stands: ``("rule", 0, "if", "unit")`` is ``unit`` of the first ``[[rule]]``'s ``if``."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SCALAR = re.compile(r"[^,\]\}\n#]+")
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file: its values and the line of each key."""

    file: str
    """As people should read it in a message: the path as it was given."""
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of a key; of the nearest table around it when the key itself is not written."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def where(self, path: KeyPath) -> str:
        """``file:line dotted.path``, as every message about a declaration begins."""
        dotted = dotted_path(path)
        place = f"{self.file}:{self.line(path)}"
        return f"{place} {dotted}" if dotted else place


def dotted_path(path: KeyPath) -> str:
    """Write a path as people do.

    >>> dotted_path(("card", "suggestion", 0, "label"))
    'card.suggestion[0].label'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(path: Path) -> Document:
    """Read a TOML file.

    Raises:
        DeclarationError: It cannot be read, is not UTF-8, or is not TOML; the fault names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        data = tomllib.loads(text)
    except OSError as problem:
        raise DeclarationError(
            Fault(f"{path}:1", "the file cannot be read", f"put a readable file here ({problem.strerror})")
        ) from None
    except UnicodeDecodeError as problem:
        line = problem.object[: problem.start].count(b"\n") + 1
        raise DeclarationError(Fault(f"{path}:{line}", "the file is not UTF-8", "save it as UTF-8")) from None
    except tomllib.TOMLDecodeError as problem:
        found = _AT_LINE.search(str(problem))
        line = int(found[1]) if found else text.count("\n") + 1
        what = _AT_LINE.sub("", str(problem)).strip()
        raise DeclarationError(Fault(f"{path}:{line}", f"this is not TOML: {what}", "mend the syntax")) from None
    return Document(str(path), data, _Scanner(text.replace("\r\n", "\n")).scan())


class _Scanner:
    """Walks TOML that is known to be valid and notes the line of each key."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.lengths: dict[KeyPath, int] = {}
        """Arrays of tables met so far → how many tables they have."""

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while True:
            self._skip_space()
            if self.at >= len(self.text):
                return self.lines
            if self.text.startswith("[[", self.at):
                self.at += 2
                array = self._resolve(self._keys())
                self.at += 2
                index = self.lengths.get(array, 0)
                self.lengths[array] = index + 1
                table = (*array, index)
                self._note(array)
                self._note(table)
            elif self.text[self.at] == "[":
                self.at += 1
                table = self._resolve(self._keys())
                self.at += 1
                self._note(table)
            else:
                self._pair(table)

    def _resolve(self, keys: list[str]) -> KeyPath:
        """A header's key names the newest table of each array of tables on its way."""
        path: KeyPath = ()
        for place, key in enumerate(keys):
            path = (*path, key)
            self._note(path)
            if path in self.lengths and place < len(keys) - 1:
                path = (*path, self.lengths[path] - 1)
        return path

    def _pair(self, table: KeyPath) -> None:
        start = self.at
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path, start)
        self.at += 1  # the equals sign
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip_space()
        head = self.text[self.at]
        if head == "{":
            self._inside("}", path, keyed=True)
        elif head == "[":
            self._inside("]", path, keyed=False)
        elif head in "\"'":
            self._string()
        else:
            self.at = self._match(_SCALAR).end()

    def _inside(self, closing: str, path: KeyPath, *, keyed: bool) -> None:
        self.at += 1
        index = 0
        while True:
            self._skip_space()
            if self.text[self.at] == ",":
                self.at += 1
            elif self.text[self.at] == closing:
                self.at += 1
                return
            elif keyed:
                self._pair(path)
            else:
                self._note((*path, index))
                self._value((*path, index))
                index += 1

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip_blanks()
            if self.text[self.at] in "\"'":
                start = self.at
                self._string()
                keys.append(str(tomllib.loads(f"k = {self.text[start : self.at]}")["k"]))
            else:
                bare = self._match(_BARE)
                self.at = bare.end()
                keys.append(bare[0])
            self._skip_blanks()
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _string(self) -> None:
        quote = self.text[self.at]
        mark = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(mark)
        while not self.text.startswith(mark, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(mark)
        if len(mark) == 3:  # up to two quotes may stand before the closing ones
            while self.text.startswith(quote, self.at):
                self.at += 1

    def _note(self, path: KeyPath, at: int | None = None) -> None:
        self.lines.setdefault(path, self.text.count("\n", 0, self.at if at is None else at) + 1)

    def _skip_space(self) -> None:
        self.at = self._match(_SPACE).end()

    def _skip_blanks(self) -> None:
        while self.text[self.at] in " \t":
            self.at += 1

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        if found is None:  # tomllib accepted the text, so this is a bug of the scanner
            raise AssertionError(f"the TOML scanner lost its way at offset {self.at}")
        return found
