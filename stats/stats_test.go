package stats

import (
	"testing"
	"time"
)

// The rates are those of the last ten seconds, minute and ten minutes.
func TestBoard_Rates(t *testing.T) {
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	b := NewBoard(start)
	now := start
	for range 60 { // ten minutes at 100 a second
		b.Put.Add(1000)
		now = now.Add(10 * time.Second)
		b.Sample(now)
	}
	b.Put.Add(3000) // and ten seconds at 300
	now = now.Add(10 * time.Second)
	if got, want := b.Rates(now, &b.Put), "300.00 133.33 103.33"; got != want {
		t.Errorf("rates %q, want %q", got, want)
	}
}

// An item answers sum, rate and average over a minute, an hour and a day.
func TestItem_Over(t *testing.T) {
	start := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	b := NewBoard(start)
	i := b.Item(TopicPutNums, "T", "")
	now := start
	b.Sample(now)
	for range 6 * 60 * 3 { // three hours, one call of 2 each ten seconds
		i.Add(2)
		now = now.Add(10 * time.Second)
		b.Sample(now)
	}
	for _, c := range []struct {
		d    time.Duration
		want Span
	}{
		{time.Minute, Span{12, 0.2, 2}},
		{time.Hour, Span{720, 0.2, 2}},
		{24 * time.Hour, Span{2160, 0.2, 2}},
	} {
		if got := i.Over(now, c.d); got != c.want {
			t.Errorf("over %v: %+v, want %+v", c.d, got, c.want)
		}
	}
	if b.Find(TopicPutNums, "U") != nil {
		t.Error("an item that was never counted exists")
	}
	b.Forget(func(topic, _ string) bool { return topic == "T" })
	if b.Find(TopicPutNums, "T") != nil {
		t.Error("a forgotten item exists")
	}
}
