"""Configuration: WSO2's files, read once into frozen and validated sections (`loading`)."""
