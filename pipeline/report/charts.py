"""Charts as inline SVG: no script, no font and no file from elsewhere; colours follow the page's style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean

from pipeline.cohort.inclusion import FlowStep

PAIR_SEPARATOR = " "
"""A pair of raters is named by both codes."""

GROUP_COLORS = 8
"""Colours the style sheet has for groups."""

PROFILE_OF = ("liver", "lesion", "disputed")


def flow_chart(steps: Sequence[FlowStep]) -> str:
    """CONSORT as bars: how many were left after each rule at which any fell, and how many did."""
    steps = [step for place, step in enumerate(steps) if step.fell or place in (0, len(steps) - 1)]
    width, line_height, bar, label = 640, 30, 22, 150
    scale = (width - label - 70) / max([step.remaining for step in steps] + [1])
    parts = []
    for line, step in enumerate(steps):
        y, kept, fell = line * line_height, scale * step.remaining, scale * step.fell
        parts += [
            _text(label - 10, y + 16, step.rule, anchor="end"),
            _rect("kept", label, y, kept, bar),
            _rect("fell", label + kept, y, fell, bar),
            _text(label + kept + fell + 8, y + 16, str(step.remaining)),
        ]
        if step.fell:
            parts.append(_text(width, y + 16, f"−{step.fell}", anchor="end", css="minus"))
    return _svg(width, len(steps) * line_height, parts, "Number included after each rule")


def heat_map(scores: Mapping[str, Sequence[float]], raters: Sequence[str]) -> str:
    """Mean score of each pair of raters as a coloured table.

    Args:
        scores: "R1 R2" to the scores of that pair.
        raters: in order.
    """
    cell, label = 58, 40
    parts = []
    for row, first in enumerate(raters):
        y = label + row * cell
        parts.append(_text(label - 8, y + cell / 2 + 4, first, anchor="end"))
        parts.append(_text(y + cell / 2, label - 10, first, anchor="middle"))
        for column, second in enumerate(raters):
            x = label + column * cell
            found = scores.get(PAIR_SEPARATOR.join((first, second))) or scores.get(PAIR_SEPARATOR.join((second, first)))
            if not found:
                parts.append(_rect("none", x, y, cell - 2, cell - 2))
                continue
            parts.append(_rect("heat", x, y, cell - 2, cell - 2, extra=f'style="fill:{_shade(fmean(found))}"'))
            parts.append(_text(x + cell / 2, y + cell / 2 + 4, f"{fmean(found):.3f}", anchor="middle", css="on-heat"))
    edge = label + cell * len(raters)
    return _svg(edge, edge, parts, "Mean Dice of each pair of raters")


def strip_plot(groups: Sequence[tuple[str, str, Sequence[float]]], *, good: float, bad: float) -> str:
    """One column of dots a volume, lowest first; the bands say what is good and what is not.

    Args:
        groups: name, link and scores of each volume; each has at least one score.
        good: from here on nothing needs to be done.
        bad: below this someone must look.
    """
    width, height, left = 940, 210, 34
    floor = min(int(bad * 10) / 10, *(int(min(scores) * 10) / 10 for _, _, scores in groups))

    def y_of(score: float) -> float:
        return 8 + (height - 16) * (1 - score) / (1 - floor)

    parts = [
        _rect("band-good", left, y_of(1.0), width - left, y_of(good) - y_of(1.0)),
        _rect("band-bad", left, y_of(bad), width - left, y_of(floor) - y_of(bad)),
    ]
    parts += [
        _text(left - 6, y_of(tick) + 4, f"{tick:.2f}", anchor="end", css="tick") for tick in (floor, bad, good, 1.0)
    ]
    step = (width - left) / len(groups)
    for place, (name, link, scores) in enumerate(sorted(groups, key=lambda group: min(group[2]))):
        x = left + (place + 0.5) * step
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y_of(score):.1f}" r="3.2"/>' for score in scores)
        span = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y_of(max(scores)):.1f}" y2="{y_of(min(scores)):.1f}"/>'
        title = f"<title>{escape(name)}: lowest {min(scores):.3f}</title>"
        parts.append(f'<a href="#{escape(link)}">{title}{span}{dots}</a>')
    return _svg(width, height, parts, "Dice of each pair of raters for each volume", css="strip")


def profile(voxels: Mapping[str, Sequence[int]], shown: Sequence[int]) -> str:
    """How much liver, lesion and dispute each slice holds, first slice on the left; ticks mark the slices shown.

    Args:
        voxels: "liver", "lesion" and "disputed" to voxels slice by slice.
        shown: slices that the sheet shows.
    """
    width, base, tallest = 1200, 50, 38
    step = width / len(voxels["liver"])
    scale = tallest / max([*voxels["liver"], 1])
    most_disputed = max([*voxels["disputed"], 1])
    parts = []
    for index, (liver, lesion, disputed) in enumerate(zip(*(voxels[name] for name in PROFILE_OF), strict=True)):
        opacity = f'opacity="{0.25 + 0.75 * disputed / most_disputed:.2f}"'
        parts += [
            _rect("liver", index * step, base - scale * liver, step, scale * liver),
            _rect("lesion", index * step, base - scale * lesion, step, scale * lesion),
            _rect("disputed", index * step, 0, step, 6 * bool(disputed), extra=opacity),
        ]
    parts += [_rect("shown", (index + 0.5) * step - 1, base, 2, 5) for index in shown]
    return _svg(width, base + 5, parts, "Liver, lesion and disagreement on each slice", css="profile")


def stacked_bars(categories: Sequence[str], counts: Mapping[str, Sequence[int]]) -> str:
    """One horizontal bar a category, divided into groups, with its total; a legend where there are several groups.

    Args:
        categories: names, from the top.
        counts: group to one count a category.
    """
    width, line_height, bar, label, legend = 460, 26, 18, 128, 22 if len(counts) > 1 else 0
    totals = [sum(column) for column in zip(*counts.values(), strict=True)]
    scale = (width - label - 40) / max([*totals, 1])
    parts = [_legend(list(counts), label)] if legend else []
    for line, (category, total) in enumerate(zip(categories, totals, strict=True)):
        x, y = float(label), legend + line * line_height
        parts.append(_text(label - 8, y + 14, category, anchor="end"))
        for place, group in enumerate(counts):
            size = scale * counts[group][line]
            parts.append(_rect(f"group-{place % GROUP_COLORS}", x, y, size, bar))
            x += size
        parts.append(_text(x + 6, y + 14, str(total)))
    return _svg(width, legend + len(categories) * line_height, parts, ", ".join(categories))


def _legend(groups: Sequence[str], left: float) -> str:
    step = 13 + 7.2 * max(len(group) for group in groups) + 12
    return "".join(
        _rect(f"group-{place % GROUP_COLORS}", left + place * step, 2, 10, 10)
        + _text(left + place * step + 14, 11, group, css="tick")
        for place, group in enumerate(groups)
    )


def _rect(css: str, x: float, y: float, width: float, height: float, *, extra: str = "") -> str:
    if not width or not height:
        return ""
    return f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" {extra}/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", css: str = "") -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], title: str, css: str = "chart") -> str:
    head = f'<svg class="{css}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
    return f"{head}{''.join(parts)}</svg>"


def _shade(score: float) -> str:
    """From red (0.5 and less) over amber (0.75) to green (1.0)."""
    hue = 120 * max(0.0, min(1.0, (score - 0.5) / 0.5))
    return f"hsl({hue:.0f} 55% 62%)"
