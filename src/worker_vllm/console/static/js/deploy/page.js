// Deploy: the form at the left, what it amounts to and the start at the right.
import { html, useEffect, useState } from "../lib/html.js";
import { useStore } from "../lib/store.js";
import { Head } from "../ui/frame.js";
import { Empty } from "../ui/parts.js";
import { change, form, openForm } from "./draft.js";
import { Form } from "./form.js";
import { Outputs } from "./outputs.js";
import { Start } from "./start.js";

export function Page() {
  const loaded = useStore(form);
  const [problem, setProblem] = useState("");
  const open = () => openForm().then(() => setProblem(""), (error) => setProblem(error.message));
  useEffect(() => {
    open();
  }, []);
  return html`<${Head} title="Deploy">
      ${loaded && html`<span class="muted small">vLLM ${loaded.version}</span>
      <button class="btn quiet" type="button" onClick=${() => change({ values: {} })}>Reset the form</button>`}
    <//>
    <div class="body">
      ${problem && html`<${Empty} title="The form could not be loaded"><p>${problem}</p>
        <button class="btn" type="button" onClick=${open}>Try again</button><//>`}
      ${loaded && html`<div class="deploy"><${Form} form=${loaded} /><div class="deploy-side"><${Outputs} /><${Start} /></div></div>`}
    </div>`;
}
