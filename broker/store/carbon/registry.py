"""The registry's rows of collections: that a queue, a topic or a subscription exists, and whose it is.

Plain functions over a connection. Everything here may be done twice with the effect of once, but for counts of users.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from broker.store.carbon.tables import (
    REG_LOG,
    REG_PATH,
    REG_PROPERTY,
    REG_RESOURCE,
    REG_RESOURCE_PROPERTY,
    TENANT,
    equal,
    now,
)
from broker.store.carbon.writing import writing

FORBIDDEN: Final = frozenset("~!@#;%^*+={}|\\<>\",'")
"""Characters that WSO2's registry refuses in a path."""
USER_COUNT: Final = "userCount"
SYSTEM_USER: Final = "wso2.system.user"
MOST_TOPICS: Final = 100_000
_ADDED, _DELETED = 0, 7
_ROOT_PARENT: Final = -1


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection to be made; `properties` are texts, as WSO2 writes them."""

    path: str
    properties: Mapping[str, str]


def can_be_registered(path: str) -> bool:
    """May the registry have a path like this?"""
    return FORBIDDEN.isdisjoint(path) and "//" not in path and not path.endswith("/")


def add_collection(connection: Connection, made: Collection, *, versioned: bool) -> None:
    """Make a collection, and those above it; one that is there gets a user more, if its users are counted.

    With `versioned` properties belong to a version of the collection, otherwise to its path.
    """
    with writing(connection):
        path_id, is_new = _ensure(connection, made.path)
        if is_new:
            _add_properties(connection, path_id, made.properties, versioned=versioned)
        elif USER_COUNT in made.properties:
            _count(connection, path_id, +1, versioned=versioned)


def remove_collection(connection: Connection, path: str, *, versioned: bool, counted: bool) -> bool:
    """Remove a collection with everything below it; return whether it is gone.

    One whose users are `counted` goes with the last of them. Rows of paths stay: other nodes remember their ids.
    """
    with writing(connection):
        path_id = _path_id(connection, path)
        if path_id is None or _version(connection, path_id) is None:
            return True
        if counted and _count(connection, path_id, -1, versioned=versioned) > 0:
            return False
        ids = select(REG_PATH.c.REG_PATH_ID).where(
            or_(equal(REG_PATH.c.REG_PATH_VALUE, path), REG_PATH.c.REG_PATH_VALUE.like(_below(path), escape="\\")),
            REG_PATH.c.REG_TENANT_ID == TENANT,
        )
        doomed = [row[0] for row in connection.execute(ids)]
        _remove(connection, doomed)
        _log(connection, path, _DELETED)
        return True


def load_topics(connection: Connection, top: str) -> list[str]:
    """Return the paths of the topics below `top`, without those of their subscriptions."""
    path, resource = REG_PATH.c, REG_RESOURCE.c
    joined = REG_PATH.join(
        REG_RESOURCE,
        (resource.REG_PATH_ID == path.REG_PATH_ID) & (resource.REG_TENANT_ID == path.REG_TENANT_ID),
    )
    statement = (
        select(path.REG_PATH_VALUE)
        .select_from(joined)
        .where(
            path.REG_TENANT_ID == TENANT,
            resource.REG_NAME.is_(None),
            path.REG_PATH_VALUE.like(_below(top), escape="\\"),
            ~path.REG_PATH_VALUE.like("%/jms.subscriptions%"),
        )
        .limit(MOST_TOPICS)
    )
    return [row[0] for row in connection.execute(statement)]


# Paths and resources


def _ancestors(path: str) -> Iterator[str]:
    """Yield the path of each collection down to this one, from the root on."""
    yield "/"
    parts = path.strip("/").split("/")
    for length in range(1, len(parts) + 1):
        yield "/" + "/".join(parts[:length])


def _ensure(connection: Connection, path: str) -> tuple[int, bool]:
    """Return the id of a path whose collection is there now, and whether it was made."""
    parent, is_new = _ROOT_PARENT, False
    for each in _ancestors(path):
        path_id = _path_id(connection, each)
        if path_id is None:
            connection.execute(
                insert(REG_PATH).values(REG_PATH_VALUE=each, REG_PATH_PARENT_ID=parent, REG_TENANT_ID=TENANT)
            )
            path_id = _path_id(connection, each)
        assert path_id is not None
        is_new = _version(connection, path_id) is None
        if is_new:
            _add_resource(connection, path_id)
            _log(connection, each, _ADDED)
        parent = path_id
    return parent, is_new


def _path_id(connection: Connection, path: str) -> int | None:
    """Return the id of a path, of one that is spelled so if there are several: MySQL's comparison ignores case."""
    column = REG_PATH.c
    statement = select(column.REG_PATH_ID, column.REG_PATH_VALUE).where(
        equal(column.REG_PATH_VALUE, path), column.REG_TENANT_ID == TENANT
    )
    found = list(connection.execute(statement.order_by(column.REG_PATH_ID)))
    exact = {value: path_id for path_id, value in reversed(found)}
    return exact.get(path, found[0][0] if found else None)


