package cordillera;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Enumeration;
import java.util.Map;
import javax.jms.BytesMessage;
import javax.jms.Connection;
import javax.jms.DeliveryMode;
import javax.jms.MapMessage;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.ObjectMessage;
import javax.jms.Queue;
import javax.jms.QueueBrowser;
import javax.jms.Session;
import javax.jms.StreamMessage;
import javax.jms.TemporaryQueue;
import javax.jms.TextMessage;

/** Queues: what is sent, in which order it comes, who gets it, and who only looks. */
final class QueueCases {
    static void addTo(Map<String, Main.Case> cases) {
        cases.put("queue", QueueCases::messagesComeInOrder);
        cases.put("nosub", QueueCases::aQueueNobodyDeclaredKeepsNothing);
        cases.put("noroute", QueueCases::anUnroutableMessageIsToldToTheListener);
        cases.put("qtypes", QueueCases::allKindsOfMessagesAndProperties);
        cases.put("reqrep", QueueCases::aReplyComesToATemporaryQueue);
        cases.put("multi", QueueCases::aSessionHasSeveralConsumers);
        cases.put("mixed", QueueCases::namesKeepTheirCase);
        cases.put("prefetch", QueueCases::aSlowConsumerHoldsFewMessages);
        cases.put("closed", QueueCases::aClosedConsumerGivesBackInOrder);
        cases.put("browse", QueueCases::browsingTakesNothing);
        cases.put("browsesel", QueueCases::browsingWithASelector);
        cases.put("expiry", QueueCases::whatIsOverIsGone);
    }

    private static void messagesComeInOrder(World world) throws Exception {
        Session session = world.session();
        Queue queue = world.queue("q");
        World.declare(session, queue);
        for (int number = 0; number < 10; number++) World.sendWith(session, queue, "n", number, "" + number);
        MessageConsumer consumer = session.createConsumer(queue);
        for (int number = 0; number < 10; number++) {
            Message message = consumer.receive(World.COMES);
            world.same("text", "" + number, World.text(message));
            world.same("property", number, message == null ? null : message.getObjectProperty("n"));
        }
        world.same("the rest", "", World.take(consumer, 0));
    }

    private static void aQueueNobodyDeclaredKeepsNothing(World world) throws Exception {
        Session session = world.session();
        Queue queue = world.queue("q");
        World.send(session, queue, "lost");
        Thread.sleep(300);
        world.same("what a later consumer gets", "", World.take(session.createConsumer(queue), 0));
        world.same("listeners are told", 1, world.heard.size());
        world.heard.clear();
    }

    private static void anUnroutableMessageIsToldToTheListener(World world) throws Exception {
        Session session = world.session();
        World.send(session, world.queue("nobody"), "back");
        for (int tries = 0; tries < 50 && world.heard.isEmpty(); tries++) Thread.sleep(100);
        world.same("exceptions", 1, world.heard.size());
        String told = world.heard.isEmpty() ? "" : world.heard.get(0) + " " + world.heard.get(0).getLinkedException();
        world.holds("told as without a route: " + told, told.contains("312") || told.contains("NO_ROUTE") || told.contains("NoRoute"));
        world.heard.clear();
        Queue queue = world.queue("q");
        MessageConsumer consumer = session.createConsumer(queue);
        World.send(session, queue, "on");
        world.same("the session lives on", "on", World.next(consumer));
    }

