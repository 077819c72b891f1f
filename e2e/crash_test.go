//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// stopLimit is how long a server may take to stop cleanly. Java's broker takes eleven seconds.
const stopLimit = 30 * time.Second

// ledger is what the broker has promised: by queue and offset, the body of each acknowledged message.
type ledger struct {
	mu    sync.Mutex
	acked [queues]map[int64]string
	count int
	grew  chan struct{} // takes a word when a message was added, if there is room for one
}

func (l *ledger) add(queue int, offset int64, body string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acked[queue] == nil {
		l.acked[queue] = map[int64]string{}
	}
	if before, twice := l.acked[queue][offset]; twice {
		return fmt.Errorf("queue %d, offset %d was given to %q and to %q", queue, offset, before, body)
	}
	l.acked[queue][offset] = body
	l.count++
	select {
	case l.grew <- struct{}{}:
	default:
	}
	return nil
}

// check reads a queue from an offset to its end: every acknowledged message lies where it was promised, no message lies
// there twice, and what one writer sent comes in the order in which it was sent. It returns the offset of the end.
func (l *ledger) check(w *wire, topic string, queue int, from int64) (int64, error) {
	last := map[string]int{} // writer → number of its last message
	offset := from
	for {
		recs, err := w.pull(topic, queue, offset)
		if err != nil {
			return 0, fmt.Errorf("queue %d, offset %d: %w", queue, offset, err)
		}
		if len(recs) == 0 {
			break
		}
		for _, r := range recs {
			if r.queueOffset != offset {
				return 0, fmt.Errorf("queue %d: offset %d after %d", queue, r.queueOffset, offset-1)
			}
			if want, ok := l.acked[queue][offset]; ok && want != string(r.body) {
				return 0, fmt.Errorf("queue %d, offset %d: %.60q, acknowledged was %.60q", queue, offset, r.body, want)
			}
			writer, number, ok := bytes.Cut(r.body, []byte("#"))
			number, _, _ = bytes.Cut(number, []byte("."))
			n, err := strconv.Atoi(string(number))
			if !ok || err != nil {
				return 0, fmt.Errorf("queue %d, offset %d: nobody wrote %.60q", queue, offset, r.body)
			}
			if before, ok := last[string(writer)]; ok && n <= before {
				return 0, fmt.Errorf("queue %d, offset %d: writer %s's message %d after %d", queue, offset, writer, n, before)
			}
			last[string(writer)] = n
			offset++
		}
	}
	for o := range l.acked[queue] {
		if o >= offset {
			return 0, fmt.Errorf("queue %d ends at %d; message %d was acknowledged", queue, offset, o)
		}
	}
	return offset, nil
}

// TestCrash kills the broker under load, again and again, and now and then also while it starts. It must start by itself
// each time, and what it acknowledged must be there, once and in order. E2E_ROUNDS sets the number of rounds, half of them
// with each kind of flush.
func TestCrash(t *testing.T) {
	for _, flush := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		t.Run(flush, func(t *testing.T) { crash(t, flush) })
	}
}

func crash(t *testing.T, flush string) {
	rounds := 20
	if s := os.Getenv("E2E_ROUNDS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	rounds = (rounds + 1) / 2
	c := &cluster{namesrv: newNamesrv(t, underTest(), "namesrv")}
	t.Cleanup(c.kill)
	if err := c.namesrv.serve(); err != nil {
		t.Fatal(err)
	}
	// Small files, so that kills meet the roll from one to the next.
	b := newBroker(t, underTest(), "broker-a", c.namesrv.addr, "flushDiskType="+flush, "mappedFileSizeCommitLog=4194304", "mappedFileSizeConsumeQueue=60000")
	if err := b.serve(); err != nil {
		t.Fatal(err)
	}
	c.brokers = []*server{b}
	c.waitRegistered(t)
	c.createTopic(t, "Crash", queues)

	l := ledger{grew: make(chan struct{}, 1)}
	var checked [queues]int64
	var starts []time.Duration
	atStart := 0
	began, told := time.Now(), time.Now()
	for round := range rounds {
		before := l.count
		length := 20*time.Millisecond + rand.N(200*time.Millisecond)
		if rand.IntN(20) == 0 { // what a broker does each second
			length = rand.N(2500 * time.Millisecond)
		}
		load(t, &l, b, round, length)
		if l.count == before {
			t.Fatalf("round %d: nothing was acknowledged before the kill", round)
		}
		for len(starts) > 0 && rand.IntN(4) == 0 {
			p, err := start(b.name, b.env, b.args...)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(rand.N(starts[len(starts)/2] + time.Millisecond))
			p.kill()
			atStart++
		}
		begin := time.Now()
		if err := b.serve(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		took := time.Since(begin)
		at, _ := slices.BinarySearch(starts, took)
		starts = slices.Insert(starts, at, took)
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			fmt.Printf("%v: %s, %d of %d rounds, %d messages acknowledged\n", time.Since(began).Round(time.Second), flush, round+1, rounds, l.count)
		}
		w := dial(t, b.addr)
		for q := range queues {
			end, err := l.check(w, "Crash", q, checked[q])
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			checked[q] = end
		}
		w.conn.Close()
	}
	w := dial(t, b.addr)
	total := int64(0)
	for q := range queues {
		end, err := l.check(w, "Crash", q, 0)
		if err != nil {
			t.Fatalf("at the end: %v", err)
		}
		total += end
	}
	fmt.Printf("%s: %d rounds and %d kills more at the start, %d messages acknowledged, %d stored, 0 lost; start %v in the median, %v at most; %v a round\n",
		t.Name(), rounds, atStart, l.count, total, starts[len(starts)/2].Round(time.Millisecond), starts[len(starts)-1].Round(time.Millisecond),
		(time.Since(began) / time.Duration(rounds)).Round(time.Millisecond))
	if err := b.stop(stopLimit); err != nil && underTest() == ours {
		t.Errorf("a clean stop: %v", err)
	}
}

// load writes with sixteen connections until the broker is killed, the given time after its first acknowledgement.
func load(t *testing.T, l *ledger, b *server, round int, length time.Duration) {
	t.Helper()
	var writers sync.WaitGroup
	errs := make(chan error, 16)
	for i := range 16 {
		w, err := connect(b.addr)
		if err != nil {
			errs <- err
			continue
		}
		writers.Go(func() {
			defer w.conn.Close()
			padding := bytes.Repeat([]byte{'x'}, 50+i*i*8) // 50 to 1850 bytes
			for n := 0; ; n++ {
				body := fmt.Sprintf("r%d-w%d#%d.%s", round, i, n, padding)
				offset, err := w.send("Crash", i%queues, []byte(body))
				if err != nil {
					return // killed, or a refusal while it starts: not acknowledged
				}
				if err := l.add(i%queues, offset, body); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	select {
	case <-l.grew:
		<-time.After(length)
	case <-time.After(30 * time.Second): // the caller sees that nothing came
	}
	b.kill()
	writers.Wait()
	select {
	case <-l.grew:
	default:
	}
	close(errs)
	for err := range errs {
		t.Errorf("round %d: %v", round, err)
	}
}
