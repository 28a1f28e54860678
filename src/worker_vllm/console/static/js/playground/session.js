// The playground's state: what is asked of which endpoint, the conversation, and the answer that is running.
import { createStore } from "../lib/store.js";
import { EMPTY, add, path, update } from "./conversation.js";
import { bodyOf } from "./request.js";
import { ask } from "./stream.js";

const SAVED = "playground-options";
const DEFAULTS = {
  mode: "chat", endpoint: "", model: "", rival: "", system: "", temperature: "", top_p: "", max_tokens: "256",
  stop: "", seed: "", tools: "", extra: "", stream: true,
};

export const options = createStore({ ...DEFAULTS, ...JSON.parse(sessionStorage.getItem(SAVED) || "{}") });
export const tree = createStore(EMPTY);
export const running = createStore(null);

options.subscribe((value) => sessionStorage.setItem(SAVED, JSON.stringify(value)));

// Send a new message of the user below the last one shown.
export function send(content, images = []) {
  const shown = path(tree.get());
  return reply(append(shown.at(-1)?.id ?? null, { role: "user", content, images }));
}

// Ask again for the answer that stands below `parent`.
export const regenerate = (answer) => reply(answer.parent);

// Put a changed message beside the old one and ask for its answer.
export const edit = (message, content) => reply(append(message.parent, { ...plain(message), content }));

// The user's result of a tool call; the answer follows once every call has its result.
export function answerTool(answer, results) {
  let parent = answer.id;
  for (const [index, call] of answer.toolCalls.entries()) {
    parent = append(parent, { role: "tool", content: results[index], callId: call.id, name: call.function.name });
  }
  return reply(parent);
}

export function stop() {
  running.get()?.abort();
}

export function clear() {
  stop();
  tree.set(EMPTY);
}

const plain = ({ role, content, images }) => ({ role, content, images });

function append(parent, message) {
  const [next, id] = add(tree.get(), parent, message);
  tree.set(next);
  return id;
}

async function reply(parent) {
  stop();
  const controller = new AbortController();
  running.set(controller);
  const chosen = options.get();
  const targets = [chosen.endpoint, chosen.rival].filter(Boolean);
  const id = append(parent, { role: "assistant", content: "", answers: targets.map(emptyAnswer), body: null });
  const messages = path(tree.get()).slice(0, -1);
  const body = bodyOf(chosen, messages);
  tree.set((now) => update(now, id, () => ({ body })));
  await Promise.all(targets.map((target, index) => follow({ id, index, target, body, controller })));
  if (running.get() === controller) running.set(null);
}

async function follow({ id, index, target, body, controller }) {
  const set = (answer) =>
    tree.set((now) =>
      update(now, id, (node) => ({
        answers: node.answers.map((old, at) => (at === index ? answer : old)),
        ...(index === 0 ? { content: answer.content, toolCalls: answer.toolCalls } : {}),
      })),
    );
  await ask({ target, body, signal: controller.signal, onChange: set });
}

const emptyAnswer = (target) => ({ target, state: "waiting", content: "", reasoning: "", toolCalls: [], events: [] });
