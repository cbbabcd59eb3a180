"""The JMS clients of WSO2 and Qpid against this broker: `make jms`."""
