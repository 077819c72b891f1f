//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Request codes that the tests speak themselves.
const (
	codeSend           = 10
	codePull           = 11
	codeByKey          = 12
	codeQueryOffset    = 14
	codeCommitOffset   = 15
	codeUpdateTopic    = 17
	codeTopics         = 21
	codeRuntime        = 28
	codeByTime         = 29
	codeMaxOffset      = 30
	codeMinOffset      = 31
	codeEarliest       = 32
	codeByID           = 33
	codeSendBack       = 36
	codeEndTransaction = 37
	codeOffsets        = 43
	codeRoute          = 105
	codeClusterInfo    = 106
	codeUpdateGroup    = 200
	codeGroups         = 201
	codeDeleteGroup    = 207
	codeDeleteTopic    = 215
	codeSendBatch      = 320
	codeDeleteExpired  = 329
)

// wire is one connection to a server, on which one request is asked at a time: the tests' own client, JSON headers only.
type wire struct {
	conn   net.Conn
	opaque int
}

// answer is a response: code, remark, fields of the header, body.
type answer struct {
	code   int
	remark string
	ext    map[string]string
	body   []byte
}

func connect(addr string) (*wire, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn}, nil
}

// dial connects for the length of the test.
func dial(t *testing.T, addr string) *wire {
	t.Helper()
	w, err := connect(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close() })
	return w
}

// frame builds one frame with a JSON header, as remoting has it: length, form and header length, header, body.
func frame(header any, body []byte) []byte {
	h, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(h)+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(h)))
	return append(append(b, h...), body...)
}

// request is the JSON header of a request.
func request(code, opaque int, ext map[string]string) map[string]any {
	return map[string]any{"code": code, "language": "GO", "version": 493, "opaque": opaque, "flag": 0, "extFields": ext}
}

// call asks and waits for the answer, at most ten seconds.
func (w *wire) call(code int, ext map[string]string, body []byte) (answer, error) {
	w.opaque++
	w.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := w.conn.Write(frame(request(code, w.opaque, ext), body)); err != nil {
		return answer{}, err
	}
	return w.read()
}

// read returns the answer to the request that was written last.
func (w *wire) read() (answer, error) {
	for {
		a, opaque, err := w.next()
		if err != nil || opaque == w.opaque {
			return a, err
		}
	}
}

// next returns the next answer and the opaque of its request. What the server asks its clients is passed over.
func (w *wire) next() (answer, int, error) {
	for {
		var head [8]byte
		if _, err := io.ReadFull(w.conn, head[:]); err != nil {
			return answer{}, 0, err
		}
		total, header := binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])
		if total < 4 || total > 64<<20 || header > total-4 {
			return answer{}, 0, fmt.Errorf("a frame of %d bytes, header word %#x", total, header)
		}
		rest := make([]byte, total-4)
		if _, err := io.ReadFull(w.conn, rest); err != nil {
			return answer{}, 0, err
		}
		var h struct {
			Code, Opaque, Flag int
			Remark             string
			ExtFields          map[string]string
		}
		if err := json.Unmarshal(rest[:header], &h); err != nil {
			return answer{}, 0, fmt.Errorf("%w in %s", err, rest[:header])
		}
		if h.Flag&1 == 1 {
			return answer{h.Code, h.Remark, h.ExtFields, rest[header:]}, h.Opaque, nil
		}
	}
}

// must asks for something that has to succeed.
func (w *wire) must(t *testing.T, code int, ext map[string]string, body []byte) answer {
	t.Helper()
	a, err := w.call(code, ext, body)
	if err != nil {
		t.Fatalf("request %d: %v", code, err)
	}
	if a.code != 0 {
		t.Fatalf("request %d: code %d, %s", code, a.code, a.remark)
	}
	return a
}

// sendFields is the header of a send (code 10) to one queue.
func sendFields(topic string, queue int) map[string]string {
	return map[string]string{
		"producerGroup": "e2e", "topic": topic, "defaultTopic": "TBW102", "defaultTopicQueueNums": "4", "queueId": strconv.Itoa(queue),
		"sysFlag": "0", "bornTimestamp": strconv.FormatInt(time.Now().UnixMilli(), 10), "flag": "0", "properties": "",
		"reconsumeTimes": "0", "unitMode": "false", "batch": "false"}
}

