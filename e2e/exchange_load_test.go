//go:build e2e

package e2e

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// parcel is a message to be sent.
type parcel struct {
	topic            string
	queue            int
	body             []byte
	sysFlag, flag    int
	reconsumed       int
	name, keys, tags string   // name is the unique key
	further          []string // more properties: names and values
	batch            []parcel // the messages of a client batch; body is not used
	inner            bool     // the batch is kept as one record
}

func properties(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b.WriteString(pairs[i] + "\x01" + pairs[i+1] + "\x02")
		}
	}
	return b.String()
}

func (p *parcel) properties() string {
	return properties(append([]string{"UNIQ_KEY", p.name, "KEYS", p.keys, "TAGS", p.tags}, p.further...)...)
}

// dispatch sends a parcel and returns the offset and the place in the log that it was given.
func (w *wire) dispatch(p *parcel) (offset, physical int64, err error) {
	ext := sendFields(p.topic, p.queue)
	ext["sysFlag"], ext["flag"], ext["properties"] = strconv.Itoa(p.sysFlag), strconv.Itoa(p.flag), p.properties()
	ext["reconsumeTimes"] = strconv.Itoa(p.reconsumed)
	code, body := codeSend, p.body
	if p.batch != nil {
		code, body = codeSendBatch, p.packed()
		short := map[string]string{"producerGroup": "a", "topic": "b", "defaultTopic": "c", "defaultTopicQueueNums": "d", "queueId": "e", "sysFlag": "f",
			"bornTimestamp": "g", "flag": "h", "properties": "i", "reconsumeTimes": "j", "unitMode": "k", "batch": "m"}
		long := ext
		ext = map[string]string{}
		for name, letter := range short {
			ext[letter] = long[name]
		}
		ext["m"] = "true"
	}
	a, err := w.call(code, ext, body)
	if err != nil {
		return 0, 0, err
	}
	if a.code != 0 {
		return 0, 0, refusal{a.code, a.remark}
	}
	id, _, _ := strings.Cut(a.ext["msgId"], ",")
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 16 {
		return 0, 0, fmt.Errorf("message ID %q", a.ext["msgId"])
	}
	offset, err = strconv.ParseInt(a.ext["queueOffset"], 10, 64)
	return offset, int64(binary.BigEndian.Uint64(b[8:])), err
}

// packed is the body of a client batch: per message size, two words that nobody reads, flag, body, properties.
func (p *parcel) packed() []byte {
	var all []byte
	for i := range p.batch {
		m := &p.batch[i]
		props := m.properties()
		all = binary.BigEndian.AppendUint32(all, uint32(22+len(m.body)+len(props)))
		all = binary.BigEndian.AppendUint64(all, 0)
		all = binary.BigEndian.AppendUint32(all, uint32(m.flag))
		all = append(binary.BigEndian.AppendUint32(all, uint32(len(m.body))), m.body...)
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(props))), props...)
	}
	return all
}

// acknowledge notes what a broker has promised to keep.
func (h *house) acknowledge(p *parcel, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	bodies := [][]byte{p.body}
	if p.inner {
		bodies[0] = p.packed()
	} else if p.batch != nil {
		bodies = nil
		for _, m := range p.batch {
			bodies = append(bodies, m.body)
		}
	}
	for i, body := range bodies {
		h.acked[fmt.Sprintf("%s/%d@%d", p.topic, p.queue, offset+int64(i))] = string(body)
	}
	if h.wanted--; h.wanted == 0 {
		close(h.enough)
	}
}

// post sends a parcel, which must be taken, and returns its place in the log. Those that the broker keeps for somewhere
// else are not noted: their offset is that of the place where they wait.
func (h *house) post(t *testing.T, w *wire, p parcel, elsewhere bool) (offset, physical int64) {
	t.Helper()
	if p.name == "" {
		p.name = h.name()
	}
	offset, physical, err := w.dispatch(&p)
	if err != nil {
		t.Fatalf("%s does not take a message for %s: %v", h.who, p.topic, err)
	}
	if !elsewhere {
		h.acknowledge(&p, offset)
	}
	return offset, physical
}

