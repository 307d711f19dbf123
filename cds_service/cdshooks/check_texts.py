"""Are the texts complete, honest in length, and written as each language writes?"""

import re
from collections.abc import Iterator

from cds_service.cdshooks.catalog_keys import TEXT_TABLES
from cds_service.cdshooks.catalog_toml import Document, read_document
from cds_service.cdshooks.check_findings import Checked, Finding
from cds_service.cdshooks.text_slots import SUMMARY_LIMIT, CardText, card_texts, longest, slots_in
from cds_service.texts import fill

__all__ = ["check_texts"]

_PERCENT = {
    "ja": (re.compile(r"[\d}][ \u00a0]+[%％]"), "Japanese writes no space before %"),
    "en": (re.compile(r"[\d}]%"), "English writes one space before %"),
}


def check_texts(checked: Checked) -> Iterator[Finding]:
    """Slots were checked when the folder was read; here lengths, names, style, and sentences that nobody reads."""
    wanted = card_texts(checked.service)
    for language in checked.service.languages:
        document = read_document(checked.folder / f"texts.{language}.toml")
        yield from _lengths(checked, document, language, wanted)
        yield from _names(checked, document, language)
        yield from _style(document, language)
        yield from _unread(checked, document, wanted)


def _found(document: Document, key: tuple[str, ...], what: str, do: str, *, error: bool = True) -> Finding:
    return Finding(document.file, document.line(key), "error" if error else "warning", what, do)


def _lengths(checked: Checked, document: Document, language: str, wanted: dict[str, CardText]) -> Iterator[Finding]:
    service, model = checked.service, checked.model
    units = {spec.name: spec.unit for spec in model.features.features} if model else {}
    for key, card_text in wanted.items():
        sentence = service.texts[language].sentences[key]
        slots = slots_in(sentence)
        if model and model.outputs and card_text.probabilities:
            for slot in sorted(slot for slot in slots if not card_text.fills(slot, model.outputs)):
                yield _found(
                    document, (key,), f"the model '{service.model}' has no output for {{{slot}}}", "use its outputs"
                )
        if not card_text.summary:
            continue
        length = len(fill(sentence, {slot: longest(service, language, slot, units) for slot in slots}))
        if length >= SUMMARY_LIMIT:
            yield _found(
                document,
                (key,),
                f"the summary can reach {length} characters, {SUMMARY_LIMIT - 1} are allowed",
                "shorten it",
            )


def _names(checked: Checked, document: Document, language: str) -> Iterator[Finding]:
    texts = checked.service.texts[language]
    keys = {key.name for key in checked.service.prefetch}
    for name in sorted(keys - set(texts.data)):
        yield _found(
            document, ("data",), f"[data] has no name for prefetch key '{name}'", "say what a clinician calls it"
        )
    for name in sorted(set(texts.data) - keys):
        yield _found(document, ("data", name), f"there is no prefetch key '{name}'", "remove the name", error=False)
    if checked.model is None:
        return
    features = {spec.name for spec in checked.model.features.features}
    for name in sorted(features - set(texts.features)):
        yield _found(document, ("features",), f"[features] has no name for '{name}'", "say what a clinician calls it")
    for name in sorted(set(texts.features) - features):
        yield _found(document, ("features", name), f"the model has no feature '{name}'", "remove the name", error=False)


def _style(document: Document, language: str) -> Iterator[Finding]:
    pattern, rule = _PERCENT[language]
    for key, sentence in document.data.items():
        if isinstance(sentence, str) and pattern.search(sentence):
            yield _found(document, (key,), rule, "mend the space")


def _unread(checked: Checked, document: Document, wanted: dict[str, CardText]) -> Iterator[Finding]:
    displays = {reason.get("display") for reason in checked.document.data["card"].get("override_reason", ())}
    for key in document.data:
        if key not in TEXT_TABLES and key not in wanted and key not in displays:
            yield _found(document, (key,), f"no code reads the sentence '{key}'", "remove it", error=False)
