"""The store in memory, a verified fake: the contract tests hold it to the same promises as the others.

Every call is done at once, as one transaction of a real store would be.
"""
