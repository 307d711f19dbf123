"""``MODEL_CARD.md``, written from a bundle's own figures: none is typed here; one that is not known yet is said to be so."""

from collections.abc import Mapping
from typing import Any

from cds_service.model.parts import Manifest

__all__ = ["Figures", "miscalibrated", "model_card", "table"]

Figures = Mapping[str, Any]

OE_LOW, OE_HIGH = 0.8, 1.25
"""The band of equivalence for O:E that a release gate uses."""

_NOT_OPENED = "The test set has not been opened for this candidate."


def model_card(manifest: Manifest, metrics: Figures) -> str:
    """Write ``MODEL_CARD.md``.

    Args:
        manifest: What the bundle is.
        metrics: As ``metrics.json`` holds it; ``test`` is there once the test set was opened.
    """
    development, test = metrics["development"], metrics.get("test")
    eligible = metrics["plan"]["eligible"]["text"]
    training = metrics["data"]["training"]
    parts = [
        f"# Model card: {manifest.model} {manifest.version}",
        "A demonstration of method on public survey data. **Not a medical device; not for decisions about a patient.**",
        "## What it does",
        (
            "From values that a chart already holds it estimates how likely an HbA1c at or above each limit is "
            f"({'; '.join(manifest.outputs.values())}), so that a clinician can consider ordering the test. It diagnoses nothing. "
            "The outputs contain each other and never contradict each other. Any input but age may be missing; fewer than "
            f"{manifest.minimum_inputs} inputs, a value outside the range of the training data, or a number that is none: it abstains."
        ),
        "## Intended use",
        (
            "For clinicians of out-patients who see a card in the chart and decide themselves whether to order an HbA1c; for research, "
            f"teaching and testing of the method. Counted as eligible here: {eligible}. Not for people under 18, in pregnancy, with known "
            "diabetes, on dialysis, after a recent transfusion or with a haemoglobin disorder; not for screening out: no card is no all-clear; "
            "not for a patient's own screen."
        ),
        "## To watch while in use",
        (
            "On matured HbA1c results: O:E and slope, overall and in the groups below; cards per 100 opens against the operating point; PPV "
            "against its minimum; the share of each input that is missing and its deciles against `reference.json`; overrides by reason."
        ),
        "## Made from",
        (
            f"{manifest.population['en']}: {training['eligible']} of {training['rows_read']} rows. Left out: {_counts(training['left_out'])}. "
            f"Licence: {'; '.join(used.licence for used in manifest.data)}. "
            "Ethnicity is never an input, only a check. The survey oversamples some groups; the figures are unweighted. The label is one "
            "HbA1c, not a diagnosis, and HbA1c itself is biased by anaemia, haemoglobin variants, pregnancy, transfusion and kidney disease."
        ),
        f"A teacher (an ensemble) was distilled into one small net (`model.onnx`, fp32). Recipe: `{manifest.made_by}`.",
        _inputs_table(metrics),
        "## Figures",
        (
            "Estimates with 95 % intervals: DeLong for the AUC (up is better), Wilson for shares, Wald for calibration "
            "(O:E and slope are best at 1; O:E above 1 means that the risk is underestimated)."
        ),
    ]
    if test is None:
        parts.append(_NOT_OPENED)
    else:
        parts += [
            f"### On {test['data']['name']}, as served",
            (
                f"{test['cases']} people, {test['scored']} scored, abstained: {_counts(test['abstained'])}. "
                f"This was look {test['look']} at this set in this project (each is written down in `looks.jsonl`)."
            ),
            _main_table(test["student"], manifest),
            _rivals_table(test, manifest),
            f"Eligible opens: {eligible}.",
            _points_table(test["operating_points"]),
            "The same where no rule speaks (a glucose in the diabetic range is said by the rule, without the model):",
            _points_table(test["operating_points_beyond_rules"]),
            "#### With inputs taken away",
            _hidden_table(test["inputs_hidden"], manifest),
            "#### Subgroups",
            _subgroup_table(test["subgroups"], manifest),
        ]
    parts += [
        f"### Out of fold, on {manifest.data[0].name}",
        "The calibration was fitted on these predictions, so their O:E says nothing. The operating points were chosen on them.",
        _main_table(development["student"], manifest),
        _teacher_table(development, manifest),
        _points_table(development["operating_points"]),
        "Where no rule speaks:",
        _points_table(development["operating_points_beyond_rules"]),
        *_directions(metrics),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(metrics, manifest)),
    ]
    return "\n\n".join(parts) + "\n"


def _directions(metrics: Figures) -> list[str]:
    """How often the estimate moves against what medicine knows; earlier releases did not look."""
    if "wrong_way" not in metrics:
        return []
    rows = [
        [name, f"{100 * one['share']:.1f} %", f"{100 * one['furthest']:.2f}"]
        for name, one in metrics["wrong_way"].items()
    ]
    return [
        "#### Directions",
        (
            "Real rows with one input moved from its 10th to its 90th percentile, the others as they are: the share of people whose estimate of the "
            "last output falls where it should rise (or rises where it should fall) by more than half a point in a hundred, and the furthest such move."
        ),
        table(["input", "people", "furthest, in points"], rows),
    ]


def miscalibrated(subgroups: Figures) -> list[tuple[str, str, str, Mapping[str, float]]]:
    """Find the groups whose O:E lies outside what a release gate allows, its whole interval: (by, group, output, O:E)."""
    return [
        (title, label, output, ratio)
        for title, labels in subgroups.items()
        for label, found in labels.items()
        for output, one in found.items()
        if (ratio := one.get("observed_expected_ratio")) and (ratio["high"] < OE_LOW or ratio["low"] > OE_HIGH)
    ]


