// Starts the console: the live feed, and the page that the URL's fragment names.
import { keyStore } from "./lib/api.js";
import { html, render, useEffect, useState } from "./lib/html.js";
import { follow } from "./lib/live.js";
import { route } from "./lib/router.js";
import { useStore } from "./lib/store.js";
import { Frame } from "./ui/frame.js";
import { Empty } from "./ui/parts.js";

const PAGES = {
  deploy: () => import("./deploy/page.js"),
  playground: () => import("./playground/page.js"),
  jobs: () => import("./jobs/page.js"),
  workers: () => import("./workers/page.js"),
};

function Console() {
  const { page } = useStore(route);
  const [loaded, setLoaded] = useState({});
  useEffect(() => {
    document.title = `${page[0].toUpperCase()}${page.slice(1)} · worker-vllm`;
    PAGES[page]?.().then((module) => setLoaded({ page, Page: module.Page }));
  }, [page]);
  return html`<${Frame} page=${page}>
    ${PAGES[page] ? loaded.page === page && html`<${loaded.Page} />` : html`<${NoPage} />`}
  <//>`;
}

const NoPage = () => html`<${Empty} title="There is no such page">
  <p>Choose one at the left, or press <kbd>g</kbd> <kbd>p</kbd> for the playground.</p><//>`;

let feed = new AbortController();
follow(feed.signal);
let key = keyStore.get().key;
keyStore.subscribe((state) => {
  if (state.key === key) return;
  key = state.key;
  feed.abort();
  feed = new AbortController();
  follow(feed.signal);
});

const place = document.getElementById("app");
place.replaceChildren();
render(html`<${Console} />`, place);
