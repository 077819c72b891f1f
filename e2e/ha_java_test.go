//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// haPair is a master and a slave of some kinds behind a NameServer of ours. Their logs have small files.
type haPair struct {
	*cluster
	t             *testing.T
	master, slave *server
	sent          int
}

const haFile = 1 << 20

func newHAPair(t *testing.T, master, slave kind, extra ...string) *haPair {
	t.Helper()
	if master == java || slave == java {
		onlyTestJava(t)
	}
	p := &haPair{cluster: &cluster{namesrv: newNamesrv(t, ours, "namesrv")}, t: t}
	t.Cleanup(p.kill)
	if err := p.namesrv.serve(); err != nil {
		t.Fatal(err)
	}
	extra = append([]string{"mappedFileSizeCommitLog=" + strconv.Itoa(haFile), "brokerIP2=127.0.0.1"}, extra...)
	p.master = newBroker(t, master, "broker-a", p.namesrv.addr, extra...)
	p.slave = slaveOf(t, slave, p.master, p.namesrv.addr, extra...)
	p.brokers = []*server{p.master, p.slave}
	p.serve(p.master)
	return p
}

func (p *haPair) serve(s *server) {
	p.t.Helper()
	if err := s.serve(); err != nil {
		p.t.Fatal(err)
	}
}

// stop ends a broker in order. Java's exit code for that is 143.
func (p *haPair) stop(s *server) {
	p.t.Helper()
	if err := s.stop(60 * time.Second); err != nil && s.cmd.ProcessState.ExitCode() != 143 {
		p.t.Fatal(err)
	}
}

// send stores messages on a broker.
func (p *haPair) send(to *server, n, size int) {
	p.t.Helper()
	w := dial(p.t, to.addr)
	for range n {
		p.sent++
		body := append(fmt.Appendf(nil, "%s %d ", to.name, p.sent), bytes.Repeat([]byte{'x'}, size)...)
		if _, err := w.send("HA", p.sent%4, body); err != nil {
			p.t.Fatal(err)
		}
	}
}

// positions asks a broker for the ends of its log.
func positions(addr string) (low, high int64, err error) {
	w, err := connect(addr)
	if err != nil {
		return 0, 0, err
	}
	defer w.conn.Close()
	a, err := w.call(codeRuntime, nil, nil)
	if err != nil || a.code != 0 {
		return 0, 0, errors.Join(err, fmt.Errorf("code %d", a.code))
	}
	var info struct{ Table map[string]string }
	if err := json.Unmarshal(a.body, &info); err != nil {
		return 0, 0, err
	}
	low, err = strconv.ParseInt(info.Table["commitLogMinOffset"], 10, 64)
	if err == nil {
		high, err = strconv.ParseInt(info.Table["commitLogMaxOffset"], 10, 64)
	}
	return low, high, err
}

// follows waits until the slave has all of the master's log, and compares the two, byte for byte.
func (p *haPair) follows(limit time.Duration, what string) {
	p.t.Helper()
	var low, high int64
	state := ""
	defer func() {
		if p.t.Failed() {
			p.t.Logf("%s: %s\nslave:\n%s", what, state, p.slave.log.tail())
		}
	}()
	eventually(p.t, limit, "the slave has the master's log: "+what, func() bool {
		from, to, err := positions(p.master.addr)
		a, b, err2 := positions(p.slave.addr)
		state = fmt.Sprintf("master %d-%d %v, slave %d-%d %v", from, to, err, a, b, err2)
		low, high = max(from, a), to
		return err == nil && err2 == nil && to == b && to > 0
	})
	if low >= high {
		p.t.Fatalf("%s: nothing to compare: %s", what, state)
	}
	for at := low; at < high; {
		n := min(high, at-at%haFile+haFile) - at
		a, b := logBytes(p.t, p.master, at, n), logBytes(p.t, p.slave, at, n)
		if !bytes.Equal(a, b) {
			for i := range a {
				if a[i] != b[i] {
					p.t.Fatalf("%s: the logs differ at %d (%s)", what, at+int64(i), state)
				}
			}
		}
		at += n
	}
}

