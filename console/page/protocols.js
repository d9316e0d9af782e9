// Each protocol's colour (named in style.css), its shape, and what it is for, in two sentences.

export const PROTOCOLS = {
  REST: {
    name: "rest",
    shape: "circle",
    about: "REST: a client reads or changes a resource and needs the answer now. It fits the edge, because every client speaks HTTP, and caches and limits understand it.",
  },
  GraphQL: {
    name: "graphql",
    shape: "hexagon",
    about: "GraphQL: the client names the fields of the objects that it needs, in one request. It fits pages that show several things at once.",
  },
  MCP: {
    name: "mcp",
    shape: "cross",
    about: "MCP: an AI agent looks up what it can do here, and does it with typed tools. It fits the edge, beside REST and GraphQL, and calls the same gateway with its user's own token.",
  },
  gRPC: {
    name: "grpc",
    shape: "square",
    about: "gRPC: a service calls a method of another and needs the answer now. Both sides are generated from one contract, and the bytes are small.",
  },
  AMQP: {
    name: "amqp",
    shape: "diamond",
    about: "Message queue: something has happened, and each subscriber takes the event when it can. The sender does not wait, and nothing is lost while a receiver is away.",
  },
  queue: {
    name: "amqp",
    shape: "diamond",
    about: "Message queue: something has happened, and each subscriber takes the event when it can. The embedded broker keeps its queues in a file instead of speaking AMQP.",
  },
  Kafka: {
    name: "kafka",
    shape: "log",
    about: "Event log: every event is kept for days, in order by its key, and each reader keeps its own position. It fits what many read and what is read again; it delivers no task and retries none.",
  },
  SOAP: {
    name: "soap",
    shape: "triangle",
    about: "SOAP: the ERP of 2004 speaks it and will not change. The adapter is the only place where its words are known.",
  },
  HTTP: {
    name: "http",
    shape: "ring",
    about: "HTTP: a call to another company's API, with their rules. It is repeated safely by an idempotency key of ours.",
  },
  webhook: {
    name: "webhook",
    shape: "star",
    about: "Webhook: a partner calls us when something has happened on their side. The signature is checked over the raw bytes, the event is stored, and only then answered.",
  },
  SMTP: {
    name: "smtp",
    shape: "envelope",
    about: "SMTP: the mail server takes a mail and delivers it when it can. A mail cannot be taken back, so it is sent once.",
  },
  WebSocket: {
    name: "websocket",
    shape: "bolt",
    about: "WebSocket: the connection stays open, and both sides send when they have something. The browser hears of an event without asking.",
  },
  SSE: {
    name: "sse",
    shape: "bars",
    about: "Server-sent events: one long HTTP answer that only the server adds to. It comes back by itself after a break, from where it was.",
  },
};

const OTHER = { name: "other", shape: "circle", about: "" };

export const protocolOf = (name) => PROTOCOLS[name] ?? OTHER;

const PATHS = {
  circle: "M0-5a5 5 0 1 1 0 10a5 5 0 1 1 0-10z",
  ring: "M0-5a5 5 0 1 1 0 10a5 5 0 1 1 0-10zM0-2a2 2 0 1 0 0 4a2 2 0 1 0 0-4z",
  cross: "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2z",
  square: "M-4.5-4.5h9v9h-9z",
  diamond: "M0-6L6 0L0 6L-6 0z",
  log: "M-6-4H-3V4H-6zM-1.5-4H1.5V4H-1.5zM3-4H6V4H3z",
  triangle: "M0-6L6 5H-6z",
  hexagon: "M-3-5.2H3L6 0L3 5.2H-3L-6 0z",
  star: "M0-6.5L1.8-2H6.2L2.7 1L4 5.6L0 3L-4 5.6L-2.7 1L-6.2-2H-1.8z",
  envelope: "M-6-4H6V4H-6zM-6-4L0 1L6-4L0-1.5z",
  bolt: "M1-6.5L-4 1H-.5L-1.5 6.5L4-1.5H.5z",
  bars: "M-6-4.5H6V-2H-6zM-6-1H3V1.5H-6zM-6 2.5H5V5H-6z",
};

export const shapeOf = (protocol) => PATHS[protocolOf(protocol).shape];

// What other tools lose, in words.
export const NOTES = {
  refused: "refused",
  retry: "tried again",
  breaker_open: "not called: the circuit breaker is open",
  idempotent_replay: "a repeat: the first answer again",
  duplicate_dropped: "a duplicate: dropped by the inbox",
  dead_letter: "dead-lettered",
  dead_letter_replay: "put back from the dead letters",
  webhook_refused: "webhook refused",
  cache_hit: "answered from the edge cache",
};

// From left to right: clients, the edge, the services, what is not ours.
export const COLUMNS = [
  "client", "partners", "gateway", "graphql_server", "mcp_server", "users", "orders", "catalog", "inventory", "broker", "order_worker",
  "erp_adapter", "legacy_soap", "payment_provider", "webhooks", "webhook_worker", "storage", "mailer", "smtp_sink", "reports",
  "notifier",
];
