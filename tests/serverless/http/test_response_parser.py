"""The parser of the platform's answers, fed as networks do."""

from __future__ import annotations

from worker_vllm.serverless.http.response_parser import MAX_HEAD_BYTES, AnswerParser


def test_a_connection_may_carry_any_number_of_answers_that_arrive_in_parts() -> None:
    """The bound of a head counts from the end of the answer before: a kept connection is not used up."""
    parser = AnswerParser()
    head, body = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"{}"
    for _ in range(2 * MAX_HEAD_BYTES // len(head + body)):
        whole = parser.feed(head + body)
        assert whole is not None
        assert parser.feed(head) is None
        in_parts = parser.feed(body)
        assert in_parts is not None
        assert in_parts.body == whole.body == body
