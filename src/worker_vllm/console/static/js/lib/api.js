// Requests to the gateway: the console's own routes with its token, and the key where the gateway requires one.
import { createStore } from "./store.js";

const token = document.querySelector('meta[name="console-token"]').content;
export const keyStore = createStore({ key: sessionStorage.getItem("gateway-key") || "", asked: false });

export class ApiError extends Error {
  constructor(status, message, body) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

export function saveKey(key) {
  sessionStorage.setItem("gateway-key", key);
  keyStore.set({ key, asked: false });
}

export function authorization() {
  const { key } = keyStore.get();
  return key ? { authorization: `Bearer ${key}` } : {};
}

// Fetch with the console's headers. Throws ApiError with the gateway's own sentence for any other status than 2xx.
export async function request(path, { method = "GET", body, signal, headers = {} } = {}) {
  const response = await send(path, {
    method,
    signal,
    headers: { ...authorization(), "x-console-token": token, ...contentType(body), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.ok) return response;
  if (response.status === 401) keyStore.patch({ asked: true });
  throw await errorOf(response);
}

export async function json(path, options) {
  return (await request(path, options)).json();
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The gateway does not answer. Is `worker-vllm local` still running?", null);
  }
}

const contentType = (body) => (body === undefined ? {} : { "content-type": "application/json" });

async function errorOf(response) {
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    return new ApiError(response.status, text || `HTTP ${response.status}`, null);
  }
  const reported = body.error ?? body.message ?? body;
  const message = typeof reported === "string" ? sentence(reported) : reported.message || JSON.stringify(reported);
  return new ApiError(response.status, message, body);
}

// The message inside an error string, which may itself be the JSON text of an OpenAI error object.
export function sentence(text) {
  try {
    return JSON.parse(text).message || text;
  } catch {
    return text;
  }
}
