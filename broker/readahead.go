package broker

import (
	"context"
	"fmt"

	"rocketd/dispatch"
	"rocketd/protocol"
)

// readAheadMode serves SET_COMMITLOG_READ_MODE (2004) until the broker ends: with READ_AHEAD_MODE 0 the log is read ahead for those
// who read old messages, with 1 it is not. mqadmin prints the remark of the answer. Source: Java
// AdminBrokerProcessor.setCommitLogReadaheadMode.
func (b *Broker) readAheadMode(_ context.Context, c *protocol.Call) (*dispatch.Reply, error) {
	mode, ok := c.Get("READ_AHEAD_MODE")
	switch {
	case !ok:
		return nil, protocol.Errorf(protocol.SystemError, "set commitlog readahead mode param error: READ_AHEAD_MODE is missing")
	case string(mode) != "0" && string(mode) != "1":
		return nil, protocol.Errorf(protocol.InvalidParameter, "set commitlog readahead mode param value error: READ_AHEAD_MODE is %q", mode)
	}
	b.store.SetReadAhead(string(mode) == "0")
	return &dispatch.Reply{Remark: fmt.Sprintf("set commitlog readahead mode success, mode: %s", mode)}, nil
}
