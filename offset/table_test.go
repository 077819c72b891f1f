package offset

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"

	"rocketd/internal/vfs"
)

func open(t *testing.T, dir string) *Table {
	t.Helper()
	table, err := Open(Config{FS: vfs.OS, Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func empty(t *testing.T) *Table {
	t.Helper()
	return open(t, t.TempDir())
}

func (t *Table) text(group, topic string, queue int32) string {
	if offset, ok := t.Get([]byte(group), []byte(topic), queue); ok {
		return fmt.Sprint(offset)
	}
	return "-"
}

func (t *Table) commit(group, topic string, queue int32, offset int64) bool {
	return t.Commit([]byte(group), []byte(topic), queue, offset)
}

// What was committed last is read, also when it is smaller; every queue, topic and group is on its own.
func TestTable_Commit(t *testing.T) {
	o := empty(t)
	check := func(group, topic string, queue int32, want string) {
		t.Helper()
		if got := o.text(group, topic, queue); got != want {
			t.Errorf("%s %s %d: %s, want %s", group, topic, queue, got, want)
		}
	}
	check("g", "T", 0, "-")
	o.commit("g", "T", 0, 7)
	o.commit("g", "T", 1, 8)
	o.commit("g", "U", 0, 9)
	o.commit("h", "T", 0, 10)
	check("g", "T", 0, "7")
	check("g", "T", 1, "8")
	check("g", "T", 2, "-")
	check("g", "U", 0, "9")
	check("h", "T", 0, "10")
	check("h", "U", 0, "-")
	o.commit("g", "T", 0, 3)
	check("g", "T", 0, "3")
	o.commit("g", "T", 0, -1)
	check("g", "T", 0, "-")
	o.commit("g", "T", -5, 4)
	check("g", "T", -5, "4")
}

// A pending reset wins over what is committed and refuses commits, until it is taken; then its offset stays as the
// committed one.
func TestTable_Reset(t *testing.T) {
	o := empty(t)
	take := func() string {
		if offset, ok := o.TakeReset([]byte("g"), []byte("T"), 0); ok {
			return fmt.Sprint(offset)
		}
		return "-"
	}
	if got := take(); got != "-" {
		t.Errorf("took %s of an empty table", got)
	}
	o.commit("g", "T", 0, 7)
	o.Reset("g", "T", 0, 2)
	o.Reset("g", "T", 0, 3)
	if o.commit("g", "T", 0, 8) {
		t.Error("commit accepted while a reset is pending")
	}
	if !o.commit("g", "T", 1, 8) {
		t.Error("commit of another queue refused")
	}
	if got := o.text("g", "T", 0); got != "3" {
		t.Errorf("pending: %s", got)
	}
	if got, want := o.Queues("g", "T"), map[int32]int64{0: 3, 1: 8}; !maps.Equal(got, want) {
		t.Errorf("queues %v, want %v", got, want)
	}
	pending := func() bool { _, ok := o.Pending([]byte("g"), []byte("T"), 0); return ok }
	if !pending() {
		t.Error("nothing is pending")
	}
	if got := take() + take(); got != "3-" || pending() {
		t.Errorf("took %s", got)
	}
	if got := o.text("g", "T", 0); got != "3" {
		t.Errorf("after it was taken: %s", got)
	}
	if !o.commit("g", "T", 0, 8) || o.text("g", "T", 0) != "8" {
		t.Error("commit refused after the reset was taken")
	}
}

// The offset of the latest pull is something else than the committed one, and does not make a group of its topic.
func TestTable_Pulled(t *testing.T) {
	o := empty(t)
	g, topic := []byte("g"), []byte("T")
	if _, ok := o.Pulled(g, topic, 0); ok {
		t.Error("pulled before the first pull")
	}
	o.SetPulled(g, topic, 0, 5)
	if offset, ok := o.Pulled(g, topic, 0); !ok || offset != 5 {
		t.Errorf("pulled %d, %v", offset, ok)
	}
	if o.text("g", "T", 0) != "-" || len(o.Topics("g"))+len(o.Groups("T")) != 0 {
		t.Error("a pull looks like a commit")
	}
}

func TestTable_TopicsAndGroups(t *testing.T) {
	o := empty(t)
	o.commit("g", "T", 0, 1)
	o.commit("g", "A", 0, 1)
	o.commit("h", "T", 0, 1)
	o.commit("h@broadcast", "T", 0, 1)
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("topics of g", o.Topics("g"), "A", "T")
	check("topics of nobody", o.Topics("x"))
	check("groups of T", o.Groups("T"), "g", "h")
	o.Clone("g", "k", "T")
	o.Clone("x", "h", "T") // nothing to clone
	check("groups with the clone", o.Groups("T"), "g", "h", "k")
	o.commit("g", "T", 0, 2)
	if got := o.text("k", "T", 0); got != "1" {
		t.Errorf("the clone is not on its own: %s", got)
	}
	o.Reset("g", "A", 0, 9)
	o.RemoveGroup("g")
	if _, ok := o.TakeReset([]byte("g"), []byte("A"), 0); ok || o.resets.Load() != 0 {
		t.Error("a reset outlives its group")
	}
	check("groups without g", o.Groups("T"), "h", "k")
	o.RemoveTopic("T")
	check("groups without T", o.Groups("T"))
}

// A client cannot fill the memory with queues that do not exist.
func TestTable_TooManyQueues(t *testing.T) {
	o := empty(t)
	for id := range int32(maxQueues + 10) {
		o.commit("g", "T", id, 1)
	}
	o.commit("g", "T", 0, 2)
	if n := len(o.Queues("g", "T")); n != maxQueues || o.text("g", "T", 0) != "2" {
		t.Errorf("%d queues, queue 0 at %s", n, o.text("g", "T", 0))
	}
}

// The calls of the turn allocate nothing for a queue that is known.
func TestTable_Allocations(t *testing.T) {
	o := empty(t)
	g, topic := []byte("some-group"), []byte("SomeTopic")
	if n := testing.AllocsPerRun(100, func() {
		o.Commit(g, topic, 3, 7)
		o.Get(g, topic, 3)
		o.SetPulled(g, topic, 3, 9)
		o.Pulled(g, topic, 3)
		o.TakeReset(g, topic, 3)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Everything may be called from everywhere at once (for the race detector), and each queue ends with its own
// last commit.
func TestTable_Concurrent(t *testing.T) {
	o := empty(t)
	var wg sync.WaitGroup
	for i := range int32(8) {
		wg.Go(func() {
			for n := range int64(200) {
				o.commit("g", "T", i, n)
				o.text("g", "T", i)
				switch n % 50 {
				case 10:
					o.Reset("g", "U", i, n)
				case 20:
					o.TakeReset([]byte("g"), []byte("U"), i)
				case 30:
					o.Groups("T")
				case 40:
					if err := o.Persist(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range int32(8) {
		if got := o.text("g", "T", i); got != "199" {
			t.Errorf("queue %d: %s", i, got)
		}
	}
}

func BenchmarkTable_Commit(b *testing.B) {
	o := newTable(Config{})
	g, topic := []byte("some-group"), []byte("SomeTopic")
	b.ReportAllocs()
	for b.Loop() {
		o.Commit(g, topic, 3, 7)
	}
}
