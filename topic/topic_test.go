package topic

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"rocketd/internal/laxjson"
)

// Names must be judged as Java judged them, to the word.
func TestNames_Java(t *testing.T) {
	file, err := os.Open("testdata/names.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var v struct {
			Kind, S, Retry, DLQ string
			Group, Topic        json.RawMessage
			System              bool
			NotAllowedSend      bool
			Set                 []string
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		switch v.Kind {
		case "validate":
			check := func(err error, verdict json.RawMessage) {
				t.Helper()
				var want struct{ Remark string }
				if e := json.Unmarshal(verdict, &want); e != nil {
					t.Fatal(e)
				}
				got := ""
				if err != nil {
					got = err.Error()
				}
				if got != want.Remark {
					t.Errorf("%q: %q, want %q", v.S, got, want.Remark)
				}
			}
			check(CheckTopic(v.S), v.Topic)
			check(CheckGroup(v.S), v.Group)
			if IsSystem(v.S) != v.System || MaySend([]byte(v.S)) == v.NotAllowedSend {
				t.Errorf("%q: system %v, may send %v", v.S, IsSystem(v.S), MaySend(v.S))
			}
		case "systemTopics", "notAllowedSend":
			got := 0
			for name, closed := range system {
				if v.Kind == "systemTopics" || closed {
					got++
					if !slices.Contains(v.Set, name) {
						t.Errorf("%s is not in Java's %s", name, v.Kind)
					}
				}
			}
			if got != len(v.Set) {
				t.Errorf("%s: %d names, Java has %d", v.Kind, got, len(v.Set))
			}
		case "retryDlq":
			var group *string
			if err := json.Unmarshal(v.Group, &group); err != nil {
				t.Fatal(err)
			}
			if group == nil {
				continue
			}
			if RetryTopic(*group) != v.Retry || DLQTopic(*group) != v.DLQ || !IsDLQ(v.DLQ) {
				t.Errorf("%q: %q, %q", *group, RetryTopic(*group), DLQTopic(*group))
			}
			if g, ok := GroupOfRetry(v.Retry); !ok || g != *group {
				t.Errorf("group of %q is %q, %v", v.Retry, g, ok)
			}
		}
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
}

// Configurations must look like Java's and start from Java's defaults.
func TestConfig_JSON(t *testing.T) {
	check := func(v any, in, want string) {
		t.Helper()
		if err := laxjson.Unmarshal([]byte(in), v); err != nil {
			t.Fatal(err)
		}
		if got, err := laxjson.Marshal(v); err != nil || string(got) != want {
			t.Errorf("%s became %s, %v, want %s", in, got, err, want)
		}
	}
	check(&Config{}, `{"topicName":"T","topicFilterType":"single_tag","perm":"6","order":1}`,
		`{"attributes":{},"order":true,"perm":6,"readQueueNums":16,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":16}`)
	check(&Config{}, `{"topicFilterType":"","attributes":{"a":1}}`,
		`{"attributes":{"a":"1"},"order":false,"perm":6,"readQueueNums":16,"topicName":"","topicSysFlag":0,"writeQueueNums":16}`)
	check(&GroupConfig{}, `{"groupName":"g1"}`, `{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,`+
		`"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"g1","groupRetryPolicy":{"type":"CUSTOMIZED"},`+
		`"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}`)
	g := &GroupConfig{}
	check(g, `{"groupName":"g","groupRetryPolicy":{"type":0,"exponentialRetryPolicy":{"max":9},"customizedRetryPolicy":{"next":[1]}},"subscriptionDataSet":[{"topic":"T"}]}`,
		`{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,`+
			`"consumeTimeoutMinute":15,"groupName":"g","groupRetryPolicy":{"customizedRetryPolicy":{"next":[1]},"exponentialRetryPolicy":{"initial":5000,"max":9,"multiplier":2},"type":"EXPONENTIAL"},`+
			`"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"subscriptionDataSet":[{"topic":"T","version":0}],"whichBrokerWhenConsumeSlowly":1}`)
	if c := g.Clone(); !c.Equal(g) || c.RetryPolicy.Exponential == g.RetryPolicy.Exponential {
		t.Error("a clone must be equal and share nothing")
	}
	other := g.Clone()
	other.RetryPolicy.Customized.NextMs[0] = 2
	if other.Equal(g) {
		t.Error("another retry delay counts as equal")
	}
	c := NewConfig("T", 4)
	c.Attributes = map[string]string{"a": "b"}
	d := c.Clone()
	if d.Attributes["a"] = "c"; c.Equal(d) || c.Attributes["a"] != "b" {
		t.Error("a changed clone must differ and leave the original alone")
	}
}

func TestPerm(t *testing.T) {
	for p, want := range map[Perm]string{0: "---", 1: "--X", 4: "R--", 6: "RW-", 7: "RWX"} {
		if p.String() != want || !p.Valid() {
			t.Errorf("Perm(%d) = %s, valid %v, want %s", p, p, p.Valid(), want)
		}
	}
	if Perm(8).Valid() || Perm(-1).Valid() {
		t.Error("unknown bits are valid")
	}
}

// Attributes may be set, changed and deleted only as Java allows it.
func TestAlterTopic(t *testing.T) {
	current := map[string]string{"queue.type": "BatchCQ", "message.type": "FIFO"}
	for _, c := range []struct {
		change string
		create bool
		want   string // the result, or a part of the error after "!"
	}{
		{"+message.type=DELAY", true, "message.type=DELAY"},
		{" +queue.type=SimpleCQ , +reserve.time=-1,", true, "queue.type=SimpleCQ reserve.time=-1"},
		{"+message.type=NORMAL", false, "message.type=NORMAL queue.type=BatchCQ"},
		{"-message.type", false, "queue.type=BatchCQ"},
		{"", false, "message.type=FIFO queue.type=BatchCQ"},
		{"+queue.type=BatchCQ", false, "message.type=FIFO queue.type=BatchCQ"},
		{"+queue.type=SimpleCQ", false, "!unchangeable"},
		{"-queue.type", false, "!unchangeable"},
		{"-reserve.time", false, "!nonexistent"},
		{"-message.type", true, "!only add"},
		{"+x=1", true, "!unsupported"},
		{"+message.type=x", true, "!not in"},
		{"+reserve.time=-2", true, "!range"},
		{"message.type=DELAY", true, "!wrong"},
		{"+message.type", true, "!wrong"},
		{"+message.type=DELAY,+message.type=FIFO", true, "!duplication"},
		{"+message.type=DELAY,-message.type", false, "!duplication"},
	} {
		changes, err := ParseAttributes(c.change)
		var got map[string]string
		if err == nil {
			base := current
			if c.create {
				base = nil
			}
			got, err = AlterTopic(base, changes, c.create)
		}
		if part, bad := strings.CutPrefix(c.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %v, %v, want an error with %q", c.change, got, err, part)
			}
			continue
		}
		var list []string
		for k, v := range got {
			list = append(list, k+"="+v)
		}
		slices.Sort(list)
		if err != nil || strings.Join(list, " ") != c.want {
			t.Errorf("%q: %v, %v, want %s", c.change, list, err, c.want)
		}
	}
	if got, err := AlterGroup(nil, map[string]string{"+priority.factor": "100"}, true); err != nil || got["priority.factor"] != "100" {
		t.Errorf("group attribute: %v, %v", got, err)
	}
}

func TestSystemGroups(t *testing.T) {
	for _, g := range SystemGroups() {
		if !IsSystemGroup(g) {
			t.Errorf("%s is no system group", g)
		}
	}
	if !IsSystemGroup("CID_RMQ_SYS_X") || IsSystemGroup("g") {
		t.Error("wrong about CID_RMQ_SYS_X or g")
	}
}
