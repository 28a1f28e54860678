"""How jobs arrive: long polls, cancellations, heartbeats, admission."""
