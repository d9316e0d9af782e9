"""A small SVG writer: light and dark by the reader's own setting, with a title and a description for screen readers."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

# Name -> colours in light and in dark. Layers of bytes first, then the lines and dots of variants, then the paper.
_COLOURS = {
    "set-up": ("#8250df", "#a371f7"),
    "head": ("#0969da", "#58a6ff"),
    "identity": ("#bf3989", "#f778ba"),
    "framing": ("#9a6700", "#d29922"),
    "control": ("#6e7781", "#8b949e"),
    "TLS": ("#57606a", "#6e7681"),
    "body": ("#1a7f37", "#3fb950"),
    "a": ("#0969da", "#58a6ff"),
    "b": ("#cf222e", "#ff7b72"),
    "c": ("#1a7f37", "#3fb950"),
    "d": ("#8250df", "#a371f7"),
    "e": ("#9a6700", "#d29922"),
    "f": ("#bf3989", "#f778ba"),
    "g": ("#6e7781", "#8b949e"),
    "h": ("#1b7c83", "#39c5cf"),
    "ink": ("#1f2328", "#e6edf3"),
    "quiet": ("#59636e", "#9198a1"),
    "grid": ("#d1d9e0", "#3d444d"),
    "paper": ("#ffffff", "#0d1117"),
}
LINES = ("a", "b", "c", "d", "e", "f", "g", "h")
_FONT = "12px system-ui, -apple-system, 'Segoe UI', sans-serif"


def _name(colour: str) -> str:
    return "c-" + colour.lower()


def _style() -> str:
    def rules(which: int) -> str:
        return "".join(
            f".{_name(name)}{{fill:{pair[which]}}}.s-{name.lower()}{{stroke:{pair[which]}}}"
            for name, pair in _COLOURS.items()
        )

    return (
        f"text{{font:{_FONT}}}.line{{fill:none;stroke-width:2}}.big{{font-size:15px;font-weight:600}}"
        f".small{{font-size:11px}}{rules(0)}@media (prefers-color-scheme:dark){{{rules(1)}}}"
    )


class Picture:
    """Shapes in pixels from the top left corner; `svg()` is the file's text."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self.width, self.height = width, height
        self._title, self._description = title, description
        self._shapes: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, colour: str, tip: str = "") -> None:
        inside = f"<title>{escape(tip)}</title>" if tip else ""
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{_name(colour)}">'
            f"{inside}</rect>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = "grid", width: float = 1) -> None:
        self._shapes.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="s-{colour}" '
            f'stroke-width="{width:g}"/>'
        )

    def path(self, points: Iterable[tuple[float, float]], colour: str) -> None:
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._shapes.append(f'<polyline points="{joined}" class="line s-{colour}"/>')

    def dot(self, x: float, y: float, colour: str, radius: float = 3.5, *, faint: bool = False) -> None:
        opacity = ' opacity="0.45"' if faint else ""
        self._shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{_name(colour)}"{opacity}/>')

    def text(
        self, x: float, y: float, text: str, *, colour: str = "ink", anchor: str = "start", size: str = ""
    ) -> None:
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{_name(colour)} {size}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def svg(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" role="img" aria-labelledby="title description">\n'
            f'<title id="title">{escape(self._title)}</title>\n'
            f'<desc id="description">{escape(self._description)}</desc>\n'
            f"<style>{_style()}</style>\n"
            f'<rect width="{self.width}" height="{self.height}" class="c-paper"/>\n'
            + "\n".join(self._shapes)
            + "\n</svg>\n"
        )


def legend(picture: Picture, x: float, y: float, names: Iterable[tuple[str, str]]) -> None:
    """Coloured squares with their words, from left to right: pairs of colour and word."""
    for colour, word in names:
        picture.rect(x, y - 10, 11, 11, colour)
        picture.text(x + 16, y, word, colour="quiet")
        x += 30 + 6.6 * len(word)
