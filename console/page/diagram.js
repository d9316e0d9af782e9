// The sequence diagram: a column per process, a row per hop. Rows are buttons over a picture.

import { h, ms, s } from "/page/dom.js";
import { COLUMN, HEAD, ROW, labelOf, layout } from "/page/layout.js";
import { NOTES, protocolOf, shapeOf } from "/page/protocols.js";

// Letters of a process's name that fill its box.
const LONG_NAME = 14;

export function draw(place, hops, { scale = false, links = false, selected = null, select }) {
  const laid = layout(hops, { scale, links });
  const focused = document.activeElement?.dataset?.hop;
  const scrolled = [place.scrollLeft, place.scrollTop];
  place.replaceChildren(
    h("div", { class: "canvas" }, heads(laid), picture(laid, links), ...laid.rows.map((row) => button(row, laid, selected, select))),
  );
  const canvas = place.firstChild;
  canvas.style.width = `${laid.width}px`;
  canvas.style.height = `${laid.height}px`;
  for (const [index, row] of laid.rows.entries()) {
    const element = canvas.children[index + 2];
    element.style.top = `${row.y}px`;
    element.style.height = `${ROW}px`;
  }
  [place.scrollLeft, place.scrollTop] = scrolled;
  if (focused) place.querySelector(`[data-hop="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  return laid;
}

// Scroll sideways until both ends of a row's arrow are in sight; if the arrow is longer than that, until its beginning is.
export function reveal(place, { x }, hop) {
  const ends = [x.get(hop.from), x.get(hop.to)];
  const [left, right] = [Math.min(...ends) - COLUMN / 2, Math.max(...ends) + COLUMN / 2];
  if (right - left > place.clientWidth) place.scrollLeft = ends[0] - place.clientWidth / 2;
  else if (left < place.scrollLeft) place.scrollLeft = left;
  else if (right > place.scrollLeft + place.clientWidth) place.scrollLeft = right - place.clientWidth;
}

// The names of the columns stay in sight while the rows are scrolled.
const heads = (laid) =>
  h(
    "div",
    { class: "heads" },
    s(
      "svg",
      { viewBox: `0 0 ${laid.width} ${HEAD - 8}`, width: laid.width, height: HEAD - 8, class: "sequence", "aria-hidden": "true" },
      laid.columns.map((name) => title(name, laid)),
    ),
  );

// Also what "Save SVG" saves.
export function picture(laid, links) {
  return s(
    "svg",
    {
      viewBox: `0 0 ${laid.width} ${laid.height}`,
      width: laid.width,
      height: laid.height,
      class: "sequence",
      "aria-hidden": "true",
    },
    laid.columns.map((name) => column(name, laid)),
    laid.bars.map((bar) => activation(bar, laid)),
    laid.rows.map((row) => arrow(row, laid, links)),
  );
}

function column(name, { x, height }) {
  const at = x.get(name);
  return s(
    "g",
    { class: "column" },
    s("line", { x1: at, x2: at, y1: HEAD - 8, y2: height, class: "lifeline" }),
    title(name, { x }),
  );
}

// A long name is set narrower, whatever the font: it stays within its box.
const fitting = (name) => (name.length < LONG_NAME ? {} : { textLength: 98, lengthAdjust: "spacingAndGlyphs" });

const title = (name, { x }) =>
  s(
    "g",
    {},
    s("rect", { x: x.get(name) - 53, y: 8, width: 106, height: 26, rx: 5, class: "process" }),
    s("text", { x: x.get(name), y: 25, "text-anchor": "middle", class: "name", ...fitting(name) }, name),
  );

function activation({ row, from, to }, { x }) {
  return s("rect", {
    x: x.get(row.hop.to) - 4,
    y: from,
    width: 8,
    height: Math.max(8, to - from),
    rx: 2,
    class: `bar p-${protocolOf(row.hop.protocol).name}`,
  });
}

function arrow(row, { x, width }, links) {
  const { hop, y } = row;
  const [from, to] = [x.get(hop.from), x.get(hop.to)];
  const name = protocolOf(hop.protocol).name;
  const slant = hop.kind === "message" ? 7 : 0;
  const line = y + ROW * 0.62;
  const right = to >= from;
  const itself = from === to;
  const end = itself ? to + 40 : to + (right ? -5 : 5);
  const tip = line + slant;
  const head = right && !itself ? -8 : 8;
  const parts = [
    row.heading &&
      s("text", { x: 8, y: y - 8, class: "heading" }, row.heading),
    row.fold &&
      s(
        "g",
        { class: "fold" },
        s("line", { x1: 0, x2: width, y1: y - 12, y2: y - 12 }),
        s("text", { x: 8, y: y - 15 }, `${ms(row.fold)} later`),
      ),
    s("line", { x1: from, x2: end, y1: line - slant, y2: tip, class: "shaft" }),
    s("path", { d: `M${end} ${tip}l${head}-4v8z`, class: "head" }),
    s("path", { d: shapeOf(hop.protocol), transform: `translate(${from} ${line - slant})`, class: "mark" }),
    hop.kind === "call" && !itself && hop.state !== "flying" &&
      s("line", { x1: end, x2: from, y1: tip + 7, y2: tip + 7, class: "return" }),
    s(
      "text",
      { x: itself ? from + 46 : (from + to) / 2, y: line - 7 - slant / 2, "text-anchor": itself ? "start" : "middle", class: "label" },
      clipped(labelOf(hop), Math.max(1, Math.abs(to - from) / COLUMN)),
    ),
    hop.note && s("text", { x: Math.max(from, end) + 8, y: line + 4, class: "remark" }, NOTES[hop.note] ?? hop.note),
  ];
  const classes = ["hop", `p-${name}`, hop.state, hop.kind, row.fanned && "fanned", links && hop.queue && "linked"];
  return s("g", { class: classes.filter(Boolean).join(" ") }, parts.filter(Boolean));
}

const clipped = (text, columns) => {
  const room = Math.floor(columns * 17);
  return text.length > room ? `${text.slice(0, room - 1)}…` : text;
};

function button({ hop }, laid, selected, select) {
  const outcome = hop.note ? NOTES[hop.note] ?? hop.note : hop.error ?? hop.state;
  return h(
    "button",
    {
      type: "button",
      class: "row",
      "data-hop": hop.id,
      "data-protocol": hop.protocol,
      "data-from": hop.from,
      "data-to": hop.to,
      "data-state": hop.state,
      "data-note": hop.note || null,
      "aria-pressed": String(hop.id === selected),
      "aria-label": `${hop.protocol}, ${hop.from} to ${hop.to}: ${labelOf(hop)}, ${ms(hop.duration_ms)}, ${outcome}`,
      onclick: () => select(hop.id),
    },
  );
}
