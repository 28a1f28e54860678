// A job's way: queued, taken, first piece, last piece, end; retries and webhooks where they happened.
import { html } from "../lib/html.js";
import { clock, seconds } from "../lib/format.js";

export function Timeline({ job }) {
  const from = job.created;
  const span = Math.max(job.steps.at(-1).at - from, 0.001);
  const share = (at) => (at ? ((at - from) / span) * 100 : 100);
  const waited = share(job.started);
  return html`<section class="timeline" aria-label="Timeline">
    <svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
      <rect class="waited" x="0" y="0" height="6" width=${waited} />
      <rect class="ran" x=${waited} y="0" height="6" width=${100 - waited} />
      ${job.steps.slice(1, -1).map((step) => html`<rect class="mark" x=${Math.min(99.4, share(step.at))} y="0" height="6" width="0.6" />`)}
    </svg>
    <ol>${job.steps.map((step) => html`<li class=${step.tone}><span>${step.name}${step.detail && html` <span class="muted small">${step.detail}</span>`}</span>
      <span class="mono muted">${step.at <= from ? clock(step.at) : `+${seconds(step.at - from)}`}</span></li>`)}</ol>
  </section>`;
}
