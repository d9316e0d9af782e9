// The Lessons view: the list, and one lesson's page, which stays beside the other views while it is open.

import { check, lessons } from "/page/api.js";
import { $, h, toast } from "/page/dom.js";
import { inline, markdown } from "/page/markdown.js";

// Milliseconds between two looks at a check that is running. It may restart this very shop.
const PAUSE = 1500;
const WORDS = { KEPT: "kept", BROKEN: "broken", VOID: "void" };

let items = [];
let open = null;
let timer = null;

export function start() {
  return async () => {
    try {
      await load();
    } catch (error) {
      $("#lessons-note").textContent = `No lessons: ${error.message}`;
      return;
    }
    $("#lessons-note").textContent = "";
    redraw();
  };
}

async function load() {
  const found = await lessons();
  const first = !items.length;
  items = found.items;
  if (first && open === null && chosen(found.current)?.started) {
    open = found.current;
    draw(chosen(open));
  }
}

const chosen = (number) => items.find((each) => each.number === number);

function state(lesson) {
  if (lesson.checking) return "being checked";
  if (lesson.verdict) return WORDS[lesson.verdict];
  if (lesson.checks) return `${lesson.checks} checks`;
  return lesson.started ? "started" : "";
}

function list() {
  const focused = document.activeElement?.dataset?.lesson;
  const rows = items.map((lesson) =>
    h(
      "li",
      { value: lesson.number },
      h(
        "button",
        {
          type: "button",
          "data-lesson": lesson.number,
          "aria-pressed": String(open === lesson.number),
          onclick: () => show(lesson.number),
        },
        lesson.title,
      ),
      h("span", { class: "quiet" }, ` ${lesson.subject}, ${lesson.minutes} min `),
      h("span", { "data-state": lesson.verdict || null, class: "state" }, state(lesson)),
    ),
  );
  $("#lesson-list").replaceChildren(...rows);
  if (focused) $(`[data-lesson="${focused}"]`)?.focus();
}

function show(number) {
  open = number;
  draw(chosen(number));
  list();
  $("#lesson").scrollTop = 0;
  $("#lesson").focus();
}

function close() {
  const number = open;
  open = null;
  clearTimeout(timer);
  $("#lesson").hidden = true;
  list();
  $(`[data-lesson="${number}"]`)?.focus();
}

function draw(lesson) {
  const page = $("#lesson");
  page.hidden = false;
  page.replaceChildren(
    h(
      "div",
      { class: "bar" },
      h("button", { type: "button", id: "check", class: "primary", onclick: () => judge(lesson.number) }, "Check"),
      h("span", { class: "spacer" }),
      h("button", { type: "button", id: "close-lesson", onclick: close }, "Close"),
    ),
    h("div", { id: "verdict", role: "status" }),
    ...markdown(lesson.task),
    h("h3", {}, "Hints"),
    ...lesson.hints.map((hint, place) => h("details", {}, h("summary", {}, `Hint ${place + 1}`), h("p", {}, inline(hint)))),
    h("details", {}, h("summary", {}, "One solution"), h("pre", { tabindex: 0 }, lesson.solution)),
    h("div", { id: "why" }),
  );
  judged(lesson);
}

// What changes while a lesson is worked on; its text, and the place where one reads, stay.
function judged(lesson) {
  const button = $("#check");
  button.disabled = !lesson.started || lesson.checking;
  const parts = [];
  if (lesson.checking) parts.push(h("p", {}, "Running your code, and looking at it from outside …"));
  else if (!lesson.started) parts.push(h("p", {}, "Not started yet. In a terminal: ", h("code", {}, `shop lesson start ${lesson.number}`)));
  else if (lesson.said) {
    parts.push(h("p", {}, lesson.verdict ? h("strong", {}, `${lesson.verdict}: `) : null, lesson.said));
    if (lesson.details) parts.push(h("pre", { tabindex: 0 }, lesson.details));
  } else parts.push(h("p", { class: "quiet" }, "Not checked yet."));
  $("#verdict").dataset.verdict = lesson.checking ? "" : lesson.verdict;
  $("#verdict").replaceChildren(...parts);
  const guess = lesson.guess ? h("p", {}, `You predicted ${lesson.guess}; the answer is ${lesson.answer}.`) : null;
  $("#why").replaceChildren(...(lesson.why ? [guess, ...markdown(lesson.why)].filter(Boolean) : []));
  clearTimeout(timer);
  if (lesson.checking) timer = setTimeout(look, PAUSE);
}

async function judge(number) {
  $("#check").disabled = true;
  try {
    await check(number);
    await load();
  } catch (error) {
    toast(error.message);
  }
  redraw();
}

async function look() {
  try {
    await load();
  } catch {
    // The check restarts the lesson's shop, and this console with it.
    $("#verdict").replaceChildren(h("p", {}, "The lesson's shop is being restarted with your code …"));
    timer = setTimeout(look, PAUSE);
    return;
  }
  redraw();
}

function redraw() {
  const lesson = chosen(open);
  if (lesson) judged(lesson);
  list();
}
