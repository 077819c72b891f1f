package broker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rocketd/protocol"
	"rocketd/remoting"
	"rocketd/settings"
)

// The clusters of two masters that Java's release comes with run from its property files as they are: each broker has its
// role and id, no key is without effect, slaves copy their masters. On one machine the ports and folders are told besides.
func TestConf_TwoMasters(t *testing.T) {
	for folder, want := range map[string]string{
		"2m-2s-async": "broker-a:0,1 broker-b:0,1",
		"2m-2s-sync":  "broker-a:0,1 broker-b:0,1",
		"2m-noslave":  "broker-a:0 broker-b:0 broker-trace:0",
	} {
		t.Run(folder, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join("testdata/conf", folder, "*.properties"))
			if err != nil || len(files) == 0 {
				t.Fatal("no files", err)
			}
			namesrvAddr := startNamesrv(t)
			slaves := make(map[string]*Broker)
			for _, file := range files {
				b, log := fromFile(t, file, namesrvAddr)
				if s := log.String(); strings.Contains(s, "level=WARN") {
					t.Errorf("%s: %s", file, s)
				}
				if b.isSlave() {
					slaves[b.id.name] = b
				}
			}
			k := remoting.NewClient(remoting.ClientConfig{})
			defer k.Close()
			r, err := k.Invoke(t.Context(), namesrvAddr, &protocol.Command{Code: protocol.GetBrokerClusterInfo, Version: protocol.Version})
			if err != nil {
				t.Fatal(err)
			}
			var info protocol.ClusterInfo
			if err := info.Unmarshal(r.Body); err != nil {
				t.Fatal(err)
			}
			var got []string
			for name, d := range info.BrokerAddrTable {
				var ids []string
				for id := range d.BrokerAddrs {
					ids = append(ids, strconv.FormatInt(id, 10))
				}
				slices.Sort(ids)
				got = append(got, name+":"+strings.Join(ids, ","))
			}
			slices.Sort(got)
			if s := strings.Join(got, " "); s != want {
				t.Errorf("cluster %s, want %s", s, want)
			}
			for name, s := range slaves {
				h := &house{t: t, broker: s, addr: info.BrokerAddrTable[name].BrokerAddrs[0], client: k}
				h.sendAll("T", 0, 5)
				h.addr = s.id.addr.String()
				h.want("T", 0, 5)
			}
		})
	}
}

// fromFile runs a broker from a property file until the test ends.
func fromFile(t *testing.T, file, namesrvAddr string) (*Broker, *bytes.Buffer) {
	dir, log := t.TempDir(), new(bytes.Buffer)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := settings.NewBroker(settings.Machine{Home: dir, IP: "127.0.0.1", HostName: "b", Processors: 2, NamesrvAddr: namesrvAddr}, logger)
	if err := s.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	s.Default("listenPort", strconv.Itoa(freePort(t)))
	s.Default("bindAddress", "127.0.0.1")
	s.Default("mappedFileSizeCommitLog", "16777216")
	ready := make(chan Ready, 1)
	b, err := New(Config{Settings: s, Log: logger, Ready: func(r Ready) { ready <- r }})
	if err != nil {
		t.Fatal(err)
	}
	text := log.String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if r := <-ready; r.Registered != 1 {
		t.Error(fmt.Errorf("%s is registered with %d name servers", file, r.Registered))
	}
	return b, bytes.NewBufferString(text)
}
