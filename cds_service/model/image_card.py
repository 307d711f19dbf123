"""``MODEL_CARD.md`` of an image model, written from a bundle's own figures: none is typed here."""

from collections.abc import Mapping
from typing import Any

from cds_service.model.image_card_parts import compression_table, looking_part, range_of, unlikeness_part
from cds_service.model.model_card import Figures, table
from cds_service.model.parts import Manifest

__all__ = ["image_card"]

_OUTPUT = "malignant"
_MARGIN = 0.01
"""How much AUC a student may lose to its teacher, out of fold (issue 3)."""
_SILENT = "On pictures that are unlike all it was made from it is silent, as far as the table below says."
_NOT_OPENED = "Test and external set have not been opened for this candidate."


def image_card(manifest: Manifest, metrics: Figures) -> str:
    """Write ``MODEL_CARD.md``.

    Args:
        manifest: What the bundle is.
        metrics: As ``metrics.json`` holds it; ``test`` and ``external`` are there once the sets were opened.
    """
    training, development = metrics["data"]["training"], metrics["development"]
    parts = [
        f"# Model card: {manifest.model} {manifest.version}",
        "A demonstration of method on public images. **Not a medical device; not for decisions about a patient.**",
        "## What it does",
        (
            "From one grey breast ultrasound image it estimates how likely the image shows a malignant lesion. It finds no lesion, "
            "measures nothing, compares with no earlier image, and diagnoses nothing. "
            + (
                _SILENT
                if "unlikeness" in metrics
                else "It does not know yet when an image is no breast ultrasound: whoever asks it must."
            )
        ),
        "## Intended use",
        (
            "Research, teaching and testing of the method: from a teacher to a student that answers on one core of a hospital's CPU. "
            "Not for screening out; no card is no all-clear. Not for men, implants, the axilla, Doppler or elastography images, "
            "nor for a patient's own screen."
        ),
        "## Made from",
        (
            f"{manifest.population['en']}: {training['images']} of {training['rows_read']} images ({_counts(training['labels'])}), "
            f"in {training['near_duplicate_groups']} groups of near-duplicates. Left out: {_counts(training['left_out'])}. "
            f"Licence: {'; '.join(used.licence for used in manifest.data)}. Source: {metrics['plan']['citation']}."
        ),
        (
            "Near-duplicates share a fold, and so do neighbouring file numbers, which are often one patient; there are no patient ids, "
            "so patients may still be on both sides, of the folds and of the source's clean split. Many images have measuring crosses and text "
            f"burned in, more often lesions; {_marks(metrics)}."
        ),
        f"Recipe: `{manifest.made_by}`. What ships: {metrics['compression']['shipped']}.",
        "## Figures",
        (
            "Estimates with 95 % intervals: DeLong for the AUC (up is better), Wilson for shares, Wald for calibration (O:E and slope "
            "are best at 1; O:E above 1 means that the risk is underestimated). Positive is malignant; benign and normal are negative. "
            "Normal tissue is the easier part, so lesions alone stand beside it."
        ),
    ]
    opened = [which for which in ("test", "external") if which in metrics]
    if not opened:
        parts.append(_NOT_OPENED)
    for which in opened:
        parts += _of_set(metrics[which], manifest)
    parts += [
        f"### Out of fold, on {manifest.data[0].name}",
        "The calibration was fitted on these predictions and the operating points were chosen on them, so their O:E says nothing.",
        _main_table(
            {
                "all images": development["student"],
                "lesions only": development["student_lesions_only"],
                **_on_copies(development),
            }
        ),
        _points_table(development["operating_points"]),
        "Subgroups:",
        _subgroup_table(development["subgroups"]),
        "### Compression",
        compression_table(metrics["compression"]),
        *_beside(metrics),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(metrics)),
    ]
    return "\n\n".join(parts) + "\n"


def _on_copies(development: Figures) -> Figures:
    if "student_on_copies" in development:
        return {f"copies: {name}": figures for name, figures in development["student_on_copies"].items()}
    return {"shifted copies (other gain, depth, noise, crops, crosses)": development["student_on_shifted_copies"]}


def _beside(metrics: Figures) -> list[str]:
    """What the graph says beside its logit; the graphs of 1.0.0 say nothing."""
    if "unlikeness" not in metrics:
        return []
    return [
        "### Pictures unlike its own",
        *unlikeness_part(metrics["unlikeness"]),
        "### Where it looks",
        looking_part(metrics["looking"]),
    ]


def _marks(metrics: Figures) -> str:
    if metrics["recipe"]["augment"]["crosses"] > 0:
        return "in training, crosses and text are drawn on images of every label so that they tell less"
    return "how the model does on copies without them stands below (unmarked)"


