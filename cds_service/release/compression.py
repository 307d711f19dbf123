"""What each step from the teacher to the student cost and kept: the stored figures of the training run, and fresh times of what ships."""

from pathlib import Path
from typing import Any

from msgspec import Struct

from cds_service.errors import BundleError, Fault
from cds_service.model.bundle import read_parts
from cds_service.model.image_card_parts import compression_table
from cds_service.model.image_model import load_image_bundle
from cds_service.model.measure import GraphCost, graph_cost

__all__ = ["CompressionReport", "compression_lines", "compression_report"]


class CompressionReport(Struct, frozen=True):
    """The stored table, and what the released graph costs on this machine now."""

    model: str
    version: str
    stored: dict[str, Any]
    here: GraphCost


def compression_report(folder: Path) -> CompressionReport:
    """Read a released bundle's compression figures, and time its graph anew.

    Args:
        folder: ``model_assets/<model>/<version>``.

    Raises:
        BundleError: The bundle is damaged, or is of a kind that keeps no such figures.
    """
    kind = read_parts(folder)[0].kind
    if kind != "image":
        what = f"a {kind} bundle keeps no compression table"
        raise BundleError(Fault(str(folder), what, "Its teacher and student stand in its MODEL_CARD.md"))
    bundle = load_image_bundle(folder)
    cost = graph_cost(bundle.onnx, (1, 1, bundle.pixels.size, bundle.pixels.size))
    return CompressionReport(bundle.model, bundle.version, bundle.metrics["compression"], cost)


def compression_lines(report: CompressionReport) -> list[str]:
    """Write the report as a page in Markdown, a line each."""
    here, shipped = report.here, report.stored["shipped"]
    stored = report.stored["steps"][shipped]["cost"]
    teacher = report.stored["steps"]["teacher, PyTorch fp32"]["cost"]
    return [
        f"# {report.model} {report.version}: from the teacher to the student",
        "",
        "Measured by the training run:",
        "",
        *compression_table(report.stored).splitlines(),
        "",
        (
            f"Ships: {shipped}; {teacher['bytes'] / stored['bytes']:.0f} times smaller and "
            f"{teacher['cpu_ms'] / stored['cpu_ms']:.0f} times less CPU than the teacher in PyTorch, in that run."
        ),
        (
            f"Timed here and now, one core, a process of its own: median {here.p50_ms:.2f} ms, 95 % {here.p95_ms:.2f} ms, "
            f"CPU {here.cpu_ms:.2f} ms, {here.bytes} bytes, {here.memory_mb:.0f} MB."
        ),
    ]
