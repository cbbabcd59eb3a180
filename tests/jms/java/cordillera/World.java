package cordillera;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import javax.jms.Connection;
import javax.jms.ConnectionFactory;
import javax.jms.Destination;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.Session;
import javax.jms.TextMessage;
import javax.jms.Topic;
import javax.jms.XAConnectionFactory;
import javax.naming.Context;
import javax.naming.InitialContext;

/** What one case has: destinations of its own, connections that end with it, and what it has found wrong. */
final class World {
    /** Milliseconds to wait for what must come, and for what must not. */
    static final long COMES = 5000, NOTHING = 400;

    interface Action {
        void run() throws Exception;
    }

    final String url;
    final List<String> wrong = Collections.synchronizedList(new ArrayList<>());
    /** What exception listeners have been told. */
    final List<JMSException> heard = Collections.synchronizedList(new ArrayList<>());
    private final String contextFactory;
    private final String prefix;
    private final List<Connection> connections = Collections.synchronizedList(new ArrayList<>());

    World(String contextFactory, String url, String name) {
        this.contextFactory = contextFactory;
        this.url = url;
        this.prefix = "jms." + name + "." + Long.toString(System.nanoTime(), 36) + ".";
    }

    // What the client's naming context knows

    private Object lookup(String kind, String value) throws Exception {
        Properties properties = new Properties();
        properties.put(Context.INITIAL_CONTEXT_FACTORY, contextFactory);
        properties.put(kind + ".it", value);
        return new InitialContext(properties).lookup("it");
    }

    String name(String role) {
        return prefix + role;
    }

    Queue queue(String role) throws Exception {
        return queueNamed(name(role));
    }

    Queue queueNamed(String name) throws Exception {
        return (Queue) lookup("queue", name);
    }

    Topic topic(String role) throws Exception {
        return topicNamed(name(role));
    }

    Topic topicNamed(String name) throws Exception {
        return (Topic) lookup("topic", name);
    }

    XAConnectionFactory distributed() throws Exception {
        Object factory = lookup("connectionfactory", url);
        return (XAConnectionFactory) (factory instanceof XAConnectionFactory ? factory : lookup("xaconnectionfactory", url));
    }

    // Connections

    Connection connect() throws Exception {
        return connect(url);
    }

    Connection connect(String url) throws Exception {
        Connection connection = ((ConnectionFactory) lookup("connectionfactory", url)).createConnection();
        connections.add(connection);
        connection.setExceptionListener(heard::add);
        connection.start();
        return connection;
    }

    Session session() throws Exception {
        return session(Session.AUTO_ACKNOWLEDGE);
    }

    /** A session on a connection of its own. */
    Session session(int mode) throws Exception {
        return session(connect(), mode);
    }

    static Session session(Connection connection, int mode) throws Exception {
        return connection.createSession(mode == Session.SESSION_TRANSACTED, mode);
    }

    /** Close everything; a client that hangs in it is left alone. */
    void close() {
        for (Connection connection : new ArrayList<>(connections)) {
            Thread closing = new Thread(() -> {
                try {
                    connection.close();
                } catch (Throwable alreadyGone) {
                    return;
                }
            });
            closing.setDaemon(true);
            closing.start();
            try {
                closing.join(3000);
            } catch (InterruptedException interrupted) {
                return;
            }
        }
    }

    // Messages

    /** Create a queue, as only a consumer does. */
    static void declare(Session session, Queue queue) throws Exception {
        session.createConsumer(queue).close();
    }

    static void send(Session session, Destination destination, String... texts) throws Exception {
        MessageProducer producer = session.createProducer(destination);
        for (String text : texts) producer.send(session.createTextMessage(text));
        producer.close();
    }

    /** Send one text with a property. */
    static void sendWith(Session session, Destination destination, String property, Object value, String text)
            throws Exception {
        TextMessage message = session.createTextMessage(text);
        message.setObjectProperty(property, value);
        session.createProducer(destination).send(message);
    }

    static String text(Message message) throws Exception {
        return message == null ? null : ((TextMessage) message).getText();
    }

    static String next(MessageConsumer consumer) throws Exception {
        return text(consumer.receive(COMES));
    }

    /** Take `count` messages, and look whether there is another one. */
    static String take(MessageConsumer consumer, int count) throws Exception {
        StringBuilder texts = new StringBuilder();
        Message message;
        for (int taken = 0; (message = consumer.receive(taken < count ? COMES : NOTHING)) != null; taken++)
            texts.append(taken == 0 ? "" : " ").append(text(message));
        return texts.toString();
    }

    static String numbers(int from, int to) {
        StringBuilder texts = new StringBuilder();
        for (int number = from; number < to; number++) texts.append(number == from ? "" : " ").append(number);
        return texts.toString();
    }

    // What must hold

    void same(String what, Object expected, Object found) {
        if (!Objects.equals(expected, found)) wrong.add(what + ": expected " + expected + ", found " + found);
    }

    void holds(String what, boolean condition) {
        if (!condition) wrong.add(what);
    }

    /** The exception with which something must be refused; null, and noted as wrong, if it is not. */
    <E extends Exception> E refused(String what, Class<E> kind, Action action) {
        try {
            action.run();
        } catch (Exception error) {
            if (kind.isInstance(error)) return kind.cast(error);
            wrong.add(what + " is refused with " + error);
            return null;
        }
        wrong.add(what + " is not refused");
        return null;
    }
}
