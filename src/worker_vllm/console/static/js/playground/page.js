// Playground: a conversation with one endpoint, or with two side by side.
import { keyStore } from "../lib/api.js";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { useKeys } from "../lib/keys.js";
import { href } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { Head } from "../ui/frame.js";
import { Icon } from "../ui/icons.js";
import { Code, Dialog, Empty, TabPanel, Tabs } from "../ui/parts.js";
import { Composer } from "./composer.js";
import { path } from "./conversation.js";
import { Message } from "./message.js";
import { bodyOf } from "./request.js";
import { clear, options, regenerate, running, stop, tree } from "./session.js";
import { Settings } from "./settings.js";
import { snippetsOf } from "./snippets.js";
import { useModels, useTargets } from "./targets.js";

export function Page() {
  const targets = useTargets();
  const chosen = useStore(options, (value) => value.endpoint);
  const target = targets.find((one) => one.id === chosen);
  const [models, problem] = useModels(target);
  const messages = path(useStore(tree));
  const [shown, setShown] = useState("");
  usePlaygroundKeys(messages);
  const titleOf = (id) => targets.find((one) => one.id === id)?.title || id;
  return html`<${Head} title="Playground">
      <button class="btn quiet params-button" type="button" aria-expanded=${shown === "params"} onClick=${() => setShown(shown === "params" ? "" : "params")}>Parameters</button>
      <button class="btn" type="button" onClick=${() => setShown("snippets")}><${Icon} name="code" />Copy as code</button>
      <button class="btn" type="button" onClick=${clear}><${Icon} name="plus" />New chat</button>
    <//>
    <div class=${`playground ${shown === "params" ? "show-params" : ""}`}>
      <div class="talk">
        <${Transcript} ...${{ messages, target, targets, titleOf, problem }} />
        <${Composer} vision=${target?.vision} problem=${refusal(target, models, problem)} />
      </div>
      <${Settings} targets=${targets} models=${models} />
    </div>
    ${shown === "snippets" && html`<${Snippets} messages=${messages} target=${target} onClose=${() => setShown("")} />`}`;
}

function refusal(target, models, problem) {
  if (!target) return "no endpoint yet: deploy one first";
  if (!target.ready) return "waiting for a worker of this endpoint to be ready";
  return models.length ? "" : problem || "asking for the endpoint's models";
}

function usePlaygroundKeys(messages) {
  const last = messages.at(-1);
  useKeys({
    Escape: () => (running.get() ? stop() : false),
    "/": () => document.getElementById("prompt").focus(),
    "ctrl+enter": () => document.getElementById("send")?.click(),
    r: () => (last?.role === "assistant" ? regenerate(last) : false),
    e: () => [...document.querySelectorAll(".message.user .edit")].at(-1)?.click(),
  });
}

function Transcript({ messages, target, targets, titleOf, problem }) {
  const place = useRef();
  const near = useRef(true);
  useEffect(() => {
    if (near.current) place.current.scrollTop = place.current.scrollHeight;
  });
  const watch = ({ target: box }) => (near.current = box.scrollHeight - box.scrollTop - box.clientHeight < 60);
  const said = useFinished(messages);
  return html`<div class="transcript" ref=${place} onScroll=${watch} tabindex="0" role="log" aria-live="off" aria-label="Conversation">
    ${messages.length === 0 && html`<${Start} targets=${targets} target=${target} problem=${problem} />`}
    ${messages.map((message, index) => html`<${Message} key=${message.id} message=${message} last=${index === messages.length - 1} titleOf=${titleOf} />`)}
    <p class="visually-hidden" role="status">${said}</p>
  </div>`;
}

// The finished answer, spoken once: a growing text would be read again and again.
function useFinished(messages) {
  const busy = useStore(running, Boolean);
  const last = messages.at(-1);
  if (!last || last.role !== "assistant") return "";
  return busy ? "The model answers" : last.answers[0].error || last.content;
}

function Start({ targets, target, problem }) {
  if (!targets.length) {
    return html`<${Empty} title="No endpoint is running">
      <p>Start one from the form: the echo engine is up in a second and needs no model.</p>
      <a class="btn primary" href=${href("deploy")}>Deploy an endpoint</a><//>`;
  }
  if (problem) return html`<${Empty} title="This endpoint cannot answer"><p>${problem}</p><a class="btn" href=${href("workers")}>See its workers</a><//>`;
  if (!target?.ready) return html`<${Empty} title="The endpoint is starting"><p>You can write as soon as a worker is ready.</p><a class="btn" href=${href("workers")}>Watch it start</a><//>`;
  return html`<${Empty} title="Say something"><p>Every message runs as a job on the endpoint: you see it, with its timeline, under Jobs.</p><//>`;
}

function Snippets({ messages, target, onClose }) {
  const [chosen, choose] = useState("curl");
  const asked = messages.at(-1)?.role === "assistant" ? messages.slice(0, -1) : messages;
  const example = asked.length ? asked : [{ role: "user", content: "Hello, parrot!" }];
  const base = `${location.origin}${(target?.id || "/v2/local/openai").replace(/\/openai$/, "")}`;
  const snippets = snippetsOf({ base, body: bodyOf(options.get(), example), needsKey: Boolean(keyStore.get().key) });
  const tabs = [["curl", "curl"], ["python", "Python"], ["javascript", "JavaScript"], ["native", "Native job"]];
  return html`<${Dialog} title="Copy this request as code" onClose=${onClose}>
    <${Tabs} name="snippets" tabs=${tabs} chosen=${chosen} onChoose=${choose} />
    <${TabPanel} name="snippets" chosen=${chosen}><${Code} text=${snippets[chosen]} label=${chosen} /><//>
  <//>`;
}
