package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"rocketd/message"
)

// Places are those that a look at every record finds: of messages, of times, and the other way round.
func TestStore_Places(t *testing.T) {
	s := testStore(t, t.TempDir())
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		send(t, s, fmt.Sprint("T", min(rng.IntN(20), 5)), rng.Int32N(2), fmt.Sprint("body ", i))
	}
	send(t, s, "busy", 0, numbered(0, 20)...)
	var all []message.Record
	err := s.Each(0, func(r *message.Record) bool {
		all = append(all, message.Record{Physical: r.Physical, Size: r.Size, StoreMs: r.StoreMs, QueueID: r.QueueID, QueueOffset: r.QueueOffset, Topic: append([]byte(nil), r.Topic...)})
		return true
	})
	if err != nil || len(all) != 320 {
		t.Fatal(len(all), err)
	}
	before := int64(0)
	for i, r := range all {
		q := s.Find(r.Topic, r.QueueID)
		if at := s.PlaceOf(q, r.QueueOffset); at != r.Physical {
			t.Fatalf("message %d of %s/%d is at %d, want %d", r.QueueOffset, r.Topic, r.QueueID, at, r.Physical)
		}
		if o := s.OffsetAt(q, r.Physical); o != r.QueueOffset {
			t.Fatalf("at %d: offset %d, want %d", r.Physical, o, r.QueueOffset)
		}
		if o := s.OffsetAt(q, r.Physical+1); o != r.QueueOffset+1 {
			t.Fatalf("behind %d: offset %d, want %d", r.Physical, o, r.QueueOffset+1)
		}
		if i > 0 && all[i-1].StoreMs < r.StoreMs {
			before = all[i-1].Physical // the last that is earlier
		}
		if at := s.PlaceByTime(r.StoreMs); at != before {
			t.Fatalf("place of the time %d is %d, want %d", r.StoreMs, at, before)
		}
	}
	if at, end := s.PlaceByTime(1<<40), all[len(all)-1].Physical; at != end {
		t.Errorf("later than all is %d, want %d", at, end)
	}
	q := s.Find([]byte("busy"), 0)
	for _, offset := range []int64{-1, q.Max()} {
		if at := s.PlaceOf(q, offset); at != -1 {
			t.Errorf("message %d is at %d", offset, at)
		}
	}
	if at := s.PlaceOf(nil, 0); at != -1 {
		t.Errorf("a message of no queue is at %d", at)
	}
}
