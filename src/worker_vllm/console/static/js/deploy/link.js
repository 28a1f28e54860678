// A deployment in a URL's fragment, which browsers never send to a server. Secrets are left out.
export const SECRETS = new Set(["HF_TOKEN"]);

export function encode({ values, engine, name, kind }) {
  const kept = Object.fromEntries(Object.entries(values).filter(([key]) => !SECRETS.has(key)));
  const bytes = new TextEncoder().encode(JSON.stringify({ values: kept, engine, name, kind }));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// The deployment of a link, null when it is damaged or holds something else than texts, numbers and switches.
export function decode(text) {
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
    const { values, engine, name, kind } = JSON.parse(new TextDecoder().decode(bytes));
    const plain = (value) => ["string", "number", "boolean"].includes(typeof value);
    if (!Object.values(values).every(plain)) return null;
    return { values, engine: String(engine), name: String(name), kind: String(kind ?? "queue") };
  } catch {
    return null;
  }
}

export function linkOf(draft) {
  return `${location.origin}${location.pathname}#/deploy?c=${encode(draft)}`;
}
