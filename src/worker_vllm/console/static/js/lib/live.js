// The live state of the gateway, kept current by the console's feed of events.
import { json, request } from "./api.js";
import { readEvents } from "./events.js";
import { createStore } from "./store.js";

const RETRY_MS = 1000;

export const live = createStore({ connected: null, hello: null, endpoints: [], workers: [] });
export const jobs = createStore({ rows: new Map(), revision: 0 });
export const samples = createStore({});

export async function follow(signal) {
  while (!signal.aborted) {
    try {
      await readFeed(signal);
    } catch (error) {
      if (signal.aborted) return;
      live.patch({ connected: false, problem: error.message });
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function readFeed(signal) {
  const response = await request("/console/api/feed", { signal });
  jobs.set({ rows: new Map(), revision: 0 });
  samples.set({});
  live.patch({ connected: true, problem: null });
  for await (const { event, data } of readEvents(response)) handlers[event]?.(JSON.parse(data));
  live.patch({ connected: false, problem: "The gateway closed the connection." });
}

const handlers = {
  hello: (hello) => live.patch({ hello }),
  endpoints: (endpoints) => live.patch({ endpoints }),
  workers: (workers) => live.patch({ workers }),
  jobs({ changed, removed }) {
    const { rows, revision } = jobs.get();
    for (const row of changed) rows.set(`${row.endpoint}/${row.id}`, row);
    for (const key of removed) rows.delete(key);
    jobs.set({ rows, revision: revision + 1 });
  },
  samples(added) {
    const all = { ...samples.get() };
    for (const [endpoint, points] of Object.entries(added)) {
      all[endpoint] = [...(all[endpoint] || []), ...points].slice(-300);
    }
    samples.set(all);
  },
};

export const post = (path, body = {}) => json(`/console/api/${path}`, { method: "POST", body });
