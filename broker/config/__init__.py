"""Configuration: WSO2's files, read once into frozen and validated sections."""

from broker.config.configuration import Configuration
from broker.config.loading import Loaded, load
from broker.config.rendering import show

__all__ = ["Configuration", "Loaded", "load", "show"]
