// What a job's error means, by the HTTP status in it. Pure.
const MEANINGS = {
  400: "The request itself was refused: change it and send it again. A retry of the same input fails the same way.",
  401: "The key is missing or wrong.",
  403: "The key is valid, but not for this.",
  404: "The model or the route does not exist on this endpoint. Compare it with the list under /openai/v1/models.",
  413: "The request or the answer is larger than the limit. Send less, or raise the limit.",
  422: "A value in the request has the wrong form.",
  424: "The engine hung with this request in flight. A retry could do it again, so clients do not retry it by themselves.",
  429: "The engine's queue was full. The same request may succeed later; more workers, or a larger MAX_CONCURRENCY, help.",
  500: "The engine failed while it worked on this request. The worker's log has its own words.",
  503: "The engine was not running. If the sentence names a setting, change it; if not, the worker starts the engine again.",
  504: "The request took longer than its time limit.",
};

export function meaningOf(error) {
  let parsed = null;
  try {
    parsed = JSON.parse(error);
  } catch {
    return { message: error, meaning: error.includes("was lost") ? "The worker ended or stopped answering while it held the job." : "" };
  }
  if (typeof parsed !== "object" || parsed === null) return { message: error, meaning: "" };
  return { message: parsed.message || error, meaning: MEANINGS[parsed.code] || "" };
}
