"""The commands of who makes a model: train it, see what its compression cost, judge it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cds_service.cli.faults import says_what_is_wrong
from cds_service.errors import Fault, SettingsError
from cds_service.settings import shipped

__all__ = ["compression", "evaluate", "train"]

DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="CDS_DATA",
    default=Path("../shared/data"),
    show_default=True,
    help="Folder of the data sets; see docs/developers/data.md.",
)


@click.command()
@click.argument("model")
@click.option("--recipe", default="default", show_default=True)
@DATA
@click.option("--recipes", type=click.Path(path_type=Path, file_okay=False, exists=True), default=shipped("recipes"))
@click.option("--assets", type=click.Path(path_type=Path, file_okay=False), default=shipped("model_assets"))
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), default=Path("var"), show_default=True)
@click.option("--candidate", is_flag=True, help="Stop before the test set is opened and nothing is released.")
@says_what_is_wrong
def train(model: str, recipe: str, data: Path, recipes: Path, assets: Path, state: Path, *, candidate: bool) -> None:
    """Train a model by its recipe, judge it once on its test set, and put the bundle among the releases.

    \b
    $ cds-service train dysglycaemia
    """
    try:
        if (recipes / model / "pixels.toml").exists():
            _train_image(model, recipe, data, recipes, assets, state, candidate=candidate)
            return
        from cds_service.training.recipe import train as train_by
    except ImportError as missing:
        raise SettingsError(
            Fault("train", f"needs the package {missing.name}", "Install the extra: pip install 'cds-service[train]'")
        ) from None
    from cds_service.release.evaluate import release_candidate, summary

    folder = train_by(model, recipe, data=data, recipes=recipes, state=state, commit=_commit(), say=click.echo)
    if candidate:
        click.echo(f"Candidate: {folder}")
        return
    released, figures = release_candidate(
        folder, data=data, assets=assets, today=datetime.now(UTC).date(), say=click.echo
    )
    for line in summary(figures):
        click.echo(line)
    click.echo(f"Released: {released}")


def _train_image(
    model: str, recipe: str, data: Path, recipes: Path, assets: Path, state: Path, *, candidate: bool
) -> None:
    from cds_service.release.evaluate_image import SETS, image_summary, release_image_candidate
    from cds_service.training.image_recipe import train_image

    folder = train_image(model, recipe, data=data, recipes=recipes, state=state, commit=_commit(), say=click.echo)
    if candidate:
        click.echo(f"Candidate: {folder}")
        return
    released, metrics = release_image_candidate(
        folder, data=data, assets=assets, today=datetime.now(UTC).date(), say=click.echo
    )
    for which in SETS:
        for line in image_summary(metrics[which]):
            click.echo(line)
    click.echo(f"Released: {released}")


@click.command()
@click.argument("model")
@click.option("--version", help="A released version  [default: the champion]")
@click.option("--assets", type=click.Path(path_type=Path, file_okay=False), default=shipped("model_assets"))
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
@click.option(
    "--choices", is_flag=True, help="Judge what the recipe could be otherwise, by cross-validation; takes hours."
)
@DATA
@click.option("--recipes", type=click.Path(path_type=Path, file_okay=False, exists=True), default=shipped("recipes"))
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), default=Path("var"), show_default=True)
@says_what_is_wrong
def compression(
    model: str,
    version: str | None,
    assets: Path,
    json_file: Path | None,
    data: Path,
    recipes: Path,
    state: Path,
    *,
    choices: bool,
) -> None:
    """Print what each step from the teacher to the student cost and kept.

    Of an image model: as its training run measured it, and the released graph timed here. Of a table: measured here and
    now, out of fold on the training data; what is finished is kept under the state folder.

    \b
    $ cds-service compression breast-ultrasound
    $ cds-service compression breast-ultrasound --choices
    """
    if choices:
        _judge_choices(model, data, recipes, state, json_file)
        return
    if (recipes / model / "features.toml").exists():
        _compress_table(model, data, recipes, state, json_file)
        return
    import json

    import msgspec

    from cds_service.model.channels import read_channels
    from cds_service.release.compression import compression_lines, compression_report

    folder = assets / model
    report = compression_report(folder / (version or read_channels(folder).champion))
    for line in compression_lines(report):
        click.echo(line)
    if json_file is not None:
        json_file.write_text(json.dumps(msgspec.to_builtins(report), indent=2) + "\n", encoding="utf-8")


def _compress_table(model: str, data: Path, recipes: Path, state: Path, json_file: Path | None) -> None:
    """Measure every way to make the student of a table; needs the training data, never a test set."""
    try:
        from cds_service.training.table_compression import measure_table_compression, table_compression_lines
    except ImportError as missing:
        raise SettingsError(
            Fault(
                "compression",
                f"needs the package {missing.name}",
                "Install the extra: pip install 'cds-service[train]'",
            )
        ) from None
    import msgspec

    result = measure_table_compression(
        model, data=data, recipes=recipes, state=state, say=lambda line: click.echo(line, err=True)
    )
    for line in table_compression_lines(result):
        click.echo(line)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")


def _judge_choices(model: str, data: Path, recipes: Path, state: Path, json_file: Path | None) -> None:
    """Judge every choice of an image recipe; finished ones are kept under *state*."""
    if not (recipes / model / "choices.toml").exists():
        raise SettingsError(Fault(f"{recipes}/{model}/choices.toml", "there is none", "Write the choices there"))
    try:
        from cds_service.training.image_choices import choice_lines, run_choices
    except ImportError as missing:
        raise SettingsError(
            Fault(
                "compression",
                f"needs the package {missing.name}",
                "Install the extra: pip install 'cds-service[train]'",
            )
        ) from None
    import msgspec

    results = run_choices(model, data=data, recipes=recipes, state=state, say=lambda line: click.echo(line, err=True))
    for line in choice_lines(results):
        click.echo(line)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")


@click.command()
@click.argument("model")
@click.option("--version", help="A released version  [default: the champion]")
@click.option(
    "--set",
    "sets",
    multiple=True,
    help="A table of the data folder, such as tabular/nhanes_2013-2014.csv; for images: test or external.",
)
@DATA
@click.option("--assets", type=click.Path(path_type=Path, file_okay=False), default=shipped("model_assets"))
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
@click.option(
    "--plots",
    type=click.Path(path_type=Path, file_okay=False),
    help="Instead: draw the reliability plots of the bundle's own bins into this folder; needs no data.",
)
@says_what_is_wrong
def evaluate(
    model: str,
    version: str | None,
    sets: tuple[str, ...],
    data: Path,
    assets: Path,
    json_file: Path | None,
    plots: Path | None,
) -> None:
    """Compute every figure of a released model, as it is served, on a set; writes no metrics.

    \b
    $ cds-service evaluate dysglycaemia
    $ cds-service evaluate dysglycaemia --plots docs/images
    """
    if plots is not None:
        _plot(assets / model, version, plots)
        return
    import json

    from cds_service.model.bundle import load_bundle, read_parts
    from cds_service.model.channels import read_channels
    from cds_service.release.evaluate import evaluate as evaluate_on
    from cds_service.release.evaluate import summary

    folder = assets / model / (version or read_channels(assets / model).champion)
    if read_parts(folder)[0].kind == "image":
        figures = _evaluate_image(folder, sets, data)
    else:
        figures = evaluate_on(load_bundle(folder), data=data, files=sets or None)
        for line in summary(figures):
            click.echo(line)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _plot(folder: Path, version: str | None, plots: Path) -> None:
    from cds_service.model.bundle import Bundle, load_bundle, read_parts
    from cds_service.model.channels import read_channels
    from cds_service.model.image_model import ImageBundle, load_image_bundle
    from cds_service.release.reliability import reliability_svg

    chosen = folder / (version or read_channels(folder).champion)
    is_image = read_parts(chosen)[0].kind == "image"
    bundle: Bundle | ImageBundle = load_image_bundle(chosen) if is_image else load_bundle(chosen)
    plots.mkdir(parents=True, exist_ok=True)
    for output, bins in bundle.calibration.bins.items():
        means = bundle.manifest.outputs[output]
        title = f"{bundle.model} {bundle.version}: {means}, out of fold"
        file = plots / f"reliability-{bundle.model}-{output}.svg"
        file.write_text(reliability_svg(title, bins, minimum_cases=bundle.calibration.minimum_cases), encoding="utf-8")
        click.echo(file)


def _evaluate_image(folder: Path, sets: tuple[str, ...], data: Path) -> dict[str, Any]:
    from cds_service.model.image_model import load_image_bundle
    from cds_service.release.evaluate_image import SETS, evaluate_image, image_summary

    unknown = sorted(set(sets) - set(SETS))
    if unknown:
        raise SettingsError(Fault(f"--set {unknown[0]}", "an image model has no such set", "Write test or external"))
    bundle = load_image_bundle(folder)
    figures: dict[str, Any] = {}
    for which in SETS:
        if which in (sets or ("test",)):
            figures[which] = evaluate_image(bundle, data=data, which=which)
            for line in image_summary(figures[which]):
                click.echo(line)
    return figures


def _commit() -> str:
    """The project's commit, for the bundle; empty outside of a checkout."""
    import subprocess

    found = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() if found.returncode == 0 else ""
