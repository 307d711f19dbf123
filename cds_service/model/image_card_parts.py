"""The parts of an image model's card that say how it was made small, what it does not know and where it looks."""

from collections.abc import Mapping

from cds_service.model.model_card import Figures, table

__all__ = ["compression_table", "looking_part", "range_of", "unlikeness_part"]


def compression_table(compression: Figures) -> str:
    """Write the table from teacher to what ships, and the family that the student was chosen from."""
    steps = [
        [
            name,
            range_of(one["roc_auc_score"]),
            range_of(one["roc_auc_score_lesions_only"]),
            range_of(one["less_teacher"], 4),
            f"{range_of(one['calibration_slope'], 2)}; {range_of(one['observed_expected_ratio'], 2)}",
            *_cost(one["cost"]),
        ]
        for name, one in compression["steps"].items()
    ]
    head = [
        "step",
        "AUC",
        "lesions only",
        "less teacher",
        "slope; O:E, raw",
        "MB",
        "memory, MB",
        "ms, median",
        "ms, 95 %",
        "CPU ms",
    ]
    family = [
        [
            name,
            range_of(one["roc_auc_score"]),
            range_of(one["int8_roc_auc_score"]),
            *_cost(one["fp32"])[::2],
            *_cost(one["int8"])[::2],
        ]
        for name, one in compression["family"].items()
    ]
    names = ["shape, first fold", "AUC", "int8 AUC", "MB", "ms", "CPU ms", "int8 MB", "int8 ms", "int8 CPU ms"]
    return "\n\n".join(
        (
            f"{compression['what'][0].upper()}{compression['what'][1:]}.",
            table(head, steps),
            f"What the teacher adds to the student (same views, steps and seed): AUC {range_of(compression['distillation_gain'], 4)}.",
            *([f"{compression['prune_rule']}."] if "prune_rule" in compression else []),
            f"{compression['int8_rule']}.",
            *(
                [table(["AUC out of fold, by seed", "each", "mean"], _seeds(compression["seeds"]))]
                if "seeds" in compression
                else []
            ),
            table(names, family),
        )
    )


def unlikeness_part(figures: Figures) -> list[str]:
    """Write how well each way tells other pictures, and on which the chosen one is silent."""
    kinds = list(figures["silent"])
    ways = [
        [name, f"{one['mean']:.3f}", *(f"{one['kinds'][kind]:.3f}" for kind in kinds)]
        for name, one in figures["ways"].items()
    ]
    silent = [[kind, str(one["pictures"]), f"{one['share']:.2f}"] for kind, one in figures["silent"].items()]
    return [
        (
            f"Chosen out of fold by how well it tells other pictures from the training hospital's own: {figures['chosen']}. The threshold leaves "
            f"it silent on {range_of(figures['false_abstention'])} of the training hospital's own images, measured with thresholds set without them."
        ),
        table(["way (AUC)", "mean", *kinds], ways),
        table(["pictures that are something else", "how many", "share on which it is silent"], silent),
    ]


def looking_part(figures: Figures) -> str:
    """Write how often the activation points into the lesion, beside chance and a net with random weights."""
    return (
        f"Its class activation is a part of the graph: what each place adds to the logit. Out of fold, on {figures['images']} malignant images, the place "
        f"with the highest activation lies in the lesion in {range_of(figures['in_the_lesion'])} of them; a place drawn at random would in "
        f"{figures['by_chance']:.3f}, a net with random weights does in {range_of(figures['random_weights'])}. Its activation and that of random "
        f"weights correlate at {figures['correlation_with_random_weights']:.2f}."
    )


def range_of(figure: Mapping[str, float | None] | None, digits: int = 3) -> str:
    """Write a figure with its interval."""
    if figure is None or figure["value"] is None:
        return "not assessable"
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.{digits}f}"
    return f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def _seeds(seeds: Mapping[str, list[float]]) -> list[list[str]]:
    return [
        [name, ", ".join(f"{auc:.3f}" for auc in aucs), f"{sum(aucs) / len(aucs):.3f}"] for name, aucs in seeds.items()
    ]


def _cost(cost: Mapping[str, float]) -> list[str]:
    return [
        f"{cost['bytes'] / 1e6:.2f}",
        f"{cost['memory_mb']:.0f}",
        f"{cost['p50_ms']:.2f}",
        f"{cost['p95_ms']:.2f}",
        f"{cost['cpu_ms']:.2f}",
    ]
