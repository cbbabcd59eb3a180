package cordillera;

import java.util.Enumeration;
import java.util.Map;
import java.util.TreeMap;
import javax.jms.BytesMessage;
import javax.jms.Connection;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.Session;
import javax.jms.TextMessage;

/** Logging in, staying connected, and what other clients have published. */
final class ConnectionCases {
    static void addTo(Map<String, Main.Case> cases) {
        cases.put("connect", world -> world.connect().close());
        cases.put("clientid", ConnectionCases::twoConnectionsMayHaveOneClientId);
        cases.put("idle", ConnectionCases::heartbeatsKeepAnIdleConnection);
        cases.put("badpass", ConnectionCases::aWrongPasswordIsToldAtOnce);
        cases.put("sync", ConnectionCases::aPublisherMayWaitForEachMessage);
        cases.put("foreign", ConnectionCases::messagesOfOtherClientsAreReadable);
        cases.put("failover", ConnectionCases::aCutConnectionIsReplaced);
    }

    private static void twoConnectionsMayHaveOneClientId(World world) throws Exception {
        Connection first = world.connect(), second = world.connect();
        world.same("client id", "clientID", first.getClientID());
        world.same("client id of the second", "clientID", second.getClientID());
    }

    private static void heartbeatsKeepAnIdleConnection(World world) throws Exception {
        for (String property : new String[] {"amqj.heartbeat.delay", "qpid.heartbeat"}) System.setProperty(property, "3");
        try {
            Session session = world.session();
            Thread.sleep(10_000); // who hears nothing for six seconds gives up
            Queue queue = world.queue("q");
            MessageConsumer consumer = session.createConsumer(queue);
            World.send(session, queue, "alive");
            world.same("after three heartbeats", "alive", World.next(consumer));
        } finally {
            for (String property : new String[] {"amqj.heartbeat.delay", "qpid.heartbeat"}) System.clearProperty(property);
        }
    }

    private static void aWrongPasswordIsToldAtOnce(World world) throws Exception {
        String wrong = world.url.replaceFirst(":[^:@]*@", ":wrong@");
        long start = System.nanoTime();
        world.refused("a wrong password", JMSException.class, () -> world.connect(wrong));
        world.holds("told within five seconds", System.nanoTime() - start < 5_000_000_000L);
    }

    private static void aPublisherMayWaitForEachMessage(World world) throws Exception {
        Connection connection = world.connect(world.url + "&sync_publish='all'&sync_ack='true'");
        Session session = World.session(connection, Session.AUTO_ACKNOWLEDGE);
        Queue queue = world.queue("q");
        MessageConsumer consumer = session.createConsumer(queue);
        World.send(session, queue, "0", "1", "2");
        world.same("received", "0 1 2", World.take(consumer, 3));
    }

    /** The queue that -Dforeign names has what `tests/jms/foreign.py` has published. */
    private static void messagesOfOtherClientsAreReadable(World world) throws Exception {
        MessageConsumer consumer = world.session().createConsumer(world.queueNamed(System.getProperty("foreign")));
        Message plain = consumer.receive(World.COMES);
        world.same("text", "plain", World.text(plain));
        world.holds("a relative time to live is told", plain.getJMSExpiration() > 0);
        Map<String, Object> properties = new TreeMap<>();
        for (Enumeration<?> names = plain.getPropertyNames(); names.hasMoreElements();) {
            String name = (String) names.nextElement();
            if (name.startsWith("p_")) properties.put(name, plain.getObjectProperty(name));
        }
        world.same("properties", "{p_bool=true, p_int=7, p_long=1099511627776, p_text=text}",
            properties.toString());
        world.holds("JSON is octets", consumer.receive(World.COMES) instanceof BytesMessage);
        world.holds("without a type it is octets", consumer.receive(World.COMES) instanceof BytesMessage);
        Message dead = consumer.receive(World.COMES);
        world.same("one that has been dead-lettered", "dead", World.text(dead));
        world.same("where it died", "expired", dead == null ? null : dead.getStringProperty("x-first-death-reason"));
    }

    private static void aCutConnectionIsReplaced(World world) throws Exception {
        int port = Integer.parseInt(world.url.replaceFirst(".*localhost:(\\d+).*", "$1"));
        try (Relay first = new Relay(port); Relay second = new Relay(port)) {
            String address = "tcp://localhost:%d?retries='3'&connectdelay='200'";
            String brokers = String.format(address + ";" + address, first.port(), second.port());
            String url = world.url.replaceFirst("brokerlist='.*'", "brokerlist='" + brokers + "'&failover='roundrobin?cyclecount='5''");
            Session session = World.session(world.connect(url), Session.AUTO_ACKNOWLEDGE);
            Queue queue = world.queue("q");
            MessageConsumer consumer = session.createConsumer(queue);
            MessageProducer producer = session.createProducer(queue);
            world.same("before", 10, exchanged(session, producer, consumer, 10));
            first.close();
            Thread.sleep(300); // Qpid's client reports a send that meets the cut itself
            int after = exchanged(session, producer, consumer, 20);
            world.holds("at most the message under way is lost: " + after, after >= 18);
            world.holds("the second address is used", second.connections() > 0);
            world.close();
        }
        world.heard.clear();
    }

    private static int exchanged(Session session, MessageProducer producer, MessageConsumer consumer, int count)
            throws Exception {
        int received = 0;
        for (int number = 0; number < count; number++) {
            TextMessage message = session.createTextMessage("" + number);
            producer.send(message);
            if (consumer.receive(2000) != null) received++;
        }
        return received;
    }
}
