"""The elements of WSO2's files that have no effect in this broker: what each may hold, and why it has no effect.

One table lists them by file. So a file that is valid for WSO2's server is valid here, and a wrong value is reported as
for an element in use. An element that gets an effect moves from this table into a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import SecretStr

from broker.config.accepted_beside import BESIDE_BROKER_XML
from broker.config.element_kinds import Accepted, Element, Obsolete, Rule
from broker.config.values import (
    NO_SECRET,
    Address,
    Boolean,
    Count,
    CountOrZero,
    Name,
    Names,
    Port,
    PowerOfTwo,
    SqlStateClasses,
    StoreClass,
    TextMap,
    TlsVersions,
    choice,
)

_DRIVER_CODES: Final = "the drivers' own codes decide"
_HASHES: Final = "nodes of a cluster compare hashes of their topology after changes"
_NO_CACHE: Final = "bodies are in memory or in the store"
_OWN_PAGES: Final = "the console shows lists in pages of its own size"
_EXPIRY: Final = "messages expire when their time is over"
_NO_MQTT: Final = "there is no MQTT here"
_NO_THREADS: Final = "it tunes threads and buffers of Andes"
_NO_TIMER: Final = "messages wait for no timer, they go to another node when it wants them"
_NO_WAIT: Final = "no subscriber waits for another one"
_PER_CHANNEL: Final = "channels are asked to wait one by one, by bufferBased"
_STORE_FORM: Final = "the form of a store is found by its content, its certificates are X.509"
_READ_AHEAD: Final = "what is read ahead of consumers is bounded in bytes (limits.md)"
_READ_BACK: Final = "what is read back at once is bounded in bytes (limits.md)"
_SLOTS: Final = "slots are always kept in the store"
_STORE: Final = "any class of Andes' RDBMS stores means this broker's store"
_WHOLE: Final = "bodies are stored whole, as they are"

# The path of an element from the root of its file, spelled as a model's fields are (`values.xml`). An element marked
# with `*` may stand several times; `*` alone is any element.
ACCEPTED: Final[Mapping[str, Mapping[str, Element]]] = {
    "broker.xml": {
        "coordination/clusterNotificationTimeout": Accepted(Count, 10, "it concerns Hazelcast's topics"),
        "coordination/slotManagement/storage": Accepted(choice("RDBMS", "HazelCast"), "RDBMS", _SLOTS),
        "slotManagement/storage": Accepted(choice("RDBMS", "HazelCast"), "RDBMS", _SLOTS),
        "transports/amqp/sslConnection/keyStore/certType": Accepted(str, "SunX509", _STORE_FORM),
        "transports/amqp/sslConnection/trustStore/certType": Accepted(str, "SunX509", _STORE_FORM),
        "transports/amqp/allowStrictNameValidation": Accepted(Boolean, True, "names are what AMQP allows"),
        "transports/mqtt/@enabled": Accepted(Boolean, False, _NO_MQTT),
        "transports/mqtt/bindAddress": Accepted(Address, "127.0.0.1", _NO_MQTT),
        "transports/mqtt/defaultConnection/@enabled": Accepted(Boolean, True, _NO_MQTT),
        "transports/mqtt/defaultConnection/@port": Accepted(Port, 1883, _NO_MQTT),
        "transports/mqtt/sslConnection/@enabled": Accepted(Boolean, False, _NO_MQTT),
        "transports/mqtt/sslConnection/@port": Accepted(Port, 8883, _NO_MQTT),
        "transports/mqtt/sslConnection/keyStore/location": Accepted(str, "", _NO_MQTT),
        "transports/mqtt/sslConnection/keyStore/password": Accepted(SecretStr, NO_SECRET, _NO_MQTT),
        "transports/mqtt/sslConnection/keyStore/certType": Accepted(str, "SunX509", _NO_MQTT),
        "transports/mqtt/sslConnection/trustStore/location": Accepted(str, "", _NO_MQTT),
        "transports/mqtt/sslConnection/trustStore/password": Accepted(SecretStr, NO_SECRET, _NO_MQTT),
        "transports/mqtt/sslConnection/trustStore/certType": Accepted(str, "SunX509", _NO_MQTT),
        "transports/mqtt/sslConnection/sslEnabledProtocols": Accepted(TlsVersions, ("TLSv1.2", "TLSv1.3"), _NO_MQTT),
        "transports/mqtt/sslConnection/ciphers": Accepted(Names, (), _NO_MQTT),
        "transports/mqtt/inboundBufferSize": Accepted(PowerOfTwo, 32_768, _NO_MQTT),
        "transports/mqtt/deliveryBufferSize": Accepted(PowerOfTwo, 32_768, _NO_MQTT),
        "transports/mqtt/security/authentication": Accepted(choice("OPTIONAL", "REQUIRED"), "OPTIONAL", _NO_MQTT),
        "transports/mqtt/security/authenticator/@class": Accepted(str, "", _NO_MQTT),
        "transports/mqtt/security/authenticator/property[*]": Accepted(TextMap, {}, _NO_MQTT),
        "transports/mqtt/security/authorization": Accepted(
            choice("NOT_REQUIRED", "REQUIRED"), "NOT_REQUIRED", _NO_MQTT
        ),
        "transports/mqtt/security/authorizer/@class": Accepted(str, "", _NO_MQTT),
        "transports/mqtt/security/authorizer/property[*]": Accepted(TextMap, {}, _NO_MQTT),
        "persistence/messageStore/@class": Accepted(
            StoreClass, "org.wso2.andes.store.rdbms.RDBMSMessageStoreImpl", _STORE
        ),
        "persistence/contextStore/@class": Accepted(
            StoreClass, "org.wso2.andes.store.rdbms.RDBMSAndesContextStoreImpl", _STORE
        ),
        "persistence/messageStore/property[storeUnavailableSQLStateClasses]": Accepted(
            SqlStateClasses, ("08",), _DRIVER_CODES
        ),
        "persistence/messageStore/property[integrityViolationSQLStateClasses]": Accepted(
            SqlStateClasses, ("23", "27", "44"), _DRIVER_CODES
        ),
        "persistence/messageStore/property[dataErrorSQLStateClasses]": Accepted(
            SqlStateClasses, ("21", "22"), _DRIVER_CODES
        ),
        "persistence/messageStore/property[transactionRollbackSQLStateClasses]": Accepted(
            SqlStateClasses, ("40",), _DRIVER_CODES
        ),
        "persistence/contextStore/property[storeUnavailableSQLStateClasses]": Accepted(
            SqlStateClasses, ("08",), _DRIVER_CODES
        ),
        "persistence/contextStore/property[integrityViolationSQLStateClasses]": Accepted(
            SqlStateClasses, ("23", "27", "44"), _DRIVER_CODES
        ),
        "persistence/contextStore/property[dataErrorSQLStateClasses]": Accepted(
            SqlStateClasses, ("21", "22"), _DRIVER_CODES
        ),
        "persistence/contextStore/property[transactionRollbackSQLStateClasses]": Accepted(
            SqlStateClasses, ("40",), _DRIVER_CODES
        ),
        "persistence/cache/size": Accepted(CountOrZero, 256, _NO_CACHE),
        "persistence/cache/concurrencyLevel": Accepted(Count, 4, _NO_CACHE),
        "persistence/cache/expirySeconds": Accepted(Count, 2, _NO_CACHE),
        "persistence/cache/valueReferenceType": Accepted(choice("strong", "weak"), "strong", _NO_CACHE),
        "persistence/cache/printStats": Accepted(Boolean, False, _NO_CACHE),
        "persistence/idGenerator": Accepted(
            Name,
            "org.wso2.andes.server.cluster.coordination.TimeStampBasedMessageIdGenerator",
            "the broker makes its message ids itself",
        ),
        "transaction/dbConnectionPoolSize": Accepted(
            Count, 10, "a transaction takes its connection from the store's pool"
        ),
        "transaction/maxWaitTimeout": Accepted(Count, 30, "a commit takes as long as the store needs"),
        "performanceTuning/slots/messageAccumulationTimeout": Accepted(Count, 2000, _NO_TIMER, shipped=(1000,)),
        "performanceTuning/slots/maxSubmitDelay": Accepted(Count, 1000, _NO_TIMER, shipped=(3000,)),
        "performanceTuning/slots/timerPeriod": Accepted(Count, 1000, _NO_TIMER),
        "performanceTuning/slots/deliveryThreadCount": Accepted(Count, 5, _NO_THREADS),
        "performanceTuning/slots/idleTaskDelay": Accepted(CountOrZero, 100, _NO_THREADS),
        "performanceTuning/slots/deleteThreadCount": Accepted(Count, 5, _NO_THREADS),
        "performanceTuning/slots/SlotDeleteQueueDepthWarningThreshold": Accepted(Count, 1000, _NO_THREADS),
        "performanceTuning/delivery/ringBufferSize": Accepted(PowerOfTwo, 4096, _NO_THREADS),
        "performanceTuning/delivery/parallelContentReaders": Accepted(Count, 5, _NO_THREADS),
        "performanceTuning/delivery/parallelDecompressionHandlers": Accepted(Count, 5, _NO_THREADS),
        "performanceTuning/delivery/parallelDeliveryHandlers": Accepted(Count, 5, _NO_THREADS),
        "performanceTuning/ackHandling/ackHandlerCount": Accepted(Count, 1, _NO_THREADS),
        "performanceTuning/ackHandling/ackHandlerBatchSize": Accepted(Count, 100, _NO_THREADS),
        "performanceTuning/contentHandling/contentChunkHandlerCount": Accepted(Count, 3, _NO_THREADS),
        "performanceTuning/inboundEvents/parallelMessageWriters": Accepted(Count, 1, _NO_THREADS),
        "performanceTuning/inboundEvents/bufferSize": Accepted(PowerOfTwo, 65_536, _NO_THREADS),
        "performanceTuning/inboundEvents/messageWriterBatchSize": Accepted(Count, 70, _NO_THREADS),
        "performanceTuning/inboundEvents/purgedCountTimeout": Accepted(Count, 180, _NO_THREADS),
        "performanceTuning/inboundEvents/transactionMessageWriters": Accepted(Count, 1, _NO_THREADS),
        "performanceTuning/delivery/maxNumberOfReadButUndeliveredMessages": Accepted(Count, 1000, _READ_AHEAD),
        "performanceTuning/delivery/contentReadBatchSize": Accepted(Count, 65_000, _READ_AHEAD),
        "performanceTuning/delivery/contentCache/maximumSize": Accepted(CountOrZero, 100, _NO_CACHE),
        "performanceTuning/delivery/contentCache/expiryTime": Accepted(Count, 120, _NO_CACHE),
        "performanceTuning/delivery/topicMessageDeliveryStrategy/strategyName": Accepted(
            choice("DISCARD_NONE", "SLOWEST_SUB_RATE", "DISCARD_ALLOWED"), "DISCARD_NONE", _NO_WAIT
        ),
        "performanceTuning/delivery/topicMessageDeliveryStrategy/deliveryTimeout": Accepted(Count, 60, _NO_WAIT),
        "performanceTuning/ackHandling/maxUnackedMessages": Accepted(
            Count, 1000, "the prefetch count that the client chooses decides"
        ),
        "performanceTuning/contentHandling/maxContentChunkSize": Accepted(Count, 65_500, _WHOLE),
        "performanceTuning/contentHandling/allowCompression": Accepted(Boolean, False, _WHOLE),
        "performanceTuning/contentHandling/contentCompressionThreshold": Accepted(Count, 1000, _WHOLE),
        "performanceTuning/messageExpiration/preDeliveryExpiryDeletionInterval": Accepted(Count, 10, _EXPIRY),
        "performanceTuning/messageExpiration/periodicMessageDeletionInterval": Accepted(Count, 900, _EXPIRY),
        "performanceTuning/messageExpiration/safetySlotCount": Accepted(Count, 3, _EXPIRY),
        "performanceTuning/messageExpiration/messageBatchSize": Accepted(Count, 1000, _EXPIRY),
        "performanceTuning/messageExpiration/checkInterval": Obsolete(
            "use preDeliveryExpiryDeletionInterval and periodicMessageDeletionInterval"
        ),
        "managementConsole/messageBrowsePageSize": Accepted(Count, 100, _OWN_PAGES),
        "managementConsole/maximumMessageDisplayLength": Accepted(Count, 100_000, _OWN_PAGES),
        "managementConsole/allowReRouteAllInDLC": Accepted(Boolean, False, "the console decides by permission"),
        "flowControl/connectionBased/perConnectionMessageThreshold": Accepted(Count, 1000, _PER_CHANNEL),
        "performanceTuning/failover/vHostSyncTaskInterval": Accepted(Count, 3600, _HASHES),
        "recovery/concurrentStorageQueueReads": Accepted(Count, 5, _READ_BACK),
        "recovery/vHostSyncTaskInterval": Accepted(Count, 900, _HASHES),
    },
    **BESIDE_BROKER_XML,
}

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "broker.xml": (
        Rule(
            "transports/mqtt/security/authorization",
            "transports/mqtt/security/authentication",
            lambda authorization, authentication: authorization != "REQUIRED" or authentication == "REQUIRED",
            "REQUIRED needs authentication to be REQUIRED too",
        ),
    ),
}
