// The answer as it is generated.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const model = (await client.models.list()).data[0].id;
const stream = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "Hello from a stream" }],
  max_tokens: 100,
  stream: true,
});
for await (const event of stream) process.stdout.write(event.choices[0]?.delta?.content ?? "");
console.log();
