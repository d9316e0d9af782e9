"""Runs the ERP; in development with a probe around it, which records the SOAP calls that it answers.

The ERP is another company's program without any code of ours, so this is how one sees the far side of such a hop: as
monitoring agents do, by middleware around an unchanged application.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from wsgiref.types import WSGIApplication, WSGIEnvironment

from legacy_soap import bootstrap as erp

Settings = erp.Settings


@contextmanager
def running(settings: Settings) -> Iterator[erp.Running]:
    """Serve the ERP while the block runs, with the probe where messages are captured. Raises as the ERP does."""
    # Not by our settings: in production not even they are imported, which with the rest of it take 26 MiB.
    serving = erp.running(settings) if os.environ.get("SHOP_ENV") == "production" else _observed(settings)
    with serving as server:
        yield server


@contextmanager
def _observed(settings: Settings) -> Iterator[erp.Running]:
    from chassis.observability.capture.capture import Capture
    from chassis.observability.capture.wsgi import RecordedApplication
    from chassis.observability.span_export import OtlpSpans
    from chassis.observability.tracing import Telemetry
    from chassis.settings import ProcessSettings

    ours = ProcessSettings()
    if not (ours.captures() and ours.otlp_url):
        with erp.running(settings) as server:
            yield server
        return
    with closing(Telemetry("legacy_soap", sample_ratio=ours.trace_sample_ratio, capture=Capture())) as telemetry:
        telemetry.record(OtlpSpans("legacy_soap", ours.otlp_url, live=True))

        def around(application: WSGIApplication) -> WSGIApplication:
            return RecordedApplication(application, telemetry, protocol="SOAP", named=_operation)

        with erp.running(settings, around=around) as server:
            yield server


def _operation(environ: WSGIEnvironment) -> str:
    """A call by its operation; empty for the WSDL, health checks and the switches of faults."""
    if environ["REQUEST_METHOD"] != "POST" or environ["PATH_INFO"] not in ("", "/"):
        return ""
    return f"SOAP {environ.get('HTTP_SOAPACTION', '').strip(chr(34))}".rstrip()


def main() -> None:
    """Run the ERP's own `main`, observed."""
    erp.main(running)
