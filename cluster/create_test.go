package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func layout() Layout {
	return Layout{Masters: 2, Slaves: 1, Namesrvs: 2, NamesrvPort: 15600, BrokerPort: 15610}
}

// A new cluster has its nodes with ports of their own, and a configuration for each; it is found again from its folder.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	l := layout()
	l.BrokerPort = busy.Addr().(*net.TCPAddr).Port - 1 // its replication port is taken
	l.Set = []string{"flushDiskType=SYNC_FLUSH", "mappedFileSizeCommitLog=4194304"}
	if err := Create(dir, l); err != nil {
		t.Fatal(err)
	}
	c, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	taken := map[int]bool{}
	for _, n := range c.Nodes {
		got = append(got, fmt.Sprintf("%s %s %s %d", n.Name, n.Role(), n.Broker, n.ID))
		ports := []int{n.Port}
		if n.Kind == Broker {
			ports = []int{n.Port - 2, n.Port, n.Port + 1}
		}
		for _, p := range ports {
			if taken[p] || p == l.BrokerPort+1 {
				t.Errorf("%s has port %d, which is taken", n.Name, p)
			}
			taken[p] = true
		}
	}
	want := "namesrv-a namesrv  0, namesrv-b namesrv  0, broker-a-0 master broker-a 0, broker-a-1 slave broker-a 1, " +
		"broker-b-0 master broker-b 0, broker-b-1 slave broker-b 1"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
	conf, err := os.ReadFile(filepath.Join(dir, "broker-b-1", "broker.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"brokerName=broker-b", "namesrvAddr=" + c.Namesrvs(), fmt.Sprint("listenPort=", c.Nodes[5].Port),
		"storePathRootDir=" + filepath.Join(dir, "broker-b-1", "store"), "flushDiskType=SYNC_FLUSH"} {
		if !strings.Contains("\n"+string(conf), "\n"+line+"\n") {
			t.Errorf("%s is not in\n%s", line, conf)
		}
	}
	if i, j := strings.Index(string(conf), "mappedFileSizeCommitLog=134217728"), strings.Index(string(conf), "mappedFileSizeCommitLog=4194304"); i > j {
		t.Errorf("what is set does not win:\n%s", conf)
	}
	if err := Create(dir, l); !errors.Is(err, ErrExists) {
		t.Errorf("a second cluster in one folder: %v", err)
	}
}

// What cannot be is refused before anything is written, with what to do instead.
func TestCreate_Refused(t *testing.T) {
	for _, c := range []struct {
		change func(*Layout)
		want   string
	}{
		{func(l *Layout) { l.Masters = 0 }, "--masters 0: it must be 1 to 26"},
		{func(l *Layout) { l.Slaves = -1 }, "--slaves -1: it must be 0 to 26"},
		{func(l *Layout) { l.Namesrvs = 27 }, "--namesrv 27"},
		{func(l *Layout) { l.Sync, l.Slaves = true, 0 }, "--slaves 1"},
		{func(l *Layout) { l.Set = []string{"nonsense"} }, "--set nonsense: it must be KEY=VALUE"},
		{func(l *Layout) { l.Set = []string{"brokerRole=SLAVE"} }, "--sync makes"},
		{func(l *Layout) { l.BrokerPort = 70000 }, "no free port"},
	} {
		dir := filepath.Join(t.TempDir(), "x")
		l := layout()
		c.change(&l)
		if err := Create(dir, l); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "there is no cluster in "+dir) {
			t.Errorf("after %q: %v", c.want, err)
		}
	}
}

// A file that Create did not write is refused with the place of the fault, not believed.
func TestLoad_Damaged(t *testing.T) {
	for text, want := range map[string]string{
		`{`: "unexpected end",
		`{"nodes":[{"name":"../x","kind":"namesrv","port":1}]}`:                                                                           `the name "../x"`,
		`{"nodes":[{"name":"a","kind":"namesrv","port":0}]}`:                                                                              "port 0",
		`{"nodes":[{"name":"a","kind":"other","port":1}]}`:                                                                                `kind "other"`,
		`{"nodes":[{"name":"a","kind":"namesrv","port":1},{"name":"a","kind":"namesrv","port":2}]}`:                                       `the name "a"`,
		`{"nodes":[{"name":"a","kind":"broker","broker":"b","id":1,"port":1}]}`:                                                           "b has no master",
		`{"nodes":[{"name":"a","kind":"broker","broker":"b","id":0,"port":1},{"name":"c","kind":"broker","broker":"b","id":0,"port":9}]}`: "node c",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
