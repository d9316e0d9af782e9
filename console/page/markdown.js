// The little Markdown that lessons are written in, as elements: headings, paragraphs, lists, code, emphasis.

import { h } from "/page/dom.js";

const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*)/;

export function inline(text) {
  return text.split(INLINE).map((part) => {
    if (part.length > 2 && part.startsWith("`")) return h("code", {}, part.slice(1, -1));
    if (part.length > 4 && part.startsWith("**")) return h("strong", {}, part.slice(2, -2));
    if (part.length > 2 && part.startsWith("*")) return h("em", {}, part.slice(1, -1));
    return part;
  });
}

// `level` is that of the text's first heading.
export function markdown(text, level = 2) {
  return text
    .split(/\n{2,}/)
    .filter((block) => block.trim())
    .map((block) => {
      const lines = block.replace(/\n+$/, "").split("\n");
      if (lines.every((line) => line.startsWith("    "))) return h("pre", {}, lines.map((line) => line.slice(4)).join("\n"));
      const heading = /^(#+) (.*)/.exec(block);
      if (heading) return h(`h${Math.min(6, level + heading[1].length - 1)}`, {}, inline(heading[2]));
      if (block.startsWith("- ")) {
        return h("ul", {}, block.slice(2).split(/\n- /).map((item) => h("li", {}, inline(item))));
      }
      return h("p", {}, inline(lines.join(" ")));
    });
}
