package query

import (
	"context"
	"errors"
	"slices"
	"testing"

	"rocketd/index"
	"rocketd/protocol"
)

// fakeIndex remembers what it was asked and answers found.
type fakeIndex struct {
	asked index.Query
	found index.Found
	err   error
}

func (f *fakeIndex) Find(_ context.Context, q index.Query) (index.Found, error) {
	f.asked = q
	return f.found, f.err
}

// fakeLog has records by position.
type fakeLog map[int64]string

func (l fakeLog) Record(physical int64, dst []byte) ([]byte, error) {
	if r, ok := l[physical]; ok {
		return append(dst, r...), nil
	}
	return dst, errors.New("no record there")
}

func call(fields ...string) *protocol.Call {
	c := new(protocol.Call)
	for i := 0; i < len(fields); i += 2 {
		c.Fields = append(c.Fields, protocol.Field{Key: []byte(fields[i]), Value: []byte(fields[i+1])})
	}
	return c
}

// asking is a request with these fields besides the mandatory ones.
func asking(maxNum string, more ...string) *protocol.Call {
	return call(append([]string{"topic", "T", "key", "k", "maxNum", maxNum, "beginTimestamp", "5", "endTimestamp", "9"}, more...)...)
}

// The index is asked for no more than 64 messages, for 32 of a unique key, and for tags only by indexType T.
func TestKeys_ByKey_Asks(t *testing.T) {
	for _, c := range []struct {
		name string
		call *protocol.Call
		max  int
		tags bool
	}{
		{"few", asking("10"), 10, false},
		{"too many", asking("1000"), 64, false},
		{"key", asking("10", "indexType", "K", "_UNIQUE_KEY_QUERY", "false"), 10, false},
		{"unique key", asking("100", "indexType", "U", "_UNIQUE_KEY_QUERY", "true"), 32, false},
		{"unique key, few", asking("1", "_UNIQUE_KEY_QUERY", "TRUE"), 32, false},
		{"type of a unique key", asking("40", "indexType", "U"), 40, false},
		{"tags", asking("10", "indexType", "T"), 10, true},
		{"unique key wins over tags", asking("10", "indexType", "T", "_UNIQUE_KEY_QUERY", "true"), 32, false},
		{"negative", asking("-3"), -3, false},
	} {
		x := new(fakeIndex)
		k := Keys{Index: x, Store: fakeLog{}}
		_, _, err := k.ByKey(t.Context(), c.call)
		want := index.Query{Topic: "T", Key: "k", Tags: c.tags, Max: c.max, Begin: 5, End: 9}
		if x.asked != want {
			t.Errorf("%s: %+v", c.name, x.asked)
		}
		if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.QueryNotFound ||
			e.Remark != "can not find message, maybe time range not correct" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The records stand in the order of the log. Those that are gone are left out, and the oldest where a frame would be
// too large; the header says how far the index is.
func TestKeys_ByKey_Answers(t *testing.T) {
	big := string(make([]byte, 6<<20))
	for _, c := range []struct {
		name     string
		log      fakeLog
		physical []int64
		want     string
	}{
		{"three", fakeLog{1: "a", 2: "b", 3: "c"}, []int64{3, 2, 1}, "abc"},
		{"one is gone", fakeLog{1: "a", 3: "c"}, []int64{3, 2, 1}, "ac"},
		{"the oldest do not fit", fakeLog{1: "a" + big, 2: "b" + big, 3: "c" + big}, []int64{3, 2, 1}, "b" + big + "c" + big},
		{"one that fits nowhere", fakeLog{1: "a", 2: big + big + big}, []int64{2, 1}, big + big + big},
	} {
		k := Keys{Index: &fakeIndex{found: index.Found{Physical: c.physical, Last: index.Safe{Ms: 7, Physical: 8}}}, Store: c.log}
		header, body, err := k.ByKey(t.Context(), asking("10"))
		if err != nil || string(body) != c.want {
			t.Errorf("%s: %d bytes, %v", c.name, len(body), err)
			continue
		}
		if h := header.(*protocol.QueryMessageResponse); h.IndexLastUpdateTimestamp != 7 || h.IndexLastUpdatePhyoffset != 8 {
			t.Errorf("%s: %+v", c.name, h)
		}
		if !slices.IsSorted(c.physical) {
			t.Errorf("%s: %v", c.name, c.physical)
		}
	}
}

// A request that lacks a field, an index that cannot be read and messages that are all gone are errors.
func TestKeys_ByKey_Fails(t *testing.T) {
	broken := errors.New("broken")
	k := Keys{Index: &fakeIndex{err: broken}, Store: fakeLog{}}
	if _, _, err := k.ByKey(t.Context(), call("topic", "T", "key", "k")); errors.Is(err, broken) || err == nil {
		t.Error(err)
	}
	if _, _, err := k.ByKey(t.Context(), asking("10")); !errors.Is(err, broken) {
		t.Error(err)
	}
	k.Index = &fakeIndex{found: index.Found{Physical: []int64{1}}}
	if _, _, err := k.ByKey(t.Context(), asking("10")); err == nil {
		t.Error("gone messages are found")
	}
}
