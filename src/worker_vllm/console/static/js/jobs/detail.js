// The page of one job: timeline, error, input, output, cancel and retry.
import { json } from "../lib/api.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { bytes, pretty } from "../lib/format.js";
import { useKeys } from "../lib/keys.js";
import { post } from "../lib/live.js";
import { attempt } from "../ui/feedback.js";
import { Icon } from "../ui/icons.js";
import { Code, CopyButton, State, TabPanel, Tabs } from "../ui/parts.js";
import { meaningOf } from "./errors.js";
import { readInput, readOutput } from "./reader.js";
import { Timeline } from "./timeline.js";

export function Detail({ endpoint, id, row, onClose }) {
  const [job, problem] = useJob(endpoint, id, row);
  const place = useRef();
  useEffect(() => place.current?.focus(), [id]);
  const act = (action, done) => attempt(() => post(`jobs/${encodeURIComponent(endpoint)}/${encodeURIComponent(id)}/${action}`), done);
  const cancel = () => act("cancel", "Cancelled");
  const retry = () => act("retry", "Queued again");
  const may = { cancel: ["IN_QUEUE", "IN_PROGRESS"].includes(job?.state), retry: ["FAILED", "TIMED_OUT"].includes(job?.state) };
  useKeys({ c: () => (may.cancel ? void cancel() : false), r: () => (may.retry ? void retry() : false) });
  return html`<section class="job-detail" tabindex="-1" ref=${place} aria-label=${`Job ${id}`}>
    <header class="row"><h2 class="mono">${id}</h2><${CopyButton} text=${id} label="Copy the job's id" /><span class="grow"></span>
      <button class="btn quiet" type="button" aria-label="Close the job" onClick=${onClose}><${Icon} name="close" /></button></header>
    ${problem && html`<div class="banner bad" role="alert"><p>${problem}</p></div>`}
    ${job && html`
      <div class="row"><${State} state=${job.state} /><span class="badge">${job.kind}</span>${job.worker && html`<span class="muted small mono">${job.worker}</span>`}
        <span class="grow"></span>
        <button class="btn tiny" type="button" aria-keyshortcuts="r" disabled=${!may.retry} onClick=${retry}>Retry <kbd>r</kbd></button>
        <button class="btn tiny danger" type="button" aria-keyshortcuts="c" disabled=${!may.cancel} onClick=${cancel}>Cancel <kbd>c</kbd></button></div>
      <${Failure} job=${job} />
      <${Timeline} job=${job} />
      <${Payload} name="Input" value=${job.input} size=${job.input_bytes} read=${readInput} />
      <${Payload} name="Output" value=${job.output} size=${job.output_bytes} read=${readOutput} />`}
  </section>`;
}

// Read the job again whenever its row changes.
function useJob(endpoint, id, row) {
  const [job, setJob] = useState(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    let current = true;
    json(`/console/api/jobs/${encodeURIComponent(endpoint)}/${encodeURIComponent(id)}`).then(
      (loaded) => current && (setJob(loaded), setProblem("")),
      (error) => current && setProblem(error.message),
    );
    return () => (current = false);
  }, [endpoint, id, row?.version]);
  return [job, problem];
}

function Failure({ job }) {
  if (!job.error) return null;
  const { message, meaning } = meaningOf(job.error);
  return html`<div class="banner bad failure"><div><p>${message}</p>${meaning && html`<p class="small muted">${meaning}</p>`}</div></div>`;
}

function Payload({ name, value, size, read }) {
  const [chosen, choose] = useState("read");
  if (value === undefined || value === null) return html`<section class="payload"><h3>${name}</h3><p class="muted small">none</p></section>`;
  const readable = read(value);
  return html`<section class="payload"><h3>${name} <span class="muted small">${bytes(size)}</span></h3>
    <${Tabs} name=${name} tabs=${[["read", "Readable"], ["raw", "Raw"]]} chosen=${chosen} onChoose=${choose} />
    <${TabPanel} name=${name} chosen=${chosen}>${chosen === "raw" || !readable
      ? html`<${Code} text=${pretty(value)} label=${`${name}, raw`} />`
      : html`<div class="readable">${readable.map(({ who, text }) => html`<div class="said">${who && html`<span class="badge">${who}</span>`}<div class="plain">${text}</div></div>`)}</div>`}<//>
  </section>`;
}
