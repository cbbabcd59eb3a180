"""Which topics there are in WSO2's tables: facts about all users, which a binding and a publish depend on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

MOST_TOPICS: Final = 100_000
"""Topics that are remembered."""


class Topics:
    """The roles of topics, and the collections that the registry has of them."""

    def __init__(self) -> None:
        self._made: set[str] = set()  # by this node, where no registry has them
        self._roles: set[str] = set()
        self._resources: set[str] | None = None

    @property
    def is_registered(self) -> bool:
        """Does a registry say which topics there are?"""
        return self._resources is not None

    def has_role(self, role: str) -> bool:
        """Is there this role of a topic?"""
        return role.lower() in self._roles

    def exists(self, resource: str) -> bool:
        """Does the registry have the topic with this resource?"""
        return self._resources is not None and resource in self._resources

    def is_known(self, resource: str) -> bool:
        """Does the registry have the topic, or has this node made it?"""
        return self.exists(resource) or resource in self._made

    def set_roles(self, roles: Collection[str]) -> None:
        """These roles of topics are there."""
        self._roles = {role.lower() for role in roles}

    def set_resources(self, resources: Collection[str]) -> bool:
        """The registry has these topics; return whether that is news."""
        found = set(resources)
        is_news = found != self._resources
        self._resources = found
        return is_news

    def add(self, resource: str, role: str = "") -> None:
        """A topic is there from now on, and its role if it has one."""
        known = self._made if self._resources is None else self._resources
        if len(known) < MOST_TOPICS:
            known.add(resource)
        if role:
            self._roles.add(role.lower())
