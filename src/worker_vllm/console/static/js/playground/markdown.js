// Markdown as safe HTML: rendered by marked, then only what DOMPurify lets through. Loaded with the first answer.
let renderer = null;

const SAFE = {
  FORBID_TAGS: ["img", "picture", "video", "audio", "iframe", "object", "embed", "form", "input", "button", "style", "link", "svg", "math"],
  FORBID_ATTR: ["style", "id", "name", "class"],
  ALLOW_DATA_ATTR: false,
};

export async function loadMarkdown() {
  renderer ??= Promise.all([import("../../vendor/marked.js"), purifier()]).then(([{ Marked }, purify]) => {
    const marked = new Marked({ renderer: { html: ({ text }) => escaped(text) } });
    purify.addHook("afterSanitizeAttributes", (node) => {
      if (node.tagName === "A") node.setAttribute("rel", "noreferrer noopener");
    });
    return (text) => purify.sanitize(marked.parse(text, { async: false, gfm: true, breaks: true }), SAFE);
  });
  return renderer;
}

// HTML in an answer is shown as the text that it is.
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function purifier() {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("../../vendor/purify.js", import.meta.url);
    script.onload = () => resolve(window.DOMPurify);
    script.onerror = () => reject(new Error("vendor/purify.js could not be loaded"));
    document.head.append(script);
  });
}
