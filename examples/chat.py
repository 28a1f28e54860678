"""A question and its answer."""

from openai import OpenAI

client = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY
model = client.models.list().data[0].id
answer = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": "Hello from Python"}], max_tokens=100
)
print(answer.choices[0].message.content)
