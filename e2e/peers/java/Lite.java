import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.LitePushConsumer;
import org.apache.rocketmq.client.apis.consumer.OffsetOption;
import org.apache.rocketmq.client.apis.producer.Producer;

/** The gRPC client of lite topics under remote control, as Peer is; its argument is the address of a proxy. */
public class Lite {
    private static final PrintStream OUT = System.out;
    private static final ClientServiceProvider PROVIDER = ClientServiceProvider.loadService();
    private static final Map<String, LitePushConsumer> CONSUMERS = new HashMap<>();
    private static ClientConfiguration config;
    private static Producer producer;

    public static void main(String[] args) throws Exception {
        config = ClientConfiguration.newBuilder().setEndpoints(args[0]).enableSsl(false).build();
        System.setOut(System.err);
        emit("event", "ready");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            Map<String, String> cmd = new HashMap<>();
            for (String pair : line.split("&")) {
                int eq = pair.indexOf('=');
                cmd.put(URLDecoder.decode(pair.substring(0, eq), "UTF-8"), URLDecoder.decode(pair.substring(eq + 1), "UTF-8"));
            }
            String result = "";
            try {
                result = run(cmd);
                emit("id", cmd.get("id"), "ok", "true", "result", result);
            } catch (Throwable t) {
                emit("id", cmd.get("id"), "ok", "false", "error", String.valueOf(t));
            }
        }
        System.exit(0);
    }

    private static String run(Map<String, String> cmd) throws Exception {
        LitePushConsumer consumer = CONSUMERS.get(cmd.get("name"));
        switch (cmd.get("op")) {
            case "produce":
                if (producer == null) {
                    producer = PROVIDER.newProducerBuilder().setClientConfiguration(config).setTopics(cmd.get("topic")).build();
                }
                int first = Integer.parseInt(cmd.getOrDefault("first", "0"));
                for (int i = first; i < first + Integer.parseInt(cmd.get("count")); i++) {
                    producer.send(PROVIDER.newMessageBuilder().setTopic(cmd.get("topic")).setLiteTopic(cmd.get("lite"))
                        .setKeys(cmd.get("lite") + "-" + i).setBody(("body " + i).getBytes(StandardCharsets.UTF_8)).build());
                }
                return "";
            case "consume":
                int fail = Integer.parseInt(cmd.getOrDefault("fail", "0"));
                String name = cmd.get("name");
                CONSUMERS.put(name, PROVIDER.newLitePushConsumerBuilder().setClientConfiguration(config).setConsumerGroup(cmd.get("group")).bindTopic(cmd.get("topic"))
                    .setMessageListener(m -> {
                        emit("event", "msg", "consumer", name, "topic", m.getTopic(), "queue", m.getLiteTopic().orElse(""), "offset", "0",
                            "keys", m.getKeys().iterator().next(), "tags", "", "sha", "", "attempt", String.valueOf(m.getDeliveryAttempt()));
                        return m.getDeliveryAttempt() <= fail ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
                    }).build());
                return "";
            case "subscribe":
                if (cmd.containsKey("from")) {
                    consumer.subscribeLite(cmd.get("lite"), cmd.get("from").equals("min") ? OffsetOption.MIN_OFFSET : OffsetOption.MAX_OFFSET);
                } else {
                    consumer.subscribeLite(cmd.get("lite"));
                }
                return "";
            case "unsubscribe":
                consumer.unsubscribeLite(cmd.get("lite"));
                return "";
            case "subscribed":
                return String.join(",", new java.util.TreeSet<>(consumer.getLiteTopicSet()));
            case "close":
                CONSUMERS.remove(cmd.get("name")).close();
                return "";
            default:
                throw new IllegalArgumentException("unknown op " + cmd.get("op"));
        }
    }

    private static void emit(String... kv) {
        try {
            StringBuilder s = new StringBuilder("@");
            for (int i = 0; i < kv.length; i += 2) {
                s.append(i == 0 ? "" : "&").append(kv[i]).append('=').append(URLEncoder.encode(String.valueOf(kv[i + 1]), "UTF-8"));
            }
            synchronized (OUT) {
                OUT.println(s);
                OUT.flush();
            }
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }
}
