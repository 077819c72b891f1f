//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cutsOfAStore is how many cuts a store goes through before a fresh one takes its place.
const cutsOfAStore = 25

// TestPowerCut takes the power from a broker's disk under load, again and again, and now and then also while it starts, or
// after kill -9, or after a clean stop. It must start by itself each time. Under SYNC_FLUSH all that it acknowledged, or
// showed to a reader, must be there, once and in order, and topics, groups and committed offsets with it; under ASYNC_FLUSH
// the log may have lost its end. E2E_CUTS sets the number of cuts; ASYNC_FLUSH gets a fifth more. E2E_CUT_DIR is where the
// disks' images lie.
func TestPowerCut(t *testing.T) {
	if underTest() != ours {
		t.Skip("Java does not promise this")
	}
	cuts := 25
	if s := os.Getenv("E2E_CUTS"); s != "" {
		cuts, _ = strconv.Atoi(s)
	}
	t.Run("SYNC_FLUSH", func(t *testing.T) { apart(t, func() { powerCuts(t, "SYNC_FLUSH", cuts) }) })
	t.Run("ASYNC_FLUSH", func(t *testing.T) { apart(t, func() { powerCuts(t, "ASYNC_FLUSH", (cuts+4)/5) }) })
	notRun.Lock()
	defer notRun.Unlock()
	for _, line := range notRun.lines {
		if why, found := strings.CutPrefix(line, notRunCuts); found {
			t.Skip(why)
		}
	}
}

// apart runs a test in a process with a mount namespace of its own. Else a namespace that anybody makes meanwhile holds a copy
// of the mount, and the file system does not go when it is unmounted here; and mounts and devices go with the process.
func apart(t *testing.T, test func()) {
	const inside = "E2E_APART"
	if os.Getenv(inside) == t.Name() {
		test()
		return
	}
	if os.Geteuid() != 0 {
		noPowerCuts(t, errors.New("mounting needs root"))
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$", "-test.v=" + strconv.FormatBool(testing.Verbose())}
	if end, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+time.Until(end).String())
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), inside+"="+t.Name(), "E2E_ROCKETD="+program(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		noPowerCuts(t, err)
	}
	var why string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if _, found := strings.CutPrefix(line, notRunCuts); found {
			why = line
		} else if line != "PASS" && line != "FAIL" {
			fmt.Println(line)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if why != "" {
		noPowerCuts(t, errors.New(strings.TrimPrefix(why, notRunCuts)))
	}
}

const notRunCuts = "NOT RUN: power cuts: "

// noPowerCuts says loudly that this machine does not allow them. It is no tool that is missing, so on CI it is no failure.
func noPowerCuts(t *testing.T, why error) {
	t.Helper()
	notRun.Lock()
	if line := notRunCuts + why.Error(); !slices.Contains(notRun.lines, line) {
		notRun.lines = append(notRun.lines, line)
	}
	notRun.Unlock()
	t.Skip(why)
}

func powerCuts(t *testing.T, flush string, cuts int) {
	dir := filepath.Join(work, t.Name(), "broker-a")
	image := filepath.Join(dir, "disk")
	if other := os.Getenv("E2E_CUT_DIR"); other != "" {
		image = filepath.Join(other, filepath.Base(work)+"-"+flush)
	}
	d, err := newDisk(filepath.Join(dir, "store"), image, 512<<20)
	if err != nil {
		noPowerCuts(t, err)
	}
	t.Cleanup(d.close)
	r := &cutter{t: t, disk: d, sync: flush == "SYNC_FLUSH"}
	began, told := time.Now(), time.Now()
	for r.cuts < cuts {
		l := someLayout()
		if err := d.format(l); err != nil {
			t.Fatal(err)
		}
		r.layout = l.String()
		r.fresh(flush)
		for until := min(cuts, r.cuts+cutsOfAStore); r.cuts < until; {
			r.cycle()
			if time.Since(told) > 10*time.Second {
				told = time.Now()
				fmt.Printf("%v: %s, %d of %d power cuts, %d messages acknowledged\n", time.Since(began).Round(time.Second), flush, r.cuts, cuts, r.total.acked+r.promises.counts.acked)
			}
		}
		r.finish()
	}
	took := time.Since(began)
	fmt.Printf("%s, %v a cut\n", r, (took / time.Duration(r.cuts)).Round(time.Millisecond))
}

