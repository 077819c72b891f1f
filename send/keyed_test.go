package send

import (
	"strings"
	"testing"

	"rocketd/protocol"
	"rocketd/topic"
)

// A topic that keeps the last message of each key takes none without a key, and one without a body, alone or in a batch,
// which no other topic does.
func TestService_Send_Compaction(t *testing.T) {
	for _, c := range []struct {
		topic, props, body string
		want               string // "" is taken
	}{
		{"table", "KEYS\x01a\x02", "x", ""},
		{"table", "KEYS\x01a\x02", "", ""},
		{"table", "TAGS\x01a\x02", "x", "Required message key is missing"},
		{"table", "KEYS\x01 \x02", "x", "Required message key is missing"},
		{"plain", "KEYS\x01a\x02", "", "no body"},
	} {
		d := open(t)
		d.svc.cfg.Topics.(topics)["table"] = topic.NewConfig("table", 2)
		d.svc.cfg.Topics.(topics)["table"].Attributes = map[string]string{topic.AttrCleanupPolicy: "COMPACTION"}
		packed := appendBatch(nil, c.body, c.props)
		for code, props := range map[int32]string{protocol.SendMessageV2: c.props, protocol.SendBatchMessage: ""} {
			body := packed
			if code == protocol.SendMessageV2 {
				body = []byte(c.body)
			}
			a := d.send(code, c.topic, props, body)
			if (a.Code == protocol.Success) != (c.want == "") || !strings.Contains(a.Remark, c.want) {
				t.Errorf("%d to %s, %q %q: %d %s", code, c.topic, c.props, c.body, a.Code, a.Remark)
			}
		}
	}
}
