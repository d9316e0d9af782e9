"""Draws `architecture.svg`: `python docs/draw.py`.

`architecture.toml` says what there is, `layout.toml` where it goes. A box or an arrow that only one of them has is an
error, so that the picture cannot fall behind.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from math import hypot
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape  # nosec B406 # it writes, and parses nothing

HERE = Path(__file__).parent
WIDTH, HEIGHT = 960, 794
BOX_WIDTH, BOX_HEIGHT = 148, 54

Point = Sequence[float]
Table = Mapping[str, Any]

PROTOCOLS = ("REST", "GraphQL", "MCP", "WebSocket", "SSE", "gRPC", "AMQP", "webhook", "HTTP", "SOAP", "SMTP")
# In light and in dark. Each reads well on its background, and no two protocols are taken for each other.
COLOURS = {
    "REST": ("#2563eb", "#6ea8fe"),
    "GraphQL": ("#c026d3", "#e879f9"),
    "MCP": ("#be185d", "#f9a8d4"),
    "WebSocket": ("#7c3aed", "#a78bfa"),
    "SSE": ("#0891b2", "#22d3ee"),
    "gRPC": ("#15803d", "#4ade80"),
    "AMQP": ("#d97706", "#fbbf24"),
    "webhook": ("#dc2626", "#f87171"),
    "HTTP": ("#475569", "#a3b1c6"),
    "SOAP": ("#92400e", "#d6a77a"),
    "SMTP": ("#4d7c0f", "#bef264"),
    "ground": ("#ffffff", "#0d1117"),
    "inside": ("#f6f8fa", "#151b23"),
    "fence": ("#d0d7de", "#3d444d"),
    "box": ("#ffffff", "#212830"),
    "edge": ("#ddf4ff", "#12324d"),
    "band": ("#fff4e0", "#2e2614"),
    "line": ("#8c959f", "#656c76"),
    "ink": ("#1f2328", "#f0f6fc"),
    "soft": ("#59636e", "#9198a1"),
}
RULES = """
text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:var(--ink);text-anchor:middle;
dominant-baseline:central}
.start{text-anchor:start}.end{text-anchor:end}.name{font-size:13px;font-weight:600}.role{fill:var(--soft)}.queue-name{font-size:9.5px}
.ground{fill:var(--ground)}.fence{fill:var(--inside);stroke:var(--fence)}
.box{fill:var(--box);stroke:var(--line)}.edge .box{fill:var(--edge)}
.outside .box{fill:var(--ground);stroke-dasharray:4 3}.store{fill:none;stroke:var(--soft)}
.shared{fill:none;stroke:var(--soft);stroke-width:1.2;stroke-dasharray:1.5 3;stroke-linecap:round}
.band{fill:var(--band);stroke:var(--AMQP)}.queue{fill:var(--box);stroke:var(--AMQP);stroke-width:.8}
.way{fill:none;stroke:var(--own);stroke-width:1.6}.tip{fill:var(--own)}
.label{font-size:10px;fill:var(--own);stroke:var(--inside);stroke-width:4px;stroke-linejoin:round;paint-order:stroke}
.out{stroke:var(--ground)}
.step{fill:var(--box);stroke:var(--ink);stroke-width:1.2}.number{font-size:9.5px;font-weight:700}
"""
LEGEND = {"AMQP": "broker (AMQP)", "webhook": "signed webhook", "HTTP": "HTTP (theirs)"}
GROUPS = {"edge": "faces the outside", "services": "behind it", "outside": "not ours"}
JOURNEY = (
    "placed: priced, checked, stored; the answer is 202",
    "arranged: stock reserved, ERP order made, payment requested",
    "paid: the provider calls back",
    "shipped: the ERP ships, the mailer writes",
    "published: every step, on every open connection",
    "read: user, orders and products in one query",
)


def draw(architecture: Table, layout: Table) -> str:
    """The picture as SVG. Raises `ValueError` where the layout does not fit what there is."""
    processes = {each["name"]: each for each in architecture["processes"]}
    del processes["operator"]  # not drawn, nor are its arrows and the others that have a kind
    arrows = {_key(each): each for each in architecture["arrows"] if "kind" not in each}
    queues = {queue for each in arrows.values() if each["from"] == "broker" for queue in each["what"]}
    _compare("boxes", {*processes}, {*layout["boxes"], "broker"})
    _compare("arrows", {*arrows}, {*layout["lines"]})
    _compare("queues", queues, {*layout["broker"]["queues"]})
    lines = [(arrow, layout["lines"][key]) for key, arrow in arrows.items()]
    fence = layout["fence"]["points"]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        '<title id="title">Polyglot Shop: who talks what to whom</title>',
        f"<style>{_style()}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="12"/>',
        f'<path class="fence" d="{_path([*fence, *fence[:2]], 14, closed=True)}"/>',
        *_broker(processes["broker"], layout["broker"]),
        *(f'<path class="shared" d="{_path(link)}"/>' for link in layout["shared"].values()),
        *(_arrow(arrow, line) for arrow, line in lines),
        *(_box(processes[name], corner) for name, corner in layout["boxes"].items()),
        # Above all lines, whichever comes last.
        *(part for arrow, line in lines for part in _words(arrow, line)),
        *_journey(),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _key(arrow: Table) -> str:
    return f"{arrow['from']} {arrow['protocol']} {arrow['to']}"


def _compare(what: str, there: set[str], laid_out: set[str]) -> None:
    if there != laid_out:
        message = f"{what} that the layout lacks: {sorted(there - laid_out)}; has too many: {sorted(laid_out - there)}"
        raise ValueError(message)


def _style() -> str:
    """Both themes. The picture brings its own background: a page's theme need not be the browser's."""
    light = {name: pair[0] for name, pair in COLOURS.items()}
    dark = {name: pair[1] for name, pair in COLOURS.items()}
    owners = "".join(f".{name}{{--own:var(--{name})}}" for name in PROTOCOLS)
    return (
        f":root{{{_variables(light)}}}@media(prefers-color-scheme:dark){{:root{{{_variables(dark)}}}}}{RULES}{owners}"
    )


def _variables(colours: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{colour}" for name, colour in colours.items())


def _path(points: Sequence[Point], corner: float = 7, *, closed: bool = False) -> str:
    """Straight from point to point, with rounded corners."""
    begin = _toward(points[0], points[1], corner) if closed else points[0]
    parts = [f"M{begin[0]:g} {begin[1]:g}"]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = _toward(here, before, corner), _toward(here, after, corner)
        parts.append(f"L{x1:g} {y1:g}Q{here[0]:g} {here[1]:g} {x2:g} {y2:g}")
    parts.append("Z" if closed else f"L{points[-1][0]:g} {points[-1][1]:g}")
    return "".join(parts)


def _toward(here: Point, there: Point, distance: float) -> Point:
    """So far from here to there, but not beyond the middle."""
    share = min(distance / hypot(there[0] - here[0], there[1] - here[1]), 0.5)
    return here[0] + (there[0] - here[0]) * share, here[1] + (there[1] - here[1]) * share


def _text(style: str, at: Point, content: str, more: str = "") -> str:
    return f'<text class="{style}" x="{at[0]:g}" y="{at[1]:g}"{more}>{escape(content)}</text>'


def _arrow(arrow: Table, line: Table) -> str:
    *way, before, end = line["points"]
    neck = _toward(end, before, 7)
    # Across the way, half as far to each side as the head is long.
    across = ((neck[1] - end[1]) / 2, (end[0] - neck[0]) / 2)
    corners = [end, *((neck[0] + side * across[0], neck[1] + side * across[1]) for side in (1, -1))]
    head = " ".join(f"{x:g},{y:g}" for x, y in corners)
    title = f"{arrow['from']} → {arrow['to']}: {arrow['protocol']} ({', '.join(arrow['what'])})"
    return (
        f'<g class="{arrow["protocol"]}"><title>{escape(title)}</title>'
        f'<path class="way" d="{_path([*way, before, neck])}"/><polygon class="tip" points="{head}"/></g>'
    )


def _words(arrow: Table, line: Table) -> Iterator[str]:
    """An arrow's label and the steps of the journey that it is part of."""
    if "label" in line:
        style = f"label {arrow['protocol']} {line.get('anchor', '')} {'out' if line.get('outside') else ''}"
        x, y = line["at"]
        turn = f' transform="rotate({line["turn"]} {x} {y})"' if "turn" in line else ""
        yield _text(" ".join(style.split()), line["at"], line["label"], turn)
    if ("steps" in arrow) != ("steps_at" in line):
        raise ValueError(f"{_key(arrow)}: an arrow with steps needs a place for them, and only such a one")
    if "steps" in arrow:
        yield _steps(line["steps_at"], arrow["steps"])


