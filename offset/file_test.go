package offset

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/vfs"
)

// What a Java broker wrote is read, whoever the group, and comes out again the same.
func TestOpen_Java(t *testing.T) {
	data, err := os.ReadFile("testdata/java.json")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "consumerOffset.json")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	o := open(t, filepath.Dir(path))
	for range 2 {
		for _, c := range []struct {
			group, topic string
			queue        int32
			want         string
		}{
			{"GaPopOrderG", "GaPopOrder", 0, "1"},
			{"CID_RMQ_SYS_TRANS", "RMQ_SYS_TRANS_HALF_TOPIC", 0, "30"},
			{"GaLiteG", "GaNormal", 3, "46"},
			{"nobody", "GaPopOrder", 0, "-"},
		} {
			if got := o.text(c.group, c.topic, c.queue); got != c.want {
				t.Errorf("%s %s %d: %s, want %s", c.group, c.topic, c.queue, got, c.want)
			}
		}
		if v := o.Version(); v.Timestamp != 1795567447449 || v.Counter != 0 {
			t.Errorf("version %+v", v)
		}
		o.changes.Add(1)
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		o = open(t, filepath.Dir(path))
	}
}

// The file is what Java writes: pretty, integer keys bare, groupTopicMap included; the compact form likewise.
func TestTable_Content(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config", "consumerOffset.json")
	o := open(t, filepath.Dir(path))
	o.commit("g", "T", 1, 7)
	o.commit("g", "T", 0, 5)
	o.commit("g@broadcast", "T", 0, 6)
	o.SetPulled([]byte("h"), []byte("T"), 0, 1)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`{
	"dataVersion":{
		"counter":0,
		"stateVersion":0,
		"timestamp":0
	},
	"groupTopicMap":{
		"g":[
			"T"
		],
		"g@broadcast":[
			"T"
		]
	},
	"offsetTable":{
		"T@g":{
			0:5,
			1:7
		},
		"T@g@broadcast":{
			0:6
		}
	}
}`, "\r", "")
	if string(got) != want {
		t.Errorf("file:\n%s\nwant:\n%s", got, want)
	}
	compact, err := o.JSON()
	if err != nil || string(compact) != strings.NewReplacer("\n", "", "\t", "").Replace(want) {
		t.Errorf("compact: %s, %v", compact, err)
	}
}

// Every VersionStep changes make one new version, and the version lives on in the file.
func TestTable_Version(t *testing.T) {
	path := filepath.Join(t.TempDir(), "consumerOffset.json")
	o := open(t, filepath.Dir(path))
	for n := range int64(1250) {
		o.commit("g", "T", 0, n)
	}
	if v := o.Version(); v.Counter != 2 || v.Timestamp == 0 {
		t.Errorf("version %+v after 1250 commits", v)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, filepath.Dir(path))
	for n := range int64(500) {
		o.commit("g", "T", 0, n)
	}
	if v := o.Version(); v.Counter != 3 {
		t.Errorf("version %+v after 500 more", v)
	}
}

// Run writes once an interval and only what has changed; a failing disk costs nothing but time.
func TestTable_Run(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var opens atomic.Int64
		var full atomic.Bool
		disk := &vfs.Faulty{FS: vfs.OS, Fail: func(op vfs.Op, _ string) error {
			if op == vfs.OpOpen {
				opens.Add(1)
			}
			if op == vfs.OpWrite && full.Load() {
				return syscall.ENOSPC
			}
			return nil
		}}
		o, err := Open(Config{FS: disk, Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }()
		writes := func(d time.Duration) int64 {
			before := opens.Load()
			time.Sleep(d)
			synctest.Wait()
			return opens.Load() - before
		}
		time.Sleep(time.Second) // between two ticks
		if n := writes(time.Minute); n != 0 {
			t.Errorf("%d writes of an unchanged table", n)
		}
		o.commit("g", "T", 0, 1)
		o.commit("g", "T", 0, 2)
		if n := writes(time.Minute); n != 1 {
			t.Errorf("%d writes of one change", n)
		}
		full.Store(true)
		o.commit("g", "T", 0, 3)
		if n := writes(10 * time.Second); n != 2 {
			t.Errorf("%d tries on a full disk", n)
		}
		full.Store(false)
		if n := writes(10 * time.Second); n != 1 {
			t.Errorf("%d writes after there was space again", n)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if got := open(t, dir).text("g", "T", 0); got != "3" {
		t.Errorf("after all: %s", got)
	}
}

// A file that was spoiled is read from its backup; one that has none stops the start.
func TestOpen_Broken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "consumerOffset.json")
	o := open(t, filepath.Dir(path))
	for n := range int64(2) {
		o.commit("g", "T", 0, n)
		if err := o.Persist(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, []byte(`{"offsetTable":{"T@g":{0:`), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := open(t, filepath.Dir(path)).text("g", "T", 0); got != "0" {
		t.Errorf("from the backup: %s", got)
	}
	if err := os.WriteFile(path+".bak", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{FS: vfs.OS, Dir: filepath.Dir(path), Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("opened without a usable file")
	}
}
