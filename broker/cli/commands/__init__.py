"""The commands of `brokerctl`, a module for each kind of thing."""
