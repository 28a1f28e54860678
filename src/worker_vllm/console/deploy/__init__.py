"""Deploy: the form, its validation, what it amounts to, and the endpoints that are started from it."""
