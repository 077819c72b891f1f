package org.apache.rocketmq.test.base;

import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.util.Collections;
import java.util.Properties;
import java.util.TreeMap;
import javassist.util.proxy.MethodHandler;
import javassist.util.proxy.ProxyFactory;
import javassist.util.proxy.ProxyObject;
import org.apache.rocketmq.broker.BrokerController;
import org.apache.rocketmq.broker.offset.ConsumerOffsetManager;
import org.apache.rocketmq.broker.out.BrokerOuterAPI;
import org.apache.rocketmq.broker.subscription.SubscriptionGroupManager;
import org.apache.rocketmq.broker.topic.TopicConfigManager;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.common.BrokerConfig;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.namesrv.NamesrvConfig;
import org.apache.rocketmq.namesrv.NamesrvController;
import org.apache.rocketmq.remoting.netty.NettyServerConfig;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.store.DefaultMessageStore;
import org.apache.rocketmq.store.config.MessageStoreConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * A server that is another process, and the objects that a test asks about it. What such an object is asked, the server is
 * asked over the wire, and what it is told to be set is told to the server; what the wire has no question for is an
 * UnsupportedOperationException that names it.
 *
 * Properties: outside.namesrv and outside.broker, the command of each server, parted by spaces, in which @DIR@ is a folder
 * of its own; outside.dir, where the folders are.
 */
final class Outside {
    private final Server server;

    private Outside(Server server) {
        this.server = server;
    }

    static NamesrvController namesrv(NamesrvConfig config) {
        TreeMap<String, String> keys = Keys.changed(config, new NamesrvConfig());
        Server server = Server.start("namesrv", System.getProperty("outside.namesrv"), keys);
        NamesrvConfig told = Keys.told(config, NamesrvConfig.class, update -> {
            admin(a -> {
                a.updateNameServerConfig(update, Collections.singletonList(server.address()));
                return null;
            });
        });
        return stand(NamesrvController.class, (self, method, proceed, args) -> {
            switch (method.getName()) {
                case "getNettyServerConfig": return listening(server);
                case "getNamesrvConfig": return told;
                case "shutdown": server.stop(); return null;
                default: throw unseen(method);
            }
        });
    }

    static BrokerController broker(MessageStoreConfig storeConfig, BrokerConfig config) {
        TreeMap<String, String> keys = Keys.changed(config, new BrokerConfig());
        keys.putAll(Keys.changed(storeConfig, new MessageStoreConfig()));
        keys.put("metricsExporterType", "DISABLE");
        keys.put("authConfigPath", storeConfig.getStorePathRootDir() + "/auth");
        Server server = Server.start(config.getBrokerName(), System.getProperty("outside.broker"), keys);
        Outside outside = new Outside(server);
        BrokerConfig told = Keys.told(config, BrokerConfig.class, outside::update);
        MessageStoreConfig toldStore = Keys.told(storeConfig, MessageStoreConfig.class, outside::update);
        told.setListenPort(server.port);
        DefaultMessageStore store = outside.store(config.getBrokerName());
        TopicConfigManager topics = outside.topics();
        SubscriptionGroupManager groups = outside.groups();
        ConsumerOffsetManager offsets = outside.offsets();
        BrokerOuterAPI api = stand(BrokerOuterAPI.class, (self, method, proceed, args) -> {
            if (method.getName().equals("refreshMetadata")) {
                return null; // it looks for other brokers when it needs one
            }
            throw unseen(method);
        });
        return stand(BrokerController.class, (self, method, proceed, args) -> {
            switch (method.getName()) {
                case "getBrokerAddr": return server.address();
                case "getBrokerConfig": return told;
                case "getMessageStoreConfig": return toldStore;
                case "getNettyServerConfig": return listening(server);
                case "getMessageStore": return store;
                case "getTopicConfigManager": return topics;
                case "getSubscriptionGroupManager": return groups;
                case "getConsumerOffsetManager": return offsets;
                case "getBrokerOuterAPI": return api;
                case "shutdown": server.stop(); return null;
                default: throw unseen(method);
            }
        });
    }

