"""`hazelcast.properties`: the overrides of Hazelcast's settings that Andes ships (andes.md §1.6).

Knows the properties and their defaults. This broker's nodes meet in the database, so nothing here has an effect.
"""

from __future__ import annotations

from typing import ClassVar

from broker.config.values import Boolean, Count, Section, xml


class Hazelcast(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    max_no_heartbeat_seconds: Count = xml("hazelcast.max.no.heartbeat.seconds", 600)
    max_no_master_confirmation_seconds: Count = xml("hazelcast.max.no.master.confirmation.seconds", 900)
    merge_first_run_delay_seconds: Count = xml("hazelcast.merge.first.run.delay.seconds", 60)
    merge_next_run_delay_seconds: Count = xml("hazelcast.merge.next.run.delay.seconds", 30)
    shutdownhook_enabled: Boolean = xml("hazelcast.shutdownhook.enabled", False)
    logging_type: str = xml("hazelcast.logging.type", "")
