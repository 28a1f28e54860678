// The ordinary flows of OpenAI's and RunPod's JavaScript clients, unchanged; prints what they saw as one JSON object.
import OpenAI from "openai";
import runpodSdk from "runpod-sdk";

const { OPENAI_BASE_URL, RUNPOD_BASE_URL, RUNPOD_ENDPOINT_ID, MODEL } = process.env;
const seen = {};

const openai = new OpenAI({ baseURL: OPENAI_BASE_URL, apiKey: "local", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello, parrot!" }];
const asked = { model: MODEL, messages, max_tokens: 50, temperature: 0 };

seen.models = (await openai.models.list()).data.map((model) => model.id);
seen.chat = (await openai.chat.completions.create(asked)).choices[0].message.content;
seen.stream = "";
for await (const event of await openai.chat.completions.create({ ...asked, stream: true })) {
  seen.stream += event.choices[0]?.delta?.content ?? "";
}
try {
  await openai.chat.completions.create({ ...asked, model: "no-such-model" });
} catch (error) {
  seen.error = [error.constructor.name, error.status];
}

const endpoint = runpodSdk("local", { baseUrl: RUNPOD_BASE_URL }).endpoint(RUNPOD_ENDPOINT_ID);
const input = { messages, sampling_params: { max_tokens: 50, temperature: 0 } };
const text = (output) => output.map((item) => item.choices[0].tokens.join("")).join("");

const whole = await endpoint.runSync({ input });
seen.runSync = [whole.status, text(whole.output)];
const { id } = await endpoint.run({ input: { ...input, stream: true } });
const pieces = [];
for await (const piece of endpoint.stream(id)) pieces.push(piece.output);
seen.runpodStream = text(pieces);
seen.status = (await endpoint.status(id)).status;
seen.cancel = (await endpoint.cancel(id)).status;
seen.purged = (await endpoint.purgeQueue()).status;
seen.health = Object.keys(await endpoint.health()).sort();

console.log(JSON.stringify(seen));
