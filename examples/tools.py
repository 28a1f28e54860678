"""The model calls a function of ours; its arguments follow the schema."""

import json

from openai import OpenAI

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "strict": True,
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "pattern": "^[A-Za-z ]{1,40}$"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]


def main() -> None:
    """Ask, and print the call."""
    client = OpenAI()
    answer = client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[{"role": "user", "content": "How is the weather in Oslo?"}],
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        max_tokens=200,
    )
    for call in answer.choices[0].message.tool_calls or []:
        print(call.function.name, sorted(json.loads(call.function.arguments)))


if __name__ == "__main__":
    main()
