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
)

// A route is asked for once by all who want it, again when it is old, and holds while no NameServer answers.
func TestRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var answer error
		data := &protocol.TopicRouteData{QueueDatas: []protocol.QueueData{
			{BrokerName: "b", Perm: 6, ReadQueueNums: 1, WriteQueueNums: 9}, {BrokerName: "c", Perm: 2, ReadQueueNums: 8}, {BrokerName: "a", Perm: 4, ReadQueueNums: 2},
		}}
		r := &routes{now: time.Now, age: func() time.Duration { return 30 * time.Second }, known: make(map[string]*route)}
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
