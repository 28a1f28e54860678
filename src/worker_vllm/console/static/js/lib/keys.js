// Keyboard shortcuts: single keys outside of text fields, `g` followed by a key, and Ctrl with a key anywhere.
import { useLayoutEffect, useRef } from "./html.js";

const WAIT_MS = 1200;
let prefix = 0;

export const isTyping = (target) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) &&
  !["checkbox", "radio", "range"].includes(target.type);

export function nameOf(event) {
  if (event.altKey) return "";
  if (event.ctrlKey || event.metaKey) return `ctrl+${event.key.toLowerCase()}`;
  if (isTyping(event.target)) return event.key === "Escape" ? "Escape" : "";
  const after = Date.now() - prefix < WAIT_MS ? "g " : "";
  prefix = event.key === "g" && !after ? Date.now() : 0;
  return after + event.key;
}

// Calls bindings[name](event) for the keys of a component; `false` from a handler leaves the event alone.
export function useKeys(bindings) {
  const latest = useRef();
  latest.current = bindings;
  useLayoutEffect(() => {
    const listen = (event) => {
      const handle = latest.current[event.consoleKey];
      if (handle && !event.defaultPrevented && handle(event) !== false) event.preventDefault();
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
}

// Names each key press once, before any component sees it.
addEventListener("keydown", (event) => (event.consoleKey = nameOf(event)), true);
