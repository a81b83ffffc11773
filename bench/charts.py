"""Charts as SVG, small enough to be read as text: lines over a growing size, and cases against their targets."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from bench.report import figure

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 170, 40, 45
_COLOURS = ("#0b5fa5", "#b3401f", "#2c7a3f", "#7a4fa3", "#8a6d00", "#444444")
_ROW = 24


def growth(title: str, x: str, unit: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> str:
    """Draw a line for each name over the size, both axes in powers of ten."""
    sizes = [size for size, _ in points]
    values = [value for _, figures in points for value in figures.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])

    def across(size: int) -> float:
        return _LEFT + (math.log10(size) - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def up(value: float) -> float:
        return _HEIGHT - _BOTTOM - (math.log10(value) - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    drawn = [_text(_LEFT, 22, title, size=15)]
    for power in range(low, high + 1):
        y = up(10.0**power)
        drawn.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ccc"/>')
        drawn.append(_text(_LEFT - 8, y + 4, f"{10.0**power:,g} {unit}", anchor="end"))
    drawn += [_text(across(size), _HEIGHT - 22, f"{size:,}", anchor="middle") for size in sizes]
    drawn.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, x, anchor="middle"))
    for number, name in enumerate(points[0][1]):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{across(size):.1f},{up(figures[name]):.1f}" for size, figures in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [
            f'<circle cx="{across(size):.1f}" cy="{up(figures[name]):.1f}" r="3" fill="{colour}"/>'
            for size, figures in points
        ]
        drawn.append(_text(_WIDTH - _RIGHT + 12, _TOP + 10 + number * 20, name, colour=colour))
    return _svg(_HEIGHT, title, drawn)


def against_targets(title: str, rows: Sequence[tuple[str, float, bool]]) -> str:
    """Draw a bar for each case: how many times better than its target (to the right) or worse (to the left)."""
    height = 60 + _ROW * len(rows)
    middle, half = 440, 200
    reach = max([1.0, *(abs(math.log10(times)) for _, times, _ in rows)])
    drawn = [_text(20, 22, title, size=15), f'<path d="M{middle} 34V{height - 12}" stroke="#444"/>']
    for number, (name, times, met) in enumerate(rows):
        y = 40 + _ROW * number
        length = math.log10(times) / reach * half
        colour = "#2c7a3f" if met else "#b3401f"
        start = min(middle, middle + length)
        drawn.append(f'<rect x="{start:.1f}" y="{y}" width="{abs(length):.1f}" height="15" fill="{colour}"/>')
        drawn.append(_text(20, y + 12, name))
        edge = middle + length + (6 if times >= 1 else -6)
        drawn.append(_text(edge, y + 12, f"{figure(times)} ×", anchor="start" if times >= 1 else "end"))
    return _svg(height, title, drawn)


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", colour: str = "#222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">'
        f"{escape(text)}</text>"
    )


def _svg(height: int, title: str, drawn: Sequence[str]) -> str:
    body = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'font-family="sans-serif">\n<title>{escape(title)}</title>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )
