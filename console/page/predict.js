// The Compare protocols view: predict, then see what was measured (docs/comparison.md).

import { $, h } from "/page/dom.js";
import { start as startNews } from "/page/news.js";

export function start() {
  let loading;
  return async () => {
    loading ??= fetch("/page/measured.json").then((answer) => answer.json());
    try {
      const { questions, news, words } = await loading;
      if ($("#questions").children.length) return;
      $("#questions").replaceChildren(...questions.map(card));
      startNews(news);
      $("#words").replaceChildren(...words.map(verdict));
    } catch (error) {
      loading = undefined;
      $("#questions").replaceChildren(h("p", { role: "alert" }, `The measurements could not be read: ${error.message}`));
    }
  };
}

function card(question, number) {
  const answer = h("div", { "aria-live": "polite" });
  const best = question.rows.reduce((one, other) => (other.value < one.value ? other : one));
  const buttons = question.rows.map((row) =>
    h("button", { type: "button", "data-predict": row.title, onclick: () => reveal(row) }, row.title),
  );
  function reveal(row) {
    for (const button of buttons) {
      button.disabled = true;
      button.setAttribute("aria-pressed", String(button.textContent === row.title));
    }
    const said = row === best ? `Yes: ${best.title}.` : `You said ${row.title}; it was ${best.title}.`;
    answer.replaceChildren(h("p", { "data-verdict": row === best ? "right" : "wrong" }, said), table(question));
  }
  const title = `question-${number}`;
  return h(
    "article",
    { "data-question": number, "aria-labelledby": title, class: "call" },
    h("h3", { id: title }, question.question),
    h("p", { class: "quiet" }, question.where),
    h("div", { class: "bar", role: "group", "aria-labelledby": title }, buttons),
    answer,
  );
}

function verdict({ said, ours, so, verdict }) {
  return h(
    "tr",
    { "data-word": verdict },
    h("th", { scope: "row" }, said),
    h("td", {}, ours),
    h("td", {}, h("strong", {}, so)),
  );
}

function table(question) {
  const rows = [...question.rows].sort((one, other) => one.value - other.value);
  const most = Math.max(...rows.map((row) => row.value));
  return h(
    "table",
    { class: "compared" },
    h("thead", {}, h("tr", {}, ["Protocol", question.unit, "of the most"].map((name) => h("th", { scope: "col" }, name)))),
    h(
      "tbody",
      {},
      rows.map((row) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, row.title),
          h("td", {}, row.shown),
          h("td", {}, h("meter", { min: 0, max: most, value: row.value, "aria-label": `${row.title}: ${row.shown} ${question.unit}` })),
        ),
      ),
    ),
  );
}