// name makes a unique key.
func (h *house) name() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages++
	return fmt.Sprintf("7F0000010B%022X", h.messages)
}

func (h *house) makeGroup(t *testing.T, w *wire, group string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"groupName": group, "consumeEnable": true, "consumeFromMinEnable": true, "consumeBroadcastEnable": false,
		"retryQueueNums": 2, "retryMaxTimes": 5, "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1})
	if err != nil {
		t.Fatal(err)
	}
	w.must(t, codeUpdateGroup, nil, body)
}

func (h *house) commit(t *testing.T, w *wire, group, topic string, queue int, offset int64) {
	t.Helper()
	w.must(t, codeCommitOffset, map[string]string{"consumerGroup": group, "topic": topic, "queueId": strconv.Itoa(queue),
		"commitOffset": strconv.FormatInt(offset, 10)}, nil)
}

// furnish gives the first broker its topics, groups and messages, and has it drop the first files of the log.
func (h *house) furnish(t *testing.T) {
	t.Helper()
	w := dial(t, h.addr)
	for topic, queues := range map[string]int{"Plain": 4, "Orders": 2, "Timed": 2, "Trans": 2, "Doomed": 3, "Load": 4} {
		updateTopic(t, w, topic, queues, "")
	}
	if h.inner() {
		updateTopic(t, w, "Inner", 2, "+queue.type=BatchCQ")
	}
	for _, group := range []string{"workers", "retriers"} {
		h.makeGroup(t, w, group)
	}
	padding := bytes.Repeat([]byte("0123456789abcdef"), 60)
	for i := range 1000 {
		// To both topics up to the end: Java 4.9 shows the old first offset of a queue all of whose messages are gone.
		h.post(t, w, parcel{topic: []string{"Plain", "Orders"}[i%10/9], queue: i / 10 % 2, body: fmt.Appendf(nil, "old %d %s", i, padding), keys: "old"}, false)
	}
	h.trim(t, w)
	h.fill(t, w)
	for i := range 300 {
		h.post(t, w, parcel{topic: "Doomed", queue: i % 3, body: []byte("not for long"), keys: fmt.Sprintf("doom-%d", i)}, false)
	}
	h.commit(t, w, "workers", "Doomed", 1, 33)
	h.settle(t, w)
}

// inner tells whether all brokers know inner batches and timed messages.
func (h *house) inner() bool { return !slices.Contains(h.chain, java4) }

// trim has the broker remove the files of the log that are there, but for the last, as if they were old. Java does so
// for the first time a minute after its start.
func (h *house) trim(t *testing.T, w *wire) {
	t.Helper()
	names, err := filepath.Glob(h.dir + "/store/commitlog/0*")
	if err != nil || len(names) < 4 {
		t.Fatalf("files of the log: %v, %v", names, err)
	}
	old := time.Now().Add(-100 * time.Hour)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); ; <-tick.C {
		for _, name := range names[:len(names)-2] { // the last may have been made ahead
			os.Chtimes(name, old, old)
		}
		w.must(t, codeDeleteExpired, nil, nil)
		inv := inventory{lines: map[string]string{}}
		if inv.takeLog(t, w); inv.lines["log min"] == strings.TrimLeft(filepath.Base(names[len(names)-2]), "0") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not remove the first files of its log: %v", h.who, inv.lines)
		}
	}
}

// use has a broker take more: messages of all kinds, commits, a topic and a group, and it deletes a topic.
func (h *house) use(t *testing.T) {
	t.Helper()
	w := dial(t, h.addr)
	made := fmt.Sprintf("Made-%d", h.serial)
	updateTopic(t, w, made, 2, "")
	h.makeGroup(t, w, "group-"+made)
	for i := range 20 {
		h.post(t, w, parcel{topic: made, queue: i % 2, body: []byte("first"), keys: "made"}, false)
	}
	h.commit(t, w, "group-"+made, made, 1, 4)
	h.fill(t, w)
	w.must(t, codeDeleteTopic, map[string]string{"topic": "Doomed"}, nil)
	h.mu.Lock()
	maps.DeleteFunc(h.acked, func(place, _ string) bool { return strings.HasPrefix(place, "Doomed/") })
	h.mu.Unlock()
	h.settle(t, w)
}

