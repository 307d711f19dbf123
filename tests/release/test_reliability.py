"""A reliability plot: a point a bin, hollow where too few cases stand behind it, well-formed, its figures readable."""

from xml.etree import ElementTree as ET

from click.testing import CliRunner

from cds_service.cli import main
from cds_service.model.parts import CalibrationBin
from cds_service.release.reliability import reliability_svg

BINS = (
    CalibrationBin(0.0, 0.1, 400, 0.05, 0.06),
    CalibrationBin(0.1, 0.5, 0, None, None),
    CalibrationBin(0.5, 1.0, 12, 0.7, 0.5),
)
SVG = "{http://www.w3.org/2000/svg}"


def circles(text):
    return ET.fromstring(text).findall(f"{SVG}circle")


def test_a_point_for_each_bin_that_has_cases():
    filled, hollow = circles(reliability_svg("a <title>", BINS, minimum_cases=20))
    assert (filled.get("fill"), hollow.get("fill")) == ("#222", "#fff")
    assert "12 cases, predicted 0.700, observed 0.500 [0.254, 0.746]" in hollow.find(f"{SVG}title").text


def test_up_is_more_and_right_is_more():
    first, second = circles(reliability_svg("x", BINS, minimum_cases=20))
    assert float(first.get("cx")) < float(second.get("cx"))
    assert float(first.get("cy")) > float(second.get("cy"))


def test_the_command_draws_every_output_of_the_champion(tmp_path):
    ran = CliRunner().invoke(main, ["evaluate", "dysglycaemia", "--plots", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"reliability-dysglycaemia-{output}.svg" for output in ("ge57", "ge60", "ge65")]
    assert all(len(circles(path.read_text())) > 5 for path in tmp_path.iterdir())
