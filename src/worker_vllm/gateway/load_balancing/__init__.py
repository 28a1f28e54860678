"""Load-balancing endpoints: `/lb/ID/…` forwards requests to ready workers in http mode."""
