package send

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"rocketd/protocol"
	"rocketd/put"
)

// A slave takes nothing and makes no topic, and says so as Java does; when it has become master it takes messages.
func TestService_Send_Slave(t *testing.T) {
	slave := true
	for _, c := range []struct {
		acting bool
		code   int32
		remark string
		region string
	}{
		{false, protocol.SystemBusy, "[REJECTREQUEST]system busy, start flow control for a while", ""},
		{true, protocol.ServiceNotAvailable, "service not available now: this broker is a slave, messages are put to its master", "r"},
	} {
		slave = true
		d := open(t, func(_ *put.Config, cfg *Config) {
			cfg.Slave, cfg.ActingMaster = func() bool { return slave }, c.acting
		})
		for _, name := range []string{"plain", "unknown"} { // Create would panic
			a := d.send(protocol.SendMessageV2, name, "", []byte("x"))
			if a.Code != c.code || a.Remark != c.remark || field(&a, "MSG_REGION") != c.region {
				t.Errorf("%s: %d %q region %q", name, a.Code, a.Remark, field(&a, "MSG_REGION"))
			}
		}
		if slave = false; d.send(protocol.SendMessageV2, "plain", "", []byte("x")).Code != protocol.Success {
			t.Error("refused by a master")
		}
	}
}

// few is a set of replicas that has too few of them, or that is slow.
type few struct{ err error }

func (f few) Admit() error { return f.err }
func (f few) Replicated() int64 {
	if f.err != nil {
		return math.MaxInt64
	}
	return 0
}

// Too few replicas: nothing is stored, and the answer is Java's. Slow ones: the answer has the header, as the message is stored.
func TestService_Send_Replicas(t *testing.T) {
	d := open(t, func(c *put.Config, _ *Config) { c.Replicas = few{errors.New("1 of 2")} })
	a := d.send(protocol.SendMessageV2, "plain", "", []byte("x"))
	if a.Code != protocol.SystemError || !strings.HasPrefix(a.Remark, "in-sync replicas not enough") || d.store.MaxPhysical() != 0 {
		t.Errorf("%d %q, the log has %d bytes", a.Code, a.Remark, d.store.MaxPhysical())
	}
	if a = d.send(protocol.SendMessageV2, "plain", "WAIT\x01false\x02", []byte("x")); a.Code != protocol.Success {
		t.Errorf("%d %q", a.Code, a.Remark)
	}
	d = open(t, func(c *put.Config, _ *Config) { c.Replicas, c.SlaveTimeout = few{}, -time.Second })
	if a = d.send(protocol.SendMessageV2, "plain", "", []byte("x")); a.Code != protocol.FlushSlaveTimeout || field(&a, "queueOffset") != "0" || field(&a, "msgId") == "" {
		t.Errorf("%d %q %v", a.Code, a.Remark, a.Fields)
	}
}
