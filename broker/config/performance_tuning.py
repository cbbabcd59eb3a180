"""`performanceTuning` of `broker.xml`: the tuning of slots, delivery and storage (andes.md §1.2.4).

Knows the elements and their defaults. Much of it tunes threads and ring buffers that only Andes has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from broker.config.values import Boolean, Count, CountOrZero, PowerOfTwo, Section, one_of, xml

_STRATEGIES = ("DISCARD_NONE", "SLOWEST_SUB_RATE", "DISCARD_ALLOWED")


class Slots(Section):
    """Cutting each queue's messages into slots, and handing those out."""

    renamed: ClassVar[Mapping[str, str]] = {
        "slotRetainTimeInMemory": "messageAccumulationTimeout",
        "windowCreationTimeout": "maxSubmitDelay",
        "workerThreadCount": "deliveryThreadCount",
    }

    window_size: Count = xml("windowSize", 1000)
    message_accumulation_timeout_ms: Count = xml("messageAccumulationTimeout", 2000)
    max_submit_delay_ms: Count = xml("maxSubmitDelay", 1000)
    delivery_thread_count: Count = xml("deliveryThreadCount", 5)
    idle_task_delay_ms: CountOrZero = xml("idleTaskDelay", 100)
    delete_thread_count: Count = xml("deleteThreadCount", 5)
    slot_delete_queue_depth_warning_threshold: Count = xml("SlotDeleteQueueDepthWarningThreshold", 1000)
    thrift_client_pool_size: Count = xml("thriftClientPoolSize", 10)


class ContentCache(Section):
    """Andes' cache of bodies that several subscribers share."""

    maximum_size: CountOrZero = xml("maximumSize", 100)
    expiry_time: Count = xml("expiryTime", 120)


class TopicMessageDeliveryStrategy(Section):
    """Whether a topic's subscribers wait for the slowest among them."""

    strategy_name: Annotated[Literal["DISCARD_NONE", "SLOWEST_SUB_RATE", "DISCARD_ALLOWED"], one_of(*_STRATEGIES)] = (
        xml("strategyName", "DISCARD_NONE")
    )
    delivery_timeout: Count = xml("deliveryTimeout", 60)


class Delivery(Section):
    """From the store to the consumers."""

    max_number_of_read_but_undelivered_messages: Count = xml("maxNumberOfReadButUndeliveredMessages", 1000)
    ring_buffer_size: PowerOfTwo = xml("ringBufferSize", 4096)
    parallel_content_readers: Count = xml("parallelContentReaders", 5)
    parallel_decompression_handlers: Count = xml("parallelDecompressionHandlers", 5)
    parallel_delivery_handlers: Count = xml("parallelDeliveryHandlers", 5)
    content_read_batch_size_bytes: Count = xml("contentReadBatchSize", 65_000)
    content_cache: ContentCache = xml("contentCache", ContentCache())
    topic_message_delivery_strategy: TopicMessageDeliveryStrategy = xml(
        "topicMessageDeliveryStrategy", TopicMessageDeliveryStrategy()
    )


class AckHandling(Section):
    """What happens between an ack and the deleted message."""

    ack_handler_count: Count = xml("ackHandlerCount", 1)
    ack_handler_batch_size: Count = xml("ackHandlerBatchSize", 100)
    max_unacked_messages: Count = xml("maxUnackedMessages", 1000)


class ContentHandling(Section):
    """How bodies are cut and stored."""

    content_chunk_handler_count: Count = xml("contentChunkHandlerCount", 3)
    max_content_chunk_size_bytes: Count = xml("maxContentChunkSize", 65_500)
    allow_compression: Boolean = xml("allowCompression", False)
    content_compression_threshold_bytes: Count = xml("contentCompressionThreshold", 1000)


class InboundEvents(Section):
    """From the publishers to the store."""

    parallel_message_writers: Count = xml("parallelMessageWriters", 1)
    buffer_size: PowerOfTwo = xml("bufferSize", 65_536)
    message_writer_batch_size: Count = xml("messageWriterBatchSize", 70)
    purged_count_timeout: Count = xml("purgedCountTimeout", 180)
    transaction_message_writers: Count = xml("transactionMessageWriters", 1)


class MessageExpiration(Section):
    """What becomes of expired messages, and when."""

    obsolete: ClassVar[Mapping[str, str]] = {
        "checkInterval": "use preDeliveryExpiryDeletionInterval and periodicMessageDeletionInterval"
    }

    pre_delivery_expiry_deletion_interval: Count = xml("preDeliveryExpiryDeletionInterval", 10)
    periodic_message_deletion_interval: Count = xml("periodicMessageDeletionInterval", 900)
    safety_slot_count: Count = xml("safetySlotCount", 3)
    move_expired_messages_to_dlc: Boolean = xml("moveExpiredMessagesToDLC", False)
    expire_messages_in_dlc: Boolean = xml("expireMessagesInDLC", False)
    message_batch_size: Count = xml("messageBatchSize", 1000)


class PerformanceTuning(Section):
    """Sizes and rhythms inside the broker."""

    slots: Slots = xml("slots", Slots())
    delivery: Delivery = xml("delivery", Delivery())
    ack_handling: AckHandling = xml("ackHandling", AckHandling())
    content_handling: ContentHandling = xml("contentHandling", ContentHandling())
    inbound_events: InboundEvents = xml("inboundEvents", InboundEvents())
    message_expiration: MessageExpiration = xml("messageExpiration", MessageExpiration())
