// Asks for the gateway's key, where it requires one; kept for this tab alone.
import { keyStore, saveKey } from "../lib/api.js";
import { html } from "../lib/html.js";
import { useStore } from "../lib/store.js";
import { Dialog } from "./parts.js";

export function KeyDialog() {
  const { asked } = useStore(keyStore);
  if (!asked) return null;
  const submit = (event) => {
    event.preventDefault();
    saveKey(new FormData(event.target).get("key").trim());
  };
  return html`<${Dialog} title="This gateway requires its key" onClose=${() => keyStore.patch({ asked: false })}>
    <form class="stack" onSubmit=${submit}>
      <label class="field">Key
        <input class="input mono" name="key" type="password" autocomplete="off" autofocus />
        <span class="hint muted small">The value of GATEWAY_API_KEY, or of the file given with --api-key-file. It stays in this tab.</span>
      </label>
      <div class="row"><button class="btn primary">Use this key</button></div>
    </form>
  <//>`;
}
