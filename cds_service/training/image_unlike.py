"""How unlike the training images an image is: ways to say it, compared out of fold against pictures that are something else.

The students of the folds say it about images that they never saw and about other pictures; the way that tells the two
apart best goes into the graph. The threshold is a quantile of the training hospital's own images, so its share of
false abstentions is known; that share is checked fold by fold with thresholds that were set without the fold.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from msgspec import Struct
from torch import Tensor

from cds_service.clinical.pixels import PixelSpec
from cds_service.cohorts.images import ImageCohort
from cds_service.model.parts import UnlikenessReference
from cds_service.stats.discrimination import roc_auc_score
from cds_service.stats.figures import written
from cds_service.stats.intervals import wilson
from cds_service.training.image_export import Likeness
from cds_service.training.image_nets import ImageNet
from cds_service.training.image_views import as_served

__all__ = ["Unlikeness", "choose_unlikeness", "judge_unlikeness"]

Floats = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]
Fit = Callable[[Float32], Likeness]

_SHARE_SILENT = 0.02
"""Of the training hospital's own images the model may stay silent on so many."""


class Unlikeness(Struct, frozen=True):
    """What goes into the graphs, and how each way did."""

    method: str
    of_folds: tuple[Likeness, ...]
    final: Likeness
    ways: dict[str, Any]
    """For ``metrics.json``."""


def choose_unlikeness(
    cohort: ImageCohort,
    served: Tensor,
    fold: npt.NDArray[np.int64],
    nets: Sequence[ImageNet],
    final: ImageNet,
    others: Mapping[str, Sequence[Grey]],
    spec: PixelSpec,
) -> Unlikeness:
    """Choose a way by how well it tells other pictures from the training hospital's own, out of fold.

    Args:
        cohort: The training images.
        served: The same as served, shape (n, 1, size, size).
        fold: Of each image.
        nets: The student of each fold, which never saw it.
        final: The student that ships.
        others: Kind → pictures that are no usable breast ultrasound.
        spec: The bundle's ``pixels.toml``.
    """
    other = {kind: as_served(pictures, spec) for kind, pictures in others.items()}
    known: dict[str, Floats] = {name: np.full(len(cohort), np.nan) for name in _WAYS}
    strange: dict[str, dict[str, list[Float32]]] = {name: {kind: [] for kind in other} for name in _WAYS}
    made: dict[str, list[Likeness]] = {name: [] for name in _WAYS}
    for k, net in enumerate(nets):
        embedded = _embed(net, served)
        unlike = {kind: _embed(net, pictures) for kind, pictures in other.items()}
        for name, fit in _WAYS.items():
            likeness = fit(embedded[fold != k])
            made[name].append(likeness)
            known[name][fold == k] = likeness.of(embedded[fold == k])
            for kind, embedding in unlike.items():
                strange[name][kind].append(likeness.of(embedding))
    told = {
        name: {kind: _tells_apart(known[name], np.mean(scores, axis=0)) for kind, scores in of_kinds.items()}
        for name, of_kinds in strange.items()
    }
    best = max(told, key=lambda name: float(np.mean(list(told[name].values()))))
    ways = {
        name: {
            "mean": round(float(np.mean(list(kinds.values()))), 4),
            "kinds": {kind: round(auc, 4) for kind, auc in kinds.items()},
        }
        for name, kinds in told.items()
    }
    return Unlikeness(best, tuple(made[best]), _WAYS[best](_embed(final, served)), ways)


def judge_unlikeness(
    chosen: Unlikeness, known: Floats, fold: npt.NDArray[np.int64], others: Mapping[str, Floats]
) -> tuple[UnlikenessReference, dict[str, Any]]:
    """Set the threshold on what the graphs say as they ship, and say how often it is wrong.

    Args:
        chosen: The way.
        known: Of the training images, out of fold, shape (n,).
        fold: Of each image.
        others: Kind → of pictures of that kind, by the graph that ships.

    Returns:
        For ``reference.json``, and for ``metrics.json``.
    """
    most = float(np.quantile(known, 1 - _SHARE_SILENT))
    false = sum(
        int((known[fold == k] > np.quantile(known[fold != k], 1 - _SHARE_SILENT)).sum()) for k in np.unique(fold)
    )
    share = wilson(false, len(known))
    reference = UnlikenessReference(
        method=chosen.method,
        most=round(most, 6),
        false_abstention=(round(share.value, 4), round(share.low, 4), round(share.high, 4)),
        deciles=tuple(round(float(one), 4) for one in np.quantile(known, np.linspace(0.1, 0.9, 9))),
    )
    return reference, {
        "what": (
            "ways: out of fold, AUC of telling pictures of each kind from the training hospital's own images; silent: share of each "
            "kind on which the model that ships says nothing"
        ),
        "chosen": chosen.method,
        "most": reference.most,
        "false_abstention": written(share),
        "ways": chosen.ways,
        "silent": {
            kind: {"pictures": len(scores), "share": round(float((scores > most).mean()), 4)}
            for kind, scores in others.items()
        },
    }


def _directions(first: int, last: int) -> Fit:
    """Mahalanobis distance in some of the directions in which training images vary, the widest first.

    The widest tell what images have much of (Lee et al., NeurIPS 2018), the narrow ones what they hardly ever have
    (Kamoi and Kobayashi, 2020).
    """

    def fit(embedded: Float32) -> Likeness:
        plain = embedded.astype(np.float64)
        centre = plain.mean(axis=0)
        _, singular, directions = np.linalg.svd(plain - centre, full_matrices=False)
        variance = singular**2 / len(plain)
        kept = slice(min(first, len(variance) - 1), last)
        basis = directions[kept].T / np.sqrt(variance[kept] + _LEAST_VARIANCE * variance[0])
        return Likeness(centre.astype(np.float32), basis.astype(np.float32))

    return fit


_LEAST_VARIANCE = 1e-6
"""Of the widest direction: less is rounding."""
_WAYS: dict[str, Fit] = {
    "the 8 widest directions": _directions(0, 8),
    "the 32 widest directions": _directions(0, 32),
    "the 96 widest directions": _directions(0, 96),
    "directions 9 to 40": _directions(8, 40),
    "directions 33 to 128": _directions(32, 128),
}


def _embed(net: ImageNet, views: Tensor) -> Float32:
    net.eval()
    with torch.inference_mode():
        return np.asarray(torch.cat([net.embed(part) for part in torch.split(views, 64)]).numpy(), dtype=np.float32)


def _tells_apart(known: Floats, strange: Floats) -> float:
    scores = np.concatenate([known, strange])
    return roc_auc_score(np.arange(len(scores)) >= len(known), scores)