def _steps(at: Point, numbers: Sequence[int]) -> str:
    text = "·".join(map(str, numbers))
    x, y = at
    width = 8 + 6 * len(text)
    frame = f'<rect class="step" x="{x - width / 2:g}" y="{y - 7:g}" width="{width}" height="14" rx="7"/>'
    return frame + _text("number", (x, y + 0.5), text)


def _box(process: Table, corner: Point) -> str:
    x, y = corner
    middle = x + BOX_WIDTH / 2
    return (
        f'<g id="{process["name"]}" class="{process["group"]}">'
        f'<rect class="box" x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/>'
        f"{_text('name', (middle, y + 19), process['name'])}{_text('role', (middle, y + 37), process['role'])}"
        f"{_cylinder(x + BOX_WIDTH - 13, y + 6) if 'database' in process else ''}</g>"
    )


def _cylinder(x: float, y: float) -> str:
    top = f"M{x:g} {y:g}a4 1.7 0 0 0 8 0a4 1.7 0 0 0 -8 0"
    return f'<path class="store" d="{top}v7a4 1.7 0 0 0 8 0v-7"/>'


def _broker(broker: Table, layout: Table) -> Iterator[str]:
    x, y, width, height = layout["band"]
    middle, line = layout["name"]
    yield f'<g id="broker"><rect class="band" x="{x}" y="{y}" width="{width}" height="{height}" rx="10"/>'
    yield _text("name", (middle, line - 9), "message broker") + _text("role", (middle, line + 9), broker["role"])
    yield _text("role start", layout["log"], broker["log"])
    for queue, (centre, at) in layout["queues"].items():
        half = 6 + 2.7 * len(queue)
        yield f'<rect class="queue" x="{centre - half:g}" y="{at - 9}" width="{2 * half:g}" height="18" rx="9"/>'
        yield _text("queue-name", (centre, at + 0.5), queue)
    yield "</g>"


