//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// compactionKeys make the files of compaction topics small, and compactions frequent.
var compactionKeys = []string{"compactionMappedFileSize=46000", "compactionCqMappedFileSize=4600", "compactionScheduleInternal=2000"}

// compacting is a topic of which only the last message of each key is wanted, and what was sent to it.
type compacting struct {
	topic string
	sent  []string // by offset: key=body
	have  []int64  // offsets that were there at the last look
}

// send stores a message for each key=body.
func (c *compacting) send(t *testing.T, w *wire, messages ...string) {
	t.Helper()
	for _, m := range messages {
		key, body, _ := strings.Cut(m, "=")
		p := &parcel{topic: c.topic, name: fmt.Sprintf("U%d", len(c.sent)), keys: key, body: []byte(body)}
		if body == "" { // Java takes a message without a body in a batch only
			p = &parcel{topic: c.topic, batch: []parcel{*p}}
		}
		if offset, _, err := w.dispatch(p); err != nil || offset != int64(len(c.sent)) {
			t.Fatalf("%s was stored at %d, not %d: %v", m, offset, len(c.sent), err)
		}
		c.sent = append(c.sent, m)
	}
}

// some are messages with a few keys, one of which is deleted in the end.
func (c *compacting) some(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("k%d=%s-%d", i%10, strings.Repeat("x", i%50), len(c.sent)+i))
	}
	gone := fmt.Sprintf("gone%d", len(c.sent))
	return slices.Concat([]string{gone + "=soon"}, all[:n/2], []string{gone + "="}, all[n/2:])
}

// look reads the topic: each message is one that was sent, in order, one that was there at the last look or came since, and of
// each key the last is among them, or nothing if that deletes it.
func (c *compacting) look(t *testing.T, w *wire, lookedAt int) {
	t.Helper()
	var offsets []int64
	for _, r := range w.allOf(t, c.topic, 1) {
		offsets = append(offsets, r.queueOffset)
		if got := strings.TrimSpace(r.properties["KEYS"]) + "=" + string(r.body); got != c.sent[r.queueOffset] {
			t.Errorf("offset %d is %q, not %q", r.queueOffset, got, c.sent[r.queueOffset])
		}
		if r.queueOffset < int64(lookedAt) && !slices.Contains(c.have, r.queueOffset) {
			t.Errorf("offset %d was gone and is back", r.queueOffset)
		}
	}
	if !slices.IsSorted(offsets) || len(slices.Compact(slices.Clone(offsets))) != len(offsets) {
		t.Errorf("not in order: %v", offsets)
	}
	last := map[string]int64{}
	for i, m := range c.sent {
		key, _, _ := strings.Cut(m, "=")
		last[key] = int64(i)
	}
	for key, offset := range last {
		has := slices.Contains(offsets, offset)
		if !has && !strings.HasSuffix(c.sent[offset], "=") {
			t.Errorf("the last of %s, offset %d, is not there", key, offset)
		} else if !has && slices.ContainsFunc(offsets, func(o int64) bool { return strings.HasPrefix(c.sent[o], key+"=") }) {
			t.Errorf("%s was deleted and is back", key)
		}
	}
	c.have = offsets
}

// compacted waits until most of a file of units, which has 99, is gone of what was there and what came.
func (c *compacting) compacted(t *testing.T, w *wire, came int) {
	t.Helper()
	eventually(t, 60*time.Second, "the topic is compacted", func() bool {
		return len(w.allOf(t, c.topic, 1)) < len(c.have)+came-80
	})
}

