package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"rocketd/internal/vfs"
	"rocketd/topic"
)

// disk counts the writes of files and fails them on demand.
type disk struct {
	vfs.Faulty
	writes atomic.Int64
	full   atomic.Bool
	gate   chan struct{} // when set, a write waits until it can receive
}

func newDisk() *disk {
	d := new(disk)
	d.FS = vfs.OS
	d.Fail = func(op vfs.Op, _ string) error {
		if op != vfs.OpWrite {
			return nil
		}
		if d.writes.Add(1); d.gate != nil {
			<-d.gate
		}
		if d.full.Load() {
			return syscall.ENOSPC
		}
		return nil
	}
	return d
}

func openTopics(t *testing.T, cfg Config) *Topics {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.FS == nil {
		cfg.FS = vfs.OS
	}
	topics, err := OpenTopics(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return topics
}

func openGroups(t *testing.T, dir string) *Groups {
	t.Helper()
	groups, err := OpenGroups(Config{FS: vfs.OS, Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What was put is seen, rung and on the disk; what changes nothing is neither written nor rung.
func TestTopics_Put(t *testing.T) {
	dir, d := t.TempDir(), newDisk()
	var bell []string
	topics := openTopics(t, Config{FS: d, Dir: dir, Changed: func(names []string) { bell = append(bell, names...) }})
	check := func(what string, writes int64, version int64, rung ...string) {
		t.Helper()
		_, v := topics.All()
		if got := d.writes.Swap(0); got != writes || v.Counter != version || !slices.Equal(bell, rung) {
			t.Errorf("%s: %d writes, version %d, rung %q; want %d, %d, %q", what, got, v.Counter, bell, writes, version, rung)
		}
		bell = nil
	}
	must(t, topics.Put(topic.NewConfig("A", 8), topic.NewConfig("B", 8)))
	check("two new", 1, 1, "A", "B")
	must(t, topics.Put(topic.NewConfig("A", 8)))
	check("the same", 0, 1)
	must(t, topics.Put(topic.NewConfig("A", 8), topic.NewConfig("B", 4)))
	check("one changed", 1, 2, "B")
	must(t, topics.Ensure(topic.NewConfig("B", 16), topic.NewConfig("C", 1)))
	check("one missing", 1, 3, "C")
	must(t, topics.Ensure(topic.NewConfig("B", 16)))
	check("none missing", 0, 3)
	must(t, topics.Delete("A", "nobody"))
	check("deleted", 1, 4, "A")
	must(t, topics.Delete("A"))
	check("deleted twice", 0, 4)

	again := openTopics(t, Config{Dir: dir})
	all, v := again.All()
	if len(all) != 2 || all["B"].WriteQueueNums != 4 || all["C"].WriteQueueNums != 1 || v.Counter != 4 || v.Timestamp == 0 {
		t.Errorf("after reopening: %v, %+v", all, v)
	}
	if again.Get([]byte("A")) != nil || again.Get([]byte("B")) != all["B"] {
		t.Error("Get and All disagree")
	}
}

// Update sees the entry as it is; its error changes nothing.
func TestTopics_Update(t *testing.T) {
	topics := openTopics(t, Config{Dir: t.TempDir()})
	wrong := errors.New("wrong")
	must(t, topics.Update("A", func(old *topic.Config) (*topic.Config, error) {
		if old != nil {
			t.Errorf("there is %v", old)
		}
		return topic.NewConfig("A", 1), nil
	}))
	err := topics.Update("A", func(old *topic.Config) (*topic.Config, error) {
		c := *old
		c.ReadQueueNums = 9
		return &c, wrong
	})
	if c := topics.Get([]byte("A")); !errors.Is(err, wrong) || c.ReadQueueNums != 1 {
		t.Errorf("%v, %v", err, c)
	}
	var wg sync.WaitGroup
	for range 20 { // no update is lost
		wg.Go(func() {
			err := topics.Update("A", func(old *topic.Config) (*topic.Config, error) {
				c := *old
				c.ReadQueueNums++
				return &c, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c := topics.Get([]byte("A")); c.ReadQueueNums != 21 {
		t.Errorf("%d queues after twenty updates of one", c.ReadQueueNums)
	}
}

// On a full disk a change fails and is not to be seen; nothing that was there is lost; later it works.
func TestTopics_FullDisk(t *testing.T) {
	dir, d := t.TempDir(), newDisk()
	rung := 0
	topics := openTopics(t, Config{FS: d, Dir: dir, Changed: func([]string) { rung++ }})
	must(t, topics.Put(topic.NewConfig("A", 1)))
	d.full.Store(true)
	if err := topics.Put(topic.NewConfig("B", 1)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put on a full disk: %v", err)
	}
	if err := topics.Delete("A"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("delete on a full disk: %v", err)
	}
	if topics.Get([]byte("A")) == nil || topics.Get([]byte("B")) != nil || rung != 1 {
		t.Errorf("the failed changes are to be seen, or were rung (%d)", rung)
	}
	if again := openTopics(t, Config{Dir: dir}); again.Get([]byte("A")) == nil {
		t.Error("A is lost")
	}
	d.full.Store(false)
	must(t, topics.Put(topic.NewConfig("B", 1)))
	if topics.Get([]byte("B")) == nil {
		t.Error("B is not there")
	}
}

// Changes that arrive while the disk is busy share the next write, and fail and succeed on their own.
func TestTopics_GroupCommit(t *testing.T) {
	d := newDisk()
	d.gate = make(chan struct{})
	topics := openTopics(t, Config{FS: d, Dir: t.TempDir()})
	wrong := errors.New("wrong")
	var wg sync.WaitGroup
	put := func(name string) {
		wg.Go(func() {
			if err := topics.Put(topic.NewConfig(name, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	put("first")
	for d.writes.Load() == 0 { // until the first write stands at the gate
		runtime.Gosched()
	}
	names := strings.Fields("a b c d e f g h")
	for _, name := range names {
		put(name)
	}
	wg.Go(func() {
		if err := topics.Update("bad", func(*topic.Config) (*topic.Config, error) { return nil, wrong }); !errors.Is(err, wrong) {
			t.Errorf("bad update: %v", err)
		}
	})
	for { // until all wait
		topics.mu.Lock()
		n := len(topics.waiting)
		topics.mu.Unlock()
		if n == len(names)+1 {
			break
		}
		runtime.Gosched()
	}
	if topics.Get([]byte("first")) != nil {
		t.Error("a topic is seen before it is on the disk")
	}
	close(d.gate)
	wg.Wait()
	if got := d.writes.Load(); got != 2 {
		t.Errorf("%d writes, want 2", got)
	}
	for _, name := range names {
		if topics.Get([]byte(name)) == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

// A new topic takes after its template, but never has more queues than the template.
func TestTopics_Create(t *testing.T) {
	topics := openTopics(t, Config{Dir: t.TempDir()})
	template := topic.NewConfig("TBW102", 8)
	template.Perm |= topic.PermInherit
	must(t, topics.Put(template, topic.NewConfig("closed", 8)))
	create := func(name, template string, queues int32) *topic.Config {
		t.Helper()
		c, err := topics.Create(t.Context(), name, template, queues)
		must(t, err)
		return c
	}
	if c := create("A", "TBW102", 4); c.WriteQueueNums != 4 || c.ReadQueueNums != 4 || c.Perm != topic.PermRead|topic.PermWrite {
		t.Errorf("A: %+v", c)
	}
	if c := create("A", "TBW102", 6); c.WriteQueueNums != 4 {
		t.Errorf("A again: %+v", c)
	}
	if c := create("B", "TBW102", 100); c.WriteQueueNums != 8 {
		t.Errorf("B: %+v", c)
	}
	if c := create("C", "TBW102", -1); c.WriteQueueNums != 0 {
		t.Errorf("C: %+v", c)
	}
	if c := create("D", "closed", 4); c != nil {
		t.Errorf("D: %+v", c)
	}
	if c := create("D", "nobody", 4); c != nil {
		t.Errorf("D: %+v", c)
	}
}

// A group is made once, with defaults.
func TestGroups_Create(t *testing.T) {
	groups := openGroups(t, t.TempDir())
	first, err := groups.Create("g")
	must(t, err)
	second, err := groups.Create("g")
	must(t, err)
	if !first.Equal(topic.NewGroupConfig("g")) || first != second {
		t.Errorf("%+v, then %+v", first, second)
	}
}

// Looking up allocates nothing.
func TestTable_Allocations(t *testing.T) {
	topics, groups := openTopics(t, Config{Dir: t.TempDir()}), openGroups(t, t.TempDir())
	must(t, topics.Put(topic.NewConfig("SomeTopic", 8)))
	must(t, groups.SetForbidden("some-group", "SomeTopic", ForbidRead, true))
	name, group := []byte("SomeTopic"), []byte("some-group")
	if n := testing.AllocsPerRun(100, func() {
		topics.Get(name)
		groups.Get(group)
		groups.Forbidden(group, name)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The files of a Java broker are read, and what we write of them is read again the same.
func TestOpen_Java(t *testing.T) {
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS("testdata")))
	topics, groups := openTopics(t, Config{Dir: dir}), openGroups(t, dir)
	all, v := topics.All()
	if c := all["GaNormal"]; len(all) < 30 || v.Counter != 36 || v.Timestamp != 1795567697850 || c == nil || c.WriteQueueNums != 4 {
		t.Errorf("%d topics, version %+v, %+v", len(all), v, c)
	}
	allGroups, v := groups.All()
	if c := allGroups["GaRetryG"]; len(allGroups) < 12 || v.Counter != 12 || c == nil || c.RetryMaxTimes != 1 {
		t.Errorf("%d groups, version %+v, %+v", len(allGroups), v, c)
	}
	must(t, topics.Put(topic.NewConfig("new", 1)))
	must(t, groups.Put(topic.NewGroupConfig("new")))
	again, _ := openTopics(t, Config{Dir: dir}).All()
	for name, c := range all {
		if again[name] == nil || !again[name].Equal(c) {
			t.Errorf("topic %s: %+v, was %+v", name, again[name], c)
		}
	}
	againGroups, _ := openGroups(t, dir).All()
	for name, c := range allGroups {
		if againGroups[name] == nil || !againGroups[name].Equal(c) {
			t.Errorf("group %s: %+v, was %+v", name, againGroups[name], c)
		}
	}
}

// The form of the files is Java's, except that names are sorted.
func TestTable_File(t *testing.T) {
	dir := t.TempDir()
	topics := openTopics(t, Config{Dir: dir})
	must(t, topics.Put(topic.NewConfig("T", 2)))
	got, err := os.ReadFile(filepath.Join(dir, "topics.json"))
	must(t, err)
	_, after, _ := strings.Cut(string(got), "\t},\n")
	want := `	"topicConfigTable":{
		"T":{
			"attributes":{},
			"order":false,
			"perm":6,
			"readQueueNums":2,
			"topicFilterType":"SINGLE_TAG",
			"topicName":"T",
			"topicSysFlag":0,
			"writeQueueNums":2
		}
	}
}`
	if after != want {
		t.Errorf("file:\n%s\nwant at its end:\n%s", got, want)
	}
}

// Entries without a value, or with another name inside, are mended; a broken file falls back or stops the start.
func TestOpen_Odd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "topics.json")
	must(t, os.WriteFile(path, []byte(`{"topicConfigTable":{"A":{"topicName":"B","perm":6},"C":null}}`), 0o644))
	all, _ := openTopics(t, Config{Dir: dir}).All()
	if len(all) != 1 || all["A"] == nil || all["A"].Name != "A" {
		t.Errorf("%v", all)
	}
	must(t, os.Rename(path, path+".bak"))
	must(t, os.WriteFile(path, []byte(`{"topicConfigTable":{"A":`), 0o644))
	if all, _ := openTopics(t, Config{Dir: dir}).All(); all["A"] == nil {
		t.Errorf("from the backup: %v", all)
	}
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Remove(path+".bak"))
	if _, err := OpenTopics(Config{FS: vfs.OS, Dir: dir, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("opened an empty file without a backup")
	}
}

// Bits are set and cleared one by one and go with their group; Get of a group does not see them.
func TestGroups_Forbidden(t *testing.T) {
	dir := t.TempDir()
	groups := openGroups(t, dir)
	check := func(group, name string, want int32) {
		t.Helper()
		for _, g := range []*Groups{groups, openGroups(t, dir)} {
			if got := g.Forbidden([]byte(group), []byte(name)); got != want {
				t.Errorf("%s %s: %d, want %d", group, name, got, want)
			}
		}
	}
	must(t, groups.SetForbidden("g", "T", ForbidRead, true))
	must(t, groups.SetForbidden("g", "U", ForbidRead|1, true))
	check("g", "T", ForbidRead)
	check("g", "V", 0)
	must(t, groups.SetForbidden("g", "U", 1, false))
	check("g", "U", ForbidRead)
	must(t, groups.SetForbidden("g", "T", ForbidRead, false))
	check("g", "T", 0)
	if groups.Get([]byte("g")) != nil || len(groups.AllForbidden()["g"]) != 1 {
		t.Error("more or less than the bits is there")
	}
	must(t, groups.Delete("g"))
	check("g", "U", 0)
	if n := len(groups.AllForbidden()); n != 0 {
		t.Errorf("%d groups left", n)
	}
}

// A broker has the topics that Java's has, with Java's queues and permissions.
func TestSystem_Topics(t *testing.T) {
	s := System{Cluster: "C", Broker: "b", DefaultQueues: 8, ReviveQueues: 8, ClusterTopic: true}
	got := map[string]string{}
	for _, c := range s.Topics() {
		got[c.Name] = c.Perm.String()
		if c.ReadQueueNums != c.WriteQueueNums || c.WriteQueueNums < 1 {
			t.Errorf("%s: %d and %d queues", c.Name, c.ReadQueueNums, c.WriteQueueNums)
		}
	}
	for name, want := range map[string]string{"SELF_TEST_TOPIC": "RW-", "C": "RWX", "b": "--X", "SCHEDULE_TOPIC_XXXX": "RW-",
		"C_REPLY_TOPIC": "RW-", "rmq_sys_REVIVE_LOG_C": "RW-", "rmq_sys_SYNC_BROKER_MEMBER_b": "--X", "TBW102": "", "rmq_sys_wheel_timer": ""} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	s.AutoCreateTopic, s.TimerWheel, s.TraceTopic = true, true, "trace"
	if n := len(s.Topics()); n != len(got)+3 {
		t.Errorf("%d topics, want three more than %d", n, len(got))
	}
	if len(SystemGroups()) != 8 {
		t.Errorf("system groups: %d", len(SystemGroups()))
	}
}

// One change of a large table, to the disk and back.
func BenchmarkTopics_Put(b *testing.B) {
	topics, err := OpenTopics(Config{FS: vfs.OS, Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	var all []*topic.Config
	for i := range 10_000 {
		all = append(all, topic.NewConfig(fmt.Sprintf("some-topic-%d", i), 8))
	}
	if err := topics.Put(all...); err != nil {
		b.Fatal(err)
	}
	queues := int32(1)
	for b.Loop() {
		queues++
		if err := topics.Put(topic.NewConfig("one", queues)); err != nil {
			b.Fatal(err)
		}
	}
}
