// Jobs: the table with its filters, and the page of one job beside it.
import { html, useEffect, useMemo, useState } from "../lib/html.js";
import { count } from "../lib/format.js";
import { useKeys } from "../lib/keys.js";
import { jobs, live } from "../lib/live.js";
import { go, href, route } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { Head } from "../ui/frame.js";
import { Empty } from "../ui/parts.js";
import { Detail } from "./detail.js";
import { EVERYTHING, STATES, countByState, select } from "./filter.js";
import { Table, keyOf } from "./table.js";

export function Page() {
  const { rows, revision } = useStore(jobs);
  const [endpoint, id] = useStore(route, (value) => (value.page === "jobs" ? value : null))?.parts || [];
  const [filter, setFilter] = useState(EVERYTHING);
  const shown = useMemo(() => select(rows, filter), [revision, rows, filter]);
  const open = id ? `${endpoint}/${id}` : "";
  const close = () => {
    go("jobs");
    document.getElementById("jobs-grid")?.focus();
  };
  useKeys({
    "/": () => document.getElementById("job-search").focus(),
    Escape: () => (id ? close() : false),
  });
  useEffect(() => {
    if (!id) document.getElementById("jobs-grid")?.focus({ preventScroll: true });
  }, [rows.size > 0]);
  return html`<${Head} title="Jobs"><span class="muted small" role="status">${count(shown.length)} of ${count(rows.size)}</span><//>
    <${Filters} rows=${rows} revision=${revision} filter=${filter} onChange=${(part) => setFilter({ ...filter, ...part })} />
    <div class=${`body flush jobs ${id ? "with-detail" : ""}`}>
      <div class="jobs-list">${shown.length
        ? html`<${Table} rows=${shown} open=${open} onOpen=${(row) => go("jobs", row.endpoint, row.id)} />`
        : html`<${NoJobs} any=${rows.size > 0} onReset=${() => setFilter(EVERYTHING)} />`}</div>
      ${id && html`<${Detail} key=${open} endpoint=${endpoint} id=${id} row=${rows.get(open)} onClose=${close} />`}
    </div>`;
}

function Filters({ rows, revision, filter, onChange }) {
  const endpoints = useStore(live, (state) => state.endpoints);
  const counts = useMemo(() => countByState(rows), [revision, rows]);
  const toggle = (state) =>
    onChange({ states: filter.states.includes(state) ? filter.states.filter((one) => one !== state) : [...filter.states, state] });
  return html`<div class="filters" role="search" aria-label="Filter jobs">
    <div class="chips" role="group" aria-label="State">${STATES.map((state) => html`
      <button class="chip" type="button" aria-pressed=${filter.states.includes(state)} onClick=${() => toggle(state)}>
        ${state.toLowerCase().replace("_", " ")} <span class="mono">${count(counts[state])}</span></button>`)}</div>
    <select class="input" aria-label="Endpoint" value=${filter.endpoint} onChange=${(event) => onChange({ endpoint: event.target.value })}>
      <option value="">all endpoints</option>${endpoints.map(({ name }) => html`<option value=${name}>${name}</option>`)}</select>
    <input class="input" id="job-search" type="search" placeholder="Search id, request, error   /" aria-label="Search jobs" value=${filter.text}
           onInput=${(event) => onChange({ text: event.target.value })} />
  </div>`;
}

function NoJobs({ any, onReset }) {
  if (any) {
    return html`<${Empty} title="No job matches the filter"><button class="btn" type="button" onClick=${onReset}>Show all jobs</button><//>`;
  }
  return html`<${Empty} title="No jobs yet">
    <p>Everything that a client sends is a job: a chat in the playground, an OpenAI call, a POST to /run.</p>
    <a class="btn primary" href=${href("playground")}>Send one from the playground</a><//>`;
}
