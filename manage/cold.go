package manage

import (
	"context"
	"strconv"
	"strings"

	"rocketd/internal/properties"
	"rocketd/protocol"
	"rocketd/topic"
)

// Cold slows down groups that read much from the disk. A cold.Control is one.
type Cold interface {
	Set(thresholds map[string]int64) bool // by group; false: too many would have one, and none was set
	Remove(group string)
	JSON() ([]byte, error)
}

// SetColdThresholds serves UPDATE_COLD_DATA_FLOW_CTR_CONFIG (2001): how many bytes a group may read from the disk in 5 s. The body
// is a properties text, group=bytes; all are checked before the first is set. They are kept until the end of the process, as in
// Java. Source: Java AdminBrokerProcessor.updateColdDataFlowCtrGroupConfig.
func (s *Service) SetColdThresholds(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	changes, err := properties.Parse(c.Body)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "string2Properties error: %v", err)
	}
	thresholds := make(map[string]int64, len(changes))
	for group, text := range changes {
		if err := topic.CheckGroup(group); err != nil {
			return nil, nil, protocol.Errorf(protocol.InvalidParameter, "%v", err)
		}
		if thresholds[group], err = strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil {
			return nil, nil, protocol.Errorf(protocol.InvalidParameter, "the threshold of %s is no number: %q", group, text)
		}
	}
	if !s.cfg.Cold.Set(thresholds) {
		return nil, nil, protocol.Errorf(protocol.InvalidParameter, "too many groups have a threshold of their own")
	}
	return nil, nil, nil
}

// RemoveColdThreshold serves REMOVE_COLD_DATA_FLOW_CTR_CONFIG (2002): the body is the name of the group.
func (s *Service) RemoveColdThreshold(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	s.cfg.Cold.Remove(string(c.Body))
	return nil, nil, nil
}

// ColdReads serves GET_COLD_DATA_FLOW_CTR_INFO (2003).
func (s *Service) ColdReads(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	data, err := s.cfg.Cold.JSON()
	return nil, data, err
}
