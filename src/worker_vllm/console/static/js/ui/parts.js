// Small parts that every page uses: tabs, code with a copy button, empty states, dialogs, badges.
import { html, useEffect, useRef } from "../lib/html.js";
import { notify } from "./feedback.js";
import { Icon } from "./icons.js";

export async function copy(text) {
  await navigator.clipboard.writeText(text).then(
    () => notify("Copied"),
    () => notify("The browser does not allow copying here: select the text and press Ctrl+C"),
  );
}

export const CopyButton = ({ text, label = "Copy" }) => html`
  <button class="btn tiny" type="button" aria-label=${label} onClick=${() => copy(text)}>
    <${Icon} name="copy" />Copy
  </button>`;

export const Code = ({ text, label }) => html`
  <div class="code"><pre tabindex="0" role="region" aria-label=${label}>${text}</pre><${CopyButton} text=${text} label=${`Copy: ${label}`} /></div>`;

// A tab list: arrow keys move between tabs, one tab stop for all of them. `tabs` is [[id, title], …].
export function Tabs({ name, tabs, chosen, onChoose }) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = tabs.findIndex(([id]) => id === chosen);
    const [id] = tabs[(at + step + tabs.length) % tabs.length];
    onChoose(id);
    document.getElementById(`${name}-tab-${id}`)?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${name} onKeyDown=${move}>
    ${tabs.map(([id, title]) => html`
      <button type="button" role="tab" id=${`${name}-tab-${id}`} aria-selected=${id === chosen}
              aria-controls=${`${name}-panel`} tabindex=${id === chosen ? 0 : -1}
              onClick=${() => onChoose(id)}>${title}</button>`)}
  </div>`;
}

export const TabPanel = ({ name, chosen, children }) => html`
  <div role="tabpanel" id=${`${name}-panel`} aria-labelledby=${`${name}-tab-${chosen}`}>${children}</div>`;

export const Empty = ({ title, children }) => html`
  <div class="empty"><h2>${title}</h2>${children}</div>`;

// A modal dialog; the browser keeps the focus inside and returns it at the end.
export function Dialog({ title, onClose, children }) {
  const place = useRef();
  useEffect(() => {
    place.current.showModal();
  }, []);
  return html`<dialog ref=${place} aria-label=${title} onClose=${onClose}>
    <header><h2>${title}</h2>
      <button class="btn quiet" type="button" aria-label="Close" onClick=${() => place.current.close()}><${Icon} name="close" /></button>
    </header>
    <div class="inside stack">${children}</div>
  </dialog>`;
}

const TONES = {
  COMPLETED: "ok", ready: "ok", idle: "ok", running: "accent", initializing: "info", unhealthy: "bad",
  IN_PROGRESS: "info", starting: "info", IN_QUEUE: "", draining: "warn", frozen: "warn",
  CANCELLED: "warn", TIMED_OUT: "warn", FAILED: "bad", failed: "bad", ended: "bad", lost: "bad",
};

export const State = ({ state }) => html`
  <span class=${`badge ${TONES[state] ?? ""}`}>${state.toLowerCase().replaceAll("_", " ")}</span>`;
