"""`python -m bench.soak.console`: the console for half an hour at 200 spans a second, and whether it stays flat.

Traces of 50 spans with captured messages come over OTLP, as many a second as that takes; a page is open on one of the
traces in a real browser where there is one. Each ten seconds: the process's memory, the page's heap after a
collection, and what the page's own requests take. Bars: in the last two thirds memory grows by at most 5 %, and so does
the page's; 95 % of the samples' slowest requests stay under a second; 95 % of the spans a second are sent. Exit code 1
when one is missed; what cannot be judged is named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import psutil
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from playwright.async_api import CDPSession, async_playwright

from bench.roles import RESULTS, clean_environment, end, free_port
from chassis.observability.capture.capture import RECEIVED, SENT
from shop.started_shop import running, unwound_by_signals

SPANS_OF_TRACE = 50
SAMPLE_SECONDS = 10.0
START_TIMEOUT = 30.0
MAX_GROWTH = 1.05
# Of the spans a second that were wanted: with fewer, it is another load.
MIN_RATE = 0.95
MAX_REQUEST_MS = 1_000.0
# Requests that an open page repeats.
PATHS = ("/", "/api/traces?limit=60", "/api/topology?minutes_ago=0")
SERVICES = ("gateway", "orders", "catalog", "inventory", "order_worker", "mailer", "notifier")
_KINDS = ("SPAN_KIND_CLIENT", "SPAN_KIND_SERVER")


@unwound_by_signals()
def main() -> int:
    """Soak, print a line for each sample, write `bench/results/console_soak.json`, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=200, help="spans a second")
    arguments = parser.parse_args()
    samples = asyncio.run(_soak(arguments.minutes * 60, arguments.rate))
    result = judged(samples, arguments.rate)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "console_soak.json").write_text(json.dumps({**result, "samples": samples}, indent=2) + "\n")
    for name, figure in result.items():
        sys.stdout.write(f"{name:<28} {figure}\n")
    return 1 if result["missed"] else 0


async def _soak(seconds: float, rate: int) -> list[dict[str, float]]:
    samples: list[dict[str, float]] = []
    async with _console() as (process, http), _page(str(http.base_url)) as page:
        sent: Counter[str] = Counter()
        sending = asyncio.create_task(_send(http, rate, sent))
        began = time.monotonic()
        while (since := time.monotonic() - began) < seconds:
            await asyncio.sleep(SAMPLE_SECONDS)
            if sending.done():
                sending.result()
            sample = {
                "at_s": round(since + SAMPLE_SECONDS, 1),
                "spans_per_s": round(sent["spans"] / (time.monotonic() - began), 1),
                "rss_mb": round(process.memory_info().rss / 2**20, 1),
                "slowest_request_ms": round(max([await _request_seconds(http, path) for path in PATHS]), 1),
                **await _heap(page),
            }
            samples.append(sample)
            sys.stdout.write(json.dumps(sample) + "\n")
            sys.stdout.flush()
        sending.cancel()
    return samples


@asynccontextmanager
async def _console() -> AsyncIterator[tuple[psutil.Process, httpx.AsyncClient]]:
    """A console of its own, with the bounds that it has by default."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = clean_environment(SHOP_CONSOLE_PORT=str(port), SHOP_CONSOLE_OTLP_PORT="0", SHOP_LOG_LEVEL="warning")
    start = partial(subprocess.Popen, [sys.executable, "-m", "console"], env=env, text=True)
    with running(start, end) as process:
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
            deadline = time.monotonic() + START_TIMEOUT
            while not await _is_up(http):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the console did not start")
                await asyncio.sleep(0.1)
            yield psutil.Process(process.pid), http


async def _is_up(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def _page(url: str) -> AsyncIterator[CDPSession | None]:
    """The console's page in a browser, watching its list and its map; None where there is no browser."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        sys.stdout.write("no Chromium on the PATH: the page's own memory is not measured\n")
        yield None
        return
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(f"{url}/#map")
        yield await page.context.new_cdp_session(page)
        await browser.close()


async def _heap(page: CDPSession | None) -> dict[str, float]:
    if page is None:
        return {}
    await page.send("HeapProfiler.collectGarbage")
    usage = await page.send("Runtime.getHeapUsage")
    counters = await page.send("Memory.getDOMCounters")
    return {"heap_mb": round(usage["usedSize"] / 2**20, 2), "elements": counters["nodes"]}


