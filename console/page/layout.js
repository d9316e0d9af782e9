// Where everything of a sequence diagram is, in pixels. Pure: hops in, places out.

import { COLUMNS } from "/page/protocols.js";

export const ROW = 34;
export const HEAD = 46;
export const COLUMN = 112;
const LEFT = 62;
const GAP_MS = 150; // to scale, a longer wait is folded
const PIXELS_PER_MS = 0.4;
const FOLD = 26;

// A message's receiver is named by its process; a mail or an event that is not taken yet has none of its own.
export const columnsOf = (hops) => {
  const there = new Set(hops.flatMap((hop) => [hop.from, hop.to]));
  const known = COLUMNS.filter((name) => there.has(name));
  return [...known, ...[...there].filter((name) => !COLUMNS.includes(name)).sort()];
};

export function layout(hops, { scale, links }) {
  const ordered = links ? segmented(hops) : [...hops].sort((a, b) => a.offset_ms - b.offset_ms);
  const columns = columnsOf(hops);
  const x = new Map(columns.map((name, index) => [name, LEFT + index * COLUMN]));
  let y = HEAD;
  let last = 0;
  const rows = [];
  for (const hop of ordered) {
    const gap = Math.max(0, hop.offset_ms - last);
    let fold = null;
    if (hop.heading) y += FOLD;
    if (scale && rows.length) {
      fold = gap > GAP_MS ? gap : null;
      y += fold ? FOLD : gap * PIXELS_PER_MS;
    }
    rows.push({ hop, y, fold, heading: hop.heading ?? null, fanned: isFanned(hop, rows) });
    y += ROW;
    last = Math.max(last, hop.offset_ms);
  }
  const width = LEFT * 2 + Math.max(0, columns.length - 1) * COLUMN;
  return { rows, columns, x, bars: bars(rows), width, height: y + 16 };
}

// One publish, n arrows: the rows after the first leave from the same event.
const isFanned = (hop, rows) =>
  hop.kind === "message" && hop.id.includes("-") && rows.some((row) => row.hop.id.split("-")[0] === hop.id.split("-")[0]);

// A call's bar on its receiver's line reaches to the last row of what was done for it.
function bars(rows) {
  const byId = new Map(rows.map((row) => [row.hop.id, row]));
  const until = new Map(rows.map((row) => [row.hop.id, row.y]));
  for (const row of rows) {
    const seen = new Set();
    for (let id = row.hop.parent; id && byId.has(id) && !seen.has(id); id = byId.get(id).hop.parent) {
      seen.add(id);
      until.set(id, Math.max(until.get(id), row.y));
    }
  }
  return rows
    .filter((row) => row.hop.to)
    .map((row) => ({ row, from: row.y + ROW * 0.55, to: until.get(row.hop.id) + ROW * 0.95 }));
}

// As links: each message that was taken begins a piece of work of its own.
function segmented(hops) {
  const ordered = [...hops].sort((a, b) => a.offset_ms - b.offset_ms);
  const byId = new Map(ordered.map((hop) => [hop.id, hop]));
  const begins = (hop) => hop.kind === "message" && hop.queue;
  const rootOf = (hop) => {
    const seen = new Set();
    for (let at = hop; at && !seen.has(at.id); at = byId.get(at.parent)) {
      seen.add(at.id);
      if (begins(at)) return at.id;
    }
    return "";
  };
  const pieces = new Map([["", []]]);
  for (const hop of ordered) {
    const root = rootOf(hop);
    if (!pieces.has(root)) pieces.set(root, []);
    pieces.get(root).push(hop);
  }
  return [...pieces].flatMap(([root, piece]) =>
    piece.map((hop, index) =>
      index === 0 && root ? { ...hop, heading: `${byId.get(root).queue}: linked to ${byId.get(root).operation}` } : hop,
    ),
  );
}

export function labelOf(hop) {
  const name = hop.operation.replace(/^.*[./](?=[A-Z][A-Za-z]*$)/, "");
  const wait = hop.kind === "message" && hop.waiting_ms !== null ? ` +${hop.waiting_ms.toFixed(0)} ms` : "";
  const attempt = hop.attempt > 1 ? ` try ${hop.attempt}` : "";
  return `${name}${wait}${attempt}`;
}