// fill sends messages of every kind that the broker serves.
func (h *house) fill(t *testing.T, w *wire) {
	t.Helper()
	round := h.serial
	for i := range 600 {
		p := parcel{topic: "Plain", queue: i % 4, flag: i, body: bytes.Repeat([]byte{byte('a' + i%26)}, 1+i*7%1500),
			tags: "tag" + strconv.Itoa(i%5) + "-" + strconv.Itoa(round), keys: fmt.Sprintf("order-%d-%d half-%d-%d", round, i, round, i/20)}
		switch i % 6 {
		case 1:
			p.body, p.keys, p.tags = []byte("Grüße, 世界 🚀 "+strconv.Itoa(i)), "schlüssel-"+strconv.Itoa(i/30)+" 键", "标签"
			p.further = []string{"größe", "№ 42", "a b", "c=d"}
		case 2:
			p.sysFlag, p.body = 1|i%2<<9|i%2<<8, deflated(p.body) // zlib as old clients mark it, and new ones
		case 3:
			p.topic, p.queue, p.further = "Orders", i%12/6, []string{"__SHARDINGKEY", strconv.Itoa(i % 12)}
		case 4:
			p.keys, p.tags = "", ""
		}
		h.post(t, w, p, false)
	}
	for i := range 20 {
		p := parcel{topic: "Plain", queue: i % 4, batch: h.batch(fmt.Sprintf("batch-%d-%d", h.serial, i), 1+i%9)}
		h.post(t, w, p, false)
		if h.inner() {
			p.topic, p.queue, p.inner = "Inner", i%2, true
			h.post(t, w, p, false)
		}
	}
	for i := range 10 { // what consumers send when they cannot send back
		h.post(t, w, parcel{topic: "%RETRY%retriers", body: []byte("again " + strconv.Itoa(i)), reconsumed: 1, keys: "again",
			further: []string{"RETRY_TOPIC", "Plain", "ORIGIN_MESSAGE_ID", "7F00000100002A9F0000000000000000"}}, false)
	}
	for q := range 4 {
		h.commit(t, w, "workers", "Plain", q, int64(50*round+q))
		h.commit(t, w, "retriers", "Plain", q, int64(60*round+q))
	}
	h.commit(t, w, "retriers", "%RETRY%retriers", 0, int64(round))
	if h.who != rocketdHere {
		h.fillDelayed(t, w)
		h.fillTransactions(t, w)
	}
}

// fillDelayed sends what a broker keeps until later: some for a second, and some for hours. What came back from a
// consumer waits too, or is a dead letter.
func (h *house) fillDelayed(t *testing.T, w *wire) {
	t.Helper()
	before := h.total(t, w, "Timed")
	due := int64(0)
	for i := range 24 {
		p := parcel{topic: "Timed", queue: i % 2, body: []byte("later"), keys: fmt.Sprintf("later-%d-%d", h.serial, i), tags: "later"}
		switch {
		case i%3 == 0:
			p.further = []string{"DELAY", "1"}
			due++
		case i%3 == 1 || h.who == java4:
			p.further = []string{"DELAY", strconv.Itoa(17 + i%2)}
		case i%6 == 2:
			p.further = []string{"TIMER_DELAY_SEC", strconv.Itoa(7200 + i*3600)}
		default:
			p.further = []string{"TIMER_DELAY_MS", "1500"}
			due++
		}
		h.post(t, w, p, true)
	}
	for i := range 12 {
		_, physical := h.post(t, w, parcel{topic: "Plain", queue: i % 4, body: []byte("no luck"), keys: "luck"}, false)
		level := 17
		if i%3 == 0 {
			level = -1
		}
		w.must(t, codeSendBack, map[string]string{"offset": strconv.FormatInt(physical, 10), "group": "retriers", "delayLevel": strconv.Itoa(level),
			"originTopic": "Plain", "unitMode": "false", "maxReconsumeTimes": "16"}, nil)
	}
	eventually(t, 60*time.Second, "what was due is delivered", func() bool { return h.total(t, w, "Timed") == before+due })
}

