// Starts an endpoint on this machine from the form, and shows its phases or its diagnosis.
import { html, useEffect, useState } from "../lib/html.js";
import { useKeys } from "../lib/keys.js";
import { live, post } from "../lib/live.js";
import { href } from "../lib/router.js";
import { seconds } from "../lib/format.js";
import { useStore } from "../lib/store.js";
import { attempt, notify } from "../ui/feedback.js";
import { Icon } from "../ui/icons.js";
import { State } from "../ui/parts.js";
import { change, check, draft, form, report } from "./draft.js";
import { focusField } from "./field.js";

export function Start() {
  const { engine, name, kind } = useStore(draft);
  const { engines } = useStore(form);
  const state = useStore(report);
  const starts = useStore(live, (value) => value.hello?.deploys ?? true);
  const [busy, setBusy] = useState(false);
  const start = async () => {
    setBusy(true);
    await startEndpoint();
    setBusy(false);
  };
  useKeys({ "ctrl+enter": () => (starts ? void start() : false) });
  const chosen = engines.find((one) => one.id === engine) || engines[0];
  if (!starts) return html`<${ElsewhereOnly} />`;
  return html`<section class="panel" aria-labelledby="start-title">
    <header><h2 id="start-title">Start it on this machine</h2></header>
    <div class="inside stack">
      <div class="start-row">
        <label class="field">Endpoint name
          <input class="input mono" id="endpoint-name" value=${name} autocomplete="off" onInput=${(event) => change({ name: event.target.value })} /></label>
        <label class="field">Engine
          <select class="input" id="endpoint-engine" value=${engine} onChange=${(event) => change({ engine: event.target.value })}>
            ${engines.map((one) => html`<option value=${one.id} selected=${one.id === engine} disabled=${!one.installed}>${one.title}</option>`)}
          </select></label>
        <label class="field">Kind
          <select class="input" id="endpoint-kind" value=${kind} onChange=${(event) => change({ kind: event.target.value })}>
            <option value="queue" selected=${kind === "queue"}>Queue</option>
            <option value="load-balancer" selected=${kind === "load-balancer"}>Load balancer</option>
          </select></label>
      </div>
      <p class="muted small">${chosen.help}</p>
      <div class="row">
        <button class="btn primary" type="button" aria-keyshortcuts="Control+Enter" disabled=${busy} onClick=${start}>
          <${Icon} name="play" />Start endpoint</button>
        <span class="muted small"><kbd>Ctrl</kbd> <kbd>Enter</kbd></span>
        ${!state.ok && !state.pending && html`<span class="badge bad">${state.problems.length} to correct first</span>`}
      </div>
    </div>
    <${Deployments} />
  </section>`;
}

const ElsewhereOnly = () => html`<section class="panel"><div class="inside"><p class="muted">
  This gateway starts no workers. <code>worker-vllm local</code> does; here you can validate settings and copy them.</p></div></section>`;

// Validate first: the first wrong field gets the focus instead of a start that must fail.
async function startEndpoint() {
  const { ok, problems } = await check();
  if (!ok) {
    const first = problems.find((problem) => problem.field);
    if (first) focusField(first.field);
    notify(first ? first.text : problems[0]?.text || "These settings cannot be served");
    return;
  }
  const { name } = draft.get();
  await attempt(() => post("deployments", draft.get()), `Starting ${name}`);
}

function Deployments() {
  const endpoints = useStore(live, (state) => state.endpoints).filter((endpoint) => endpoint.start);
  if (!endpoints.length) return null;
  return html`<ul class="deployments">${endpoints.map((endpoint) => html`<${Deployment} key=${endpoint.name} endpoint=${endpoint} />`)}</ul>`;
}

function Deployment({ endpoint }) {
  const { name, start } = endpoint;
  return html`<li class="deployment" data-endpoint=${name} data-state=${start.state}>
    <div class="row"><strong class="mono">${name}</strong><${State} state=${start.state} />
      <span class="muted small">${start.engine}</span><span class="grow"></span>
      ${start.state === "ready" && html`<a class="btn tiny" href=${href("playground", name)}>Open in the playground</a>`}
      <button class="btn tiny danger" type="button" aria-label=${`Stop ${name}`} onClick=${() => attempt(() => post(`deployments/${encodeURIComponent(name)}/stop`), `Stopped ${name}`)}>Stop</button></div>
    <${Phases} start=${start} />
    ${start.problem && html`<div class="banner bad" role="alert"><p>${start.problem}</p>
      ${start.fields.map((field) => html`<button class="btn tiny" type="button" onClick=${() => focusField(field)}>Change ${field}</button>`)}</div>`}
  </li>`;
}

function Phases({ start }) {
  const now = useNow(start.state === "starting");
  return html`<ol class="phases" aria-label="Phases of the start">${start.phases.map((phase, index) => {
    const next = start.phases[index + 1];
    const end = next ? next.at : start.ended || now;
    const running = !next && start.state === "starting";
    return html`<li class=${running ? "running" : ""}><span class=${`dot ${running ? "busy" : start.state === "failed" && !next ? "bad" : "ok"}`}></span>
      ${phase.name}<span class="mono muted">${seconds(Math.max(0, end - phase.at))}</span></li>`;
  })}</ol>`;
}

function useNow(ticking) {
  const [now, setNow] = useState(Date.now() / 1000);
  useEffect(() => {
    if (!ticking) return undefined;
    const timer = setInterval(() => setNow(Date.now() / 1000), 200);
    return () => clearInterval(timer);
  }, [ticking]);
  return now;
}
