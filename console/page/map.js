// The Map view: the architecture picture, with what went over each arrow in a minute of the last fifteen.

import * as api from "/page/api.js";
import { $, h, ms, s } from "/page/dom.js";
import { protocolOf } from "/page/protocols.js";

const [WIDTH, HEIGHT] = [148, 54];
const EVERY_MS = 2000;

export function start() {
  $("#map-until").addEventListener("input", (event) => {
    const minutes = Number(event.target.value);
    $("#map-time").textContent = minutes ? `${minutes} min ago` : "now";
    refresh();
  });
  setInterval(() => !$("#map").hidden && !document.hidden && $("#map-until").value === "0" && refresh(), EVERY_MS);
  return refresh;
}

// Number of requests for the map: an answer older than the newest request is dropped.
let asked = 0;

async function refresh() {
  const mine = ++asked;
  try {
    const found = await api.topology($("#map-until").value);
    if (mine !== asked) return;
    $("#topology").replaceChildren(picture(found), table(found.arrows), found.queues.length ? waiting(found.queues) : "");
    const busy = found.arrows.filter((arrow) => arrow.count);
    const failed = busy.reduce((sum, arrow) => sum + arrow.failed, 0);
    $("#map-summary").textContent = busy.length
      ? `${busy.reduce((sum, arrow) => sum + arrow.count, 0)} hops over ${busy.length} arrows in one minute, ${failed} of them failed.`
      : "Nothing in this minute. Place an order, and look again.";
  } catch (error) {
    if (mine === asked) $("#map-summary").textContent = error.message;
  }
}

function picture({ boxes, band, queues, arrows, unread }) {
  const [x, y, width, height] = band;
  const bottom = Math.max(...boxes.map((box) => box.at[1])) + HEIGHT + 20;
  return s(
    "svg",
    { viewBox: `0 0 960 ${bottom}`, width: 960, height: bottom, class: "sequence", "aria-hidden": "true" },
    s("rect", { x, y, width, height, rx: 8, class: "process" }),
    s("text", { x: x + 10, y: y + 18, class: "name" }, "broker"),
    arrows.filter((arrow) => arrow.points).map(edge),
    queues.map(queue),
    boxes.map((box) => node(box, unread[box.name])),
  );
}

function edge(arrow) {
  const classes = ["edge", `p-${protocolOf(arrow.protocol).name}`, arrow.count ? "" : "idle", arrow.failed ? "bad" : "", arrow.breaker_open ? "open" : ""];
  const middle = arrow.points[Math.floor((arrow.points.length - 1) / 2)];
  const next = arrow.points[Math.floor((arrow.points.length - 1) / 2) + 1];
  return s(
    "g",
    {},
    s(
      "polyline",
      { points: arrow.points.map((point) => point.join(",")).join(" "), class: classes.join(" "), "stroke-width": 1.5 + Math.min(4, Math.sqrt(arrow.rate) * 2) },
      s("title", {}, `${arrow.from} ${arrow.protocol} ${arrow.to}: ${facts(arrow)}`),
    ),
    arrow.count
      ? s("text", { x: (middle[0] + next[0]) / 2 + 3, y: (middle[1] + next[1]) / 2 - 3, class: arrow.breaker_open ? "label dead" : "label" }, arrow.breaker_open ? `${arrow.count}, breaker open` : String(arrow.count))
      : null,
  );
}

// How long the oldest event of a queue has waited; RabbitMQ does not have this figure.
const age = ({ ready, delayed, oldest_seconds: oldest }) => (oldest !== null ? ms(oldest * 1000) : ready + delayed ? "unknown" : "");

// What waits in a queue now, and what has been given up.
const queue = ({ name, at: [x, y], ready, delayed, dead, consumers, oldest_seconds: oldest }) =>
  s(
    "text",
    { x, y: y + 4, "text-anchor": "middle", class: dead ? "label dead" : "label" },
    `${name} ${ready + delayed}${dead ? ` +${dead} dead` : ""}`,
    consumers === null || consumers > 0 ? null : " no consumer",
    s("title", {}, `${name}: ${ready} ready, ${delayed} wait for a retry, ${dead} dead-lettered, ${oldest === null ? "" : `the oldest has waited ${ms(oldest * 1000)}, `}consumers: ${consumers ?? "unknown"}`),
  );

// `unread`: entries of the event log that a process has not read yet.
const node = ({ name, at: [x, y], role }, unread) =>
  s(
    "g",
    { class: "node" },
    s("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 6 }),
    s("text", { x: x + WIDTH / 2, y: y + 22, "text-anchor": "middle", class: "name" }, name),
    s("text", { x: x + WIDTH / 2, y: y + 40, "text-anchor": "middle", class: "label" }, unread ? `${unread} events not read` : role),
  );

const facts = (arrow) =>
  arrow.count
    ? `${arrow.breaker_open ? "the circuit breaker is open; " : ""}${arrow.count} in a minute, ${arrow.failed} failed, half within ${ms(arrow.p50_ms)}, 95 % within ${ms(arrow.p95_ms)}`
    : "nothing in this minute";

const table = (arrows) =>
  h(
    "table",
    {},
    h("caption", {}, "What went over each arrow in this minute (for the broker: how long it waited)"),
    h("thead", {}, h("tr", {}, ["From", "Protocol", "To", "Hops", "Failed", "Breaker", "Median", "95 %"].map((title) => h("th", { scope: "col" }, title)))),
    h(
      "tbody",
      {},
      arrows
        .filter((arrow) => arrow.count)
        .map((arrow) =>
          h("tr", {}, [arrow.from, arrow.protocol, arrow.to, arrow.count, arrow.failed, arrow.breaker_open ? "open" : "", ms(arrow.p50_ms), ms(arrow.p95_ms)].map((each) => h("td", {}, String(each)))),
        ),
    ),
  );

const waiting = (queues) =>
  h(
    "table",
    {},
    h("caption", {}, "What waits in each queue now"),
    h("thead", {}, h("tr", {}, ["Queue", "Consumers", "Ready", "Oldest", "Waits for a retry", "Dead-lettered"].map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, queues.map((each) => h("tr", {}, [each.name, each.consumers ?? "unknown", each.ready, age(each), each.delayed, each.dead].map((value) => h("td", {}, String(value)))))),
  );
