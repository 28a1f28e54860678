"""What is kept of the engine's starts and deaths: receipts of starts, and crash bundles."""
