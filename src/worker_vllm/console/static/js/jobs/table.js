// The table of jobs: only the rows in view exist, so that thousands scroll smoothly.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { clock, seconds } from "../lib/format.js";
import { State } from "../ui/parts.js";

const ROW = 38;
const HEADER = 34;
const SPARE = 4;
const COLUMNS = ["State", "Request", "Endpoint", "Queued", "Waited", "Ran", "Worker"];

export function Table({ rows, open, onOpen }) {
  const place = useRef();
  const [view, setView] = useState({ top: 0, height: 600 });
  const [selected, setSelected] = useSelection(rows, open);
  useLayoutEffect(() => {
    const measure = () => setView({ top: place.current.scrollTop, height: place.current.clientHeight });
    const watcher = new ResizeObserver(measure);
    watcher.observe(place.current);
    return () => watcher.disconnect();
  }, []);
  const at = rows.findIndex((row) => keyOf(row) === selected);
  const move = (to) => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, to))];
    if (!row) return;
    setSelected(keyOf(row));
    reveal(place.current, rows.indexOf(row));
  };
  const first = Math.max(0, Math.floor(view.top / ROW) - SPARE);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW) + SPARE);
  const pool = Math.ceil(view.height / ROW) + 2 * SPARE + 1; // rows that leave the view come back as others
  return html`<div class="jobs-table" role="grid" aria-label="Jobs" aria-rowcount=${rows.length + 1} aria-colcount=${COLUMNS.length}
      tabindex="0" aria-activedescendant=${at >= first && at < last ? `job-${selected}` : null} id="jobs-grid"
      onKeyDown=${(event) => onKey(event, { at, rows, view, move, onOpen })}>
    <div class="jobs-scroll" role="presentation" ref=${place} onScroll=${(event) => setView({ top: event.target.scrollTop, height: event.target.clientHeight })}>
      <div class="jobs-header" role="rowgroup"><div class="job-row header" role="row" aria-rowindex="1">${COLUMNS.map((name) => html`<span role="columnheader">${name}</span>`)}</div></div>
      <div class="jobs-canvas" role="rowgroup" style=${{ height: `${rows.length * ROW}px` }}>
        ${rows.slice(first, last).map((row, index) => html`
          <${Row} key=${(first + index) % pool} row=${row} at=${first + index} selected=${keyOf(row) === selected} open=${keyOf(row) === open}
                  onClick=${() => { setSelected(keyOf(row)); onOpen(row); }} />`)}
      </div>
    </div>
  </div>`;
}

export const keyOf = (row) => `${row.endpoint}/${row.id}`;

function Row({ row, at, selected, open, onClick }) {
  return html`<div class=${`job-row ${open ? "open" : ""}`} role="row" id=${`job-${keyOf(row)}`} aria-rowindex=${at + 2} aria-selected=${selected}
      style=${{ top: `${at * ROW}px` }} onClick=${onClick}>
    <span role="gridcell"><${State} state=${row.state} />${row.retries > 0 && html` <span class="badge warn" title="retries">↻ ${row.retries}</span>`}</span>
    <span role="gridcell" class="request"><b>${row.kind}</b> ${row.error ? html`<span class="problem">${row.error}</span>` : row.preview}</span>
    <span role="gridcell" class="mono">${row.endpoint}</span>
    <span role="gridcell" class="mono">${clock(row.created)}</span>
    <span role="gridcell" class="mono">${row.started ? seconds(row.started - row.created) : "–"}</span>
    <span role="gridcell" class="mono">${row.ended && row.started ? seconds(row.ended - row.started) : "–"}</span>
    <span role="gridcell" class="mono">${row.worker || "–"}</span>
  </div>`;
}

// The selected row follows the open job, and starts at the first row.
function useSelection(rows, open) {
  const [selected, setSelected] = useState(open);
  useEffect(() => {
    if (open) setSelected(open);
  }, [open]);
  const known = selected && rows.some((row) => keyOf(row) === selected);
  return [known ? selected : rows[0] && keyOf(rows[0]), setSelected];
}

function onKey(event, { at, rows, view, move, onOpen }) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const page = Math.max(1, Math.floor(view.height / ROW) - 1);
  const target = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: rows.length - 1 }[event.key];
  if (target !== undefined) move(target);
  else if (event.key === "Enter" && rows[at]) onOpen(rows[at]);
  else return;
  event.preventDefault();
}

function reveal(box, index) {
  const top = index * ROW;
  const seen = box.clientHeight - HEADER;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW > box.scrollTop + seen) box.scrollTop = top + ROW - seen;
}
