"""The SQL that every database shares: plain functions over an SQLAlchemy connection, without a driver of their own.

The caller of such a function holds the transaction: it commits, or rolls all of it back after an error.
"""