    private static void allKindsOfMessagesAndProperties(World world) throws Exception {
        Session session = world.session();
        Queue queue = world.queue("q");
        MessageConsumer consumer = session.createConsumer(queue);
        MessageProducer producer = session.createProducer(queue);
        MapMessage map = session.createMapMessage();
        map.setString("a", "b");
        map.setLong("l", 7L);
        producer.send(map);
        world.same("map", 7L, ((MapMessage) consumer.receive(World.COMES)).getLong("l"));
        BytesMessage octets = session.createBytesMessage();
        octets.writeBytes(new byte[300_000]);
        producer.send(octets);
        world.same("octets", 300_000L, ((BytesMessage) consumer.receive(World.COMES)).getBodyLength());
        StreamMessage stream = session.createStreamMessage();
        stream.writeInt(5);
        stream.writeString("s");
        producer.send(stream);
        StreamMessage streamed = (StreamMessage) consumer.receive(World.COMES);
        world.same("stream", "5s", streamed.readInt() + streamed.readString());
        ObjectMessage object = session.createObjectMessage(new ArrayList<>(Arrays.asList("x")));
        producer.send(object);
        world.same("object", "[x]", ((ObjectMessage) consumer.receive(World.COMES)).getObject().toString());
        producer.send(session.createTextMessage("größer €"));
        world.same("text", "größer €", World.next(consumer));
        producer.send(session.createTextMessage(""));
        world.same("empty text", "", World.next(consumer));
        checkProperties(world, session, queue, producer, consumer);
    }

    private static void checkProperties(
            World world, Session session, Queue queue, MessageProducer producer, MessageConsumer consumer)
            throws Exception {
        TextMessage sent = session.createTextMessage("t");
        sent.setJMSCorrelationID("c1");
        sent.setJMSReplyTo(queue);
        sent.setJMSType("ty");
        Object[][] properties = {
            {"text", "plain"}, {"accent", "é"}, {"bool", true}, {"byte", (byte) 3}, {"short", (short) 4}, {"int", -5},
            {"long", 1L << 40}, {"float", 2.5f}, {"double", 1.5},
        };
        for (Object[] property : properties) sent.setObjectProperty((String) property[0], property[1]);
        producer.send(sent, DeliveryMode.NON_PERSISTENT, 7, 60_000);
        Message got = consumer.receive(World.COMES);
        for (Object[] property : properties)
            world.same("property " + property[0], property[1], got.getObjectProperty((String) property[0]));
        world.same("correlation id", "c1", got.getJMSCorrelationID());
        world.same("type", "ty", got.getJMSType());
        world.same("priority", 7, got.getJMSPriority());
        world.same("delivery mode", DeliveryMode.NON_PERSISTENT, got.getJMSDeliveryMode());
        world.same("message id", sent.getJMSMessageID(), got.getJMSMessageID());
        world.same("expiration", sent.getJMSExpiration(), got.getJMSExpiration());
        world.same("timestamp", sent.getJMSTimestamp(), got.getJMSTimestamp());
        world.same("reply to", queue.getQueueName(), ((Queue) got.getJMSReplyTo()).getQueueName());
        world.holds("destination " + got.getJMSDestination(), got.getJMSDestination() instanceof Queue
            && got.getJMSDestination().toString().contains(queue.getQueueName()));
    }

    private static void aReplyComesToATemporaryQueue(World world) throws Exception {
        Session client = world.session(), server = world.session();
        Queue queue = world.queue("q");
        MessageConsumer requests = server.createConsumer(queue);
        TemporaryQueue replies = client.createTemporaryQueue();
        MessageConsumer consumer = client.createConsumer(replies);
        TextMessage request = client.createTextMessage("ask");
        request.setJMSReplyTo(replies);
        client.createProducer(queue).send(request);
        Message got = requests.receive(World.COMES);
        World.send(server, got.getJMSReplyTo(), "answer");
        world.same("reply", "answer", World.next(consumer));
        consumer.close();
        replies.delete();
    }

    private static void aSessionHasSeveralConsumers(World world) throws Exception {
        Session session = world.session();
        Queue first = world.queue("a"), second = world.queue("b");
        MessageConsumer ofFirst = session.createConsumer(first), ofSecond = session.createConsumer(second);
        World.send(session, first, "a");
        World.send(session, second, "b");
        world.same("of the second", "b", World.next(ofSecond));
        world.same("of the first", "a", World.next(ofFirst));
    }

