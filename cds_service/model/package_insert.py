"""``PACKAGE_INSERT.ja.md``, a 添付文書 in the order in which one is read, written from a bundle's own figures.

It is the paper of the HbA1c model: another model's paper has other words.
"""

from collections.abc import Mapping

from cds_service.model.model_card import Figures, miscalibrated, table
from cds_service.model.parts import Manifest, OperatingPoint

__all__ = ["package_insert"]

Points = Mapping[str, OperatingPoint]

_NOT_OPENED = "この候補版では、テストデータをまだ開いていません。"
_GROUPS = {
    "sex": "性別", "age": "年齢", "bmi": "BMI", "ethnicity": "人種・民族",
    "male": "男性", "female": "女性", "black": "黒人", "white": "白人", "mexican_american": "メキシコ系",
    "other_hispanic": "その他のヒスパニック", "other": "その他（アジア系を含む）",
}  # fmt: skip


def package_insert(manifest: Manifest, metrics: Figures, points: Points) -> str:
    """Write the insert.

    Args:
        manifest: What the bundle is.
        metrics: As ``metrics.json`` holds it; ``test`` is there once the test set was opened.
        points: The operating points.
    """
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
        lines.append(_NOT_OPENED)
    else:
        lines += [
            f"学習に用いていない {test['data']['name']}（{test['scored']}人）での成績。〔 〕内は95%信頼区間。",
            _main_table_ja(test["student"], metrics),
            "\n".join(_point_ja(name, at, points[name], metrics) for name, at in test["operating_points"].items()),
            f"血糖値がない場合の成績：{_without_glucose_ja(test, metrics)}。血糖値がないと精度は大きく下がります。",
            _groups_ja(test, metrics),
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


def _groups_ja(test: Figures, metrics: Figures) -> str:
    """Say in which groups predicted and observed do not agree."""
    limits = metrics["plan"]["thresholds"]
    off = [
        f"{_GROUPS.get(title, title)}：{_GROUPS.get(label, label)}（HbA1c {limits[output]:.1f}%以上）{_range_ja(ratio, 1, 2)}"
        for title, label, output, ratio in miscalibrated(test["subgroups"])
    ]
    if not off:
        return "性別、年齢、BMI、人種・民族の各群で、実測と予測の明らかなずれは認めませんでした（評価可能な群のみ）。"
    return f"**一部の集団では、実測/予測比が1から大きくずれていました**（1より大きいと過小評価）：{'、'.join(off)}。"


def _limits(metrics: Figures) -> str:
    return "・".join(f"{limit:.1f}%以上" for limit in metrics["plan"]["thresholds"].values())


def _prevalences(manifest: Manifest, metrics: Figures) -> str:
    limits = metrics["plan"]["thresholds"]
    return "、".join(f"{limits[name]:.1f}%以上 {100 * share:.1f}%" for name, share in manifest.prevalence.items())


def _range_ja(figure: Mapping[str, float | None] | None, scale: float = 1, digits: int = 3) -> str:
    if figure is None or figure["value"] is None or figure["low"] is None or figure["high"] is None:
        return "評価不能"
    value, low, high = (scale * number for number in (figure["value"], figure["low"], figure["high"]))
    return f"{value:.{digits}f}〔{low:.{digits}f}–{high:.{digits}f}〕"


def _main_table_ja(student: Figures, metrics: Figures) -> str:
    limits = metrics["plan"]["thresholds"]
    keys = ("roc_auc_score", "observed_expected_ratio", "calibration_slope")
    rows = [
        [f"HbA1c {limits[output]:.1f}%以上", f"{one['events']}人", *(_range_ja(one.get(key)) for key in keys)]
        for output, one in student.items()
    ]
    return table(["推定の対象", "該当者", "AUC", "実測/予測比", "較正の傾き"], rows)


def _point_ja(name: str, at: Figures, point: OperatingPoint, metrics: Figures) -> str:
    limit = metrics["plan"]["thresholds"][point.output]
    low, high = metrics["plan"]["eligible"]["age_years"]
    return (
        f"表示基準「{name}」（HbA1c {limit:.1f}%以上の推定確率 {100 * point.threshold:.1f}%以上）：対象者100人あたり "
        f"{_range_ja(at['cards_per_100'], 1, 1)} 件を表示、陽性的中率 {_range_ja(at['ppv_score'], 100, 1)}%、"
        f"感度 {_range_ja(at['sensitivity_score'], 100, 1)}%（対象 {at['cases']}人、{low}～{high}歳・血糖値あり）。"
    )


def _without_glucose_ja(test: Figures, metrics: Figures) -> str:
    limits = metrics["plan"]["thresholds"]
    found = test["inputs_hidden"].get("without glucose", {})
    return "、".join(
        f"HbA1c {limits[o]:.1f}%以上のAUC {_range_ja(one.get('roc_auc_score'))}" for o, one in found.items()
    )
