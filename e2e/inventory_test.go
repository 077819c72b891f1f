//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// inventory is all that a running broker shows of its store, as lines of text: what is asked for → what came. The first
// word of a line says what it is about:
//
//	topic T · group G · forbidden       the configuration
//	offset T@G/0                        a committed offset
//	min T/0 · max T/0 · earliest T/0    a queue, and the time of its first message
//	message T/0@12                      a record as it was pulled, told by all its fields
//	id 4711                             the record at this place of the log, asked for by its ID: the same one
//	key T#k · uniq T#k · tag T#k        the places of the records with this key
//	lower T/0 1700000000000 · upper …   the offset for a time
//	log min · log max                   where the log begins and ends
type inventory struct {
	lines    map[string]string
	messages map[string]record // by "T/0@12"
	queues   int
	release4 bool
}

// unitsOfFile is how many messages one file of a queue is set to hold.
const unitsOfFile = 100

// reader pulls as a group that every broker has from the start, so that looking changes nothing.
const reader = "TOOLS_CONSUMER"

// takeInventory asks a broker for everything. release4 says that a Java 4.9 is to be compared, which knows less.
func takeInventory(t *testing.T, addr string, release4 bool) *inventory {
	t.Helper()
	inv := &inventory{lines: map[string]string{}, messages: map[string]record{}, release4: release4}
	w, err := connect(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer w.conn.Close()
	inv.takeLog(t, w)
	queues := inv.takeTopics(t, w)
	inv.takeGroups(t, w)
	inv.takeOffsets(t, w)
	var all []record
	for _, topic := range slices.Sorted(maps.Keys(queues)) {
		for q := range queues[topic] {
			recs := inv.takeQueue(t, w, topic, q)
			inv.takeTimes(t, w, topic, q, recs)
			all = append(all, recs...)
		}
	}
	var newest record // that has a key
	for _, r := range all {
		if r.properties["UNIQ_KEY"] != "" && r.physical >= newest.physical {
			newest = r
		}
	}
	eventually(t, time.Minute, "the index has come to the end of the log", func() bool { // rocketd builds it behind a start after a crash
		return newest.raw == nil || inv.find(t, w, "uniq", &newest, newest.properties["UNIQ_KEY"], "_UNIQUE_KEY_QUERY", "true") != ""
	})
	for i := range all {
		inv.takeID(t, w, &all[i])
		inv.takeKeys(t, w, &all[i])
	}
	return inv
}

func (inv *inventory) takeLog(t *testing.T, w *wire) {
	t.Helper()
	var info struct{ Table map[string]string }
	var body []byte
	eventually(t, 40*time.Second, "runtime information", func() bool { // Java has none in the first seconds
		a, err := w.call(codeRuntime, nil, nil)
		body = a.body
		return err == nil && a.code == 0
	})
	if err := json.Unmarshal(body, &info); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	inv.lines["log min"], inv.lines["log max"] = info.Table["commitLogMinOffset"], info.Table["commitLogMaxOffset"]
}

// takeTopics returns the number of queues of each topic.
func (inv *inventory) takeTopics(t *testing.T, w *wire) map[string]int {
	t.Helper()
	var all struct{ TopicConfigTable map[string]map[string]any }
	decode(t, w.must(t, codeTopics, nil, nil).body, &all)
	queues := map[string]int{}
	for name, c := range all.TopicConfigTable {
		inv.lines["topic "+name] = inv.settled(c)
		read, _ := c["readQueueNums"].(float64)
		write, _ := c["writeQueueNums"].(float64)
		queues[name] = int(max(read, write))
	}
	for _, name := range transactionTopics { // Java 4.9 keeps them, and does not list them
		if queues[name] == 0 {
			inv.takeEnds(t, w, name, 0)
		}
	}
	return queues
}

func (inv *inventory) takeGroups(t *testing.T, w *wire) {
	t.Helper()
	var all struct {
		SubscriptionGroupTable map[string]map[string]any
		ForbiddenTable         map[string]any
	}
	decode(t, w.must(t, codeGroups, nil, nil).body, &all)
	for name, c := range all.SubscriptionGroupTable {
		inv.lines["group "+name] = inv.settled(c)
	}
	inv.lines["forbidden"] = fmt.Sprint(all.ForbiddenTable)
}

func (inv *inventory) takeOffsets(t *testing.T, w *wire) {
	t.Helper()
	inv.offsetLines(t, w.must(t, codeOffsets, nil, nil).body)
}

// offsetLines takes committed offsets from an answer, or from the file that has the same form.
func (inv *inventory) offsetLines(t *testing.T, text []byte) {
	t.Helper()
	var all struct{ OffsetTable map[string]map[string]int64 }
	decode(t, text, &all)
	for name, queues := range all.OffsetTable {
		for q, offset := range queues {
			inv.lines["offset "+name+"/"+q] = strconv.FormatInt(offset, 10)
		}
	}
}

// transactionTopics are those of half messages and of the decisions on them.
var transactionTopics = []string{"RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC"}

// leaveOut takes out of the inventory what it has of a topic, but for the ends of its queues.
func (inv *inventory) leaveOut(topic string) {
	for name := range inv.lines {
		kind, rest, _ := strings.Cut(name, " ")
		about, _, isQueue := strings.Cut(rest, "/")
		if !isQueue {
			about, _, _ = strings.Cut(rest, "#")
		}
		if about == topic && kind != "min" && kind != "max" {
			delete(inv.lines, name)
		}
	}
	for _, r := range inv.messages {
		if r.topic == topic {
			delete(inv.lines, "id "+strconv.FormatInt(r.physical, 10))
		}
	}
}

// decode reads JSON as Java writes it.
func decode(t *testing.T, body []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(bareKey.ReplaceAll(body, []byte(`$1"$2":`)), to); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}

// settled is a configuration as a text: members in order, without those that say nothing or that not all releases have.
func (inv *inventory) settled(c map[string]any) string {
	maps.DeleteFunc(c, func(name string, v any) bool {
		m, isMap := v.(map[string]any)
		return v == nil || isMap && len(m) == 0 || inv.release4 && slices.Contains([]string{
			"attributes", "consumeMessageOrderly", "consumeTimeoutMinute", "groupRetryPolicy", "groupSysFlag"}, name)
	})
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func queueFields(topic string, queue int) map[string]string {
	return map[string]string{"topic": topic, "queueId": strconv.Itoa(queue)}
}

// number asks for something that is answered with a number.
func (w *wire) number(t *testing.T, code int, field string, ext map[string]string) int64 {
	t.Helper()
	a := w.must(t, code, ext, nil)
	n, err := strconv.ParseInt(a.ext[field], 10, 64)
	if err != nil {
		t.Fatalf("request %d %v: %v", code, ext, err)
	}
	return n
}

// takeQueue pulls everything that the queue has, whose offsets must follow each other from its first to its last.
func (inv *inventory) takeQueue(t *testing.T, w *wire, topic string, queue int) []record {
	t.Helper()
	name := fmt.Sprintf("%s/%d", topic, queue)
	first, last := inv.takeEnds(t, w, topic, queue)
	if first == last {
		return nil
	}
	inv.queues++
	inv.lines["earliest "+name] = strconv.FormatInt(w.number(t, codeEarliest, "timestamp", queueFields(topic, queue)), 10)
	var all []record
	for at := first; at < last; {
		recs, next, err := w.pullAs(reader, topic, queue, at)
		if err != nil || next <= at {
			t.Fatalf("%s@%d of %d: next is %d, %v", name, at, last, next, err)
		}
		for _, r := range recs {
			if r.queueOffset != at || r.topic != topic || r.queue != queue {
				t.Fatalf("%s@%d: a record of %s/%d@%d came", name, at, r.topic, r.queue, r.queueOffset)
			}
			all = append(all, r)
			at += r.count()
		}
		if at != next {
			t.Fatalf("%s: %d records up to %d, but next is %d", name, len(recs), at, next)
		}
	}
	for _, r := range all {
		place := fmt.Sprintf("%s@%d", name, r.queueOffset)
		inv.messages[place] = r
		inv.lines["message "+place] = r.String()
	}
	return all
}

func (inv *inventory) takeEnds(t *testing.T, w *wire, topic string, queue int) (first, last int64) {
	t.Helper()
	first = w.number(t, codeMinOffset, "offset", queueFields(topic, queue))
	last = w.number(t, codeMaxOffset, "offset", queueFields(topic, queue))
	inv.lines[fmt.Sprintf("min %s/%d", topic, queue)] = strconv.FormatInt(first, 10)
	inv.lines[fmt.Sprintf("max %s/%d", topic, queue)] = strconv.FormatInt(last, 10)
	return first, last
}

// count is how many offsets a record takes: more than one if it is an inner batch.
func (r *record) count() int64 {
	if n, err := strconv.ParseInt(r.properties["INNER_NUM"], 10, 64); err == nil {
		return n
	}
	return 1
}

// String tells two records apart: some fields for people, and the digest of all of it.
func (r *record) String() string {
	return fmt.Sprintf("physical %d, %d bytes, sysFlag %#x, stored %d, keys %q, tags %q, digest %.8x",
		r.physical, len(r.raw), r.sysFlag, r.storeMs, r.properties["KEYS"], r.properties["TAGS"], sha256.Sum256(r.raw))
}

func (inv *inventory) takeID(t *testing.T, w *wire, r *record) {
	t.Helper()
	a, err := w.call(codeByID, map[string]string{"offset": strconv.FormatInt(r.physical, 10)}, nil)
	line := "the same record"
	switch {
	case err != nil:
		t.Fatal(err)
	case a.code != 0:
		line = fmt.Sprintf("code %d: %s", a.code, a.remark)
	case !bytes.Equal(a.body, r.raw):
		line = fmt.Sprintf("another record, digest %.8x", sha256.Sum256(a.body))
	}
	inv.lines["id "+strconv.FormatInt(r.physical, 10)] = line
}

// takeKeys asks for each key of a record that was not asked for before. Java 4.9 has no index by tags.
func (inv *inventory) takeKeys(t *testing.T, w *wire, r *record) {
	t.Helper()
	take := func(kind, key string, more ...string) {
		name := kind + " " + r.topic + "#" + key
		if _, known := inv.lines[name]; key != "" && !known {
			inv.lines[name] = inv.find(t, w, kind, r, key, more...)
		}
	}
	take("uniq", r.properties["UNIQ_KEY"], "_UNIQUE_KEY_QUERY", "true")
	for key := range strings.SplitSeq(r.properties["KEYS"], " ") {
		take("key", key)
	}
	if !inv.release4 {
		take("tag", r.properties["TAGS"], "indexType", "T")
	}
}

// find returns the places of the records of r's topic that have a key.
func (inv *inventory) find(t *testing.T, w *wire, kind string, r *record, key string, more ...string) string {
	t.Helper()
	ext := map[string]string{"topic": r.topic, "key": key, "maxNum": "64", "beginTimestamp": "0", "endTimestamp": strconv.FormatInt(math.MaxInt64, 10)}
	for i := 0; i < len(more); i += 2 {
		ext[more[i]] = more[i+1]
	}
	a, err := w.call(codeByKey, ext, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.code != 0 { // QUERY_NOT_FOUND
		return ""
	}
	recs, err := records(a.body)
	if err != nil {
		t.Fatalf("%s %s#%s: %v", kind, r.topic, key, err)
	}
	var places []string
	for _, r := range recs {
		places = append(places, strconv.FormatInt(r.physical, 10))
	}
	return strings.Join(places, " ")
}

// takeTimes asks for the offsets at some times of a queue. Java 4.9 looks into the first file of the queue that was changed
// at that time or later, which may be one too early, takes the nearest message if none has the time, any if several have,
// and knows no boundaries.
func (inv *inventory) takeTimes(t *testing.T, w *wire, topic string, queue int, recs []record) {
	t.Helper()
	if len(recs) == 0 || inv.release4 && recs[0].queueOffset/unitsOfFile != recs[len(recs)-1].queueOffset/unitsOfFile {
		return
	}
	having := map[int64]int{} // time → messages
	for _, r := range recs {
		having[r.storeMs]++
	}
	var times []int64
	for i := 0; i < len(recs); i += max(1, len(recs)/8) {
		times = append(times, recs[i].storeMs-1, recs[i].storeMs, recs[i].storeMs+1)
	}
	times = append(times, 0, recs[0].storeMs-3_600_000, recs[len(recs)-1].storeMs+1)
	for _, ms := range times {
		for _, boundary := range []string{"LOWER", "UPPER"} {
			if inv.release4 && (having[ms] != 1 || boundary == "UPPER") {
				continue
			}
			ext := queueFields(topic, queue)
			ext["timestamp"], ext["boundaryType"] = strconv.FormatInt(ms, 10), boundary
			inv.lines[fmt.Sprintf("%s %s/%d %d", strings.ToLower(boundary), topic, queue, ms)] = strconv.FormatInt(w.number(t, codeByTime, "offset", ext), 10)
		}
	}
}

// String counts what was compared.
func (inv *inventory) String() string {
	kinds := map[string]int{}
	for name := range inv.lines {
		kind, _, _ := strings.Cut(name, " ")
		kinds[kind]++
	}
	return fmt.Sprintf("%d topics, %d groups, %d committed offsets, %d queues (%d with messages), %d messages, %d by ID, %d keys, %d times, log from %s to %s",
		kinds["topic"], kinds["group"], kinds["offset"], kinds["max"], inv.queues, len(inv.messages), kinds["id"], kinds["key"]+kinds["uniq"]+kinds["tag"],
		kinds["lower"]+kinds["upper"], inv.lines["log min"], inv.lines["log max"])
}

// differences lists lines in which two inventories differ, but for those that may.
func differences(a, b *inventory, may func(name, inA, inB string) bool) []string {
	var out []string
	names := maps.Clone(a.lines)
	maps.Copy(names, b.lines)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if inA, inB := a.lines[name], b.lines[name]; inA != inB && !may(name, inA, inB) {
			out = append(out, fmt.Sprintf("%s:\n\t%s\n\t%s", name, shown(a, name), shown(b, name)))
		}
	}
	return out
}

func shown(inv *inventory, name string) string {
	line, ok := inv.lines[name]
	if !ok {
		return "(nothing)"
	}
	return line
}
