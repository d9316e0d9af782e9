// The command that makes the same call from a terminal. Ports are those of `make up`.

const PORTS = { gateway: 8000, webhooks: 8002, smtp_sink: 8026, legacy_soap: 8020 };
const ITEMS = `python3 -c 'import json, sys; print(json.load(sys.stdin)["items"]`;
const NEWEST = `ORDER=$(curl -s "http://localhost:8000/v1/orders?limit=1" -H "Authorization: Bearer $TOKEN" | ${ITEMS}[0]["id"])')`;
const PAYMENT = `PAYMENT=$(curl -s http://localhost:8000/v1/orders/$ORDER/events -H "Authorization: Bearer $TOKEN" | ${ITEMS}[1]["data"]["payment_id"])')`;
const LOGIN =
  '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:e="urn:erp:sales:2004"><s:Body><e:Login>' +
  "<e:User>SHOP</e:User><e:Password>shop</e:Password></e:Login></s:Body></s:Envelope>";
const SESSION = `SESSION=$(curl -s http://localhost:8020/ -H 'content-type: text/xml' -H 'soapaction: "Login"' -d '${LOGIN}' | grep -oE '[0-9A-F]{32}')`;

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const token = (account) => `TOKEN=$(shop token ${account}@shop.test)`;

// Placeholders become shell variables; these stand outside the single quotes.
const VARIABLES = { order_id: "ORDER", payment_id: "PAYMENT", erp_session: "SESSION", uuid: "RANDOM", now: "NOW", stripe_signature: "SIGNATURE" };
const filled = (text) => quoted(text).replace(/\{\{(\w+)\}\}/g, (whole, name) => (Object.hasOwn(VARIABLES, name) ? `'"$${VARIABLES[name]}"'` : whole));

export function command(content) {
  const lines = [];
  const text = [content.path, content.body, ...Object.values(content.headers ?? {})].join(" ");
  const needs = (name) => text.includes(`{{${name}}}`);
  if (content.account) lines.push(token(content.account));
  if (needs("order_id") || needs("payment_id")) lines.push(token("demo"), NEWEST);
  if (needs("payment_id")) lines.push(PAYMENT);
  if (needs("erp_session")) lines.push(SESSION);
  if (needs("now") || needs("stripe_signature")) lines.push("NOW=$(date +%s)");
  return [...new Set(lines), MAKERS[content.protocol ?? "http"](content)].join("\n");
}

function http(content) {
  const signed = Object.values(content.headers ?? {}).some((value) => value.includes("{{stripe_signature}}"));
  const parts = [`curl -i ${filled(`http://localhost:${PORTS[content.target]}${content.path}`)}`];
  if (!["GET", "POST"].includes(content.method) || (content.method === "POST" && !content.body)) parts.push(`-X ${content.method}`);
  if (content.account) parts.push('-H "Authorization: Bearer $TOKEN"');
  for (const [name, value] of Object.entries(content.headers ?? {})) parts.push(`-H ${filled(`${name}: ${value}`)}`);
  if (content.body) parts.push(signed ? '-d "$BODY"' : `--data-binary ${filled(content.body)}`);
  const call = parts.join(" \\\n  ");
  if (!signed) return call;
  return [
    `BODY=${filled(content.body)}`,
    `SECRET=$(python3 -c 'import json; print(json.load(open(".shop/secrets.json"))["webhooks"]["STRIPE"])')`,
    'SIGNATURE="t=$NOW,v1=$(printf %s "$NOW.$BODY" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d" " -f1)"',
    call,
  ].join("\n");
}

function grpc(content) {
  const parts = ["buf curl --http2-prior-knowledge --protocol grpc"];
  if (content.account) parts.push('-H "authorization: Bearer $TOKEN"');
  parts.push(`-d ${filled(content.body)}`, quoted(`http://localhost:50052${content.path}`));
  return parts.join(" \\\n  ");
}

const websocket = (content) =>
  `(echo ${quoted(content.body)}; sleep 10) | websockets ${quoted(`ws://localhost:8001${content.path}${content.path.includes("?") ? "&" : "?"}token=`)}"$TOKEN"`;

const sse = (content) => `curl -N ${quoted(`http://localhost:8001${content.path}`)} -H "Authorization: Bearer $TOKEN"`;

const event = (content) =>
  `curl http://localhost:8003/api/play -H 'content-type: application/json' \\\n  -d ${quoted(JSON.stringify({ protocol: "event", target: "broker", method: "POST", path: content.path }))}`;

const MAKERS = { http, grpc, websocket, sse, event };
