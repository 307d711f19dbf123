"""Does the student look at the lesion? Its activation against the lesion masks, and against a net that learned nothing."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from cds_service.clinical.pixels import PixelSpec, fit_inside, resize
from cds_service.cohorts.images import ImageCohort
from cds_service.stats.figures import written
from cds_service.stats.intervals import wilson
from cds_service.training.image_nets import ImageNet

__all__ = ["measure_looking"]

Floats = npt.NDArray[np.float64]


def measure_looking(
    cohort: ImageCohort,
    served: Tensor,
    fold: npt.NDArray[np.int64],
    nets: Sequence[ImageNet],
    spec: PixelSpec,
) -> dict[str, Any]:
    """Compare, out of fold, where the activation is highest with where the lesion is.

    Two checks of sanity (Adebayo et al., NeurIPS 2018): with random weights the activation must be another one, and it
    must meet the lesion more often than a place drawn at random would.

    Args:
        cohort: The training images, with their masks.
        served: The same as served.
        fold: Of each image.
        nets: The student of each fold.
        spec: The bundle's ``pixels.toml``.

    Returns:
        For ``metrics.json``: of malignant images, how often the highest place lies in the lesion, by chance and by a net
        with random weights; and the mean correlation of the activation with that of the net with random weights.
    """
    blank = _random(nets[0], seed=spec.size)
    hits, by_chance, blind = 0, [], 0
    correlations = []
    rows = np.nonzero(cohort.malignant)[0]
    for row in rows:
        mask, inside = _mask(cohort.masks[row], spec)
        seen = _activation(nets[fold[row]], served[row : row + 1], spec.size)
        other = _activation(blank, served[row : row + 1], spec.size)
        hits += bool(mask[_highest(seen, inside)])
        blind += bool(mask[_highest(other, inside)])
        by_chance.append(float(mask[inside].mean()))
        correlations.append(float(np.corrcoef(seen[inside], other[inside])[0, 1]))
    return {
        "what": "out of fold, malignant images: how often the place with the highest activation lies in the lesion",
        "images": len(rows),
        "in_the_lesion": written(wilson(hits, len(rows))),
        "random_weights": written(wilson(blind, len(rows))),
        "by_chance": round(float(np.mean(by_chance)), 4),
        "correlation_with_random_weights": round(float(np.nanmean(correlations)), 4),
    }


def _random(like: ImageNet, *, seed: int) -> ImageNet:
    """A net of the same shape whose every weight is drawn anew."""
    net = copy.deepcopy(like)
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear, torch.nn.BatchNorm2d)):
            module.reset_parameters()
    return net.eval()


def _activation(net: ImageNet, image: Tensor, size: int) -> Floats:
    with torch.inference_mode():
        coarse = net.activation(image)[:, None]
        return (
            functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)[0, 0]
            .double()
            .numpy()
        )


def _mask(mask: npt.NDArray[np.bool_], spec: PixelSpec) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The lesion and the image, as serving lays the image out."""
    height, width = fit_inside(mask.shape[0], mask.shape[1], spec.size)
    top, left = (spec.size - height) // 2, (spec.size - width) // 2
    lesion = np.zeros((spec.size, spec.size), dtype=np.bool_)
    inside = np.zeros_like(lesion)
    lesion[top : top + height, left : left + width] = resize(mask.astype(np.float32), height, width) > 0.5
    inside[top : top + height, left : left + width] = True
    return lesion, inside


def _highest(seen: Floats, inside: npt.NDArray[np.bool_]) -> tuple[np.intp, ...]:
    return np.unravel_index(np.argmax(np.where(inside, seen, -np.inf)), seen.shape)
