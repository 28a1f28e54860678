"""An answer that follows a JSON schema."""

import json

from openai import OpenAI

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z ]{1,40}$"},
        "age": {"type": "integer", "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def main() -> None:
    """Ask, and print the fields."""
    client = OpenAI()
    answer = client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[{"role": "user", "content": "Ada Lovelace died at 36."}],
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}},
        max_tokens=200,
    )
    print(sorted(json.loads(answer.choices[0].message.content or "{}")))


if __name__ == "__main__":
    main()
