// One worker: log, start, restarts, faults.
import { html, useState } from "../lib/html.js";
import { clock, seconds } from "../lib/format.js";
import { TabPanel, Tabs } from "../ui/parts.js";
import { Faults } from "./faults.js";
import { Log } from "./log.js";

const TABS = [["log", "Log"], ["start", "Start"], ["restarts", "Restarts"], ["faults", "Faults"]];

export function Detail({ worker, faults }) {
  const [chosen, choose] = useState("log");
  return html`<section class="panel worker-detail" aria-label=${`Worker ${worker.id}`}>
    <header><h2 class="mono">${worker.id}</h2></header>
    <${Tabs} name="worker" tabs=${TABS} chosen=${chosen} onChoose=${choose} />
    <${TabPanel} name="worker" chosen=${chosen}>
      ${chosen === "log" && html`<${Log} worker=${worker} />`}
      ${chosen === "start" && html`<${Receipt} worker=${worker} />`}
      ${chosen === "restarts" && html`<${Restarts} worker=${worker} />`}
      ${chosen === "faults" && html`<${Faults} enabled=${faults} />`}
    <//>
  </section>`;
}

function Receipt({ worker }) {
  if (!worker.phases.length) return html`<p class="inside muted">No start was seen here: this worker was started elsewhere.</p>`;
  const end = worker.ready || worker.phases.at(-1).at;
  const rows = worker.phases.map((phase, index) => ({ ...phase, took: (worker.phases[index + 1]?.at ?? end) - phase.at }));
  const longest = Math.max(...rows.map((row) => row.took), 0.001);
  return html`<div class="inside stack"><table class="receipt"><caption class="visually-hidden">Phases of the start</caption>
    <thead><tr><th scope="col">Phase</th><th scope="col">Began</th><th scope="col">Took</th><th aria-hidden="true"></th></tr></thead>
    <tbody>${rows.map((row) => html`<tr><th scope="row">${row.name}</th><td class="mono">${clock(row.at)}</td><td class="mono">${seconds(row.took)}</td>
      <td aria-hidden="true"><meter min="0" max=${longest} value=${row.took}></meter></td></tr>`)}</tbody></table>
    <p class="muted small">From the process's start to ready: ${seconds(end - worker.launched)}.</p></div>`;
}

function Restarts({ worker }) {
  if (!worker.restarts.length) return html`<p class="inside muted">None: this process never ended by itself.</p>`;
  return html`<ol class="inside stack">${worker.restarts.map((restart) => html`<li><span class="mono muted">${clock(restart.at)}</span> ${restart.cause}</li>`)}</ol>`;
}
