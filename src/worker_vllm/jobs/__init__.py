"""What a job says, and what is said back: pure functions, no I/O."""
