"""One way to fit an image net, for teachers and students alike, and one way to ask it."""

import copy
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from cds_service.errors import Fault, SettingsError
from cds_service.training.image_nets import ImageNet
from cds_service.training.image_recipe_types import FitRecipe

__all__ = ["Batches", "fit_image_net", "logits_of_images"]

Floats = npt.NDArray[np.float64]
Batches = Callable[[int, Tensor, torch.Generator], tuple[Tensor, Tensor, Tensor]]
"""(epoch, rows, generator) → views (n, 1, s, s), lesion masks (n, s, s), and the probability to learn (n,)."""


def fit_image_net(net: ImageNet, rows: Tensor, batches: Batches, recipe: FitRecipe, *, seed: int) -> ImageNet:
    """Fit a net; the same rows, batches, recipe and seed give the same weights on one kind of CPU.

    Args:
        net: Freshly made.
        rows: Which images it may see, shape (n,).
        batches: Gives views of rows, and what is to be said about them.
        recipe: How.
        seed: Of the order and of the views.

    Returns:
        The moving average of the weights, ready to be asked.

    Raises:
        SettingsError: The loss or a weight is no number: training went astray.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net.freeze(recipe.frozen_blocks)
    net.train()
    fitted = [weight for weight in net.parameters() if weight.requires_grad]
    steps = recipe.epochs * max(1, len(rows) // recipe.batch)
    optimiser = torch.optim.AdamW(fitted, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _cycle(step / steps))
    average = copy.deepcopy(net)
    for epoch in range(recipe.epochs):
        order = rows[torch.randperm(len(rows), generator=generator)]
        for start in range(0, max(1, len(rows) // recipe.batch) * recipe.batch, recipe.batch):
            batch = order[start : start + recipe.batch]
            views, masks, target = batches(epoch, batch, generator)
            logits, drawn = net(views.contiguous(memory_format=torch.channels_last))
            loss = functional.binary_cross_entropy_with_logits(logits, target)
            if recipe.mask_weight > 0:
                coarse = functional.adaptive_avg_pool2d(masks[:, None], drawn.shape[-2:])[:, 0]
                loss = loss + recipe.mask_weight * functional.binary_cross_entropy_with_logits(drawn, coarse)
            if not torch.isfinite(loss):
                raise _astray("the loss")
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(fitted, 5.0)
            optimiser.step()
            rate.step()
            _follow(average, net, recipe.average)
    average.eval()
    if not all(bool(torch.isfinite(weight).all()) for weight in average.state_dict().values()):
        raise _astray("a weight")  # the last step is judged by no loss
    return average


def logits_of_images(net: ImageNet, views: Tensor) -> Floats:
    """Ask a net about views (n, 1, s, s), in batches; shape (n,)."""
    net.eval()
    with torch.inference_mode():
        parts = [net(part.contiguous(memory_format=torch.channels_last))[0] for part in torch.split(views, 64)]
    return np.asarray(torch.cat(parts).double().numpy())


def _astray(what: str) -> SettingsError:
    return SettingsError(Fault("train", f"{what} is no number", "Lower the learning rate of the recipe"))


def _cycle(done: float) -> float:
    """Rise for a fifth of the steps, then fall along a cosine."""
    return 0.04 + 0.96 * done / 0.2 if done < 0.2 else 0.5 * (1 + math.cos(math.pi * (done - 0.2) / 0.8)) + 1e-3


@torch.no_grad()
def _follow(average: ImageNet, net: ImageNet, decay: float) -> None:
    ours, theirs = average.state_dict(), net.state_dict()
    for name, weight in ours.items():
        if weight.is_floating_point():
            weight.lerp_(theirs[name], 1 - decay)
