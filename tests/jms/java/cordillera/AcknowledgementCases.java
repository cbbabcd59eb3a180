package cordillera;

import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.Queue;
import javax.jms.Session;

/** Acknowledgement of all kinds, redelivery, and the dead letter channel. */
final class AcknowledgementCases {
    /** WSO2's own modes. */
    private static final int NONE = 257, PER_MESSAGE = 259;

    static void addTo(Map<String, Main.Case> cases) {
        cases.put("clientack", AcknowledgementCases::recoverBringsBackInOrder);
        cases.put("acktimeout", AcknowledgementCases::aLateAcknowledgementIsIgnored);
        cases.put("dups", AcknowledgementCases::duplicatesMayBeAllowed);
        cases.put("permsg", AcknowledgementCases::singleMessagesAreAcknowledged);
        cases.put("listener", AcknowledgementCases::aListenerGetsEverything);
        cases.put("redeliver", AcknowledgementCases::whatCannotBeHandledGoesToTheDeadLetterChannel);
    }

    private static void recoverBringsBackInOrder(World world) throws Exception {
        Session session = world.session(Session.CLIENT_ACKNOWLEDGE);
        Queue queue = world.queue("q");
        World.declare(session, queue);
        World.send(session, queue, "0", "1", "2", "3");
        MessageConsumer consumer = session.createConsumer(queue);
        World.next(consumer);
        consumer.receive(World.COMES).acknowledge();
        world.same("third", "2", World.next(consumer));
        session.recover();
        Message again = consumer.receive(World.COMES);
        world.same("again", "2", World.text(again));
        world.same("marked", true, again != null && again.getJMSRedelivered());
        world.close();
        world.same("what is left", "2 3", World.take(world.session().createConsumer(queue), 2));
    }

    /** With -DAndesAckWaitTimeOut=11000 WSO2's client gives back by itself what it has had for a second. */
    private static void aLateAcknowledgementIsIgnored(World world) throws Exception {
        Session session = world.session(Session.CLIENT_ACKNOWLEDGE);
        Queue queue = world.queue("q");
        MessageConsumer consumer = session.createConsumer(queue);
        World.send(session, queue, "slow");
        Message slow = consumer.receive(World.COMES);
        Thread.sleep(7000);
        slow.acknowledge();
        World.send(session, queue, "more");
        String last = "";
        for (Message message; (message = consumer.receive(1500)) != null; message.acknowledge()) last = World.text(message);
        world.same("the session lives on", "more", last);
    }

    private static void duplicatesMayBeAllowed(World world) throws Exception {
        Session session = world.session(Session.DUPS_OK_ACKNOWLEDGE);
        Queue queue = world.queue("q");
        World.declare(session, queue);
        World.send(session, queue, World.numbers(0, 50).split(" "));
        world.same("received", World.numbers(0, 50), World.take(session.createConsumer(queue), 50));
        world.close();
        world.same("left", "", World.take(world.session().createConsumer(queue), 0));
    }

    private static void singleMessagesAreAcknowledged(World world) throws Exception {
        Session session = world.session(PER_MESSAGE);
        Queue queue = world.queue("q");
        World.declare(session, queue);
        World.send(session, queue, "0", "1", "2");
        MessageConsumer consumer = session.createConsumer(queue);
        World.next(consumer);
        consumer.receive(World.COMES).acknowledge();
        World.next(consumer);
        world.close();
        world.same("left after one", "0 2", World.take(world.session(NONE).createConsumer(queue), 2));
        world.close();
        world.same("left without acknowledgement", "", World.take(world.session().createConsumer(queue), 0));
    }

    private static void aListenerGetsEverything(World world) throws Exception {
        int count = 2000;
        Session session = world.session();
        Queue queue = world.queue("q");
        CountDownLatch latch = new CountDownLatch(count);
        session.createConsumer(queue).setMessageListener(message -> latch.countDown());
        World.send(world.session(), queue, World.numbers(0, count).split(" "));
        latch.await(30, TimeUnit.SECONDS);
        world.same("missing", 0L, latch.getCount());
    }

    private static void whatCannotBeHandledGoesToTheDeadLetterChannel(World world) throws Exception {
        Session session = world.session(Session.CLIENT_ACKNOWLEDGE);
        Queue queue = world.queue("q");
        String poison = world.name("poison");
        World.declare(session, queue);
        World.send(session, queue, poison);
        MessageConsumer consumer = session.createConsumer(queue);
        int deliveries = 0;
        for (Message message; deliveries < 16 && (message = consumer.receive(1500)) != null; session.recover()) {
            deliveries++;
            world.same("JMSXDeliveryCount", deliveries, message.getIntProperty("JMSXDeliveryCount"));
        }
        world.same("deliveries", 11, deliveries);
        MessageConsumer dead = world.session().createConsumer(world.queueNamed("DeadLetterChannel"));
        boolean isThere = false;
        for (Message message; !isThere && (message = dead.receive(2000)) != null;) isThere = poison.equals(World.text(message));
        world.holds("it is in the dead letter channel", isThere);
    }
}
