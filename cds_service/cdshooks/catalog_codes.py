"""Code sets and states of a service folder: ``codes/*.toml``, each wrong entry with its line."""

from pathlib import Path

from cds_service.cdshooks.catalog_keys import CODE_SET_KEYS, STATE_KEYS
from cds_service.cdshooks.catalog_table import Table
from cds_service.cdshooks.catalog_toml import Document, read_document
from cds_service.cdshooks.declaration import State
from cds_service.clinical.codes import CodeSet, canonical_token
from cds_service.errors import DeclarationError, Fault

__all__ = ["read_codes_file", "read_state_file"]


def read_codes_file(path: Path, faults: list[Fault]) -> CodeSet:
    """Read one set of ``codes`` and ``prefixes``; faults are added to the list, and an empty set returned."""
    document = _document(path, faults)
    return CodeSet() if document is None else _code_set(Table(document, (), faults, CODE_SET_KEYS))


def read_state_file(name: str, path: Path, faults: list[Fault]) -> State:
    """Read a state: the conditions, procedures and coded observations that show it."""
    document = _document(path, faults)
    if document is None:
        return State(name, CodeSet(), CodeSet(), {}, None)
    table = Table(document, (), faults, STATE_KEYS[""])
    sets = {}
    for key in ("conditions", "procedures"):
        inner = table.table(key, STATE_KEYS[key])
        sets[key] = CodeSet() if inner is None else _code_set(inner)
    observations: dict[str, tuple[str, ...]] = {}
    inner = table.table("observations", None)
    if inner is not None:
        observations = {
            token: tuple(canonical for value in inner.texts(key) if (canonical := _token(inner, key, value)))
            for key in inner.data
            if (token := _token(inner, key, key))
        }
    within = table.integer("within_days", least=1) if table.has("within_days") else None
    if not (inner or any(found.codes or found.prefixes for found in sets.values())):
        table.fault((), "this state has no code", "list conditions, procedures or observations")
    return State(name, sets["conditions"], sets["procedures"], observations, within)


def _document(path: Path, faults: list[Fault]) -> Document | None:
    try:
        return read_document(path)
    except DeclarationError as error:
        faults.extend(error.faults)
        return None


def _code_set(table: Table) -> CodeSet:
    read: dict[str, list[str]] = {"codes": [], "prefixes": []}
    for key, tokens in read.items():
        for place, token in enumerate(table.texts(key, ())):
            try:
                tokens.append(canonical_token(token))
            except ValueError as fault:
                table.fault((key, place), f"'{token}' is not a code", str(fault))
    if not (table.has("codes") or table.has("prefixes")):
        table.fault((), "this set has no code", "list codes, or prefixes where a whole chapter is meant")
    return CodeSet(frozenset(read["codes"]), tuple(read["prefixes"]))


def _token(table: Table, key: str, token: str) -> str | None:
    try:
        return canonical_token(token)
    except ValueError as fault:
        table.fault((key,), f"'{token}' is not a code", str(fault))
        return None
