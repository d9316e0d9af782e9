"""Tools for administrators' agents only: the X-ray of an order as text, and the audit of all orders."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import MCPServer

from mcp_server.caller import Call, Shop, as_tool_error, gateway
from mcp_server.shapes import Audit, Explanation, Identifier
from mcp_server.tools import READ_ONLY

MAX_LINES = 120
_MAX_LINE = 200
# The exit codes of `shop audit`.
_VERDICTS = {0: "agreed", 1: "disagreed", 2: "unknown"}


async def explain_order(ctx: Call, order_id: Identifier) -> Explanation:
    """Explain an order by its hops on every wire, from its own trace. For administrators; not in production."""
    with as_tool_error():
        found = await (await gateway(ctx)).get(f"/v1/orders/{order_id}/xray")
    hops: list[dict[str, Any]] = found["hops"]
    lines = [_line(hop) for hop in hops[:MAX_LINES]]
    return Explanation(order_id=order_id, text="\n".join(lines), hops=len(hops), left_out=max(0, len(hops) - MAX_LINES))


async def audit(ctx: Call) -> Audit:
    """Judge every order by the books of all services and partners. For administrators; not in production."""
    with as_tool_error():
        report, _ = await (await gateway(ctx)).post("/v1/audit", {})
    named = [f"{entry['subject']}: {entry['what']}" for entry in (*report["differences"], *report["waiting"])]
    return Audit(
        verdict=_VERDICTS.get(report["exit_code"], "unknown"),
        orders=report["orders"],
        verdicts=report["verdicts"],
        findings=[finding[:_MAX_LINE] for finding in named[:MAX_LINES]],
        unread=[f"{book}: {why}"[:_MAX_LINE] for book, why in report["unread"].items()],
    )


def _line(hop: dict[str, Any]) -> str:
    """One hop. Nothing of its payload: what customers wrote stays out."""
    sent, received = hop.get("bytes_sent"), hop.get("bytes_received")
    size = "" if sent is None else f", {sent} B out" + ("" if received is None else f", {received} B back")
    failed = f" FAILED: {hop['error']}" if hop.get("error") else ""
    noted = f" ({hop['note']})" if hop.get("note") else ""
    return (
        f"{hop['offset_ms']:9.1f} ms {hop['protocol']:<9} {hop['from']} -> {hop['to']}: {hop['operation']}"
        f" [{hop['state']}, {hop['duration_ms']:.1f} ms{size}]{noted}{failed}"
    )[:_MAX_LINE]


def add_admin_tools(server: MCPServer[Shop]) -> None:
    """Add the tools to a server. The gateway refuses them to all but administrators."""
    server.add_tool(explain_order, title="Explain an order", annotations=READ_ONLY)
    server.add_tool(audit, title="Audit all orders", annotations=READ_ONLY)
