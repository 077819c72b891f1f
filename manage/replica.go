package manage

import (
	"context"

	"rocketd/protocol"
)

// AllOffsets serves GET_ALL_CONSUMER_OFFSET (43): the whole offset table, from which a slave synchronises, each time after it
// has taken the topics.
func (s *Service) AllOffsets(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	s.followers.goesOn(c.Peer.RemoteAddr().Addr().Unmap(), c.Language)
	data, err := s.cfg.Offsets.JSON()
	return nil, data, err
}

// DelayOffsets serves GET_ALL_DELAY_OFFSET (45): how far each delay level is delivered, as it was kept last. A slave that
// takes over finds later deliveries in its log; what a table said that is ahead of its log would be lost.
func (s *Service) DelayOffsets(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	return nil, s.cfg.Carried.DelayOffsets.Bytes(), nil
}

// RequestModes serves GET_ALL_MESSAGE_REQUEST_MODE (402): which groups pop and which pull.
func (s *Service) RequestModes(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	return nil, s.cfg.Carried.RequestModes.Bytes(), nil
}

// TimerCheckpoint serves GET_TIMER_CHECK_POINT (60): how far timed messages are delivered. A Java slave asks every 3 s; one
// of a Java master without timers logs an error each time, so we answer what is known in any case.
func (s *Service) TimerCheckpoint(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	return nil, s.cfg.Carried.TimerCheckpoint.Bytes(), nil
}

// TimerMetrics serves GET_TIMER_METRICS (61): how many timed messages wait, by topic.
func (s *Service) TimerMetrics(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	return nil, s.cfg.Carried.TimerMetrics.Bytes(), nil
}

// HAStatus serves GET_BROKER_HA_STATUS (907).
func (s *Service) HAStatus(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	if s.cfg.HA == nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "Can not get HARuntimeInfo, may be duplicationEnable is true")
	}
	return body(s.cfg.HA())
}
