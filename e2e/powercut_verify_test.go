//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// loss is what may be gone after an end.
type loss int

const (
	nothing      loss = iota // of what was promised
	tail                     // the end of the log: the power went, under ASYNC_FLUSH
	offsetsAlone             // nothing, and neither what was committed: a clean stop
)

// verify asks a broker that came back for everything that was promised and not found before, and for a sample of the rest.
// What it found is promised from then on. round is that of the messages; cut is when the power went.
func (p *promises) verify(addr string, round int, may loss, syncFlush bool, cut time.Time) error {
	w, err := connect(addr)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	if err := p.verifyTables(w); err != nil {
		return err
	}
	ends, err := p.verifyQueues(w)
	if err != nil {
		return err
	}
	p.Lock()
	if may == tail {
		err = p.forget(ends, cut)
	}
	for name, q := range p.queues {
		for offset := q.durable; offset < q.end && err == nil; offset++ {
			if m, ok := q.at[offset]; ok && offset >= ends[name] {
				err = fmt.Errorf("%v ends at %d, but %v was promised at %d", name, ends[name], m.id, offset)
			}
		}
		q.end = ends[name]
		if syncFlush || may != nothing {
			q.durable = q.end
		}
	}
	p.verified = round
	p.Unlock()
	if err != nil {
		return err
	}
	if err := p.verifyCommits(w, may, syncFlush); err != nil {
		return err
	}
	return p.verifySample(w)
}

// verifyQueues reads all queues from what is known to be there to their ends, which it returns.
func (p *promises) verifyQueues(w *wire) (map[queueName]int64, error) {
	ends := map[queueName]int64{}
	p.Lock()
	names := slices.Collect(maps.Keys(p.queues))
	p.Unlock()
	for _, name := range names {
		p.Lock()
		offset := p.queues[name].durable
		p.Unlock()
		end, err := p.readOn(w, name, offset, math.MaxInt64)
		if err != nil {
			return nil, err
		}
		ends[name] = end
		for code, want := range map[int]int64{codeMinOffset: 0, codeMaxOffset: end} {
			a, err := w.call(code, map[string]string{"topic": name.topic, "queueId": strconv.Itoa(name.id)}, nil)
			if err != nil {
				return nil, err
			}
			if got := a.ext["offset"]; a.code != 0 || got != strconv.FormatInt(want, 10) {
				return nil, fmt.Errorf("%v reads to %d, but request %d says %q (code %d)", name, end, code, got, a.code)
			}
		}
	}
	return ends, nil
}

// readOn reads a queue from an offset to its end, or to the limit, and returns where that is.
func (p *promises) readOn(w *wire, name queueName, offset, limit int64) (int64, error) {
	for offset < limit {
		recs, err := w.pull(name.topic, name.id, offset)
		if err != nil {
			var r refusal
			if errors.As(err, &r) && r.code == 17 && offset == 0 && p.top(name) == 0 { // a topic whose first message was on its way
				return 0, nil
			}
			return 0, fmt.Errorf("cannot read %v@%d: %w", name, offset, err)
		}
		if len(recs) == 0 {
			break
		}
		for _, r := range recs {
			if r.queueOffset != offset {
				return 0, fmt.Errorf("%v: offset %d after %d", name, r.queueOffset, offset-1)
			}
			if err := p.saw("found", &r); err != nil {
				return 0, err
			}
			offset++
		}
		p.Lock()
		p.counts.found += len(recs)
		p.Unlock()
	}
	return offset, nil
}

// verifyTables looks for the topics and groups that were made and not removed, and for those that were.
func (p *promises) verifyTables(w *wire) error {
	var topics struct {
		TopicConfigTable map[string]struct{ ReadQueueNums int }
	}
	var groups struct {
		SubscriptionGroupTable map[string]struct{ RetryMaxTimes int }
	}
	for code, to := range map[int]any{codeTopics: &topics, codeGroups: &groups} {
		a, err := w.call(code, nil, nil)
		if err != nil || a.code != 0 {
			return fmt.Errorf("request %d: code %d %s, %w", code, a.code, a.remark, err)
		}
		if err := json.Unmarshal(bareKey.ReplaceAll(a.body, []byte(`$1"$2":`)), to); err != nil {
			return err
		}
	}
	p.Lock()
	defer p.Unlock()
	look := func(kind, name string, e *entry, there bool) error {
		if e.sure && there != e.there {
			return fmt.Errorf("%s %s: there is %v, acknowledged was %v", kind, name, there, e.there)
		}
		e.there, e.sure = there, true
		return nil
	}
	for name, e := range p.topics {
		_, there := topics.TopicConfigTable[name]
		if err := look("topic", name, e, there); err != nil {
			return err
		}
	}
	for name, e := range p.groups {
		_, there := groups.SubscriptionGroupTable[name]
		if err := look("group", name, e, there); err != nil {
			return err
		}
	}
	got := topics.TopicConfigTable[cutRegister].ReadQueueNums
	if got < p.register.acked || got > p.register.asked {
		return fmt.Errorf("topic %s has %d queues, acknowledged were %d, asked for %d", cutRegister, got, p.register.acked, p.register.asked)
	}
	p.register.acked, p.register.asked = got, got
	return nil
}

