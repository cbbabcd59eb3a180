"""`brokerctl`: the command line of operators, which asks nodes over their control socket or HTTP."""
