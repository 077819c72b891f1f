package metasync

import (
	"context"
	"maps"
	"strings"

	"rocketd/offset"
	"rocketd/protocol"
)

// TakeOver is for a master that comes back and finds a slave that has served meanwhile: it takes what is further there,
// offsets of consumers and deliveries. Offsets of topics that this master does not have are left: a Java slave keeps those
// of deleted topics. Source: Java BrokerPreOnlineService, which goes by versions that may be equal in spite of commits.
func (s *Service) TakeOver(ctx context.Context, slave string) error {
	w, err := within(ctx, longCall, func(ctx context.Context) (*protocol.ConsumerOffsetSerializeWrapper, error) {
		return s.cfg.Master.AllOffsets(ctx, slave)
	})
	if err != nil {
		return err
	}
	theirs := offset.All(w.OffsetTable)
	maps.DeleteFunc(theirs, func(key string, _ map[int32]int64) bool {
		topic, _, _ := strings.Cut(key, "@")
		return s.cfg.Topics.Get([]byte(topic)) == nil
	})
	version := s.cfg.Offsets.Version()
	if w.DataVersion != nil && w.DataVersion.Compare(version) > 0 {
		version = *w.DataVersion
	}
	s.cfg.Offsets.Follow(theirs, nil, version)
	for _, t := range s.carried() {
		if !t.progress {
			continue
		}
		wire, err := within(ctx, shortCall, func(ctx context.Context) ([]byte, error) { return t.ask(ctx, slave) })
		if codeOf(err) != 0 {
			continue // it has no timers
		}
		if err == nil {
			err = t.to.Advance(wire)
		}
		if err != nil {
			return err
		}
	}
	return s.cfg.Offsets.Persist()
}
