"""The texts of a service folder: ``texts.<language>.toml``, checked against the slots that code fills."""

from pathlib import Path

from cds_service.cdshooks.catalog_keys import TEXT_TABLES
from cds_service.cdshooks.catalog_table import Table
from cds_service.cdshooks.catalog_toml import Document, read_document
from cds_service.cdshooks.declaration import Texts
from cds_service.cdshooks.text_slots import CardText, slots_in
from cds_service.errors import DeclarationError, Fault

__all__ = ["check_slots", "read_texts"]


def read_texts(folder: Path, language: str, faults: list[Fault]) -> tuple[Texts, Document | None]:
    """Read one language; the document comes along so that later faults can name its lines."""
    path = folder / f"texts.{language}.toml"
    try:
        document = read_document(path)
    except DeclarationError as error:
        faults.extend(error.faults)
        return Texts(language, {}), None
    table = Table(document, (), faults, None)
    sentences = {key: table.text(key) for key in table.data if key not in TEXT_TABLES}
    names: dict[str, dict[str, str]] = {}
    for key in TEXT_TABLES:
        inner = table.table(key, None)
        names[key] = {} if inner is None else {name: inner.text(name) for name in inner.data}
    return Texts(language, sentences, names["features"], names["data"]), document


def check_slots(texts: Texts, document: Document, wanted: dict[str, CardText], faults: list[Fault]) -> None:
    """Each needed sentence is there, has the slots it needs and none that no code fills."""
    for key, card_text in wanted.items():
        sentence = texts.sentences.get(key)
        if sentence is None:
            faults.append(Fault(document.where(()), f"the sentence '{key}' is missing", f"write {key} = …"))
            continue
        where = document.where((key,))
        try:
            slots = slots_in(sentence)
        except ValueError as fault:
            faults.append(Fault(where, "the slots cannot be read", str(fault)))
            continue
        lacking, unknown = sorted(card_text.needs - slots), sorted(slot for slot in slots if not card_text.fills(slot))
        if lacking:
            faults.append(Fault(where, f"the sentence lacks the slot {{{lacking[0]}}}", "say it; it is filled by code"))
        if unknown:
            may = ", ".join(f"{{{slot}}}" for slot in sorted(card_text.may)) or "none"
            faults.append(Fault(where, f"no code fills the slot {{{unknown[0]}}} here", f"use only: {may}"))
