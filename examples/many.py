"""Fifty questions at once, answered in order."""

import asyncio

from openai import AsyncOpenAI


async def main() -> None:
    """Ask all, and print how many answers came."""
    async with AsyncOpenAI() as client:
        model = (await client.models.list()).data[0].id

        async def ask(number: int) -> str:
            question = f"question {number}"
            answer = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], max_tokens=50
            )
            return answer.choices[0].message.content or ""

        answers = await asyncio.gather(*(ask(number) for number in range(50)))
    print(len(answers), "answers; the last:", answers[-1])


if __name__ == "__main__":
    asyncio.run(main())
