package cordillera;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Runs cases one after the other: Main CONTEXT_FACTORY URL CASE... (all without a name), and prints a line for each,
 * `case NAME ok` or `case NAME FAIL what was wrong`.
 */
public final class Main {
    /** A client that is refused may take a minute to notice. */
    private static final long LIMIT = Long.getLong("limit", 75_000);

    interface Case {
        void run(World world) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Case> cases = new LinkedHashMap<>();
        ConnectionCases.addTo(cases);
        QueueCases.addTo(cases);
        TopicCases.addTo(cases);
        SelectorCases.addTo(cases);
        AcknowledgementCases.addTo(cases);
        TransactionCases.addTo(cases);
        String[] names = arguments.length > 2
            ? Arrays.copyOfRange(arguments, 2, arguments.length)
            : cases.keySet().toArray(new String[0]);
        for (String name : names) {
            System.out.println("case " + name + " " + run(cases.get(name), new World(arguments[0], arguments[1], name)));
            System.out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private static String run(Case it, World world) throws InterruptedException {
        if (it == null) return "FAIL there is no such case";
        Thread thread = new Thread(() -> {
            try {
                it.run(world);
            } catch (Throwable error) {
                world.wrong.add(described(error));
            }
        });
        thread.setDaemon(true);
        thread.start();
        thread.join(LIMIT);
        if (thread.isAlive()) world.wrong.add("hangs at " + Arrays.toString(thread.getStackTrace()));
        world.close();
        if (!world.heard.isEmpty()) world.wrong.add("the exception listener was told " + world.heard);
        return world.wrong.isEmpty() ? "ok" : ("FAIL " + String.join("; ", world.wrong)).replaceAll("\\s+", " ");
    }

    private static String described(Throwable error) {
        StringBuilder text = new StringBuilder("threw " + error);
        for (StackTraceElement frame : error.getStackTrace())
            if (frame.getClassName().startsWith("cordillera.") && frame.getFileName() != null)
                return text.append(" at ").append(frame.getFileName()).append(':').append(frame.getLineNumber()).toString();
        return text.toString();
    }
}
