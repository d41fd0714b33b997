import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * An application of the published client: what it does is given by its arguments, what happened is one JSON object a
 * line on standard output. It compiles against 4.9.7 and 5.3.3 and uses nothing but the public API.
 *
 * <pre>
 * Scenario send NAMESRV TOPIC GROUP MODE=COUNT...
 *     sends COUNT messages in each mode, one mode after the other, then ends:
 *     sync, async, oneway, batch (one call), ordered (queue by hash of key-N, N = i % 3), delay (level 1: 1 s),
 *     transaction (even i commit, odd i roll back). The body is MODE-i, the key the same; tags go TagA, TagB, TagC.
 *     {"event": "sent", "mode", "body", "tag", "status", "msgId", "queueId", "queueOffset"}
 *     (oneway: body and tag only; batch: status, queue and first offset of the whole batch)
 * Scenario consume NAMESRV TOPIC GROUP concurrently|orderly EXPRESSION [fail-first]
 *     consumes from the first offset until it gets SIGTERM; fail-first asks for the retry of every message once:
 *     {"event": "allocated", "topic", "queues": "0 1"}     each time the allocation changes
 *     {"event": "started"}
 *     {"event": "message", "body", "tag", "key", "msgId", "queueId", "queueOffset", "reconsumeTimes", "ageMs"}
 * </pre>
 */
