"""The way between nodes: Andes' slot service over Thrift, and what this broker adds to it (ADR 18)."""
