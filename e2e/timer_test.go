//go:build e2e

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// allOf reads a topic to its end.
func (w *wire) allOf(t *testing.T, topic string, queues int) (all []record) {
	t.Helper()
	for q := range queues {
		for next := int64(0); ; {
			recs, err := w.pull(topic, q, next)
			if err != nil {
				t.Fatal(err)
			}
			if len(recs) == 0 {
				break
			}
			all = append(all, recs...)
			next = recs[len(recs)-1].queueOffset + 1
		}
	}
	return all
}

// sendTimed sends a message to a queue of topic Timed that is due at a time, ms.
func (w *wire) sendTimed(t *testing.T, queue int, key string, at int64) {
	t.Helper()
	f := sendFields("Timed", queue)
	f["properties"] = "KEYS\x01" + key + "\x02UNIQ_KEY\x01U" + key + "\x02TIMER_DELIVER_MS\x01" + strconv.FormatInt(at, 10) + "\x02"
	w.must(t, codeSend, f, []byte("later"))
}

// TestTimed has Java's producer send messages with a time, in all three ways, and recall some. Each of the others comes to
// a consumer once, and is stored where it can be read not before its time; with ours, soon after.
func TestTimed(t *testing.T) {
	c := newClusterWith(t, []string{"recallMessageEnable=true"}, underTest(), underTest())
	c.createTopic(t, "Timed", queues)
	p := newPeer(t, peerKinds[0], c.namesrv.addr)
	subscribe(t, p, "timed", "Timed")

	due := map[string]int64{}
	recalled := map[string]bool{}
	want := 0
	for i, setter := range []string{"setDelayTimeMs", "setDelayTimeSec", "setDeliverTimeMs", "setDelayTimeMs"} {
		first, value := 100*i, "3000"
		began := time.Now().UnixMilli()
		switch {
		case setter == "setDelayTimeSec":
			value = "4"
		case setter == "setDeliverTimeMs":
			value = strconv.FormatInt(began+5123, 10)
		case i == 3:
			value = "6500"
		}
		a := p.do(t, "op", "produce", "group", "P-Timed", "topic", "Timed", "mode", "sync", "keys", "k", "first", strconv.Itoa(first), "count", "20", setter, value)
		ms, _ := strconv.ParseInt(value, 10, 64)
		switch setter {
		case "setDelayTimeSec":
			ms = began + 1000*ms
		case "setDelayTimeMs":
			ms += began
		}
		for j := range 20 {
			due[fmt.Sprintf("k-%d", first+j)] = ms
		}
		want += 20
		if handles := strings.Split(a.Get("handles"), ","); i == 3 {
			for j, handle := range handles[:7] {
				p.do(t, "op", "recall", "group", "P-Timed", "topic", "Timed", "handle", handle)
				recalled[fmt.Sprintf("k-%d", first+j)] = true
				want--
			}
		}
	}
	got := consumed(t, p, "timed", "Timed", want)
	time.Sleep(2 * time.Second)
	w := dial(t, c.brokers[0].addr)
	all := w.allOf(t, "Timed", queues)
	if len(all) != want || len(got) != want {
		t.Errorf("%d messages are stored, %d came, want %d", len(all), len(got), want)
	}
	worst := int64(0)
	for _, r := range all {
		key := strings.TrimSpace(r.properties["KEYS"])
		late := r.storeMs - due[key]
		if late < 0 || recalled[key] {
			t.Errorf("%s came %d ms late, recalled %t", key, late, recalled[key])
		}
		worst = max(worst, late)
	}
	t.Logf("the last came %d ms after its time", worst)
	if underTest() == ours && worst > 1500 { // the sends themselves take their time
		t.Errorf("a message came %d ms late", worst)
	}
	if a, err := p.try("op", "recall", "group", "P-Timed", "topic", "Timed", "handle", "bm8gaGFuZGxl"); err == nil && a.Get("ok") == "true" {
		t.Error("a handle that is none was taken")
	}
}

