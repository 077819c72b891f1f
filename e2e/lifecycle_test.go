//go:build e2e

package e2e

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLifecycle stops a broker in order and starts it again with all that it had, and refuses a second one on its store.
func TestLifecycle(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	b := c.brokers[0]
	c.createTopic(t, "Life", queues)
	w := dial(t, b.addr)
	for i := range 100 {
		if _, err := w.send("Life", i%queues, []byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	want := maxOffsets(t, w, "Life")

	// The same folder, other ports.
	second := newBroker(t, underTest(), "broker-a", c.namesrv.addr)
	if second.dir != b.dir {
		t.Fatalf("folders %s and %s, want one", second.dir, b.dir)
	}
	err := second.serve()
	if err == nil {
		second.kill()
		t.Fatal("a second broker started on a store in use")
	}
	if pid := strconv.Itoa(b.cmd.Process.Pid); underTest() == ours && !strings.Contains(err.Error(), pid) {
		t.Errorf("the refusal does not name process %s, which holds the store: %v", pid, err)
	}
	<-second.done
	var exit *exec.ExitError
	if !errors.As(second.err, &exit) || exit.ExitCode() <= 0 {
		t.Errorf("a refused start ends with %v, want an exit code", second.err)
	}
	if _, err := w.send("Life", 0, []byte("the first goes on")); err != nil {
		t.Error(err)
	}
	want = strings.Replace(want, "25", "26", 1)

	begin := time.Now()
	if err := b.stop(stopLimit); err != nil && !(underTest() == java && strings.Contains(err.Error(), "143")) {
		t.Errorf("a clean stop: %v", err)
	}
	t.Logf("stopped in %v", time.Since(begin))
	begin = time.Now()
	if err := b.serve(); err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %v", time.Since(begin))
	c.waitRegistered(t)
	w = dial(t, b.addr)
	if got := maxOffsets(t, w, "Life"); got != want {
		t.Errorf("after a restart the queues end at %s, want %s", got, want)
	}
	recs, err := w.pull("Life", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range recs {
		if want := strconv.Itoa(1 + i*queues); string(r.body) != want {
			t.Errorf("after a restart message %d of queue 1 is %q, want %q", i, r.body, want)
		}
	}
	if len(recs) != 25 {
		t.Errorf("after a restart queue 1 holds %d messages, want 25", len(recs))
	}
}
