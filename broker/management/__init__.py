"""How people and their programs look at a node and steer it."""
