// One message: its text, branches, and what can be done with it.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { useStore } from "../lib/store.js";
import { Icon } from "../ui/icons.js";
import { copy } from "../ui/parts.js";
import { Answer } from "./answer.js";
import { branches, choose } from "./conversation.js";
import { edit, regenerate, running, tree } from "./session.js";

const WHO = { user: "You", assistant: "Model", tool: "Tool result" };

export function Message({ message, last, titleOf }) {
  const [editing, setEditing] = useState(false);
  const busy = useStore(running, Boolean) && last;
  return html`<article class=${`message ${message.role}`} aria-label=${WHO[message.role]} data-message=${message.id}>
    <header><strong>${WHO[message.role]}</strong>${message.name && html` <code>${message.name}</code>`}<${Branches} id=${message.id} /></header>
    ${editing
      ? html`<${Edit} message=${message} onDone=${() => setEditing(false)} />`
      : message.role === "assistant"
        ? html`<div class="answers">${message.answers.map((answer) => html`
            <${Answer} answer=${answer} title=${message.answers.length > 1 ? titleOf(answer.target) : ""} message=${message} last=${last} />`)}</div>`
        : html`<${UserText} message=${message} />`}
    ${!busy && !editing && html`<${Actions} message=${message} onEdit=${() => setEditing(true)} />`}
  </article>`;
}

const UserText = ({ message }) => html`
  <div class="plain">${message.content}</div>
  ${message.images?.length > 0 && html`<div class="pictures">${message.images.map((url, index) => html`<img src=${url} alt=${`Attached image ${index + 1}`} />`)}</div>`}`;

function Branches({ id }) {
  const { at, of } = branches(tree.get(), id);
  if (of < 2) return null;
  const step = (by) => tree.set((now) => choose(now, id, by));
  return html`<span class="branches" role="group" aria-label="Branches">
    <button class="btn quiet tiny" type="button" aria-label="Previous branch" disabled=${at === 0} onClick=${() => step(-1)}><${Icon} name="left" /></button>
    <span class="small mono">${at + 1}/${of}</span>
    <button class="btn quiet tiny" type="button" aria-label="Next branch" disabled=${at === of - 1} onClick=${() => step(1)}><${Icon} name="right" /></button>
  </span>`;
}

const Actions = ({ message, onEdit }) => html`<div class="actions">
  <button class="btn quiet tiny" type="button" aria-label="Copy this message" onClick=${() => copy(message.content)}><${Icon} name="copy" />Copy</button>
  ${message.role === "user" && html`<button class="btn quiet tiny edit" type="button" onClick=${onEdit}><${Icon} name="edit" />Edit</button>`}
  ${message.role === "assistant" && html`<button class="btn quiet tiny" type="button" onClick=${() => regenerate(message)}><${Icon} name="retry" />Regenerate</button>`}
</div>`;

function Edit({ message, onDone }) {
  const [text, setText] = useState(message.content);
  const place = useRef();
  useEffect(() => place.current.focus(), []);
  const submit = (event) => {
    event.preventDefault();
    onDone();
    edit(message, text);
  };
  const keys = (event) => {
    if (event.key === "Escape") onDone();
    if (event.key === "Enter" && !event.shiftKey) submit(event);
  };
  return html`<form class="stack" onSubmit=${submit}>
    <textarea class="input" rows="3" aria-label="Edit the message" ref=${place} value=${text}
              onInput=${(event) => setText(event.target.value)} onKeyDown=${keys}></textarea>
    <div class="row"><button class="btn primary tiny">Send as a new branch</button>
      <button class="btn tiny" type="button" onClick=${onDone}>Keep it</button></div>
  </form>`;
}
