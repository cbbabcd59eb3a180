package cordillera;

import java.util.Map;
import javax.jms.Connection;
import javax.jms.DeliveryMode;
import javax.jms.InvalidSelectorException;
import javax.jms.JMSException;
import javax.jms.MessageConsumer;
import javax.jms.Queue;
import javax.jms.Session;
import javax.jms.TextMessage;
import javax.jms.Topic;
import javax.jms.TopicSubscriber;

/** Selectors of consumers, topics and durable subscriptions. */
final class SelectorCases {
    /** Conditions on the message of `sendOne`, with what they are by the rules of JMS; "refused" for no selector. */
    private static final String[][] CONDITIONS = {
        {"n = 5", "yes"}, {"n <> 5", "no"}, {"n > 4.5", "yes"}, {"n >= 5 AND n <= 5", "yes"}, {"n < 5", "no"},
        {"n BETWEEN 1 AND 5", "yes"}, {"n NOT BETWEEN 1 AND 5", "no"}, {"s LIKE 'ab%'", "yes"}, {"s LIKE 'a_c'", "yes"},
        {"s LIKE 'a_'", "no"}, {"s NOT LIKE 'z%'", "yes"}, {"u LIKE '10!%' ESCAPE '!'", "yes"}, {"s IN ('x', 'abc')", "yes"},
        {"s NOT IN ('x')", "yes"}, {"gone IS NULL", "yes"}, {"s IS NOT NULL", "yes"}, {"gone = 1", "no"},
        {"NOT (gone = 1)", "no"}, {"gone = 1 OR n = 5", "yes"}, {"NOT (gone = 1 AND n = 6)", "yes"},
        {"gone <> 1", "no"}, {"gone NOT IN ('a')", "no"}, {"gone LIKE '%'", "no"}, {"b = TRUE", "yes"}, {"b", "yes"},
        {"NOT b", "no"}, {"n * 2 + 1 = 11", "yes"}, {"-n < 0", "yes"}, {"(n - 1) / 2 = 2", "yes"}, {"d > 1", "yes"},
        {"s = 5", "no"}, {"JMSPriority > 6", "yes"}, {"JMSType = 'ty'", "yes"}, {"JMSCorrelationID = 'c1'", "yes"},
        {"JMSDeliveryMode = 'PERSISTENT'", "yes"}, {"JMSMessageID LIKE 'ID:%'", "yes"}, {"JMSTimestamp > 0", "yes"},
        {"s = 'it''s' OR n = 5", "yes"}, {"l = 1099511627776", "yes"}, {"n = 5 AND (s = 'x' OR NOT (d < 1))", "yes"},
        {"s BETWEEN 'aaa' AND 'b'", "refused"}, {"n = = 5", "refused"}, {"n IN (5)", "refused"},
    };

    static void addTo(Map<String, Main.Case> cases) {
        cases.put("selector", SelectorCases::whatASelectorLeavesIsForOthers);
        cases.put("tsel", SelectorCases::subscribersWithSelectorsAndWithoutTheirOwn);
        cases.put("durablesel", SelectorCases::aDurableSubscriptionWithASelector);
        cases.put("selgrammar", SelectorCases::conditionsMeanWhatJmsSays);
        cases.put("badsel", SelectorCases::whatIsNoSelectorIsRefused);
    }

    private static void whatASelectorLeavesIsForOthers(World world) throws Exception {
        Session session = world.session();
        Queue queue = world.queue("q");
        MessageConsumer some = session.createConsumer(queue, "n = 2");
        for (int number = 0; number < 4; number++) World.sendWith(session, queue, "n", number, "" + number);
        world.same("selected", "2", World.take(some, 1));
        some.close();
        world.same("the rest", "0 1 3", World.take(session.createConsumer(queue), 3));
    }

    private static void subscribersWithSelectorsAndWithoutTheirOwn(World world) throws Exception {
        Session session = world.session();
        Topic topic = world.topic("t");
        MessageConsumer red = session.createConsumer(topic, "color = 'red'");
        MessageConsumer others = session.createConsumer(topic, null, true);
        for (String color : new String[] {"blue", "red"}) World.sendWith(session, topic, "color", color, color);
        World.sendWith(world.session(), topic, "color", "red", "foreign");
        world.same("by selector", "red foreign", World.take(red, 2));
        world.same("of other connections", "foreign", World.take(others, 1));
    }

    private static void aDurableSubscriptionWithASelector(World world) throws Exception {
        Session session = world.session();
        Topic topic = world.topic("t");
        String name = world.name("subscription"), selector = "color = 'red'";
        session.createDurableSubscriber(topic, name, selector, false).close();
        for (String color : new String[] {"blue", "red", "green", "red"}) World.sendWith(session, topic, "color", color, color);
        TopicSubscriber subscriber = session.createDurableSubscriber(topic, name, selector, false);
        world.same("what it kept", "red red", World.take(subscriber, 2));
        subscriber.close();
        session.unsubscribe(name);
    }

    private static void conditionsMeanWhatJmsSays(World world) throws Exception {
        Topic topic = world.topic("t");
        Connection connection = world.connect();
        MessageConsumer[] consumers = new MessageConsumer[CONDITIONS.length];
        for (int number = 0; number < CONDITIONS.length; number++) {
            Session session = World.session(connection, Session.AUTO_ACKNOWLEDGE);
            try {
                consumers[number] = session.createConsumer(topic, CONDITIONS[number][0]);
            } catch (JMSException refused) {
                consumers[number] = null;
            }
        }
        sendOne(World.session(connection, Session.AUTO_ACKNOWLEDGE), topic);
        Thread.sleep(500);
        for (int number = 0; number < CONDITIONS.length; number++) {
            MessageConsumer consumer = consumers[number];
            long patience = CONDITIONS[number][1].equals("yes") ? World.COMES : 50;
            String found = consumer == null ? "refused" : consumer.receive(patience) != null ? "yes" : "no";
            world.same(CONDITIONS[number][0], CONDITIONS[number][1], found);
        }
    }

    private static void sendOne(Session session, Topic topic) throws Exception {
        TextMessage message = session.createTextMessage("m");
        message.setIntProperty("n", 5);
        message.setStringProperty("s", "abc");
        message.setStringProperty("u", "10%");
        message.setBooleanProperty("b", true);
        message.setDoubleProperty("d", 1.5);
        message.setLongProperty("l", 1L << 40);
        message.setJMSType("ty");
        message.setJMSCorrelationID("c1");
        session.createProducer(topic).send(message, DeliveryMode.PERSISTENT, 7, 0);
    }

    private static void whatIsNoSelectorIsRefused(World world) throws Exception {
        Session session = world.session();
        Queue queue = world.queue("q");
        world.refused("a = = 1", InvalidSelectorException.class, () -> session.createConsumer(queue, "a = = 1"));
        MessageConsumer consumer = session.createConsumer(queue, "a = 1");
        World.sendWith(session, queue, "a", 1, "on");
        world.same("the session lives on", "on", World.next(consumer));
    }
}