async def _request_seconds(http: httpx.AsyncClient, path: str) -> float:
    began = time.perf_counter()
    (await http.get(path)).raise_for_status()
    return (time.perf_counter() - began) * 1_000


async def _send(http: httpx.AsyncClient, rate: int, sent: Counter[str]) -> None:
    """One trace after the other, evenly; counts the spans that were taken."""
    every = SPANS_OF_TRACE / rate
    due = time.monotonic()
    while True:
        body = _trace().SerializeToString()
        answer = await http.post("/v1/traces", content=body, headers={"content-type": "application/x-protobuf"})
        answer.raise_for_status()
        sent["spans"] += SPANS_OF_TRACE
        due = max(due + every, time.monotonic() - 1)
        await asyncio.sleep(max(0, due - time.monotonic()))


def _trace() -> ExportTraceServiceRequest:
    """A chain of calls and their answers, each with a kilobyte of captured bytes."""
    request = ExportTraceServiceRequest()
    now = time.time_ns()
    trace_id, parent = secrets.token_bytes(16), b""
    for number in range(SPANS_OF_TRACE):
        of_resource = request.resource_spans.add()
        service = of_resource.resource.attributes.add(key="service.name")
        service.value.string_value = SERVICES[(number + 1) // 2 % len(SERVICES)]
        span = of_resource.scope_spans.add().spans.add(
            trace_id=trace_id, span_id=secrets.token_bytes(8), parent_span_id=parent, kind=_KINDS[number % 2]
        )
        parent = span.span_id
        span.name = f"shop.soak.v1.Soak/Step{number}"
        span.start_time_unix_nano, span.end_time_unix_nano = now + number * 1_000_000, now + 200_000_000
        facts: dict[str, Any] = {"shop.protocol": "REST", "shop.bytes.sent": 900, "shop.bytes.received": 900}
        for key, value in facts.items():
            pair = span.attributes.add(key=key)
            if isinstance(value, int):
                pair.value.int_value = value
            else:
                pair.value.string_value = value
        for name in (SENT, RECEIVED):
            _capture(span.events.add(name=name))
    return request


def _capture(event: Any) -> None:
    content = b"POST /v1/soak HTTP/1.1\r\nhost: soak\r\n\r\n" + secrets.token_hex(200).encode()
    event.attributes.add(key="capture.form").value.string_value = "http-request"
    event.attributes.add(key="capture.bytes").value.string_value = b64encode(content).decode()
    event.attributes.add(key="capture.size").value.int_value = len(content)


def judged(samples: list[dict[str, float]], rate: int) -> dict[str, Any]:
    """Growth from the second third to the last: the first is for filling what is bounded.

    `missed` names the bars that were, `not_judged` what there are too few samples of, or none.
    """
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]

    def growth(figure: str) -> float | None:
        if not middle or figure not in samples[0]:
            return None
        median = statistics.median
        return round(median(each[figure] for each in last) / median(each[figure] for each in middle), 3)

    grown = {f"{figure}_growth": growth(figure) for figure in ("rss_mb", "heap_mb", "elements")}
    slowest = [each["slowest_request_ms"] for each in samples]
    late = statistics.quantiles(slowest, n=20)[-1] if len(slowest) > 1 else slowest[0]
    spans_per_s = samples[-1]["spans_per_s"]
    missed = [name for name, each in grown.items() if each is not None and each > MAX_GROWTH]
    missed += ["request_ms_p95"] if late > MAX_REQUEST_MS else []
    missed += ["spans_per_s"] if spans_per_s < MIN_RATE * rate else []
    return {
        "spans_per_s": spans_per_s,
        **grown,
        "rss_mb": statistics.median(each["rss_mb"] for each in last),
        "request_ms_median": statistics.median(slowest),
        "request_ms_p95": round(late, 1),
        "request_ms_max": max(slowest),
        "minutes": round(samples[-1]["at_s"] / 60, 1),
        "missed": missed,
        "not_judged": [name for name, each in grown.items() if each is None],
    }


if __name__ == "__main__":
    sys.exit(main())
