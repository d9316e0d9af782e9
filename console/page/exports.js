// An order's journey to take along: for a ticket, a slide, another tool.

import { h } from "/page/dom.js";
import { labelOf, layout } from "/page/layout.js";
import { picture } from "/page/diagram.js";

const safe = (text) => text.replace(/[;#\n]/g, " ");

export function mermaid(hops) {
  const ordered = [...hops].sort((a, b) => a.offset_ms - b.offset_ms);
  const lines = ordered.flatMap((hop) => {
    const [from, to] = [hop.from, hop.to].map((name) => name.replace(/\W/g, "_"));
    const there = `  ${from}${hop.kind === "message" ? "-)" : "->>"}${to}: ${safe(`${hop.protocol} ${labelOf(hop)}`)}`;
    return hop.state === "failed" ? [there, `  Note over ${to}: ${safe(hop.error ?? "failed")}`] : [there];
  });
  return ["sequenceDiagram", ...lines, ""].join("\n");
}

// The rules that the page draws with, so that the picture looks the same elsewhere.
function rules() {
  const sheet = [...document.styleSheets].find((each) => each.href?.endsWith("/page/style.css"));
  const wanted = [...sheet.cssRules].map((rule) => rule.cssText).filter((text) => /:root|\.sequence|\.p-|\.hop\b|\.column/.test(text));
  return wanted.join("\n");
}

// As text: the page's own policy allows no inline style, the file that is saved has none.
const styled = (text, css) => text.replace(/>/, `><style>${css}</style>`);

export function svg(hops, options) {
  const drawn = picture(layout(hops, options), options.links);
  drawn.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return styled(new XMLSerializer().serializeToString(drawn), rules());
}

// One file that opens without the shop.
export function page(summary, hops, options) {
  const document_ = document.implementation.createHTMLDocument(`Order ${summary.order_id ?? summary.trace_id}`);
  document_.documentElement.lang = "en";
  document_.head.append(
    Object.assign(document_.createElement("meta"), { httpEquiv: "Content-Security-Policy", content: "default-src 'none'; style-src 'unsafe-inline'" }),
  );
  const holder = h("figure", {});
  holder.append(picture(layout(hops, options), options.links));
  document_.body.append(
    h("h1", {}, document_.title),
    holder,
    ...hops.map((hop) =>
      h(
        "details",
        {},
        h("summary", {}, `${hop.offset_ms.toFixed(1)} ms ${hop.protocol} ${hop.from} → ${hop.to}: ${labelOf(hop)}`),
        h("pre", {}, JSON.stringify(hop, null, 2)),
      ),
    ),
  );
  const css = `${rules()} body{font:15px system-ui;margin:1.5rem} pre{white-space:pre-wrap;overflow-wrap:anywhere} figure{overflow:auto;margin:0}`;
  return `<!doctype html>\n${document_.documentElement.outerHTML.replace("</head>", `<style>${css}</style></head>`)}`;
}
