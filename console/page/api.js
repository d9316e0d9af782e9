// The console's own API. Errors are problems (RFC 9457): the reader gets their detail.

async function asked(path, options) {
  const response = await fetch(path, options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.errors?.map((each) => `${each.field} ${each.detail}`).join("; ") || body.detail);
  return body;
}

const json = (body) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export const traces = () => asked("/api/traces?limit=60").then((body) => body.items);
export const trace = (id) => asked(`/api/traces/${encodeURIComponent(id)}/hops`);
export const ofOrder = (id) => asked(`/api/orders/${encodeURIComponent(id)}/xray`);
export const otlp = (id) => asked(`/api/traces/${encodeURIComponent(id)}/otlp`);
export const compare = (left, right) => asked("/api/compare", json({ left, right }));
export const call = (content) => asked("/api/play", json(content));
export const lines = (id) => asked(`/api/traces/${encodeURIComponent(id)}/logs`).then((body) => body.items);
export const crossed = (id, hop) => asked(`/api/traces/${encodeURIComponent(id)}/link?hop=${encodeURIComponent(hop)}`);
export const watchLinks = () => asked("/api/links/watch", json({}));
export const lessons = () => asked("/api/lessons");
export const check = (number) => asked(`/api/lessons/${number}/check`, json({}));
export const faults = () => asked("/api/break");
export const breaking = () => asked("/api/break?part=progress");
export const breakIt = (content) => asked("/api/break", json(content));
export const topology = (until) => asked(`/api/topology?minutes_ago=${until}`);

// Watch a trace while it grows. Returns what ends it.
export function watch(id, { hop, state, gone, settled, evicted }) {
  const source = new EventSource(`/api/traces/${encodeURIComponent(id)}/events`);
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
