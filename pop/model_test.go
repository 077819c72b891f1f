package pop

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Whatever consumers do and however often the process ends, a message is nobody else's while it is lent, comes again when it
// is not acknowledged, and does not when it is.
func TestService_Model(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { model(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func model(t *testing.T, rng *rand.Rand) {
	d := newDesk(t, func(c *Config) {
		c.MaxLeases = 1000
		if rng.IntN(3) == 0 {
			c.MaxLeases = 3 // most are revived from the log
		}
	})
	type state struct {
		until time.Time // lent
		acked bool
		times int
	}
	messages := map[string]*state{}
	held := map[string]got{}
	d.offsets.Commit([]byte("h"), []byte("T"), 0, 0)
	if err := d.offsets.Persist(); err != nil { // else nobody knows from when on offsets are missing
		t.Fatal(err)
	}
	d.saved = d.now
	d.pass(time.Millisecond)
	take := func(list []got, ms int) {
		for _, g := range list {
			m := messages[g.body]
			switch {
			case m == nil:
				t.Fatalf("%s was never sent", g.body)
			case m.acked:
				t.Fatalf("%s came again after it was acknowledged", g.body)
			case d.now.Before(m.until):
				t.Fatalf("%s is lent until %v, and was popped at %v", g.body, m.until, d.now)
			}
			m.until, m.times = d.now.Add(time.Duration(ms)*time.Millisecond), m.times+1
			held[g.body] = g
		}
	}
	some := func() (got, bool) {
		for _, g := range held {
			return g, true
		}
		return got{}, false
	}
	for step := range 400 {
		switch op := rng.IntN(20); {
		case op < 4:
			body := fmt.Sprint("m", step)
			messages[body] = &state{}
			d.send("T4", rng.Int32N(4), body)
		case op < 10:
			ms := 1500 + rng.IntN(8000)
			take(d.pop("topic=T4", fmt.Sprint("invisibleTime=", ms), fmt.Sprint("maxMsgNums=", 1+rng.IntN(32))), ms)
		case op < 15:
			if g, ok := some(); ok && d.now.Before(messages[g.body].until) {
				if a := d.ack(g); a.Code != 0 {
					t.Fatalf("ack of %s: %d %s", g.body, a.Code, a.Remark)
				}
				messages[g.body].acked = true
				delete(held, g.body)
			}
		case op < 16:
			if g, ok := some(); ok && d.now.Before(messages[g.body].until) {
				ms := rng.IntN(6000)
				a := d.call(200053, "", append(d.of(g), fmt.Sprint("invisibleTime=", ms))...)
				if a.Code != 0 {
					t.Fatalf("change of %s: %d %s", g.body, a.Code, a.Remark)
				}
				h, _ := ParseHandle([]byte(g.handle))
				g.handle = fmt.Sprintf("%d %s %d %d %c broker-a %d %d", g.offset, field(a, "popTime"), ms, h.Revive, h.Retry, h.QueueID, g.offset)
				held[g.body] = g
				messages[g.body].until = d.now.Add(time.Duration(ms) * time.Millisecond)
			}
		case op < 17:
			if err := d.offsets.Persist(); err != nil {
				t.Fatal(err)
			}
			d.saved = d.now
			d.pass(time.Millisecond)
		case op < 19:
			d.pass(time.Duration(rng.IntN(1500)) * time.Millisecond)
		default:
			d.kill()
		}
	}
	for range 60 {
		d.pass(2 * time.Second)
		for _, g := range d.pop("topic=T4", "invisibleTime=1500") {
			m := messages[g.body]
			if m.acked {
				t.Fatalf("%s came again after it was acknowledged", g.body)
			}
			m.times++
			d.ack(g)
			m.acked = true
		}
	}
	for body, m := range messages {
		if !m.acked {
			t.Errorf("%s was never acknowledged, popped %d times", body, m.times)
		}
	}
	if n := d.svc.live.Load(); n != 0 {
		t.Errorf("%d leases are left in memory", n)
	}
}
