package broker

import (
	"testing"

	"rocketd/protocol"
)

func TestBroker_ReadAheadMode(t *testing.T) {
	h := open(t, t.TempDir())
	for _, c := range []struct {
		field  string
		code   int32
		remark string
	}{
		{"READ_AHEAD_MODE=1", protocol.Success, "set commitlog readahead mode success, mode: 1"},
		{"READ_AHEAD_MODE=0", protocol.Success, "set commitlog readahead mode success, mode: 0"},
		{"READ_AHEAD_MODE=2", protocol.InvalidParameter, `set commitlog readahead mode param value error: READ_AHEAD_MODE is "2"`},
		{"other=1", protocol.SystemError, "set commitlog readahead mode param error: READ_AHEAD_MODE is missing"},
	} {
		if a := h.call(protocol.SetCommitlogReadMode, "", c.field); a.Code != c.code || a.Remark != c.remark {
			t.Errorf("%s: %d %q", c.field, a.Code, a.Remark)
		}
	}
}