// cutter leads brokers from crash to crash.
type cutter struct {
	t        *testing.T
	disk     *disk
	layout   string
	settings []string
	sync     bool

	broker   *server
	promises *promises
	round    int
	may      loss      // since the last time everything was verified
	cutAt    time.Time // the last time the power went

	stores, cuts, nested, kills, stops int
	starts                             []time.Duration
	total                              promiseCounts
}

// fresh makes a broker on an empty disk, of some settings.
func (r *cutter) fresh(flush string) {
	pick := func(key string, of ...int) string { return fmt.Sprintf("%s=%d", key, of[rand.IntN(len(of))]) }
	r.settings = []string{"flushDiskType=" + flush,
		pick("mappedFileSizeCommitLog", 256<<10, 1<<20, 1<<20, 4<<20), pick("mappedFileSizeConsumeQueue", 400, 6000, 60000), // files that roll
		pick("maxHashSlotNum", 100, 5000), pick("maxIndexNum", 500, 20000),
		pick("flushConsumerOffsetInterval", 10, 50, 5000), pick("flushIntervalCommitLog", 20, 500)}
	r.broker = newBroker(r.t, ours, "broker-a", "", r.settings...)
	r.promises, r.may, r.round = newPromises(), nothing, 0
	r.stores++
	r.start()
	w := dial(r.t, r.broker.addr)
	w.must(r.t, codeUpdateTopic, topicFields(cutTopic, cutQueues), nil)
	w.must(r.t, codeUpdateTopic, topicFields(cutRegister, 1), nil)
	w.must(r.t, codeUpdateGroup, nil, []byte(groupBody(cutGroup, 1)))
	w.conn.Close()
	r.promises.register = register{1, 1}
}

func (r *cutter) fail(err error) {
	r.t.Helper()
	if err == nil {
		return
	}
	if keep := os.Getenv("E2E_KEEP"); keep != "" {
		_, _ = tool("", nil, "cp", "-a", r.disk.dir, filepath.Join(keep, "failed-store"))
	}
	r.t.Fatalf("%s\nstore %d, round %d, %s, %v: %v\nthe broker:\n%s", r, r.stores, r.round, r.layout, r.settings, err, r.broker.log.tail())
}

// cycle lets clients work, ends the broker in some way, and starts it again, maybe only at the third try.
func (r *cutter) cycle() {
	r.work()
	for rand.IntN(3) == 0 { // not even a start is safe
		p, err := start(r.broker.name, r.broker.env, r.broker.args...)
		r.fail(err)
		r.broker.process = p
		time.Sleep(rand.N(2 * r.median()))
		r.fail(complaint(r.broker))
		r.nested++
		if rand.IntN(2) == 0 {
			r.kills++
			r.kill()
		} else {
			r.cut()
			r.kill()
			r.fail(r.disk.remount())
		}
	}
	r.start()
	r.promises.onto(diskAlive)
	r.fail(r.promises.verify(r.broker.addr, r.round, r.may, r.sync, r.cutAt))
	w, err := connect(r.broker.addr)
	r.fail(err)
	r.fail(r.promises.older(w, false))
	w.conn.Close()
	r.fail(complaint(r.broker))
	r.may = nothing
	r.round++
}

