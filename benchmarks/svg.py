"""Line and scatter charts as SVG text, written by hand: no library, and the same bytes for the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import log
from typing import NamedTuple

# Colours that stay apart for all kinds of colour vision: Okabe and Ito (2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WIDTH, HEIGHT = 380, 320  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 34, 50  # around its plot
LEGEND = 22  # height of a row of the legend, above all panels
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12"'
CHARACTER = 6.9  # about the width of one
MANY = 50  # points from which on they are drawn small, and let one another through


class Axis(NamedTuple):
    """What is drawn along one side: a title with its unit, and the values that are marked."""

    title: str
    ticks: Sequence[float]  # ascending; the first and the last end the axis
    logarithmic: bool = False


class Series(NamedTuple):
    """Points of one kind."""

    label: str
    points: Sequence[tuple[float, float]]
    line: bool = True
    marks: bool = True
    dashed: bool = False
    colour: int = -1  # of COLOURS; negative: as many as there are series before it


class Panel(NamedTuple):
    """One plot."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]


def _scale(axis: Axis, start: float, end: float) -> Callable[[float], float]:
    """Place of a value between two pixels."""
    low, high = axis.ticks[0], axis.ticks[-1]

    def place(value: float) -> float:
        share = log(value / low) / log(high / low) if axis.logarithmic else (value - low) / (high - low)
        return start + share * (end - start)

    return place


def _text(x: float, y: float, text: str, *, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(text)}</text>'


def _key(x: float, y: float, series: Series, colour: str) -> str:
    """Sample and label of one series."""
    dash = ' stroke-dasharray="5 4"' if series.dashed else ""
    sample = f'<path d="M{x:.1f} {y:.1f}h22" stroke="{colour}" stroke-width="2"{dash}/>' if series.line else ""
    if series.marks:
        sample += f'<circle cx="{x + 11:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
    return sample + _text(x + 28, y + 4, series.label, anchor="start")


def _legend(series: Sequence[Series], width: float) -> tuple[list[str], float]:
    """Rows of keys, and the height they take."""
    parts, x, row = [], 12.0, 0
    for k, one in enumerate(series):
        wide = 28 + CHARACTER * len(one.label) + 18
        if x + wide > width and x > 12.0:
            x, row = 12.0, row + 1
        parts.append(_key(x, 14 + LEGEND * row, one, COLOURS[k if one.colour < 0 else one.colour]))
        x += wide
    return parts, LEGEND * (row + 1) + 4.0


def _axes(panel: Panel, box: tuple[float, float, float, float]) -> list[str]:
    """Grid, ticks and titles; the box is left, top, right, bottom."""
    left, top, right, bottom = box
    across, up = _scale(panel.x, left, right), _scale(panel.y, bottom, top)
    parts = [_text((left + right) / 2, top - 12, panel.title, extra='font-weight="bold"')]
    for tick in panel.x.ticks:
        x = across(tick)
        parts.append(f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" stroke="#e4e4e4"/>')
        parts.append(_text(x, bottom + 16, f"{tick / 1000:g}k" if tick >= 10_000 else f"{tick:,g}"))
    for tick in panel.y.ticks:
        y = up(tick)
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="#e4e4e4"/>')
        parts.append(_text(left - 6, y + 4, f"{tick:,g}", anchor="end"))
    parts.append(f'<path d="M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}" fill="none" stroke="#444"/>')
    parts.append(_text((left + right) / 2, bottom + 38, panel.x.title))
    middle, edge = (top + bottom) / 2, left - LEFT + 14
    parts.append(_text(edge, middle, panel.y.title, extra=f'transform="rotate(-90 {edge:.1f} {middle:.1f})"'))
    return parts


def _draw(panel: Panel, box: tuple[float, float, float, float]) -> list[str]:
    """Lines, and all marks above them."""
    left, top, right, bottom = box
    across, up = _scale(panel.x, left, right), _scale(panel.y, bottom, top)
    lines, marks = [], []
    for k, series in enumerate(panel.series):
        colour = COLOURS[k if series.colour < 0 else series.colour]
        for x, y in series.points:
            if not (panel.x.ticks[0] <= x <= panel.x.ticks[-1] and panel.y.ticks[0] <= y <= panel.y.ticks[-1]):
                raise ValueError(f"{panel.title}: {series.label} leaves the axes at {x:g}, {y:g}; give them more ticks")
        places = [(across(x), up(y)) for x, y in series.points]
        if series.line:
            dash = ' stroke-dasharray="5 4"' if series.dashed else ""
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            lines.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        if series.marks:
            crowd = len(places) > MANY
            radius, opacity = (2.2, 0.6) if crowd else (3.5 if series.line else 4.5, 1)
            style = f'r="{radius}" fill="{colour}" fill-opacity="{opacity}"'
            marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" {style}/>' for x, y in places]
    return lines + marks


def chart(*panels: Panel) -> str:
    """Panels side by side under one legend of the first one's series; the others repeat them in that order.

    Raises
    ------
    ValueError
        If a point lies outside the axes.
    """
    width = WIDTH * len(panels)
    keys, offset = _legend(panels[0].series, width)
    parts = keys
    for k, panel in enumerate(panels):
        box = (k * WIDTH + LEFT, offset + TOP, (k + 1) * WIDTH - RIGHT, offset + HEIGHT - BOTTOM)
        parts += _axes(panel, box) + _draw(panel, box)
    height = offset + HEIGHT
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" {FONT}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""])
