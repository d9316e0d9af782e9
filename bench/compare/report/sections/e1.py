"""E1's tables and pictures: byte strips, and dots of the time alone."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare.experiments.shop.reads import SHOP_TITLES
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.dots import Dots, draw_dots
from bench.compare.report.figures import LAYERS, group_title, over_rounds, ratio, table, variants
from bench.compare.report.svg import Picture, legend
from bench.compare.variants import OVER_TLS, TITLES

ALL_TITLES = {**TITLES, **SHOP_TITLES}


def tables(rows: Sequence[Row]) -> dict[str, str]:
    """Name -> Markdown: bytes and times of both levels."""
    found: dict[str, str] = {}
    if bare := ordered(rows, "bare"):
        found["e1-bytes"] = _bytes(rows, bare, "bare")
        found["e1-time"] = _times(rows, bare, "bare")
    for number, group in enumerate(_groups(rows), 1):
        names = variants(rows, "E1", level="shop", group=group)
        found.setdefault("e1-shop", "")
        title = group_title(rows_of(rows, "E1", level="shop", group=group)[0])
        found["e1-shop"] += f"{'' if number == 1 else chr(10)}{title}\n\n" + _shop(rows, names)
    return found


def _groups(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(row["group"]) for row in rows_of(rows, "E1", level="shop")))


def _byte_cells(rows: Sequence[Row], variant: str) -> list[str]:
    calls = {row["call"]: row for row in rows_of(rows, "E1", kind="bytes", variant=variant)}
    return [f"{calls[call]['up']:,} / {calls[call]['down']:,}" for call in (1, 2, 100)]


def _body(rows: Sequence[Row], variant: str) -> str:
    row = rows_of(rows, "E1", kind="bytes", variant=variant, call=100)[0]
    inside = row["layers_up"].get("body", 0) + row["layers_down"].get("body", 0)
    return f"{100 * inside / (row['up'] + row['down']):.0f} %"


def _bytes(rows: Sequence[Row], names: Sequence[str], level: str) -> str:
    body = []
    for name in names:
        trips = rows_of(rows, "E1", kind="round trips", variant=name, level=level)
        body.append([ALL_TITLES[name], *_byte_cells(rows, name), _body(rows, name), f"{trips[0]['round_trips']:g}"])
    return table(
        ["up / down, bytes", "call 1", "call 2", "call 100", "body's share of call 100", "round trips to first answer"],
        body,
    )


def _times(rows: Sequence[Row], names: Sequence[str], level: str) -> str:
    base = rows_of(rows, "E1", kind="alone", level=level, variant=names[0])
    body = []
    for name in names:
        own = rows_of(rows, "E1", kind="alone", level=level, variant=name)
        figures = [over_rounds(own, each) for each in ("p50_ms", "cpu_ms_client", "cpu_ms_server")]
        body.append([ALL_TITLES[name], *figures, ratio(own, base, "p50_ms")])
    head = ["median of rounds (95 % interval)", "p50, ms", "client CPU, ms", "server CPU, ms"]
    return table([*head, f"time by {ALL_TITLES[names[0]]}'s in the same round"], body)


def _shop(rows: Sequence[Row], names: Sequence[str]) -> str:
    body = []
    for name in names:
        own = rows_of(rows, "E1", kind="alone", level="shop", variant=name)
        calls = _byte_cells(rows, name)
        body.append(
            [ALL_TITLES[name], calls[0], calls[2], over_rounds(own, "p50_ms"), over_rounds(own, "cpu_ms_server")]
        )
    return table(["", "call 1, bytes", "call 100, bytes", "p50, ms", "CPU of the whole shop, ms"], body)


def ordered(rows: Sequence[Row], level: str) -> list[str]:
    """The variants of a level, as tables show them."""
    return [name for name in ALL_TITLES if name in variants(rows, "E1", level=level)]


_SECURED = {variant.name: variant.name.removesuffix("-tls") for variant in OVER_TLS}


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    """File name -> SVG. TLS and agents have pictures of their own: beside their bars the others' could not be read."""
    if not rows_of(rows, "E1"):
        return {}
    names = ordered(rows, "bare")
    found = {
        "e1-bytes-bare.svg": _strips(rows, [name for name in names if name not in _SECURED], "bare"),
        "e1-bytes-tls.svg": _strips(
            rows, [each for pair in _SECURED.items() for each in pair[::-1]], "bare, and with TLS"
        ),
        "e1-time-bare.svg": _dots(rows, names, "bare"),
    }
    if names := ordered(rows, "shop"):
        agents = [name for name in names if _group(rows, name).startswith("an agent")]
        others = [name for name in names if name not in agents]
        found["e1-bytes-shop.svg"] = _strips(rows, others, "shop")
        found["e1-bytes-agents.svg"] = _strips(rows, agents, "shop, by an agent")
        found["e1-time-shop.svg"] = _dots(rows, names, "shop")
    return found


def _group(rows: Sequence[Row], name: str) -> str:
    return str(rows_of(rows, "E1", variant=name)[0].get("group", ""))


_LEFT, _BAR, _GAP, _TOP, _HEAD = 210, 14, 14, 70, 24


def _strips(rows: Sequence[Row], names: Sequence[str], level: str) -> str:
    """Call 1 above call 100 for each variant: the length of the bar, and its parts."""
    shown = [row for name in names for row in rows_of(rows, "E1", kind="bytes", variant=name) if row["call"] != 2]
    most = max(row["up"] + row["down"] for row in shown)
    groups = {name: _group(rows, name) for name in names}
    heads = len({group for group in groups.values() if group})
    height = _TOP + len(names) * (2 * _BAR + _GAP + 8) + heads * _HEAD + 10
    title = f"Bytes of one read at the socket, {level}: call 1 above call 100"
    said = "; ".join(f"{ALL_TITLES[row['variant']]} call {row['call']}: {row['up'] + row['down']}" for row in shown)
    picture = Picture(860, height, title, f"Bytes up and down together. {said}.")
    picture.text(16, 26, title, size="big")
    present = [layer for layer in LAYERS if any(layer in {**row["layers_up"], **row["layers_down"]} for row in shown)]
    legend(picture, 16, 50, [(layer, layer) for layer in present])
    y, group = float(_TOP), ""
    scale = (860 - _LEFT - 70) / most
    for name in names:
        if groups[name] != group:
            group = groups[name]
            picture.text(16, y + 14, group, colour="quiet")
            y += _HEAD
        picture.text(_LEFT - 12, y + _BAR + 5, ALL_TITLES[name], anchor="end")
        for row in rows_of(rows, "E1", kind="bytes", variant=name):
            if row["call"] != 2:
                _strip(picture, row, y, scale)
                y += _BAR + 4
        y += _GAP
    return picture.svg()


def _strip(picture: Picture, row: Row, y: float, scale: float) -> None:
    x = float(_LEFT)
    for layer in LAYERS:
        size = row["layers_up"].get(layer, 0) + row["layers_down"].get(layer, 0)
        if size:
            picture.rect(x, y, max(1.0, size * scale), _BAR, layer, f"{layer}: {size} bytes")
            x += size * scale
    picture.text(x + 6, y + _BAR - 3, f"{row['up'] + row['down']:,}", colour="quiet", size="small")


def _dots(rows: Sequence[Row], names: Sequence[str], level: str) -> str:
    lines = []
    for name in names:
        own = rows_of(rows, "E1", kind="alone", level=level, variant=name)
        lines.append(Dots(ALL_TITLES[name], over_rounds(own, "p50_ms"), str(own[0].get("group", ""))))
    return draw_dots(f"One read alone, {level}: median of each round, ms", lines, "ms")
