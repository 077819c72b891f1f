package manage

import (
	"context"

	"rocketd/protocol"
)

// DeleteExpired serves DELETE_EXPIRED_COMMITLOG (329): files of the log that are old enough go now, whatever the hour.
func (s *Service) DeleteExpired(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	s.cfg.Store.DeleteExpired()
	return nil, nil, nil
}

// CleanExpiredQueues serves CLEAN_EXPIRED_CONSUMEQUEUE (306): queues whose last message is gone from the log are
// deleted, but not those of the system's topics.
func (s *Service) CleanExpiredQueues(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	_, err := s.cfg.Store.CleanExpiredQueues(s.isSystem)
	return nil, nil, err
}
