// The Order view: follows one trace while it grows.

import * as api from "/page/api.js";
import { show, TABS } from "/page/detail.js";
import { draw, reveal } from "/page/diagram.js";
import { $, copy, h, ms, s, save, toast } from "/page/dom.js";
import * as exports from "/page/exports.js";
import { PROTOCOLS, protocolOf, shapeOf } from "/page/protocols.js";

const ORDER = { items: [{ product_id: "42", quantity: 1 }, { product_id: "123", quantity: 2 }] };
const LINK_NOTE =
  "As parent, a message's work belongs to the trace that published it: one order is one picture, however long it takes. " +
  "As link, each message that is taken begins a piece of work of its own that points back to its cause: better where a consumer takes many messages at once.";

const view = { id: null, summary: null, hops: new Map(), selected: null, tab: "meaning", scale: false, links: false, settled: false };
let stop = () => {};
let drawing = 0;
// The hop that was chosen, until it has been brought into sight.
let unseen = null;

export function start() {
  $("#place-order").addEventListener("click", place);
  $("#recent").addEventListener("change", (event) => event.target.value && open(event.target.value));
  $("#scale").addEventListener("click", () => toggle("scale"));
  $("#by-link").addEventListener("click", () => toggle("links"));
  $("#copy-link").addEventListener("click", () => copy(location.href, "Link"));
  $("#copy-mermaid").addEventListener("click", () => copy(exports.mermaid(hops()), "Mermaid"));
  $("#save-svg").addEventListener("click", () => save(`${name()}.svg`, "image/svg+xml", exports.svg(hops(), view)));
  $("#save-html").addEventListener("click", () => save(`${name()}.html`, "text/html", exports.page(view.summary ?? {}, hops(), view)));
  $("#save-otlp").addEventListener("click", () =>
    api.otlp(view.id).then((body) => save(`${name()}.otlp.json`, "application/json", JSON.stringify(body)), (error) => toast(error.message)),
  );
  document.addEventListener("keydown", keys);
  $("#diagram").addEventListener("keydown", rows);
  const parameters = new URLSearchParams(location.search);
  view.selected = unseen = parameters.get("hop");
  const tab = parameters.get("tab");
  view.tab = Object.hasOwn(TABS, tab) ? tab : "meaning";
  if (parameters.get("trace")) open(parameters.get("trace"), { keep: true });
  recent();
}

const hops = () => [...view.hops.values()].sort((a, b) => a.offset_ms - b.offset_ms);
const name = () => `order-${view.summary?.order_id ?? view.id ?? "none"}`;

async function place() {
  const button = $("#place-order");
  button.disabled = true;
  // What is shown is not the new order yet, and that one has not settled.
  const { settled } = $("#order").dataset;
  delete $("#order").dataset.settled;
  try {
    const answer = await api.call({
      target: "gateway",
      method: "POST",
      path: "/v1/orders",
      account: "demo",
      headers: { "content-type": "application/json", "idempotency-key": crypto.randomUUID() },
      body: JSON.stringify(ORDER),
    });
    if (answer.status !== 202) throw new Error(`the order was answered ${answer.status}: ${answer.body}`);
    open(answer.trace_id);
  } catch (error) {
    $("#summary").textContent = error.message;
    if (settled) $("#order").dataset.settled = settled;
  } finally {
    button.disabled = false;
  }
}

export function open(id, { keep = false } = {}) {
  stop();
  Object.assign(view, { id, summary: null, hops: new Map(), settled: false });
  if (!keep) Object.assign(view, { selected: null, tab: "meaning" });
  remember();
  delete $("#order").dataset.settled;
  let reconnected = false;
  stop = api.watch(id, {
    // The server sends all hops again, and has no record of those it has withdrawn. Until it does, what is shown stays:
    // after a restart the console has none of this trace.
    reset() {
      reconnected = true;
    },
    hop(hop) {
      if (reconnected) view.hops.clear();
      reconnected = false;
      view.hops.set(hop.id, hop);
      view.settled = false;
      soon();
    },
    state({ id: changed, state }) {
      Object.assign(view.hops.get(changed) ?? {}, { state });
      soon();
    },
    gone({ id: merged }) {
      view.hops.delete(merged);
      soon();
    },
    async settled() {
      view.settled = true;
      $("#order").dataset.settled = "true";
      const summary = await api.trace(id).catch(() => null);
      if (view.id !== id) return;
      view.summary = summary;
      soon();
      recent();
    },
    evicted() {
      $("#summary").textContent = "This trace had to make room for newer ones, and is not there any more.";
    },
  });
  soon();
}