// logBytes reads a piece of a broker's log from its file.
func logBytes(t *testing.T, s *server, at, n int64) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join(s.dir, "store", "commitlog", fmt.Sprintf("%020d", at-at%haFile)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at%haFile); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return b
}

// roles are who follows whom.
var roles = []struct{ master, slave kind }{{java, ours}, {ours, java}, {ours, ours}}

func eachRole(t *testing.T, fn func(t *testing.T, master, slave kind)) {
	for _, r := range roles {
		t.Run(fmt.Sprintf("%s-%s", r.master, r.slave), func(t *testing.T) { fn(t, r.master, r.slave) })
	}
}

// A slave that is empty, behind, or there gets the same log, over kills and ends of both.
func TestHAJava(t *testing.T) {
	eachRole(t, func(t *testing.T, master, slave kind) {
		p := newHAPair(t, master, slave)
		p.send(p.master, 700, 4000) // some files
		p.serve(p.slave)
		p.follows(30*time.Second, "an empty slave")
		if low, _, err := positions(p.slave.addr); err != nil || low != 0 {
			t.Fatalf("the slave's log begins at %d, %v", low, err)
		}
		p.send(p.master, 50, 200)
		p.follows(20*time.Second, "while it is connected")

		p.slave.kill()
		p.send(p.master, 500, 4000)
		p.serve(p.slave)
		p.follows(60*time.Second, "behind, after a kill")

		p.master.kill()
		p.serve(p.master)
		p.send(p.master, 20, 200)
		p.follows(60*time.Second, "the master was killed")

		p.stop(p.slave)
		p.stop(p.master)
		p.serve(p.master)
		p.serve(p.slave)
		p.send(p.master, 20, 200)
		p.follows(60*time.Second, "both were stopped")
	})
}

// With SYNC_MASTER and two copies a send is answered when the slave has it, and not while it is stopped.
func TestHAJavaSync(t *testing.T) {
	eachRole(t, func(t *testing.T, master, slave kind) {
		p := newHAPair(t, master, slave, "inSyncReplicas=2", "slaveTimeout=2000")
		p.stop(p.master)
		p.master = newBroker(t, master, "broker-a", p.namesrv.addr, "mappedFileSizeCommitLog="+strconv.Itoa(haFile), "brokerIP2=127.0.0.1",
			"inSyncReplicas=2", "slaveTimeout=2000", "brokerRole=SYNC_MASTER")
		p.brokers[0] = p.master
		p.serve(p.master)
		p.serve(p.slave)
		w := dial(t, p.master.addr)
		eventually(t, 60*time.Second, "a send is acknowledged", func() bool {
			_, err := w.send("HA", 0, []byte("first"))
			return err == nil
		})
		p.send(p.master, 300, 500)
		if err := p.slave.freeze(); err != nil {
			t.Fatal(err)
		}
		_, err := w.send("HA", 0, []byte("not replicated"))
		if err := p.slave.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		var r refusal
		if !errors.As(err, &r) || r.code != 12 { // FLUSH_SLAVE_TIMEOUT
			t.Fatalf("a send while the slave is stopped: %v", err)
		}
		eventually(t, 60*time.Second, "a send is acknowledged again", func() bool {
			_, err := w.send("HA", 0, []byte("again"))
			return err == nil
		})
		p.follows(20*time.Second, "after it was stopped")
	})
}

// When the master has removed what a slave needs next, the slave begins anew where the master's log begins. (A Java slave
// has to be emptied for that.)
func TestHAJavaHeadDeleted(t *testing.T) {
	for _, master := range []kind{java, ours} {
		t.Run(string(master), func(t *testing.T) {
			p := newHAPair(t, master, ours, "deleteCommitLogFilesInterval=1", "fileReservedTime=0")
			p.send(p.master, 300, 4000)
			p.serve(p.slave)
			p.follows(30*time.Second, "an empty slave")
			p.slave.kill()
			p.send(p.master, 1200, 4000)
			w := dial(t, p.master.addr)
			_, end, err := positions(p.slave.addr)
			if err == nil {
				t.Fatal("the slave still answers", end)
			}
			eventually(t, 60*time.Second, "the master has removed its oldest files", func() bool {
				w.must(t, codeDeleteExpired, nil, nil)
				low, high, err := positions(p.master.addr)
				return err == nil && low > 2*haFile && low > high-3*haFile
			})
			p.serve(p.slave)
			p.follows(60*time.Second, "older than all that the master has")
			if low, _, err := positions(p.slave.addr); err != nil || low == 0 {
				t.Fatal(low, err)
			}
			p.send(p.master, 100, 4000)
			p.follows(20*time.Second, "afterwards")
		})
	}
}

