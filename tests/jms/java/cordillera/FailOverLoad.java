package cordillera;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import javax.jms.Connection;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.Session;

/**
 * Sends and takes messages in transactions while nodes are killed: FailOverLoad CONTEXT_FACTORY URL SECONDS.
 *
 * Prints `ready` when it begins, and at the end how many messages were committed, and which of them were lost, came
 * twice, or were never sent. A commit that ends with an exception may have been done or not: its messages are unsure.
 */
public final class FailOverLoad {
    private static final int BATCH = 20;
    /** Looks in vain after the last message was sent, each three seconds long. */
    private static final int LAST_LOOKS = 6;

    private final World world;
    private final Queue queue;
    private final long end;
    private final Set<String> sent = new HashSet<>(), sentPerhaps = new HashSet<>(), takenPerhaps = new HashSet<>();
    private final Map<String, Integer> taken = new HashMap<>();
    private final AtomicInteger failures = new AtomicInteger();
    private volatile boolean isSending = true;

    private FailOverLoad(String contextFactory, String url, long seconds) throws Exception {
        world = new World(contextFactory, url, "failover");
        queue = world.queue("q");
        end = System.currentTimeMillis() + seconds * 1000;
    }

    public static void main(String[] arguments) throws Exception {
        FailOverLoad load = new FailOverLoad(arguments[0], arguments[1], Long.parseLong(arguments[2]));
        Connection first = load.connect();
        World.declare(World.session(first, Session.AUTO_ACKNOWLEDGE), load.queue);
        drop(first);
        System.out.println("ready");
        System.out.flush();
        Thread taker = new Thread(load::takeAll);
        taker.setDaemon(true);
        taker.start();
        load.sendAll();
        taker.join(120_000);
        load.tell(!taker.isAlive());
        Runtime.getRuntime().halt(0);
    }

    /** A new connection, as soon as there is a node; the client's own attempts may have ended. */
    private Connection connect() throws Exception {
        for (int tries = 0;; tries++) {
            try {
                return world.connect();
            } catch (JMSException away) {
                if (tries == 200) throw away;
                Thread.sleep(300);
            }
        }
    }

    /** Close a connection that may be broken: closing it can hang. */
    private static void drop(Connection connection) {
        Thread closing = new Thread(() -> {
            try {
                connection.close();
            } catch (Exception gone) {
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

    private void sendAll() throws Exception {
        int number = 0;
        while (System.currentTimeMillis() < end) {
            List<String> batch = new ArrayList<>();
            Connection connection = connect();
            try {
                Session session = World.session(connection, Session.SESSION_TRANSACTED);
                MessageProducer producer = session.createProducer(queue);
                while (System.currentTimeMillis() < end) {
                    batch.clear();
                    for (int count = 0; count < BATCH; count++) {
                        String text = "m" + number++;
                        batch.add(text);
                        producer.send(session.createTextMessage(text));
                    }
                    session.commit();
                    sent.addAll(batch);
                    batch.clear();
                }
            } catch (Exception failed) {
                sentPerhaps.addAll(batch);
                failures.incrementAndGet();
            }
            drop(connection);
        }
        isSending = false;
    }

    private void takeAll() {
        int looks = 0;
        while (looks < LAST_LOOKS) {
            List<String> held = new ArrayList<>();
            Connection connection = null;
            try {
                connection = connect();
                Session session = World.session(connection, Session.SESSION_TRANSACTED);
                MessageConsumer consumer = session.createConsumer(queue);
                while (looks < LAST_LOOKS) {
                    Message message = consumer.receive(held.isEmpty() ? 3000 : 300);
                    if (message != null) {
                        held.add(World.text(message));
                        looks = 0;
                    } else if (held.isEmpty() && !isSending) {
                        looks++;
                    }
                    if (held.size() >= BATCH || (message == null && !held.isEmpty())) {
                        session.commit();
                        for (String text : held) taken.merge(text, 1, Integer::sum);
                        held.clear();
                    }
                }
            } catch (Exception failed) {
                takenPerhaps.addAll(held);
                failures.incrementAndGet();
            }
            if (connection != null) drop(connection);
        }
    }

    private void tell(boolean isDrained) {
        Set<String> lost = new HashSet<>(sent), invented = new HashSet<>(taken.keySet());
        lost.removeAll(taken.keySet());
        lost.removeAll(takenPerhaps);
        invented.removeAll(sent);
        invented.removeAll(sentPerhaps);
        long twice = taken.values().stream().filter(count -> count > 1).count();
        System.out.println("result committed=" + sent.size() + " unsure=" + sentPerhaps.size() + " taken=" + taken.size()
            + " taken_unsure=" + takenPerhaps.size() + " lost=" + lost.size() + " twice=" + twice + " invented="
            + invented.size() + " failures=" + failures + " drained=" + isDrained);
    }
}
