// The answer of one endpoint: text, reasoning, tool calls, speed, raw events.
import { html, useEffect, useState } from "../lib/html.js";
import { rate, seconds } from "../lib/format.js";
import { href } from "../lib/router.js";
import { loadMarkdown } from "./markdown.js";
import { answerTool } from "./session.js";
import { speedOf } from "./stream.js";

export function Answer({ answer, title, message, last }) {
  const [raw, setRaw] = useState(false);
  const growing = answer.state === "waiting" || answer.state === "running";
  return html`<section class="answer" data-state=${answer.state} aria-busy=${growing} aria-label=${title || "Answer"}>
    ${title && html`<h3>${title}</h3>`}
    ${answer.reasoning && html`<details class="reasoning" open=${!answer.content}>
      <summary>Reasoning</summary><div class="plain muted">${answer.reasoning}</div></details>`}
    ${answer.state === "waiting" && html`<p class="muted waiting"><span class="dot busy"></span>waiting for the first token</p>`}
    <${Text} text=${answer.content} growing=${growing} />
    ${answer.toolCalls.map((call) => html`<${ToolCall} call=${call} />`)}
    ${last && !growing && answer.toolCalls.length > 0 && html`<${ToolResults} message=${message} />`}
    ${answer.state === "stopped" && html`<p class="muted small">stopped by you</p>`}
    ${answer.error && html`<div class="banner bad" role="alert"><p>${answer.error}</p></div>`}
    <${Speed} answer=${answer} raw=${raw} onRaw=${() => setRaw(!raw)} />
    ${raw && html`<${RawEvents} events=${answer.events} />`}
  </section>`;
}

// Plain while it grows or until the renderer is loaded, then Markdown.
function Text({ text, growing }) {
  const [render, setRender] = useState(null);
  useEffect(() => {
    loadMarkdown().then((loaded) => setRender(() => loaded));
  }, []);
  if (!render) return html`<div class="plain">${text}</div>`;
  return html`<div class=${`markdown ${growing && text ? "growing" : ""}`} dangerouslySetInnerHTML=${{ __html: render(text) }}></div>`;
}

const ToolCall = ({ call }) => html`<div class="tool-call"><span class="badge info">tool call</span> <code>${call.function.name}</code>
  <pre>${call.function.arguments}</pre></div>`;

function ToolResults({ message }) {
  const submit = (event) => {
    event.preventDefault();
    answerTool(message, new FormData(event.target).getAll("result"));
  };
  return html`<form class="stack" onSubmit=${submit}>
    ${message.toolCalls.map((call) => html`<label class="field">Result of ${call.function.name}
      <textarea class="input mono" name="result" rows="2"></textarea></label>`)}
    <div class="row"><button class="btn tiny primary">Send the results</button></div>
  </form>`;
}

function Speed({ answer, raw, onRaw }) {
  const { tokens, first, rate: perSecond } = speedOf(answer);
  return html`<p class="speed small muted">
    ${first !== null && html`<span>first token <b>${seconds(first)}</b></span>`}
    ${tokens > 0 && html`<span><b>${tokens}</b> tokens</span>`}
    ${perSecond !== null && html`<span><b>${rate(perSecond)}</b> tokens/s</span>`}
    ${answer.ended !== undefined && html`<span>total <b>${seconds(answer.ended / 1000)}</b></span>`}
    ${answer.finish && html`<span>finish: ${answer.finish}</span>`}
    ${answer.job && html`<a href=${href("jobs", endpointOf(answer.target), answer.job)}>job</a>`}
    ${answer.events.length > 0 && html`<button class="btn quiet tiny" type="button" aria-expanded=${raw} onClick=${onRaw}>Raw events (${answer.events.length})</button>`}
  </p>`;
}

const endpointOf = (target) => decodeURIComponent(target.split("/")[2]);

const RawEvents = ({ events }) => html`<div class="raw" tabindex="0" role="region" aria-label="Raw events">
  ${events.map((event) => html`<div><span class="muted">${seconds(event.at / 1000)}</span> ${event.data}</div>`)}</div>`;