def _is_collection(path_id: int) -> list[ColumnElement[bool]]:
    column = REG_RESOURCE.c
    return [equal(column.REG_PATH_ID, path_id), column.REG_NAME.is_(None), column.REG_TENANT_ID == TENANT]


def _version(connection: Connection, path_id: int) -> int | None:
    """Return the version of a collection; None when only its path is there."""
    found: int | None = connection.scalar(select(func.max(REG_RESOURCE.c.REG_VERSION)).where(*_is_collection(path_id)))
    return found


def _add_resource(connection: Connection, path_id: int) -> None:
    time = now(connection.dialect)
    connection.execute(
        insert(REG_RESOURCE).values(
            REG_PATH_ID=path_id,
            REG_CREATOR=SYSTEM_USER,
            REG_CREATED_TIME=time,
            REG_LAST_UPDATOR=SYSTEM_USER,
            REG_LAST_UPDATED_TIME=time,
            REG_TENANT_ID=TENANT,
            REG_UUID=str(uuid.uuid4()),
        )
    )


def _remove(connection: Connection, path_ids: list[int]) -> None:
    """Remove the resources of these paths, with their properties."""
    resource, link = REG_RESOURCE.c, REG_RESOURCE_PROPERTY.c
    rows = connection.execute(
        select(resource.REG_VERSION).where(resource.REG_PATH_ID.in_(path_ids), resource.REG_TENANT_ID == TENANT)
    )
    versions = [row[0] for row in rows]
    linked = or_(link.REG_VERSION.in_(versions), link.REG_PATH_ID.in_(path_ids))
    ids = [
        row[0] for row in connection.execute(select(link.REG_PROPERTY_ID).where(linked, link.REG_TENANT_ID == TENANT))
    ]
    connection.execute(delete(REG_RESOURCE_PROPERTY).where(linked, link.REG_TENANT_ID == TENANT))
    connection.execute(
        delete(REG_PROPERTY).where(REG_PROPERTY.c.REG_ID.in_(ids), REG_PROPERTY.c.REG_TENANT_ID == TENANT)
    )
    connection.execute(delete(REG_RESOURCE).where(resource.REG_PATH_ID.in_(path_ids), resource.REG_TENANT_ID == TENANT))


def _log(connection: Connection, path: str, action: int) -> None:
    connection.execute(
        insert(REG_LOG).values(
            REG_PATH=path,
            REG_USER_ID=SYSTEM_USER,
            REG_LOGGED_TIME=now(connection.dialect),
            REG_ACTION=action,
            REG_TENANT_ID=TENANT,
        )
    )


def _below(path: str) -> str:
    """Return the LIKE pattern of what lies below a path."""
    for special in ("\\", "%", "_"):
        path = path.replace(special, f"\\{special}")
    return f"{path}/%"


# Properties


def _link_of(connection: Connection, path_id: int, versioned: bool) -> dict[str, Any]:
    """Return how a property refers to a collection."""
    if versioned:
        return {"REG_VERSION": _version(connection, path_id)}
    return {"REG_PATH_ID": path_id}


def _add_properties(connection: Connection, path_id: int, properties: Mapping[str, str], *, versioned: bool) -> None:
    link = _link_of(connection, path_id, versioned)
    column = REG_PROPERTY.c
    for name, value in properties.items():
        connection.execute(insert(REG_PROPERTY).values(REG_NAME=name, REG_VALUE=value, REG_TENANT_ID=TENANT))
        made = connection.scalar(
            select(func.max(column.REG_ID)).where(equal(column.REG_NAME, name), column.REG_TENANT_ID == TENANT)
        )
        connection.execute(insert(REG_RESOURCE_PROPERTY).values(REG_PROPERTY_ID=made, REG_TENANT_ID=TENANT, **link))


def _count(connection: Connection, path_id: int, step: int, *, versioned: bool) -> int:
    """Change the count of users of a collection; return how many there are now, 0 when they are not counted."""
    link, column = REG_RESOURCE_PROPERTY.c, REG_PROPERTY.c
    conditions = [link[name] == value for name, value in _link_of(connection, path_id, versioned).items()]
    joined = REG_RESOURCE_PROPERTY.join(REG_PROPERTY, column.REG_ID == link.REG_PROPERTY_ID)
    statement = select(column.REG_ID, column.REG_VALUE).select_from(joined)
    row = connection.execute(
        statement.where(column.REG_NAME == USER_COUNT, link.REG_TENANT_ID == TENANT, *conditions)
    ).first()
    if row is None or not str(row.REG_VALUE).isdigit():
        return 0
    count = max(0, int(row.REG_VALUE) + step)
    connection.execute(update(REG_PROPERTY).where(column.REG_ID == row.REG_ID).values(REG_VALUE=str(count)))
    return count
