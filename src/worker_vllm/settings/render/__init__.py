"""The catalogue as documentation and forms: everything here is generated, and CI tells when it is stale."""
