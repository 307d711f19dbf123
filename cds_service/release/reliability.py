"""A reliability plot as SVG: what was predicted against what came, from the bins that a bundle keeps.

Drawn without a library: a square, a diagonal, a point a bin with its 95 % interval (Wilson). Dark on light, no colour
carries meaning, and it prints.
"""

from collections.abc import Sequence
from html import escape

from cds_service.model.parts import CalibrationBin
from cds_service.stats.intervals import wilson

__all__ = ["reliability_svg"]

_SIDE, _LEFT, _TOP, _BOTTOM = 360, 56, 40, 52
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def reliability_svg(title: str, bins: Sequence[CalibrationBin], *, minimum_cases: int) -> str:
    """Draw one output's bins.

    Args:
        title: Above the plot.
        bins: As ``calibration.json`` has them; one without cases is left out.
        minimum_cases: A bin with fewer is drawn hollow: the model shows no number there.
    """
    width, height = _LEFT + _SIDE + 16, _TOP + _SIDE + _BOTTOM
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
            'font-family="sans-serif" font-size="12" fill="#222">'
        ),
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{escape(title)}</text>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#222"/>',
        f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#888" stroke-dasharray="4 4"/>',
    ]
    for tick in _TICKS:
        parts += [
            f'<text x="{_x(tick)}" y="{_y(0) + 18}" text-anchor="middle">{tick:.1f}</text>',
            f'<text x="{_LEFT - 8}" y="{_y(tick) + 4}" text-anchor="end">{tick:.1f}</text>',
        ]
    parts += [
        f'<text x="{_x(0.5)}" y="{height - 12}" text-anchor="middle">predicted</text>',
        f'<text x="16" y="{_y(0.5)}" text-anchor="middle" transform="rotate(-90 16 {_y(0.5)})">observed</text>',
    ]
    parts += [_point(one, minimum_cases) for one in bins if one.cases]
    return "\n".join((*parts, "</svg>", ""))


def _point(one: CalibrationBin, minimum_cases: int) -> str:
    predicted, observed = one.predicted or 0.0, one.observed or 0.0
    share = wilson(round(observed * one.cases), one.cases)
    fill = "#222" if one.cases >= minimum_cases else "#fff"
    x = _x(predicted)
    return (
        f'<line x1="{x}" y1="{_y(share.low)}" x2="{x}" y2="{_y(share.high)}" stroke="#222"/>'
        f'<circle cx="{x}" cy="{_y(observed)}" r="4" fill="{fill}" stroke="#222"><title>{one.low:g} to {one.high:g}: '
        f"{one.cases} cases, predicted {predicted:.3f}, observed {observed:.3f} [{share.low:.3f}, {share.high:.3f}]</title></circle>"
    )


def _x(share: float) -> float:
    return round(_LEFT + _SIDE * share, 1)


def _y(share: float) -> float:
    return round(_TOP + _SIDE * (1 - share), 1)
