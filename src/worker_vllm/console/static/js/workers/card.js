// One worker in the list: state, phase, jobs, and the actions on its process.
import { html } from "../lib/html.js";
import { clock, count } from "../lib/format.js";
import { post } from "../lib/live.js";
import { attempt } from "../ui/feedback.js";
import { State } from "../ui/parts.js";

const ACTIONS = [
  ["drain", "Drain", "Take no more jobs, finish the running ones, then end"],
  ["freeze", "Freeze", "Stop the process where it is, as FlashBoot does"],
  ["thaw", "Thaw", "Let a frozen process run on"],
  ["kill", "Kill", "End it at once; its jobs are queued again"],
];

export function Card({ worker, open, onOpen }) {
  return html`<li class=${`panel worker ${open ? "open" : ""}`} data-worker=${worker.id} data-state=${worker.state}>
    <button class="worker-head" type="button" aria-pressed=${open} onClick=${onOpen}>
      <strong class="mono">${worker.id}</strong><${State} state=${worker.state} />
      <span class="muted small">${worker.endpoint}</span>
    </button>
    <dl class="facts">
      <div><dt>Jobs held</dt><dd>${count(worker.held)}</dd></div>
      <div><dt>Engine</dt><dd>${worker.phase || "–"}</dd></div>
      <div><dt>Since</dt><dd class="mono">${clock(worker.launched)}</dd></div>
      <div><dt>Restarts</dt><dd>${count(worker.restarts.length)}</dd></div>
    </dl>
    ${worker.managed
      ? html`<div class="row">${ACTIONS.filter(([action]) => worker.operations.includes(action)).map(([action, title, help]) => html`
          <button class=${`btn tiny ${action === "kill" ? "danger" : ""}`} type="button" title=${help} aria-label=${`${title} ${worker.id}: ${help}`}
                  onClick=${() => act(worker, action, title)}>${title}</button>`)}</div>`
      : html`<p class="muted small">Attached from elsewhere: its process is not managed here.</p>`}
  </li>`;
}

const act = (worker, action, title) =>
  attempt(() => post(`workers/${encodeURIComponent(worker.id)}/${action}`), `${title}: ${worker.id}`);
