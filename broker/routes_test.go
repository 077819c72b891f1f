package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/protocol"
	"rocketd/remoting"
	"rocketd/rpc"
)

// A route is asked for once by all who want it, again when it is old, and holds while no NameServer answers.
func TestRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var answer error
		data := &protocol.TopicRouteData{QueueDatas: []protocol.QueueData{
			{BrokerName: "b", Perm: 6, ReadQueueNums: 1, WriteQueueNums: 9}, {BrokerName: "c", Perm: 2, ReadQueueNums: 8}, {BrokerName: "a", Perm: 4, ReadQueueNums: 2},
		}}
		r := &routes{
			pick: queuesOf, now: time.Now, age: func() time.Duration { return 30 * time.Second }, known: make(map[string]*route)}
		r.ask = func(context.Context, string) (*protocol.TopicRouteData, error) {
			asked.Add(1)
			time.Sleep(time.Second)
			if answer != nil {
				return nil, answer
			}
			return data, nil
		}
		r.own = func(string) []protocol.MessageQueue { return appendQueues(nil, "T", "own", 1) }
		all := []protocol.MessageQueue{{Topic: "T", BrokerName: "a", QueueID: 0}, {Topic: "T", BrokerName: "a", QueueID: 1}, {Topic: "T", BrokerName: "b", QueueID: 0}}
		check := func(want []protocol.MessageQueue, questions int64) {
			t.Helper()
			if got := r.Ask(t.Context(), "T"); !slices.Equal(got, want) || asked.Load() != questions {
				t.Errorf("%v after %d questions, want %v after %d", got, asked.Load(), want, questions)
			}
		}
		if _, ok := r.Queues("T"); ok {
			t.Error("known without a question")
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if got := r.Ask(t.Context(), "T"); !slices.Equal(got, all) {
					t.Errorf("%v", got)
				}
			})
		}
		wg.Wait()
		check(all, 1)
		if got, ok := r.Queues("T"); !ok || !slices.Equal(got, all) {
			t.Errorf("%v, %v", got, ok)
		}
		time.Sleep(31 * time.Second)
		answer = errors.New("nobody answers")
		check(all, 2)
		check(all, 2) // not again at once
		time.Sleep(31 * time.Second)
		answer = protocol.Errorf(protocol.TopicNotExist, "no route")
		check(nil, 3)
		check(nil, 4)
		if len(r.known) != 0 {
			t.Errorf("%d topics without a route are kept", len(r.known))
		}
		answer = errNoServer
		check([]protocol.MessageQueue{{Topic: "T", BrokerName: "own"}}, 5)
	})
}

// routeServer is a stand-in for a NameServer that knows topic T or none.
type routeServer struct{ knows bool }

func (s routeServer) Serve(c *protocol.Call) {
	if s.knows {
		c.Ticket().Answer(c.Turn, protocol.Success, "", nil, []byte(`{"brokerDatas":[],"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":1,"writeQueueNums":1}]}`))
		return
	}
	c.Ticket().Answer(c.Turn, protocol.TopicNotExist, "No topic route info", nil, nil)
}
func (routeServer) EndTurn(*protocol.Turn)               {}
func (routeServer) Closed(*protocol.Turn, protocol.Peer) {}

// A NameServer that is silent or does not know a topic keeps nobody from what the next one knows. That a topic is nowhere is what
// one of them must have said.
func TestRegistrar_Route(t *testing.T) {
	client := remoting.NewClient(remoting.ClientConfig{})
	defer client.Close()
	ignorant, knows := listen(t, routeServer{}), listen(t, routeServer{knows: true})
	gone := "127.0.0.1:1"
	for _, c := range []struct {
		addrs []string
		code  int32 // of the error; -1: another error, 0: none
	}{
		{[]string{gone, ignorant, knows}, 0}, {[]string{knows, gone}, 0}, {[]string{ignorant, gone}, protocol.TopicNotExist},
		{[]string{gone, ignorant}, protocol.TopicNotExist}, {[]string{gone}, -1}, {nil, -1},
	} {
		servers := newServers()
		servers.set(c.addrs)
		r := &registrar{servers: servers, namesrv: rpc.NewNamesrv(client)}
		data, err := r.route(t.Context(), "T")
		var known *protocol.Error
		switch {
		case c.code == 0 && (err != nil || len(data.QueueDatas) != 1), c.code < 0 && (err == nil || errors.As(err, &known)),
			c.code > 0 && (!errors.As(err, &known) || known.Code != c.code), c.addrs == nil && err != errNoServer:
			t.Errorf("%q: %+v, %v", c.addrs, data, err)
		}
	}
}
