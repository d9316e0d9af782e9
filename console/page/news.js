// The news of the Compare protocols view: bytes against delay, as events come more often or more seldom.

import { $, h, s } from "/page/dom.js";

const WIDTH = 860, HEIGHT = 380, LEFT = 70, RIGHT = 190, TOP = 20, BOTTOM = 56;
const MOST = 3600;
const KINDS = { polls: "●  polls", pushed: "◆  is sent each event", called: "■  is called" };
const rounded = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

const hourly = (way, events) => Math.max(1, way.base + Math.max(events, way.least) * way.event);
// The slider's place, 0 to 100, is the logarithm of the events in an hour: 1 to 3,600.
const eventsAt = (place) => MOST ** (place / 100);

function said(events) {
  const apart = 3600 / events;
  if (apart < 1.5) return "an event a second";
  if (apart < 90) return `an event every ${Math.round(apart)} seconds`;
  return apart < 3599 ? `an event every ${Math.round(apart / 60)} minutes` : "an event an hour";
}

export function start(news) {
  const scales = axes(news.ways);
  const dots = news.ways.map((way) => ({ way, mark: mark(way), name: s("text", { class: "small" }, way.title) }));
  const rows = news.ways.map((way) => ({ way, cell: h("td", {}) }));
  const slider = $("#news-rate");
  function moved() {
    const events = eventsAt(Number(slider.value));
    const text = said(events);
    slider.setAttribute("aria-valuetext", text);
    $("#news-said").textContent = text;
    const placed = dots.map((dot) => ({ ...dot, x: scales.x(hourly(dot.way, events)), y: scales.y(dot.way.delay) }));
    for (const { mark, x, y } of placed) mark.setAttribute("transform", `translate(${x} ${y})`);
    // Names stand in a column at the right, in the order of the dots, as far apart as they need.
    let last = 0;
    for (const { name, y } of placed.sort((one, other) => one.y - other.y)) {
      last = Math.max(last + 16, y + 4);
      name.setAttribute("transform", `translate(${WIDTH - RIGHT + 14} ${last})`);
    }
    for (const { way, cell } of rows) cell.textContent = rounded.format(hourly(way, events));
  }
  $("#news-plane").replaceChildren(
    s(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Bytes of a watcher in an hour against how late the news is; the same figures stand in the table below." },
      scales.lines,
      dots.map(({ mark, name }) => [mark, name]),
    ),
  );
  $("#news-rows").replaceChildren(
    ...rows.map(({ way, cell }) =>
      h("tr", { "data-way": way.title }, h("th", { scope: "row" }, way.title), h("td", {}, KINDS[way.how]), h("td", {}, `${way.shown} ms`), cell),
    ),
  );
  slider.addEventListener("input", moved);
  moved();
}

function axes(ways) {
  const xs = ways.flatMap((way) => [hourly(way, 1), hourly(way, MOST)]).map(Math.log10);
  const ys = ways.map((way) => Math.log10(way.delay));
  const [left, right, low, high] = [Math.floor(Math.min(...xs)), Math.ceil(Math.max(...xs)), Math.floor(Math.min(...ys)), Math.ceil(Math.max(...ys))];
  const x = (value) => LEFT + ((Math.log10(value) - left) / (right - left || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((Math.log10(value) - low) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
  const powers = (from, to) => Array.from({ length: to - from + 1 }, (_, each) => 10 ** (from + each));
  const line = (x1, y1, x2, y2) => s("line", { x1, y1, x2, y2, class: "grid" });
  const text = (x, y, anchor, content) => s("text", { x, y, "text-anchor": anchor, class: "small quiet" }, content);
  const lines = [
    powers(left, right).map((each) => [line(x(each), TOP, x(each), HEIGHT - BOTTOM), text(x(each), HEIGHT - BOTTOM + 18, "middle", each.toLocaleString("en"))]),
    powers(low, high).map((each) => [line(LEFT, y(each), WIDTH - RIGHT, y(each)), text(LEFT - 8, y(each) + 4, "end", String(each))]),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "middle", "bytes of a watcher in an hour: the left is cheap"),
    text(LEFT + 6, TOP - 6, "start", "ms late: the bottom is soon"),
  ];
  return { x, y, lines };
}

function mark(way) {
  const shape = { polls: { d: "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0" }, pushed: { d: "M0-7L7 0L0 7L-7 0Z" }, called: { d: "M-6-6H6V6H-6Z" } }[way.how];
  return s("path", { ...shape, class: `news-${way.how}`, "data-news": way.title }, s("title", {}, way.title));
}
