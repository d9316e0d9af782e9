// The selected hop: its meaning, its bytes, its cost, its code.

import * as api from "/page/api.js";
import { wire } from "/page/crossed.js";
import { bytes, h, ms } from "/page/dom.js";
import { NOTES, protocolOf } from "/page/protocols.js";

export const TABS = { meaning: "Meaning", wire: "Wire", cost: "Cost", code: "Code", logs: "Logs" };

export function show(place, hop, hops, { id, tab, settled, choose, close }) {
  const chosen = (name) => {
    // A line may arrive after the hop has settled: choosing the tab requests the lines again.
    asked.at = "";
    choose(name);
  };
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.tab : null;
  place.hidden = false;
  place.replaceChildren(
    h(
      "div",
      { class: "bar" },
      h("h3", {}, `${hop.from} → ${hop.to}`, " ", h("small", {}, hop.protocol)),
      h("button", { type: "button", onclick: close, "aria-label": "Close the hop" }, "×"),
    ),
    h(
      "div",
      { role: "tablist", "aria-label": "What is shown of the hop" },
      Object.entries(TABS).map(([name, title]) =>
        h(
          "button",
          {
            type: "button",
            role: "tab",
            id: `tab-${name}`,
            "data-tab": name,
            "aria-selected": String(name === tab),
            "aria-controls": "hop-panel",
            tabindex: name === tab ? "0" : "-1",
            onclick: () => chosen(name),
            onkeydown: (event) => arrowKeys(event, tab, chosen),
          },
          title,
        ),
      ),
    ),
    h("div", { role: "tabpanel", id: "hop-panel", "aria-labelledby": `tab-${tab}`, tabindex: "0" }, PANELS[tab](hop, hops, id, settled)),
  );
  if (focused) place.querySelector(`[data-tab="${tab}"]`)?.focus();
}

function arrowKeys(event, tab, choose) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const names = Object.keys(TABS);
  choose(names[(names.indexOf(tab) + step + names.length) % names.length]);
}

const PANELS = { meaning, wire, cost, code, logs };

function meaning(hop) {
  return [
    h("p", {}, sentence(hop)),
    hop.error && h("p", { class: "bad" }, hop.error),
    h("p", { class: "quiet" }, protocolOf(hop.protocol).about),
    decoded("Sent", hop.decoded?.sent),
    decoded("Received", hop.decoded?.received),
  ];
}

function sentence(hop) {
  const what = hop.operation;
  if (hop.kind === "message") {
    const queue = hop.queue ? ` through ${hop.queue}` : "";
    const wait = hop.waiting_ms === null ? "" : ` It waited ${ms(hop.waiting_ms)}, and was worked on for ${ms(hop.duration_ms)}.`;
    const attempt = hop.attempt > 1 ? ` This is attempt ${hop.attempt}.` : "";
    return `${hop.from} published ${what}; ${hop.to} took it${queue}.${wait}${attempt} ${NOTES[hop.note] ?? ""}`;
  }
  const answer = hop.state === "flying" ? "has not been answered yet" : `was answered after ${ms(hop.duration_ms)}`;
  return `${hop.from} called ${hop.to}: ${what}. It ${answer}. ${NOTES[hop.note] ?? ""}`;
}

function decoded(title, content) {
  if (content === null || content === undefined) return null;
  const text = typeof content === "string" ? content : JSON.stringify(content, null, 2);
  return [h("h4", {}, title), h("pre", { tabindex: "0", "aria-label": `${title}, decoded` }, text)];
}

function cost(hop, hops) {
  const inside = hops.filter((each) => each.parent === hop.id && each.kind === "call");
  const below = covered(hop, inside);
  const rows = [
    ["Sent", bytes(hop.bytes_sent)],
    ["Received", bytes(hop.bytes_received)],
    ["In all", ms(hop.duration_ms)],
    hop.waiting_ms === null ? null : ["Waited in the queue", ms(hop.waiting_ms)],
    ["In calls from here", `${ms(below)} in ${inside.length} ${inside.length === 1 ? "call" : "calls"}`],
    ["Own work and the way", ms(Math.max(0, hop.duration_ms - below))],
    ...layers("Sent", hop.wire?.sent),
    ...layers("Received", hop.wire?.received),
  ];
  return h(
    "table",
    {},
    h("caption", {}, "Bytes by layer, time by part"),
    h("tbody", {}, rows.filter(Boolean).map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)))),
  );
}

// Milliseconds of a hop in which at least one of some calls was under way: calls may run at the same time, or outlast it.
function covered(hop, calls) {
  const end = hop.offset_ms + hop.duration_ms;
  let [until, sum] = [hop.offset_ms, 0];
  for (const each of [...calls].sort((a, b) => a.offset_ms - b.offset_ms)) {
    const upto = Math.min(end, each.offset_ms + each.duration_ms);
    sum += Math.max(0, upto - Math.max(until, each.offset_ms));
    until = Math.max(until, upto);
  }
  return sum;
}

const layers = (title, message) =>
  (message?.parts ?? []).map((part) => [`${title}: ${part.name}`, bytes(part.end - part.start)]);

function code(hop) {
  const place = (title, at) =>
    at && [
      h("h4", {}, title),
      h("p", {}, h("code", {}, `${at.file}${at.line ? `:${at.line}` : ""}`), h("br"), "in ", h("code", {}, at.function || "the module")),
    ];
  const found = [place(`Called from, in ${hop.from}`, hop.code?.origin), place(`Handled by, in ${hop.to}`, hop.code?.target)];
  return found.some(Boolean) ? found : h("p", {}, "Neither side says where its code is: it is not ours, or it sends no code attributes.");
}

// The answer about the hop that is shown: a redraw that changes nothing of it is no new request, and the former answer stays
// until the next one is there.
let asked = { about: "", at: "", answer: null, former: null };

// The lines that were written in the work of this hop, in causal order.
function logs(hop, hops, id, settled) {
  const about = `${id} ${hop.id}`;
  const at = `${hop.state} ${hops.length} ${settled}`;
  if (asked.about !== about || asked.at !== at) {
    const former = asked.about === about ? asked.former : null;
    const mine = (asked = { about, at, answer: api.lines(id), former });
    mine.answer.then((lines) => (mine.former = lines), () => (mine.at = ""));
  }
  const place = h("div", {}, asked.former ? lines(asked.former, hop, id) : h("p", { class: "quiet" }, "Asking for the lines …"));
  asked.answer.then(
    (found) => place.replaceChildren(...lines(found, hop, id)),
    (error) => place.replaceChildren(h("p", { class: "bad" }, error.message)),
  );
  return place;
}

function lines(found, hop, id) {
  const own = found.filter((line) => line.hop === hop.id);
  return [
    own.length
      ? h("pre", { tabindex: "0", "aria-label": "Log lines of this hop" }, own.map(written).join("\n"))
      : h("p", {}, `No line was written in the work of this hop; the whole trace has ${found.length}.`),
    h("p", { class: "quiet" }, "All of them, in causal order: ", h("code", {}, `shop logs --trace ${id}`)),
  ];
}

const written = (line) =>
  `${line.time.slice(11, 23)} ${line.level.padEnd(7)} ${line.service}: ${line.message}${Object.entries(line.attributes).map(([name, value]) => ` ${name}=${value}`).join("")}`;
