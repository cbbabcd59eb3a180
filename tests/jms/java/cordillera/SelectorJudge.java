package cordillera;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.qpid.filter.BooleanExpression;
import org.apache.qpid.filter.FilterableMessage;
import org.apache.qpid.filter.JMSMessagePropertyExpression;
import org.apache.qpid.filter.selector.SelectorParser;

/**
 * Says which messages selectors let pass, by the library of Qpid's client. The input has the properties of messages, one
 * a line as `name TAB type TAB value`, an empty line behind each message, then `---` and the selectors, one a line. For
 * each selector a line is printed: 1 or 0 for each message, or `refused`.
 */
public final class SelectorJudge {
    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        List<Properties> messages = new ArrayList<>();
        Map<String, Object> properties = new HashMap<>();
        String line;
        while (!(line = in.readLine()).equals("---")) {
            if (line.isEmpty()) {
                messages.add(new Properties(properties));
                properties = new HashMap<>();
            } else {
                String[] parts = line.split("\t", 3);
                properties.put(parts[0], value(parts[1], parts[2]));
            }
        }
        while ((line = in.readLine()) != null) out.println(judge(line, messages));
    }

    private static Object value(String type, String text) {
        switch (type) {
            case "bool":
                return Boolean.valueOf(text);
            case "int":
                return Integer.valueOf(text);
            case "long":
                return Long.valueOf(text);
            case "double":
                return Double.valueOf(text);
            default:
                return text;
        }
    }

    private static String judge(String selector, List<Properties> messages) {
        BooleanExpression<FilterableMessage> expression;
        try {
            SelectorParser<FilterableMessage> parser = new SelectorParser<>();
            parser.setPropertyExpressionFactory(JMSMessagePropertyExpression.FACTORY);
            expression = parser.parse(selector);
        } catch (Exception | Error refused) {
            return "refused";
        }
        StringBuilder answers = new StringBuilder();
        for (Properties message : messages) {
            try {
                answers.append(expression.matches(message) ? '1' : '0');
            } catch (RuntimeException failed) {
                answers.append('x');
            }
        }
        return answers.toString();
    }

    private static final class Properties implements FilterableMessage {
        private final Map<String, Object> values;

        Properties(Map<String, Object> values) {
            this.values = values;
        }

        @Override
        public boolean isPersistent() {
            return true;
        }

        @Override
        public boolean isRedelivered() {
            return false;
        }

        @Override
        public Object getHeader(String name) {
            return values.get(name);
        }

        @Override
        public String getReplyTo() {
            return null;
        }

        @Override
        public String getType() {
            return (String) values.get("JMSType");
        }

        @Override
        public byte getPriority() {
            Object priority = values.get("JMSPriority");
            return priority == null ? 4 : ((Integer) priority).byteValue();
        }

        @Override
        public String getMessageId() {
            return null;
        }

        @Override
        public long getTimestamp() {
            return 0;
        }

        @Override
        public String getCorrelationId() {
            return (String) values.get("JMSCorrelationID");
        }

        @Override
        public long getExpiration() {
            return 0;
        }
    }
}
