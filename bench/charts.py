"""Charts as SVG, small enough to be read as text: lines over a growing size, and cases against their targets.

Their colours are those of the reader's choice, light or dark.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

from bench.report import figure

_WIDTH, _HEIGHT = 760, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 95, 180, 48, 56
_ROW = 24
#: Names of lines that would overlap are so far apart.
_NAME_HEIGHT = 17
#: Six lines that people who see colours differently tell apart (after Okabe and Ito), on white and on black.
_LINES = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#f0863c"),
    ("#007a5e", "#2fbf9b"),
    ("#a64d82", "#dc93bd"),
    ("#806a00", "#e6d34a"),
    ("#4d4d4d", "#b3b3b3"),
)
_STYLE = "\n".join(
    (
        "text{font:12px system-ui,sans-serif;fill:#222}.title{font-size:15px;font-weight:600}.grid{stroke:#ddd}",
        ".paper{fill:#fff}.axis{stroke:#555}.met{fill:#007a5e}.missed{fill:#d55e00}",
        *(f".l{number}{{stroke:{light};fill:{light}}}" for number, (light, _) in enumerate(_LINES)),
        "text[class]{stroke:none}polyline[class]{fill:none;stroke-width:2}",
        "@media (prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#333}.paper{fill:#0d1117}.axis{stroke:#aaa}",
        ".met{fill:#2fbf9b}.missed{fill:#f0863c}",
        *(f".l{number}{{stroke:{dark};fill:{dark}}}" for number, (_, dark) in enumerate(_LINES)),
        "}",
    )
)


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

    drawn = [_text(16, 26, title, shown_as="title")]
    for power in range(low, high + 1):
        y = up(10.0**power)
        drawn.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        drawn.append(_text(_LEFT - 8, y + 4, f"{10.0**power:,g} {unit}", anchor="end"))
    drawn += [_text(across(size), _HEIGHT - _BOTTOM + 18, f"{size:,}", anchor="middle") for size in sizes]
    drawn.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, x, anchor="middle"))
    names = list(points[0][1])
    for number, name in enumerate(names):
        path = " ".join(f"{across(size):.1f},{up(figures[name]):.1f}" for size, figures in points)
        drawn.append(f'<polyline class="l{number}" points="{path}"/>')
        drawn += [
            f'<circle class="l{number}" cx="{across(size):.1f}" cy="{up(figures[name]):.1f}" r="3">'
            f"<title>{escape(name)}, {size:,}: {figure(figures[name])} {unit}</title></circle>"
            for size, figures in points
        ]
    ends = [up(points[-1][1][name]) for name in names]
    for number, y in enumerate(_apart(ends)):
        drawn.append(_text(_WIDTH - _RIGHT + 12, y + 4, names[number], shown_as=f"l{number}"))
    return _svg(_HEIGHT, title, drawn)


def against_targets(title: str, rows: Sequence[tuple[str, float, bool]]) -> str:
    """Draw a bar for each case: how many times better than its target (to the right) or worse (to the left)."""
    height = 84 + _ROW * len(rows)
    left, right = 300, 700
    worst = min(0.0, *(math.log10(times) for _, times, _ in rows))
    best = max(0.0, *(math.log10(times) for _, times, _ in rows))
    reach = max(best - worst, 0.1)
    middle = left + (-worst) / reach * (right - left)
    drawn = [
        _text(16, 26, title, shown_as="title"),
        _text(middle, 48, "target", anchor="middle"),
        f'<path class="axis" d="M{middle:.1f} 54V{height - 14}"/>',
    ]
    for number, (name, times, met) in enumerate(rows):
        y = 60 + _ROW * number
        edge = middle + math.log10(times) / reach * (right - left)
        start, length = min(middle, edge), max(abs(edge - middle), 1)
        colour = "met" if met else "missed"
        drawn.append(
            f'<rect class="{colour}" x="{start:.1f}" y="{y}" width="{length:.1f}" height="15" rx="2"/>'
        )
        drawn.append(_text(16, y + 12, name))
        drawn.append(
            _text(
                edge + (6 if times >= 1 else -6),
                y + 12,
                f"{figure(times)} ×",
                anchor="start" if times >= 1 else "end",
            )
        )
    return _svg(height, title, drawn)


def _apart(places: Sequence[float]) -> list[float]:
    """Move what would overlap downwards, in order, as little as is needed."""
    moved = list(places)
    lowest = -math.inf
    for number in sorted(range(len(places)), key=lambda each: places[each]):
        moved[number] = lowest = max(places[number], lowest + _NAME_HEIGHT)
    return moved


def _text(x: float, y: float, text: str, *, anchor: str = "start", shown_as: str = "") -> str:
    kind = f' class="{shown_as}"' if shown_as else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: int, title: str, drawn: Sequence[str]) -> str:
    body = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n"
        f'<rect class="paper" width="100%" height="100%"/>\n{body}\n</svg>\n'
    )
