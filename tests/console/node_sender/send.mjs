// Sends a trace of two processes by gRPC and one by HTTP, and prints their ids.
import { context, SpanKind, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as HttpExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [grpc, http] = process.argv.slice(2);

async function send(exporter) {
  const providers = ["node-shop", "node-warehouse"].map(
    (service) =>
      new BasicTracerProvider({
        resource: resourceFromAttributes({ "service.name": service }),
        spanProcessors: [new SimpleSpanProcessor(exporter())],
      }),
  );
  const [shop, warehouse] = providers.map((provider) => provider.getTracer("test"));
  const attributes = { "http.request.method": "GET", "server.address": "warehouse.test" };
  const call = shop.startSpan("GET /stock", { kind: SpanKind.CLIENT, attributes });
  warehouse.startSpan("GET /stock", { kind: SpanKind.SERVER }, trace.setSpan(context.active(), call)).end();
  call.setAttribute("http.response.status_code", 200);
  call.end();
  await Promise.all(providers.map((provider) => provider.shutdown()));
  return call.spanContext().traceId;
}

const sent = [
  await send(() => new GrpcExporter({ url: grpc })),
  await send(() => new HttpExporter({ url: `${http}/v1/traces` })),
];
console.log(JSON.stringify(sent));
