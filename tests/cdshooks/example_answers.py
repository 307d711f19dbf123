"""Answers the examples of a service folder at their stated clock; with ``--write`` it writes the answers anew.

$ python tests/cdshooks/example_answers.py --write
"""

import asyncio
import itertools
import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from cds_service.answer import Answer, answer, open_desk  # noqa: E402 -- after the path, when run as a script
from cds_service.cdshooks.cards_wire import write_response  # noqa: E402
from cds_service.cdshooks.catalog import load_services  # noqa: E402
from cds_service.cdshooks.check_all import open_champion  # noqa: E402
from cds_service.cdshooks.client import read_client  # noqa: E402
from cds_service.cdshooks.wire import read_request  # noqa: E402
from cds_service.events.pseudonym import pseudonymise  # noqa: E402

SERVICE_URL = "https://cds.example.org/services/dysglycaemia-screening"


class NothingShown:
    """A log in which nobody has seen a card yet."""

    def history(self, tenant, service, patient, since):
        return ()

    def opens_and_cards(self, tenant, service, last):
        return (0, 0)


@dataclass(frozen=True)
class Examples:
    """The examples of one service and how to answer them."""

    folder: Path
    document: dict

    @classmethod
    def of(cls, service: str) -> "Examples":
        folder = ROOT / "hooks" / service / "examples"
        return cls(folder, tomllib.loads((folder / "examples.toml").read_text("utf-8")))

    @property
    def names(self) -> list[str]:
        return list(self.document["example"])

    def answer(self, name: str, assets: Path) -> Answer:
        """Answer one example with the champion in *assets*."""
        example = self.document["example"][name]
        table = next(client for client in self.document["client"] if client["name"] == example["client"])
        (service,) = load_services(self.folder.parents[1]).services
        desk = open_desk(service, open_champion(assets, service.model), service_url=SERVICE_URL)
        client = read_client(table, where="examples.toml")
        request = read_request((self.folder / f"{name}.request.json").read_bytes())
        return asyncio.run(
            answer(
                request,
                desk,
                client=client,
                language=example.get("language", client.language or service.languages[0]),
                history=NothingShown(),
                pseudonym=pseudonymise(request.context.patient_id, tenant=client.tenant, key=bytes(32), key_id="v1"),
                now=self.document["clock"],
                took_ms=lambda: 1.0,
            )
        )


def without_uuids(response: dict) -> dict:
    """The same answer with its uuids numbered: they are new in each answer, as they must be."""
    numbers = itertools.count(1)

    def walk(value):
        if isinstance(value, dict):
            return {key: uuid() if key == "uuid" else walk(inner) for key, inner in value.items()}
        return [walk(inner) for inner in value] if isinstance(value, list) else value

    def uuid() -> str:
        return f"00000000-0000-4000-8000-{next(numbers):012d}"

    return walk(response)


def written(made: Answer) -> dict:
    return without_uuids(json.loads(write_response(made.cards)))


def main() -> None:
    examples = Examples.of("dysglycaemia-screening")
    for name in examples.names:
        response = written(examples.answer(name, ROOT / "model_assets"))
        text = json.dumps(response, ensure_ascii=False, indent=2) + "\n"
        if "--write" in sys.argv:
            (examples.folder / f"{name}.response.json").write_text(text, "utf-8")
        print(f"{name}: {len(response['cards'])} cards")
        print(text)


if __name__ == "__main__":
    main()
