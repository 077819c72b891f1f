package manage

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"rocketd/protocol"
)

// thresholds is a Cold that takes three.
type thresholds map[string]int64

func (c thresholds) Set(more map[string]int64) bool {
	if len(c)+len(more) > 3 {
		return false
	}
	maps.Copy(c, more)
	return true
}
func (c thresholds) Remove(group string)   { delete(c, group) }
func (c thresholds) JSON() ([]byte, error) { return []byte("{}"), nil }

// Thresholds come as Java's mqadmin sends them; a request that is wrong anywhere sets none.
func TestService_ColdThresholds(t *testing.T) {
	table := thresholds{}
	s := New(Config{Cold: table})
	set := func(body string, code int32, want map[string]int64) {
		t.Helper()
		_, _, err := s.SetColdThresholds(t.Context(), &protocol.Call{Command: protocol.Command{Body: []byte(body)}})
		var known *protocol.Error
		if code == 0 && err != nil || code != 0 && (!errors.As(err, &known) || known.Code != code || known.Remark == "") {
			t.Errorf("%q: %v, want code %d", body, err, code)
		}
		if !maps.Equal(table, want) {
			t.Errorf("%q: %v, want %v", body, table, want)
		}
	}
	set("FFPush=1000\n", 0, map[string]int64{"FFPush": 1000})
	set("g=5\nh=many\n", protocol.InvalidParameter, map[string]int64{"FFPush": 1000})
	set("g=5\nno name!=5\n", protocol.InvalidParameter, map[string]int64{"FFPush": 1000})
	set(strings.Repeat("x", 300)+"=5\n", protocol.InvalidParameter, map[string]int64{"FFPush": 1000})
	set("", 0, map[string]int64{"FFPush": 1000})
	set("a=1\nb=2\n", 0, map[string]int64{"FFPush": 1000, "a": 1, "b": 2})
	set("c=1\nd=1\n", protocol.InvalidParameter, map[string]int64{"FFPush": 1000, "a": 1, "b": 2})
	if _, _, err := s.RemoveColdThreshold(t.Context(), &protocol.Call{Command: protocol.Command{Body: []byte("FFPush")}}); err != nil || len(table) != 2 {
		t.Errorf("%v, %v", err, table)
	}
}
