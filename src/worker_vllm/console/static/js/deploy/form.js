// The form: groups, search, and only what was changed.
import { html, useState } from "../lib/html.js";
import { useKeys } from "../lib/keys.js";
import { live } from "../lib/live.js";
import { useStore } from "../lib/store.js";
import { Empty } from "../ui/parts.js";
import { draft, problemsByField, report } from "./draft.js";
import { Field } from "./field.js";

export function Form({ form }) {
  const { values } = useStore(draft);
  const { problems } = useStore(report);
  const [search, setSearch] = useState("");
  const [onlyChanged, setOnlyChanged] = useState(false);
  const byField = problemsByField(problems);
  const blamed = new Set(useStore(live, (state) => state.endpoints).flatMap(({ start }) => start?.fields ?? []));
  useKeys({ "/": () => document.getElementById("form-search").focus() });
  const isShown = (name) =>
    (!onlyChanged || name in values || byField.has(name)) && matches(name, form.fields[name], search);
  const groups = form.groups
    .map((group) => ({ ...group, shown: group.names.filter(isShown) }))
    .filter((group) => group.shown.length);
  return html`<div class="form">
    <div class="form-tools">
      <input class="input" id="form-search" type="search" placeholder="Search settings   /" aria-label="Search settings"
             value=${search} onInput=${(event) => setSearch(event.target.value)} />
      <label class="check"><input type="checkbox" checked=${onlyChanged} onChange=${(event) => setOnlyChanged(event.target.checked)} />
        Only what I changed (${Object.keys(values).length})</label>
    </div>
    <p class="visually-hidden" role="status">${groups.reduce((sum, group) => sum + group.shown.length, 0)} settings shown</p>
    ${groups.length === 0 && html`<${Empty} title=${onlyChanged ? "Nothing is changed yet" : "No setting matches"}>
      <p>${onlyChanged ? "An untouched form deploys the same worker as an empty environment." : `“${search}” is in no name, title or help text.`}</p>
      <button class="btn" type="button" onClick=${() => { setSearch(""); setOnlyChanged(false); }}>Show all settings</button><//>`}
    ${groups.map((group) => html`<${Group} key=${group.title} ...${{ group, form, values, byField, blamed }} open=${isOpen(group, search, onlyChanged, values, byField)} />`)}
  </div>`;
}

function Group({ group, form, values, byField, blamed, open }) {
  const changed = group.names.filter((name) => name in values).length;
  const wrong = group.names.filter((name) => byField.has(name)).length;
  return html`<details class="group panel" open=${open}>
    <summary><h2>${group.title}</h2>
      ${changed > 0 && html`<span class="badge accent">${changed} changed</span>`}
      ${wrong > 0 && html`<span class="badge bad">${wrong} to correct</span>`}
      <span class="muted small">${group.names.length}</span></summary>
    <div class="fields">
      ${group.shown.map((name) => html`<${Field} key=${name} ...${{ name, field: form.fields[name], value: values[name], problems: byField.get(name) || [], blamed: blamed.has(name) }} />`)}
    </div>
  </details>`;
}

// The first group is open; others when they have something to show for a search, a change or a problem.
function isOpen(group, search, onlyChanged, values, byField) {
  if (search || onlyChanged || group.first) return true;
  return group.names.some((name) => name in values || byField.has(name));
}

function matches(name, field, search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${name} ${field.title} ${field.description}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
