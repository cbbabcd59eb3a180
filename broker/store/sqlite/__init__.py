"""The embedded store: one SQLite file, with large bodies in files beside it."""