def _of_set(figures: Figures, manifest: Manifest) -> list[str]:
    parts = [
        f"### On {figures['data']['name']}, as served",
        (
            f"{figures['cases']} images ({_counts(figures['data']['labels'])}), {figures['scored']} scored. "
            f"This was look {figures['look']} at this set in this project (each is written down in `looks.jsonl`)."
        ),
        _main_table({"all images": figures["student"], "lesions only": figures["student_lesions_only"]}),
    ]
    teacher, reader = figures["teacher"], figures.get("reader")
    rows = [
        [
            f"its teacher, {teacher['members']} nets",
            range_of(teacher["roc_auc_score"]),
            range_of(teacher["roc_auc_score_lesions_only"]),
            range_of(teacher["student_less_teacher"], 4),
        ]
    ]
    if reader is not None:
        rows.append(
            [
                f"radiologists' BI-RADS, {reader['cases']} images",
                range_of(reader["roc_auc_score"]),
                "",
                range_of(reader["student_less_reader"], 4),
            ]
        )
    parts.append(table(["beside it", "AUC", "lesions only", "the student's AUC less this one's"], rows))
    parts.append(_points_table(figures["operating_points"]))
    share = manifest.prevalence[_OUTPUT]
    seen = figures["student"][_OUTPUT]["prevalence"]["value"]
    parts.append(
        f"PPV and NPV hold at this set's share of malignant images, {seen:.3f}; in training it was {share:.3f}."
    )
    parts += [
        "Subgroups (a group with fewer than 50 images, or 20 of either kind, shows its counts only):",
        _subgroup_table(figures["subgroups"]),
    ]
    return parts


def _main_table(by_title: Mapping[str, Any]) -> str:
    keys = ("roc_auc_score", "observed_expected_ratio", "calibration_slope", "brier_loss")
    rows = [
        [
            title,
            f"{one[_OUTPUT]['events']} of {one[_OUTPUT]['cases']}",
            *(range_of(one[_OUTPUT].get(key)) for key in keys),
        ]
        for title, one in by_title.items()
    ]
    return table(["on", "malignant", "AUC", "O:E", "slope", "Brier loss"], rows)


def _points_table(points: Figures) -> str:
    keys = ("cards_per_100", "sensitivity_score", "specificity_score", "ppv_score", "npv_score")
    rows = [
        [name, f"{at['threshold']:g}", f"{at['cards']} of {at['cases']}", *(range_of(at[key]) for key in keys)]
        for name, at in points.items()
    ]
    head = ["operating point", "threshold", "reached", "per 100", "sensitivity", "specificity", "PPV", "NPV"]
    return table(head, rows)


def _subgroup_table(subgroups: Figures) -> str:
    rows = [
        [title, label, f"{one[_OUTPUT]['events']} of {one[_OUTPUT]['cases']}"]
        + [range_of(one[_OUTPUT].get(key)) for key in ("roc_auc_score", "observed_expected_ratio")]
        for title, labels in subgroups.items()
        for label, one in labels.items()
    ]
    return table(["by", "group", "malignant", "AUC", "O:E"], rows)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _limits(metrics: Figures) -> list[str]:
    limits = [
        "One hospital and one scanner family trained it. Nothing is known about Japanese hospitals: a site starts silent, compares with its own pathology, and declares its prevalence.",
        "A test set with 33 malignant images gives an AUC about ±0.06; differences inside the intervals are noise.",
        (
            "It was not made to tell an axilla, a phantom or another small-parts ultrasound from a breast: none were there to try."
            if "unlikeness" in metrics
            else "It has no score yet for images unlike those it knows, and no picture of where it looked."
        ),
        "Published letters say that some 70 images of the training source show the axilla and not the breast; they are not marked there.",
    ]
    steps, shipped = metrics["compression"]["steps"], metrics["compression"]["shipped"]
    less = steps[shipped]["less_teacher"]
    if less["low"] is not None and less["low"] < -_MARGIN:
        limits.insert(
            0,
            f"**The student is not shown to be as good as its teacher**: out of fold its AUC less the teacher's is {range_of(less, 4)}, "
            f"and the goal was no loss of more than {_MARGIN:g}.",
        )
    external = metrics.get("external")
    if external is not None:
        ratio = external["student"][_OUTPUT].get("observed_expected_ratio")
        limits.insert(
            0,
            f"**In another hospital it is worse**: AUC {range_of(external['student'][_OUTPUT].get('roc_auc_score'))}, O:E {range_of(ratio, 2)}. "
            "A probability from it is not to be trusted there before it was calibrated on that hospital's own cases.",
        )
    return limits
