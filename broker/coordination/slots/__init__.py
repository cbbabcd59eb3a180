"""Slots between nodes: what a node hands off and asks for, and what the coordinator assigns.

Pure modules decide: `assignment`, `balancer`, `demand`, `handoff`, `owned`, `queue_counts`, `split`. Edges act:
`runner` for every node, `coordinator` and `term` for the one that coordinates, `count_exchange`.
"""
