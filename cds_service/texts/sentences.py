"""The table of general sentences: key → language → sentence with ``{slots}``.

Reasons are phrases that fit in parentheses; notes are whole sentences. Japanese is written as a clinician would write
it in a chart: short, だ・である-free noun endings for reasons, です・ます for sentences.
"""

from collections.abc import Mapping

SENTENCES: Mapping[str, Mapping[str, str]] = {
    # why a value is missing, or why a result was set aside: the reason codes of clinical/
    "reason_absent": {"en": "not on record", "ja": "記録なし"},
    "reason_no_result": {"en": "no result on record", "ja": "結果の記録なし"},
    "reason_stale": {"en": "only older results", "ja": "有効期間内の結果なし"},
    "reason_implausible": {"en": "a result exists that cannot be right", "ja": "あり得ない値の結果あり"},
    "reason_unit_missing": {"en": "a result exists without a unit", "ja": "単位のない結果あり"},
    "reason_unit_not_convertible": {
        "en": "a result exists in a unit that cannot be converted",
        "ja": "換算できない単位の結果あり",
    },
    "reason_text_value": {"en": "a result exists as text", "ja": "文字列の結果あり"},
    "reason_status_not_usable": {"en": "only results that are not final", "ja": "確定していない結果のみ"},
    "reason_other_patient": {"en": "results of another patient were set aside", "ja": "別の患者の結果を除外"},
    "reason_subject_unresolved": {
        "en": "results of an unknown patient were set aside",
        "ja": "患者を確認できない結果を除外",
    },
    "reason_invalid_resource": {"en": "a result exists that cannot be read", "ja": "読み取れない形式の結果あり"},
    "reason_time_missing": {"en": "a result exists without a date", "ja": "日付のない結果あり"},
    "reason_time_invalid": {"en": "a result exists whose date cannot be read", "ja": "日付を読み取れない結果あり"},
    "reason_time_ambiguous": {"en": "a result exists whose date is ambiguous", "ja": "日時を確定できない結果あり"},
    "reason_stale_or_unknown": {
        "en": "a result exists that may be too old",
        "ja": "有効期間内か判断できない結果あり",
    },
    "reason_time_in_future": {"en": "a result exists that is dated in the future", "ja": "未来の日付の結果あり"},
    "reason_comparator": {
        "en": "a result exists only as a limit (less or greater than)",
        "ja": "「未満」「超」のみの結果あり",
    },
    "reason_code_not_listed": {"en": "only results of another test", "ja": "対象外の検査コードの結果のみ"},
    "reason_no_value": {"en": "recorded without a value", "ja": "値の記載なし"},
    "reason_conflicting": {"en": "results contradict each other", "ja": "矛盾する結果あり"},
    "reason_key_failed": {"en": "could not be read", "ja": "読み取りに失敗"},
    "reason_key_absent": {"en": "not sent", "ja": "未送信"},
    "reason_key_incomplete": {"en": "may be incomplete", "ja": "一部のみの可能性"},
    "reason_not_told": {"en": "not told with the result", "ja": "結果に記載なし"},
    "reason_value_not_listed": {"en": "a result exists that is not in the table", "ja": "対応表にない結果あり"},
    "reason_value_not_number": {"en": "a result exists that is not one number", "ja": "数値でない結果あり"},
    "reason_unit_conflicting": {
        "en": "a result exists whose unit is written in two ways that differ",
        "ja": "単位の表記とコードが食い違う結果あり",
    },
    "reason_patient_deceased": {"en": "the patient has died", "ja": "死亡のため対象外"},
    "reason_other": {"en": "not usable", "ja": "使用できない結果"},
    "reason_not_asked": {"en": "not asked for", "ja": "取得対象外"},
    # why the model did not speak
    "abstained_out_of_distribution": {
        "en": "the values are unlike those the model learned from",
        "ja": "学習データと大きく異なる値の組合せ",
    },
    "abstained_not_enough_inputs": {"en": "too few of the needed values are on record", "ja": "必要な値が不足"},
    "abstained_non_finite": {"en": "the model gave no valid number", "ja": "モデルが有効な数値を出力せず"},
    "abstained_data_unknown": {"en": "needed data could not be had", "ja": "必要なデータを取得できず"},
    "abstained_other": {"en": "a check of the model failed", "ja": "モデルの検査に不合格"},
    # what was set aside, beside a value that was used
    "note_other_patient": {
        "en": "Results of another or unknown patient were set aside.",
        "ja": "別の患者、または患者を確認できない結果は使用していません。",
    },
    "note_newer_undated": {
        "en": "A newer result of {feature} could not be dated.",
        "ja": "{feature}に、日時を確認できない新しい結果があります。",
    },
    "note_newer_unusable": {
        "en": "A newer result of {feature} was not used ({reason}).",
        "ja": "{feature}の新しい結果は使用していません（{reason}）。",
    },
    "note_implausible": {
        "en": "A result of {feature} exists that cannot be right.",
        "ja": "{feature}に、あり得ない値の結果があります。",
    },
    "note_text_value": {
        "en": "A result of {feature} exists as text and was not read.",
        "ja": "{feature}に、文字列の結果があります（未使用）。",
    },
    "note_conflicting": {
        "en": "Results of {feature} contradict each other; none was used.",
        "ja": "{feature}の結果が矛盾しているため使用していません。",
    },
    "note_unit_from_text": {
        "en": "The unit of {feature} was read from its text.",
        "ja": "{feature}の単位は表記から読み取りました。",
    },
    "note_unreadable": {
        "en": "{count} results could not be read and were set aside.",
        "ja": "読み取れない結果{count}件は使用していません。",
    },
    "note_not_available": {
        "en": "The chart did not provide: {data}.",
        "ja": "電子カルテから得られなかった情報：{data}。",
    },
    "note_not_checked": {"en": "Not checked: {data}.", "ja": "確認できていない事項：{data}。"},
    "note_maybe_incomplete": {"en": "May be incomplete: {data}.", "ja": "一部のみの可能性：{data}。"},
    # calibration to the site
    "site_calibration_none": {"en": "none declared", "ja": "なし"},
    "site_calibration": {
        "en": "prevalence {prevalence} ({source}, since {date})",
        "ja": "有病率{prevalence}（{source}、{date}以降）",
    },
    # fasting state, never guessed
    "fasting": {"en": "fasting", "ja": "空腹時"},
    "casual": {"en": "not fasting", "ja": "随時"},
    "fasting_unknown": {"en": "fasting state unknown", "ja": "空腹時か不明"},
    # sex, where a card lists it as a value used
    "male": {"en": "male", "ja": "男性"},
    "female": {"en": "female", "ja": "女性"},
    # the table of values used
    "column_item": {"en": "Value", "ja": "項目"},
    "column_value": {"en": "Result", "ja": "結果"},
    "column_date": {"en": "Date", "ja": "日付"},
    "column_record": {"en": "Record", "ja": "記録"},
    # small words
    "none": {"en": "none", "ja": "なし"},
    "not_given": {"en": "not given", "ja": "記載なし"},
    "months": {"en": "{number} months", "ja": "{number}か月"},
    "percent_under": {"en": "under {number} %", "ja": "{number}%未満"},
    "percent_over": {"en": "over {number} %", "ja": "{number}%超"},
    "development_mode": {
        "en": "Development mode, not for patients.",
        "ja": "開発モードです。診療には使用できません。",
    },
}
