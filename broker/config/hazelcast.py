"""`hazelcast.properties`: how soon a member that is silent counts as gone, where nodes meet as peers (andes §1.6)."""

from __future__ import annotations

from broker.config.values import Count, Section, xml


class Hazelcast(Section):
    """What of the file has an effect; in seconds."""

    heartbeat_interval: Count = xml("hazelcast.heartbeat.interval.seconds", 5)
    max_no_heartbeat: Count = xml("hazelcast.max.no.heartbeat.seconds", 600)
