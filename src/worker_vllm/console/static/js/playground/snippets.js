// The same request for curl, Python, JavaScript, and as a native job. Pure.
const HEADER = 'Authorization: Bearer $GATEWAY_API_KEY';

export function snippetsOf({ base, body, needsKey }) {
  const route = body.messages ? "chat/completions" : "completions";
  return {
    curl: curl(`${base}/openai/v1/${route}`, body, needsKey),
    python: python(base, body, needsKey),
    javascript: javascript(base, body, needsKey),
    native: native(base, body, needsKey),
  };
}

// One argument for a POSIX shell.
export const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(url, body, needsKey) {
  const key = needsKey ? ` \\\n  -H "${HEADER}"` : "";
  return `curl -N ${url}${key} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(body, null, 2))}`;
}

function python(base, body, needsKey) {
  const method = body.messages ? "chat.completions" : "completions";
  const keywords = Object.entries(body).map(([name, value]) => `    ${name}=${literal(value)},`);
  const part = body.messages ? "chunk.choices[0].delta.content" : "chunk.choices[0].text";
  const whole = body.messages ? "answer.choices[0].message.content" : "answer.choices[0].text";
  const tail = body.stream
    ? `for chunk in answer:\n    if chunk.choices:\n        print(${part} or "", end="", flush=True)`
    : `print(${whole})`;
  return [
    ...(needsKey ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url="${base}/openai/v1", api_key=${needsKey ? 'os.environ["GATEWAY_API_KEY"]' : '"none"'})`,
    `answer = client.${method}.create(`,
    ...keywords,
    ")",
    tail,
  ].join("\n");
}

// A JSON value as a Python literal.
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${literal(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function javascript(base, body, needsKey) {
  const method = body.messages ? "chat.completions" : "completions";
  const part = body.messages ? "chunk.choices[0]?.delta.content" : "chunk.choices[0]?.text";
  const whole = body.messages ? "answer.choices[0].message.content" : "answer.choices[0].text";
  const tail = body.stream ? `for await (const chunk of answer) process.stdout.write(${part} ?? "");` : `console.log(${whole});`;
  return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}/openai/v1", apiKey: ${needsKey ? "process.env.GATEWAY_API_KEY" : '"none"'} });
const answer = await client.${method}.create(${JSON.stringify(body, null, 2)});
${tail}`;
}

// The job that RunPod's own clients send: /run, or /runsync to wait for the answer.
function native(base, body, needsKey) {
  const { model, stream, stream_options: _, messages, prompt, tools, ...sampling } = body;
  const input = { ...(messages ? { messages } : { prompt }), sampling_params: sampling, ...(stream ? { stream } : {}), ...(tools ? { tools } : {}) };
  const key = needsKey ? ` \\\n  -H "${HEADER}"` : "";
  return `curl ${base}/runsync${key} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify({ input }, null, 2))}`;
}
