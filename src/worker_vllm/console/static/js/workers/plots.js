// Plots of the last minutes; the plot library is loaded with this page.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { rate, seconds } from "../lib/format.js";
import { samples } from "../lib/live.js";
import { useStore } from "../lib/store.js";
import { theme } from "../lib/theme.js";

const PLOTS = [
  ["jobs_per_s", "Jobs ended per second", rate, 1],
  ["first_piece_s", "First token", seconds, 0.01],
  ["tokens_per_s", "Tokens per second", rate, 10],
  ["queue_delay_s", "Queue delay", seconds, 0.01],
  ["window", "Admission window", (value) => (value === null ? "–" : Math.round(value)), 4],
  ["kv_used", "KV memory in use", (value) => (value === null ? "–" : `${Math.round(value * 100)} %`), 0.1],
];
const NO_POINTS = [];
let library = null;

export function Plots({ endpoint }) {
  const all = useStore(samples);
  const points = all[endpoint] || NO_POINTS;
  const [uPlot, setLibrary] = useState(null);
  const name = useStore(theme);
  useEffect(() => {
    loadLibrary().then((loaded) => setLibrary(() => loaded));
  }, []);
  return html`<section class="plots" aria-label=${`The last minutes of ${endpoint}`}>${PLOTS.map(([key, title, format, least]) => html`
    <${Plot} key=${key + name} ...${{ uPlot, title, format, least, points, field: key }} />`)}</section>`;
}

function Plot({ uPlot, title, format, least, points, field }) {
  const place = useRef();
  const plot = useRef();
  useEffect(() => {
    if (!uPlot) return undefined;
    plot.current = new uPlot(optionsFor(place.current, format, least), dataOf(points, field), place.current);
    const watcher = new ResizeObserver(() => plot.current.setSize({ width: place.current.clientWidth, height: 96 }));
    watcher.observe(place.current);
    return () => {
      watcher.disconnect();
      plot.current.destroy();
    };
  }, [uPlot]);
  useEffect(() => plot.current?.setData(dataOf(points, field)), [points]);
  const last = points.findLast((point) => point[field] !== null && point[field] !== undefined);
  const value = format(last ? last[field] : null);
  return html`<figure class="panel plot"><figcaption><span>${title}</span><strong class="mono">${value}</strong></figcaption>
    <div ref=${place} role="img" aria-label=${`${title}: ${value} now`}></div></figure>`;
}

const dataOf = (points, field) => [points.map((point) => point.at), points.map((point) => point[field] ?? null)];

function optionsFor(box, format, least) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px sans-serif" };
  return {
    width: box.clientWidth,
    height: 96,
    legend: { show: false },
    cursor: { show: false },
    padding: [6, 4, 0, 0],
    scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, least) * 1.15] } },
    axes: [
      { ...axis, size: 20, space: 90, values: (_, ticks) => ticks.map((at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false, hour: "2-digit", minute: "2-digit", second: "2-digit" })) },
      { ...axis, size: 52, space: 30, values: (_, ticks) => ticks.map((tick) => format(tick)) },
    ],
    series: [{}, { stroke: colour("--accent"), width: 2, fill: colour("--accent-soft"), points: { show: true, filter: isolated, size: 5, fill: colour("--accent") } }],
  };
}

// A point without neighbours has no line: it is drawn as a dot.
function isolated(plot, series) {
  const values = plot.data[series];
  return values.flatMap((value, at) => (value !== null && values[at - 1] == null && values[at + 1] == null ? [at] : []));
}

function loadLibrary() {
  library ??= new Promise((resolve, reject) => {
    const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("../../vendor/uplot.css", import.meta.url) });
    const script = Object.assign(document.createElement("script"), { src: new URL("../../vendor/uplot.js", import.meta.url) });
    script.onload = () => resolve(window.uPlot);
    script.onerror = () => reject(new Error("vendor/uplot.js could not be loaded"));
    document.head.append(style, script);
  });
  return library;
}
