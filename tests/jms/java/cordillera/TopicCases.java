package cordillera;

import java.util.Map;
import javax.jms.InvalidDestinationException;
import javax.jms.JMSException;
import javax.jms.MessageConsumer;
import javax.jms.Session;
import javax.jms.TemporaryTopic;
import javax.jms.Topic;
import javax.jms.TopicSubscriber;

/** Topics: subscribers, hierarchies, durable subscriptions. */
final class TopicCases {
    static void addTo(Map<String, Main.Case> cases) {
        cases.put("topic", TopicCases::allSubscribersGetAll);
        cases.put("temptopic", TopicCases::aTemporaryTopic);
        cases.put("hier", TopicCases::patternsOfTopics);
        cases.put("durable", TopicCases::aDurableSubscriptionKeepsWhatComes);
        cases.put("durable2", TopicCases::aDurableSubscriptionHasOneConsumerAndOneTopic);
        cases.put("unsub", TopicCases::anUnknownSubscriptionIsNotEnded);
    }

    private static void allSubscribersGetAll(World world) throws Exception {
        Session session = world.session();
        Topic topic = world.topic("t");
        MessageConsumer first = session.createConsumer(topic), second = world.session().createConsumer(topic);
        World.send(session, topic, World.numbers(0, 5).split(" "));
        world.same("first", "0 1 2 3 4", World.take(first, 5));
        world.same("second", "0 1 2 3 4", World.take(second, 5));
        first.close();
        second.close();
        World.send(session, topic, "to nobody");
    }

    private static void aTemporaryTopic(World world) throws Exception {
        Session session = world.session();
        TemporaryTopic topic = session.createTemporaryTopic();
        MessageConsumer consumer = session.createConsumer(topic);
        World.send(session, topic, "x");
        world.same("received", "x", World.next(consumer));
        consumer.close();
        topic.delete();
    }

    private static void patternsOfTopics(World world) throws Exception {
        Session session = world.session();
        String root = world.name("games");
        MessageConsumer all = session.createConsumer(world.topicNamed(root + ".#"));
        MessageConsumer one = session.createConsumer(world.topicNamed(root + ".*"));
        MessageConsumer leaf = session.createConsumer(world.topicNamed(root + ".chess.open"));
        World.send(session, world.topicNamed(root + ".chess.open"), "leaf");
        World.send(session, world.topicNamed(root + ".chess"), "middle");
        World.send(session, world.topicNamed(root), "root");
        world.same("#", "leaf middle root", World.take(all, 3));
        world.same("*", "middle", World.take(one, 1));
        world.same("exactly", "leaf", World.take(leaf, 1));
    }

    private static void aDurableSubscriptionKeepsWhatComes(World world) throws Exception {
        Session session = world.session(), writer = world.session();
        Topic topic = world.topic("t");
        String name = world.name("subscription");
        TopicSubscriber subscriber = session.createDurableSubscriber(topic, name);
        World.send(writer, topic, "1");
        world.same("while it is there", "1", World.next(subscriber));
        subscriber.close();
        World.send(writer, topic, "2", "3");
        session = world.session();
        subscriber = session.createDurableSubscriber(topic, name);
        world.same("what came meanwhile", "2 3", World.take(subscriber, 2));
        subscriber.close();
        session.unsubscribe(name);
        World.send(writer, topic, "lost");
        subscriber = session.createDurableSubscriber(topic, name);
        world.same("a new one", "", World.take(subscriber, 0));
        subscriber.close();
        session.unsubscribe(name);
    }

    private static void aDurableSubscriptionHasOneConsumerAndOneTopic(World world) throws Exception {
        Session session = world.session(), second = world.session(), writer = world.session();
        Topic topic = world.topic("t"), other = world.topic("u");
        String name = world.name("subscription");
        TopicSubscriber subscriber = session.createDurableSubscriber(topic, name);
        world.refused("a second subscriber", JMSException.class, () -> second.createDurableSubscriber(topic, name));
        World.send(writer, topic, "first");
        world.same("the first one lives on", "first", World.next(subscriber));
        world.heard.clear();
        subscriber.close();
        World.send(writer, topic, "left over");
        session = world.session();
        subscriber = session.createDurableSubscriber(other, name);
        World.send(writer, topic, "old topic");
        World.send(writer, other, "new topic");
        world.same("on another topic", "new topic", World.take(subscriber, 1));
        subscriber.close();
        session.unsubscribe(name);
    }

    private static void anUnknownSubscriptionIsNotEnded(World world) throws Exception {
        Session session = world.session();
        Topic topic = world.topic("t");
        String name = world.name("subscription");
        world.refused("an unknown name", InvalidDestinationException.class, () -> session.unsubscribe(name));
        session.createDurableSubscriber(topic, name, "a = 1", false).close();
        World.sendWith(session, topic, "a", 1, "one");
        TopicSubscriber subscriber = session.createDurableSubscriber(topic, name, "a = 2", false);
        World.sendWith(session, topic, "a", 1, "one");
        World.sendWith(session, topic, "a", 2, "two");
        world.same("with another selector", "two", World.take(subscriber, 1));
        subscriber.close();
        session.unsubscribe(name);
    }
}
