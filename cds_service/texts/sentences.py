"""The table of general sentences: key → language → sentence with ``{slots}``.

Reasons are phrases that fit in parentheses, written in Japanese as in a chart (noun endings); notes are whole sentences
(です・ます). Each family (``missing_``, ``newer_``, ``set_aside_``, ``key_``, ``abstained_``) has an ``…_other``, said for
a reason that has no words of its own: a new reason code must never keep a card from a clinician.
"""

from collections.abc import Mapping

__all__ = ["SENTENCES"]

SENTENCES: Mapping[str, Mapping[str, str]] = {
    # why a value is missing: the reason codes of clinical/, as phrases that fit in parentheses
    "missing_absent": {"en": "not on record", "ja": "記録なし"},
    "missing_no_result": {"en": "no result on record", "ja": "結果の記録なし"},
    "missing_stale": {"en": "only older results", "ja": "有効期間内の結果なし"},
    "missing_stale_or_unknown": {"en": "a result exists that may be too old", "ja": "有効期間内か判断できない結果あり"},
    "missing_implausible": {"en": "a result exists that cannot be right", "ja": "あり得ない値の結果あり"},
    "missing_unit_missing": {"en": "a result exists without a unit", "ja": "単位のない結果あり"},
    "missing_unit_not_convertible": {
        "en": "a result exists in a unit that cannot be converted",
        "ja": "換算できない単位の結果あり",
    },
    "missing_text_value": {"en": "a result exists as text", "ja": "文字列の結果あり"},
    "missing_status_not_usable": {"en": "only results that are not final", "ja": "確定していない結果のみ"},
    "missing_other_patient": {"en": "results of another patient were set aside", "ja": "別の患者の結果を除外"},
    "missing_subject_unresolved": {
        "en": "results of an unknown patient were set aside",
        "ja": "患者を確認できない結果を除外",
    },
    "missing_invalid_resource": {"en": "a result exists that cannot be read", "ja": "読み取れない形式の結果あり"},
    "missing_time_missing": {"en": "a result exists without a date", "ja": "日付のない結果あり"},
    "missing_time_invalid": {"en": "a result exists whose date cannot be read", "ja": "日付を読み取れない結果あり"},
    "missing_time_ambiguous": {"en": "the date is ambiguous", "ja": "日時を確定できない"},
    "missing_time_in_future": {"en": "a result exists that is dated in the future", "ja": "未来の日付の結果あり"},
    "missing_comparator": {
        "en": "a result exists only as a limit (less or greater than)",
        "ja": "「未満」「超」のみの結果あり",
    },
    "missing_code_not_listed": {"en": "only results of another test", "ja": "対象外の検査コードの結果のみ"},
    "missing_no_value": {"en": "recorded without a value", "ja": "値の記載なし"},
    "missing_conflicting": {"en": "results contradict each other", "ja": "矛盾する結果あり"},
    "missing_patient_deceased": {"en": "the patient has died", "ja": "死亡のため対象外"},
    "missing_key_absent": {"en": "the data were not sent", "ja": "データ未送信"},
    "missing_key_failed": {"en": "the data could not be read", "ja": "データの読み取りに失敗"},
    "missing_key_incomplete": {"en": "the data may be incomplete", "ja": "データが一部のみの可能性"},
    "missing_not_asked": {"en": "not asked for", "ja": "取得対象外"},
    "missing_other": {"en": "not usable", "ja": "使用できない結果"},
    # why a newer result than the one used was not used, beside that value
    "newer_stale_or_unknown": {"en": "a newer result may be too old", "ja": "より新しい結果は日時が不確か"},
    "newer_implausible": {"en": "a newer result cannot be right", "ja": "より新しい結果はあり得ない値"},
    "newer_unit_missing": {"en": "a newer result has no unit", "ja": "より新しい結果は単位なし"},
    "newer_unit_not_convertible": {
        "en": "a newer result is in a unit that cannot be converted",
        "ja": "より新しい結果は単位を換算できない",
    },
    "newer_text_value": {"en": "a newer result exists as text", "ja": "より新しい結果は文字列"},
    "newer_status_not_usable": {"en": "a newer result is not final", "ja": "より新しい結果は未確定"},
    "newer_other_patient": {"en": "a newer result is another patient's", "ja": "より新しい結果は別の患者のもの"},
    "newer_subject_unresolved": {
        "en": "a newer result is of an unknown patient",
        "ja": "より新しい結果は患者を確認できない",
    },
    "newer_invalid_resource": {"en": "a newer result cannot be read", "ja": "より新しい結果は読み取れない形式"},
    "newer_time_missing": {"en": "another result has no date", "ja": "日付のない別の結果あり"},
    "newer_time_invalid": {"en": "another result's date cannot be read", "ja": "日付を読み取れない別の結果あり"},
    "newer_time_ambiguous": {
        "en": "a newer result could not be dated",
        "ja": "より新しい可能性のある結果は日時を確定できない",
    },
    "newer_time_in_future": {"en": "another result is dated in the future", "ja": "未来の日付の別の結果あり"},
    "newer_comparator": {"en": "a newer result is only a limit", "ja": "より新しい結果は「未満」「超」のみ"},
    "newer_no_value": {"en": "a newer result has no value", "ja": "より新しい結果は値の記載なし"},
    "newer_conflicting": {"en": "newer results contradict each other", "ja": "より新しい結果どうしが矛盾"},
    "newer_other": {"en": "a newer result was not usable", "ja": "より新しい結果は使用できない"},
    # what was set aside, in whole sentences
    "set_aside_other_patient": {
        "en": "Results of another or unknown patient were set aside.",
        "ja": "別の患者、または患者を確認できない結果は使用していません。",
    },
    "set_aside_subject_unresolved": {
        "en": "Results of another or unknown patient were set aside.",
        "ja": "別の患者、または患者を確認できない結果は使用していません。",
    },
    "set_aside_time_missing": {
        "en": "A result without a date was set aside; it may be newer than those used.",
        "ja": "日付のない結果は使用していません。使用した値より新しい可能性があります。",
    },
    "set_aside_time_invalid": {
        "en": "A result that could not be dated was set aside; it may be newer than those used.",
        "ja": "日時を確認できない結果は使用していません。使用した値より新しい可能性があります。",
    },
    "set_aside_time_ambiguous": {
        "en": "A result that could not be dated was set aside; it may be newer than those used.",
        "ja": "日時を確認できない結果は使用していません。使用した値より新しい可能性があります。",
    },
    "set_aside_invalid_resource": {
        "en": "Some records could not be read and were set aside.",
        "ja": "読み取れない記録があり、使用していません。",
    },
    "set_aside_implausible": {
        "en": "A result exists that cannot be right; please check it.",
        "ja": "あり得ない値の結果があります。ご確認ください。",
    },
    "set_aside_text_value": {
        "en": "A result exists as text and was not read.",
        "ja": "文字列の結果があり、使用していません。",
    },
    "set_aside_status_not_usable": {
        "en": "A result that is not final was not used.",
        "ja": "確定していない結果は使用していません。",
    },
    "set_aside_conflicting": {
        "en": "Results that contradict each other were not used.",
        "ja": "互いに矛盾する結果は使用していません。",
    },
    "set_aside_other": {"en": "Some results were set aside.", "ja": "使用していない結果があります。"},
    # why a prefetch key brought nothing
    "key_absent": {"en": "not sent", "ja": "未送信"},
    "key_failed": {"en": "could not be read", "ja": "読み取りに失敗"},
    "key_refused": {"en": "access was refused", "ja": "アクセスが許可されていません"},
    "key_incomplete": {"en": "may be incomplete", "ja": "一部のみの可能性"},
    "key_none": {"en": "nothing on record", "ja": "該当する記録なし"},
    "key_other": {"en": "not available", "ja": "取得できず"},
    # why the model did not speak
    "abstained_out_of_distribution": {
        "en": "the values are unlike those the model learned from",
        "ja": "学習データと大きく異なる値",
    },
    "abstained_not_enough_inputs": {"en": "too few of the needed values are on record", "ja": "必要な値が不足"},
    "abstained_non_finite": {"en": "the model gave no valid number", "ja": "モデルが有効な数値を出力せず"},
    "abstained_data_unknown": {"en": "needed data could not be had", "ja": "必要なデータを取得できず"},
    "abstained_other": {"en": "a check of the model failed", "ja": "モデルの検査に不合格"},
    # calibration to the site
    "calibration_undeclared": {"en": "none", "ja": "なし"},
    "calibration_declared": {"en": "to its declared prevalence", "ja": "あり（施設の申告有病率による）"},
    # fasting state, never guessed
    "fasting": {"en": "fasting", "ja": "空腹時"},
    "casual": {"en": "not fasting", "ja": "随時"},
    "fasting_unknown": {"en": "fasting state unknown", "ja": "空腹時か不明"},
    # how a value is listed
    "male": {"en": "male", "ja": "男性"},
    "female": {"en": "female", "ja": "女性"},
    "years": {"en": "{number} years", "ja": "{number}歳"},
    "column_item": {"en": "Value", "ja": "項目"},
    "column_value": {"en": "Result", "ja": "結果"},
    "column_date": {"en": "Date", "ja": "日付"},
    "column_record": {"en": "Record", "ja": "記録"},
    "named_reason": {"en": "{name} ({reason})", "ja": "{name}（{reason}）"},
    "none": {"en": "none", "ja": "なし"},
    # percentages at an edge that fewer than 20 cases lie beyond
    "percent_under": {"en": "under {number} %", "ja": "{number}%未満"},
    "percent_over": {"en": "over {number} %", "ja": "{number}%超"},
}
