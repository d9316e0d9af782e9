// The Wire tab: what a process kept of a hop, or what crossed the link between the two; and which of them is shown.

import * as api from "/page/api.js";
import { h, ms, toast } from "/page/dom.js";
import { hexView } from "/page/wire.js";

const KEPT = {
  capture: "Captured in the process: what it handed to its transport or took from it. Frames and TLS are below this.",
  "sqlite row": "The embedded broker has no wire: one process wrote this row, and another read it from the same file.",
};
const FOUND_BY = {
  trace: "They are this hop's: its traceparent is in them.",
  time: "This protocol carries no traceparent here: these are the frames of the link in the time of the hop, neighbours included.",
};
const SOURCES = { process: "Captured in the process", link: "Crossed the link" };

// What the reader has chosen; until then the link is shown where there are frames of it.
let choice = null;
// The latest answer, so that a trace that grows is not fetched at each redrawing.
let latest = { key: "", answer: null };

export function wire(hop, hops, id) {
  const place = h("div", { id: "wire" });
  const key = `${id} ${hop.id} ${hop.state}`;
  const known = latest.key === key ? latest.answer : null;
  fill(place, hop, id, known);
  if (!known) {
    api.crossed(id, hop.id).then(
      (answer) => {
        latest = { key, answer };
        fill(place, hop, id, answer);
      },
      (error) => fill(place, hop, id, { lab: false, why: error.message, frames: [] }),
    );
  }
  return place;
}

function fill(place, hop, id, answer) {
  const shown = choice ?? (answer?.frames.length ? "link" : "process");
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.source : null;
  place.dataset.source = shown;
  place.replaceChildren(
    h(
      "div",
      { class: "bar", role: "group", "aria-label": "Which bytes are shown" },
      Object.entries(SOURCES).map(([name, title]) =>
        h("button", { type: "button", "data-source": name, "aria-pressed": String(name === shown), onclick: () => choose(name, place, hop, id, answer) }, title),
      ),
    ),
    ...(shown === "link" ? link(hop, id, answer, place) : process(hop)),
  );
  if (focused) place.querySelector(`[data-source="${focused}"]`)?.focus();
}

function choose(name, place, hop, id, answer) {
  choice = name;
  fill(place, hop, id, answer);
}

function process(hop) {
  const { sent, received, source, far_side: far } = hop.wire ?? {};
  if (!sent && !received) {
    return [h("p", {}, "Nothing was kept of this hop: capture is off, or its other side is not ours and sent nothing through us.")];
  }
  return [
    h("p", { class: "quiet" }, KEPT[source] ?? ""),
    sent && hexView(`Sent by ${hop.from}`, sent),
    farSide(`As ${hop.to} received it`, sent, far?.received),
    received && hexView(`Answered by ${hop.to}`, received),
    farSide(`As ${hop.to} sent it`, received, far?.sent),
  ].filter(Boolean);
}

// What the other process kept of the same message: libraries write heads in an order and a case of their own.
function farSide(title, near, far) {
  if (!far || !near) return null;
  if (far.base64 === near.base64) return h("p", { class: "quiet" }, `${title}: the same bytes.`);
  return h("details", {}, h("summary", {}, `${title}: other bytes, as its library shows them`), hexView(title, far));
}

function link(hop, id, answer, place) {
  if (!answer) return [h("p", { class: "quiet" }, "Asking the link …")];
  if (answer.why) return [h("p", {}, answer.why)];
  const names = answer.links.join(" and ");
  if (!answer.frames.length) return [h("p", {}, `Nothing is kept of what crossed ${names} for this hop.`), watching(answer, hop, id, place)];
  return [
    h("p", { class: "quiet" }, `Crossed the link ${names}: the bytes themselves, with secrets as asterisks. ${FOUND_BY[answer.matched] ?? ""}`),
    ...answer.frames.map((frame, index) => hexView(`${index + 1}. ${title(frame, answer.links.length > 1)}`, frame)),
  ];
}

const title = (frame, several) =>
  `${frame.direction === "request" ? "→" : "←"} ${frame.what}, at ${ms(frame.offset_ms)}, connection ${frame.connection}${several ? ` of ${frame.link}` : ""}`;

function watching(answer, hop, id, place) {
  if (answer.watching) return h("p", {}, "The link is being watched: what crosses from now on is kept. Place the order again.");
  const button = h("button", { type: "button", class: "primary", id: "watch-links" }, "Watch all links for ten minutes");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await api.watchLinks();
      latest = { key: "", answer: null };
      fill(place, hop, id, { ...answer, watching: true });
    } catch (error) {
      button.disabled = false;
      toast(error.message);
    }
  });
  return button;
}
