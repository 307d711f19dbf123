"""Choices of an image recipe by cross-validation: each differs from the recipe in a few keys and is judged out of fold.

Judged on the training images as served and on copies as other scanners might have made them (``image_shifts.py``).
Test and external set are never opened here.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from msgspec import Struct
from torch import Tensor

from cds_service.clinical.pixels import PixelSpec
from cds_service.cohorts.images import ImageCohort, read_busi
from cds_service.errors import Fault, SettingsError
from cds_service.stats.discrimination import roc_auc_score, roc_auc_with_interval
from cds_service.stats.intervals import Estimate
from cds_service.training.image_fit import logits_of_images
from cds_service.training.image_recipe_types import ImageRecipe, read_image_recipe, read_pixel_spec
from cds_service.training.image_shifts import SHIFTS, shifted
from cds_service.training.image_teacher import assign_image_folds, fit_or_load
from cds_service.training.image_views import as_served, draw_views, make_base
from cds_service.training.settled import settled_torch

__all__ = ["Choice", "ChoiceResult", "choice_lines", "read_choices", "run_choices"]

Floats = npt.NDArray[np.float64]
Grey = npt.NDArray[np.uint8]
Say = Callable[[str], None]

_SERVED = "as served"


class Choice(Struct, frozen=True, forbid_unknown_fields=True):
    """One way that the recipe could be."""

    name: str
    pixels: Mapping[str, Any] = {}
    """Keys of ``pixels.toml`` that differ."""
    recipe: Mapping[str, Any] = {}
    """Tables and keys of the recipe that differ."""


class ChoiceResult(Struct, frozen=True):
    """What one choice gave, out of fold, with one teacher net a fold."""

    name: str
    key: str
    """Everything that decides it, as a short name."""
    served: Estimate
    """AUC on the images as served."""
    lesions_only: Estimate
    shifted: dict[str, float]
    """AUC by shift."""

    @property
    def mean_shifted(self) -> float:
        return float(np.mean(list(self.shifted.values())))

    @property
    def figure(self) -> float:
        """What is chosen by: half the images as they are, half the copies."""
        return (self.served.value + self.mean_shifted) / 2


class _Variant(Struct, frozen=True):
    recipe: ImageRecipe
    spec: PixelSpec
    key: str


class Choices(Struct, frozen=True, forbid_unknown_fields=True):
    """``choices.toml``."""

    base: Mapping[str, Any]
    """Tables and keys of the recipe as they were when the choices were made: all choices differ from this."""
    choice: tuple[Choice, ...]


def read_choices(path: Path) -> Choices:
    """Read ``choices.toml``.

    Raises:
        SettingsError: It can't be read, or a name stands twice.
    """
    try:
        choices = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Choices)
    except OSError as fault:
        raise SettingsError(Fault(str(path), f"can't be read ({fault.strerror})", "Write the choices there")) from None
    except (msgspec.ValidationError, tomllib.TOMLDecodeError) as fault:
        raise SettingsError(Fault(str(path), str(fault), "Mend the choices")) from None
    if len({choice.name for choice in choices.choice}) != len(choices.choice):
        raise SettingsError(Fault(str(path), "a name stands twice", "Give each choice its own"))
    return choices


def run_choices(
    model: str, recipe: str = "default", *, data: Path, recipes: Path, state: Path, say: Say = print
) -> list[ChoiceResult]:
    """Fit and judge every choice of ``recipes/<model>/choices.toml``; what is finished is taken from *state*.

    Raises:
        SettingsError: The recipe, the choices or the data are wrong.
    """
    folder = recipes / model
    base = read_image_recipe(folder / f"{recipe}.toml")
    declaration, _ = read_pixel_spec(folder / "pixels.toml")
    choices = read_choices(folder / "choices.toml")
    cohort = read_busi(data, base.data.training, name=base.data.name)
    copies: dict[str, Sequence[Grey]] = {}
    laid_out: dict[PixelSpec, dict[str, Tensor]] = {}
    results = []
    with settled_torch():
        for number, choice in enumerate(choices.choice):
            variant = _variant(base, declaration, choices.base, choice, cohort)
            kept = state / "choices" / model / f"{variant.key}.json"
            if kept.exists():
                found = msgspec.json.decode(kept.read_bytes(), type=ChoiceResult)
                say(f"choice {number + 1} of {len(choices.choice)}, {choice.name}: taken from {kept.name}")
            else:
                say(f"choice {number + 1} of {len(choices.choice)}, {choice.name}")
                if not copies:
                    copies = {_SERVED: cohort.images}
                    copies |= {shift: shifted(cohort, shift, seed=base.seed) for shift in SHIFTS}
                if variant.spec not in laid_out:
                    laid_out[variant.spec] = {
                        shift: as_served(images, variant.spec) for shift, images in copies.items()
                    }
                found = _judge(
                    choice.name, variant, cohort, laid_out[variant.spec], cache=state / "cache" / model, say=say
                )
                kept.parent.mkdir(parents=True, exist_ok=True)
                partial = kept.with_suffix(".writing")
                partial.write_bytes(msgspec.json.encode(found))
                partial.replace(kept)
            results.append(msgspec.structs.replace(found, name=choice.name))
    return results


def choice_lines(results: list[ChoiceResult]) -> list[str]:
    """Write the results as a table in Markdown, the best first."""
    lines = [
        "| choice | as served | lesions only | copies, mean | " + " | ".join(SHIFTS) + " | chosen by |",
        "| --- |" + " --- |" * (len(SHIFTS) + 4),
    ]
    for one in sorted(results, key=lambda result: -result.figure):
        shifts = " | ".join(f"{one.shifted[name]:.3f}" for name in SHIFTS)
        lines.append(
            f"| {one.name} | {_written(one.served)} | {_written(one.lesions_only)} | {one.mean_shifted:.3f} | {shifts} "
            f"| {one.figure:.3f} |"
        )
    return lines


def _variant(
    base: ImageRecipe, declaration: bytes, common: Mapping[str, Any], choice: Choice, cohort: ImageCohort
) -> _Variant:
    pixels = _merged(tomllib.loads(declaration.decode()), choice.pixels)
    plain = _merged(_merged(msgspec.to_builtins(base), common), choice.recipe)
    try:
        spec = msgspec.convert(pixels, PixelSpec)
        recipe = msgspec.convert(plain, ImageRecipe)
    except msgspec.ValidationError as fault:
        raise SettingsError(Fault(f"choices.toml: {choice.name}", str(fault), "Mend the choice")) from None
    decides = (
        cohort.digest(), pixels, msgspec.to_builtins(recipe.augment), msgspec.to_builtins(recipe.teacher), recipe.seed,
        recipe.folds, recipe.neighbours, list(SHIFTS),
    )  # fmt: skip
    return _Variant(recipe, spec, hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:12])


def _merged(whole: Mapping[str, Any], differing: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(whole)
    for name, value in differing.items():
        inner = merged.get(name)
        merged[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


def _judge(
    name: str, variant: _Variant, cohort: ImageCohort, copies: Mapping[str, Tensor], *, cache: Path, say: Say
) -> ChoiceResult:
    recipe, spec = variant.recipe, variant.spec
    fold = assign_image_folds(cohort, recipe.folds, neighbours=recipe.neighbours, seed=recipe.seed)
    base = make_base(cohort, spec)
    target = torch.from_numpy(cohort.malignant.astype(np.float32))

    def batches(_: int, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        return *draw_views(base, rows, spec, recipe.augment, generator), target[rows]

    logits = {shift: np.full(len(cohort), np.nan) for shift in copies}
    for k in range(recipe.folds):
        net = fit_or_load(
            cache / f"choice-{variant.key}-{k}.safetensors",
            recipe.teacher.shape, torch.from_numpy(np.nonzero(fold != k)[0]), batches, recipe.teacher.fit,
            seed=recipe.seed + k + 1, say=say, title=f"  without fold {k + 1} of {recipe.folds}",
        )  # fmt: skip
        for shift, images in copies.items():
            logits[shift][fold == k] = logits_of_images(net, images[torch.from_numpy(fold == k)])
    truth, lesion, served = cohort.malignant, cohort.lesion, logits[_SERVED]
    return ChoiceResult(
        name,
        variant.key,
        roc_auc_with_interval(truth, served),
        roc_auc_with_interval(truth[lesion], served[lesion]),
        {shift: round(roc_auc_score(truth, logits[shift]), 4) for shift in SHIFTS},
    )


def _written(one: Estimate) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
