package manage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/internal/properties"
	"rocketd/protocol"
	"rocketd/settings"
)

// UpdateConfig serves UPDATE_BROKER_CONFIG (25): the body is a properties text with the keys to change. Protected
// keys are refused with NO_PERMISSION, and then nothing is changed. Source: Java AdminBrokerProcessor.updateBrokerConfig.
func (s *Service) UpdateConfig(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	changes, err := properties.Parse(c.Body)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "string2Properties error: %v", err)
	}
	if len(changes) == 0 {
		return nil, nil, nil
	}
	err = s.cfg.Settings.Update(changes, time.Now())
	if errors.Is(err, settings.ErrBanned) {
		return nil, nil, protocol.Errorf(protocol.NoPermission, "Can not update config in black list. %v", err)
	}
	return nil, nil, err
}

// Config serves GET_BROKER_CONFIG (26): all keys as a properties text, sorted, and their version in the header.
func (s *Service) Config(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	counter, changed := s.cfg.Settings.Version()
	version, err := laxjson.Marshal(protocol.DataVersion{Counter: counter, Timestamp: changed.UnixMilli()})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot encode version: %w", err)
	}
	return &protocol.GetBrokerConfigResponse{Version: string(version)}, []byte(s.cfg.Settings.Text()), nil
}
