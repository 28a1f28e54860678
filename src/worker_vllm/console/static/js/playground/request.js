// The body of a request, from the options and the messages. Pure.
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];

export function bodyOf(options, messages) {
  const body = { model: options.model, ...parameters(options) };
  if (options.mode === "completion") return { ...body, prompt: messages.at(-1).content };
  const system = options.system.trim() ? [{ role: "system", content: options.system }] : [];
  return { ...body, messages: [...system, ...messages.map(messageOf)], ...toolsOf(options) };
}

export function parameters(options) {
  const chosen = {};
  for (const name of NUMBERS) if (String(options[name]).trim() !== "") chosen[name] = Number(options[name]);
  const stop = options.stop.split("\n").filter(Boolean);
  if (stop.length) chosen.stop = stop;
  if (options.stream) Object.assign(chosen, { stream: true, stream_options: { include_usage: true } });
  return { ...chosen, ...parsed(options.extra, {}) };
}

const toolsOf = ({ tools }) => (tools.trim() ? { tools: parsed(tools, []) } : {});

export function parsed(text, otherwise) {
  try {
    return text.trim() ? JSON.parse(text) : otherwise;
  } catch {
    return otherwise;
  }
}

// Why a JSON field cannot be sent, empty when it can.
export function jsonProblem(text, kind) {
  if (!text.trim()) return "";
  try {
    const value = JSON.parse(text);
    if (kind === "array" ? Array.isArray(value) : value && typeof value === "object" && !Array.isArray(value)) return "";
    return `expected a JSON ${kind}`;
  } catch (error) {
    return `expected a JSON ${kind}: ${error.message}`;
  }
}

function messageOf(message) {
  if (message.role === "tool") return { role: "tool", tool_call_id: message.callId, content: message.content };
  if (message.role === "assistant") {
    return { role: "assistant", content: message.content, ...(message.toolCalls?.length ? { tool_calls: message.toolCalls } : {}) };
  }
  if (!message.images?.length) return { role: message.role, content: message.content };
  const pictures = message.images.map((url) => ({ type: "image_url", image_url: { url } }));
  return { role: message.role, content: [{ type: "text", text: message.content }, ...pictures] };
}
