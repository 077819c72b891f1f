import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.Scanner;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;

/** Evaluates SQL92 expressions with Java's own classes. A line of input is expr[,name:value]*, each word in base64. */
public class Sql92 {
    public static void main(String[] args) {
        Scanner in = new Scanner(System.in, "UTF-8");
        StringBuilder out = new StringBuilder();
        while (in.hasNextLine()) {
            out.append(answer(in.nextLine().split(",", -1))).append('\n');
        }
        System.out.print(out);
    }

    static String text(String base64) {
        return new String(Base64.getDecoder().decode(base64), StandardCharsets.UTF_8);
    }

    static String answer(String[] parts) {
        Expression e;
        try {
            e = FilterFactory.INSTANCE.get("SQL92").compile(text(parts[0]));
        } catch (Throwable t) {
            return "invalid";
        }
        Map<String, Object> props = new HashMap<>();
        for (int i = 1; i < parts.length; i++) {
            String[] kv = parts[i].split(":", 2);
            props.put(text(kv[0]), text(kv[1]));
        }
        try {
            return String.valueOf(e.evaluate(new EvaluationContext() {
                public Object get(String name) {
                    return props.get(name);
                }

                public Map<String, Object> keyValues() {
                    return props;
                }
            }));
        } catch (Throwable t) {
            return "error";
        }
    }
}
