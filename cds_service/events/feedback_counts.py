"""How often cards were accepted, overridden and left alone: each card once, by the last thing said about it (B-087).

Exact repeats are one event already (``ids.feedback_id``). What counts is when the clinician acted, not when the
message came: a late or reordered message changes no number. Where the client's clock runs ahead, its time is worth
nothing and the time of receipt stands in. Two different outcomes at one instant count as overridden, which never
flatters.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from operator import itemgetter
from typing import Literal, NamedTuple

from cds_service.events.schema import (
    AnyEvent,
    CardAccepted,
    CardOverridden,
    Outcome,
    PredictionMade,
    PredictionWithheld,
    RuleFired,
)
from cds_service.events.store import EventStore

__all__ = ["Acceptance", "Speaker", "count_acceptance", "read_acceptance"]

Speaker = Literal["model", "rule", "abstention", "nobody"]
"""Who made the card; ``nobody`` for feedback about cards that this service did not make."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What became of the cards of one speaker of one service. Sums of it are sums of cards."""

    cards: int = 0
    """Cards made."""
    accepted: int = 0
    overridden: int = 0
    changed: int = 0
    """Cards whose outcome changed at least once; each counts above by its last outcome."""
    orphans: int = 0
    """Feedback items about unknown cards or foreign suggestions: kept, outside all rates."""

    @property
    def without_response(self) -> int:
        """Cards that nobody said anything about; the specification has no word for an ignored card (CH-253)."""
        return self.cards - self.accepted - self.overridden

    def __add__(self, other: "Acceptance") -> "Acceptance":
        return Acceptance(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Acceptance)))


class Key(NamedTuple):
    """Whose cards."""

    tenant: str | None
    service: str
    speaker: Speaker


_Card = tuple[str | None, str, str]
_Said = tuple[datetime, Outcome]


def count_acceptance(events: Iterable[AnyEvent]) -> dict[Key, Acceptance]:
    """Count what became of the cards, from events in any order.

    Args:
        events: Any; those that made no card and are no feedback are passed over. An event given twice counts once.

    Returns:
        By tenant, service and speaker; only what occurred.
    """
    made: dict[_Card, tuple[str, Speaker, frozenset[str]]] = {}
    said: dict[str, tuple[_Card, _Said, frozenset[str]]] = {}
    for event in events:
        if isinstance(event, (PredictionMade, PredictionWithheld, RuleFired)):
            if event.card is not None and event.service is not None:
                card = (event.tenant, event.service, event.card)
                this = (event.id, _speaker(event), frozenset(event.suggestions))
                made[card] = max(made.get(card, this), this, key=itemgetter(0))
        elif isinstance(event, (CardAccepted, CardOverridden)) and event.service is not None:
            accepted = frozenset(event.suggestions if isinstance(event, CardAccepted) else ())
            outcome: Outcome = "accepted" if isinstance(event, CardAccepted) else "overridden"
            at = event.at if "clock_ahead" in event.flags else event.outcome_at
            said[event.id] = ((event.tenant, event.service, event.card), (at, outcome), accepted)

    counts: dict[Key, Acceptance] = {}
    matched: dict[_Card, list[_Said]] = {}
    for card, word, accepted in said.values():
        if card in made and made[card][2].issuperset(accepted):
            matched.setdefault(card, []).append(word)
        else:
            _add(counts, Key(card[0], card[1], "nobody"), Acceptance(orphans=1))
    for card, (_, speaker, _) in made.items():
        words = sorted(matched.get(card, ()))
        outcomes = [outcome for _, outcome in words]
        _add(
            counts,
            Key(card[0], card[1], speaker),
            Acceptance(
                cards=1,
                accepted=int(outcomes[-1:] == ["accepted"]),
                overridden=int(outcomes[-1:] == ["overridden"]),
                changed=int(len(set(outcomes)) > 1),
            ),
        )
    return counts


def _add(counts: dict[Key, Acceptance], key: Key, more: Acceptance) -> None:
    counts[key] = counts.get(key, Acceptance()) + more


def _speaker(event: PredictionMade | PredictionWithheld | RuleFired) -> Speaker:
    if isinstance(event, RuleFired):
        return "rule"
    return "model" if isinstance(event, PredictionMade) else "abstention"


_ACCEPTANCE = """
WITH made AS (
    SELECT tenant, service, card, body, max(id),
        CASE type WHEN 'rule_fired' THEN 'rule' WHEN 'prediction_made' THEN 'model' ELSE 'abstention' END AS speaker
    FROM event
    WHERE card IS NOT NULL AND outcome IS NULL AND service IS NOT NULL
    GROUP BY tenant, service, card
), said AS (
    SELECT said.tenant, said.service, said.card, said.outcome, said.outcome_at, made.card IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM json_each(said.body, '$.suggestions') AS accepted
        WHERE accepted.value NOT IN (SELECT value FROM json_each(made.body, '$.suggestions'))
    ) AS matched
    FROM event AS said LEFT JOIN made
      ON made.card = said.card AND made.tenant IS said.tenant AND made.service = said.service
    WHERE said.card IS NOT NULL AND said.outcome IS NOT NULL AND said.service IS NOT NULL
), latest AS (
    SELECT tenant, service, card, outcome, count(*) OVER whole AS items,
        min(outcome) OVER whole <> max(outcome) OVER whole AS changed,
        row_number() OVER (PARTITION BY tenant, service, card ORDER BY outcome_at DESC, outcome DESC) AS place
    FROM said WHERE matched
    WINDOW whole AS (PARTITION BY tenant, service, card)
)
SELECT made.tenant, made.service, made.speaker, count(*),
    coalesce(sum(latest.outcome = 'accepted'), 0), coalesce(sum(latest.outcome = 'overridden'), 0),
    coalesce(sum(latest.changed), 0), 0
FROM made LEFT JOIN latest
  ON latest.card = made.card AND latest.tenant IS made.tenant AND latest.service = made.service AND latest.place = 1
GROUP BY 1, 2, 3
UNION ALL
SELECT tenant, service, 'nobody', 0, 0, 0, 0, count(*) FROM said WHERE NOT matched GROUP BY 1, 2
"""


def read_acceptance(store: EventStore) -> dict[Key, Acceptance]:
    """:func:`count_acceptance` over a whole store, counted by the database; a test holds the two equal."""
    return {
        Key(tenant, service, speaker): Acceptance(*counts)
        for tenant, service, speaker, *counts in store.query(_ACCEPTANCE)
    }
