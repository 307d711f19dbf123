"""The two papers of a bundle, written from its own figures: the model card, and the package insert (添付文書) in Japanese.

No figure is typed here; where one is not known yet, the paper says so.
"""

from collections.abc import Mapping
from typing import Any

from cds_service.model.bundle import Manifest, OperatingPoint

__all__ = ["model_card", "package_insert"]

Figures = Mapping[str, Any]
Points = Mapping[str, OperatingPoint]

_NOT_OPENED = "The test set has not been opened for this candidate."
_NOT_OPENED_JA = "この候補版では、テストデータをまだ開いていません。"


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
        "## Limits",
        "- Trained on US adults. Nothing is known about its calibration in a Japanese hospital: a site starts silent, compares with its "
        "own HbA1c results and declares its prevalence; until then the card uses words instead of a percentage.\n"
        "- Survey glucose was measured in one laboratory, mostly the same day as the HbA1c. A chart's glucose may be two years old.\n"
        "- The label moved in 2007 with the laboratory; if the HbA1c method of a site changes, ask first whether the label still is the same measurement.\n"
        "- Questionnaire scores are computed from the items that the survey has; missing: "
        + "; ".join(
            f"{name} lacks {', '.join(items)}"
            for name, items in metrics["baselines"]["questionnaires_missing_items"].items()
        )
        + ".\n- Of the operating point, the PPV is that of a single HbA1c; diabetes needs confirmation.",
    ]
    return "\n\n".join(parts) + "\n"


def package_insert(manifest: Manifest, metrics: Figures, points: Points) -> str:
    """Write ``PACKAGE_INSERT.ja.md``, in the order in which a 添付文書 is read."""
    test, training = metrics.get("test"), metrics["data"]["training"]
    lines = [
        f"# 添付文書：{manifest.model} {manifest.version}",
        "**本プログラムは手法の実証を目的としたもので、医療機器ではありません。個々の患者の診断・治療の判断に用いないでください。**",
        "## 警告",
        (
            "- 表示される確率は推定値であり、診断ではありません。糖尿病の診断は、関連学会の診断基準に従い、医師が検査により行ってください。\n"
            "- カードが表示されないことは、異常がないことを意味しません。"
        ),
        "## 禁忌・使用してはならない場合",
        (
            "- 18歳未満、妊娠中、糖尿病と診断済みの方（学習データに含まれていません）。\n"
            "- 透析中、最近の輸血、溶血性貧血、異常ヘモグロビンなど、HbA1cが血糖を反映しにくい状態。"
        ),
        "## 形状・構造及び原理",
        (
            f"診療録にある値（年齢、性別、BMI、腹囲、血圧、総コレステロール、HDLコレステロール、血糖と採血時の空腹の有無）から、"
            f"HbA1c（NGSP値）が {_limits(metrics)} である確率を推定する小さなニューラルネットワークです。年齢以外の値は欠けていても計算しますが、"
            f"値が{manifest.minimum_inputs}項目に満たない場合や学習データの範囲を外れる場合は、推定を行わず理由を示します。人種・民族は入力に用いません。"
        ),
        "## 使用目的又は効果",
        "糖尿病の診断歴がなく、最近のHbA1c測定がない成人について、HbA1c検査の要否を検討するための参考情報を示すこと（研究・実証目的）。",
        "## 学習に用いたデータ",
        f"{manifest.population['ja']} {training['eligible']}人。学習データにおける割合：{_prevalences(manifest, metrics)}。",
        "## 臨床成績（性能）",
    ]
    if test is None:
        lines.append(_NOT_OPENED_JA)
    else:
        lines += [
            f"学習に用いていない {test['data']['name']}（{test['scored']}人）での成績。〔 〕内は95%信頼区間。",
            _main_table_ja(test["student"], metrics),
            "\n".join(_point_ja(name, at, points[name], metrics) for name, at in test["operating_points"].items()),
            f"血糖値がない場合の成績：{_without_glucose_ja(test, metrics)}。血糖値がないと精度は大きく下がります。",
        ]
    lines += [
        "## 使用上の注意",
        (
            "- 日本人集団・各施設での較正は確認されていません。導入施設では、まず表示を止めた状態で自施設のHbA1cの結果と照合し、自施設の有病割合を設定してください。"
            "設定されるまで、確率は数値ではなく言葉で示されます。\n"
            "- 血糖値は2年前までのものを用いることがあります。値の日付をカードで確認してください。\n"
            "- HbA1cの測定法や試薬を変更したときは、使用を止めて照合をやり直してください。\n"
            "- 単位・検査コードの対応表（JLAC10、LOINC）は、導入時に検査部門が確認してください。"
        ),
        "## 承認・届出",
        "なし（医療機器プログラムとしての承認・認証・届出はされていません）。",
        "## 問い合わせ先",
        "導入施設の担当部門。本プログラムの公開場所の案内（README）を参照してください。",
    ]
    return "\n\n".join(lines) + "\n"


