package metasync

import (
	"context"
	"maps"
	"time"

	"rocketd/protocol"
	"rocketd/topic"
)

// syncTopics makes the topics, and the mappings of the static ones, those of the master. Of what is gone there the offsets go
// too, but not the queues: those of a topic that gets the name again begin anew by themselves.
func (f *follower) syncTopics(ctx context.Context) (time.Duration, error) {
	before, have := f.cfg.Topics.All()
	_, mapped := f.cfg.Mappings.All()
	p, err := fetch(ctx, &f.topics, version{have, mapped}, func(ctx context.Context, seq, n int32, version string) (*page[topic.Config], error) {
		var req *protocol.GetAllTopicConfigRequest
		if n > 0 {
			req = &protocol.GetAllTopicConfigRequest{TopicSeq: seq, DataVersion: version, MaxTopicNum: protocol.Some(n)}
		}
		return within(ctx, longCall, func(ctx context.Context) (*page[topic.Config], error) {
			w, total, err := f.cfg.Master.AllTopics(ctx, f.addr, req)
			if err != nil {
				return nil, err
			}
			return &page[topic.Config]{version: w.DataVersion, entries: w.TopicConfigTable, mapped: w.MappingDataVersion, mappings: w.TopicQueueMappingDetailMap, total: total}, nil
		})
	})
	if p == nil || err != nil {
		return f.topics.again(), err
	}
	f.leaveOut("topics", keep(p.entries, func(name string, c *topic.Config) bool { c.Name = name; return saneTopic(c) }))
	f.leaveOut("mappings of static topics", keep(p.mappings, func(name string, m *topic.Mapping) bool { m.Topic = name; return saneName(name) && m.Check() == nil }))
	if _, err := f.cfg.Mappings.Replace(p.mapped, p.mappings, nil); err != nil { // before the topics, which are registered with them
		return 0, err
	}
	gone, err := f.cfg.Topics.Replace(p.version, p.entries, nil)
	if err != nil {
		return 0, err
	}
	f.topics.taken = true
	for _, name := range gone {
		if before[name] != nil { // else it was learned while the master made its answer
			f.cfg.Offsets.RemoveTopic(name)
		}
	}
	select {
	case <-f.synced:
	default:
		close(f.synced)
	}
	return f.topics.again(), nil
}

// syncGroups makes the groups, and what they may not read, those of the master.
func (f *follower) syncGroups(ctx context.Context) (time.Duration, error) {
	_, have := f.cfg.Groups.All()
	p, err := fetch(ctx, &f.groups, version{table: have}, func(ctx context.Context, seq, n int32, version string) (*page[topic.GroupConfig], error) {
		var req *protocol.GetAllSubscriptionGroupRequest
		if n > 0 {
			req = &protocol.GetAllSubscriptionGroupRequest{GroupSeq: seq, DataVersion: version, MaxGroupNum: protocol.Some(n)}
		}
		return within(ctx, longCall, func(ctx context.Context) (*page[topic.GroupConfig], error) {
			w, total, err := f.cfg.Master.AllGroups(ctx, f.addr, req)
			if err != nil {
				return nil, err
			}
			return &page[topic.GroupConfig]{version: w.DataVersion, entries: w.SubscriptionGroupTable, forbidden: w.ForbiddenTable, total: total}, nil
		})
	})
	if p == nil || err != nil {
		return f.groups.again(), err
	}
	f.leaveOut("groups", keep(p.entries, func(name string, c *topic.GroupConfig) bool { c.Name = name; return saneName(name) }))
	if _, err := f.cfg.Groups.Replace(p.version, p.entries, p.forbidden); err != nil {
		return 0, err
	}
	f.groups.taken = true
	return f.groups.again(), nil
}

// keep takes out of a table what makes no sense, and returns how many entries that were.
func keep[C any](entries map[string]*C, sane func(name string, c *C) bool) (dropped int) {
	n := len(entries)
	maps.DeleteFunc(entries, func(name string, c *C) bool { return c == nil || !sane(name, c) })
	return n - len(entries)
}

func (f *follower) leaveOut(what string, n int) {
	if n > 0 {
		f.cfg.Log.Warn("entries of the master that make no sense are left out", "table", what, "addr", f.addr, "entries", n)
	}
}

// maxName is longer than any name of a broker's own.
const maxName = 255

func saneName(name string) bool { return name != "" && len(name) <= maxName }

func saneTopic(c *topic.Config) bool {
	return saneName(c.Name) && c.ReadQueueNums >= 0 && c.ReadQueueNums <= topic.MaxQueues && c.WriteQueueNums >= 0 && c.WriteQueueNums <= topic.MaxQueues
}
