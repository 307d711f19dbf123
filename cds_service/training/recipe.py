"""One frozen recipe in, one bundle out: ``train`` makes a candidate that ``release/`` may then judge."""

import json
import platform
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from cds_service.clinical.feature_spec import FeatureSet, read_feature_set
from cds_service.clinical.features import Feature
from cds_service.cohorts.baselines import fit_baseline
from cds_service.cohorts.questionnaires import SCORES_MISSING_ITEMS
from cds_service.cohorts.tables import Cohort, read_nhanes
from cds_service.errors import BundleError, Fault, SettingsError
from cds_service.model.abstain import Abstention, Laid
from cds_service.model.bundle import FORMAT, Calibration, DataUsed, Golden, Manifest, load_bundle
from cds_service.model.model_card import model_card
from cds_service.model.package_insert import package_insert
from cds_service.model.runtime import open_model
from cds_service.model.sealing import as_toml_points, write_bundle
from cds_service.training.calibrate import calibrate, calibrated, choose_operating_points
from cds_service.training.development import Trained, development
from cds_service.training.distill import distil, out_of_fold_logits
from cds_service.training.export import as_onnx, golden_features, golden_row, make_reference
from cds_service.training.monotone import directions_of, falls_where_it_should_rise
from cds_service.training.nets import ChainNet, Table, chain_targets, logits_of
from cds_service.training.recipe_types import Recipe, read_recipe
from cds_service.training.teacher import teach

