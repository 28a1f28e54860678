// The frame around every page: navigation, connection, theme, shortcuts.
import { html, useState } from "../lib/html.js";
import { useKeys } from "../lib/keys.js";
import { live } from "../lib/live.js";
import { go, href } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { theme, toggleTheme } from "../lib/theme.js";
import { Notices } from "./feedback.js";
import { Icon } from "./icons.js";
import { KeyDialog } from "./key-dialog.js";
import { Shortcuts } from "./shortcuts.js";

const PAGES = [
  ["deploy", "Deploy", "d"],
  ["playground", "Playground", "p"],
  ["jobs", "Jobs", "j"],
  ["workers", "Workers", "w"],
];

export function Frame({ page, children }) {
  const [help, setHelp] = useState(false);
  useKeys({
    ...Object.fromEntries(PAGES.map(([name, , key]) => [`g ${key}`, () => visit(name)])),
    "?": () => setHelp(true),
    t: toggleTheme,
  });
  return html`<div class="frame">
    <a class="skip" href="#main" onClick=${focusMain}>Skip to the page</a>
    <nav class="side" aria-label="Pages">
      <div class="brand"><img src="console/static/icon.svg" alt="" /><span>worker-vllm<small>local console</small></span></div>
      ${PAGES.map(([name, title, key]) => html`
        <a class="nav" href=${href(name)} aria-current=${name === page ? "page" : null} aria-keyshortcuts=${`g ${key}`}>
          <${Icon} name=${name} />${title}</a>`)}
      <div class="foot">
        <${Connection} />
        <${ThemeButton} />
        <button class="btn quiet" type="button" aria-label="Keyboard shortcuts" onClick=${() => setHelp(true)}>
          <${Icon} name="keyboard" /><span>Shortcuts <kbd>?</kbd></span></button>
      </div>
    </nav>
    <main class="main" id="main" tabindex="-1">${children}</main>
    ${help && html`<${Shortcuts} onClose=${() => setHelp(false)} />`}
    <${KeyDialog} />
    <${Notices} />
  </div>`;
}

function visit(name) {
  go(name);
  focusMain();
}

function focusMain(event) {
  event?.preventDefault();
  document.getElementById("main").focus();
}

function Connection() {
  const connected = useStore(live, (state) => state.connected);
  const [tone, text] =
    connected === null ? ["busy", "connecting"] : connected ? ["ok", "connected"] : ["bad", "not connected"];
  return html`<div class="connection" role="status"><span class=${`dot ${tone}`}></span>${text}</div>`;
}

function ThemeButton() {
  const name = useStore(theme);
  const other = name === "dark" ? "Light theme" : "Dark theme";
  return html`<button class="btn quiet" type="button" aria-label=${other} onClick=${toggleTheme}>
    <${Icon} name=${name === "dark" ? "sun" : "moon"} /><span>${other}</span></button>`;
}

// The header of a page: its title, and its controls at the right.
export const Head = ({ title, children }) => html`
  <div class="head"><h1>${title}</h1><div class="grow"></div>${children}</div>`;