public final class Scenario {
    private static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    private static final String[] TAGS = {"TagA", "TagB", "TagC"};

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "send": send(args); break;
            case "consume": consume(args); break;
            default: throw new IllegalArgumentException(args[0]);
        }
    }

    private static void send(String[] args) throws Exception {
        String topic = args[2];
        for (int i = 4; i < args.length; i++) {
            String mode = args[i].substring(0, args[i].indexOf('='));
            int count = Integer.parseInt(args[i].substring(mode.length() + 1));
            if (mode.equals("transaction")) {
                sendInTransactions(args[1], args[3] + "-" + mode, messages(topic, mode, count));
                continue;
            }
            DefaultMQProducer producer = new DefaultMQProducer(args[3] + "-" + mode);
            producer.setNamesrvAddr(args[1]);
            producer.start();
            try {
                send(producer, mode, messages(topic, mode, count));
            } finally {
                producer.shutdown();
            }
        }
        System.exit(0);
    }

    private static List<Message> messages(String topic, String mode, int count) {
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            String text = mode + "-" + i;
            messages.add(new Message(topic, TAGS[i % TAGS.length], text, text.getBytes(StandardCharsets.UTF_8)));
        }
        return messages;
    }

    private static void send(DefaultMQProducer producer, String mode, List<Message> messages) throws Exception {
        switch (mode) {
            case "sync":
                for (Message message : messages) sent(mode, message, producer.send(message));
                break;
            case "delay":
                for (Message message : messages) {
                    message.setDelayTimeLevel(1);
                    sent(mode, message, producer.send(message));
                }
                break;
            case "ordered":
                for (int i = 0; i < messages.size(); i++) {
                    sent(mode, messages.get(i), producer.send(messages.get(i), new SelectMessageQueueByHash(), "key-" + i % 3));
                }
                break;
            case "batch":
                SendResult result = producer.send(messages);
                for (Message message : messages) sent(mode, message, result);
                break;
            case "oneway":
                for (Message message : messages) {
                    producer.sendOneway(message);
                    sent(mode, message, null);
                }
                break;
            case "async":
                CountDownLatch pending = new CountDownLatch(messages.size());
                for (Message message : messages) {
                    producer.send(message, new SendCallback() {
                        @Override
                        public void onSuccess(SendResult result) {
                            sent(mode, message, result);
                            pending.countDown();
                        }

                        @Override
                        public void onException(Throwable error) {
                            error.printStackTrace();
                            pending.countDown();
                        }
                    });
                }
                if (!pending.await(30, TimeUnit.SECONDS)) throw new IllegalStateException("async sends without an answer");
                break;
            default:
                throw new IllegalArgumentException(mode);
        }
    }

    private static void sendInTransactions(String namesrv, String group, List<Message> messages) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setNamesrvAddr(namesrv);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object commit) {
                return (Boolean) commit ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.UNKNOW;
            }
        });
        producer.start();
        try {
            for (int i = 0; i < messages.size(); i++) {
                sent("transaction", messages.get(i), producer.sendMessageInTransaction(messages.get(i), i % 2 == 0));
            }
        } finally {
            producer.shutdown();
        }
    }

    private static void sent(String mode, Message message, SendResult result) {
        Map<String, Object> event = new TreeMap<>();
        event.put("event", "sent");
        event.put("mode", mode);
        event.put("body", text(message));
        event.put("tag", message.getTags());
        if (result != null) {
            event.put("status", result.getSendStatus().name());
            event.put("msgId", result.getMsgId());
            event.put("queueId", result.getMessageQueue().getQueueId());
            event.put("queueOffset", result.getQueueOffset());
        }
        print(event);
    }

    private static void consume(String[] args) throws Exception {
        boolean failFirst = args.length > 6 && args[6].equals("fail-first");
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[3]);
        consumer.setNamesrvAddr(args[1]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(2000); // the group's retry topic is there only after the first heartbeat
        consumer.setAllocateMessageQueueStrategy(new PrintedAllocation());
        consumer.subscribe(args[2], args[5]);
        if (args[4].equals("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                for (MessageExt message : messages) consumed(message);
                return failFirst && messages.get(0).getReconsumeTimes() == 0
                    ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt message : messages) consumed(message);
                context.setDelayLevelWhenNextConsume(1);
                return failFirst && messages.get(0).getReconsumeTimes() == 0
                    ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        Runtime.getRuntime().addShutdownHook(new Thread(consumer::shutdown));
        consumer.start();
        print(new TreeMap<>(Map.of("event", "started")));
        new CountDownLatch(1).await();
    }

    private static void consumed(MessageExt message) {
        Map<String, Object> event = new TreeMap<>();
        event.put("event", "message");
        event.put("body", text(message));
        event.put("tag", message.getTags());
        event.put("key", message.getKeys());
        event.put("msgId", message.getMsgId());
        event.put("queueId", message.getQueueId());
        event.put("queueOffset", message.getQueueOffset());
        event.put("reconsumeTimes", message.getReconsumeTimes());
        event.put("ageMs", System.currentTimeMillis() - message.getBornTimestamp());
        print(event);
    }

    private static String text(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** Values are numbers, or strings without characters that JSON escapes. */
    private static synchronized void print(Map<String, Object> event) {
        StringBuilder line = new StringBuilder();
        for (Map.Entry<String, Object> entry : event.entrySet()) {
            line.append(line.length() == 0 ? "{" : ", ").append('"').append(entry.getKey()).append("\": ");
            if (entry.getValue() instanceof Number) line.append(entry.getValue());
            else line.append('"').append(entry.getValue()).append('"');
        }
        OUT.println(line.append('}'));
    }

    /** The default strategy, by name and by result; tells what it gave. */
    private static final class PrintedAllocation implements AllocateMessageQueueStrategy {
        private final AllocateMessageQueueStrategy averagely = new AllocateMessageQueueAveragely();
        private final Map<String, String> last = new ConcurrentHashMap<>();

        @Override
        public List<MessageQueue> allocate(String group, String clientId, List<MessageQueue> all, List<String> clientIds) {
            List<MessageQueue> given = averagely.allocate(group, clientId, all, clientIds);
            String topic = all.get(0).getTopic();
            StringBuilder queues = new StringBuilder();
            for (MessageQueue queue : given) queues.append(queues.length() == 0 ? "" : " ").append(queue.getQueueId());
            if (!queues.toString().equals(last.put(topic, queues.toString()))) {
                Map<String, Object> event = new TreeMap<>();
                event.put("event", "allocated");
                event.put("topic", topic);
                event.put("queues", queues);
                print(event);
            }
            return given;
        }

        @Override
        public String getName() {
            return averagely.getName();
        }
    }
}
