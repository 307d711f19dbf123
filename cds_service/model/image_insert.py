"""``PACKAGE_INSERT.ja.md`` of the breast ultrasound model, a 添付文書 in the order in which one is read, from the bundle's own figures."""

from collections.abc import Mapping
from typing import Any

from cds_service.model.image_card_parts import range_of
from cds_service.model.model_card import Figures, table
from cds_service.model.parts import Manifest, OperatingPoint

__all__ = ["image_insert"]

_OUTPUT = "malignant"
_NAMES = {"test": "学習施設と同じ施設の検証画像", "external": "他施設（外部）の画像"}
_UNKNOWN = "評価不能"


def image_insert(manifest: Manifest, metrics: Figures, points: Mapping[str, OperatingPoint]) -> str:
    """Write the insert.

    Args:
        manifest: What the bundle is.
        metrics: As ``metrics.json`` holds it; ``test`` and ``external`` are there once the sets were opened.
        points: The operating points.
    """
    training = metrics["data"]["training"]
    labels = training["labels"]
    opened = {which: metrics[which] for which in _NAMES if which in metrics}
    lines = [
        f"# 添付文書：{manifest.model} {manifest.version}",
        "**本プログラムは手法の実証を目的としたもので、医療機器ではありません。個々の患者の診断・治療の判断に用いないでください。**",
        "## 警告",
        (
            "- 表示される確率は推定値であり、診断ではありません。診断は、医師が画像・触診・病理などの所見を総合して行ってください。\n"
            "- カードが表示されないこと、確率が低いことは、悪性でないことを意味しません。\n"
            "- 他施設の画像では性能が下がり、確率の値がずれます（臨床成績を参照）。"
        ),
        "## 禁忌・使用してはならない場合",
        (
            "- 乳房超音波のBモード画像でないもの（他の部位、他の検査、ドプラ、エラストグラフィ）。"
            + (
                "学習画像と大きく異なる画像には値を示しませんが、すべてを見分けるわけではありません。"
                if "unlikeness" in metrics
                else "本版は、対象外の画像を自ら見分けません。"
            )
            + "\n"
            "- 男性、豊胸術後、腋窩の画像（学習データでの確認がありません）。\n"
            "- 検診で異常なしと判定する目的。"
        ),
        "## 形状・構造及び原理",
        (
            f"乳房超音波画像1枚（グレースケール）から、悪性病変が写っている確率を推定する小さな畳み込みニューラルネットワークです。"
            f"大きな教師モデル（{metrics['recipe']['folds'] * metrics['recipe']['teacher']['members_per_fold']}個のネットワーク）から蒸留しました。"
            f"出荷形式：{'8ビット整数' if metrics['compression']['shipped'].endswith('int8') else '32ビット浮動小数点'}。"
        ),
        "## 使用目的又は効果",
        "研究・教育・手法の検証において、乳房超音波画像を読む際の参考情報を示すこと。",
        "## 用法及び用量（使用方法）",
        (
            "病変を含む画像1枚を入力します。導入施設では、まず表示を止めた状態で自施設の病理結果と照合し、自施設の有病割合を設定してください。"
            "設定されるまで、確率は数値ではなく言葉で示します。"
        ),
        "## 学習に用いたデータ",
        (
            f"{manifest.population['ja']} {training['images']}枚（良性 {labels['benign']}、悪性 {labels['malignant']}、正常 {labels['normal']}）。"
            f"悪性の割合：{100 * manifest.prevalence[_OUTPUT]:.1f}%。出典：{metrics['plan']['citation']}（CC BY 4.0）。"
        ),
        "## 臨床成績（性能）",
    ]
    if not opened:
        lines.append("この候補版では、検証画像と外部画像をまだ開いていません。")
    lines += [part for which, figures in opened.items() for part in _of_set(_NAMES[which], figures)]
    lines += [
        "## 使用上の注意",
        (
            "- 学習は1施設・1系統の装置の画像によります。日本人集団・各施設での較正は確認されていません。\n"
            "- 学習画像には患者番号がなく、同一患者の画像が学習と検証に分かれている可能性があります。\n"
            "- 計測マーカーや文字が焼き込まれた画像では、それらが結果に影響する可能性があります。\n"
            f"- しきい値は「{'」「'.join(points)}」の{len(points)}段階です。陽性的中率は施設の有病割合により変わります。"
        ),
        "## 貯法・有効期間",
        (
            "ファイルは `bundle.toml` のハッシュ値で照合され、1バイトでも異なれば起動しません。装置・撮像条件・画像の処理が変わったときは使用を止め、照合をやり直してください。"
            "観測/予測比（O:E）と較正の傾きを自施設で監視している間に限り有効です。"
        ),
        "## 承認・届出",
        "なし（医療機器プログラムとしての承認・認証・届出はされていません）。",
        "## 問い合わせ先",
        "導入施設の担当部門。本プログラムの公開場所の案内（README）を参照してください。",
    ]
    return "\n\n".join(lines) + "\n"


def _of_set(title: str, figures: Mapping[str, Any]) -> list[str]:
    student, lesions = figures["student"][_OUTPUT], figures["student_lesions_only"][_OUTPUT]
    rows = [
        ["本モデル（全画像）", _range(student.get("roc_auc_score"))],
        ["本モデル（良性・悪性のみ）", _range(lesions.get("roc_auc_score"))],
        ["教師モデル（全画像）", _range(figures["teacher"]["roc_auc_score"])],
    ]
    if "reader" in figures:
        rows.append(["読影医のBI-RADS分類", _range(figures["reader"]["roc_auc_score"])])
    reached = [
        f"- しきい値「{name}」（{at['threshold']:g}）：感度 {_range(at['sensitivity_score'])}、特異度 {_range(at['specificity_score'])}、"
        f"陽性的中率 {_range(at['ppv_score'])}（悪性の割合 {student['prevalence']['value']:.3f} のとき）"
        for name, at in figures["operating_points"].items()
    ]
    return [
        f"### {title}（{figures['data']['name']}）",
        f"{figures['cases']}枚、うち悪性 {student['events']}枚。［ ］内は95%信頼区間。",
        table(["", "AUC"], rows),
        f"観測/予測比（1が最良）：{_range(student.get('observed_expected_ratio'))}、較正の傾き（1が最良）：{_range(student.get('calibration_slope'))}。",
        "\n".join(reached),
    ]


def _range(figure: Mapping[str, float | None] | None) -> str:
    told = range_of(figure)
    return _UNKNOWN if told == "not assessable" else told
