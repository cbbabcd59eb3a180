"""WSO2's own tables of users and of its registry, in a database that its products may use at the same time (ADR 52)."""
