// GraphiQL with what this shop adds: sign-in by one click, prepared operations, and the X-ray of each answer.
"use strict";

const PASSWORDS = { demo: "demo", admin: "admin" };
// Seconds before a token's end when the next one is fetched.
const BEFORE_END = 30;
const PREPARED = [
  `# Whose orders, and what is in them: the query of the
# two articles behind this shop. Sign in as demo first.
# However many rows, each level is one call behind.
query Articles {
  user(id: "123") {
    name
    email
    orders {
      id
      total
      items {
        product {
          name
          price
        }
      }
    }
  }
}
`,
  `# Place an order. The same key again places nothing:
# then extensions.idempotencyReplayed says so.
mutation PlaceOrder {
  placeOrder(input: { items: [{ productId: "42", quantity: 1 }], idempotencyKey: "graphiql-1" }) {
    id
    status
    total
  }
}
`,
  `# Orders as they change, over a WebSocket. Run it, then
# place an order elsewhere (shop tour, or with a new key).
subscription OrderUpdates {
  orderUpdates {
    id
    event
    status
    time
  }
}
`,
];

const at = (id) => document.getElementById(id);
let token = "";
let refresh = 0;

async function signIn(account) {
  clearTimeout(refresh);
  const form = new URLSearchParams({ username: `${account}@shop.test`, password: PASSWORDS[account] });
  try {
    const response = await fetch("/v1/auth/token", { method: "POST", body: form });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.detail);
    token = answer.access_token;
    at("account").textContent = `signed in as ${account}@shop.test`;
    refresh = setTimeout(signIn, Math.max(1, answer.expires_in - BEFORE_END) * 1000, account);
  } catch (error) {
    token = "";
    at("account").textContent = `not signed in: ${error.message}`;
  }
  show();
}

async function ask(url, options) {
  const headers = new Headers(options.headers);
  if (token && !headers.has("authorization")) headers.set("authorization", `Bearer ${token}`);
  const response = await fetch(url, { ...options, headers });
  // The page reads the schema by itself: that needs no X-ray.
  if (!String(options.body).includes("IntrospectionQuery")) lead(response.headers.get("traceparent"));
  return response;
}

function lead(traceparent) {
  const trace = traceparent?.split("-")[1];
  const link = at("xray");
  link.hidden = !trace;
  if (trace) link.href = `http://${location.hostname}:${document.body.dataset.consolePort}/?trace=${trace}#order`;
}

function fetcher() {
  const url = new URL("/graphql", location.href);
  const wsClient = graphqlWs.createClient({
    url: String(url).replace(/^http/, "ws"),
    connectionParams: () => (token ? { authorization: `Bearer ${token}` } : {}),
  });
  return GraphiQL.createFetcher({ url: String(url), fetch: ask, wsClient });
}

// Anew after each sign-in: an open WebSocket keeps the identity that it began with.
function show() {
  const made = React.createElement(GraphiQL, {
    fetcher: fetcher(),
    defaultTabs: PREPARED.map((query) => ({ query })),
    defaultQuery: PREPARED[0],
    isHeadersEditorEnabled: true,
    shouldPersistHeaders: false,
  });
  ReactDOM.render(made, at("graphiql"));
}

for (const button of document.querySelectorAll("[data-account]")) {
  button.addEventListener("click", () => signIn(button.dataset.account));
}
show();
