"""Nodes of our broker as processes of their own, for benchmarks, tests and the demo."""
