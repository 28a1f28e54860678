// What the form amounts to: the engine's command, an env file, docker, compose, RunPod's template, a link.
import { html, useState } from "../lib/html.js";
import { useStore } from "../lib/store.js";
import { Code, TabPanel, Tabs } from "../ui/parts.js";
import { draft, report } from "./draft.js";
import { linkOf } from "./link.js";

const TABS = [
  ["engine_command", "Engine command", "The command that the worker runs. A setting that you leave alone is vLLM's to choose."],
  ["env_file", ".env", "For docker run --env-file, compose, or worker-vllm config check --env-file."],
  ["docker_run", "docker run", "The published image on a machine with NVIDIA GPUs, as a load-balancing endpoint on port 8000."],
  ["compose", "Compose", "compose.yaml; `docker compose up` serves on port 8000."],
  ["template", "RunPod template", "The body of POST https://rest.runpod.io/v1/templates, or the fields of Serverless › New template."],
  ["link", "Link", "Opens this page with these settings. The fragment never reaches a server; secrets are left out."],
];

export function Outputs() {
  const state = useStore(report);
  const deployment = useStore(draft);
  const [chosen, choose] = useState("engine_command");
  const text = chosen === "link" ? linkOf(deployment) : state.outputs[chosen] || "";
  const [, title, help] = TABS.find(([id]) => id === chosen);
  return html`<section class="panel outputs" aria-label="What this deploys">
    <${Verdict} state=${state} />
    <${Tabs} name="outputs" tabs=${TABS} chosen=${chosen} onChoose=${choose} />
    <${TabPanel} name="outputs" chosen=${chosen}>
      <p class="muted small output-help">${help}</p>
      ${text ? html`<${Code} text=${text} label=${title} />` : html`<p class="output-help muted">Correct the marked fields to see this.</p>`}
    <//>
  </section>`;
}

function Verdict({ state }) {
  const general = state.problems.filter((problem) => !problem.field);
  return html`<div class="verdict" role="status" aria-live="polite">
    <p class=${`verdict-line ${state.ok ? "ok" : state.pending ? "" : "bad"}`}>
      ${state.unreachable || (state.pending && !state.summary ? "checking…" : state.summary)}</p>
    ${general.map((problem) => html`<p class="problem">${problem.text}</p>`)}
    ${state.warnings.map((warning) => html`<p class="warning small">${warning}</p>`)}
  </div>`;
}
