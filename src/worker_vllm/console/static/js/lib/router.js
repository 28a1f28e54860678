// Routes in the URL's fragment: #/page/part/part?name=value
import { createStore } from "./store.js";

export const route = createStore(parse(location.hash));

addEventListener("hashchange", () => route.set(parse(location.hash)));

export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page = "", ...parts] = path.split("/").map(decodeURIComponent);
  return { page: page || "playground", parts, query: new URLSearchParams(query) };
}

export function go(page, ...parts) {
  location.hash = href(page, ...parts);
}

export const href = (page, ...parts) => `#/${[page, ...parts].map(encodeURIComponent).join("/")}`;

// Change the fragment without a new entry in the browser's history.
export function replace(hash) {
  history.replaceState(null, "", hash);
  route.set(parse(hash));
}