// fillTransactions begins transactions, commits some and rolls some back.
func (h *house) fillTransactions(t *testing.T, w *wire) {
	t.Helper()
	before := h.total(t, w, "Trans")
	for i := range 15 {
		name := h.name()
		offset, physical := h.post(t, w, parcel{topic: "Trans", queue: i % 2, body: []byte("half of it"), name: name, keys: fmt.Sprintf("trans-%d-%d", h.serial, i),
			further: []string{"TRAN_MSG", "true", "PGROUP", "bank"}}, true)
		if how := []int{8, 12, 0}[i%3]; how != 0 {
			w.must(t, codeEndTransaction, map[string]string{"producerGroup": "bank", "tranStateTableOffset": strconv.FormatInt(offset, 10),
				"commitLogOffset": strconv.FormatInt(physical, 10), "commitOrRollback": strconv.Itoa(how), "fromTransactionCheck": "false",
				"msgId": name, "transactionId": name, "topic": "Trans"}, nil)
		}
	}
	eventually(t, 40*time.Second, "what was committed is there", func() bool { return h.total(t, w, "Trans") == before+5 })
}

// total counts the messages of both queues of a topic.
func (h *house) total(t *testing.T, w *wire, topic string) int64 {
	t.Helper()
	return w.number(t, codeMaxOffset, "offset", queueFields(topic, 0)) + w.number(t, codeMaxOffset, "offset", queueFields(topic, 1))
}

// settle returns when the broker writes no more: Java writes the decisions on transactions every three seconds.
func (h *house) settle(t *testing.T, w *wire) {
	t.Helper()
	quiet := 500 * time.Millisecond
	if h.who != rocketdHere {
		quiet = 4 * time.Second
	}
	end, since := "", time.Now()
	eventually(t, time.Minute, "the log has come to rest", func() bool {
		inv := inventory{lines: map[string]string{}}
		if inv.takeLog(t, w); inv.lines["log max"] != end {
			end, since = inv.lines["log max"], time.Now()
		}
		return time.Since(since) > quiet
	})
}

func (h *house) batch(label string, n int) []parcel {
	var all []parcel
	for j := range n {
		all = append(all, parcel{name: h.name(), body: fmt.Appendf(nil, "batch %s, message %d", label, j), tags: label, keys: "batch-" + label})
	}
	return all
}

func deflated(b []byte) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

// loadAndKill writes with eight connections and kills the broker when enough was acknowledged.
func (h *house) loadAndKill(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	h.wanted, h.enough = 1500, make(chan struct{})
	h.mu.Unlock()
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			w, err := connect(h.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer w.conn.Close()
			for n := 0; ; n++ {
				p := parcel{topic: []string{"Load", "Plain", "Orders"}[n%3], queue: i % 4 % (4 - 2*(n%3/2)), name: h.name(),
					body: bytes.Repeat([]byte{'x'}, 50+i*n%1500), keys: fmt.Sprintf("load-%d-%d-%d", h.serial, i, n)}
				if n%10 == 9 {
					p.batch = h.batch(fmt.Sprintf("load-%d-%d-%d", h.serial, i, n), 3)
				}
				offset, _, err := w.dispatch(&p)
				if err != nil {
					return // killed: not acknowledged
				}
				h.acknowledge(&p, offset)
			}
		})
	}
	select {
	case <-h.enough:
	case <-time.After(60 * time.Second):
		t.Errorf("%s has not taken enough messages", h.who)
	}
	h.process.kill()
	writers.Wait()
}
