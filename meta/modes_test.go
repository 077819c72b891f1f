package meta

import (
	"testing"

	"rocketd/protocol"
)

// What is set is there after the next start; what a master sends is seen at once.
func TestRequestModes(t *testing.T) {
	dir := t.TempDir()
	open := func() (*Carried, *RequestModes) {
		t.Helper()
		c := openCarried(t, dir)
		return c, NewRequestModes(c.RequestModes)
	}
	check := func(r *RequestModes, topic, group string, want protocol.SetMessageRequestModeRequestBody, known bool) {
		t.Helper()
		if got, ok := r.Get(topic, group); got != want || ok != known {
			t.Errorf("%s of %s: %+v, %v", group, topic, got, ok)
		}
	}
	none := protocol.SetMessageRequestModeRequestBody{}
	pop := protocol.SetMessageRequestModeRequestBody{ConsumerGroup: "g", Topic: "T", Mode: protocol.ModePop, PopShareQueueNum: 2}
	pull := protocol.SetMessageRequestModeRequestBody{ConsumerGroup: "h", Topic: "T", Mode: protocol.ModePull}
	_, r := open()
	check(r, "T", "g", none, false)
	for _, m := range []protocol.SetMessageRequestModeRequestBody{pop, pull} {
		if err := r.Set(m); err != nil {
			t.Fatal(err)
		}
	}
	check(r, "T", "g", pop, true)
	c, r := open()
	check(r, "T", "g", pop, true)
	check(r, "T", "h", pull, true)
	check(r, "U", "g", none, false)
	if err := c.RequestModes.Put([]byte(`{"messageRequestModeMap":{"T":{"g":{"consumerGroup":"g","topic":"T"}}}}`)); err != nil {
		t.Fatal(err)
	}
	check(r, "T", "g", protocol.SetMessageRequestModeRequestBody{ConsumerGroup: "g", Topic: "T", Mode: protocol.ModePull}, true)
	check(r, "T", "h", none, false)
}
