// One request to one endpoint, and its answer while it grows: text, reasoning, tool calls, speed, raw events.
import { authorization, sentence } from "../lib/api.js";
import { readEvents } from "../lib/events.js";

const KEPT_EVENTS = 2000;
const DRAW_MS = 33;

export const routeOf = (body) => (body.messages ? "chat/completions" : "completions");

// Calls onChange(answer) as the answer grows; never throws: a failure is a state of the answer.
export async function ask({ target, body, signal, onChange }) {
  const answer = { target, state: "waiting", content: "", reasoning: "", toolCalls: [], events: [], pieces: 0 };
  const began = performance.now();
  const draw = throttled(() => onChange({ ...answer, toolCalls: [...answer.toolCalls], events: answer.events }));
  try {
    const response = await fetch(`${target}/v1/${routeOf(body)}`, {
      method: "POST", signal, body: JSON.stringify(body), headers: { "content-type": "application/json", ...authorization() },
    });
    answer.job = response.headers.get("x-job-id");
    if (!response.ok) throw new Error(failureOf(response.status, await response.text()));
    if (body.stream) await readStream(response, answer, began, draw);
    else readWhole(await response.json(), answer, began);
    answer.state = answer.error ? "failed" : "done";
  } catch (error) {
    Object.assign(answer, signal.aborted ? { state: "stopped" } : { state: "failed", error: error.message });
  }
  answer.ended = performance.now() - began;
  draw.now();
}

async function readStream(response, answer, began, draw) {
  for await (const { data } of readEvents(response)) {
    if (answer.events.length < KEPT_EVENTS) answer.events.push({ at: performance.now() - began, data });
    if (data === "[DONE]") continue; // read on: a stream that is left early counts as cancelled
    const event = JSON.parse(data);
    if (event.error) answer.error = event.error.message || sentence(String(event.error));
    if (event.usage) answer.usage = event.usage;
    if (event.choices?.[0]) addChoice(answer, event.choices[0], began);
    draw();
  }
}

function addChoice(answer, choice, began) {
  const delta = choice.delta || {};
  const text = delta.content ?? choice.text ?? "";
  const reasoning = delta.reasoning ?? delta.reasoning_content ?? "";
  if (text || reasoning || delta.tool_calls) {
    answer.first ??= performance.now() - began;
    answer.last = performance.now() - began;
    answer.pieces += 1;
    answer.state = "running";
  }
  answer.content += text;
  answer.reasoning += reasoning;
  for (const call of delta.tool_calls || []) addToolCall(answer.toolCalls, call);
  if (choice.finish_reason) answer.finish = choice.finish_reason;
}

function addToolCall(calls, part) {
  const call = (calls[part.index ?? 0] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
  call.id ||= part.id || "";
  call.function.name += part.function?.name || "";
  call.function.arguments += part.function?.arguments || "";
}

function readWhole(body, answer, began) {
  const choice = body.choices[0];
  const message = choice.message || { content: choice.text };
  answer.last = performance.now() - began;
  answer.events.push({ at: answer.last, data: JSON.stringify(body) });
  answer.content = message.content || "";
  answer.reasoning = message.reasoning ?? message.reasoning_content ?? "";
  answer.toolCalls = message.tool_calls || [];
  Object.assign(answer, { usage: body.usage, finish: choice.finish_reason });
}

// Tokens by the engine's own count where it has come, else the pieces so far; speed from the first piece on.
export function speedOf(answer) {
  const tokens = answer.usage?.completion_tokens ?? answer.pieces;
  const spent = ((answer.last ?? 0) - (answer.first ?? 0)) / 1000;
  return { tokens, first: answer.first === undefined ? null : answer.first / 1000, rate: spent > 0 ? (tokens - 1) / spent : null };
}

function failureOf(status, text) {
  try {
    const { error, message } = JSON.parse(text);
    return (typeof error === "string" ? sentence(error) : error?.message) || message || text;
  } catch {
    return text || `HTTP ${status}`;
  }
}

function throttled(draw) {
  let last = 0;
  let timer = 0;
  const now = () => {
    clearTimeout(timer);
    timer = 0;
    last = performance.now();
    draw();
  };
  const later = () => {
    if (!timer) timer = setTimeout(now, Math.max(0, DRAW_MS - (performance.now() - last)));
  };
  return Object.assign(later, { now });
}