def _journey() -> Iterator[str]:
    for number, text in enumerate(JOURNEY, 1):
        x, y = 86 + (number - 1) // 3 * 440, 674 + (number - 1) % 3 * 20
        yield _steps((x, y), [number]) + _text("start", (x + 16, y), text)


def _legend() -> Iterator[str]:
    """Lines, then boxes. The step from one to the next is a guess at the text's width."""
    x, y = 76.0, 750
    for protocol in PROTOCOLS:
        text = LEGEND.get(protocol, protocol)
        yield f'<path class="way {protocol}" d="M{x:g} {y}h14"/>' + _text("role start", (x + 19, y), text)
        x += 34 + 6 * len(text)
    x, y = 76.0, 772
    for group, text in GROUPS.items():
        yield f'<g class="{group}"><rect class="box" x="{x:g}" y="{y - 6}" width="14" height="12" rx="3"/></g>'
        yield _text("role start", (x + 19, y), text)
        x += 34 + 6 * len(text)
    yield _cylinder(x + 3, y - 4) + _text(
        "role start", (x + 19, y), "keeps its state in a database (dotted: one that it shares)"
    )


def main() -> None:
    """Write the picture."""
    architecture, layout = (tomllib.loads((HERE / f"{name}.toml").read_text()) for name in ("architecture", "layout"))
    (HERE / "architecture.svg").write_text(draw(architecture, layout))


if __name__ == "__main__":
    main()