function soon() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(redraw);
}

function redraw() {
  const found = hops();
  legend(new Set(found.map((hop) => hop.protocol)));
  const last = found.reduce((latest, hop) => Math.max(latest, hop.offset_ms + hop.duration_ms), 0);
  const protocols = new Set(found.map((hop) => hop.protocol));
  const failed = found.filter((hop) => hop.state === "failed").length;
  if (view.id) {
    $("#summary").textContent = `${view.settled ? "Settled" : "Running"}: ${found.length} hops, ${protocols.size} protocols, ${ms(last)}${failed ? `, ${failed} failed` : ""}.${view.summary?.order_id ? ` Order ${view.summary.order_id}.` : ""}`;
  }
  const laid = found.length ? draw($("#diagram"), found, { ...view, select }) : null;
  const hop = view.hops.get(view.selected);
  if (hop) show($("#hop"), hop, found, { id: view.id, tab: view.tab, settled: view.settled, choose, close });
  else $("#hop").hidden = true;
  // Once the panel is there: it takes a part of the diagram's width.
  if (hop && unseen === hop.id) {
    reveal($("#diagram"), laid, hop);
    unseen = null;
  }
}

function select(id) {
  view.selected = unseen = view.selected === id ? null : id;
  remember();
  redraw();
}

function choose(tab) {
  view.tab = tab;
  remember();
  redraw();
}

function close() {
  const was = view.selected;
  select(was);
  $("#diagram").querySelector(`[data-hop="${CSS.escape(was)}"]`)?.focus();
}

function toggle(what) {
  view[what] = !view[what];
  $(what === "scale" ? "#scale" : "#by-link").setAttribute("aria-pressed", String(view[what]));
  $("#link-note").textContent = LINK_NOTE;
  $("#link-note").hidden = !view.links;
  redraw();
}

function keys(event) {
  if (event.target.matches?.("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if ($("#order").hidden) return;
  if (event.key === "t") toggle("scale");
  if (event.key === "l") toggle("links");
  if (event.key === "Escape" && view.selected) close();
}

// In the diagram the arrow keys go from row to row.
function rows(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.dataset.hop) return;
  event.preventDefault();
  const all = [...$("#diagram").querySelectorAll("[data-hop]")];
  all[all.indexOf(event.target) + step]?.focus();
}

function remember() {
  const query = new URLSearchParams();
  if (view.id) query.set("trace", view.id);
  if (view.selected) query.set("hop", view.selected);
  if (view.selected && view.tab !== "meaning") query.set("tab", view.tab);
  history.replaceState(null, "", `${location.pathname}?${query}${location.hash || "#order"}`);
}

export async function recent() {
  const found = await api.traces().catch(() => []);
  const named = (each) => `${each.started_at.slice(11, 19)} ${each.name}${each.order_id ? ` (${each.order_id.slice(0, 8)})` : ""}${each.error ? " failed" : ""}`;
  for (const place of ["#recent", "#left", "#right"]) {
    const list = $(place);
    const was = place === "#recent" ? view.id : list.value;
    list.replaceChildren(h("option", { value: "" }, "choose"), ...found.map((each) => h("option", { value: each.trace_id }, named(each))));
    list.value = found.some((each) => each.trace_id === was) ? was : "";
  }
  return found;
}

function legend(present) {
  $("#legend").replaceChildren(
    ...Object.keys(PROTOCOLS).filter((each) => present.has(each)).map((each) =>
      h(
        "li",
        { class: `p-${protocolOf(each).name}` },
        s("svg", { viewBox: "-7 -7 14 14", width: 14, height: 14, class: "sequence", "aria-hidden": "true" }, s("path", { d: shapeOf(each), class: "mark" })),
        each,
      ),
    ),
  );
}