// topicFields is the header of a request that makes a topic (code 17).
func topicFields(topic string, queues int) map[string]string {
	return map[string]string{
		"topic": topic, "defaultTopic": "TBW102", "readQueueNums": strconv.Itoa(queues), "writeQueueNums": strconv.Itoa(queues),
		"perm": "6", "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}
}

// send stores one message and returns its offset in the queue. A refusal is an error that names code and remark.
func (w *wire) send(topic string, queue int, body []byte) (int64, error) {
	a, err := w.call(codeSend, sendFields(topic, queue), body)
	if err != nil {
		return 0, err
	}
	if a.code != 0 {
		return 0, refusal{a.code, a.remark}
	}
	return strconv.ParseInt(a.ext["queueOffset"], 10, 64)
}

// refusal is an answer other than success.
type refusal struct {
	code   int
	remark string
}

func (r refusal) Error() string { return fmt.Sprintf("code %d: %s", r.code, r.remark) }

// record is what the tests read of a message.
type record struct {
	raw                   []byte // as it is stored
	queue                 int
	queueOffset, physical int64
	sysFlag               uint32
	storeMs               int64
	topic                 string
	body                  []byte
	properties            map[string]string
}

// pull reads from one queue; no records and no error is the end of the queue.
func (w *wire) pull(topic string, queue int, offset int64) ([]record, error) {
	recs, _, err := w.pullAs("e2e-reader", topic, queue, offset)
	return recs, err
}

// pullAs is pull by a group, which a server may make if it does not know it. It also returns where to go on.
func (w *wire) pullAs(group, topic string, queue int, offset int64) (recs []record, next int64, err error) {
	a, err := w.call(codePull, map[string]string{
		"consumerGroup": group, "topic": topic, "queueId": strconv.Itoa(queue), "queueOffset": strconv.FormatInt(offset, 10),
		"maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "0",
		"expressionType": "TAG"}, nil)
	if err != nil {
		return nil, 0, err
	}
	switch a.code {
	case 0:
		if next, err = strconv.ParseInt(a.ext["nextBeginOffset"], 10, 64); err != nil {
			return nil, 0, err
		}
		recs, err = records(a.body)
		return recs, next, err
	case 19: // PULL_NOT_FOUND
		return nil, offset, nil
	}
	return nil, 0, refusal{a.code, a.remark}
}

// records takes the body of a pull apart: stored records, one after the other.
func records(b []byte) ([]record, error) {
	var out []record
	for len(b) > 0 {
		if len(b) < 91 {
			return nil, errors.New("a record is cut short")
		}
		size := int(binary.BigEndian.Uint32(b))
		if size < 91 || size > len(b) {
			return nil, fmt.Errorf("a record of %d bytes in %d", size, len(b))
		}
		r, err := parseRecord(bytes.Clone(b[:size]))
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		b = b[size:]
	}
	return out, nil
}

// parseRecord reads one stored record, which it keeps. Its end is told by three lengths; the first of them follows after 84
// bytes (size, magic, checksum, queue, flag, offsets, sysFlag, born, store, reconsume, prepared) if both hosts are IPv4.
func parseRecord(raw []byte) (record, error) {
	r := record{
		raw: raw, queue: int(int32(binary.BigEndian.Uint32(raw[12:]))),
		queueOffset: int64(binary.BigEndian.Uint64(raw[20:])), physical: int64(binary.BigEndian.Uint64(raw[28:])),
		sysFlag: binary.BigEndian.Uint32(raw[36:]), properties: map[string]string{},
	}
	rest := raw[56:] // behind the host of the producer
	if r.sysFlag&(1<<4) != 0 && len(raw) >= 91+12 {
		rest = rest[12:]
	}
	r.storeMs, rest = int64(binary.BigEndian.Uint64(rest)), rest[28:] // behind the broker's host and what follows it
	if r.sysFlag&(1<<5) != 0 && len(rest) >= 12 {
		rest = rest[12:]
	}
	lengths := []int{4, 1, 2} // of body, topic, properties
	if raw[7] == 0xab {       // the second version of the record: topics of more than 127 bytes
		lengths[1] = 2
	}
	var parts [3][]byte
	for i, width := range lengths {
		if len(rest) < width {
			return r, errors.New("a record that ends in a length")
		}
		n := 0
		for _, b := range rest[:width] {
			n = n<<8 | int(b)
		}
		if n > len(rest)-width {
			return r, errors.New("a part longer than its record")
		}
		parts[i], rest = rest[width:width+n], rest[width+n:]
	}
	if len(rest) > 0 {
		return r, fmt.Errorf("%d bytes behind the properties", len(rest))
	}
	r.body, r.topic = parts[0], string(parts[1])
	for item := range strings.SplitSeq(string(parts[2]), "\x02") {
		if name, value, ok := strings.Cut(item, "\x01"); ok {
			r.properties[name] = value
		}
	}
	return r, nil
}

// clusterAddrs reads from cluster information which broker has which address. Java writes map keys that are numbers bare.
func clusterAddrs(body []byte) (map[string]string, error) {
	var info struct {
		BrokerAddrTable map[string]struct {
			BrokerName  string            `json:"brokerName"`
			BrokerAddrs map[string]string `json:"brokerAddrs"`
		} `json:"brokerAddrTable"`
	}
	if err := json.Unmarshal(bareKey.ReplaceAll(body, []byte(`$1"$2":`)), &info); err != nil {
		return nil, fmt.Errorf("%w in %s", err, body)
	}
	known := map[string]string{}
	for _, b := range info.BrokerAddrTable {
		for _, addr := range b.BrokerAddrs {
			known[addr] = b.BrokerName
		}
	}
	return known, nil
}

var bareKey = regexp.MustCompile(`([{,]\s*)(\d+):`)
