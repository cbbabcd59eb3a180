"""A cluster to look at: `--cluster-demo 3` starts nodes, gives them work, shows them and lets you kill them.

Imports nothing, so that naming a part of it costs no other.
"""