    private static void namesKeepTheirCase(World world) throws Exception {
        Session session = world.session();
        Queue queue = world.queue("MixedCase"), other = world.queue("mixedcase");
        MessageConsumer consumer = session.createConsumer(queue), ofTopic = session.createConsumer(world.topic("MixedTopic"));
        World.declare(session, other);
        World.send(session, queue, "q");
        World.send(session, world.topic("MixedTopic"), "t");
        world.same("queue", "q", World.next(consumer));
        world.same("topic", "t", World.next(ofTopic));
    }

    private static void aSlowConsumerHoldsFewMessages(World world) throws Exception {
        Connection connection = world.connect(world.url + "&maxprefetch='2'");
        Queue queue = world.queue("q");
        Session slow = World.session(connection, Session.AUTO_ACKNOWLEDGE);
        Session quick = World.session(connection, Session.AUTO_ACKNOWLEDGE);
        MessageConsumer lazy = slow.createConsumer(queue), eager = quick.createConsumer(queue);
        World.send(quick, queue, World.numbers(0, 10).split(" "));
        lazy.receive(World.COMES);
        int received = 0;
        while (eager.receive(received < 7 ? World.COMES : World.NOTHING) != null) received++;
        world.holds("the quick one gets at least 7 of 10: " + received, received >= 7);
    }

    private static void aClosedConsumerGivesBackInOrder(World world) throws Exception {
        Session session = world.session();
        Queue queue = world.queue("q");
        MessageConsumer consumer = session.createConsumer(queue);
        World.send(session, queue, World.numbers(0, 5).split(" "));
        world.same("first", "0", World.next(consumer));
        Thread.sleep(300);
        consumer.close();
        world.same("the rest", "1 2 3 4", World.take(session.createConsumer(queue), 4));
    }

    private static String browse(Session session, Queue queue, String selector) throws Exception {
        QueueBrowser browser = session.createBrowser(queue, selector);
        StringBuilder texts = new StringBuilder();
        for (Enumeration<?> shown = browser.getEnumeration(); shown.hasMoreElements();)
            texts.append(texts.length() == 0 ? "" : " ").append(World.text((Message) shown.nextElement()));
        browser.close();
        return texts.toString();
    }

    private static void browsingTakesNothing(World world) throws Exception {
        Session session = world.session();
        Queue queue = world.queue("q"), empty = world.queue("empty");
        World.declare(session, queue);
        World.declare(session, empty);
        World.send(session, queue, World.numbers(0, 5).split(" "));
        world.same("shown", "0 1 2 3 4", browse(session, queue, null));
        world.same("shown again", "0 1 2 3 4", browse(session, queue, null));
        world.same("shown of nothing", "", browse(session, empty, null));
        MessageConsumer consumer = session.createConsumer(queue);
        world.same("not marked", false, consumer.receive(World.COMES).getJMSRedelivered());
        world.same("the rest", "1 2 3 4", World.take(consumer, 4));
    }

    private static void browsingWithASelector(World world) throws Exception {
        Session session = world.session();
        Queue queue = world.queue("q");
        World.declare(session, queue);
        for (int number = 0; number < 5; number++) World.sendWith(session, queue, "n", number, "" + number);
        world.same("shown", "3 4", browse(session, queue, "n >= 3"));
        world.same("still there", "0 1 2 3 4", World.take(session.createConsumer(queue), 5));
    }

    private static void whatIsOverIsGone(World world) throws Exception {
        Session session = world.session();
        Queue queue = world.queue("q");
        World.declare(session, queue);
        MessageProducer producer = session.createProducer(queue);
        producer.send(session.createTextMessage("old"), DeliveryMode.PERSISTENT, 4, 500);
        producer.send(session.createTextMessage("new"), DeliveryMode.PERSISTENT, 4, 0);
        Thread.sleep(1000);
        world.same("what is left", "new", World.take(session.createConsumer(queue), 1));
    }
}
