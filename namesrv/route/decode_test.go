package route

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"rocketd/protocol"
)

// recordedCompressed is a body that Java 5.5.1 accepted: ZT 3 1 4 and ZU 2 2 6.
const recordedCompressed = "78da636060b0a8564ace2fcd2b492d52b232d0512a2e492c490d4b2d2acecccf030b9464e6a60205730b94ac0ccd2d4d4dcd2ccc4d0d4c4d4c6b191818988058dccdd948c158c150c14421d8d3cfddc7353ec4d15da1ba162265a86004846618524cd1b1409201008d171eac"

// deflate makes a compressed body from its parts: a string is a text, an int a number.
func deflate(parts ...any) []byte {
	var plain, packed bytes.Buffer
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			plain.Write(binary.BigEndian.AppendUint32(nil, uint32(int32(p))))
		case string:
			plain.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
			plain.WriteString(p)
		}
	}
	z := zlib.NewWriter(&packed)
	z.Write(plain.Bytes())
	z.Close()
	return packed.Bytes()
}

const (
	someVersion = `{"counter":3,"stateVersion":1,"timestamp":5}`
	someBody    = `{"filterServerList":["f:1"],"topicConfigSerializeWrapper":{"dataVersion":` + someVersion + `,"topicConfigTable":{"T":{"topicName":"T","perm":4,"readQueueNums":2,"writeQueueNums":3}}}}`
)

// All forms of the body say the same; the CRC is that of the bytes as sent.
func TestDecodeBody(t *testing.T) {
	mapping := `{"bname":"b","currIdMap":{0:0},"dirty":false,"epoch":1,"scope":"__global__","topic":"T","totalQueues":8}`
	bodies := map[string]struct {
		body       []byte
		version    int32
		compressed bool
		mappings   int
	}{
		"plain":                        {[]byte(someBody), 515, false, 0},
		"compressed":                   {deflate(someVersion, 1, `T 2 3 4 SINGLE_TAG {"+a":"b c"}`, `["f:1"]`, 1, mapping), 515, true, 1},
		"compressed, header denies it": {deflate(someVersion, 1, `T 2 3 4 SINGLE_TAG {}`, `["f:1"]`, 1, mapping), 515, false, 1},
		"compressed, before 5.0":       {deflate(someVersion, 1, `T 2 3 4 SINGLE_TAG`, `["f:1"]`), 412, true, 0},
	}
	for name, b := range bodies {
		t.Run(name, func(t *testing.T) {
			topics, filters, err := DecodeBody(b.body, b.version, b.compressed, int32(crc32.ChecksumIEEE(b.body)&0x7fffffff))
			if err != nil {
				t.Fatal(err)
			}
			if topics.DataVersion != (protocol.DataVersion{Counter: 3, StateVersion: 1, Timestamp: 5}) {
				t.Error(topics.DataVersion)
			}
			c, ok := topics.TopicConfigTable["T"]
			if !ok || len(topics.TopicConfigTable) != 1 || c.ReadQueueNums != 2 || c.WriteQueueNums != 3 || c.Perm != 4 {
				t.Errorf("%+v", topics.TopicConfigTable)
			}
			if !slices.Equal(filters, []string{"f:1"}) || len(topics.TopicQueueMappingInfoMap) != b.mappings {
				t.Error(filters, topics.TopicQueueMappingInfoMap)
			}
		})
	}
	old := `{"dataVersion":` + someVersion + `,"topicConfigTable":{"T":{"topicName":"T"}}}`
	if topics, _, err := DecodeBody([]byte(old), 36, false, 0); err != nil || topics.DataVersion.Counter != 3 || len(topics.TopicConfigTable) != 1 {
		t.Error(topics, err)
	}
	if topics, filters, err := DecodeBody(nil, 515, false, 0); err != nil || topics.DataVersion != (protocol.DataVersion{}) || filters != nil {
		t.Error(topics, filters, err)
	}
}

// Broken bodies are answered with SYSTEM_ERROR and a reason.
func TestDecodeBody_Broken(t *testing.T) {
	check := func(body []byte, reason string) {
		t.Helper()
		_, _, err := DecodeBody(body, 515, false, 0)
		var known *protocol.Error
		if !errors.As(err, &known) || known.Code != protocol.SystemError || !strings.Contains(known.Remark, reason) {
			t.Errorf("%v, want %q", err, reason)
		}
	}
	check([]byte(`{"topicConfigSerializeWrapper":[`), "")
	check(deflate(), "data version: ends too early")
	check(deflate(someVersion), "number of topics: ends too early")
	check(deflate(someVersion, 2, "T 1 1 6"), "topic: ends too early")
	check(deflate(someVersion, 1<<30), "number of topics: ends too early")
	check(deflate(someVersion, -1), "length -1")
	check(deflate(someVersion, 1, "T 1 6", ""), "want name")
	check(deflate(someVersion, 1, "T 1 x 6 SINGLE_TAG", ""), `parsing "x"`)
	check(deflate(someVersion, 1, " 1 1 6 SINGLE_TAG", ""), "want name")
	check(deflate(someVersion, 0, "[", 0), "filter servers")
	check(deflate(someVersion, 0, "[]"), "number of queue mappings: ends too early")
	check(deflate(someVersion)[:6], "unexpected EOF")
	if _, err := inflate(deflate("123456"), 9); err == nil || !strings.Contains(err.Error(), "more than 9 bytes when inflated") {
		t.Error(err)
	}
	if b, err := inflate(deflate("123456"), 10); err != nil || len(b) != 10 {
		t.Error(b, err)
	}
	if _, _, err := DecodeBody([]byte("{}"), 515, false, 5); err == nil || !strings.Contains(err.Error(), "crc32 not match") {
		t.Error(err)
	}
}

// Reading never panics, and a topic that was read has a name.
func FuzzDecodeBody(f *testing.F) {
	f.Add([]byte(someBody), int32(515), false)
	f.Add([]byte(`{"dataVersion":`+someVersion+`}`), int32(30), false)
	f.Add(deflate(someVersion, 1, `T 2 3 4 SINGLE_TAG {}`, `["f:1"]`, 0), int32(515), true)
	f.Add(deflate(someVersion, 1, `T 2 3 4`, ``), int32(400), true)
	if b, err := hex.DecodeString(recordedCompressed); err == nil {
		f.Add(b, int32(515), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, version int32, compressed bool) {
		topics, _, err := DecodeBody(body, version, compressed, 0)
		if err != nil {
			return
		}
		table := New(Config{})
		r := &Registration{Broker: Broker{Cluster: "C", Name: "a", Addr: "x"}, Topics: topics}
		if _, err := table.Register(time.UnixMilli(0), r); err != nil {
			return
		}
		for _, name := range table.Topics() {
			table.Body([]byte(name), true)
		}
		if n := len(slices.Collect(maps.Keys(topics.TopicConfigTable))); len(table.Topics()) > n {
			t.Errorf("%d topics from %d", len(table.Topics()), n)
		}
	})
}
