// A job's way: queued, taken, first piece, last piece, end; retries and webhooks where they happened.
import { html } from "../lib/html.js";
import { clock, count, seconds } from "../lib/format.js";

export function Timeline({ job }) {
  const steps = stepsOf(job);
  const from = steps[0].at;
  const span = Math.max(steps.at(-1).at - from, 0.001);
  return html`<section class="timeline" aria-label="Timeline">
    <svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
      <rect class="waited" x="0" y="0" height="6" width=${share(job.started)} />
      <rect class="ran" x=${share(job.started)} y="0" height="6" width=${job.started ? 100 - share(job.started) : 0} />
      ${steps.slice(1, -1).map((step) => html`<rect class="mark" x=${Math.min(99.4, share(step.at))} y="0" height="6" width="0.6" />`)}
    </svg>
    <ol>${steps.map((step) => html`<li class=${step.tone || ""}><span>${step.name}${step.detail && html` <span class="muted small">${step.detail}</span>`}</span>
      <span class="mono muted">${step.at === from ? clock(step.at) : `+${seconds(step.at - from)}`}</span></li>`)}</ol>
  </section>`;

  function share(at) {
    return at ? ((at - from) / span) * 100 : 100;
  }
}

function stepsOf(job) {
  const steps = [{ name: "queued", at: job.created }];
  for (const event of job.events) steps.push({ name: event.name, at: event.at, detail: event.detail, tone: event.tone });
  if (job.started) steps.push({ name: "taken", at: job.started, detail: job.worker });
  if (job.first_piece) steps.push({ name: "first piece", at: job.first_piece });
  if (job.pieces > 1) steps.push({ name: "last piece", at: job.last_piece, detail: `${count(job.pieces)} pieces` });
  if (job.ended) steps.push({ name: job.state.toLowerCase().replaceAll("_", " "), at: job.ended, tone: job.state === "COMPLETED" ? "good" : "poor" });
  return steps.sort((one, other) => one.at - other.at);
}
