package rpc

import (
	"context"
	"errors"
	"testing"

	"rocketd/protocol"
)

// A table comes whole or as a page, with or without the number of all entries; what cannot be read says so.
func TestBroker_AllTopics(t *testing.T) {
	f := &fake{header: &protocol.GetAllTopicConfigResponse{TotalTopicNum: protocol.Some[int32](25)},
		body: []byte(`{"dataVersion":{"counter":9,"stateVersion":0,"timestamp":1795568645833},"topicConfigTable":{"FFT":{"perm":6,"readQueueNums":2,"topicName":"FFT","writeQueueNums":2}}}`)}
	w, total, err := NewBroker(f).AllTopics(context.Background(), "b:1", &protocol.GetAllTopicConfigRequest{TopicSeq: 3, MaxTopicNum: protocol.Some[int32](2000), DataVersion: "v"})
	if err != nil || total != protocol.Some[int32](25) || w.DataVersion.Counter != 9 || w.TopicConfigTable["FFT"].ReadQueueNums != 2 {
		t.Errorf("%+v, %v, %v", w, total, err)
	}
	f.field(t, "topicSeq", "3")
	f.field(t, "maxTopicNum", "2000")
	f.field(t, "dataVersion", "v")

	f.header = nil
	if _, total, err = NewBroker(f).AllTopics(context.Background(), "b:1", nil); err != nil || total.Set || len(f.asked.Fields) != 0 {
		t.Errorf("whole table: %v, %v, asked with %d fields", total, err, len(f.asked.Fields))
	}
	f.body = []byte("<html>")
	if _, _, err := NewBroker(f).AllTopics(context.Background(), "b:1", nil); !errors.Is(err, ErrAnswer) {
		t.Error(err)
	}
}

// The same of groups. Brokers before 5.3 have no header there.
func TestBroker_AllGroups(t *testing.T) {
	f := &fake{header: &protocol.GetAllSubscriptionGroupResponse{TotalGroupNum: 12},
		body: []byte(`{"dataVersion":{"counter":4},"forbiddenTable":{"G":{"T":4}},"subscriptionGroupTable":{"G":{"groupName":"G"}}}`)}
	w, total, err := NewBroker(f).AllGroups(context.Background(), "b:1", &protocol.GetAllSubscriptionGroupRequest{GroupSeq: 3, MaxGroupNum: protocol.Some[int32](2000)})
	if err != nil || total != protocol.Some[int32](12) || w.ForbiddenTable["G"]["T"] != 4 || !w.SubscriptionGroupTable["G"].ConsumeEnable {
		t.Errorf("%+v, %v, %v", w, total, err)
	}
	f.field(t, "groupSeq", "3")
	f.header = nil
	if _, total, err = NewBroker(f).AllGroups(context.Background(), "b:1", nil); err != nil || total.Set {
		t.Errorf("%v, %v", total, err)
	}
	f.body = []byte("<html>")
	if _, _, err := NewBroker(f).AllGroups(context.Background(), "b:1", nil); !errors.Is(err, ErrAnswer) {
		t.Error(err)
	}
}

// The other tables, as a Java broker answers (recorded frames).
func TestBroker_Metadata(t *testing.T) {
	ctx := context.Background()
	f := &fake{body: []byte(`{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795568580581},"groupTopicMap":{"FFPush":["FFT"]},"offsetTable":{"FFO@FFBc@broadcast":{0:2,1:2},"FFT@FFPush":{0:0,1:7}}}`)}
	b := NewBroker(f)
	w, err := b.AllOffsets(ctx, "b:1")
	if err != nil || f.asked.Code != 43 || w.DataVersion.Timestamp != 1795568580581 || w.OffsetTable["FFT@FFPush"][1] != 7 {
		t.Errorf("%+v, %v", w, err)
	}
	for code, ask := range map[int32]func(context.Context, string) ([]byte, error){
		45: b.DelayOffsets, 402: b.RequestModes, 60: b.TimerCheckpoint, 61: b.TimerMetrics,
	} {
		f.body = []byte("text")
		if text, err := ask(ctx, "b:1"); err != nil || string(text) != "text" || f.asked.Code != code {
			t.Errorf("%d: %q, %v", code, text, err)
		}
	}
	f.body = []byte(`{"attributes":{"queue.type":"BatchCQ"},"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"FFT","writeQueueNums":2}`)
	if c, err := b.TopicConfig(ctx, "b:1", "FFT"); err != nil || f.asked.Code != 351 || c.Name != "FFT" || c.Attributes["queue.type"] != "BatchCQ" {
		t.Errorf("%+v, %v", c, err)
	}
	f.field(t, "topic", "FFT")
	f.body = []byte(`{"table":{"bootTimestamp":"1795568580000"}}`)
	if info, err := b.RuntimeInfo(ctx, "b:1"); err != nil || f.asked.Code != 28 || info["bootTimestamp"] != "1795568580000" {
		t.Errorf("%v, %v", info, err)
	}
	f.body = []byte("<html>")
	_, offsets := b.AllOffsets(ctx, "b:1")
	_, config := b.TopicConfig(ctx, "b:1", "FFT")
	_, info := b.RuntimeInfo(ctx, "b:1")
	for _, err := range []error{offsets, config, info} {
		if !errors.Is(err, ErrAnswer) {
			t.Error(err)
		}
	}
	f.code = 17
	var known *protocol.Error
	if _, err := b.TopicConfig(ctx, "b:1", "FFT"); !errors.As(err, &known) || known.Code != 17 {
		t.Error(err)
	}
}