__all__ = ["Prepared", "as_json", "prepare_table", "train"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Say = Callable[[str], None]


def train(
    model: str, recipe: str = "default", *, data: Path, recipes: Path, state: Path, commit: str = "", say: Say = print
) -> Path:
    """Train one model by its frozen recipe and write a candidate bundle.

    Args:
        model: A folder of *recipes*, such as ``dysglycaemia``.
        recipe: The recipe's name, without ``.toml``.
        data: The folder that holds ``SHA256SUMS`` and the tables.
        recipes: Where recipes lie.
        state: Where the candidate and the teacher's cached predictions go.
        commit: The project's commit, written into the bundle.
        say: Where progress goes, a line at a time.

    Returns:
        The candidate's folder, ``<state>/candidates/<model>/<version>``: complete, sealed, its golden rows run.
        The test set has not been opened; ``release.evaluate`` does that, once.

    Raises:
        SettingsError: The recipe or the data are wrong.
        BundleError: What was exported does not give what was trained.
    """
    prepared = prepare_table(model, recipe, data=data, recipes=recipes, say=say)
    frozen, features, cohort, table = prepared.recipe, prepared.features, prepared.cohort, prepared.table
    inputs, truth = prepared.inputs, prepared.truth
    teacher = teach(table, cohort.ids, inputs, frozen, cache=state / "cache" / model, say=say)
    student, of_folds = distil(table, teacher, inputs, frozen, say=say)
    logits = out_of_fold_logits(of_folds, teacher.fold, table.values, table.present)
    calibration = calibrate(logits, truth, frozen.calibration)
    probability = calibrated(logits, calibration, tuple(truth))
    points = choose_operating_points(
        probability, truth, frozen.eligible.mask(cohort), frozen.operating_points, frozen.eligible.text
    )

    say("figures: out of fold, baselines, subgroups")
    reference = make_reference(features, table.values, table.present, probability)
    metrics = {
        "plan": _plan(frozen),
        "data": {"training": cohort.manifest(frozen.thresholds)},
        "recipe": frozen.as_dict(),
        "development": development(
            Trained(cohort, inputs, table, truth, teacher, of_folds, calibration, probability), points, frozen
        ),
        "wrong_way": falls_where_it_should_rise(student, table, inputs, directions_of(frozen)),
        "baselines": {
            "logistic_regression": msgspec.to_builtins(fit_baseline(inputs, table.values, table.present, truth)),
            "questionnaires_missing_items": {name: list(items) for name, items in SCORES_MISSING_ITEMS.items()},
        },
    }
    manifest = Manifest(
        format=FORMAT,
        model=model,
        version=frozen.version,
        made_by=f"cds-service train {model} --recipe {recipe}",
        commit=commit,
        parent=frozen.parent,
        minimum_inputs=frozen.minimum_inputs,
        data=(DataUsed(cohort.name, cohort.digest(), len(cohort), frozen.data.licence),),
        population=frozen.population,
        prevalence={name: round(float(reached.mean()), 6) for name, reached in truth.items()},
        outputs={output.name: output.title for output in frozen.outputs},
        files={},
    )
    contents = {
        "model.onnx": as_onnx(student, inputs, tuple(truth)),
        "features.toml": prepared.declaration,
        "calibration.json": as_json(calibration),
        "operating_points.toml": as_toml_points(points).encode(),
        "reference.json": as_json(reference),
        "golden.json": b"",
        "metrics.json": as_json(metrics),
        "MODEL_CARD.md": model_card(manifest, metrics).encode(),
        "PACKAGE_INSERT.ja.md": package_insert(manifest, metrics, points).encode(),
    }
    folder = state / "candidates" / model / frozen.version
    _write_with_golden(folder, manifest, contents, golden_features(reference), frozen)
    _check_export(folder, of_torch=student, table=table, calibration=calibration)
    say(f"candidate: {folder} ({len(contents['model.onnx'])} bytes of ONNX, made on {platform.machine()})")
    return folder


class Prepared(Struct, frozen=True):
    """A recipe and the rows that it trains on."""

    recipe: Recipe
    declaration: bytes
    """``features.toml`` as it stands."""
    features: FeatureSet
    cohort: Cohort
    inputs: tuple[str, ...]
    table: Table
    truth: dict[str, Bools]
    """Output → whether each row reaches it."""


def prepare_table(model: str, recipe: str, *, data: Path, recipes: Path, say: Say) -> Prepared:
    """Read a recipe and its training rows.

    Raises:
        SettingsError: The recipe or the data are wrong.
    """
    frozen = read_recipe(recipes / model / f"{recipe}.toml")
    if frozen.model != model:
        raise SettingsError(Fault(f"{recipes}/{model}/{recipe}.toml: model", f"is {frozen.model}", f"Write {model}"))
    declaration, features = _read_features(recipes / model / "features.toml")
    cohort = read_nhanes(data, frozen.data.training, features, name=frozen.data.name)
    say(f"data: {cohort.name}, {len(cohort)} eligible of {cohort.read} rows")
    return Prepared(
        recipe=frozen,
        declaration=declaration,
        features=features,
        cohort=cohort,
        inputs=tuple(spec.name for spec in features.inputs),
        table=_table(cohort, features, frozen),
        truth={name: cohort.label >= limit for name, limit in frozen.thresholds.items()},
    )


def _read_features(path: Path) -> tuple[bytes, FeatureSet]:
    """Read the declaration, and keep its bytes for the bundle."""
    try:
        declaration = path.read_bytes()
        return declaration, read_feature_set(tomllib.loads(declaration.decode()))
    except OSError as fault:
        raise SettingsError(Fault(str(path), f"can't be read ({fault.strerror})", "Declare the features")) from None
    except ValueError as fault:  # of TOML, of UTF-8, or of the declaration: each says where
        raise SettingsError(
            Fault(str(path), str(fault), "Mend the declaration; see docs/reference/features.md")
        ) from None


def _table(cohort: Cohort, features: FeatureSet, recipe: Recipe) -> Table:
    values, present = cohort.inputs(features)
    height = np.log(np.clip(cohort.label, 4, 9) - 3.5)
    height = (height - height.mean()) / height.std()
    return Table(
        values, present, chain_targets(cohort.label, list(recipe.thresholds.values())), height.astype(np.float32)
    )


def _plan(recipe: Recipe) -> dict[str, Any]:
    """Say how the candidate is to be judged, before the test set is opened."""
    return {
        "thresholds": recipe.thresholds,
        "test": {"name": recipe.data.test_name, "files": list(recipe.data.test)},
        "eligible": msgspec.to_builtins(recipe.eligible),
        "hidden": msgspec.to_builtins(recipe.hidden),
    }


def _write_with_golden(
    folder: Path,
    manifest: Manifest,
    contents: dict[str, bytes],
    rows: list[tuple[str, dict[str, float | None]]],
    recipe: Recipe,
) -> None:
    """Seal the candidate with golden rows that the graph itself gave, as it is served."""
    first = Golden(recipe.golden_tolerance, (golden_row(*rows[0], dict.fromkeys(manifest.outputs, 0.5)),))
    contents["golden.json"] = as_json(first)
    write_bundle(folder, manifest, contents, replace=True)
    model = open_model(load_bundle(folder), run_golden=False)
    pinned = []
    for label, features in rows:
        laid = model.gate.lay_out({name: Feature(name, value) for name, value in features.items()})
        if isinstance(laid, Abstention):
            raise BundleError(
                Fault(f"golden row {label}", f"the model abstains: {laid.reason}", "Mend golden_features")
            )
        given = model.chain.probabilities(model.logits(laid))
        pinned.append(golden_row(label, features, dict(zip(manifest.outputs, given, strict=True))))
    contents["golden.json"] = as_json(Golden(recipe.golden_tolerance, tuple(pinned)))
    write_bundle(folder, manifest, contents, replace=True)


def _check_export(folder: Path, *, of_torch: ChainNet, table: Table, calibration: Calibration) -> None:
    """The graph on ONNX Runtime and the net in torch say the same of the first rows; the golden rows pass."""
    model = open_model(load_bundle(folder))
    some = slice(0, 512)
    laid = [Laid(v, p, (), ()) for v, p in zip(table.values[some].tolist(), table.present[some].tolist(), strict=True)]
    outputs = model.chain.outputs
    ours = calibrated(np.array(model.logits_many(laid)), calibration, outputs)
    theirs = calibrated(logits_of(of_torch, table.values[some], table.present[some]), calibration, outputs)
    gap = max(float(np.abs(ours[output] - theirs[output]).max()) for output in outputs)
    if not gap < 1e-5:
        raise BundleError(
            Fault(f"{folder}/model.onnx", f"differs from the trained net by {gap:.2g}", "Mend training/export.py")
        )


def as_json(document: object) -> bytes:
    """Write JSON as people read it and as bytes repeat it."""
    return (json.dumps(msgspec.to_builtins(document), ensure_ascii=False, indent=1) + "\n").encode()