// A slave that was a master for a while, and took messages that its master does not have, gives them up, keeps them
// aside, and is the same as its master again.
func TestHAJavaDiverged(t *testing.T) {
	for _, master := range []kind{java, ours} {
		t.Run(string(master), func(t *testing.T) {
			p := newHAPair(t, master, ours)
			p.send(p.master, 300, 4000)
			p.serve(p.slave)
			p.follows(30*time.Second, "an empty slave")
			p.stop(p.slave)
			p.stop(p.master)
			alone := newBroker(t, ours, "broker-alone", p.namesrv.addr, "brokerName=broker-a", "mappedFileSizeCommitLog="+strconv.Itoa(haFile),
				"storePathRootDir="+p.slave.dir+"/store", "storePathCommitLog="+p.slave.dir+"/store/commitlog")
			p.brokers = append(p.brokers, alone)
			p.serve(alone)
			p.send(alone, 700, 3000)
			p.stop(alone)
			p.serve(p.master)
			p.send(p.master, 100, 4000)
			p.serve(p.slave)
			p.follows(60*time.Second, "diverged")
			kept, err := os.ReadDir(filepath.Join(p.slave.dir, "store", "rocketd-diverged"))
			if err != nil || len(kept) != 1 {
				t.Fatal(kept, err)
			}
			if info, err := kept[0].Info(); err != nil || info.Size() < 700*3000 {
				t.Fatal(info, err)
			}
			p.send(p.master, 20, 200)
			p.follows(20*time.Second, "afterwards")
			w := dial(t, p.slave.addr)
			for queue := range 4 { // the queues are those of the master
				a := w.must(t, codeMaxOffset, map[string]string{"topic": "HA", "queueId": strconv.Itoa(queue)}, nil)
				b := dial(t, p.master.addr).must(t, codeMaxOffset, map[string]string{"topic": "HA", "queueId": strconv.Itoa(queue)}, nil)
				if a.ext["offset"] != b.ext["offset"] {
					t.Errorf("queue %d ends at %s on the slave, at %s on the master", queue, a.ext["offset"], b.ext["offset"])
				}
			}
		})
	}
}

// A Java slave takes topics from our master up to a minute after its start. Messages of a topic whose queues are not plain
// do not come to it before: it would make plain queues of them, and not start again.
func TestHAJavaBatch(t *testing.T) {
	p := newHAPair(t, ours, java)
	w := dial(t, p.master.addr)
	send := func(name string) {
		t.Helper()
		updateTopic(t, w, name, 1, "+queue.type=BatchCQ")
		for range 100 {
			if _, err := w.send(name, 0, []byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
		p.send(p.master, 100, 500)
	}
	kinds := func(names ...string) {
		t.Helper()
		for _, name := range names {
			eventually(t, 20*time.Second, "the slave has queues of "+name, func() bool {
				_, err := os.Stat(filepath.Join(p.slave.dir, "store", "batchconsumequeue", name))
				return err == nil
			})
			if _, err := os.Stat(filepath.Join(p.slave.dir, "store", "consumequeue", name)); err == nil {
				t.Errorf("the slave has plain queues of %s", name)
			}
		}
	}
	send("Batch1")
	p.serve(p.slave)
	p.follows(100*time.Second, "an empty slave")
	kinds("Batch1")
	p.stop(p.slave)
	send("Batch2")
	p.serve(p.slave) // it starts
	p.follows(100*time.Second, "a slave that has missed a topic")
	kinds("Batch1", "Batch2")
	p.stop(p.slave)
	p.serve(p.slave)
	p.send(p.master, 10, 200)
	p.follows(100*time.Second, "when all is well")
}
