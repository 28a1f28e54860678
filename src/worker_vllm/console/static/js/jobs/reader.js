// Inputs and outputs as a reader wants them: who said what. Null where only the raw form makes sense. Pure.
import { parseEvent } from "../lib/events.js";

export function readInput(input) {
  const body = input.openai_input ?? input;
  if (Array.isArray(body?.messages)) return body.messages.map(({ role, content }) => ({ who: role, text: textOf(content) }));
  if (typeof body?.prompt === "string") return [{ who: "prompt", text: body.prompt }];
  return null;
}

export function readOutput(output) {
  if (typeof output === "string") return [{ who: "", text: fromText(output) }];
  const texts = (Array.isArray(output) ? output : [output]).map(fromItem);
  if (texts.some((text) => text === null)) return null;
  return [{ who: "", text: texts.join("") }];
}

const textOf = (content) =>
  typeof content === "string" ? content : (content || []).map((part) => part.text ?? `[${part.type}]`).join("\n");

// A native item, a whole completion, or a piece of a stream.
function fromItem(item) {
  if (typeof item === "string") return fromText(item);
  if (item?.object === "list") return item.data.map((one) => one.id).join("\n");
  const choice = item?.choices?.[0];
  if (!choice) return item?.choices ? "" : null;
  if (Array.isArray(choice.tokens)) return item.choices.flatMap((one) => one.tokens).join("");
  const text = choice.message?.content ?? choice.delta?.content ?? choice.text;
  return typeof text === "string" ? text : choice.delta ? "" : null;
}

// Text of server-sent events becomes the text that they carry; JSON its answer; anything else stays.
function fromText(text) {
  if (!text.includes("data:")) return fromJson(text) ?? text;
  return text
    .split("\n\n")
    .map(parseEvent)
    .filter((event) => event && event.data !== "[DONE]")
    .map((event) => fromJson(event.data) ?? "")
    .join("");
}

function fromJson(text) {
  try {
    return fromItem(JSON.parse(text));
  } catch {
    return null;
  }
}
