package pop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// vector is a line of testdata/pop.jsonl, which Java's classes wrote.
type vector struct {
	Kind                                     string
	Info, InfoWithOffset, Topic, Retry, JSON string
	RealTopic                                string
	CkOffset, PopTime, InvisibleTime         int64
	ReviveQid, QueueID                       int32
	MsgOffset                                int64
	StartOffsetInfo, MsgOffsetInfo           string
	OrderCountInfo, UniqID, AckUniqID        string
	Offsets                                  []int64
	IndexOf101, ParseRePut                   int
}

func vectors(t testing.TB) (list []vector) {
	f, err := os.Open("testdata/pop.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		var v vector
		if err := json.Unmarshal(in.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// Handles are Java's, byte for byte, both ways.
func TestHandle_Vectors(t *testing.T) {
	n := 0
	for _, v := range vectors(t) {
		if v.Kind != "extraInfo" {
			continue
		}
		n++
		h := Handle{Start: v.CkOffset, PopMs: v.PopTime, InvisibleMs: v.InvisibleTime, Revive: v.ReviveQid, Retry: retryFlag(v.Topic), Broker: []byte("broker-a"), QueueID: v.QueueID, Offset: -1}
		if got := string(h.Append(nil)); got != v.Info {
			t.Errorf("got %q, want %q", got, v.Info)
		}
		if h.Offset = v.MsgOffset; string(h.Append(nil)) != v.InfoWithOffset {
			t.Errorf("got %q, want %q", h.Append(nil), v.InfoWithOffset)
		}
		back, err := ParseHandle([]byte(v.InfoWithOffset))
		if err != nil || !bytes.Equal(back.Append(nil), []byte(v.InfoWithOffset)) {
			t.Errorf("%q read as %+v, %v", v.InfoWithOffset, back, err)
		}
		if got := realTopic("TopicA", "g", v.Retry[0]); got != v.RealTopic {
			t.Errorf("real topic %q, want %q", got, v.RealTopic)
		}
	}
	if n == 0 {
		t.Fatal("no vectors")
	}
}

// The offsets of an answer stand there as Java's clients read them.
func TestInfos_Vectors(t *testing.T) {
	for _, v := range vectors(t) {
		if v.Kind != "infos" {
			continue
		}
		var f infos
		f.add('0', 0, 10, []int64{10, 11, 15})
		f.add('1', 1, 20, []int64{20})
		f.count('0', 0, -1, 2)
		f.count('0', 0, 11, 3)
		if got := string(f.offsets); got != v.MsgOffsetInfo {
			t.Errorf("got %q, want %q", got, v.MsgOffsetInfo)
		}
		f.start = f.start[:0]
		f.add('0', 0, 10, nil)
		f.add('1', 1, 20, nil)
		f.add('2', 0, 30, nil)
		if got := string(f.start); got != v.StartOffsetInfo {
			t.Errorf("got %q, want %q", got, v.StartOffsetInfo)
		}
		if got := string(f.counts); got != v.OrderCountInfo {
			t.Errorf("got %q, want %q", got, v.OrderCountInfo)
		}
		return
	}
	t.Fatal("no vectors")
}

// Check points and acknowledgements are Java's, byte for byte, both ways, and so are their keys.
func TestJournal_Vectors(t *testing.T) {
	n := 0
	for _, v := range vectors(t) {
		j := new(journal)
		switch v.Kind {
		case "ck":
			c, err := ParseCheckpoint([]byte(v.JSON))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(c.AppendJSON(nil)); got != v.JSON {
				t.Errorf("got  %s\nwant %s", got, v.JSON)
			}
			if c.Index(101) != v.IndexOf101 || c.rePuts() != v.ParseRePut || c.Offset(0) != v.Offsets[0] || c.Offset(int(c.Num)-1) != v.Offsets[1] && c.Num > 1 {
				t.Errorf("%s: index of 101 %d, re-put %d, first %d, last %d, want %+v", v.JSON, c.Index(101), c.rePuts(), c.Offset(0), c.Offset(int(c.Num)-1), v)
			}
			j.identity(c.Topic, c.QueueID, c.Start, c.Group, c.PopMs, c.Broker, tagCheckpoint)
		case "ack", "bAck":
			a, err := ParseAck([]byte(v.JSON))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(a.AppendJSON(nil)); got != v.JSON {
				t.Errorf("got  %s\nwant %s", got, v.JSON)
			}
			if v.Kind == "bAck" {
				j.batchIdentity(a)
			} else {
				j.identity(a.Topic, a.QueueID, a.Offset, a.Group, a.PopMs, a.Broker, tagAck)
			}
		default:
			continue
		}
		n++
		if string(j.uniq) != v.UniqID {
			t.Errorf("key %q, want %q", j.uniq, v.UniqID)
		}
	}
	if n == 0 {
		t.Fatal("no vectors")
	}
}

// Acknowledgements of older brokers have long names.
func TestParseAck_LongNames(t *testing.T) {
	a, err := ParseAck([]byte(`{"ackOffset":5,"startOffset":3,"consumerGroup":"g","topic":"T","queueId":2,"popTime":7,"brokerName":"b","ackOffsetList":[5,6]}`))
	if err != nil || a.Offset != 5 || a.Start != 3 || a.Group != "g" || a.Topic != "T" || a.QueueID != 2 || a.PopMs != 7 || a.Broker != "b" || !slices.Equal(a.Offsets, []int64{5, 6}) {
		t.Errorf("%+v, %v", a, err)
	}
}

// Whatever a client sends is read or refused with a reason that names the field.
func TestParseHandle_Refusals(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "extraInfo has 1 parts, not 8",
		"1 2 3":                            "extraInfo has 3 parts, not 8",
		"x 2 3 4 0 b 6 7":                  `extraInfo has "x" for ckOffset`,
		"1 -2 3 4 0 b 6 7":                 `extraInfo has "-2" for popTime`,
		"1 2 99999999999999999999 4 0 b 6": `extraInfo has "99999999999999999999" for invisibleTime`,
		"1 2 3 4294967296 0 b 6 7":         `extraInfo has "4294967296" for reviveQid`,
		"1 2 3 4 9 b 6 7":                  `extraInfo has "9" for the kind of topic`,
		"1 2 3 4 0 b q 7":                  `extraInfo has "q" for queueId`,
		"1 2 3 4 0 b 6 ":                   `extraInfo has "" for offset`,
	} {
		if _, err := ParseHandle([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// A proxy of Java's adds where the message lies in the commit log.
func TestParseHandle_Proxy(t *testing.T) {
	for _, in := range []string{"1 2 3 4 0 b 6 7 2078", "1 2 3 4 0 b 6 7 2078 later"} {
		h, err := ParseHandle([]byte(in))
		if got := string(h.Append(nil)); err != nil || got != "1 2 3 4 0 b 6 7" {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func FuzzParseHandle(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.InfoWithOffset))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHandle(b)
		if err != nil {
			return
		}
		again, err := ParseHandle(h.Append(nil))
		if err != nil || !bytes.Equal(again.Append(nil), h.Append(nil)) {
			t.Errorf("%q read as %+v, then %+v, %v", b, h, again, err)
		}
	})
}

func FuzzParseCheckpoint(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.JSON), int64(101))
	}
	f.Fuzz(func(t *testing.T, b []byte, offset int64) {
		if c, err := ParseCheckpoint(b); err == nil {
			for i := range int(c.Num) {
				if j := c.Index(c.Offset(i)); j < 0 || c.Offset(j) != c.Offset(i) {
					t.Errorf("%+v: message %d has offset %d, which is message %d", c, i, c.Offset(i), j)
				}
			}
			if i := c.Index(offset); i >= MaxMessages {
				t.Errorf("%+v: offset %d is message %d", c, offset, i)
			}
			if again, err := ParseCheckpoint(c.AppendJSON(nil)); err != nil || again.ReviveMs() != c.ReviveMs() {
				t.Errorf("%+v: read again %+v, %v", c, again, err)
			}
		}
		if a, err := ParseAck(b); err == nil {
			if _, err := ParseAck(a.AppendJSON(nil)); err != nil {
				t.Errorf("%+v: read again %v", a, err)
			}
		}
	})
}

// The schedule rings each alarm once, not before its time, whatever was set, moved and taken back in between.
func TestSchedule(t *testing.T) {
	const t0 = 1_700_000_000_000
	s := newSchedule(t0)
	alarms := make([]alarm, 500)
	due := make([]int64, len(alarms))
	for i := range alarms {
		due[i] = t0 + int64(i*37%1000)*13
		s.add(&alarms[i], due[i])
	}
	for i := 0; i < len(alarms); i += 3 {
		s.remove(&alarms[i])
		s.remove(&alarms[i])
	}
	for i := 1; i < len(alarms); i += 3 {
		due[i] += 100
		s.move(&alarms[i], due[i])
	}
	rung := map[*alarm]int64{}
	for now := int64(t0); now < t0+15_000; now += 7 {
		for _, a := range s.due(nil, now, 9) {
			if rung[a] != 0 {
				t.Fatal("rang twice")
			}
			rung[a] = now
		}
	}
	for _, a := range s.due(nil, t0+1e9, 1000) { // the clock jumps
		rung[a] = t0 + 1e9
	}
	for i := range alarms {
		at := rung[&alarms[i]]
		switch {
		case i%3 == 0 && at != 0:
			t.Errorf("%d rang at %d, though it was taken back", i, at)
		case i%3 != 0 && (at < due[i] || at > due[i]+tickMs+200):
			t.Errorf("%d rang at %d, due %d", i, at, due[i])
		}
	}
	if s.count() != 0 {
		t.Errorf("%d are left", s.count())
	}
	s.due(nil, t0, 1) // the clock is set back
	s.add(&alarms[0], t0+1000)
	if n := len(s.due(nil, t0+980, 9)); n != 0 {
		t.Error("rang before its time")
	}
	if n := len(s.due(nil, t0+1000, 9)); n != 1 {
		t.Error("did not ring after the clock was set back")
	}
}
