package broker

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"rocketd/internal/vfs"
	"rocketd/settings"
)

func newSettings(set map[string]string) *settings.Settings {
	s := settings.NewBroker(settings.Machine{IP: "127.0.0.1", HostName: "b", Processors: 2}, slog.New(slog.DiscardHandler))
	for k, v := range set {
		s.Set(k, v)
	}
	return s
}

// What is set counts as it is; without it the number of loops follows the machine.
func TestLoops(t *testing.T) {
	if n := loops(newSettings(nil)); n != 0 {
		t.Errorf("without a setting: %d, want 0, the choice of remoting", n)
	}
	if n := loops(newSettings(map[string]string{"serverSelectorThreads": "2"})); n != 2 {
		t.Errorf("2 are set: %d", n)
	}
}

// Addresses are those that can be listened on and registered; what is no address is refused with its key.
func TestNewIdentity(t *testing.T) {
	for _, c := range []struct {
		set          map[string]string
		listen, fast string
		haAddr       string
	}{
		{nil, "0.0.0.0:10911", "0.0.0.0:10909", "127.0.0.1:10912"},
		{map[string]string{"bindAddress": "::", "listenPort": "3000", "haListenPort": "9", "brokerIP2": "::1"}, "[::]:3000", "[::]:2998", "[::1]:9"},
	} {
		id, err := newIdentity(newSettings(c.set))
		if err != nil || id.listen != c.listen || id.fast != c.fast || id.haAddr.String() != c.haAddr {
			t.Errorf("%v: %+v, %v", c.set, id, err)
		}
	}
	for _, set := range []map[string]string{{"listenPort": "2"}, {"listenPort": "65536"}, {"brokerIP1": "here"}, {"brokerIP2": ""}} {
		if id, err := newIdentity(newSettings(set)); err == nil {
			t.Errorf("%v: taken as %+v", set, id)
		}
	}
}

// A configuration that asks for what this broker cannot be is refused, with the key in the message.
func TestNew_RefusesWhatItCannotBe(t *testing.T) {
	for _, kv := range []string{"brokerRole=SLAVE", "enableControllerMode=true", "enableDLegerCommitLog=true", "haListenPort=65536", "timerRocksDBEnable=true",
		"transRocksDBEnable=true", "indexRocksDBEnable=true", "popConsumerKVServiceEnable=true", "messageDelayLevel=1s 5x"} {
		dir := t.TempDir()
		s := settings.NewBroker(settings.Machine{Home: dir, IP: "127.0.0.1", HostName: "b", Processors: 2}, slog.New(slog.DiscardHandler))
		s.Set("storePathRootDir", dir)
		s.Set("listenPort", strconv.Itoa(freePort(t)))
		key, value, _ := strings.Cut(kv, "=")
		s.Set(key, value)
		if b, err := New(Config{Settings: s, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", kv, err)
			if b != nil {
				b.Close()
			}
		}
	}
}

// No key that the code of this package asks for is said to have no effect, however late it is asked for.
func TestWarnUnasked(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := settings.NewBroker(settings.Machine{Home: dir, IP: "127.0.0.1", HostName: "b", Processors: 2}, slog.New(slog.DiscardHandler))
	initial := s.Effective()
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range regexp.MustCompile(`\.(?:String|Bool|Int|Int64|Float|Duration)\("(\w+)"\)`).FindAllSubmatch(text, -1) {
			if v, ok := initial[string(m[1])]; ok {
				s.Set(string(m[1]), v)
				n++
			}
		}
	}
	if n < 100 {
		t.Fatalf("only %d keys found", n)
	}
	// Some keys mean nothing without another one.
	for _, key := range []string{"enableLmq", "enableMultiDispatch", "traceTopicEnable"} {
		s.Set(key, "true")
	}
	s.Set("storePathRootDir", dir)
	s.Set("listenPort", strconv.Itoa(freePort(t)))
	var log bytes.Buffer
	b, err := New(Config{Settings: s, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "no effect") {
			t.Error(line)
		}
	}
}

// A start whose ports or store are taken says by whom, or which key chooses another port.
func TestNew_Taken(t *testing.T) {
	h := open(t, t.TempDir())
	again := func(dir string, set ...string) error {
		s := settings.NewBroker(settings.Machine{Home: dir, IP: "127.0.0.1", HostName: "b", Processors: 2}, slog.New(slog.DiscardHandler))
		s.Set("storePathRootDir", dir)
		for _, kv := range set {
			k, v, _ := strings.Cut(kv, "=")
			s.Set(k, v)
		}
		b, err := New(Config{Settings: s, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			b.Close()
		}
		return err
	}
	port := strconv.Itoa(int(h.broker.id.addr.Port()))
	var locked *vfs.LockedError
	if err := again(h.dir, "listenPort="+port); !errors.As(err, &locked) {
		t.Errorf("second start of one configuration: %v", err)
	}
	var taken *PortError
	if err := again(t.TempDir(), "listenPort="+port); !errors.As(err, &taken) || taken.Key != "listenPort" {
		t.Errorf("port taken: %v", err)
	}
	ha := strconv.Itoa(int(h.broker.id.haAddr.Port()))
	if err := again(t.TempDir(), "listenPort="+strconv.Itoa(freePort(t)), "haListenPort="+ha); !errors.As(err, &taken) || taken.Key != "haListenPort" {
		t.Errorf("HA port taken: %v", err)
	}
}