def _range(figure: Mapping[str, float | None] | None, digits: int = 3) -> str:
    if figure is None or figure["value"] is None:
        return "not assessable"
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.{digits}f}"
    return f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def _table(head: list[str], rows: list[list[str]]) -> str:
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
    return _table(["output", "cases", "AUC", "O:E", "slope", "Brier loss"], rows)


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
            _range(found[output]["roc_auc_score"]),
            _range(gain[output]["roc_auc_difference"]),
        ]
        for name, found, gain in rivals
        for output in manifest.outputs
    ]
    return _table(["beside it", "output", "AUC", "the model's AUC less this one's"], rows)


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
    return _table(["output", "AUC of the teacher", "student less teacher", "AUC of a logistic regression"], rows)


def _points_table(points: Figures) -> str:
    keys = ("cards_per_100", "ppv_score", "npv_score", "sensitivity_score", "specificity_score")
    rows = [
        [name, f"{at['threshold']:g}", f"{at['cards']} of {at['cases']}", *(_range(at[key]) for key in keys)]
        for name, at in points.items()
    ]
    head = ["operating point", "threshold", "cards", "per 100 opens", "PPV", "NPV", "sensitivity", "specificity"]
    return _table(head, rows)


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
    return _table(["inputs", "output", "AUC", "O:E", "slope"], rows)


def _subgroup_table(subgroups: Figures, manifest: Manifest) -> str:
    rows = [
        [title, label, manifest.outputs[output], f"{one['events']} of {one['cases']}"]
        + [_range(one.get(key)) for key in ("roc_auc_score", "observed_expected_ratio", "calibration_slope")]
        for title, labels in subgroups.items()
        for label, found in labels.items()
        for output, one in found.items()
    ]
    return _table(["by", "group", "output", "cases", "AUC", "O:E", "slope"], rows)


def _inputs_table(metrics: Figures) -> str:
    missing = metrics["data"]["training"]["missing_share"]
    used = metrics["baselines"]["logistic_regression"]["inputs"]
    return _table(["input", "missing in training"], [[name, f"{100 * missing[name]:.1f} %"] for name in used])


def _limits(metrics: Figures) -> str:
    return "・".join(f"{limit:g}%以上" for limit in metrics["plan"]["thresholds"].values())


def _prevalences(manifest: Manifest, metrics: Figures) -> str:
    limits = metrics["plan"]["thresholds"]
    return "、".join(f"{limits[name]:g}%以上 {100 * share:.1f}%" for name, share in manifest.prevalence.items())


def _range_ja(figure: Mapping[str, float | None] | None, scale: float = 1, digits: int = 3) -> str:
    if figure is None or figure["value"] is None or figure["low"] is None or figure["high"] is None:
        return "評価不能"
    value, low, high = (scale * number for number in (figure["value"], figure["low"], figure["high"]))
    return f"{value:.{digits}f}〔{low:.{digits}f}–{high:.{digits}f}〕"


def _main_table_ja(student: Figures, metrics: Figures) -> str:
    limits = metrics["plan"]["thresholds"]
    keys = ("roc_auc_score", "observed_expected_ratio", "calibration_slope")
    rows = [
        [f"HbA1c {limits[output]:g}%以上", f"{one['events']}人", *(_range_ja(one.get(key)) for key in keys)]
        for output, one in student.items()
    ]
    return _table(["推定の対象", "該当者", "AUC", "実測/予測比", "較正の傾き"], rows)


def _point_ja(name: str, at: Figures, point: OperatingPoint, metrics: Figures) -> str:
    limit = metrics["plan"]["thresholds"][point.output]
    return (
        f"表示基準「{name}」（HbA1c {limit:g}%以上の推定確率 {100 * point.threshold:.1f}%以上）：対象者100人あたり "
        f"{_range_ja(at['cards_per_100'], 1, 1)} 件を表示、陽性的中率 {_range_ja(at['ppv_score'], 100, 1)}%、"
        f"感度 {_range_ja(at['sensitivity_score'], 100, 1)}%（対象 {at['cases']}人、35～79歳・血糖値あり）。"
    )


def _without_glucose_ja(test: Figures, metrics: Figures) -> str:
    limits = metrics["plan"]["thresholds"]
    found = test["inputs_hidden"].get("without glucose", {})
    return "、".join(f"HbA1c {limits[o]:g}%以上のAUC {_range_ja(one.get('roc_auc_score'))}" for o, one in found.items())
