package cordillera;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.Queue;
import javax.jms.Session;
import javax.jms.XAConnection;
import javax.jms.XASession;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;

/** Transactions of a session, and distributed ones. */
final class TransactionCases {
    static void addTo(Map<String, Main.Case> cases) {
        cases.put("tx", TransactionCases::onlyWhatIsCommittedIsThere);
        cases.put("txmix", TransactionCases::takingAndSendingAreOne);
        cases.put("xa", TransactionCases::branchesInTwoPhases);
    }

    private static void onlyWhatIsCommittedIsThere(World world) throws Exception {
        Session sending = world.session(Session.SESSION_TRANSACTED), taking = world.session(Session.SESSION_TRANSACTED);
        Queue queue = world.queue("q");
        MessageConsumer consumer = taking.createConsumer(queue);
        World.send(sending, queue, "a");
        world.same("before commit", "", World.take(consumer, 0));
        sending.rollback();
        World.send(sending, queue, "b");
        sending.commit();
        world.same("committed", "b", World.next(consumer));
        taking.rollback();
        Message again = consumer.receive(World.COMES);
        world.same("after rollback", "b", World.text(again));
        world.same("marked", true, again != null && again.getJMSRedelivered());
        taking.commit();
        world.same("after commit", "", World.take(consumer, 0));
    }

    private static void takingAndSendingAreOne(World world) throws Exception {
        Session session = world.session(Session.SESSION_TRANSACTED), other = world.session();
        Queue in = world.queue("in"), out = world.queue("out");
        MessageConsumer consumer = session.createConsumer(in), results = other.createConsumer(out);
        World.send(other, in, "work");
        world.same("first", "work", World.next(consumer));
        World.send(session, out, "dropped");
        session.rollback();
        Message again = consumer.receive(World.COMES);
        world.same("again", "work", World.text(again));
        world.same("JMSXDeliveryCount", 2, again.getIntProperty("JMSXDeliveryCount"));
        World.send(session, out, "done");
        session.commit();
        world.same("results", "done", World.take(results, 1));
        world.same("left", "", World.take(consumer, 0));
    }

    private static void branchesInTwoPhases(World world) throws Exception {
        Session other = world.session();
        Queue in = world.queue("in"), out = world.queue("out");
        MessageConsumer results = other.createConsumer(out);
        World.declare(other, in);
        World.send(other, in, "work");
        XAConnection connection = world.distributed().createXAConnection();
        connection.start();
        XASession session = connection.createXASession();
        XAResource resource = session.getXAResource();
        Xid branch = new Branch(world.name("branch"));
        resource.start(branch, XAResource.TMNOFLAGS);
        Session inside = session.getSession();
        MessageConsumer consumer = inside.createConsumer(in);
        world.same("taken", "work", World.next(consumer));
        World.send(inside, out, "done");
        resource.end(branch, XAResource.TMSUCCESS);
        world.same("before commit", "", World.take(results, 0));
        world.same("prepared", XAResource.XA_OK, resource.prepare(branch));
        resource.commit(branch, false);
        world.same("committed", "done", World.take(results, 1));
        Xid second = new Branch(world.name("second"));
        resource.start(second, XAResource.TMNOFLAGS);
        World.send(inside, out, "dropped");
        resource.end(second, XAResource.TMSUCCESS);
        resource.rollback(second);
        world.same("rolled back", "", World.take(results, 0));
        connection.close();
        world.same("left", "", World.take(other.createConsumer(in), 0));
    }

    private static final class Branch implements Xid {
        private final byte[] id;

        Branch(String id) {
            this.id = id.getBytes(StandardCharsets.US_ASCII);
        }

        @Override
        public int getFormatId() {
            return 1;
        }

        @Override
        public byte[] getGlobalTransactionId() {
            return id;
        }

        @Override
        public byte[] getBranchQualifier() {
            return new byte[] {1};
        }
    }
}
