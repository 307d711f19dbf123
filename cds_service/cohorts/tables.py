"""Labelled cases from survey tables: a CSV row becomes facts, and facts become features as at the bedside.

The reader knows NHANES's columns; the features, codes and units are the declaration's. A new table costs a reader.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from cds_service.clinical.building import build_features
from cds_service.clinical.facts import Facts, Measurement, PatientFact, measured
from cds_service.clinical.feature_spec import FeatureSet
from cds_service.clinical.features import Feature, model_inputs
from cds_service.clinical.times import interval_of
from cds_service.cohorts.checked import digest_of_files, read_checked, read_sums
from cds_service.errors import Fault, SettingsError

__all__ = ["Cohort", "read_nhanes"]

Floats = npt.NDArray[np.float64]
Strings = npt.NDArray[np.str_]

_COLUMNS: Mapping[str, tuple[str, str]] = {
    "bmi_kg_m2": ("http://loinc.org|39156-5", "kg/m2"),
    "waist_cm": ("http://loinc.org|56086-2", "cm"),
    "sbp_mmhg": ("http://loinc.org|96608-5", "mm[Hg]"),
    "dbp_mmhg": ("http://loinc.org|96609-3", "mm[Hg]"),
    "total_cholesterol_mmol_l": ("http://loinc.org|14647-2", "mmol/L"),
    "hdl_cholesterol_mmol_l": ("http://loinc.org|14646-4", "mmol/L"),
}
_GLUCOSE = {
    None: "http://loinc.org|14749-6",
    True: "http://loinc.org|14771-0",
    False: "http://medis.or.jp/CodeSystem/master-JLAC10-17digits|3D010129901927201",
}
"""By fasting state (not told, fasting, casual): the codes from which the declaration reads the state again."""
FASTING_HOURS = 8.0
"""ADA's and JDS's meaning of fasting: no calories for at least 8 hours."""
_SEXES: Mapping[str, Literal["male", "female"]] = {"male": "male", "female": "female"}
_ANSWERS = ("family_history_diabetes", "antihypertensive_now", "hypertension_told")
"""Read for the questionnaire scores that the model is compared with, never inputs."""


class Cohort(Struct, frozen=True):
    """Eligible people of one or more files, in the files' order."""

    name: str
    ids: tuple[str, ...]
    rows: tuple[dict[str, Feature], ...]
    """Each as ``build_features`` made it."""
    label: Floats
    """HbA1c in NGSP %, never an input."""
    groups: Mapping[str, Strings]
    """Sex, age band, BMI band, ethnicity: for checks of fairness, never inputs."""
    answers: Mapping[str, Floats]
    """Questionnaire answers (1, 0, NaN unknown), for baselines only."""
    files: Mapping[str, str]
    """File → sha256, as checked."""
    read: int
    """Rows in the files."""
    left_out: Mapping[str, int]
    """Why the others are not eligible → how many."""

    def __len__(self) -> int:
        return len(self.rows)

    def inputs(self, features: FeatureSet) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Lay all rows out as the graph wants them: (values, present), each of shape (rows, inputs)."""
        laid = [model_inputs(features, row) for row in self.rows]
        values = np.array([values for values, _ in laid], dtype=np.float32)
        return values, np.array([present for _, present in laid], dtype=np.float32)

    def digest(self) -> str:
        """Name the data: the hash of the files' hashes, in order of their names."""
        return digest_of_files(self.files)

    def manifest(self, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """Say what was read: hashes, counts, prevalences."""
        return {
            "name": self.name,
            "sha256": self.digest(),
            "files": dict(self.files),
            "rows_read": self.read,
            "eligible": len(self),
            "left_out": dict(self.left_out),
            "prevalence": {name: round(float((self.label >= at).mean()), 6) for name, at in thresholds.items()},
            "missing_share": {
                name: round(sum(row[name].value is None for row in self.rows) / len(self), 6) for name in self.rows[0]
            },
        }


def read_nhanes(data: Path, files: Sequence[str], features: FeatureSet, *, name: str) -> Cohort:
    """Read NHANES tables, checked against their list of hashes.

    Eligible are people who were never told that they have diabetes, are not pregnant and whose HbA1c is known.

    Args:
        data: The folder that holds ``SHA256SUMS``; files are named relative to it.
        files: Such as ``tabular/nhanes_2007-2008.csv``.
        features: What is declared; the label's columns never reach it.
        name: What to call the cohort.

    Raises:
        SettingsError: A file is not there, is not listed, or has another hash than its list says.
    """
    sums = read_sums(data)
    ids: list[str] = []
    rows: list[dict[str, Feature]] = []
    kept: list[Mapping[str, str]] = []
    left_out: dict[str, int] = {}
    digests: dict[str, str] = {}
    read = 0
    for file in files:
        content, digests[file] = read_checked(data, file, sums)
        for row in csv.DictReader(io.StringIO(content.decode("utf-8"))):
            read += 1
            why = _why_not(row)
            if why is not None:
                left_out[why] = left_out.get(why, 0) + 1
                continue
            facts, now = _facts(row)
            ids.append(row["seqn"])
            rows.append(build_features(features, facts, now))
            kept.append(row)
    if not rows:
        raise SettingsError(Fault(str(data), "there is no eligible row in the files named", "Name other files"))
    return Cohort(
        name=name,
        ids=tuple(ids),
        rows=tuple(rows),
        label=np.array([float(row["hba1c_percent"]) for row in kept]),
        groups={title: np.array([band(row) for row in kept]) for title, band in _GROUPS.items()},
        answers={
            answer: np.array([float(row[answer]) if row[answer] else np.nan for row in kept]) for answer in _ANSWERS
        },
        files=digests,
        read=read,
        left_out=left_out,
    )


def _why_not(row: Mapping[str, str]) -> str | None:
    if row["diabetes_told"] == "1":
        return "diabetes known"
    if row["diabetes_told"] != "0":
        return "not known whether diabetes was told"
    if row["pregnant"] == "1":
        return "pregnant"
    return None if row["hba1c_percent"] else "HbA1c unknown"


def _facts(row: Mapping[str, str]) -> tuple[Facts, datetime]:
    """Give what the chart of this person would hold, and the moment of the visit.

    A survey tells the age and not the birthday, so the visit lies on one.
    """
    year = int(row["cycle"].split("-")[1])
    visit = datetime(year, 1, 1, 12, tzinfo=UTC)
    found = [
        measured(code, float(row[column]), unit, visit, source=f"NHANES/{column}")
        for column, (code, unit) in _COLUMNS.items()
        if row[column]
    ]
    if row["serum_glucose_mmol_l"]:
        fasting = float(row["fasting_hours"]) >= FASTING_HOURS if row["fasting_hours"] else None
        found.append(
            measured(_GLUCOSE[fasting], float(row["serum_glucose_mmol_l"]), "mmol/L", visit, source="NHANES/glucose")
        )
    by_code: dict[str, list[Measurement]] = {}
    for one in found:
        by_code.setdefault(one.code, []).append(one)
    born = interval_of(f"{year - int(float(row['age_years'])):04d}-01-01")
    return Facts(patient=PatientFact(born, _SEXES.get(row["sex"])), measurements=by_code), visit


def _age_band(row: Mapping[str, str]) -> str:
    age = float(row["age_years"])
    return "18-34" if age < 35 else "35-49" if age < 50 else "50-64" if age < 65 else "65 and over"


def _bmi_band(row: Mapping[str, str]) -> str:
    if not row["bmi_kg_m2"]:
        return "BMI unknown"
    bmi = float(row["bmi_kg_m2"])
    return "BMI under 25" if bmi < 25 else "BMI 25-29.9" if bmi < 30 else "BMI 30 and over"


_GROUPS: Mapping[str, Callable[[Mapping[str, str]], str]] = {
    "sex": lambda row: row["sex"],
    "age": _age_band,
    "bmi": _bmi_band,
    "ethnicity": lambda row: row["ethnicity"],
}
