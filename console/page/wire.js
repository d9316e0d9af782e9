// Bytes in hexadecimal and as text, coloured by what each part is.

import { h } from "/page/dom.js";

const WIDTH = 8;

export function hexView(title, message) {
  const content = Uint8Array.from(atob(message.base64), (sign) => sign.charCodeAt(0));
  const parts = message.parts ?? [];
  const cut = message.size > content.length ? `, the first ${content.length} shown` : "";
  return h(
    "section",
    { class: "bytes" },
    h("h4", {}, title, " ", h("small", {}, `${message.size} bytes${cut}`)),
    h(
      "ul",
      { class: "parts" },
      parts.map((part, index) =>
        h("li", {}, h("span", { class: `swatch c${index % 8}` }), h("b", {}, part.name), part.meaning ? ` ${part.meaning}` : ""),
      ),
    ),
    h("div", { class: "hex", role: "region", tabindex: "0", "aria-label": `${title}, bytes` }, lines(content, parts)),
  );
}

function lines(content, parts) {
  const colour = new Array(content.length).fill("");
  parts.forEach((part, index) => colour.fill(`c${index % 8}`, part.start, part.end));
  const found = [];
  for (let at = 0; at < content.length; at += WIDTH) {
    const piece = content.slice(at, at + WIDTH);
    found.push(
      h(
        "div",
        {},
        h("span", { class: "at" }, at.toString(16).padStart(4, "0")),
        h("span", { class: "digits" }, runs(piece, at, colour, (byte) => `${byte.toString(16).padStart(2, "0")} `)),
        h("span", { class: "signs" }, runs(piece, at, colour, sign)),
      ),
    );
  }
  return found;
}

const sign = (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·");

// One element for neighbours of the same colour.
function runs(piece, offset, colour, written) {
  const found = [];
  piece.forEach((byte, index) => {
    const name = colour[offset + index];
    const last = found.at(-1);
    if (last && last.className === name) last.textContent += written(byte);
    else found.push(h("span", { class: name }, written(byte)));
  });
  return found;
}
