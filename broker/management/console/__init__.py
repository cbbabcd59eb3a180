"""The console: pages for people, made from the answers of the HTTP API."""
