// Workers: plots of the last minutes, the workers of each endpoint, and one worker's log and start.
import { html, useEffect, useState } from "../lib/html.js";
import { live } from "../lib/live.js";
import { href, go, route } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { Head } from "../ui/frame.js";
import { Empty } from "../ui/parts.js";
import { Card } from "./card.js";
import { Detail } from "./detail.js";
import { Plots } from "./plots.js";

export function Page() {
  const { endpoints, workers, hello } = useStore(live);
  const [id] = useStore(route, (value) => (value.page === "workers" ? value : null))?.parts || [];
  const [endpoint, setEndpoint] = useState("");
  const chosen = workers.find((worker) => worker.id === id);
  const plotted = endpoints.some(({ name }) => name === endpoint) ? endpoint : busiest(endpoints);
  return html`<${Head} title="Workers">
      ${endpoints.length > 1 && html`<label class="row small">Plots of
        <select class="input" value=${plotted} onChange=${(event) => setEndpoint(event.target.value)}>
          ${endpoints.map(({ name }) => html`<option value=${name} selected=${name === plotted}>${name}</option>`)}</select></label>`}
    <//>
    <div class="body"><div class="workers-page">
      ${plotted && html`<${Plots} endpoint=${plotted} />`}
      ${workers.length === 0 && html`<${NoWorkers} />`}
      <div class="workers-grid">
        <ul class="worker-list" aria-label="Workers">${workers.map((worker) => html`
          <${Card} key=${worker.id + worker.endpoint} worker=${worker} faults=${hello?.faults} open=${worker === chosen} onOpen=${() => go("workers", worker.id)} />`)}</ul>
        ${chosen
          ? html`<${Detail} key=${chosen.id} worker=${chosen} faults=${hello?.faults} />`
          : workers.length > 0 && html`<div class="panel hint"><${Empty} title="Choose a worker"><p>Its log, the phases of its start and its restarts appear here.</p><//></div>`}
      </div>
    </div></div>`;
}

const busiest = (endpoints) =>
  [...endpoints].sort((one, other) => total(other.jobs) - total(one.jobs))[0]?.name || "";

const total = (jobs) => (jobs ? jobs.completed + jobs.failed + jobs.inProgress + jobs.inQueue : -1);

const NoWorkers = () => html`<${Empty} title="No worker is attached">
  <p>Start an endpoint from the form, or point any RunPod worker here with RUNPOD_WEBHOOK_GET_JOB.</p>
  <a class="btn primary" href=${href("deploy")}>Deploy an endpoint</a><//>`;
