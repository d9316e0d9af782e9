// The Break view: choose a process or a link on the map and a fault; a load runs beside it, and the verdict appears.

import * as api from "/page/api.js";
import { draw } from "/page/diagram.js";
import { $, h, ms, s, toast } from "/page/dom.js";

const [WIDTH, HEIGHT] = [148, 54];
const EVERY_MS = 1000;
const OF_A_PROCESS = [
  ["kill", (name) => `kill ${name}`],
  ["ask to stop", (name) => `kill ${name} signal=15`],
  ["freeze", (name) => `freeze ${name}`],
  ["clock an hour ahead", (name) => `clock ${name} ahead=1h`],
  ["clock ten minutes behind", (name) => `clock ${name} behind=10min`],
];
const OF_A_LINK = [
  ["300 ms late", "delay=300ms"],
  ["4 KB a second", "rate=4kb/s"],
  ["cut inside a frame", "cut=700"],
  ["lose the answers", "reset direction=answer"],
  ["a black hole", "black-hole"],
  ["half open", "half-open"],
  ["refuse", "refuse"],
].map(([name, words]) => [name, (link) => `link '${link}' ${words}`]);
const OF_THE_WORLD = [
  ["the ERP is in maintenance", () => "erp maintenance"],
  ["the ERP answers with HTML", () => "erp html"],
  ["a partner sends everything twice", () => "partner duplicate"],
  ["the broker is down", () => "broker down"],
  ["all clocks jump an hour ahead", () => "clock ahead=1h"],
  ["messages that no consumer can read", () => "poison order-processing"],
];
const WORLD = "the world outside";
// Without these there is no page, no tap and no load.
const SPARED = new Set(["console", "link_proxy"]);

let links = [];
let processes = [];
let timer = null;

export function start() {
  $("#break-where").addEventListener("change", (event) => choose(event.target.value));
  $("#break-it").addEventListener("click", breakIt);
  return show;
}

async function show() {
  try {
    const [state, map] = await Promise.all([api.faults(), api.topology(0)]);
    $("#break-controls").hidden = $("#break-map").hidden = Boolean(state.why);
    if (state.why) throw new Error(state.why);
    links = state.links;
    processes = state.processes.filter((name) => !SPARED.has(name));
    const options = [WORLD, ...processes, ...links];
    const before = $("#break-where").value;
    $("#break-where").replaceChildren(...options.map((name) => h("option", { value: name }, name)));
    $("#break-map").replaceChildren(picture(map));
    choose(options.includes(before) ? before : "order_worker");
    showProgress(state);
  } catch (error) {
    $("#break-it").disabled = true;
    $("#break-note").textContent = error.message;
  }
}

const faultsOf = (where) => (where === WORLD ? OF_THE_WORLD : processes.includes(where) ? OF_A_PROCESS : OF_A_LINK);

function choose(where) {
  $("#break-where").value = where;
  const names = faultsOf(where).map(([name], index) => h("option", { value: index }, name));
  $("#break-what").replaceChildren(...names);
  for (const each of document.querySelectorAll("#break-map [data-where]")) each.classList.toggle("chosen", each.dataset.where === where);
}

async function breakIt() {
  const where = $("#break-where").value;
  const [, words] = faultsOf(where)[Number($("#break-what").value)];
  try {
    await api.breakIt({ do: words(where), seconds: Number($("#break-seconds").value) });
    $("#break-verdict").replaceChildren();
    $("#break-xrays").hidden = true;
    showProgress({ running: words(where) });
  } catch (error) {
    toast(error.message);
  }
}

function showProgress({ running, result, error }) {
  clearTimeout(timer);
  $("#break-it").disabled = Boolean(running);
  $("#break").dataset.running = running ? "true" : "false";
  if (running) {
    $("#break-note").textContent = `${running}: customers order meanwhile; then every book is read …`;
    timer = setTimeout(look, EVERY_MS);
  } else if (error) $("#break-note").textContent = `No verdict: ${error}`;
  else if (result) verdict(result);
  else $("#break-note").textContent = "Choose a process or a link, and what is to happen to it.";
}

async function look() {
  try {
    showProgress(await api.breaking());
  } catch {
    timer = setTimeout(look, EVERY_MS); // the console may be on the broken side for a moment
  }
}

async function verdict(result) {
  const seconds = result.recovered_s === null ? "It did not recover." : `It recovered after ${result.recovered_s.toFixed(1)} s.`;
  $("#break-note").textContent = `${result.accepted} of ${result.orders} orders were accepted. ${seconds}`;
  $("#break-verdict").replaceChildren(
    h("p", { id: "break-word", "data-verdict": result.verdict }, h("strong", {}, result.verdict.toUpperCase()), result.reasons.length ? `: ${result.reasons.join("; ")}` : ""),
    table("What was broken", ["Fault", "Met", "What was done", "And undone"], result.bites.map((each) => [each.do, each.met, each.begun, each.undone])),
    table("Promises", ["Promise", "", "Checked", "What was found", "Shown by"], result.promises.map(promise)),
    table("Requests: count, errors, half within, 99 % within", ["Route", "Before", "During", "After"], result.routes.map((each) => [each.route, phase(each.before), phase(each.during), phase(each.after)])),
  );
  await Promise.all([xray("#break-healthy", result.healthy), xray("#break-worst", result.worst)]);
  $("#break-xrays").hidden = !(result.healthy && result.worst);
}

const promise = (each) => [each.name, each.kept ? "kept" : "BROKEN", each.checked, each.text, each.xray ? h("a", { href: new URL(each.xray).search + "#order" }, "its X-ray") : ""];

const phase = ({ count, errors, p50, p99 }) => (count ? `${count}, ${errors}, ${ms(p50 * 1000)}, ${ms(p99 * 1000)}` : "none");

const table = (caption, heads, rows) =>
  h(
    "table",
    {},
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, heads.map((each) => h("th", { scope: "col" }, each || h("span", { class: "hidden" }, "Verdict"))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((each) => h("td", {}, each instanceof Node ? each : String(each)))))),
  );

async function xray(place, address) {
  if (!address) return;
  const id = new URL(address).searchParams.get("trace");
  try {
    const { hops } = await api.trace(id);
    draw($(place), hops, { select: () => location.assign(`/?trace=${id}#order`) });
  } catch (error) {
    $(place).textContent = error.message;
  }
}

function picture({ boxes, arrows }) {
  const bottom = Math.max(...boxes.map((box) => box.at[1])) + HEIGHT + 20;
  return s(
    "svg",
    { viewBox: `0 0 960 ${bottom}`, width: 960, height: bottom, class: "sequence breakable", "aria-hidden": "true" },
    arrows.filter((arrow) => arrow.points && links.includes(`${arrow.from}->${arrow.to}`)).map(edge),
    boxes.map(node),
  );
}

function edge({ from, to, points }) {
  const name = `${from}->${to}`;
  const line = points.map((point) => point.join(",")).join(" ");
  return s(
    "g",
    { "data-where": name, onclick: () => choose(name) },
    s("polyline", { points: line, class: "edge" }),
    s("polyline", { points: line, class: "reach" }, s("title", {}, name)),
  );
}

function node({ name, at: [x, y], role }) {
  const known = processes.includes(name);
  return s(
    "g",
    known ? { "data-where": name, onclick: () => choose(name) } : {},
    s("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 6, class: "process" }),
    s("text", { x: x + WIDTH / 2, y: y + 22, "text-anchor": "middle", class: "name" }, name),
    s("text", { x: x + WIDTH / 2, y: y + 40, "text-anchor": "middle", class: "label" }, role),
  );
}
