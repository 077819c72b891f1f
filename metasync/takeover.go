package metasync

import (
	"context"

	"rocketd/protocol"
)

// TakeOver is for a master that comes back and finds a slave that has served meanwhile: it takes the offsets that are
// higher there, and the delivered timers and delay levels if the slave's version of them is not older than ours.
// Source: Java BrokerPreOnlineService.syncMetadataReverse.
func (s *Service) TakeOver(ctx context.Context, slave string) error {
	w, err := within(ctx, longCall, func(ctx context.Context) (*protocol.ConsumerOffsetSerializeWrapper, error) {
		return s.cfg.Master.AllOffsets(ctx, slave)
	})
	if err != nil {
		return err
	}
	version := s.cfg.Offsets.Version()
	if w.DataVersion != nil && w.DataVersion.Compare(version) > 0 {
		version = *w.DataVersion
	}
	s.cfg.Offsets.Follow(w.OffsetTable, nil, version)
	for _, t := range s.carried() {
		if !t.progress {
			continue
		}
		wire, err := within(ctx, shortCall, func(ctx context.Context) ([]byte, error) { return t.ask(ctx, slave) })
		if codeOf(err) != 0 {
			continue // a slave without timers
		}
		if err == nil {
			err = t.to.PutNewer(wire)
		}
		if err != nil {
			return err
		}
	}
	return s.cfg.Offsets.Persist()
}
