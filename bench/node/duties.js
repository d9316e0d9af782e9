"use strict";
// What production asks of a server beside its answer, and how a server of this folder says that it serves.
const fs = require("node:fs");

const SAMPLED = 0.1;

/** Record one trace in ten, as ours do; called before anything that is instrumented is required. */
function trace(service, otlpUrl, instrumentations) {
  const { registerInstrumentations } = require("@opentelemetry/instrumentation");
  const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
  const { resourceFromAttributes } = require("@opentelemetry/resources");
  const {
    BatchSpanProcessor,
    NodeTracerProvider,
    ParentBasedSampler,
    TraceIdRatioBasedSampler,
  } = require("@opentelemetry/sdk-trace-node");
  const tracerProvider = new NodeTracerProvider({
    resource: resourceFromAttributes({ "service.name": service }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(SAMPLED) }),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url: `${otlpUrl}/v1/traces` }))],
  });
  tracerProvider.register();
  registerInstrumentations({ tracerProvider, instrumentations });
}

/** A log whose lines leave together, as our access log's do. */
function accessLog() {
  const pino = require("pino");
  const options = { base: undefined };
  return pino(options, pino.destination({ dest: 1, sync: false, minLength: 8192, periodicFlush: 100 }));
}

/** The id of the current trace; empty without one. */
function traceId() {
  const { trace: tracing } = require("@opentelemetry/api");
  return tracing.getActiveSpan()?.spanContext().traceId ?? "";
}

/** Seconds that something took, by its labels, as our metrics keep them: a histogram of prom-client. */
function durations(name, help, labelNames) {
  const { Histogram } = require("prom-client");
  const buckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
  return new Histogram({ name, help, labelNames, buckets });
}

/** Fastify; with duties it logs each response, in one line instead of Fastify's two, and measures it. */
function fastify(duties) {
  const { LogController, fastify: create } = require("fastify");
  const app = create({
    logController: new LogController({ disableRequestLogging: true }),
    ...(duties && { loggerInstance: accessLog(), requestIdHeader: "x-request-id" }),
  });
  if (duties) {
    const answered = durations("http_request_duration_seconds", "answers", ["method", "route", "status"]);
    app.addHook("onResponse", async (request, reply) => {
      const route = request.routeOptions.url ?? "none";
      answered.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
      reply.log.info({
        msg: `${request.method} ${request.url}`,
        status: reply.statusCode,
        ms: reply.elapsedTime,
        bytes: Number(reply.getHeader("content-length") ?? 0),
        client: request.ip,
        trace_id: traceId(),
      });
    });
  }
  return app;
}

/** Write to the bench that this process serves, and end with it: its end is that of standard input. */
function ready() {
  process.stdin.on("end", () => process.exit()).resume();
  fs.writeSync(Number(process.env.SHOP_READY_FD), "\n");
}

module.exports = { accessLog, durations, fastify, ready, trace, traceId };
