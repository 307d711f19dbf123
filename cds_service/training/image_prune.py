"""Structural pruning: whole channels leave a net, the ones with the smallest weights first, and the rest learns on."""

import copy
import warnings

import torch
from torch import Tensor

from cds_service.errors import Fault, SettingsError
from cds_service.training.image_nets import ImageNet

__all__ = ["prune_channels"]


def prune_channels(net: ImageNet, share: float, size: int) -> ImageNet:
    """Take a share of the channels out of every layer, as groups that belong together (DepGraph, CVPR 2023).

    Args:
        net: Fitted; it stays as it is.
        share: Of the channels of each layer, in steps of eight channels.
        size: Side of the image that the net reads, in pixels.

    Returns:
        A narrower net, still to be fitted on. The same net and share give the same one.

    Raises:
        SettingsError: The package torch-pruning is not installed.
    """
    try:
        import torch_pruning
    except ImportError as missing:
        raise SettingsError(
            Fault("train", f"needs the package {missing.name}", "Install the extra: pip install 'cds-service[train]'")
        ) from None
    narrow = copy.deepcopy(net).float().eval()
    narrow.freeze(0)
    for weight in narrow.parameters():
        weight.requires_grad_(True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own internals
        pruner = torch_pruning.pruner.BasePruner(
            narrow,
            torch.zeros((1, 1, size, size)),
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=share,
            ignored_layers=[narrow.last, narrow.mask],
            round_to=8,
            output_transform=_sum,
        )
        pruner.step()
    return narrow.to(memory_format=torch.channels_last)


def _sum(given: tuple[Tensor, Tensor]) -> Tensor:
    """One number that depends on both outputs, so that layers of either are followed."""
    return given[0].sum() + given[1].sum()
