package pull

import (
	"fmt"
	"testing"

	"rocketd/protocol"
)

// The bits of messages are asked for the version of the subscription that the group has registered by properties, by a pull that is
// held too, and for no other.
func TestService_Pull_Bits(t *testing.T) {
	d := newDesk(t)
	d.cfg.PropertyFilter = true
	asked := ""
	d.cfg.MayWant = func(group, topic []byte, version int64) func(int64, []byte) bool {
		asked += fmt.Sprintf("%s/%s/%d ", group, topic, version)
		return func(int64, []byte) bool { return false }
	}
	d.open()
	d.add("a")
	d.subscribe(protocol.Clustering, protocol.SubscriptionData{Topic: "T", SubString: "a > 1", ExpressionType: "SQL92", SubVersion: 7})
	d.pull(1, "sysFlag=2", "queueOffset=1")
	d.add("a")
	if len(d.asked) != 2 || d.asked[0].Bits == nil || d.asked[1].Bits == nil || asked != "g/T/7 " {
		t.Errorf("%d reads, asked for %s", len(d.asked), asked)
	}
	d.pull(2, "subscription=a > 1", "expressionType=SQL92")
	d.subscribe(protocol.Clustering, protocol.SubscriptionData{Topic: "T", SubString: "*", SubVersion: 8})
	d.pull(3, "sysFlag=2")
	if len(d.asked) != 4 || d.asked[2].Bits != nil || d.asked[3].Bits != nil || asked != "g/T/7 " {
		t.Errorf("%d reads, asked for %s", len(d.asked), asked)
	}
}
