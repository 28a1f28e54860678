// A question and its answer.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const model = (await client.models.list()).data[0].id;
const answer = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "Hello from JavaScript" }],
  max_tokens: 100,
});
console.log(answer.choices[0].message.content);
