// The list of keyboard shortcuts, opened with `?`.
import { html } from "../lib/html.js";
import { Dialog } from "./parts.js";

const KEYS = [
  ["g d", "Deploy"],
  ["g p", "Playground"],
  ["g j", "Jobs"],
  ["g w", "Workers"],
  ["/", "Search on this page"],
  ["Ctrl Enter", "Deploy: start the endpoint. Playground: send"],
  ["Enter", "Playground: send; Shift Enter for a new line. Jobs: open the selected job"],
  ["Escape", "Playground: stop the answer. Jobs: close the job"],
  ["r", "Playground: regenerate the last answer. Jobs: retry the open job"],
  ["e", "Playground: edit the last message"],
  ["↑ ↓", "Jobs: select. Page Up, Page Down, Home, End too"],
  ["c", "Jobs: cancel the open job"],
  ["t", "Light or dark theme"],
  ["?", "This list"],
];

export const Shortcuts = ({ onClose }) => html`
  <${Dialog} title="Keyboard shortcuts" onClose=${onClose}>
    <dl class="shortcuts">
      ${KEYS.map(([keys, does]) => html`
        <dt>${keys.split(" ").map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${does}</dd>`)}
    </dl>
  <//>`;
