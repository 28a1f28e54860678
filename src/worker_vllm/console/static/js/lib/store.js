// A value with subscribers, and the hook that reads it in a component.
import { useEffect, useState } from "./html.js";

export function createStore(initial) {
  let value = initial;
  const listeners = new Set();
  return {
    get: () => value,
    set(change) {
      value = typeof change === "function" ? change(value) : change;
      for (const listener of listeners) listener(value);
    },
    patch(part) {
      this.set({ ...value, ...part });
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function useStore(store, select = (value) => value) {
  const [, redraw] = useState(0);
  const selected = select(store.get());
  useEffect(() => {
    let last = select(store.get());
    if (last !== selected) redraw((count) => count + 1);
    return store.subscribe((value) => {
      const next = select(value);
      if (next === last) return;
      last = next;
      redraw((count) => count + 1);
    });
  }, [store]);
  return selected;
}
