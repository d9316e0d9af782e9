// The Play view: prepared calls, to be changed and made, each with the command that does the same.

import * as api from "/page/api.js";
import { CALLS } from "/page/calls.js";
import { command } from "/page/commands.js";
import { $, bytes, copy, h, ms } from "/page/dom.js";
import { open } from "/page/xray.js";

let account = "demo";

export function start() {
  for (const button of document.querySelectorAll("#accounts button")) {
    button.addEventListener("click", () => {
      account = button.dataset.account;
      for (const each of document.querySelectorAll("#accounts button")) each.setAttribute("aria-pressed", String(each === button));
      $("#calls").replaceChildren(...CALLS.map(card));
    });
  }
  $("#calls").replaceChildren(...CALLS.map(card));
  return () => {};
}

function card(card) {
  const shown = h("pre", { tabindex: "0", "aria-label": `Command of: ${card.title}` });
  const forms = card.calls.map((call) => form(card, call, () => write()));
  const write = () => (shown.textContent = commands(forms));
  write();
  return h(
    "article",
    { class: "call", "data-call": card.id },
    h("h3", {}, card.title),
    h("p", { class: "quiet" }, card.about),
    forms.map((each) => each.element),
    h(
      "div",
      { class: "bar" },
      h("button", { type: "button", class: "primary", onclick: () => make(card, forms) }, card.calls.length > 1 ? "Make the calls" : "Make the call"),
      h("button", { type: "button", "data-copy": "", onclick: () => copy(commands(forms), "Command") }, "Copy the command"),
    ),
    h("details", {}, h("summary", {}, "The same from a terminal"), shown),
  );
}

// One call: what can be changed of it, and what is made of that.
function form(card, call, changed) {
  const name = call.label ? `${card.title}, ${call.label}` : card.title;
  const body = call.body === undefined ? null : h("textarea", { rows: String(Math.max(2, Math.min(10, call.body.split("\n").length))), spellcheck: "false", "aria-label": `Body of: ${name}` });
  if (body) body.value = call.body;
  const path = h("input", { value: call.path, spellcheck: "false", "aria-label": `Path of: ${name}` });
  // `key` is for all calls that are made by one press.
  function make(key, answers = []) {
    const tag = call.tagged && answers[0]?.headers.find(([header]) => header === "etag")?.[1];
    return {
      protocol: call.protocol ?? "http",
      target: call.target ?? "gateway",
      method: call.method,
      path: path.value,
      account: call.account === "demo" ? account : call.account,
      headers: { ...call.headers, ...(call.fresh ? { [call.fresh]: key } : {}), ...(tag ? { "if-none-match": tag } : {}) },
      body: body?.value ?? "",
    };
  }
  const verb = { event: "publish", grpc: "gRPC", websocket: "WS", sse: "SSE" }[call.protocol] ?? call.method;
  const element = h("div", { class: "made" }, h("div", { class: "request" }, h("b", {}, call.label && call.label !== verb ? `${call.label}: ${verb}` : verb), path), body);
  element.addEventListener("input", changed);
  return { call, element, make };
}

function commands(forms) {
  const key = crypto.randomUUID();
  return [...new Set(forms.map((each) => command(each.make(key))))].join("\n\n");
}

async function make(card, forms) {
  const place = $("#answer");
  delete place.dataset.answered;
  place.replaceChildren(h("p", {}, `${card.title} …`));
  try {
    const answers = [];
    const key = crypto.randomUUID();
    for (const each of forms) answers.push(await api.call(each.make(key, answers)));
    place.replaceChildren(
      h("h3", {}, card.title),
      answers.length > 1 ? summary(card, answers) : "",
      h("div", { class: card.beside ? "beside" : "" }, answers.map((answer, index) => answered(forms[index].call, answer))),
    );
    place.dataset.answered = card.id;
  } catch (error) {
    place.replaceChildren(h("p", { class: "bad" }, error.message));
  }
}

const summary = (card, answers) =>
  h(
    "table",
    {},
    h("caption", {}, "Bytes are those of the bodies; the time is from this process to the last byte."),
    h("thead", {}, h("tr", {}, ["", "Answer", "Sent", "Received", "Time"].map((title) => h("th", { scope: "col" }, title || h("span", { class: "hidden" }, "Call"))))),
    h(
      "tbody",
      {},
      answers.map((answer, index) =>
        h("tr", {}, h("th", { scope: "row" }, card.calls[index].label), [String(answer.status), bytes(answer.sent), bytes(answer.size), ms(answer.duration_ms)].map((each) => h("td", {}, each))),
      ),
    ),
  );

function answered(call, answer) {
  const name = call.label ?? "";
  return h(
    "section",
    { "data-status": answer.status, "data-trace": answer.trace_id },
    h("h4", { class: answer.failed ? "bad" : "" }, name ? `${name}: ` : "", `${answer.status} ${answer.reason}`.trim(), " ", h("small", {}, `${ms(answer.duration_ms)}, ${bytes(answer.size)}`)),
    h("button", { type: "button", "aria-label": `Show its X-ray ${name}`.trim(), onclick: () => xray(answer.trace_id) }, "Show its X-ray"),
    answer.headers.length ? h("details", { open: !name }, h("summary", {}, `${answer.headers.length} headers`), h("pre", { tabindex: "0", "aria-label": `Headers ${name}` }, answer.headers.map((pair) => pair.join(": ")).join("\n"))) : "",
    answer.decoded ? [h("h4", {}, "Decoded"), h("pre", { tabindex: "0", "aria-label": `Decoded ${name}` }, JSON.stringify(answer.decoded, null, 2)), h("h4", {}, "As it came")] : "",
    answer.frames ? frames(answer.frames) : h("pre", { tabindex: "0", "aria-label": `Body ${name}` }, pretty(answer.body) || "no body"),
  );
}

function xray(id) {
  open(id);
  location.hash = "#order";
}

const frames = (heard) =>
  h("ol", { class: "frames" }, heard.map((frame) => h("li", {}, h("small", {}, `after ${ms(frame.at_ms)} `), h("pre", {}, frame.text))));

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
