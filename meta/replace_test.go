package meta

import (
	"slices"
	"testing"

	"rocketd/protocol"
	"rocketd/topic"
)

// A replaced table has the other one's entries and its version, durably; only what differs is rung, and what went is told.
func TestTopics_Replace(t *testing.T) {
	dir, d := t.TempDir(), newDisk()
	var bell []string
	topics := openTopics(t, Config{FS: d, Dir: dir, Changed: func(names []string) { bell = append(bell, names...) }})
	must(t, topics.Put(topic.NewConfig("A", 8), topic.NewConfig("B", 8), topic.NewConfig("C", 8)))
	d.writes.Store(0)
	bell = nil
	check := func(what string, v protocol.DataVersion, writes int64, wantGone, rung []string, configs ...*topic.Config) {
		t.Helper()
		table := make(map[string]*topic.Config)
		for _, c := range configs {
			table[c.Name] = c
		}
		gone, err := topics.Replace(v, table, nil)
		must(t, err)
		slices.Sort(bell)
		_, now := topics.All()
		if w := d.writes.Swap(0); now != v || w != writes || !slices.Equal(gone, wantGone) || !slices.Equal(bell, rung) {
			t.Errorf("%s: version %+v, %d writes, gone %q, rung %q", what, now, w, gone, bell)
		}
		bell = nil
	}
	older := protocol.DataVersion{Counter: 1, Timestamp: 5}
	check("other", older, 1, []string{"A", "C"}, []string{"A", "B", "C", "D"}, topic.NewConfig("B", 4), topic.NewConfig("D", 1))
	check("the same", older, 0, nil, nil, topic.NewConfig("B", 4), topic.NewConfig("D", 1))
	newer := protocol.DataVersion{Counter: 9, Timestamp: 6, StateVersion: 2}
	check("just the version", newer, 1, nil, nil, topic.NewConfig("B", 4), topic.NewConfig("D", 1))
	all, v := openTopics(t, Config{Dir: dir}).All()
	if len(all) != 2 || all["B"].ReadQueueNums != 4 || v != newer {
		t.Errorf("after reopening: %v, %+v", all, v)
	}
	must(t, topics.Put(topic.NewConfig("E", 1)))
	if _, v := topics.All(); v.Counter != 10 || v.StateVersion != 2 {
		t.Errorf("the version goes on as %+v", v)
	}

	d.full.Store(true)
	if _, err := topics.Replace(older, map[string]*topic.Config{}, nil); err == nil {
		t.Error("a full disk was no error")
	}
	if all, _ := topics.All(); len(all) != 3 {
		t.Errorf("after an error: %v", all)
	}
}

// A Replace that meets another change in one write leaves the version of whichever came last.
func TestTopics_Replace_Batch(t *testing.T) {
	topics := openTopics(t, Config{Dir: t.TempDir()})
	v := protocol.DataVersion{Counter: 7, Timestamp: 1}
	put := func(name string) *change[topic.Config] {
		return &change[topic.Config]{edit: func(next *state[topic.Config]) ([]string, error) {
			next.configs[name] = topic.NewConfig(name, 1)
			return []string{name}, nil
		}}
	}
	replace := &change[topic.Config]{version: &v, edit: func(next *state[topic.Config]) ([]string, error) {
		next.configs = map[string]*topic.Config{"M": topic.NewConfig("M", 1)}
		return []string{"M"}, nil
	}}
	topics.commit([]*change[topic.Config]{put("A"), replace})
	if all, now := topics.All(); len(all) != 1 || now != v {
		t.Errorf("put, replace: %v %+v", all, now)
	}
	topics.commit([]*change[topic.Config]{replace, put("A")})
	if all, now := topics.All(); len(all) != 2 || now.Counter != 8 {
		t.Errorf("replace, put: %v %+v", all, now)
	}
}

// The forbidden topics of groups are replaced too.
func TestGroups_Replace(t *testing.T) {
	dir := t.TempDir()
	groups := openGroups(t, dir)
	must(t, groups.Put(topic.NewGroupConfig("G")))
	must(t, groups.SetForbidden("G", "T", ForbidRead, true))
	_, err := groups.Replace(protocol.DataVersion{Counter: 3}, map[string]*topic.GroupConfig{"H": topic.NewGroupConfig("H")},
		map[string]map[string]int32{"H": {"U": ForbidRead}})
	must(t, err)
	groups = openGroups(t, dir)
	if groups.Get([]byte("G")) != nil || groups.Get([]byte("H")) == nil ||
		groups.Forbidden([]byte("G"), []byte("T")) != 0 || groups.Forbidden([]byte("H"), []byte("U")) != ForbidRead {
		t.Errorf("forbidden: %v", groups.AllForbidden())
	}
}
