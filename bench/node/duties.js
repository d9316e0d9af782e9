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

/** Fastify; with duties it logs each response, in one line instead of Fastify's two. */
function fastify(duties) {
  const { LogController, fastify: create } = require("fastify");
  const app = create({
    logController: new LogController({ disableRequestLogging: true }),
    ...(duties && { loggerInstance: accessLog(), requestIdHeader: "x-request-id" }),
  });
  if (duties) {
    app.addHook("onResponse", async (request, reply) => {
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

/** Write to the bench that this process serves, and end with it. */
function ready() {
  fs.writeSync(Number(process.env.SHOP_READY_FD), "\n");
}

module.exports = { accessLog, fastify, ready, trace, traceId };
