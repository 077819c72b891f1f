package broker

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"rocketd/protocol"
	"rocketd/settings"
)

// names are ext fields that the handlers read, in both spellings of a send.
var names = strings.Fields(`a b c d e f g h i j k l m n ns bname nsd oway lo
	producerGroup topic defaultTopic defaultTopicQueueNums queueId sysFlag bornTimestamp flag properties reconsumeTimes unitMode
	maxReconsumeTimes batch consumerGroup queueOffset maxMsgNums commitOffset suspendTimeoutMillis subscription subVersion
	expressionType maxMsgBytes requestSource setZeroIfNotFound offset timestamp boundaryType group delayLevel originMsgId
	originTopic clientID readQueueNums writeQueueNums perm topicFilterType topicSysFlag order attributes force groupName
	cleanOffset isOrder startTimestamp endTimestamp index count key maxNum beginTimestamp statsName statsKey clientAddr
	isForce isC srcGroup destGroup filterGroups compareGroup readable consumeQueueIndex cacheable topicList`)

// No request makes a handler panic, stop the broker or go without its one answer, whatever is missing, negative, huge
// or of another kind.
func TestBroker_HostileRequests(t *testing.T) {
	h := open(t, t.TempDir())
	h.send("T", "x")
	h.pull("T", 0, 0, "*")
	m := settings.Machine{Home: t.TempDir(), IP: "127.0.0.1", HostName: "b", Processors: 2}
	s := settings.NewBroker(m, slog.New(slog.DiscardHandler))
	s.Set("listenPort", strconv.Itoa(freePort(t)))
	s.Set("storePathRootDir", m.Home)
	codes, err := New(Config{Settings: s, Log: slog.New(slog.DiscardHandler)}) // only for its table
	if err != nil {
		t.Fatal(err)
	}
	defer codes.Close()
	values := []string{"", "-1", "0", "1", "T", "g", "2147483647", "-2147483648", "9223372036854775807", "-9223372036854775808",
		"true", "%RETRY%", "%RETRY%g", "\xff\xfe", "{", strings.Repeat("x", 300), "../../x", "a\x01b\x02c"}
	bodies := []string{"", "{", "null", "[]", "{}", "[null]", `{"a":null}`, `{"clientID":"c","consumerDataSet":[null,{}],"producerDataSet":[null,{}]}`,
		`{"mqSet":[null,{}],"consumerGroup":null,"clientId":null}`, "=", "\x00\x00\x00\x17\x00", strings.Repeat("\xff", 40),
		`{"topicConfigList":[null,{}]}`, `{"groupConfigList":[null,{}]}`, `{"groupName":null}`, `{"subscriptionData":null}`}
	for _, row := range codes.rows() {
		ask := func(body string, fields ...string) {
			t.Helper()
			r := h.call(row.Code, body, fields...)
			if strings.Contains(r.Remark, "panicked") {
				t.Errorf("code %d, %.60q, body %.60q: %s", row.Code, fields, body, r.Remark)
			}
		}
		for i, v := range values {
			var all []string
			for _, n := range names {
				all = append(all, n+"="+v)
			}
			ask(bodies[i%len(bodies)], all...)
			// Names that lead further, numbers that do not.
			ask(bodies[(i+5)%len(bodies)], append(all, "topic=T", "b=T", "group=g", "consumerGroup=g", "groupName=g")...)
		}
		for _, b := range bodies {
			ask(b)
		}
	}
	if r := h.send("T", "y"); r.Code != protocol.Success {
		t.Errorf("a send after all this: code %d %q", r.Code, r.Remark)
	}
	if got := fmt.Sprint(field(h.pull("T", 0, 0, "*"), "minOffset")); got != "0" {
		t.Errorf("a pull after all this: %q", got)
	}
}
