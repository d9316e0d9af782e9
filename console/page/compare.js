// The Compare view: two traces, the same hop of each in one row.

import * as api from "/page/api.js";
import { $, h, ms } from "/page/dom.js";
import { labelOf } from "/page/layout.js";
import { NOTES } from "/page/protocols.js";
import { recent } from "/page/xray.js";

const MARKS = { same: "same", different: "another outcome", missing: "only left", extra: "only right" };

export function start() {
  $("#compare-them").addEventListener("click", compare);
  return recent;
}

async function compare() {
  const [left, right] = [$("#left").value, $("#right").value];
  if (!left || !right) {
    $("#compare-summary").textContent = "Choose a trace on each side first.";
    $("#rows").replaceChildren();
    return;
  }
  try {
    const { rows } = await api.compare(left, right);
    const count = (mark) => rows.filter((row) => row.mark === mark).length;
    $("#compare-summary").textContent =
      `${count("same")} hops are the same, ${count("different")} had another outcome, ${count("missing")} are only left, ${count("extra")} only right.`;
    $("#rows").replaceChildren(table(rows));
  } catch (error) {
    $("#compare-summary").textContent = error.message;
  }
}

const table = (rows) =>
  h(
    "table",
    { class: "compared" },
    h("thead", {}, h("tr", {}, ["Left", "", "Right"].map((title) => h("th", { scope: "col" }, title || h("span", { class: "hidden" }, "Difference"))))),
    h("tbody", {}, rows.map((row) => h("tr", { "data-mark": row.mark }, cell(row.left), h("td", { class: "marked" }, MARKS[row.mark]), cell(row.right)))),
  );

const cell = (hop) =>
  h(
    "td",
    {},
    hop && [
      h("b", {}, hop.protocol),
      ` ${hop.from} → ${hop.to}: ${labelOf(hop)} `,
      h("small", {}, `${ms(hop.duration_ms)}${hop.note ? `, ${NOTES[hop.note] ?? hop.note}` : ""}${hop.error ? `, ${hop.error}` : ""}`),
    ],
  );
