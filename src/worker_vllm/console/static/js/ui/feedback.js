// Short notices: shown for a few seconds, and spoken by a screen reader.
import { html } from "../lib/html.js";
import { createStore, useStore } from "../lib/store.js";

const SHOWN_MS = 4000;
const notices = createStore([]);
let next = 0;

export function notify(text) {
  const id = ++next;
  notices.set((all) => [...all.slice(-2), { id, text }]);
  setTimeout(() => notices.set((all) => all.filter((one) => one.id !== id)), SHOWN_MS);
}

export function Notices() {
  const shown = useStore(notices);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${shown.map(({ id, text }) => html`<div class="toast" key=${id}>${text}</div>`)}
  </div>`;
}

// Runs an action of a button; its error becomes a notice.
export async function attempt(action, done) {
  try {
    const result = await action();
    if (done) notify(done);
    return result;
  } catch (error) {
    notify(error.message);
    return null;
  }
}
