"""The memory of an endpoint's jobs in bytes of JSON text: inputs, unread pieces, results. Pure."""

from __future__ import annotations

from worker_vllm.gateway.state.job import Job, Piece


class HeldMemory:
    """Counts what the jobs hold; every change of a job's pieces or of the size of its result goes through here."""

    def __init__(self) -> None:
        self.bytes = 0

    def add(self, job: Job) -> None:
        """Count a job that is new here."""
        self.bytes += job.held_bytes

    def remove(self, job: Job) -> None:
        """Count a job no more."""
        self.bytes -= job.held_bytes

    def hold_result(self, job: Job, size: int) -> None:
        """Set the size of the job's result, or of its last progress."""
        self.bytes += size - job.result_bytes
        job.result_bytes = size

    def add_piece(self, job: Job, piece: Piece) -> None:
        """Append an unread piece of the job's stream."""
        job.pieces.append(piece)
        job.unread_bytes += piece.size
        self.bytes += piece.size

    def forget_piece(self, job: Job) -> None:
        """Remove the oldest unread piece."""
        size = job.pieces.popleft().size
        job.unread_bytes -= size
        self.bytes -= size

    def forget_pieces(self, job: Job) -> None:
        """Remove all unread pieces."""
        while job.pieces:
            self.forget_piece(job)
