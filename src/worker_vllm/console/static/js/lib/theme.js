// Light or dark: the system's choice until the user makes one.
import { createStore } from "./store.js";

export const theme = createStore(document.documentElement.dataset.theme);

export function toggleTheme() {
  const next = theme.get() === "dark" ? "light" : "dark";
  localStorage.setItem("theme", next);
  apply(next);
}

function apply(name) {
  document.documentElement.dataset.theme = name;
  theme.set(name);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
  if (!localStorage.getItem("theme")) apply(event.matches ? "dark" : "light");
});
