package org.apache.rocketmq.test.base;

import java.io.File;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.broker.BrokerController;
import org.apache.rocketmq.common.BrokerConfig;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.attribute.CQType;
import org.apache.rocketmq.common.attribute.TopicMessageType;
import org.apache.rocketmq.common.namesrv.NamesrvConfig;
import org.apache.rocketmq.logging.org.slf4j.Logger;
import org.apache.rocketmq.logging.org.slf4j.LoggerFactory;
import org.apache.rocketmq.namesrv.NamesrvController;
import org.apache.rocketmq.store.config.MessageStoreConfig;
import org.apache.rocketmq.test.util.MQAdminTestUtils;

/**
 * Stands in the class path before the class of this name in Java's test jar, and gives its tests what that one does: a
 * NameServer and brokers with these settings. But they are other processes (Outside), whoever's they are.
 */
public class IntegrationTestBase {
    public static Logger logger = LoggerFactory.getLogger(IntegrationTestBase.class);
    public static volatile int commitLogSize = 100 << 20;
    private static final AtomicInteger brokers = new AtomicInteger();

    public static String createBaseDir() {
        return Server.folder("store");
    }

    public static NamesrvController createAndStartNamesrv() {
        String dir = createBaseDir();
        NamesrvConfig config = new NamesrvConfig();
        config.setKvConfigPath(dir + "/kvConfig.json");
        config.setConfigStorePath(dir + "/namesrv.properties");
        return Outside.namesrv(config);
    }

    public static BrokerController createAndStartBroker(String namesrv) {
        BrokerConfig broker = new BrokerConfig();
        broker.setBrokerName("TestBrokerName_" + brokers.incrementAndGet());
        broker.setBrokerIP1("127.0.0.1");
        broker.setNamesrvAddr(namesrv);
        broker.setEnablePropertyFilter(true);
        broker.setEnableCalcFilterBitMap(true);
        broker.setAppendAckAsync(true);
        broker.setAppendCkAsync(true);
        broker.setRecallMessageEnable(true);
        broker.setLoadBalancePollNameServerInterval(500);
        broker.setPopConsumerKVServiceInit(true);
        MessageStoreConfig store = new MessageStoreConfig();
        String dir = createBaseDir();
        store.setStorePathRootDir(dir);
        store.setStorePathCommitLog(dir + "/commitlog");
        store.setEnableConsumeQueueExt(true);
        store.setMappedFileSizeCommitLog(commitLogSize);
        store.setMaxIndexNum(1000);
        store.setMaxHashSlotNum(4000);
        store.setMaxTransferCountOnMessageInMemory(1024);
        store.setMaxTransferCountOnMessageInDisk(1024);
        return createAndStartBroker(store, broker);
    }

    public static BrokerController createAndStartBroker(MessageStoreConfig store, BrokerConfig broker) {
        return Outside.broker(store, broker);
    }

    public static boolean initTopic(String topic, String namesrv, String where, int queues, CQType queue, TopicMessageType messages, Long expiresAfter) {
        Map<String, String> attributes = new HashMap<>();
        if (queue != CQType.SimpleCQ) {
            attributes.put("+queue.type", queue.toString());
        }
        if (messages != TopicMessageType.NORMAL) {
            attributes.put("+message.type", messages.toString());
        }
        if (messages == TopicMessageType.LITE && expiresAfter != null) {
            attributes.put("+lite.topic.expiration", expiresAfter.toString());
        }
        return MQAdminTestUtils.createTopic(namesrv, where, topic, queues, attributes, 30);
    }

    public static boolean initTopic(String topic, String namesrv, String where, int queues, CQType queue, TopicMessageType messages) {
        return initTopic(topic, namesrv, where, queues, queue, messages, null);
    }

    public static boolean initTopic(String topic, String namesrv, String where, int queues, CQType queue) {
        return initTopic(topic, namesrv, where, queues, queue, TopicMessageType.NORMAL);
    }

    public static boolean initTopic(String topic, String namesrv, String where, CQType queue) {
        return initTopic(topic, namesrv, where, BaseConf.QUEUE_NUMBERS, queue);
    }

    public static boolean initTopic(String topic, String namesrv, String where, TopicMessageType messages) {
        return initTopic(topic, namesrv, where, BaseConf.QUEUE_NUMBERS, CQType.SimpleCQ, messages);
    }

    public static void deleteFile(File file) {
        UtilAll.deleteFile(file);
    }

    public static void initMQAdmin(String namesrv) {
        try {
            MQAdminTestUtils.startAdmin(namesrv);
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }
}
