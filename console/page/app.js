// The views of the page; which one is shown is the address's hash.

import { start as startBreak } from "/page/break.js";
import { start as startCompare } from "/page/compare.js";
import { $ } from "/page/dom.js";
import { start as startLessons } from "/page/lessons.js";
import { start as startMap } from "/page/map.js";
import { start as startPlay } from "/page/play.js";
import { start as startProtocols } from "/page/predict.js";
import { start as startXray } from "/page/xray.js";

const VIEWS = ["order", "play", "map", "break", "compare", "protocols", "lessons"];
const shown = {};

function route() {
  const wanted = location.hash.slice(1);
  const view = VIEWS.includes(wanted) ? wanted : "order";
  for (const each of VIEWS) {
    $(`#${each}`).hidden = each !== view;
    const link = $(`[data-view="${each}"]`);
    if (each === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  shown[view]?.();
}

startXray();
shown.play = startPlay();
shown.map = startMap();
shown.break = startBreak();
shown.compare = startCompare();
shown.protocols = startProtocols();
shown.lessons = startLessons();
addEventListener("hashchange", route);
route();
