// The deployment being edited: what differs from the form, and what the worker's own validation says about it.
import { json } from "../lib/api.js";
import { createStore } from "../lib/store.js";
import { post } from "../lib/live.js";
import { replace, route } from "../lib/router.js";
import { decode, encode } from "./link.js";

const DEBOUNCE_MS = 250;
const EMPTY = { values: {}, engine: "echo", name: "demo", kind: "queue" };

export const form = createStore(null);
export const draft = createStore(EMPTY);
export const report = createStore({ pending: true, ok: false, problems: [], warnings: [], outputs: {} });
let timer = 0;
let asked = 0;

export async function openForm() {
  if (!form.get()) {
    const loaded = await json("/console/api/form");
    form.set(loaded);
    draft.patch({ engine: loaded.engines.find((engine) => engine.installed).id });
  }
  const linked = decode(route.get().query.get("c") || "");
  if (linked) draft.set({ ...linked, values: onlyKnown(linked.values) });
  await check();
}

const onlyKnown = (values) => Object.fromEntries(Object.entries(values).filter(([name]) => form.get().fields[name]));

export function setValue(name, value) {
  const values = { ...draft.get().values };
  if (value === form.get().fields[name].value) delete values[name];
  else values[name] = value;
  change({ values });
}

export function change(part) {
  draft.patch(part);
  report.patch({ pending: true });
  clearTimeout(timer);
  timer = setTimeout(check, DEBOUNCE_MS);
}

// Validate now; an answer that a later question has overtaken is dropped. Returns the report.
export async function check() {
  clearTimeout(timer);
  const number = ++asked;
  if (route.get().page === "deploy") replace(`#/deploy?c=${encode(draft.get())}`);
  try {
    const answer = await post("check", draft.get());
    if (number === asked) report.set({ ...answer, pending: false, unreachable: null });
  } catch (error) {
    if (number === asked) report.patch({ pending: false, ok: false, unreachable: error.message });
  }
  return report.get();
}

export const problemsByField = (problems) => Map.groupBy(problems, (problem) => problem.field || "");
