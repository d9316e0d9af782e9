"use strict";
// The gateway's read of a product, REST -> gRPC, by Fastify and grpc-js, from the real catalog.
// node edge.js '{"duties": true, "port": 1, "upstream": "127.0.0.1:1", "protos": "…", "otlp": "http://…", "jwks": {…}}'
const { durations, fastify, ready, trace } = require("./duties");

const settings = JSON.parse(process.argv[2]);
if (settings.duties) {
  const { GrpcInstrumentation } = require("@opentelemetry/instrumentation-grpc");
  const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");
  trace("fastify", settings.otlp, [new HttpInstrumentation(), new GrpcInstrumentation()]);
}
const { createPublicKey } = require("node:crypto");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const BUDGET_MS = 2000;
const UNLIMITED = 1_000_000_000;
const PRODUCT = {
  type: "object",
  properties: Object.fromEntries(
    ["id", "name", "description", "category", "price", "currency", "image_url", "updated_at"].map((name) => [
      name,
      { type: "string" },
    ]),
  ),
};

const definition = protoLoader.loadSync("shop/catalog/v1/catalog.proto", {
  includeDirs: [settings.protos],
  keepCase: true,
  longs: Number,
  defaults: true,
});
const { CatalogService } = grpc.loadPackageDefinition(definition).shop.catalog.v1;
const catalog = new CatalogService(settings.upstream, grpc.credentials.createInsecure());

/** GetProducts. */
function products(ids, metadata, options) {
  return new Promise((resolve, reject) => {
    catalog.GetProducts({ ids }, metadata, options, (error, answer) =>
      error ? reject(error) : resolve(answer.products),
    );
  });
}

/** `call`, behind a circuit breaker, with how long each took by its code. */
function guarded(call) {
  const CircuitBreaker = require("opossum");
  const took = durations("grpc_client_call_duration_seconds", "calls", ["peer", "method", "code"]);
  // The call brings its own deadline, and what the upstream rejects is an answer.
  const unanswered = [grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED];
  const breaker = new CircuitBreaker(call, {
    timeout: false,
    errorFilter: (error) => !unanswered.includes(error.code),
  });
  return async (...parameters) => {
    const began = performance.now();
    let code = grpc.status.OK;
    try {
      return await breaker.fire(...parameters);
    } catch (error) {
      code = error.code ?? grpc.status.UNKNOWN;
      throw error;
    } finally {
      const labels = { peer: "catalog", method: "shop.catalog.v1.CatalogService/GetProducts", code: grpc.status[code] };
      took.observe(labels, (performance.now() - began) / 1000);
    }
  };
}

/** RFC 3339 in UTC, with microseconds where there are any. */
function time({ seconds, nanos }) {
  const whole = new Date(seconds * 1000).toISOString().slice(0, 19);
  return nanos ? `${whole}.${String(Math.trunc(nanos / 1000)).padStart(6, "0")}Z` : `${whole}Z`;
}

function shown(product) {
  return { ...product, updated_at: time(product.updated_at) };
}

function notFound(reply, id) {
  return reply.code(404).type("application/problem+json").send({ code: "NOT_FOUND", detail: `no product ${id}` });
}

async function bare(app) {
  app.get("/v1/products/:id", { schema: { response: { 200: PRODUCT } } }, async (request, reply) => {
    const [product] = await products([request.params.id], new grpc.Metadata(), {});
    return product ? shown(product) : notFound(reply, request.params.id);
  });
}

async function withDuties(app) {
  const [key] = settings.jwks.keys;
  await app.register(require("@fastify/jwt"), {
    secret: { public: createPublicKey({ key, format: "jwk" }).export({ type: "spki", format: "pem" }) },
    // A token that was verified is remembered, as ours is.
    verify: { algorithms: [key.alg], allowedIss: "https://shop.test", allowedAud: "shop", cache: true },
  });
  await app.register(require("@fastify/cors"), { origin: ["https://shop.test"] });
  await app.register(require("@fastify/helmet"), {
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
    // Of the rest only what ours sends.
    crossOriginEmbedderPolicy: false,
    crossOriginOpenerPolicy: false,
    crossOriginResourcePolicy: false,
    originAgentCluster: false,
    strictTransportSecurity: false,
    xDnsPrefetchControl: false,
    xDownloadOptions: false,
    xFrameOptions: false,
    xPermittedCrossDomainPolicies: false,
    xXssProtection: false,
  });
  await app.register(require("@fastify/rate-limit"), { global: false });
  await app.register(require("@fastify/etag"));
  const quota = { max: UNLIMITED, timeWindow: "1 minute" };
  const clientCounted = app.rateLimit({ ...quota, keyGenerator: (request) => request.ip });
  // A count of its own: one function counts a request once.
  const users = app.createRateLimit({ ...quota, keyGenerator: (request) => request.user?.sub ?? "" });
  const userCounted = async (request) => {
    if (request.user) await users(request);
  };
  const fetched = guarded(products);
  const identified = async (request) => {
    if (request.headers.authorization) await request.jwtVerify();
  };
  app.get(
    "/v1/products/:id",
    { onRequest: [clientCounted, identified, userCounted], schema: { response: { 200: PRODUCT } } },
    async (request, reply) => {
      const metadata = new grpc.Metadata();
      if (request.headers.authorization) metadata.set("authorization", request.headers.authorization);
      const asked = Number(request.headers["x-timeout-ms"] ?? BUDGET_MS);
      const deadline = Date.now() + Math.min(asked, BUDGET_MS);
      const [product] = await fetched([request.params.id], metadata, { deadline });
      if (!product) return notFound(reply, request.params.id);
      reply.header("etag", `"${product.id}-${product.version}"`);
      reply.header("cache-control", "public, max-age=30, s-maxage=60");
      return shown(product);
    },
  );
}

async function main() {
  const app = fastify(settings.duties);
  await (settings.duties ? withDuties(app) : bare(app));
  await app.listen({ host: "127.0.0.1", port: settings.port });
  ready();
}

main();
