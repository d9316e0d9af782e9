// The console's own API. Errors are problems (RFC 9457): the reader gets their detail.

async function request(path, options) {
  const response = await fetch(path, options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.errors?.map((each) => `${each.field} ${each.detail}`).join("; ") || body.detail);
  return body;
}

const json = (body) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export const traces = () => request("/api/traces?limit=60").then((body) => body.items);
export const trace = (id) => request(`/api/traces/${encodeURIComponent(id)}/hops`);
export const otlp = (id) => request(`/api/traces/${encodeURIComponent(id)}/otlp`);
export const compare = (left, right) => request("/api/compare", json({ left, right }));
export const call = (content) => request("/api/play", json(content));
export const lines = (id) => request(`/api/traces/${encodeURIComponent(id)}/logs`).then((body) => body.items);
export const crossed = (id, hop) => request(`/api/traces/${encodeURIComponent(id)}/link?hop=${encodeURIComponent(hop)}`);
export const watchLinks = () => request("/api/links/watch", json({}));
export const lessons = () => request("/api/lessons");
export const check = (number) => request(`/api/lessons/${number}/check`, json({}));
export const faults = () => request("/api/break");
export const breaking = () => request("/api/break?part=progress");
export const breakIt = (content) => request("/api/break", json(content));
export const topology = (until) => request(`/api/topology?minutes_ago=${until}`);

// Watch a trace while it grows; `reset`: the connection was lost, and all hops are sent again. Returns what ends it.
export function watch(id, { reset, hop, state, gone, settled, evicted }) {
  const source = new EventSource(`/api/traces/${encodeURIComponent(id)}/events`);
  let opened = false;
  source.addEventListener("open", () => {
    if (opened) reset();
    opened = true;
  });
  source.addEventListener("hop", (event) => hop(JSON.parse(event.data)));
  source.addEventListener("state", (event) => state(JSON.parse(event.data)));
  source.addEventListener("gone", (event) => gone(JSON.parse(event.data)));
  source.addEventListener("settled", settled);
  source.addEventListener("evicted", () => {
    source.close();
    evicted();
  });
  return () => source.close();
}
