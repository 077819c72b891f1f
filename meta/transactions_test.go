package meta

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rocketd/internal/vfs"
)

// The file is Java's, is written when a number has changed, and is taken over; one that cannot be read is begun anew.
func TestOpenTransactions(t *testing.T) {
	cfg := Config{FS: vfs.OS, Dir: t.TempDir()}
	file := func() string {
		data, err := os.ReadFile(filepath.Join(cfg.Dir, "transactionMetrics"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	counts := func() string {
		return strings.Join(regexp.MustCompile(`"\w+":\{"count":\d+,"timeStamp":\d+\}`).FindAllString(file(), -1), " ")
	}
	set := func(o *OpenTransactions, ms int64, numbers map[string]int64) {
		t.Helper()
		o.Set(numbers, time.UnixMilli(ms))
		if err := o.Persist(time.UnixMilli(ms)); err != nil {
			t.Fatal(err)
		}
	}
	o := NewOpenTransactions(cfg)
	set(o, 1000, map[string]int64{"T": 2, "U": 1})
	first := file()
	if got, want := counts(), `"T":{"count":2,"timeStamp":1000} "U":{"count":1,"timeStamp":1000}`; got != want || !strings.HasPrefix(first, `{"dataVersion":{"counter":1,`) {
		t.Errorf("%s in %s, want %s", got, first, want)
	}
	o = NewOpenTransactions(cfg)
	set(o, 2000, map[string]int64{"T": 2, "U": 1})
	if file() != first {
		t.Errorf("written though nothing has changed: %s", file())
	}
	set(o, 3000, map[string]int64{"T": 3})
	if got, want := counts(), `"T":{"count":3,"timeStamp":3000} "U":{"count":0,"timeStamp":3000}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, name := range []string{"transactionMetrics", "transactionMetrics.bak"} {
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), []byte("?"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set(NewOpenTransactions(cfg), 4000, map[string]int64{"V": 1})
	if got, want := counts(), `"V":{"count":1,"timeStamp":4000}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
