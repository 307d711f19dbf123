"""Small torch nets over (values, present): the same shape for the teacher's members and for the student."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from msgspec import Struct
from torch import nn

from cds_service.training.recipe_types import NetRecipe

__all__ = ["ChainNet", "Held", "Table", "chain_targets", "fit_net", "logits_of", "probabilities_of"]

Float32 = npt.NDArray[np.float32]
Mask = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


class Table(Struct, frozen=True):
    """Training rows: inputs, what each row should come out as, and the label's height."""

    values: Float32
    present: Float32
    targets: Float32
    """P(each output), hard (0, 1) or soft, falling from output to output, shape (rows, outputs)."""
    height: Float32
    """The label on a scale on which it is nearly normal, mean 0, SD 1, shape (rows,)."""

    def rows(self, chosen: npt.NDArray[np.bool_]) -> "Table":
        """Take some rows."""
        return Table(self.values[chosen], self.present[chosen], self.targets[chosen], self.height[chosen])


class ChainNet(nn.Module):
    """Scaled values, their logarithms and presence → one logit a step of the chain (and the label's height)."""

    def __init__(self, values: Float32, present: Float32, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        seen = present.sum(axis=0).clip(min=1)
        logs = np.log1p(values)
        self.mean = nn.Parameter(_float32(values.sum(axis=0) / seen), requires_grad=False)
        self.log_mean = nn.Parameter(_float32(logs.sum(axis=0) / seen), requires_grad=False)
        self.scale = nn.Parameter(1 / _sd(values, present, self.mean.numpy()), requires_grad=False)
        self.log_scale = nn.Parameter(1 / _sd(logs, present, self.log_mean.numpy()), requires_grad=False)
        widths = (3 * values.shape[1], *hidden)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, hidden, strict=False))
        self.head = nn.Linear(widths[-1], outputs)
        self.height = nn.Linear(widths[-1], 1)

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give (step logits, height). ``export.py`` writes the same sums as an ONNX graph."""
        plain = (values - self.mean) * self.scale * present
        logs = (torch.log1p(torch.relu(values)) - self.log_mean) * self.log_scale * present
        deep = torch.cat([plain, logs, present], dim=1)
        for layer in self.layers:
            deep = nn.functional.silu(layer(deep))
        return self.head(deep), self.height(deep)[:, 0]


class Held(Struct, frozen=True):
    """Which way the estimates may move with an input, and how dearly a step the other way is paid for."""

    directions: tuple[int, ...]
    """An input each: 1 may only rise, -1 only fall, 0 as it likes."""
    weight: float


def fit_net(
    table: Table, recipe: NetRecipe, *, seed: int, mask: Mask | None = None, held: Held | None = None
) -> ChainNet:
    """Fit one net; the same table, recipe and seed give the same weights on one kind of CPU.

    Args:
        table: Rows and targets.
        recipe: Shape and schedule.
        seed: Of the weights, the order of rows and the masks.
        mask: Makes inputs missing: (present, generator) → present. None keeps what is there.
        held: Directions that medicine knows; a slope the other way adds to the loss.
    """
    torch.set_num_threads(1)  # sums in one order: the same weights every time
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = ChainNet(table.values, table.present, recipe.hidden, table.targets.shape[1])
    values, present = torch.from_numpy(table.values), torch.from_numpy(table.present)
    targets, height = torch.from_numpy(table.targets), torch.from_numpy(table.height)
    steps = math.ceil(len(values) / recipe.batch)
    optimiser = torch.optim.AdamW(
        [weight for weight in net.parameters() if weight.requires_grad],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=recipe.epochs * steps)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(values), generator=generator)
        for start in range(0, len(values), recipe.batch):
            chosen = order[start : start + recipe.batch]
            there = present[chosen] if mask is None else mask(present[chosen], generator)
            logits, guess = net(values[chosen], there)
            loss = _chain_loss(logits, targets[chosen]) + recipe.label_weight * ((guess - height[chosen]) ** 2).mean()
            if held is not None:
                loss = loss + held.weight * _wrong_slopes(net, values[chosen], there, held)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def _wrong_slopes(net: ChainNet, values: torch.Tensor, present: torch.Tensor, held: Held) -> torch.Tensor:
    """Mean slope, in log odds for a standard deviation of the input, of the steps that move the wrong way.

    Asked at the rows themselves and beside them, so that what lies between people is held too.
    """
    beside = (values + torch.randn_like(values) / net.scale).requires_grad_(True)
    logits, _ = net(torch.relu(beside), present)
    directions = torch.tensor(held.directions, dtype=torch.float32)
    wrong = torch.zeros(())
    for step in range(logits.shape[1]):
        (slopes,) = torch.autograd.grad(logits[:, step].sum(), beside, create_graph=True)
        wrong = wrong + torch.relu(-slopes / net.scale * directions).sum(dim=1).mean()
    return wrong


def logits_of(net: ChainNet, values: Float32, present: Float32) -> npt.NDArray[np.float64]:
    """Give the step logits of many rows."""
    with torch.no_grad():
        logits, _ = net(torch.from_numpy(values), torch.from_numpy(present))
    return np.asarray(logits.numpy(), dtype=np.float64)


def probabilities_of(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Multiply the chain out: P(each output), falling."""
    return np.asarray(np.cumprod(1 / (1 + np.exp(-logits)), axis=1))


def chain_targets(label: npt.NDArray[np.float64], limits: list[float]) -> Float32:
    """Give the hard targets: 1 where the label reaches each limit."""
    return np.stack([label >= limit for limit in limits], axis=1).astype(np.float32)


def _chain_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    r"""Take the negative log likelihood of a continuation-ratio model, for hard or soft targets.

    .. math:: -\sum_k t_{k-1} [ s_k \ln p_k + (1 - s_k) \ln (1 - p_k) ], \quad s_k = t_k / t_{k-1}, t_0 = 1
    """
    reached = torch.cat([torch.ones_like(targets[:, :1]), targets[:, :-1]], dim=1)
    log_yes, log_no = nn.functional.logsigmoid(logits), nn.functional.logsigmoid(-logits)
    return -(targets * log_yes + (reached - targets) * log_no).sum(dim=1).mean()


def _float32(array: npt.NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _sd(values: Float32, present: Float32, mean: Float32) -> torch.Tensor:
    squares = ((values - mean) * present) ** 2
    return _float32(np.sqrt(squares.sum(axis=0) / present.sum(axis=0).clip(min=1)).clip(min=1e-3))
