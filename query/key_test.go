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
	disk  bool // FindCached would have to wait
}

func (f *fakeIndex) Find(_ context.Context, q index.Query) (index.Found, error) {
	f.asked = q
	return f.found, f.err
}

func (f *fakeIndex) FindCached(q index.Query) (index.Found, error) {
	if f.disk {
		return index.Found{}, index.ErrWouldWait
	}
	return f.Find(context.Background(), q)
}

// fakeLog has records by position.
type fakeLog map[int64]string

func (l fakeLog) Record(physical int64, dst []byte) ([]byte, error) {
	if r, ok := l[physical]; ok {
		return append(dst, r...), nil
	}
	return dst, errors.New("no record there")
}

func (l fakeLog) RecordCached(physical int64, dst []byte) ([]byte, error) {
	if len(l[physical]) > 1<<20 {
		return dst, index.ErrWouldWait
	}
	return l.Record(physical, dst)
}

// byKey asks the service, in a turn and, if that hands the call on, as the pool does.
func byKey(t *testing.T, x *fakeIndex, log fakeLog, c *protocol.Call) (answer *protocol.Command, offloaded bool, err error) {
	p := new(peer)
	c.Peer, c.Turn = p, new(protocol.Turn)
	k := NewKeys(KeysConfig{Index: x, Store: log, Offload: func(c *protocol.Call, run func(context.Context, *protocol.Call) error) {
		own := &protocol.Call{Command: *c.Command.Clone(), Peer: c.Peer}
		offloaded, err = true, run(t.Context(), own)
	}})
	if e := k.ByKey(c); e != nil {
		err = e
	}
	if len(p.answers) > 0 {
		answer = p.answers[0]
	}
	if (answer == nil) == (err == nil) || len(p.answers) > 1 {
		t.Errorf("%d answers, %v", len(p.answers), err)
	}
	return answer, offloaded, err
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
		_, _, err := byKey(t, x, fakeLog{}, c.call)
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
	big, half := string(make([]byte, 6<<20)), string(make([]byte, maxTurnAnswer/2))
	for _, c := range []struct {
		name     string
		log      fakeLog
		physical []int64
		want     string
		pool     bool // it is no work for a turn
	}{
		{"three", fakeLog{1: "a", 2: "b", 3: "c"}, []int64{3, 2, 1}, "abc", false},
		{"one is gone", fakeLog{1: "a", 3: "c"}, []int64{3, 2, 1}, "ac", true},
		{"too much for a turn", fakeLog{1: half, 2: half, 3: half}, []int64{3, 2, 1}, half + half + half, true},
		{"the oldest do not fit", fakeLog{1: "a" + big, 2: "b" + big, 3: "c" + big}, []int64{3, 2, 1}, "b" + big + "c" + big, true},
		{"one that fits nowhere", fakeLog{1: "a", 2: big + big + big}, []int64{2, 1}, big + big + big, true},
	} {
		for _, disk := range []bool{false, true} {
			physical := slices.Clone(c.physical)
			x := &fakeIndex{found: index.Found{Physical: physical, Last: index.Safe{Ms: 7, Physical: 8}}, disk: disk}
			answer, offloaded, err := byKey(t, x, c.log, asking("10"))
			if err != nil || string(answer.Body) != c.want || offloaded != (c.pool || disk) {
				t.Errorf("%s, disk %v: %v, %v, offloaded: %v", c.name, disk, answer, err, offloaded)
				continue
			}
			ms, _ := answer.Get("indexLastUpdateTimestamp")
			at, _ := answer.Get("indexLastUpdatePhyoffset")
			if string(ms) != "7" || string(at) != "8" {
				t.Errorf("%s: %s, %s", c.name, ms, at)
			}
			if !slices.IsSorted(physical) {
				t.Errorf("%s: %v", c.name, physical)
			}
		}
	}
}

// A request that lacks a field, an index that cannot be read and messages that are all gone are errors.
func TestKeys_ByKey_Fails(t *testing.T) {
	broken := errors.New("broken")
	if _, _, err := byKey(t, &fakeIndex{err: broken}, fakeLog{}, call("topic", "T", "key", "k")); errors.Is(err, broken) || err == nil {
		t.Error(err)
	}
	if _, _, err := byKey(t, &fakeIndex{err: broken}, fakeLog{}, asking("10")); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, _, err := byKey(t, &fakeIndex{found: index.Found{Physical: []int64{1}}}, fakeLog{}, asking("10")); err == nil {
		t.Error("gone messages are found")
	}
}
