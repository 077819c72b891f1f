package timer

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/timer/wheel"
)

// unpack unpacks a store that Java 5.5.1 wrote.
func unpack(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open("../store/testdata/" + name + ".tar.gz")
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return dir
		}
		must(t, err)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, h.Name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, h.Name), data, 0o644))
	}
}

// What waits in a store of Java's comes here: each message once and not before the moment that Java gave it is over, after
// rolling too; what was recalled there does not come. Java was killed once, and its wheel has 11 of the messages twice.
func TestService_JavaStore(t *testing.T) {
	javaStore(t, unpack(t, "clean"), "the timer wheel is built from its log again") // the copy of the store is without a wheel
}

// The same without the log: all is in the topic.
func TestService_JavaStore_NoLog(t *testing.T) {
	dir := unpack(t, "clean")
	must(t, os.RemoveAll(filepath.Join(dir, "timerlog")))
	javaStore(t, dir, "the timer log is not whole")
}

func javaStore(t *testing.T, dir, warning string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		const stopped = 1795567713000 // lastReadTimeMs
		until(time.UnixMilli(stopped + 2000))
		w := open(t, vfs.OS, options{dir: dir, slots: wheel.Slots, window: 172800, logLen: 1 << 20, fileLen: 20480})
		time.Sleep(4 * 24 * time.Hour)
		for topic, want := range map[string]int{"GaTimer": 48, "GkTimer": 48, "rmq_sys_REVIVE_LOG_GoldenCluster": 22} {
			n := make(map[string]int)
			rolled := 0
			for id := range int32(8) {
				for _, a := range w.messages(topic, id, 0) {
					out, _ := message.Property([]byte(a.props), message.PropTimerOutMs)
					ms, err := strconv.ParseInt(string(out), 10, 64)
					must(t, err)
					switch {
					case a.ms < stopped: // Java's own
						continue
					case a.ms < ms+1000 || a.ms > ms+1020:
						t.Errorf("%s: %s came at %d, out %d", topic, a.key, a.ms, ms)
					case strings.Contains(a.props, "TIMER_ROLL_TIMES"):
						rolled++
					}
					if n[a.key]++; n[a.key] > 1 {
						t.Errorf("%s: %s came twice", topic, a.key)
					}
				}
			}
			if len(n) != want || rolled != 2 && topic != "rmq_sys_REVIVE_LOG_GoldenCluster" {
				t.Errorf("%s: %d messages came, %d rolled, want %d", topic, len(n), rolled, want)
			}
		}
		w.stop()
		if n := len(w.logs.list); !strings.HasPrefix(w.logs.list[n-1], warning) {
			t.Error(w.logs.list)
		}
	})
}