// work puts the broker under pressure for some time and ends it.
func (r *cutter) work() {
	l := press(r.promises, r.broker.addr, r.round)
	select {
	case <-l.first:
	case <-r.broker.done:
	case <-time.After(30 * time.Second):
	}
	select {
	case <-l.first:
	default:
		r.fail(errors.Join(errors.New("nothing was acknowledged"), l.stop()))
	}
	length := rand.N(120 * time.Millisecond)
	if rand.IntN(20) == 0 { // what the broker does each second
		length = rand.N(2500 * time.Millisecond)
	}
	for end := time.Now().Add(length); time.Now().Before(end); {
		time.Sleep(min(rand.N(30*time.Millisecond), time.Until(end)))
		if rand.IntN(3) == 0 {
			r.disk.settle()
		}
	}
	select {
	case <-r.broker.done:
		r.fail(fmt.Errorf("the broker ended by itself: %w", r.broker.ended()))
	default:
	}
	r.fail(complaint(r.broker))
	switch n := rand.IntN(20); {
	case n < 9: // the broker stands still in the middle of what it does
		r.fail(r.broker.freeze())
		r.cut()
		r.kill()
		r.fail(l.stop())
	case n < 13: // the broker lives on for a moment on a dead disk
		r.promises.onto(diskDying)
		r.cut()
		r.promises.onto(diskDead)
		time.Sleep(rand.N(10 * time.Millisecond))
		r.kill()
		r.fail(l.stop())
	case n < 16: // the power goes after the process
		r.kill()
		r.fail(l.stop())
		if rand.IntN(2) == 0 {
			r.disk.settle()
		}
		r.cut()
	case n < 18: // the power stays
		r.kills++
		r.kill()
		r.fail(l.stop())
		return
	default:
		r.stops++
		r.fail(r.broker.stop(stopLimit))
		r.fail(l.stop())
		r.cut()
		r.may = offsetsAlone
	}
	r.fail(r.disk.remount())
}

// cut takes the power away. What a clean stop wrote stays.
func (r *cutter) cut() {
	r.fail(r.disk.cut())
	r.cuts++
	r.cutAt = time.Now()
	if !r.sync && r.may == nothing {
		r.may = tail
	}
}

// freeze stops a process and returns when none of its threads comes out of the kernel any more: what it has answered then
// was answered before. A system call that is under way goes on.
func (p *process) freeze() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for range 10_000 {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		still := err == nil
		for _, name := range tasks {
			stat, err := os.ReadFile(name)
			_, state, found := bytes.Cut(stat, []byte(") "))
			still = still && (err != nil || found && bytes.ContainsAny(state[:1], "TtDZX"))
		}
		if still {
			return nil
		}
		time.Sleep(100 * time.Microsecond)
	}
	return fmt.Errorf("%s does not stand still after SIGSTOP", p.name)
}

func (r *cutter) kill() {
	r.broker.kill()
	r.fail(panicked(r.broker))
}

func (r *cutter) start() {
	began := time.Now()
	r.fail(r.broker.serve())
	r.starts = append(r.starts, time.Since(began))
}

func (r *cutter) median() time.Duration {
	all := slices.Sorted(slices.Values(r.starts))
	return all[len(all)/2]
}

// finish reads all of a store once more, stops the broker and has the files checked.
func (r *cutter) finish() {
	w, err := connect(r.broker.addr)
	r.fail(err)
	r.fail(r.promises.older(w, true))
	w.conn.Close()
	r.fail(r.broker.stop(stopLimit))
	if out, err := tool("", nil, program(r.t), "store", "verify", r.disk.dir); err != nil {
		r.fail(fmt.Errorf("store verify: %w\n%s", err, out))
	}
	n := &r.promises.counts
	r.total.add(n)
}

func (n *promiseCounts) add(m *promiseCounts) {
	n.acked += m.acked
	n.found += m.found
	n.read += m.read
	n.lost += m.lost
	n.topics += m.topics
	n.groups += m.groups
	n.deleted += m.deleted
	n.registered += m.registered
	n.commits += m.commits
	n.keys += m.keys
	n.ids += m.ids
	n.oldestLost = max(n.oldestLost, m.oldestLost)
}

func (r *cutter) String() string {
	all, n := slices.Sorted(slices.Values(r.starts)), r.total
	text := fmt.Sprintf("%s: %d power cuts and %d kills (%d of them while it started), %d after a clean stop, in %d stores: %d messages acknowledged, %d read, %d found again; "+
		"%d topics, %d groups, %d removals, %d changes, %d committed offsets, %d key queries, %d queries by id; ",
		r.t.Name(), r.cuts, r.kills, r.nested, r.stops, r.stores, n.acked, n.read, n.found, n.topics, n.groups, n.deleted, n.registered, n.commits, n.keys, n.ids)
	if r.sync {
		text += "0 lost"
	} else {
		text += fmt.Sprintf("%d lost at the end of the log, the oldest %v after its answer", n.lost, n.oldestLost.Round(time.Millisecond))
	}
	if len(all) > 0 {
		text += fmt.Sprintf("; start %v in the median, %v at most", all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
	}
	return text
}
