package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"rocketd/message"
	"rocketd/protocol"
)

// A fake is a name server and a broker in memory, behind Invoke. It holds pulls as a broker does.
type fake struct {
	mu      sync.Mutex
	topics  map[string]int32 // queues
	records map[Queue][]*message.Draft
	offsets map[string]int64 // "group queue"
	members []string
	grew    chan struct{} // closed and replaced when a message comes
	clients map[string]*Client
	refuse  func(code int32, n int) int32 // by request code and how many of it came so far; 0 serves
	asked   map[int32]int
}

var errDown = errors.New("connection refused")

func newFake() *fake {
	return &fake{topics: map[string]int32{"TBW102": 8}, records: map[Queue][]*message.Draft{}, offsets: map[string]int64{},
		grew: make(chan struct{}), clients: map[string]*Client{}, asked: map[int32]int{}}
}

func (f *fake) client() *Client {
	c := New(Config{Namesrv: []string{"down:1", "ns:1"}, Invoker: f, Log: slog.New(slog.DiscardHandler)})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients[c.id] = c
	return c
}

type header interface {
	Decode([]protocol.Field) error
}

// serve decodes and answers; it returns the code, the answer's header and its body.
func (f *fake) serve(ctx context.Context, c *protocol.Command) (int32, protocol.Fielder, []byte) {
	read := func(h header) {
		if err := h.Decode(c.Fields); err != nil {
			panic(err)
		}
	}
	switch c.Code {
	case protocol.GetRouteinfoByTopic:
		var h protocol.GetRouteInfoRequest
		read(&h)
		n := f.topics[string(h.Topic)]
		if n == 0 {
			return protocol.TopicNotExist, nil, nil
		}
		body, _ := (&protocol.TopicRouteData{
			QueueDatas:  []protocol.QueueData{{BrokerName: "a", Perm: 6, ReadQueueNums: n, WriteQueueNums: n}},
			BrokerDatas: []protocol.BrokerData{{BrokerName: "a", BrokerAddrs: map[int64]string{0: "broker:1"}}},
		}).Marshal()
		return 0, nil, body
	case protocol.SendMessageV2:
		var h protocol.SendMessageRequest
		if err := h.DecodeV2(c.Fields); err != nil {
			panic(err)
		}
		topic := string(h.Topic)
		if f.topics[topic] == 0 {
			f.topics[topic] = h.DefaultTopicQueueNums
		}
		return 0, f.store(topic, h.QueueID, c.Body, h.Properties), nil
	case protocol.HeartBeat:
		var h protocol.HeartbeatData
		if err := h.Unmarshal(c.Body); err != nil {
			panic(err)
		}
		if !slices.Contains(f.members, h.ClientID) {
			f.members = append(f.members, h.ClientID)
			f.tell()
		}
	case protocol.UnregisterClient:
		var h protocol.UnregisterClientRequest
		read(&h)
		f.members = slices.DeleteFunc(f.members, func(id string) bool { return id == h.ClientID })
		f.tell()
	case protocol.GetConsumerListByGroup:
		body, _ := (&protocol.GetConsumerListByGroupResponseBody{ConsumerIDList: f.members}).Marshal()
		return 0, nil, body
	case protocol.QueryConsumerOffset:
		var h protocol.QueryConsumerOffsetRequest
		read(&h)
		offset, ok := f.offsets[fmt.Sprint(string(h.ConsumerGroup), " ", h.QueueID)]
		if !ok {
			return protocol.QueryNotFound, nil, nil
		}
		return 0, &protocol.QueryConsumerOffsetResponse{Offset: offset}, nil
	case protocol.UpdateConsumerOffset:
		var h protocol.UpdateConsumerOffsetRequest
		read(&h)
		f.offsets[fmt.Sprint(string(h.ConsumerGroup), " ", h.QueueID)] = h.CommitOffset
	case protocol.GetMaxOffset:
		var h protocol.GetMaxOffsetRequest
		read(&h)
		return 0, &protocol.GetMaxOffsetResponse{Offset: int64(len(f.records[Queue{Broker: string(h.Topic), ID: h.QueueID}]))}, nil
	case protocol.GetMinOffset:
		return 0, &protocol.GetMinOffsetResponse{}, nil
	case protocol.PullMessage:
		var h protocol.PullMessageRequest
		read(&h)
		return f.pull(ctx, &h)
	default:
		return protocol.RequestCodeNotSupported, nil, nil
	}
	return 0, nil, nil
}

func (f *fake) store(topic string, queue int32, body, props []byte) *protocol.SendMessageResponse {
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	q := Queue{Broker: topic, ID: queue}
	f.records[q] = append(f.records[q], &message.Draft{Topic: []byte(topic), Body: slices.Clone(body), Properties: slices.Clone(props), QueueID: queue, BornHost: host, StoreHost: host})
	close(f.grew)
	f.grew = make(chan struct{})
	return &protocol.SendMessageResponse{MsgID: []byte("ID"), QueueID: queue, QueueOffset: int64(len(f.records[q]) - 1)}
}

func (f *fake) pull(ctx context.Context, h *protocol.PullMessageRequest) (int32, protocol.Fielder, []byte) {
	q, from := Queue{Broker: string(h.Topic), ID: h.QueueID}, h.QueueOffset
	for held := false; ; held = true {
		if all := f.records[q]; from < int64(len(all)) {
			var body []byte
			to := min(from+3, int64(len(all))) // small answers, to have many
			for i, d := range all[from:to] {
				at := len(body)
				body = message.AppendRecord(body, d)
				message.Patch(body[at:], from+int64(i), 0, from+int64(i)*10+int64(h.QueueID))
			}
			return 0, &protocol.PullMessageResponse{NextBeginOffset: to}, body
		}
		if held || h.SysFlag&pullSuspend == 0 {
			return protocol.PullNotFound, &protocol.PullMessageResponse{NextBeginOffset: from}, nil
		}
		grew := f.grew
		f.mu.Unlock()
		select {
		case <-grew:
		case <-time.After(time.Duration(h.SuspendTimeoutMillis) * time.Millisecond):
		case <-ctx.Done():
		}
		f.mu.Lock()
	}
}

// tell rings the members as a broker does with request 40.
func (f *fake) tell() {
	for _, id := range f.members {
		var call protocol.Call
		call.Code = protocol.NotifyConsumerIdsChanged
		f.clients[id].OnRequest(&call)
	}
}

func (f *fake) Invoke(ctx context.Context, addr string, c *protocol.Command) (*protocol.Command, error) {
	if addr == "down:1" {
		return nil, errDown
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[c.Code]++
	code, h, body := int32(0), protocol.Fielder(nil), []byte(nil)
	if f.refuse != nil {
		code = f.refuse(c.Code, f.asked[c.Code])
	}
	if code == 0 {
		code, h, body = f.serve(ctx, c)
	}
	w := protocol.NewFrame(nil, protocol.JSON, code, 1, 1, "refused")
	if h != nil {
		h.AppendFields(&w)
	}
	w.Body()
	w.Append(body)
	r := new(protocol.Command)
	return r, r.Decode(w.Finish()[4:])
}
