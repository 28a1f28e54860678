// What is asked of whom: endpoint, model, system prompt, parameters, tools.
import { html } from "../lib/html.js";
import { useStore } from "../lib/store.js";
import { jsonProblem } from "./request.js";
import { options } from "./session.js";

const NUMBERS = [
  ["temperature", "Temperature", "0 to 2; empty: the model's own"],
  ["top_p", "Top p", "0 to 1"],
  ["max_tokens", "Max tokens", "the longest answer"],
  ["seed", "Seed", "the same seed, the same answer"],
];

const set = (name) => (event) => options.patch({ [name]: event.target.type === "checkbox" ? event.target.checked : event.target.value });

export function Settings({ targets, models }) {
  const value = useStore(options);
  return html`<aside class="params" aria-label="Parameters">
    <div class="segments" role="group" aria-label="Kind of request">
      ${[["chat", "Chat"], ["completion", "Completion"]].map(([id, title]) => html`
        <button class="chip" type="button" aria-pressed=${value.mode === id} onClick=${() => options.patch({ mode: id })}>${title}</button>`)}</div>
    <${Choice} name="endpoint" title="Endpoint" items=${targets} chosen=${value.endpoint} />
    <${Choice} name="model" title="Model" items=${models.map((id) => ({ id, title: id }))} chosen=${value.model} />
    <${Choice} name="rival" title="Compare with" items=${[{ id: "", title: "nothing" }, ...targets.filter((one) => one.id !== value.endpoint)]} chosen=${value.rival} />
    ${value.mode === "chat" && html`<label class="field">System prompt
      <textarea class="input" rows="3" value=${value.system} placeholder="How the model is to answer" onInput=${set("system")}></textarea></label>`}
    <div class="numbers">${NUMBERS.map(([name, title, hint]) => html`<label class="field">${title}
      <input class="input mono" inputmode="decimal" value=${value[name]} placeholder="default" title=${hint} onInput=${set(name)} /></label>`)}</div>
    <label class="check"><input type="checkbox" checked=${value.stream} onChange=${set("stream")} />Stream the answer</label>
    <details><summary>Stop texts, tools, other parameters</summary><div class="stack">
      <label class="field">Stop texts, one a line<textarea class="input mono" rows="2" value=${value.stop} onInput=${set("stop")}></textarea></label>
      ${value.mode === "chat" && html`<${JsonField} name="tools" title="Tools (JSON list)" kind="array" text=${value.tools} />`}
      <${JsonField} name="extra" title="Other parameters (JSON object)" kind="object" text=${value.extra} />
    </div></details>
  </aside>`;
}

const Choice = ({ name, title, items, chosen }) => html`<label class="field">${title}
  <select class="input" id=${`choose-${name}`} value=${chosen} onChange=${set(name)}>
    ${items.map((item) => html`<option value=${item.id} selected=${item.id === chosen}>${item.title}</option>`)}</select></label>`;

function JsonField({ name, title, kind, text }) {
  const problem = jsonProblem(text, kind);
  return html`<label class="field">${title}
    <textarea class="input mono" rows="4" spellcheck="false" value=${text} aria-invalid=${Boolean(problem)} onInput=${set(name)}></textarea>
    ${problem && html`<span class="problem">${problem}</span>`}</label>`;
}
