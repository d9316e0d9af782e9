// What can be played. A card makes one call or several, one after the other. `fresh` names a header that gets a new key
// each time, the same for all calls of a card; what stands in double braces is filled in by the console, just before the call is made.

const JSON_TYPE = { "content-type": "application/json" };
const SOAP_TYPE = { "content-type": "text/xml; charset=utf-8" };

const STOCK = `<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"
    xmlns:erp="urn:erp:sales:2004">
  <soap:Header>
    <erp:SessionHeader><erp:SessionId>{{erp_session}}</erp:SessionId></erp:SessionHeader>
  </soap:Header>
  <soap:Body>
    <erp:GetStockLevel>
      <erp:Articles><erp:ArticleRef><erp:AltRef>42</erp:AltRef></erp:ArticleRef></erp:Articles>
    </erp:GetStockLevel>
  </soap:Body>
</soap:Envelope>`;

const PAYMENT = (id) => `{
  "id": "evt_{{uuid}}",
  "type": "payment_intent.succeeded",
  "data": {"object": {"id": "${id}", "metadata": {"order_id": "{{order_id}}"}}}
}`;

const PRODUCT_QUERY = "{ product(id: \"42\") { id name description category price currency imageUrl updatedAt } }";

const order = (body) => ({ method: "POST", path: "/v1/orders", account: "demo", headers: JSON_TYPE, fresh: "idempotency-key", body });

export const CALLS = [
  {
    id: "order",
    title: "REST: place an order",
    about: "Accepted at once; everything else happens after the answer. Watch it in the X-ray.",
    calls: [order('{"items": [{"product_id": "42", "quantity": 1}]}')],
  },
  {
    id: "order-too-many",
    title: "REST: an order that is rejected",
    about: "There are not so many in stock: the saga undoes what it has done. Compare it with one that ships.",
    calls: [order('{"items": [{"product_id": "7", "quantity": 1000}]}')],
  },
  {
    id: "three-ways",
    title: "REST, GraphQL and gRPC: the same read, side by side",
    about: "One product with the same fields. Compare the bytes and the time: gRPC goes straight to the service, GraphQL to a server that calls REST, REST to a cache.",
    beside: true,
    calls: [
      { label: "REST", method: "GET", path: "/v1/products/42", account: "" },
      { label: "GraphQL", method: "POST", path: "/graphql", account: "", headers: JSON_TYPE, body: JSON.stringify({ query: PRODUCT_QUERY }) },
      { label: "gRPC", protocol: "grpc", target: "catalog", method: "POST", path: "/shop.catalog.v1.CatalogService/GetProducts", account: "", body: '{"ids": ["42"]}' },
    ],
  },
  {
    id: "twice",
    title: "REST twice: the edge's cache, and 304",
    about: "The second answer says in Cache-Status that it came from the cache. The third call shows the ETag of the first, and its answer has no body.",
    calls: [
      { label: "first", method: "GET", path: "/v1/products/42", account: "" },
      { label: "again", method: "GET", path: "/v1/products/42", account: "" },
      { label: "if it has changed", method: "GET", path: "/v1/products/42", account: "", tagged: true },
    ],
  },
  {
    id: "idempotent",
    title: "REST twice with one Idempotency-Key",
    about: "The same order again, and not a second one: Idempotency-Replayed says so.",
    calls: ["first", "again"].map((label) => ({
      ...order('{"items": [{"product_id": "20", "quantity": 1}]}'),
      label,
    })),
  },
  {
    id: "graphql",
    title: "GraphQL: a customer's orders with their products",
    about: "One request, exactly these fields; the server calls the REST API behind it.",
    calls: [{
      method: "POST",
      path: "/graphql",
      account: "demo",
      headers: JSON_TYPE,
      body: '{"query": "{ me { name orders { id status total items { product { name } quantity } } } }"}',
    }],
  },
  {
    id: "websocket",
    title: "WebSocket: subscribe, and hear of an order",
    about: "The subscription is confirmed, an order is placed, and each of its events arrives as it happens, on the same connection.",
    calls: [{ protocol: "websocket", target: "notifier", method: "GET", path: "/notifications", account: "demo", body: '{"action": "subscribe", "topics": ["order.*"]}' }],
  },
  {
    id: "sse",
    title: "SSE: the same events over plain HTTP",
    about: "One long answer that only grows. Each event has an id; a client that comes back sends the last one, and misses nothing.",
    calls: [{ protocol: "sse", target: "notifier", method: "GET", path: "/notifications/stream?topics=order.*", account: "demo" }],
  },
  {
    id: "signed",
    title: "Webhook: signed by the payment provider",
    about: "Over the raw bytes and the time, with the secret that both have. It is about the newest order, which is paid already: a repeat that changes nothing.",
    calls: [{
      target: "webhooks",
      method: "POST",
      path: "/webhooks/stripe",
      account: "",
      headers: { ...JSON_TYPE, "stripe-signature": "{{stripe_signature}}" },
      body: PAYMENT("{{payment_id}}"),
    }],
  },
  {
    id: "forged",
    title: "Webhook: forged, about an order that exists",
    about: "The order is real, the signature is not: nothing is stored, and the answer is 401.",
    calls: [{
      target: "webhooks",
      method: "POST",
      path: "/webhooks/stripe",
      account: "",
      headers: { ...JSON_TYPE, "stripe-signature": `t={{now}},v1=${"0".repeat(64)}` },
      body: PAYMENT("pi_forged"),
    }],
  },
  {
    id: "soap",
    title: "SOAP: call the ERP itself",
    about: "What only the adapter does otherwise: their article numbers, their zeros before each figure, their dates. A session is opened first.",
    calls: [{
      target: "legacy_soap",
      method: "POST",
      path: "/",
      account: "",
      headers: { ...SOAP_TYPE, soapaction: '"GetStockLevel"' },
      body: STOCK,
    }],
  },
  {
    id: "availability",
    title: "REST to SOAP: is it in stock?",
    about: "The same question at the edge: inventory calls the adapter, and the adapter calls the ERP.",
    calls: [{ method: "GET", path: "/v1/products/42/availability", account: "" }],
  },
  {
    id: "event",
    title: "Message queue: publish an event once more",
    about: "The newest event of this type again, as a relay does that died before it could mark it. Each queue takes it; the mailer's inbox has its id, and no second mail goes out.",
    calls: [{ protocol: "event", target: "broker", method: "POST", path: "order.confirmed", account: "" }],
  },
  {
    id: "upload",
    title: "REST to gRPC streaming: upload a file",
    about: "The gateway passes the body on as a stream of chunks.",
    calls: [{ method: "POST", path: "/v1/files", account: "demo", headers: { "content-type": "text/plain" }, body: "a small file" }],
  },
  {
    id: "mails",
    title: "SMTP: what was mailed",
    about: "The mail server's list; the mails themselves came by SMTP.",
    calls: [{ target: "smtp_sink", method: "GET", path: "/mails", account: "" }],
  },
  {
    id: "refused",
    title: "REST: what may not be read",
    about: "An order without a token is 401; an order of another customer is 404.",
    calls: [{ method: "GET", path: "/v1/orders/123", account: "" }],
  },
];
