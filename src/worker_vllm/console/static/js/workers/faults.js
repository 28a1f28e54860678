// Plants a fault into the requests of workers and clients, for tests of what they do about it.
import { html, useEffect, useState } from "../lib/html.js";
import { json } from "../lib/api.js";
import { post } from "../lib/live.js";
import { attempt } from "../ui/feedback.js";

const ROUTES = ["job-take", "job-stream", "job-done", "job-stop", "ping", "run", "runsync", "openai", "*"];
const KINDS = [
  ["status", "answer with a status", "503"],
  ["latency_s", "answer late by seconds", "5"],
];

export function Faults({ enabled }) {
  const [rules, setRules] = useState([]);
  useEffect(() => {
    if (enabled) json("/console/api/faults").then((plan) => setRules(plan.rules), () => {});
  }, [enabled]);
  if (!enabled) {
    return html`<p class="inside muted">Faults are off. Start with <code>worker-vllm local --faults</code> to plant some: late answers, error
      statuses, lost connections. Freezing and killing a worker work without it.</p>`;
  }
  const send = async (wanted) => {
    const plan = await attempt(() => post("faults", { rules: wanted }), "The fault plan is set");
    if (plan) setRules(plan.rules);
  };
  const submit = (event) => {
    event.preventDefault();
    const { route, kind, value, times } = Object.fromEntries(new FormData(event.target));
    const rule = { route, [kind]: Number(value), ...(times ? { times: Number(times) } : {}) };
    send([...rules.map(({ hits, ...kept }) => kept), rule]);
  };
  return html`<div class="inside stack">
    <form class="row fault-form" onSubmit=${submit}>
      <label class="field">Requests to<select class="input" name="route">${ROUTES.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
      <label class="field">Fault<select class="input" name="kind">${KINDS.map(([id, title]) => html`<option value=${id}>${title}</option>`)}</select></label>
      <label class="field">Value<input class="input mono" name="value" inputmode="decimal" value="503" required /></label>
      <label class="field">Times<input class="input mono" name="times" inputmode="numeric" value="1" placeholder="always" /></label>
      <button class="btn">Plant it</button></form>
    ${rules.length === 0 ? html`<p class="muted">No fault is planted.</p>` : html`<ul class="stack">${rules.map((rule) => html`<li class="mono small">${describe(rule)}</li>`)}</ul>
      <div class="row"><button class="btn tiny" type="button" onClick=${() => send([])}>Remove all</button></div>`}
  </div>`;
}

const describe = ({ route, status, latency_s: late, times, hits }) =>
  `${route}: ${status ? `status ${status}` : `${late} s late`}${times ? `, ${times} times` : ""}; happened ${hits} times`;
