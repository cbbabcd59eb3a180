"""A database of WSO2's message broker: found, looked at, set aside, and read."""