// TestCompaction has a topic compacted, and real consumers read what is left: the last message of each key among the older
// ones, and all of the newer.
func TestCompaction(t *testing.T) {
	cl := newClusterWith(t, compactionKeys, underTest(), underTest())
	w := dial(t, cl.brokers[0].addr)
	updateTopic(t, w, "Compact", 1, "+cleanup.policy=COMPACTION")
	cl.createTopic(t, "Compact", 1) // it keeps its attributes
	if a, err := w.call(codeSend, sendFields("Compact", 0), []byte("no key")); err != nil || a.code != 13 {
		t.Errorf("a message without a key: %d %s (%v)", a.code, a.remark, err)
	}
	c := &compacting{topic: "Compact"}
	c.send(t, w, c.some(300)...)
	c.look(t, w, 0)
	if len(c.have) < len(c.sent)/2 {
		t.Logf("%d of %d are left at the first look", len(c.have), len(c.sent))
	}
	eventually(t, 60*time.Second, "the topic is compacted", func() bool { return len(w.allOf(t, "Compact", 1)) < 150 })
	c.look(t, w, len(c.sent))

	p := newPeer(t, peerKinds[0], cl.namesrv.addr)
	same := func(name string) {
		t.Helper()
		eventually(t, 40*time.Second, name+" has all", func() bool { return len(p.got(name, "Compact")) >= len(c.have) })
		var got []int64
		for _, m := range p.got(name, "Compact") {
			got = append(got, m.offset)
			if key, _, _ := strings.Cut(c.sent[m.offset], "="); m.keys != key {
				t.Errorf("%s: offset %d has key %q, not %q", name, m.offset, m.keys, key)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, c.have) {
			t.Errorf("%s got %v, not %v", name, got, c.have)
		}
	}
	subscribe(t, p, "push", "Compact")
	same("push")
	p.do(t, "op", "pull", "name", "pulled", "group", "G-pull", "topic", "Compact")
	same("pulled")
	p.do(t, "op", "litepull", "name", "lite", "group", "G-lite", "topic", "Compact", "count", strconv.Itoa(len(c.have)))
	same("lite")
	was := len(c.have)
	c.send(t, w, "k1=newest", "k2=newest") // a consumer that waits gets what comes
	eventually(t, 40*time.Second, "what came is consumed", func() bool { return len(p.got("push", "Compact")) == was+2 })
}

// TestCompactionExchange hands a store with a compaction topic from broker to broker, stopped and killed: each serves what the
// one before did, and goes on compacting it.
func TestCompactionExchange(t *testing.T) {
	onlyTestJava(t)
	for _, e := range []exchangeCase{
		{"Stopped", []release{java5, rocketdHere, java5, rocketdHere}, false},
		{"Killed", []release{java5, rocketdHere, java5, rocketdHere}, true},
		{"New", []release{rocketdHere, java5, rocketdHere}, false},
		{"NewKilled", []release{rocketdHere, java5, rocketdHere}, true},
	} {
		t.Run(e.name, func(t *testing.T) {
			needJava(t)
			h := newHouse(t, &e)
			conf, err := os.ReadFile(h.conf)
			if err != nil {
				t.Fatal(err)
			}
			writeConf(t, h.dir, "broker.conf", append([]string{string(conf)}, compactionKeys...))
			c := &compacting{topic: "Compact"}
			for i, who := range e.chain {
				h.serve(t, who)
				w := dial(t, h.addr)
				if i == 0 {
					updateTopic(t, w, "Compact", 1, "+cleanup.policy=COMPACTION")
				} else {
					if who == java5 { // it copies behind the log
						eventually(t, 60*time.Second, "Java has all", func() bool {
							all := w.allOf(t, "Compact", 1)
							return len(all) > 0 && all[len(all)-1].queueOffset == int64(len(c.sent)-1)
						})
					}
					c.look(t, w, len(c.sent))
				}
				before := len(c.sent)
				c.send(t, w, c.some(250)...)
				c.compacted(t, w, len(c.sent)-before)
				if who == java5 {
					eventually(t, 60*time.Second, "Java has all", func() bool {
						all := w.allOf(t, "Compact", 1)
						return len(all) > 0 && all[len(all)-1].queueOffset == int64(len(c.sent)-1)
					})
				}
				c.look(t, w, before)
				t.Logf("%s: %d of %d messages", who, len(c.have), len(c.sent))
				c.send(t, w, c.some(20)...) // not compacted, maybe not copied
				if e.killed {
					h.process.kill()
				} else {
					h.server.stop(stopLimit)
				}
				for o := range c.sent[len(c.sent)-22:] {
					c.have = append(c.have, int64(len(c.sent)-22+o))
				}
			}
			if !e.killed {
				h.verify(t, true)
			}
		})
	}
}
