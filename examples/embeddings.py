"""The nearest of three texts, by the cosine of their vectors."""

from math import sqrt

from openai import OpenAI


def cosine(left: list[float], right: list[float]) -> float:
    """1 for the same direction."""
    product = sum(a * b for a, b in zip(left, right, strict=True))
    return product / sqrt(sum(a * a for a in left) * sum(b * b for b in right))


def main() -> None:
    """Embed a question and three texts, and print the nearest."""
    client = OpenAI()
    question, texts = "Where is Oslo?", ["Where is Oslo?", "A recipe for bread", "The price of gold"]
    model = client.models.list().data[0].id
    found = client.embeddings.create(model=model, input=[question, *texts])
    vectors = [one.embedding for one in found.data]
    print(max(zip(texts, vectors[1:], strict=True), key=lambda pair: cosine(vectors[0], pair[1]))[0])


if __name__ == "__main__":
    main()
