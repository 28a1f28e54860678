"""The outputs of a job: framing, batching, size limits, and errors in the form of the job's route."""
