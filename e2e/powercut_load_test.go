//go:build e2e

package e2e

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	cutTopic    = "Cut"
	cutQueues   = 8
	cutWriters  = 12
	cutWindow   = 24 // requests in flight of a writer
	cutGroup    = "cut-readers"
	cutRegister = "Register"
)

// pressure is what clients do to a broker until it is dead, or told to go.
type pressure struct {
	*promises
	addr  string
	round int
	first chan struct{} // closed with the first acknowledgement
	once  sync.Once
	ended chan struct{} // closed by stop
	wg    sync.WaitGroup

	errMu sync.Mutex
	err   error // the first promise that was broken
}

// press starts writers of single messages and batches, readers that commit what they read, and one who makes and removes
// topics and groups.
func press(p *promises, addr string, round int) *pressure {
	l := &pressure{promises: p, addr: addr, round: round, first: make(chan struct{}), ended: make(chan struct{})}
	for i := range cutWriters {
		name := queueName{cutTopic, i % cutQueues}
		if i == cutWriters-1 { // a topic that comes into being with its first message
			name = queueName{fmt.Sprintf("Auto%d", round), i % 2}
		}
		l.client(func(w *wire) error { return l.write(w, i, name) })
	}
	l.client(func(w *wire) error { return l.read(w, true) })
	l.client(func(w *wire) error { return l.read(w, false) })
	l.client(l.administer)
	return l
}

// client runs something with a connection. Its error is a broken promise; a lost connection is none.
func (l *pressure) client(run func(w *wire) error) {
	l.wg.Go(func() {
		w, err := connect(l.addr)
		if err != nil {
			return
		}
		defer w.conn.Close()
		if err := run(w); err != nil {
			l.errMu.Lock()
			if l.err == nil {
				l.err = err
			}
			l.errMu.Unlock()
		}
	})
}

// stop ends what has not ended with the broker, and returns the first broken promise.
func (l *pressure) stop() error {
	close(l.ended)
	l.wg.Wait()
	return l.err
}

// pause waits some time; false means that it is over.
func (l *pressure) pause(d time.Duration) bool {
	select {
	case <-l.ended:
		return false
	case <-time.After(d):
		return true
	}
}

func (l *pressure) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// sending is a request that was written and not yet answered.
type sending struct {
	first  msgID
	count  int
	sentAt int64 // end of what was promised of the queue before
	idle   bool  // WAIT=false: its answer promises nothing under SYNC_FLUSH
	disk   diskState
}

// write sends messages to one queue, many requests in flight; an answer is a promise. Every third writer sends batches, one
// does not wait for the disk. The first message goes alone, for the topic may have to be made.
func (l *pressure) write(w *wire, writer int, name queueName) error {
	window := make(chan struct{}, cutWindow)
	var mu sync.Mutex // guards:
	pending := map[int]sending{}
	broken := make(chan error, 1)
	alone := make(chan struct{})
	go func() {
		defer close(broken)
		defer w.conn.Close()
		for answered := 0; ; answered++ {
			a, opaque, err := w.next()
			if err != nil {
				return
			}
			mu.Lock()
			s := pending[opaque]
			delete(pending, opaque)
			mu.Unlock()
			if a.code == 0 && (!s.idle || s.disk == diskDead) {
				if err := l.answered(s, name, a); err != nil {
					broken <- err
					return
				}
			}
			if answered == 0 {
				close(alone)
			}
			<-window
		}
	}()
	for n := 0; !l.over(); {
		s := sending{first: msgID{l.round, writer, n}, count: 1, sentAt: l.top(name), idle: writer == 1}
		code, fields, body := codeSend, sendFields(name.topic, name.id), s.first.body()
		switch {
		case writer%3 == 2 && n > 0:
			s.count = 1 + rand.IntN(20)
			code, fields["batch"], body = codeSendBatch, "true", batchBody(s.first, s.count)
		default:
			fields["properties"] = propertiesOf(s.first, s.idle)
		}
		s.disk = l.attempt(msgID{l.round, writer, n + s.count - 1})
		w.opaque++
		mu.Lock()
		pending[w.opaque] = s
		mu.Unlock()
		select {
		case window <- struct{}{}:
		case err := <-broken:
			return err
		}
		if _, err := w.conn.Write(frame(request(code, w.opaque, fields), body)); err != nil {
			break
		}
		if n == 0 {
			select {
			case <-alone:
			case err := <-broken:
				return err
			}
		}
		n += s.count
	}
	w.conn.SetReadDeadline(time.Now().Add(time.Second)) // those who still wait for a broker that goes in order
	return <-broken
}

// propertiesOf are those of a message as a send has them.
func propertiesOf(id msgID, idle bool) string {
	var all strings.Builder
	if key := id.key(); key != "" {
		all.WriteString("KEYS\x01" + key + "\x02")
	}
	if idle {
		all.WriteString("WAIT\x01false\x02")
	}
	return all.String()
}

// batchBody packs messages as a batch has them: length, magic, checksum, flag, body, properties.
func batchBody(id msgID, count int) []byte {
	var b []byte
	for range count {
		body, props := id.body(), propertiesOf(id, false)
		b = binary.BigEndian.AppendUint32(b, uint32(22+len(body)+len(props)))
		b = append(b, make([]byte, 12)...)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(body))), body...)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(props))), props...)
		id.n++
	}
	return b
}

