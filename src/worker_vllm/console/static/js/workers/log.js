// The tail of a worker's log, live; by level and text.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { request } from "../lib/api.js";
import { readEvents } from "../lib/events.js";
import { clock } from "../lib/format.js";

const KEPT = 2000;
const DRAWN = 400;
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR"];
const RANK = { DEBUG: 0, INFO: 1, TEXT: 1, WARNING: 2, ERROR: 3, CRITICAL: 3 };

export function Log({ worker }) {
  const [lines, problem] = useLog(worker);
  const [least, setLeast] = useState("INFO");
  const [text, setText] = useState("");
  const words = text.toLowerCase();
  const found = lines.filter((line) => (RANK[line.level] ?? 1) >= RANK[least] && (!words || line.message.toLowerCase().includes(words)));
  const place = useRef();
  const follow = useRef(true);
  useEffect(() => {
    if (follow.current && place.current) place.current.scrollTop = place.current.scrollHeight;
  });
  return html`<div class="log-tools">
      <select class="input" aria-label="Least level" value=${least} onChange=${(event) => setLeast(event.target.value)}>
        ${LEVELS.map((level) => html`<option value=${level} selected=${level === least}>${level.toLowerCase()} and above</option>`)}</select>
      <input class="input" type="search" placeholder="Search the log" aria-label="Search the log" value=${text} onInput=${(event) => setText(event.target.value)} />
      <span class="muted small">${found.length} lines</span></div>
    ${problem && html`<p class="inside problem">${problem}</p>`}
    <div class="log" ref=${place} tabindex="0" role="log" aria-live="off" aria-label=${`Log of ${worker.id}`}
         onScroll=${({ target }) => (follow.current = target.scrollHeight - target.scrollTop - target.clientHeight < 30)}>
      ${found.length === 0 && html`<p class="muted">${lines.length ? "No line matches." : worker.managed ? "No line yet." : "The log of a worker that was started elsewhere is with that process."}</p>`}
      ${found.slice(-DRAWN).map((line) => html`<div class=${`line ${line.level}`} key=${line.number}><span class="muted">${clock(line.at)}</span>
        <b>${line.level}</b><span>${line.engine && html`<em>engine</em> `}${line.message}</span></div>`)}
    </div>`;
}

function useLog({ id, managed }) {
  const [lines, setLines] = useState([]);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    if (!managed) return undefined;
    const controller = new AbortController();
    const path = `/console/api/workers/${encodeURIComponent(id)}/tail`;
    request(path, { signal: controller.signal })
      .then(async (response) => {
        for await (const { data } of readEvents(response)) {
          const added = JSON.parse(data);
          setLines((old) => [...old, ...added].slice(-KEPT));
        }
      })
      .catch((error) => controller.signal.aborted || setProblem(error.message));
    return () => controller.abort();
  }, [id, managed]);
  return [lines, problem];
}
