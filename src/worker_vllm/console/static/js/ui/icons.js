// Line icons of 24 units, drawn here.
import { html } from "../lib/html.js";

const PATHS = {
  deploy: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5",
  playground: "M4 5h16v11H9l-5 4z",
  jobs: "M4 6h16M4 12h16M4 18h10",
  workers: "M4 5h16v6H4zM4 13h16v6H4zM8 8h.01M8 16h.01",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 119.5 4a7 7 0 0010.5 10.5z",
  keyboard: "M3 6h18v12H3zM7 10h.01M11 10h.01M15 10h.01M8 14h8",
  send: "M4 12l16-8-6 16-3-7z",
  stop: "M7 7h10v10H7z",
  retry: "M4 12a8 8 0 108-8c-2.5 0-4.7 1.1-6.2 2.9M4 4v4h4",
  edit: "M4 20l1-4L16 5l3 3L8 19z",
  left: "M15 6l-6 6 6 6",
  right: "M9 6l6 6-6 6",
  close: "M6 6l12 12M18 6L6 18",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
  plus: "M12 5v14M5 12h14",
  check: "M5 12l5 5 9-10",
  play: "M8 5l11 7-11 7z",
};

export const Icon = ({ name }) => html`
  <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round"
       stroke-linejoin="round" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