// TestTimerExchange hands a store with messages that wait from broker to broker, Java's and ours, stopped and killed. Each of
// them comes, not early, and with ours not twice.
func TestTimerExchange(t *testing.T) {
	onlyTestJava(t)
	for _, c := range []exchangeCase{
		{"Stopped", []release{java5, rocketdHere, java5, rocketdHere}, false},
		{"Killed", []release{java5, rocketdHere, java5, rocketdHere}, true},
		{"New", []release{rocketdHere, java5}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			needJava(t)
			h := newHouse(t, &c)
			due := map[string]int64{}
			var w *wire
			for i, who := range c.chain {
				h.serve(t, who)
				w = dial(t, h.addr)
				if i == 0 {
					updateTopic(t, w, "Timed", 2, "")
				}
				for j := range 40 {
					key := fmt.Sprintf("%d-%d", i, j)
					at := time.Now().UnixMilli() + 1500 + int64(j)*900 // some here, most elsewhere
					w.sendTimed(t, j%2, key, at)
					due[key] = at
				}
				time.Sleep(4 * time.Second)
				if i == len(c.chain)-1 {
					break
				}
				if c.killed {
					h.process.kill()
				} else {
					h.server.stop(stopLimit)
				}
			}
			here := func() map[string][]int64 {
				got := map[string][]int64{}
				for _, r := range w.allOf(t, "Timed", 2) {
					key := strings.TrimSpace(r.properties["KEYS"])
					got[key] = append(got[key], r.storeMs)
				}
				return got
			}
			eventually(t, 90*time.Second, "all came", func() bool { return len(here()) == len(due) })
			time.Sleep(3 * time.Second)
			twice := 0
			for key, times := range here() {
				if times[0] < due[key] {
					t.Errorf("%s came %d ms early", key, due[key]-times[0])
				}
				if len(times) > 1 {
					twice++
					t.Logf("%s came %d times: %v after its time", key, len(times), times[1]-due[key])
				}
			}
			if twice > 0 && !c.killed {
				t.Errorf("%d messages came twice", twice)
			}
		})
	}
}

// TestTimedKill kills our broker again and again while messages wait and are delivered. Each that was acknowledged comes
// once, and not early.
func TestTimedKill(t *testing.T) {
	if underTest() == java {
		t.Skip("after a kill Java delivers some a second time")
	}
	c := &cluster{namesrv: newNamesrv(t, ours, "namesrv")}
	t.Cleanup(c.kill)
	if err := c.namesrv.serve(); err != nil {
		t.Fatal(err)
	}
	b := newBroker(t, ours, "broker-a", c.namesrv.addr)
	c.brokers = append(c.brokers, b)
	due := map[string]int64{}
	var w *wire
	for round := range 6 {
		if err := b.serve(); err != nil {
			t.Fatal(err)
		}
		w = dial(t, b.addr)
		if round == 0 {
			updateTopic(t, w, "Timed", 2, "")
		}
		for j := range 300 {
			key := fmt.Sprintf("%d-%d", round, j)
			at := time.Now().UnixMilli() + 50 + int64(j)*11
			w.sendTimed(t, j%2, key, at)
			due[key] = at
		}
		time.Sleep(time.Duration(100+150*round) * time.Millisecond)
		if round < 5 {
			b.process.kill()
		}
	}
	var all []record
	eventually(t, 30*time.Second, "all came", func() bool {
		all = w.allOf(t, "Timed", 2)
		return len(all) >= len(due)
	})
	time.Sleep(2 * time.Second)
	times := map[string]int{}
	for _, r := range w.allOf(t, "Timed", 2) {
		key := strings.TrimSpace(r.properties["KEYS"])
		if times[key]++; times[key] > 1 || r.storeMs < due[key] {
			t.Errorf("%s came %d times, %d ms after its time", key, times[key], r.storeMs-due[key])
		}
	}
	if len(times) != len(due) {
		t.Errorf("%d of %d came", len(times), len(due))
	}
}