def _limits(metrics: Figures, manifest: Manifest) -> list[str]:
    limits = [
        (
            "Trained on US adults. Nothing is known about its calibration in a Japanese hospital: a site starts silent, compares with its "
            "own HbA1c results and declares its prevalence; until then the card uses words instead of a percentage."
        ),
        "Survey glucose was measured in one laboratory, mostly the same day as the HbA1c. A chart's glucose may be two years old.",
        "The label moved in 2007 with the laboratory; if the HbA1c method of a site changes, ask first whether the label still is the same measurement.",
        "Of the operating point, the PPV is that of a single HbA1c; diabetes needs confirmation.",
    ]
    missing = metrics["baselines"]["questionnaires_missing_items"]
    lacks = "; ".join(f"{name} lacks {', '.join(items)}" for name, items in missing.items())
    limits.append(f"Questionnaire scores are computed from the items that the survey has: {lacks}.")
    test = metrics.get("test")
    if test is None:
        return limits
    off = [
        f"{label} ({title}), {manifest.outputs[output]}: {_range(ratio, 2)}"
        for title, label, output, ratio in miscalibrated(test["subgroups"])
    ]
    if off:
        limits.insert(
            0,
            f"**Not calibrated in every group.** O:E outside {OE_LOW}-{OE_HIGH} with its whole interval: {'; '.join(off)}.",
        )
    for name, at in test["operating_points_beyond_rules"].items():
        before = metrics["development"]["operating_points_beyond_rules"][name]["ppv_score"]
        limits.insert(
            1,
            f"What the model adds to the rule is less than the whole figure: at `{name}`, where no rule speaks, "
            f"the PPV was {_range(at['ppv_score'])} on the test set ({_range(before)} out of fold).",
        )
    return limits


def _range(figure: Mapping[str, float | None] | None, digits: int = 3) -> str:
    if figure is None or figure["value"] is None:
        return "not assessable"
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.{digits}f}"
    return f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write a table as Markdown has it."""
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _main_table(student: Figures, manifest: Manifest) -> str:
    keys = ("roc_auc_score", "observed_expected_ratio", "calibration_slope", "brier_loss")
    rows = [
        [manifest.outputs[output], str(one["events"]), *(_range(one.get(key)) for key in keys)]
        for output, one in student.items()
    ]
    return table(["output", "cases", "AUC", "O:E", "slope", "Brier loss"], rows)


def _rivals_table(test: Figures, manifest: Manifest) -> str:
    rivals = [
        ("logistic regression, same inputs", test["logistic_regression"], test["student_less_logistic_regression"])
    ]
    rivals += [
        (name, found, test["student_less_questionnaires"][name]) for name, found in test["questionnaires"].items()
    ]
    rows = [
        [
            name,
            manifest.outputs[output],
            _range(found[output].get("roc_auc_score")),
            _range(gain[output].get("roc_auc_difference")),
        ]
        for name, found, gain in rivals
        for output in manifest.outputs
    ]
    return table(["beside it", "output", "AUC", "the model's AUC less this one's"], rows)


def _teacher_table(development: Figures, manifest: Manifest) -> str:
    rows = [
        [
            manifest.outputs[output],
            _range(development["teacher"][output]["roc_auc_score"]),
            _range(development["student_less_teacher"][output]["roc_auc_difference"], 4),
            _range(development["logistic_regression"][output]["roc_auc_score"]),
        ]
        for output in manifest.outputs
    ]
    return table(["output", "AUC of the teacher", "student less teacher", "AUC of a logistic regression"], rows)


def _points_table(points: Figures) -> str:
    keys = ("cards_per_100", "ppv_score", "npv_score", "sensitivity_score", "specificity_score")
    rows = [
        [name, f"{at['threshold']:g}", f"{at['cards']} of {at['cases']}", *(_range(at[key]) for key in keys)]
        for name, at in points.items()
    ]
    head = ["operating point", "threshold", "cards", "per 100 opens", "PPV", "NPV", "sensitivity", "specificity"]
    return table(head, rows)


def _hidden_table(hidden: Figures, manifest: Manifest) -> str:
    rows = [
        [
            title,
            manifest.outputs[output],
            *(_range(one.get(key)) for key in ("roc_auc_score", "observed_expected_ratio", "calibration_slope")),
        ]
        for title, found in hidden.items()
        for output, one in found.items()
    ]
    return table(["inputs", "output", "AUC", "O:E", "slope"], rows)


def _subgroup_table(subgroups: Figures, manifest: Manifest) -> str:
    rows = [
        [title, label, manifest.outputs[output], f"{one['events']} of {one['cases']}"]
        + [_range(one.get(key)) for key in ("roc_auc_score", "observed_expected_ratio", "calibration_slope")]
        for title, labels in subgroups.items()
        for label, found in labels.items()
        for output, one in found.items()
    ]
    return table(["by", "group", "output", "cases", "AUC", "O:E", "slope"], rows)


def _inputs_table(metrics: Figures) -> str:
    missing = metrics["data"]["training"]["missing_share"]
    used = metrics["baselines"]["logistic_regression"]["inputs"]
    return table(["input", "missing in training"], [[name, f"{100 * missing[name]:.1f} %"] for name in used])