    private DefaultMessageStore store(String broker) {
        return stand(DefaultMessageStore.class, (self, method, proceed, args) -> {
            switch (method.getName()) {
                case "getMinOffsetInQueue": return api(c -> c.getMinOffset(server.address(), new MessageQueue((String) args[0], broker, (Integer) args[1]), 5000));
                case "getMaxOffsetInQueue": return api(c -> c.getMaxOffset(server.address(), new MessageQueue((String) args[0], broker, (Integer) args[1]), 5000));
                case "dispatchBehindBytes":
                    return Long.valueOf(admin(a -> a.fetchBrokerRuntimeStats(server.address())).getTable().getOrDefault("dispatchBehindBytes", "0"));
                default: throw unseen(method);
            }
        });
    }

    private TopicConfigManager topics() {
        return stand(TopicConfigManager.class, (self, method, proceed, args) -> {
            switch (method.getName()) {
                case "getTopicConfigTable": return admin(a -> a.getAllTopicConfig(server.address(), 5000)).getTopicConfigTable();
                case "updateTopicConfig":
                    return admin(a -> {
                        a.createAndUpdateTopicConfig(server.address(), (TopicConfig) args[0]);
                        return null;
                    });
                default: throw unseen(method);
            }
        });
    }

    private SubscriptionGroupManager groups() {
        return stand(SubscriptionGroupManager.class, (self, method, proceed, args) -> {
            switch (method.getName()) {
                case "findSubscriptionGroupConfig":
                    SubscriptionGroupConfig known = admin(a -> a.getAllSubscriptionGroup(server.address(), 5000)).getSubscriptionGroupTable().get(args[0]);
                    if (known == null) { // Java's makes it
                        known = new SubscriptionGroupConfig();
                        known.setGroupName((String) args[0]);
                    }
                    return known;
                case "updateSubscriptionGroupConfig":
                    return admin(a -> {
                        a.createAndUpdateSubscriptionGroupConfig(server.address(), (SubscriptionGroupConfig) args[0]);
                        return null;
                    });
                default: throw unseen(method);
            }
        });
    }

    private ConsumerOffsetManager offsets() {
        return stand(ConsumerOffsetManager.class, (self, method, proceed, args) -> {
            if (!method.getName().equals("queryOffset")) {
                throw unseen(method);
            }
            QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
            header.setConsumerGroup((String) args[0]);
            header.setTopic((String) args[1]);
            header.setQueueId((Integer) args[2]);
            header.setSetZeroIfNotFound(false);
            return api(c -> c.queryConsumerOffset(server.address(), header, 5000));
        });
    }

    private static NettyServerConfig listening(Server server) {
        NettyServerConfig config = new NettyServerConfig();
        config.setListenPort(server.port);
        return config;
    }

    private void update(Properties keys) {
        if (!server.up()) {
            return; // it is for the next one
        }
        admin(a -> {
            a.updateBrokerConfig(server.address(), keys);
            return null;
        });
    }

    /** An object of a class that was never constructed, all of whose methods the handler has. */
    private static <T> T stand(Class<T> type, MethodHandler handler) {
        try {
            ProxyFactory factory = new ProxyFactory();
            factory.setSuperclass(type);
            Field field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            Object made = ((sun.misc.Unsafe) field.get(null)).allocateInstance(factory.createClass());
            ((ProxyObject) made).setHandler((self, method, proceed, args) ->
                method.getDeclaringClass() == Object.class ? proceed.invoke(self, args) : handler.invoke(self, method, proceed, args));
            return type.cast(made);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    private static UnsupportedOperationException unseen(Method method) {
        return new UnsupportedOperationException("not to be seen from outside: " + method.getDeclaringClass().getSimpleName() + "." + method.getName());
    }

    private interface Call<C, R> {
        R of(C client) throws Exception;
    }

    private static <R> R admin(Call<DefaultMQAdminExt, R> call) {
        try {
            return call.of(admin());
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    private static <R> R api(Call<MQClientAPIImpl, R> call) {
        return admin(a -> call.of(a.getDefaultMQAdminExtImpl().getMqClientInstance().getMQClientAPIImpl()));
    }

    private static DefaultMQAdminExt admin;

    private static synchronized DefaultMQAdminExt admin() throws MQClientException {
        if (admin == null) {
            DefaultMQAdminExt fresh = new DefaultMQAdminExt();
            fresh.setNamesrvAddr(BaseConf.NAMESRV_ADDR);
            fresh.setInstanceName("outside");
            fresh.start();
            admin = fresh;
        }
        return admin;
    }
}
