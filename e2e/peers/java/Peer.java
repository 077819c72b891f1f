import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RPCHook;

/**
 * A Java client under remote control: reads one command a line, answers one line each, and reports every consumed
 * message as a line of its own. The protocol is described in ../README.md. Compiles against the clients 4.9.8 and
 * 5.5.0; what moved between them is called by reflection.
 */
@SuppressWarnings("deprecation")
public class Peer {
    private static final PrintStream OUT = System.out;
    private static final Map<String, DefaultMQProducer> PRODUCERS = new HashMap<>();
    private static final Map<String, DefaultMQPushConsumer> CONSUMERS = new HashMap<>();
    private static final Map<String, TransactionMQProducer> TRANSACTORS = new HashMap<>();
    private static final Map<String, String> OUTCOMES = new ConcurrentHashMap<>();
    private static String namesrv;

    public static void main(String[] args) throws Exception {
        namesrv = args[0];
        System.setOut(System.err);
        emit("event", "ready");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            Map<String, String> cmd = parse(line);
            Map<String, String> answer = new HashMap<>();
            try {
                run(cmd, answer);
                answer.put("ok", "true");
            } catch (Throwable t) {
                answer.put("ok", "false");
                answer.put("error", String.valueOf(t));
            }
            answer.put("id", cmd.get("id"));
            emit(answer);
        }
        System.exit(0);
    }

    private static void run(Map<String, String> cmd, Map<String, String> answer) throws Exception {
        switch (cmd.get("op")) {
            case "produce": produce(cmd, answer); break;
            case "request": answer.put("reply", new String(producer(cmd).request(new Message(cmd.get("topic"), body(cmd, integer(cmd, "first", 0))), integer(cmd, "timeout", 15000)).getBody(), StandardCharsets.UTF_8)); break;
            case "recall": recall(cmd, answer); break;
            case "subscribe": subscribe(cmd); break;
            case "unsubscribe": CONSUMERS.remove(cmd.get("name")).shutdown(); break;
            case "transact": transact(cmd, answer); break;
            case "answer": OUTCOMES.put(cmd.get("keys"), cmd.get("outcome")); break;
            case "leave": TRANSACTORS.remove(cmd.get("name")).shutdown(); break;
            case "pull": pull(cmd, answer); break;
            case "litepull": litePull(cmd, answer); break;
            case "mqadmin": mqadmin(cmd, answer); break;
            default: throw new IllegalArgumentException("unknown op " + cmd.get("op"));
        }
    }

    private static DefaultMQProducer producer(Map<String, String> cmd) throws Exception {
        boolean vip = "true".equals(cmd.get("vip"));
        boolean compress = !"false".equals(cmd.get("compress"));
        boolean gather = "true".equals(cmd.get("gather"));
        String key = cmd.get("group") + vip + compress + gather;
        DefaultMQProducer p = PRODUCERS.get(key);
        if (p == null) {
            p = new DefaultMQProducer(cmd.get("group"), "true".equals(cmd.get("trace")), null);
            p.setNamesrvAddr(namesrv);
            p.setInstanceName("p" + PRODUCERS.size());
            p.setSendMsgTimeout(20000);
            p.setVipChannelEnabled(vip);
            if (!compress) {
                p.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
            }
            if (gather) { // since 5.2
                DefaultMQProducer.class.getMethod("setAutoBatch", boolean.class).invoke(p, true);
                DefaultMQProducer.class.getMethod("batchMaxDelayMs", int.class).invoke(p, 200);
            }
            p.start();
            PRODUCERS.put(key, p);
        }
        return p;
    }

    private static void produce(Map<String, String> cmd, Map<String, String> answer) throws Exception {
        DefaultMQProducer p = producer(cmd);
        int count = integer(cmd, "count", 1), first = integer(cmd, "first", 0), shard = integer(cmd, "shard", -1);
        List<Message> msgs = new ArrayList<>();
        for (int i = first; i < first + count; i++) {
            Message m = new Message(cmd.get("topic"), cmd.getOrDefault("tags", ""), cmd.get("keys") + "-" + i, body(cmd, i));
            if (cmd.containsKey("level")) {
                m.setDelayTimeLevel(integer(cmd, "level", 0));
            }
            for (String setter : new String[] {"setDelayTimeMs", "setDelayTimeSec", "setDeliverTimeMs"}) { // since 5.0
                if (cmd.containsKey(setter)) {
                    Message.class.getMethod(setter, long.class).invoke(m, Long.parseLong(cmd.get(setter)));
                }
            }
            msgs.add(m);
        }
        List<SendResult> results = new ArrayList<>();
        switch (cmd.get("mode")) {
            case "sync":
                for (Message m : msgs) {
                    results.add(shard < 0 ? p.send(m) : p.send(m, (mqs, x, arg) -> mqs.get((Integer) arg % mqs.size()), shard));
                }
                break;
            case "async":
                CountDownLatch done = new CountDownLatch(count);
                List<Throwable> failed = new ArrayList<>();
                for (Message m : msgs) {
                    p.send(m, new SendCallback() {
                        @Override public void onSuccess(SendResult r) {
                            synchronized (results) {
                                results.add(r);
                            }
                            done.countDown();
                        }

                        @Override public void onException(Throwable t) {
                            synchronized (results) {
                                failed.add(t);
                            }
                            done.countDown();
                        }
                    });
                }
                if (!done.await(30, TimeUnit.SECONDS) || !failed.isEmpty()) {
                    throw new Exception(done.getCount() + " sends without an answer, failed: " + failed);
                }
                break;
            case "oneway":
                for (Message m : msgs) {
                    p.sendOneway(m);
                }
                break;
            case "batch":
                results.add(p.send(msgs));
                break;
            default:
                throw new IllegalArgumentException("unknown mode " + cmd.get("mode"));
        }
        StringBuilder acks = new StringBuilder(), handles = new StringBuilder();
        for (SendResult r : results) {
            try {
                handles.append(handles.length() == 0 ? "" : ",").append(SendResult.class.getMethod("getRecallHandle").invoke(r));
            } catch (NoSuchMethodException e) {
                // a client that knows no recall
            }
            if (r.getSendStatus() != SendStatus.SEND_OK) {
                throw new Exception("send status " + r.getSendStatus());
            }
            MessageQueue q = r.getMessageQueue();
            acks.append(acks.length() == 0 ? "" : ",").append(q.getBrokerName()).append('/').append(q.getQueueId()).append('/').append(r.getQueueOffset());
            answer.put("offsetMsgId", r.getOffsetMsgId());
            answer.put("msgId", r.getMsgId());
        }
        answer.put("acks", acks.toString());
        answer.put("handles", handles.toString());
    }

    private static void recall(Map<String, String> cmd, Map<String, String> answer) throws Exception {
        DefaultMQProducer p = producer(cmd);
        answer.put("msgId", (String) DefaultMQProducer.class.getMethod("recallMessage", String.class, String.class)
            .invoke(p, cmd.get("topic"), cmd.get("handle")));
    }

    /** Sends half messages, count of them; each local transaction ends in the outcome asked for, each check in that of "answer". */
    private static void transact(Map<String, String> cmd, Map<String, String> answer) throws Exception {
        TransactionMQProducer p = TRANSACTORS.get(cmd.get("name"));
        if (p == null) {
            p = new TransactionMQProducer(cmd.get("group"));
            p.setNamesrvAddr(namesrv);
            p.setInstanceName(cmd.get("name"));
            p.setHeartbeatBrokerInterval(3000);
            p.setSendMsgTimeout(20000);
            p.setTransactionListener(new TransactionListener() {
                @Override public LocalTransactionState executeLocalTransaction(Message m, Object arg) {
                    return LocalTransactionState.valueOf((String) arg);
                }

                @Override public LocalTransactionState checkLocalTransaction(MessageExt m) {
                    String outcome = OUTCOMES.getOrDefault(m.getKeys(), "UNKNOW");
                    message("check-" + cmd.get("name") + "-" + m.getProperty("TRANSACTION_CHECK_TIMES"), m);
                    return LocalTransactionState.valueOf(outcome);
                }
            });
            p.start();
            TRANSACTORS.put(cmd.get("name"), p);
        }
        int count = integer(cmd, "count", 0);
        StringBuilder ids = new StringBuilder();
        for (int i = 0; i < count; i++) {
            Message m = new Message(cmd.get("topic"), cmd.getOrDefault("tags", ""), cmd.get("keys") + "-" + i, body(cmd, i));
            if (cmd.containsKey("immunity")) {
                m.putUserProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", cmd.get("immunity"));
            }
            SendResult r = p.sendMessageInTransaction(m, cmd.get("outcome"));
            if (r.getSendStatus() != SendStatus.SEND_OK) {
                throw new Exception("send status " + r.getSendStatus());
            }
            ids.append(ids.length() == 0 ? "" : ",").append(r.getOffsetMsgId());
        }
        answer.put("ids", ids.toString());
    }

    private static void subscribe(Map<String, String> cmd) throws Exception {
        String name = cmd.get("name");
        DefaultMQPushConsumer c = new DefaultMQPushConsumer(cmd.get("group"), "true".equals(cmd.get("trace")), null);
        c.setNamesrvAddr(namesrv);
        c.setInstanceName(name);
        // The client's first heartbeat and first rebalance fall into the same moment, one second after its start. If they
        // meet, the new subscription is told only with the next heartbeat; that need not take half a minute here.
        c.setHeartbeatBrokerInterval(3000);
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        if ("broadcasting".equals(cmd.get("model"))) {
            for (Method m : DefaultMQPushConsumer.class.getMethods()) {
                if (m.getName().equals("setMessageModel")) {
                    for (Object model : m.getParameterTypes()[0].getEnumConstants()) {
                        if (model.toString().equals("BROADCASTING")) {
                            m.invoke(c, model);
                        }
                    }
                }
            }
        }
        if ("server".equals(cmd.get("rebalance"))) {
            DefaultMQPushConsumer.class.getMethod("setClientRebalance", boolean.class).invoke(c, false);
        }
        if (cmd.containsKey("sql")) {
            c.subscribe(cmd.get("topic"), MessageSelector.bySql(cmd.get("sql")));
        } else {
            c.subscribe(cmd.get("topic"), cmd.getOrDefault("expr", "*"));
        }
        int fail = integer(cmd, "fail", 0); // so many attempts of each message
        if (cmd.containsKey("attempts")) {
            c.setMaxReconsumeTimes(integer(cmd, "attempts", 0));
        }
        if ("orderly".equals(cmd.get("mode"))) {
            c.setSuspendCurrentQueueTimeMillis(100);
            c.registerMessageListener((MessageListenerOrderly) (msgs, ctx) -> {
                msgs.forEach(m -> message(name, m));
                return msgs.get(0).getReconsumeTimes() < fail ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            DefaultMQProducer replier = "true".equals(cmd.get("reply")) ? producer(new HashMap<>(Map.of("group", "R-" + name))) : null;
            c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
                for (MessageExt m : msgs) {
                    message(name, m);
                    if (replier != null) {
                        try {
                            replier.send(MessageUtil.createReplyMessage(m, ("re:" + new String(m.getBody(), StandardCharsets.UTF_8)).getBytes(StandardCharsets.UTF_8)), 15000);
                        } catch (Exception e) {
                            throw new IllegalStateException(e);
                        }
                    }
                }
                if (msgs.get(0).getReconsumeTimes() < fail) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        c.start();
        CONSUMERS.put(name, c);
    }

    /** The classic pull consumer: every queue from its start to its end, then the offsets are committed. */
    private static void pull(Map<String, String> cmd, Map<String, String> answer) throws Exception {
        DefaultMQPullConsumer c = new DefaultMQPullConsumer(cmd.get("group"));
        c.setNamesrvAddr(namesrv);
        c.setInstanceName(cmd.get("name"));
        c.start();
        int n = 0;
        for (MessageQueue q : c.fetchSubscribeMessageQueues(cmd.get("topic"))) {
            for (long offset = c.minOffset(q), end = c.maxOffset(q); offset < end; ) {
                PullResult r = c.pull(q, cmd.getOrDefault("expr", "*"), offset, 32);
                if (r.getPullStatus() == PullStatus.FOUND) {
                    for (MessageExt m : r.getMsgFoundList()) {
                        message(cmd.get("name"), m);
                        n++;
                    }
                }
                if (r.getNextBeginOffset() <= offset) {
                    throw new Exception("pull at " + offset + " of " + end + " did not advance: " + r);
                }
                offset = r.getNextBeginOffset();
                c.updateConsumeOffset(q, offset);
            }
            c.getDefaultMQPullConsumerImpl().getOffsetStore().persist(q);
        }
        c.shutdown();
        answer.put("count", String.valueOf(n));
    }

    private static void litePull(Map<String, String> cmd, Map<String, String> answer) throws Exception {
        DefaultLitePullConsumer c = new DefaultLitePullConsumer(cmd.get("group"));
        c.setNamesrvAddr(namesrv);
        c.setInstanceName(cmd.get("name"));
        c.setAutoCommit(false);
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.subscribe(cmd.get("topic"), cmd.getOrDefault("expr", "*"));
        c.start();
        int n = 0, want = integer(cmd, "count", 1);
        for (long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30); n < want && System.nanoTime() < end; ) {
            for (MessageExt m : c.poll(500)) {
                message(cmd.get("name"), m);
                n++;
            }
        }
        c.commitSync();
        c.shutdown();
        answer.put("count", String.valueOf(n));
    }

    /** Java's own mqadmin, unmodified, its output captured; it shares this JVM to save the start of one per command. */
    private static void mqadmin(Map<String, String> cmd, Map<String, String> answer) throws Exception {
        Class<?> admin = Class.forName("org.apache.rocketmq.tools.command.MQAdminStartup");
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        PrintStream capture = new PrintStream(text, true, "UTF-8"), out = System.out, err = System.err;
        System.setOut(capture);
        System.setErr(capture);
        try {
            admin.getMethod("main0", String[].class, RPCHook.class).invoke(null, cmd.get("args").split("\n"), null);
        } catch (InvocationTargetException e) {
            e.getCause().printStackTrace(capture);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        answer.put("output", text.toString("UTF-8"));
    }

    private static byte[] body(Map<String, String> cmd, int i) {
        int size = integer(cmd, "size", 0);
        if (size == 0) {
            return (cmd.getOrDefault("body", "") + i).getBytes(StandardCharsets.UTF_8);
        }
        byte[] b = new byte[size];
        for (int j = 0; j < size; j++) {
            b[j] = (byte) ((j * 31L + i) % 251);
        }
        return b;
    }

    private static void message(String consumer, MessageExt m) {
        try {
            StringBuilder sha = new StringBuilder();
            for (byte b : MessageDigest.getInstance("SHA-256").digest(m.getBody())) {
                sha.append(String.format("%02x", b));
            }
            Map<String, String> e = new HashMap<>();
            e.put("event", "msg");
            e.put("consumer", consumer);
            e.put("topic", m.getTopic());
            e.put("queue", m.getBrokerName() + "/" + m.getQueueId());
            e.put("offset", String.valueOf(m.getQueueOffset()));
            e.put("keys", String.valueOf(m.getKeys()));
            e.put("tags", m.getTags() == null ? "" : m.getTags());
            e.put("sha", sha.toString());
            e.put("popped", String.valueOf(m.getProperty("POP_CK") != null));
            e.put("attempt", String.valueOf(m.getReconsumeTimes()));
            emit(e);
        } catch (Exception x) {
            throw new IllegalStateException(x);
        }
    }

    private static int integer(Map<String, String> cmd, String key, int otherwise) {
        return cmd.containsKey(key) ? Integer.parseInt(cmd.get(key)) : otherwise;
    }

    private static Map<String, String> parse(String line) throws Exception {
        Map<String, String> m = new HashMap<>();
        for (String pair : line.split("&")) {
            int eq = pair.indexOf('=');
            m.put(URLDecoder.decode(pair.substring(0, eq), "UTF-8"), URLDecoder.decode(pair.substring(eq + 1), "UTF-8"));
        }
        return m;
    }

    private static void emit(String... kv) throws Exception {
        Map<String, String> m = new HashMap<>();
        for (int i = 0; i < kv.length; i += 2) {
            m.put(kv[i], kv[i + 1]);
        }
        emit(m);
    }

    private static void emit(Map<String, String> m) throws Exception {
        StringBuilder s = new StringBuilder("@");
        for (Map.Entry<String, String> e : m.entrySet()) {
            s.append(s.length() == 1 ? "" : "&").append(e.getKey()).append('=').append(URLEncoder.encode(String.valueOf(e.getValue()), "UTF-8"));
        }
        synchronized (OUT) {
            OUT.println(s);
            OUT.flush();
        }
    }
}
