// Which jobs are shown: by state, endpoint and text; newest first. Pure.
export const STATES = ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"];

export const EVERYTHING = { states: [], endpoint: "", text: "" };

export function select(rows, { states, endpoint, text }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (const row of rows.values()) {
    if (states.length && !states.includes(row.state)) continue;
    if (endpoint && row.endpoint !== endpoint) continue;
    if (words.length && !matches(row, words)) continue;
    found.push(row);
  }
  return found.sort((one, other) => other.created - one.created || (other.id < one.id ? -1 : 1));
}

function matches(row, words) {
  const text = `${row.id} ${row.kind} ${row.preview} ${row.error || ""} ${row.worker || ""}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

export function countByState(rows) {
  const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
  for (const row of rows.values()) counts[row.state] += 1;
  return counts;
}
