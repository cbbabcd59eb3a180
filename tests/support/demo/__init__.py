"""A cluster to look at: starts nodes, gives them work, shows them and lets you kill them by a key."""
