package rpc

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/protocol"
)

// Every question names the broker that is meant, and says that it means the physical queue.
func TestElsewhere(t *testing.T) {
	ctx := context.Background()
	f := &fake{}
	e := NewElsewhere(f, func(_ context.Context, broker string) (string, error) {
		if broker != "b" {
			return "", errors.New("nowhere")
		}
		return "b:1", nil
	}, func() time.Duration { return time.Second })
	offset := &protocol.GetMaxOffsetResponse{Offset: 7}
	for _, c := range []struct {
		code   int32
		answer protocol.Fielder
		ask    func() (int64, error)
	}{
		{protocol.GetMaxOffset, offset, func() (int64, error) { return e.MaxOffset(ctx, "b", "T", 3, true) }},
		{protocol.GetMinOffset, offset, func() (int64, error) { return e.MinOffset(ctx, "b", "T", 3) }},
		{protocol.SearchOffsetByTimestamp, offset, func() (int64, error) { return e.OffsetByTime(ctx, "b", "T", 3, 5, protocol.Upper) }},
		{protocol.GetEarliestMsgStoretime, &protocol.GetEarliestMsgStoretimeResponse{Timestamp: 7}, func() (int64, error) { return e.EarliestTime(ctx, "b", "T", 3) }},
		{protocol.QueryConsumerOffset, offset, func() (int64, error) { return e.Offset(ctx, "b", "g", "T", 3) }},
		{protocol.UpdateConsumerOffset, nil, func() (int64, error) { return 7, e.Commit(ctx, "b", "g", "T", 3, 7) }},
		{protocol.PullMessage, &protocol.PullMessageResponse{NextBeginOffset: 7}, func() (int64, error) {
			p, err := e.Pull(ctx, "b", protocol.PullMessageRequest{ConsumerGroup: []byte("g"), Topic: []byte("T"), QueueID: 3, RPC: protocol.RPC{Logical: protocol.Some(true)}})
			if err != nil {
				return 0, err
			}
			return p.Header.NextBeginOffset, nil
		}},
	} {
		f.code, f.header, f.err = protocol.Success, c.answer, nil
		if got, err := c.ask(); got != 7 || err != nil || f.asked.Code != c.code {
			t.Errorf("code %d: %d, %v, asked %d", c.code, got, err, f.asked.Code)
		}
		f.field(t, "lo", "false")
		f.field(t, "bname", "b")
		f.field(t, "queueId", "3")
		f.code, f.header = protocol.SystemBusy, nil
		var known *protocol.Error
		if _, err := c.ask(); !errors.As(err, &known) || known.Code != protocol.SystemBusy || !strings.Contains(err.Error(), "broker b") {
			t.Errorf("code %d, refused: %v", c.code, err)
		}
	}
	if _, err := e.MinOffset(ctx, "x", "T", 3); err == nil || !strings.Contains(err.Error(), "broker x") || !strings.Contains(err.Error(), "nowhere") {
		t.Error("a broker that nobody knows:", err)
	}
}

// stuck answers nothing while it is deaf.
type stuck struct {
	fake
	deaf bool
}

func (s *stuck) Invoke(ctx context.Context, addr string, c *protocol.Command) (*protocol.Command, error) {
	if s.deaf {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.fake.Invoke(ctx, addr, c)
}

// Who asks a broker that does not answer waits once; then one at a time waits, and the others are told so at once.
func TestElsewhere_Deaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &stuck{deaf: true, fake: fake{header: &protocol.GetMinOffsetResponse{Offset: 7}}}
		e := NewElsewhere(f, func(_ context.Context, broker string) (string, error) { return broker + ":1", nil }, func() time.Duration { return time.Second })
		ask := func(wait time.Duration, want error) {
			t.Helper()
			began := time.Now()
			_, err := e.MinOffset(t.Context(), "b", "T", 3)
			if took := time.Since(began); !errors.Is(err, want) || took != wait {
				t.Errorf("%v after %v, want %v after %v", err, took, want, wait)
			}
		}
		for range 5 {
			go ask(time.Second, context.DeadlineExceeded)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for range 2 {
			go ask(time.Second, context.DeadlineExceeded)
			synctest.Wait()
			for range 5 {
				ask(0, errDeaf)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		f.deaf = false
		ask(0, nil)
		f.deaf = true
		for range 5 { // as at first: it had answered
			go ask(time.Second, context.DeadlineExceeded)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		f.deaf, f.err = false, errors.New("refused")
		for range 2 { // who fails at once holds up nobody
			ask(0, f.err)
		}
	})
}
