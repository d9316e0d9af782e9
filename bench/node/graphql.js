"use strict";
// The articles' GraphQL query by Apollo Server or Mercurius, on the REST API that ours calls, too.
// node graphql.js '{"server": "apollo" or "mercurius", "duties": true, "port": 1, "upstream": "http://…", "otlp": "http://…"}'
const { accessLog, durations, fastify, ready, trace, traceId } = require("./duties");

const settings = JSON.parse(process.argv[2]);
if (settings.duties) {
  const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");
  const { UndiciInstrumentation } = require("@opentelemetry/instrumentation-undici");
  trace(settings.server, settings.otlp, [new HttpInstrumentation(), new UndiciInstrumentation()]);
}
const { Pool } = require("undici");

// As ours: the seconds that a query may take are those that its calls may.
const BUDGET_MS = 1800;
const LIMITS = { maxTokens: 1000, depth: 8, aliases: 15, cost: 5000 };
// A limit that is passed is an error of validation, as any other is.
const REPORTED = { propagateOnRejection: false };
const PAGE = 20;

const SDL = `
  type Query { user(id: ID!): User }
  type User { id: ID! name: String! email: String! role: String! orders: [Order!]! }
  type Order { id: ID! status: String! total: String! currency: String! placed_at: String! items: [Item!]! }
  type Item { product_id: ID! name: String! quantity: Int! unit_price: String! product: Product }
  type Product {
    id: ID! name: String! description: String! category: String! price: String! currency: String! updated_at: String!
  }
`;

const upstream = new Pool(settings.upstream, {
  connections: 100,
  headersTimeout: BUDGET_MS,
  bodyTimeout: BUDGET_MS,
});

async function get(path, headers) {
  const { statusCode, body } = await upstream.request({ method: "GET", path, headers });
  const content = await body.json();
  if (statusCode !== 200) throw new Error(content.detail);
  return content.items;
}

/** What a request's calls carry: who calls, and how long it may take. */
function caller(headers) {
  const found = { accept: "application/json", "x-timeout-ms": String(BUDGET_MS) };
  if (headers.authorization) found.authorization = headers.authorization;
  if (headers["x-request-id"]) found["x-request-id"] = headers["x-request-id"];
  return found;
}

async function byIds(path, ids, headers) {
  const found = new Map();
  for (const row of await get(`${path}?ids=${ids.join(",")}`, headers)) found.set(row.id, row);
  return ids.map((id) => found.get(id) ?? null);
}

function orders(user, headers) {
  return get(`/v1/orders?user_id=${encodeURIComponent(user.id)}&limit=${PAGE}`, headers);
}

/** The rules of validation that limit a document. Both servers keep the verdict with the document that they parsed. */
function limits() {
  const { costLimitRule } = require("@escape.tech/graphql-armor-cost-limit");
  const { maxAliasesRule } = require("@escape.tech/graphql-armor-max-aliases");
  const { maxDepthRule } = require("@escape.tech/graphql-armor-max-depth");
  return [
    maxDepthRule({ n: LIMITS.depth, ...REPORTED }),
    maxAliasesRule({ n: LIMITS.aliases, ...REPORTED }),
    costLimitRule({ maxCost: LIMITS.cost, ...REPORTED }),
  ];
}

async function apollo() {
  const DataLoader = require("dataloader");
  const { ApolloServer } = require("@apollo/server");
  const { startStandaloneServer } = require("@apollo/server/standalone");
  const plugins = [];
  if (settings.duties) {
    const log = accessLog();
    const answered = durations("http_request_duration_seconds", "answers", ["method", "route", "status"]);
    plugins.push({
      async requestDidStart({ request }) {
        const began = performance.now();
        return {
          async willSendResponse({ response }) {
            const status = response.http.status ?? 200;
            const ms = performance.now() - began;
            answered.observe({ method: request.http.method, route: "/graphql", status }, ms / 1000);
            log.info({
              msg: `${request.http.method} /graphql`,
              status,
              ms,
              trace_id: traceId(),
            });
          },
        };
      },
    });
  }
  const server = new ApolloServer({
    typeDefs: SDL,
    resolvers: {
      Query: { user: (_, { id }, { users }) => users.load(id) },
      User: { orders: (user, _, { headers }) => orders(user, headers) },
      Item: { product: (item, _, { products }) => products.load(item.product_id) },
    },
    plugins,
    ...(settings.duties && { validationRules: limits(), parseOptions: { maxTokens: LIMITS.maxTokens } }),
  });
  await startStandaloneServer(server, {
    listen: { host: "127.0.0.1", port: settings.port },
    context: async ({ req }) => {
      const headers = caller(req.headers);
      return {
        headers,
        users: new DataLoader((ids) => byIds("/v1/users", ids, headers)),
        products: new DataLoader((ids) => byIds("/v1/products", ids, headers)),
      };
    },
  });
}

async function mercurius() {
  const DataLoader = require("dataloader");
  const { NoSchemaIntrospectionCustomRule } = require("graphql");
  const app = fastify(settings.duties);
  await app.register(require("mercurius"), {
    schema: SDL,
    jit: 1,
    context: (request) => {
      const headers = caller(request.headers);
      return {
        headers,
        users: new DataLoader((ids) => byIds("/v1/users", ids, headers)),
        products: new DataLoader((ids) => byIds("/v1/products", ids, headers)),
      };
    },
    resolvers: {
      Query: { user: (_, { id }, { users }) => users.load(id) },
      User: { orders: (user, _, { headers }) => orders(user, headers) },
      Item: { product: (item, _, { products }) => products.load(item.product_id) },
    },
    ...(settings.duties && { validationRules: [NoSchemaIntrospectionCustomRule, ...limits()] }),
  });
  await app.listen({ host: "127.0.0.1", port: settings.port });
}

({ apollo, mercurius })[settings.server]().then(ready);
