"""The image teacher: nets of several folds and seeds, their logits averaged; and its word on images and on views of them.

The members of fold k never saw fold k. Together they are the ensemble; fold by fold they give every image a prediction
by members that did not see it, and the student of fold k learns from the members of fold k alone.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from cds_service.clinical.pixels import PixelSpec
from cds_service.cohorts.images import ImageCohort
from cds_service.errors import Fault, SettingsError
from cds_service.model.sealing import write_whole
from cds_service.training.image_fit import Batches, fit_image_net, logits_of_images
from cds_service.training.image_nets import ImageNet, make_net
from cds_service.training.image_recipe_types import FitRecipe, ImageRecipe, ShapeName
from cds_service.training.image_views import Base, draw_views

__all__ = ["ImageTeacher", "Views", "assign_image_folds", "fit_or_load", "make_views", "teach_images", "teacher_key"]

Floats = npt.NDArray[np.float64]
Folds = npt.NDArray[np.int64]
Say = Callable[[str], None]


class ImageTeacher(Struct, frozen=True):
    """The members, by fold."""

    fold: Folds
    members: tuple[tuple[ImageNet, ...], ...]

    def without(self, fold: int, views: Tensor) -> Floats:
        """Mean logit of the members that never saw a fold, shape (n,)."""
        return np.asarray(np.mean([logits_of_images(net, views) for net in self.members[fold]], axis=0))

    def out_of_fold(self, served: Tensor) -> Floats:
        """Mean logit of every image, from members that never saw it."""
        logits = np.full(len(self.fold), np.nan)
        for k in range(len(self.members)):
            logits[self.fold == k] = self.without(k, served[self.fold == k])
        return logits

    @property
    def all_members(self) -> tuple[ImageNet, ...]:
        return tuple(net for of_fold in self.members for net in of_fold)


class Views(Struct, frozen=True):
    """Views of every image that were drawn once, and what the members of each fold said about them."""

    pictures: npt.NDArray[np.float16]
    """(views, n, size, size)."""
    masks: npt.NDArray[np.float16]
    said: Floats
    """(folds, views, n): mean logit of the members of that fold."""


def assign_image_folds(cohort: ImageCohort, folds: int, *, neighbours: int, seed: int) -> Folds:
    """Deal images to folds: near-duplicates together, neighbouring file numbers together, labels evenly.

    Args:
        cohort: The training images.
        folds: How many.
        neighbours: So many consecutive numbers of one label are dealt as one block.
        seed: Of the dealing; the order of the images does not matter.

    Raises:
        SettingsError: A fold has no malignant image, or no other one: nothing could be said about it.
    """
    block: dict[str, tuple[str, int]] = {}
    order = sorted(range(len(cohort)), key=lambda i: (str(cohort.label[i]), int(cohort.neighbour[i]), cohort.ids[i]))
    for i in order:
        block.setdefault(str(cohort.group[i]), (str(cohort.label[i]), int(cohort.neighbour[i]) // neighbours))
    dealt: dict[tuple[str, int], int] = {}
    for label in sorted({one[0] for one in block.values()}):
        of_label = sorted({one for one in block.values() if one[0] == label}, key=lambda one: _shuffle(seed, one))
        dealt.update({one: place % folds for place, one in enumerate(of_label)})
    dealt_to = np.array([dealt[block[str(group)]] for group in cohort.group], dtype=np.int64)
    for k in range(folds):
        count = int(cohort.malignant[dealt_to == k].sum())
        if not 0 < count < int((dealt_to == k).sum()):
            what = f"fold {k + 1} of {folds} has no malignant image, or no other one"
            raise SettingsError(Fault("folds and neighbours of the recipe", what, "Lower them, or give more images"))
    return dealt_to


def teach_images(
    cohort: ImageCohort, base: Base, spec: PixelSpec, recipe: ImageRecipe, *, cache: Path, say: Say
) -> ImageTeacher:
    """Fit the members, or take finished ones from the cache.

    Args:
        cohort: The training images.
        base: The same, decoded and shrunk.
        spec: The bundle's ``pixels.toml``.
        recipe: The frozen recipe.
        cache: Keeps each finished member; the same data and recipe find it again after a kill.
        say: Where progress goes.
    """
    fold = assign_image_folds(cohort, recipe.folds, neighbours=recipe.neighbours, seed=recipe.seed)
    target = torch.from_numpy(cohort.malignant.astype(np.float32))
    key = teacher_key(cohort, spec, recipe)

    def batches(_: int, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        return *draw_views(base, rows, spec, recipe.augment, generator), target[rows]

    members = []
    total = recipe.folds * recipe.teacher.members_per_fold
    for k in range(recipe.folds):
        rows = torch.from_numpy(np.nonzero(fold != k)[0])
        of_fold = []
        for number in range(recipe.teacher.members_per_fold):
            place = k * recipe.teacher.members_per_fold + number + 1
            of_fold.append(
                fit_or_load(
                    cache / f"teacher-{key}-{k}-{number}.safetensors",
                    recipe.teacher.shape, rows, batches, recipe.teacher.fit,
                    seed=recipe.seed + place, say=say, title=f"teacher {place} of {total}: without fold {k + 1}",
                )
            )  # fmt: skip
        members.append(tuple(of_fold))
    return ImageTeacher(fold, tuple(members))


def make_views(
    teacher: ImageTeacher, base: Base, spec: PixelSpec, recipe: ImageRecipe, *, key: str, cache: Path, say: Say
) -> Views:
    """Draw views of all images once, and ask the members of every fold about each."""
    count, size = len(teacher.fold), spec.size
    pictures = np.empty((recipe.student.views, count, size, size), dtype=np.float16)
    masks = np.empty_like(pictures)
    for view in range(recipe.student.views):
        generator = torch.Generator().manual_seed(recipe.seed + 10_000 + view)
        for rows in torch.split(torch.arange(count), 64):
            seen, mask = draw_views(base, rows, spec, recipe.augment, generator)
            pictures[view, rows.numpy()], masks[view, rows.numpy()] = seen[:, 0].numpy(), mask.numpy()
    kept = cache / f"said-{key}-{recipe.student.views}.npz"
    if kept.exists():
        say(f"teacher's word on {recipe.student.views} views: taken from {kept.name}")
        try:
            with np.load(io.BytesIO(kept.read_bytes()), allow_pickle=False) as found:
                return Views(pictures, masks, found["said"])
        except (ValueError, KeyError, zipfile.BadZipFile):
            raise _damaged(kept) from None
    said = np.empty((recipe.folds, recipe.student.views, count))
    for view in range(recipe.student.views):
        say(f"teacher's word on view {view + 1} of {recipe.student.views}")
        seen = torch.from_numpy(pictures[view].astype(np.float32))[:, None]
        for k in range(recipe.folds):
            said[k, view] = teacher.without(k, seen)
    packed = io.BytesIO()
    np.savez(packed, said=said)
    write_whole(kept, packed.getvalue())
    return Views(pictures, masks, said)


def fit_or_load(
    kept: Path,
    shape: ShapeName,
    rows: Tensor,
    batches: Batches,
    fit: FitRecipe,
    *,
    seed: int,
    say: Say,
    title: str,
    begin: Callable[[], ImageNet] | None = None,
) -> ImageNet:
    """Fit one net, or take it from its checkpoint; a kill leaves a whole checkpoint or none.

    It begins as *begin* makes it, else as its shape does.
    """
    net = make_net(shape, seed=seed, dropout=fit.dropout) if begin is None else begin()
    if kept.exists():
        say(f"{title}: taken from {kept.name}")
        try:
            net.load_state_dict(load_file(kept))
        except (SafetensorError, RuntimeError):
            raise _damaged(kept) from None
        net.eval()
        return net
    say(f"{title}: {len(rows)} images, {fit.epochs} epochs")
    fitted = fit_image_net(net, rows, batches, fit, seed=seed)
    write_whole(kept, save({name: weight.contiguous() for name, weight in fitted.state_dict().items()}))
    return fitted


def teacher_key(cohort: ImageCohort, spec: PixelSpec, recipe: ImageRecipe) -> str:
    """Everything that decides a member, as a short name."""
    decides = (
        cohort.digest(), cohort.ids, msgspec.to_builtins(spec), msgspec.to_builtins(recipe.augment),
        msgspec.to_builtins(recipe.teacher), recipe.seed, recipe.folds, recipe.neighbours,
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:12]


def _damaged(kept: Path) -> SettingsError:
    what = "this checkpoint is damaged"
    return SettingsError(Fault(str(kept), what, "Remove it; the same command fits it anew"))


def _shuffle(seed: int, block: tuple[str, int]) -> bytes:
    return hashlib.sha256(f"{seed}:{block[0]}:{block[1]}".encode()).digest()
