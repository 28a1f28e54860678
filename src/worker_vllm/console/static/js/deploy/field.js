// One field of the form: label, control by its type, help, and the problem that validation found.
import { html } from "../lib/html.js";
import { Icon } from "../ui/icons.js";
import { SECRETS } from "./link.js";
import { setValue } from "./draft.js";

export function Field({ name, field, value, problems, blamed }) {
  const changed = value !== undefined;
  const shown = changed ? value : field.value;
  const id = `field-${name}`;
  const described = [`${id}-help`, problems.length && `${id}-problem`].filter(Boolean).join(" ");
  return html`<div class=${`setting ${changed ? "changed" : ""}`} data-field=${name}>
    <div class="setting-head">
      <label for=${id}>${field.title}</label><code>${name}</code>
      ${blamed && html`<span class="badge bad">the failed start names it</span>`}
      ${changed && html`<button class="btn quiet tiny" type="button" aria-label=${`Reset ${field.title}`}
        onClick=${() => setValue(name, field.value)}><${Icon} name="retry" />Reset</button>`}
    </div>
    <${Control} ...${{ id, name, field, shown, described, invalid: problems.length > 0 }} />
    <p class="muted small" id=${`${id}-help`}>${field.description}</p>
    ${problems.length > 0 && html`<div class="problem" id=${`${id}-problem`}>
      ${problems.map((problem) => html`<p>Got “${problem.value}”, expected ${problem.expected}. <strong>${capital(problem.change)}.</strong></p>`)}
    </div>`}
  </div>`;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function Control({ id, name, field, shown, described, invalid }) {
  const common = { id, "aria-describedby": described, "aria-invalid": invalid };
  if (field.type === "toggle") {
    return html`<input ...${common} class="switch" type="checkbox" role="switch" checked=${shown === true}
      onChange=${(event) => setValue(name, event.target.checked)} />`;
  }
  if (field.type === "select") {
    return html`<select ...${common} class="input" value=${String(shown)} onChange=${(event) => setValue(name, event.target.value)}>
      ${field.options.map((option) => html`<option value=${option.value} selected=${option.value === String(shown)}>${option.label}</option>`)}
    </select>`;
  }
  return html`<input ...${common} class="input mono" type=${SECRETS.has(name) ? "password" : "text"} value=${String(shown)}
    inputmode=${field.type === "number" ? "decimal" : "text"} autocomplete="off" spellcheck="false" placeholder=${field.placeholder || ""}
    onInput=${(event) => setValue(name, typed(field, event.target.value))} />`;
}

// A number as the form writes it, so that the initial value counts as unchanged; any other text stays as typed.
function typed(field, text) {
  const number = Number(text);
  return field.type === "number" && text.trim() !== "" && String(number) === text ? number : text;
}

export function focusField(name) {
  const control = document.getElementById(`field-${name}`);
  control?.closest("details")?.setAttribute("open", "");
  control?.scrollIntoView({ block: "center" });
  control?.focus({ preventScroll: true });
  return Boolean(control);
}
