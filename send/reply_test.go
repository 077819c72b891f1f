package send

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"rocketd/protocol"
	"rocketd/put"
)

// asker is the connection of a producer that waits for replies.
type asker struct {
	peer
	pushed  []protocol.Command
	confirm int32
	err     error
}

func (p *asker) Invoke(_ context.Context, c *protocol.Command) (*protocol.Command, error) {
	p.pushed = append(p.pushed, *c)
	return &protocol.Command{Code: p.confirm}, p.err
}

// replying is a desk that pushes to a, the client "asks".
func replying(t *testing.T, a *asker, keep bool) *desk {
	var d *desk
	d = open(t, func(_ *put.Config, cfg *Config) {
		cfg.Replies.Push = func(c *protocol.Call, run func(context.Context, *protocol.Call) error) {
			own := &protocol.Call{Command: *c.Command.Clone(), Peer: c.Peer}
			if err := run(t.Context(), own); err != nil {
				t.Error(err)
			}
		}
		cfg.Resume = func(c *protocol.Call, run func(*protocol.Call) error) {
			c.Turn = &protocol.Turn{Now: time.UnixMilli(1000), Appends: d.batch}
			if err := run(c); err != nil {
				c.Fail(err)
			}
		}
		cfg.Replies.Producer = func(id string) protocol.Peer {
			if id != "asks" {
				return nil
			}
			return a
		}
		cfg.Replies.Keep = func() bool { return keep }
	})
	return d
}

// A reply reaches the client that waits for it, as Java's clients read it, and the code of the answer says so; it is kept
// whatever became of the push.
func TestService_Reply(t *testing.T) {
	const to = "REPLY_TO_CLIENT\x01asks\x02UNIQ_KEY\x01u\x02"
	for _, c := range []struct {
		name, props string
		confirm     int32
		err         error
		code        int32
		remark      string
		pushed      bool
	}{
		{"confirmed", to, 0, nil, protocol.Success, "", true},
		{"refused", to, 1, nil, protocol.SystemError, "push reply message to asksfail.", true},
		{"silent", to, 0, errors.New("timeout"), protocol.SystemError, "push reply message to asksfail.", true},
		{"gone", "REPLY_TO_CLIENT\x01left\x02", 0, nil, protocol.SystemError, "push reply message fail, channel of <left> not found.", false},
		{"nobody", "KEYS\x01k\x02", 0, nil, protocol.SystemError, "reply message properties[REPLY_TO_CLIENT] is null", false},
	} {
		for _, keep := range []bool{true, false} {
			t.Run(c.name, func(t *testing.T) {
				a := &asker{confirm: c.confirm, err: c.err}
				d := replying(t, a, keep)
				got := d.send(protocol.SendReplyMessageV2, "plain", c.props, []byte("pong"))
				if got.Code != c.code || got.Remark != c.remark || field(&got, "MSG_REGION") != "r" || field(&got, "TRACE_ON") != "false" {
					t.Errorf("%d %q %v", got.Code, got.Remark, got.Fields)
				}
				id, kept := field(&got, "msgId"), d.store.MaxPhysical() > 0
				if kept != keep || keep != (len(id) == 32) || !keep && c.code == 0 && id != "0" {
					t.Errorf("kept %v, msgId %q", kept, id)
				}
				if !c.pushed {
					if len(a.pushed) > 0 {
						t.Error("pushed")
					}
					return
				}
				var h protocol.ReplyMessageRequest
				if err := h.Decode(a.pushed[0].Fields); err != nil {
					t.Fatal(err)
				}
				if a.pushed[0].Code != protocol.PushReplyMessageToClient || string(a.pushed[0].Body) != "pong" || h.Topic != "plain" || h.ProducerGroup != "g" ||
					h.BornHost != "192.0.2.10:1234" || h.StoreHost != "192.0.2.1:10911" || h.QueueID != 1 || h.StoreTimestamp == 0 ||
					!strings.HasPrefix(h.Properties, to+"PUSH_REPLY_TIME\x01") {
					t.Errorf("pushed %+v", h)
				}
			})
		}
	}
}

// What cannot be kept as it is, is refused before anybody gets it.
func TestService_Reply_Refused(t *testing.T) {
	a := new(asker)
	d := replying(t, a, true)
	check := func(topic, props string, body []byte, code int32, remark string) {
		t.Helper()
		got := d.send(protocol.SendReplyMessageV2, topic, props, body)
		if got.Code != code || !strings.Contains(got.Remark, remark) {
			t.Errorf("%d %q, want %d %q", got.Code, got.Remark, code, remark)
		}
	}
	const to = "REPLY_TO_CLIENT\x01asks\x02"
	check("plain", to+"DELAY\x011\x02", []byte("x"), protocol.MessageIllegal, "property DELAY")
	check("plain", to+"TIMER_DELAY_SEC\x015\x02", []byte("x"), protocol.MessageIllegal, "TIMER_DELAY_SEC")
	check("plain", to+"TRAN_MSG\x01true\x02", []byte("x"), protocol.MessageIllegal, "transaction")
	check("plain", to+"INNER_NUM\x012\x02", []byte("x"), protocol.MessageIllegal, "batch")
	check("plain", to, nil, protocol.MessageIllegal, "no body")
	check("plain", to, make([]byte, 100_001), protocol.MessageIllegal, "maxMessageSize")
	check("plain", to+strings.Repeat("x", 32767), []byte("x"), protocol.MessageIllegal, "properties")
	check("batch", to, []byte("x"), protocol.MessageIllegal, "batch queues")
	if len(a.pushed) > 0 || d.store.MaxPhysical() != 0 {
		t.Errorf("%d pushed, the log has %d bytes", len(a.pushed), d.store.MaxPhysical())
	}
}
