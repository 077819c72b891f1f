package broker

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"rocketd/protocol"
	"rocketd/settings"
)

// A start that fails when the store is open already, after a crash that left it something to sync, says why and leaves the
// store as it was: the next start finds every message.
func TestBroker_FailedStart(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, "flushDiskType=SYNC_FLUSH")
	for i := range 10 {
		if r := h.send("T", strconv.Itoa(i)); r.Code != protocol.Success {
			t.Fatal(r.Remark)
		}
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	offsets := filepath.Join(dir, "config", "consumerOffset.json")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "abort"), nil, 0o600), os.RemoveAll(filepath.Join(dir, "consumequeue")),
		os.RemoveAll(offsets+".bak"), os.WriteFile(offsets, []byte(`{"offset`), 0o600)); err != nil {
		t.Fatal(err)
	}
	s := settings.NewBroker(settings.Machine{Home: dir, IP: "127.0.0.1", HostName: "broker-t"}, slog.New(slog.DiscardHandler))
	for key, value := range map[string]string{"storePathRootDir": dir, "listenPort": strconv.Itoa(freePort(t)), "flushDiskType": "SYNC_FLUSH",
		"mappedFileSizeCommitLog": "16777216", "mappedFileSizeConsumeQueue": "600000"} {
		s.Set(key, value)
	}
	if _, err := New(Config{Settings: s, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "consumerOffset.json") {
		t.Fatalf("a start with half a table of offsets: %v", err)
	}
	if err := os.Remove(offsets); err != nil {
		t.Fatal(err)
	}
	h = open(t, dir, "flushDiskType=SYNC_FLUSH")
	if got := bodies(t, h.pull("T", 0, 0, "*").Body); len(got) != 10 || got[9] != "9" {
		t.Errorf("messages: %v", got)
	}
}
