"""matplotlib figures as inline SVG that follows the page: its ink, its colours, its font, light or dark.

A figure is drawn in placeholder colours, which become CSS variables of the page. The same figure always gives the same
text: no date, no random ids.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape
from matplotlib import style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

__all__ = ["BAD", "INK", "MUTED", "PAGE", "PROMISE", "RULE", "SERIES", "draw"]

#: placeholder colour -> what it means; each becomes the CSS variable named in `_VARIABLES`
INK, MUTED, RULE, PROMISE, BAD, PAGE = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
SERIES = ("#010111", "#010112", "#010113", "#010114", "#010115", "#010116")
WIDTH = 5.2  # inches; about 500 px, and still readable when scaled down to a phone
_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PROMISE: "promise", BAD: "bad", PAGE: "page"} | {
    colour: f"c{number}" for number, colour in enumerate(SERIES, start=1)
}
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 1.2,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}


def draw(name: str, alt: str, height: float, paint: Callable[[Axes], None]) -> Markup:
    """Return what `paint` draws as an `<svg>` element of the page's width, `height` in inches.

    name: unique on the page. alt: the text for who cannot see it.
    """
    buffer = io.StringIO()
    with style.context(["default", {**_STYLE, "svg.hashsalt": name}]):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure.add_subplot())
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Markup(_for_the_page(buffer.getvalue(), alt))  # noqa: S704  # matplotlib and `escape` escaped every text


def _for_the_page(text: str, alt: str) -> str:
    opening, body = text[text.index("<svg") :].split(">", 1)
    for unwanted in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->", r"font-family: [^;\"]*;? ?"):
        body = re.sub(unwanted, "", body, flags=re.DOTALL)
    body = re.sub(r"<g id=\"[^\"]*\"", "<g", body)
    for placeholder, variable in _VARIABLES.items():
        body = body.replace(placeholder, f"var(--{variable})")
    box = re.findall(r'viewBox="[^"]*"', opening)[0]
    return f'<svg class="plot" {box} role="img" aria-label="{escape(alt)}">{body.strip()}'