// verifyCommits compares the group's offsets: each is one that was committed, none is less than after the start before, and
// under SYNC_FLUSH none is of messages that are not there.
func (p *promises) verifyCommits(w *wire, may loss, syncFlush bool) error {
	p.Lock()
	defer p.Unlock()
	for name, c := range p.commits {
		a, err := w.call(codeQueryOffset, map[string]string{"consumerGroup": cutGroup, "topic": name.topic, "queueId": strconv.Itoa(name.id),
			"setZeroIfNotFound": "false"}, nil)
		if err != nil {
			return err
		}
		offset, _ := strconv.ParseInt(a.ext["offset"], 10, 64)
		switch {
		case a.code != 0 || offset == 0:
			if c.found > 0 || may == offsetsAlone && c.last > 0 {
				return fmt.Errorf("the committed offset of %v is gone (code %d); it was %d, then %d", name, a.code, c.found, c.last)
			}
			c.last = 0
			continue
		case !c.values[offset]:
			return fmt.Errorf("the committed offset of %v is %d, which nobody committed", name, offset)
		case offset < min(c.found, p.queues[name].end), may == offsetsAlone && offset < c.last:
			return fmt.Errorf("the committed offset of %v is %d; it was %d, then %d", name, offset, c.found, c.last)
		case syncFlush && offset > p.queues[name].end:
			return fmt.Errorf("the committed offset of %v is %d, and the queue ends at %d", name, offset, p.queues[name].end)
		}
		c.found, c.last = offset, offset
	}
	return nil
}

// verifySample asks for some messages by their place in the log, by key, and by queue and offset. The index of keys is built
// beside the serving, so the answer may come a little later.
func (p *promises) verifySample(w *wire) error {
	for range 3 {
		at, m := p.some(func(promised) bool { return true })
		if m == nil {
			break
		}
		a, err := w.call(codeByID, map[string]string{"offset": strconv.FormatInt(m.physical, 10)}, nil)
		if err != nil {
			return err
		}
		recs, err := records(a.body)
		if a.code != 0 || err != nil || len(recs) != 1 {
			return fmt.Errorf("%v at %d by its id: code %d, %s, %d records, %w", m.id, m.physical, a.code, a.remark, len(recs), err)
		}
		if err := p.saw("found by id", &recs[0]); err != nil {
			return err
		}
		p.counts.ids++
		if _, err := p.readOn(w, at.queue, at.offset, at.offset+1); err != nil {
			return err
		}
	}
	for range 2 {
		at, m := p.some(func(m promised) bool { return m.id.key() != "" })
		if m == nil {
			break
		}
		if err := p.verifyKey(w, at, m); err != nil {
			return err
		}
		p.counts.keys++
	}
	return nil
}

func (p *promises) verifyKey(w *wire, at place, m *promised) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		a, err := w.call(codeByKey, map[string]string{"topic": at.queue.topic, "key": m.id.key(), "maxNum": "32", "beginTimestamp": "0",
			"endTimestamp": strconv.FormatInt(math.MaxInt64, 10)}, nil)
		if err != nil {
			return err
		}
		recs, err := records(a.body)
		if err != nil {
			return err
		}
		for _, r := range recs {
			if err := p.saw("found by key", &r); err != nil {
				return err
			}
			if r.physical == m.physical {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%v@%d is not found by its key %q: code %d, %s, %d records", at.queue, at.offset, m.id.key(), a.code, a.remark, len(recs))
		}
	}
}

// said returns what a broker has logged since its start.
func said(b *server) string {
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	return b.log.text.String()
}

// complaint returns the first line of what a broker logged that speaks of a failure or of damage: a crash is neither.
func complaint(b *server) error {
	for line := range strings.Lines(said(b)) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "damage") {
			return fmt.Errorf("the broker said: %s", line)
		}
	}
	return nil
}

// panicked tells whether the program broke down.
func panicked(b *server) error {
	if text := said(b); strings.Contains(text, "panic:") || strings.Contains(text, "fatal error:") {
		return fmt.Errorf("the broker said: %s", text)
	}
	return nil
}

// older picks a window of each queue that was verified before, and reads it again.
func (p *promises) older(w *wire, all bool) error {
	p.Lock()
	durable := map[queueName]int64{}
	for name, q := range p.queues {
		durable[name] = q.durable
	}
	p.Unlock()
	for name, end := range durable {
		if end == 0 {
			continue
		}
		from, to := int64(0), end
		if !all {
			from = rand.Int64N(end)
			to = min(end, from+32)
		}
		if got, err := p.readOn(w, name, from, to); err != nil || got < to {
			return fmt.Errorf("%v from %d to %d reads to %d: %w", name, from, to, got, err)
		}
	}
	return nil
}
