"""Running a job: the requests that are sent to the engine and the responses that are read."""
