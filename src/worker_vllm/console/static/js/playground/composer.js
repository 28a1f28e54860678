// Where a message is written: Enter sends, Shift+Enter is a new line, Escape stops the answer.
import { html, useRef, useState } from "../lib/html.js";
import { useStore } from "../lib/store.js";
import { notify } from "../ui/feedback.js";
import { Icon } from "../ui/icons.js";
import { options, running, send, stop } from "./session.js";

const LARGEST_IMAGE = 8 << 20;

export function Composer({ vision, problem }) {
  const [text, setText] = useState("");
  const [images, setImages] = useState([]);
  const busy = useStore(running, Boolean);
  const mode = useStore(options, (value) => value.mode);
  const submit = (event) => {
    event?.preventDefault();
    if (problem || (!text.trim() && !images.length)) return;
    send(text, images);
    setText("");
    setImages([]);
  };
  const keys = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  };
  const paste = async (event) => vision && setImages([...images, ...(await readImages(event.clipboardData.files))]);
  return html`<form class="composer" onSubmit=${submit}>
    ${images.length > 0 && html`<div class="pictures">${images.map((url, index) => html`<button type="button" class="picture" aria-label=${`Remove image ${index + 1}`}
      onClick=${() => setImages(images.filter((_, at) => at !== index))}><img src=${url} alt="" /></button>`)}</div>`}
    <textarea class="input" id="prompt" rows="2" aria-label=${mode === "chat" ? "Message" : "Prompt"} placeholder=${mode === "chat" ? "Write a message" : "Write the beginning of a text"}
      value=${text} onInput=${(event) => setText(event.target.value)} onKeyDown=${keys} onPaste=${paste}></textarea>
    <div class="row">
      ${vision && html`<${Attach} onImages=${(added) => setImages([...images, ...added])} />`}
      <span class="muted small grow">${problem || html`<kbd>Enter</kbd> sends, <kbd>Shift</kbd> <kbd>Enter</kbd> is a new line`}</span>
      ${busy
        ? html`<button class="btn" type="button" id="stop" aria-keyshortcuts="Escape" onClick=${stop}><${Icon} name="stop" />Stop <kbd>Esc</kbd></button>`
        : html`<button class="btn primary" id="send" disabled=${Boolean(problem)}><${Icon} name="send" />Send</button>`}
    </div>
  </form>`;
}

function Attach({ onImages }) {
  const place = useRef();
  const read = async (event) => {
    onImages(await readImages(event.target.files));
    event.target.value = "";
  };
  return html`<input ref=${place} class="visually-hidden" type="file" accept="image/*" multiple tabindex="-1" aria-hidden="true" onChange=${read} />
    <button class="btn quiet" type="button" onClick=${() => place.current.click()}><${Icon} name="image" />Image</button>`;
}

// The images as data URLs; one that is too large is named and left out.
async function readImages(files) {
  const found = [];
  for (const file of files) {
    if (!file.type.startsWith("image/")) continue;
    if (file.size > LARGEST_IMAGE) notify(`${file.name} is larger than 8 MB`);
    else found.push(await dataUrl(file));
  }
  return found;
}

const dataUrl = (file) =>
  new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(file);
  });
