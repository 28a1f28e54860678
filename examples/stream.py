"""The answer as it is generated, and what it cost."""

from openai import OpenAI

client = OpenAI()
stream = client.chat.completions.create(
    model=client.models.list().data[0].id,
    messages=[{"role": "user", "content": "Hello from a stream"}],
    max_tokens=100,
    stream=True,
    stream_options={"include_usage": True},
)
for event in stream:
    if event.choices:
        print(event.choices[0].delta.content or "", end="", flush=True)
    elif event.usage:
        print(f"\n{event.usage.prompt_tokens} tokens in, {event.usage.completion_tokens} out")
