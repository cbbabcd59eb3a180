/*
 * The slot service between nodes: those of Andes' methods that nodes use, under their names and ids (andes §3.2), and
 * more. Any other method is answered with TApplicationException UNKNOWN_METHOD, those of Andes too.
 *
 * Andes' own part has field ids below 16 and declared no exceptions. What this broker adds to it is optional and has
 * higher ids in argument lists and ids from 7 on in SlotInfo. A caller that sends a CallContext knows all of this file;
 * any other is answered exactly as Andes would, with TApplicationException for every error.
 */
namespace java org.wso2.andes.thrift.slot.gen

/* A slot as it is assigned. endMessageId 0 means that there is no slot. */
struct SlotInfo {
  1: optional i64 messageCount,
  2: i64 startMessageId,
  3: i64 endMessageId,
  4: string queueName,
  5: string assignedNodeId,
  6: bool hasOverlappingSlots,
  7: optional i32 lane,
  8: optional i64 queueId,
  9: optional bool maybeDelivered,
  10: optional bool hasTransient,
  11: optional i64 epoch,
  12: optional string term,
  13: optional string requestId
}

/* Who calls, in which life, whom it takes for the coordinator; a repeated call has the same requestId. A node whose
 * life is not the callee's answers Unavailable. */
struct CallContext {
  1: optional string incarnation,
  2: optional string requestId,
  3: optional i64 epoch,
  4: optional string term,
  5: optional string callee,
  6: optional i64 session,
  7: optional i64 poll
}

/* What updateMessageId tells of a slot beyond its range. */
struct SlotTraits {
  1: optional i32 lane,
  2: optional i64 messageCount,
  3: optional bool maybeDelivered,
  4: optional bool hasTransient
}

/* So many messages of a queue are wanted. */
struct QueueDemand {
  1: string queueName,
  2: optional i64 queueId,
  3: i64 messageCount,
  /* The highest x-priority of the consumers that would take them. */
  4: optional i64 priority
}

/* The answer of a long poll: slots for the caller, and queues of which others want the caller's messages. The number
 * grows from one answer with such queues to the next. */
struct SlotSupply {
  1: list<SlotInfo> slots,
  2: list<QueueDemand> wantedElsewhere,
  3: i64 epoch,
  4: string term,
  5: optional i64 number
}

/* How many ready messages and consumers a queue has somewhere. */
struct QueueCount {
  1: i64 queueId,
  2: i64 messageCount,
  3: i64 consumerCount,
  /* When a client used a queue with x-expires last, in milliseconds since 1970. */
  4: optional i64 usedAt,
  /* Octets of the bodies of these messages, of a queue with x-max-length-bytes. */
  5: optional i64 octets
}

/* A message for the channel that consumes replies at this address. Without a header it continues the one before. */
struct Reply {
  1: string virtualHost,
  2: string address,
  3: binary routing,
  4: optional binary header,
  5: binary body
}

/* Figures of the node that is asked: an array of JSON, and the place in the whole list where it goes on; 0 at its end. */
struct FigurePage {
  1: binary rows,
  2: i64 following
}

/* A change of topology, as the database has it: its place in the sequence, who made it, and what it is. */
struct TopologyEvent {
  1: i64 eventId,
  2: string nodeId,
  3: string incarnation,
  4: binary payload
}

/* This node is not the coordinator; host and port are those of the one it knows, if it knows one. */
exception NotCoordinator {
  1: string text,
  2: optional string host,
  3: optional i32 port,
  4: optional i64 epoch
}

/* The peer has not shown that it knows the shared secret. */
exception Unauthorized {
  1: string text
}

/* The node cannot do it now; the same call may succeed later. */
exception Unavailable {
  1: string text
}

service SlotManagementService {
  SlotInfo getSlotInfo(1: string queueName, 2: string nodeId, 16: CallContext context, 17: i64 queueId)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  void updateMessageId(1: string queueName, 2: string nodeId, 3: i64 startMessageId, 4: i64 endMessageId,
                       5: i64 localSafeZone, 16: CallContext context, 17: i64 queueId, 18: SlotTraits traits)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* A long poll: answered when there is something to tell, at the latest after waitMs. */
  SlotSupply awaitSlots(1: string nodeId, 2: list<QueueDemand> hungry, 3: i64 waitMs, 16: CallContext context)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* Topology events up to this id are recorded. Answered with the last id applied, when that is at least this one. Some
   * of these events may come along, in their order; who has missed others before them reads all from the database. */
  i64 pushEvents(1: string nodeId, 2: i64 lastEventId, 16: CallContext context, 17: list<TopologyEvent> events)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* The coordinator of this epoch and term has resigned. */
  void hint(1: string nodeId, 2: i64 epoch, 3: string term, 16: CallContext context)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* The caller reaches this node; isServed when the coordinator answers the caller, who has applied the topology events
   * up to lastEventId. */
  void contact(1: string nodeId, 2: bool isServed, 16: CallContext context, 17: i64 lastEventId)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* Give so many ready messages of a queue away; answered with how many there were to give. */
  i64 surrender(1: string queueName, 2: string nodeId, 3: i64 messageCount, 16: CallContext context, 17: i64 queueId)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* Delete the ready messages of a queue that lie on the node that is asked; answered with how many there were. Refused
   * when the node has purged by an event later than this one, the last that the caller has applied. */
  i64 purgeQueue(1: string queueName, 2: string nodeId, 16: CallContext context, 17: i64 queueId,
                 18: optional i64 lastEventId)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* What lies on the caller; answered with what lies everywhere else. */
  list<QueueCount> exchangeCounts(1: string nodeId, 2: list<QueueCount> counts, 16: CallContext context)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* Replies for channels of the node that is asked; answered with whether each has got its own. Calls are numbered. */
  list<bool> deliverReplies(1: string nodeId, 2: i64 call, 3: list<Reply> replies, 16: CallContext context)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* Does a channel of the node that is asked consume replies at this address? */
  bool awaitsReply(1: string nodeId, 2: string virtualHost, 3: string address, 16: CallContext context)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* What operators see of the node that is asked: figures of one kind, from a place in its list on. */
  FigurePage readFigures(1: string nodeId, 2: string kind, 3: i64 start, 16: CallContext context)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* Cancel delayed messages that the node that is asked has, or, with a time in milliseconds since 1970, move them to it.
   * Answered for each with 0: not there, -1: cancelled, -2: it has gone on, or the new id of one that was moved. */
  list<i64> changeDelayed(1: string nodeId, 2: string virtualHost, 3: list<i64> ids, 4: i64 due, 16: CallContext context)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* Do what an operator of the caller wants with what the node that is asked has; arguments and answer are JSON. */
  binary operate(1: string nodeId, 2: string operation, 3: binary given, 16: CallContext context)
    throws (1: NotCoordinator notCoordinator, 2: Unauthorized unauthorized, 3: Unavailable unavailable),

  /* With a shared secret these two come first on every connection: nonce for nonce, then proof for proof. */
  binary challenge(1: binary clientNonce) throws (1: Unauthorized unauthorized),
  binary authenticate(1: binary clientProof) throws (1: Unauthorized unauthorized)
}
