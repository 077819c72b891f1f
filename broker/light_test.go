package broker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"rocketd/protocol"
)

// A message is in the light queues that it names, which are read as topics that stand in no table, by groups that do not
// either. Their offsets survive a restart.
func TestBroker_Light(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, "enableLmq=true", "enableMultiDispatch=true")
	if a := h.send("T", "one", "i=INNER_MULTI_DISPATCH\x01%LMQ%a,%LMQ%b\x02"); a.Code != protocol.Success {
		t.Fatalf("%d %s", a.Code, a.Remark)
	}
	pull := func(topic string, want ...string) {
		t.Helper()
		a := h.pull(topic, 0, 0, "*")
		if got := bodies(t, a.Body); !slices.Equal(got, want) {
			t.Errorf("%s: %d %s: %q, want %q", topic, a.Code, a.Remark, got, want)
		}
	}
	pull("T", "one")
	pull("%LMQ%a", "one")
	pull("%LMQ%b", "one")
	pull("%LMQ%c")
	if a := h.call(protocol.GetMaxOffset, "", "topic=%LMQ%a", "queueId=0"); field(a, "offset") != "1" {
		t.Errorf("%d %s: ends at %s", a.Code, a.Remark, field(a, "offset"))
	}
	if a := h.call(protocol.UpdateConsumerOffset, "", "consumerGroup=%LMQ%c", "topic=%LMQ%a", "queueId=0", "commitOffset=1"); a.Code != protocol.Success {
		t.Errorf("%d %s", a.Code, a.Remark)
	}
	held := make(chan *protocol.Command, 1)
	go func() { held <- h.pull("%LMQ%a", 1, 10*time.Second, "*") }()
	for h.broker.room.Len() == 0 { // each round is a turn of the broker
		h.call(protocol.GetMaxOffset, "", "topic=T", "queueId=0")
	}
	h.send("T", "two", "i=INNER_MULTI_DISPATCH\x01%LMQ%a\x02")
	if got := bodies(t, (<-held).Body); !slices.Equal(got, []string{"two"}) {
		t.Errorf("a held pull got %q", got)
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h = open(t, dir, "enableLmq=true", "enableMultiDispatch=true")
	pull("%LMQ%a", "one", "two")
	if a := h.call(protocol.QueryConsumerOffset, "", "consumerGroup=%LMQ%c", "topic=%LMQ%a", "queueId=0"); field(a, "offset") != "1" {
		t.Errorf("%d %s: committed %s", a.Code, a.Remark, field(a, "offset"))
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h = open(t, dir)
	if a := h.pull("%LMQ%a", 0, 0, "*"); a.Code != protocol.TopicNotExist {
		t.Errorf("without enableLmq: %d %s", a.Code, a.Remark)
	}
}

// With a quota, messages for new light queues are refused when there are enough of them; those that are there go on.
func TestBroker_LightQuota(t *testing.T) {
	h := open(t, t.TempDir(), "enableLmq=true", "enableMultiDispatch=true", "enableLmqQuota=true", "maxLmqConsumeQueueNum=2")
	for _, c := range []struct {
		queues string
		code   int32
	}{
		{"%LMQ%a", protocol.Success}, {"%LMQ%b,plain", protocol.Success}, {"%LMQ%c", protocol.SystemError}, {"%LMQ%a,%LMQ%c", protocol.SystemError},
		{"%LMQ%a,%LMQ%b", protocol.Success}, {"other", protocol.Success},
	} {
		a := h.send("T", "x", "i=INNER_MULTI_DISPATCH\x01"+c.queues+"\x02")
		if a.Code != c.code || c.code != 0 && !strings.HasPrefix(a.Remark, "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]") {
			t.Errorf("%s: %d %s", c.queues, a.Code, a.Remark)
		}
	}
}