// answered takes down what the answer to a send promises: offsets that follow each other, and a place in the log for each.
func (l *pressure) answered(s sending, name queueName, a answer) error {
	if s.disk == diskDead {
		return fmt.Errorf("%v was acknowledged, and there was no disk any more when it was sent", s.first)
	}
	offset, err := strconv.ParseInt(a.ext["queueOffset"], 10, 64)
	ids := strings.Split(a.ext["msgId"], ",")
	if err != nil || len(ids) != s.count {
		return fmt.Errorf("%d messages from %v were answered with offset %q and %d ids", s.count, s.first, a.ext["queueOffset"], len(ids))
	}
	id := s.first
	for i, text := range ids {
		if len(text) != 32 {
			return fmt.Errorf("%v was given the id %q", id, text)
		}
		physical, err := strconv.ParseInt(text[16:], 16, 64)
		if err != nil {
			return fmt.Errorf("%v was given the id %q", id, text)
		}
		if err := l.ack(id, name, offset+int64(i), physical, s.sentAt); err != nil {
			return err
		}
		id.n++
	}
	l.once.Do(func() { close(l.first) })
	return nil
}

// read follows all queues from some place on: what was read is promised as well. The one that commits says now and then how
// far it came, and goes on from there.
func (l *pressure) read(w *wire, commits bool) error {
	next := map[queueName]int64{}
	for !l.over() {
		grew := false
		l.Lock()
		names := maps.Clone(l.queues)
		l.Unlock()
		for name := range names {
			if _, known := next[name]; !known {
				next[name] = max(0, l.top(name)-rand.Int64N(50))
				if commits {
					next[name] = l.committed(name)
				}
			}
			recs, err := w.pull(name.topic, name.id, next[name])
			if err != nil {
				if _, refused := err.(refusal); refused { // a topic that is being made
					continue
				}
				return nil
			}
			for _, r := range recs {
				if r.queueOffset != next[name] {
					return fmt.Errorf("%v: a reader got offset %d instead of %d", name, r.queueOffset, next[name])
				}
				if err := l.saw("read", &r); err != nil {
					return err
				}
				next[name]++
				grew = true
			}
			l.Lock()
			l.counts.read += len(recs)
			l.Unlock()
			if commits && len(recs) > 0 && rand.IntN(4) == 0 && !l.commit(w, name, next[name]) {
				return nil
			}
		}
		if !grew && !l.pause(time.Millisecond) {
			return nil
		}
	}
	return nil
}

// commit commits an offset; false means that the broker is gone.
func (l *pressure) commit(w *wire, name queueName, offset int64) bool {
	l.Lock()
	c := l.commitsOf(name)
	c.values[offset] = true
	l.Unlock()
	a, err := w.call(codeCommitOffset, map[string]string{"consumerGroup": cutGroup, "topic": name.topic, "queueId": strconv.Itoa(name.id),
		"commitOffset": strconv.FormatInt(offset, 10)}, nil)
	if err != nil {
		return false
	}
	l.Lock()
	if a.code == 0 && l.disk == diskAlive {
		l.counts.commits++
		c.last = offset
	}
	l.Unlock()
	return true
}

// administer makes topics and groups, removes some, and raises the number of queues of one topic.
func (l *pressure) administer(w *wire) error {
	ask := func(code int, fields map[string]string, body string) (ok, alive bool) {
		a, err := w.call(code, fields, []byte(body))
		return err == nil && a.code == 0, err == nil
	}
	do := func(table map[string]*entry, name string, there bool, count *int, request func() (ok, alive bool)) bool {
		l.Lock()
		e := table[name]
		if e == nil {
			e = &entry{}
			table[name] = e
		}
		e.sure = false
		l.Unlock()
		ok, alive := request()
		l.Lock()
		defer l.Unlock()
		if ok && l.disk == diskAlive {
			e.there, e.sure = there, true
			*count++
		}
		return alive
	}
	for i := 0; l.pause(time.Duration(rand.IntN(8)) * time.Millisecond); i++ {
		l.Lock()
		l.register.asked++
		n := l.register.asked
		l.Unlock()
		ok, alive := ask(codeUpdateTopic, topicFields(cutRegister, n), "")
		if !alive {
			return nil
		}
		l.Lock()
		if ok && l.disk == diskAlive {
			l.register.acked = n
			l.counts.registered++
		}
		l.Unlock()
		if i >= 6 { // not more and more files
			continue
		}
		topic, group := fmt.Sprintf("Topic-%d-%d", l.round, i), fmt.Sprintf("group-%d-%d", l.round, i)
		alive = do(l.topics, topic, true, &l.counts.topics, func() (bool, bool) { return ask(codeUpdateTopic, topicFields(topic, 2), "") }) &&
			do(l.groups, group, true, &l.counts.groups, func() (bool, bool) {
				return ask(codeUpdateGroup, nil, groupBody(group, i+1))
			})
		if alive && i%2 == 0 {
			alive = do(l.topics, topic, false, &l.counts.deleted, func() (bool, bool) { return ask(codeDeleteTopic, map[string]string{"topic": topic}, "") }) &&
				do(l.groups, group, false, &l.counts.deleted, func() (bool, bool) {
					return ask(codeDeleteGroup, map[string]string{"groupName": group, "removeOffset": "true"}, "")
				})
		}
		if !alive {
			return nil
		}
	}
	return nil
}

func groupBody(group string, retries int) string {
	return fmt.Sprintf(`{"groupName":%q,"consumeEnable":true,"consumeFromMinEnable":true,"consumeBroadcastEnable":true,"retryQueueNums":1,"retryMaxTimes":%d}`, group, retries)
}
