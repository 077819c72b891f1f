package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"rocketd/protocol"
)

// A fake answers one request with what the test gave it, over real frames, and keeps what it was asked.
type fake struct {
	code   int32
	header protocol.Fielder
	body   []byte
	asked  protocol.Command
	err    error
}

func (f *fake) Invoke(_ context.Context, _ string, c *protocol.Command) (*protocol.Command, error) {
	if f.err != nil {
		return nil, f.err
	}
	if err := f.asked.Decode(c.Append(nil)[4:]); err != nil {
		return nil, err
	}
	w := protocol.NewFrame(nil, protocol.JSON, f.code, c.Opaque, 1, "remark")
	if f.header != nil {
		f.header.AppendFields(&w)
	}
	w.Body()
	w.Append(f.body)
	r := new(protocol.Command)
	return r, r.Decode(w.Finish()[4:])
}

func (f *fake) field(t *testing.T, key, want string) {
	t.Helper()
	got, ok := f.asked.Get(key)
	if string(got) != want || !ok {
		t.Errorf("field %s is %q, want %q", key, got, want)
	}
}

// A registration carries its checksum and comes back with the master and the order topics.
func TestNamesrv_Register(t *testing.T) {
	f := &fake{header: &protocol.RegisterBrokerResponse{HaServerAddr: "h:1", MasterAddr: "m:1"}, body: []byte(`{"table":{"T":"a:8"}}`)}
	req := &protocol.RegisterBrokerRequest{BrokerName: "a", BrokerAddr: "a:1", ClusterName: "C", HaServerAddr: "a:2", BrokerID: 0}
	r, err := NewNamesrv(f).Register(context.Background(), "ns", req, "z1", []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if r.HaServerAddr != "h:1" || r.MasterAddr != "m:1" || r.OrderTopics["T"] != "a:8" {
		t.Errorf("answer is %+v", r)
	}
	if f.asked.Code != protocol.RegisterBroker || !bytes.Equal(f.asked.Body, []byte("hello")) {
		t.Errorf("request is %d %q", f.asked.Code, f.asked.Body)
	}
	f.field(t, "bodyCrc32", "907060870")
	f.field(t, "brokerName", "a")
	f.field(t, "brokerId", "0")
	f.field(t, "__ZONE_NAME", "z1")
	if req.BodyCrc32 != 0 {
		t.Error("the caller's request was changed")
	}
}

func TestNamesrv_RegisterTopic(t *testing.T) {
	f := &fake{}
	if err := NewNamesrv(f).RegisterTopic(context.Background(), "ns", "T", protocol.QueueData{BrokerName: "a", Perm: 6, ReadQueueNums: 4, WriteQueueNums: 4}); err != nil {
		t.Fatal(err)
	}
	f.field(t, "topic", "T")
	var r protocol.TopicRouteData
	if err := r.Unmarshal(f.asked.Body); err != nil || f.asked.Code != protocol.RegisterTopicInNamesrv || len(r.QueueDatas) != 1 || r.QueueDatas[0].BrokerName != "a" {
		t.Errorf("request is %d %s, %v", f.asked.Code, f.asked.Body, err)
	}
}

// A code that is no success is an error that names it; what the transport says is passed on.
func TestNamesrv_Errors(t *testing.T) {
	f := &fake{code: protocol.TopicNotExist}
	_, err := NewNamesrv(f).Route(context.Background(), "ns", "T")
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != protocol.TopicNotExist || e.Remark != "remark" {
		t.Errorf("error is %v", err)
	}
	f.field(t, "topic", "T")
	f.err = io.ErrUnexpectedEOF
	if _, err := NewNamesrv(f).Route(context.Background(), "ns", "T"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v", err)
	}
	f = &fake{body: []byte("{")}
	if _, err := NewNamesrv(f).Route(context.Background(), "ns", "T"); err == nil {
		t.Error("half a body is no error")
	}
}

// A data version goes out as the body, and the answer's field comes back.
func TestNamesrv_DataVersion(t *testing.T) {
	f := &fake{header: &protocol.QueryDataVersionResponse{Changed: true}}
	changed, err := NewNamesrv(f).DataVersion(context.Background(), "ns", &protocol.QueryDataVersionRequest{BrokerName: "a"}, protocol.DataVersion{Counter: 3})
	if err != nil || !changed {
		t.Errorf("%t, %v", changed, err)
	}
	if want := `{"counter":3,"stateVersion":0,"timestamp":0}`; string(f.asked.Body) != want {
		t.Errorf("body is %s, want %s", f.asked.Body, want)
	}
}

// The codes that mean "stored all the same" are no errors.
func TestBroker_Send(t *testing.T) {
	f := &fake{code: protocol.FlushDiskTimeout, header: &protocol.SendMessageResponse{MsgID: []byte("ID"), QueueID: 2, QueueOffset: 77}}
	res, code, err := NewBroker(f).Send(context.Background(), "b", &protocol.SendMessageRequest{Topic: []byte("T"), ProducerGroup: []byte("P"), QueueID: 2}, []byte("body"))
	if err != nil || code != protocol.FlushDiskTimeout || res.QueueOffset != 77 || string(res.MsgID) != "ID" {
		t.Errorf("%+v, %d, %v", res, code, err)
	}
	f.field(t, "b", "T")
	f.field(t, "e", "2")
	f.code = protocol.SystemBusy
	if _, _, err := NewBroker(f).Send(context.Background(), "b", &protocol.SendMessageRequest{}, nil); err == nil {
		t.Error("a busy broker is no error")
	}
}

// The pull codes that only say where to go on are no errors.
func TestBroker_Pull(t *testing.T) {
	for _, code := range []int32{protocol.Success, protocol.PullNotFound, protocol.PullRetryImmediately, protocol.PullOffsetMoved} {
		f := &fake{code: code, header: &protocol.PullMessageResponse{NextBeginOffset: 9, MaxOffset: 10}, body: []byte("records")}
		p, err := NewBroker(f).Pull(context.Background(), "b", &protocol.PullMessageRequest{Topic: []byte("T"), QueueOffset: 8})
		if err != nil || p.Code != code || p.Header.NextBeginOffset != 9 || string(p.Records) != "records" {
			t.Errorf("code %d: %+v, %v", code, p, err)
		}
		f.field(t, "queueOffset", "8")
	}
	if _, err := NewBroker(&fake{code: protocol.SubscriptionNotExist}).Pull(context.Background(), "b", &protocol.PullMessageRequest{}); err == nil {
		t.Error("a missing subscription is no error")
	}
}

func TestBroker_Offsets(t *testing.T) {
	ctx := context.Background()
	f := &fake{header: &protocol.QueryConsumerOffsetResponse{Offset: 5}}
	if got, err := NewBroker(f).Offset(ctx, "b", "G", "T", 3); got != 5 || err != nil {
		t.Errorf("Offset: %d, %v", got, err)
	}
	f.field(t, "setZeroIfNotFound", "false")
	f.field(t, "queueId", "3")
	f = &fake{}
	if err := NewBroker(f).Commit(ctx, "b", "G", "T", 3, 6); err != nil {
		t.Errorf("Commit: %v", err)
	}
	f.field(t, "commitOffset", "6")
	f = &fake{header: &protocol.GetMaxOffsetResponse{Offset: 8}}
	if got, err := NewBroker(f).MaxOffset(ctx, "b", "T", 0); got != 8 || err != nil {
		t.Errorf("MaxOffset: %d, %v", got, err)
	}
	f = &fake{header: &protocol.GetMinOffsetResponse{Offset: 2}}
	if got, err := NewBroker(f).MinOffset(ctx, "b", "T", 0); got != 2 || err != nil {
		t.Errorf("MinOffset: %d, %v", got, err)
	}
	f = &fake{body: []byte(`{"consumerIdList":["a","b"]}`)}
	if got, err := NewBroker(f).Consumers(ctx, "b", "G"); len(got) != 2 || err != nil {
		t.Errorf("Consumers: %v, %v", got, err)
	}
}

// The members of a set come from the question for them, or from a name server of old, which knows the route only.
func TestNamesrv_Members(t *testing.T) {
	f := &fake{body: []byte(`{"brokerMemberGroup":{"brokerAddrs":{0:"m:1",2:"s:1"},"brokerName":"a","cluster":"C"}}`)}
	got, err := NewNamesrv(f).Members(context.Background(), "ns", "C", "a")
	if err != nil || len(got) != 2 || got[2] != "s:1" {
		t.Errorf("%v, %v", got, err)
	}
	f.field(t, "brokerName", "a")
	f.field(t, "clusterName", "C")
	old := &scripted{answers: map[int32]fake{
		protocol.GetBrokerMemberGroup: {code: protocol.RequestCodeNotSupported},
		protocol.GetRouteinfoByTopic:  {body: []byte(`{"brokerDatas":[{"brokerAddrs":{"0":"x:1"},"brokerName":"a","cluster":"D"},{"brokerAddrs":{"1":"s:1"},"brokerName":"a","cluster":"C"}],"queueDatas":[]}`)},
	}}
	got, err = NewNamesrv(old).Members(context.Background(), "ns", "C", "a")
	if err != nil || len(got) != 1 || got[1] != "s:1" {
		t.Errorf("%v, %v", got, err)
	}
	old.answers[protocol.GetRouteinfoByTopic] = fake{code: protocol.TopicNotExist}
	if got, err = NewNamesrv(old).Members(context.Background(), "ns", "C", "a"); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// scripted answers each code as its fake does.
type scripted struct{ answers map[int32]fake }

func (s *scripted) Invoke(ctx context.Context, addr string, c *protocol.Command) (*protocol.Command, error) {
	f := s.answers[c.Code]
	return f.Invoke(ctx, addr, c)
}
