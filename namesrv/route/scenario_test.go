package route

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rocketd/protocol"
	"rocketd/topic"
)

var update = flag.Bool("update", false, "write what is into testdata, to be reviewed as a diff")

// Each testdata/*.txt is a story: a line with ">" is done, and the lines below it are what must come out.
func TestTable_Scenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := story{t: t, table: New(Config{}), now: time.UnixMilli(1_700_000_000_000), peers: map[string]*peer{}}
			got := s.tell(string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("%s came out as\n%s", file, firstDifference(string(text), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, w[i], g[i])
		}
	}
	return got
}

type story struct {
	t     *testing.T
	table *Table
	now   time.Time
	peers map[string]*peer
}

func (s *story) tell(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, ">"):
			out.WriteString(line + "\n" + s.do(strings.Fields(line[1:])))
		case line == "" || strings.HasPrefix(line, "#"):
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

// do runs one command: a word, and arguments as words or name=value.
func (s *story) do(words []string) string {
	args, named := []string{}, map[string]string{}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			named[k] = v
		} else {
			args = append(args, w)
		}
	}
	switch words[0] {
	case "config":
		s.table.Configure(Config{ActingMaster: named["acting"] == "true", DropMissing: named["drop"] == "true"})
		return ""
	case "register":
		return s.register(named)
	case "unregister":
		return notices(s.table.Unregister(s.broker(named)))
	case "closed":
		return gone(s.table.Closed(s.peers[args[0]]))
	case "wait":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = s.now.Add(d)
		return gone(s.table.Expire(s.now))
	case "heartbeat":
		return fmt.Sprintln(s.table.Heartbeat(s.now, "C", named["addr"]))
	case "query":
		known, ok, changed := s.table.QueryVersion(s.now, "C", named["addr"], protocol.DataVersion{Counter: number(named["version"])})
		return fmt.Sprintln("known", ok, "counter", known.Counter, "changed", changed)
	case "route":
		body := s.table.Body([]byte(args[0]), len(args) > 1 && args[1] == "standard")
		if body == nil {
			return "none\n"
		}
		return string(body) + "\n"
	case "zone":
		r := s.table.Route(args[0])
		KeepZone(r, args[1])
		return string(EncodeRoute(r, false)) + "\n"
	case "cluster":
		return asJSON(s.table.Cluster())
	case "members":
		return asJSON(s.table.Members("C", args[0]))
	case "topics":
		if len(args) > 0 {
			return fmt.Sprintln(s.table.TopicsOf(args[0]))
		}
		return fmt.Sprintln(s.table.Topics())
	case "topics-with":
		return fmt.Sprintln(s.table.TopicsWith(func(f int32) bool { return f == int32(number(args[0])) }))
	case "system":
		names, addr := s.table.System()
		return fmt.Sprintln(names, addr)
	case "wipe":
		return fmt.Sprintln(s.table.SetWritable(args[0], false))
	case "add":
		return fmt.Sprintln(s.table.SetWritable(args[0], true))
	case "delete-topic":
		s.table.DeleteTopic(args[0], named["cluster"])
		return ""
	case "add-topic":
		var queues []protocol.QueueData
		for _, b := range args[1:] {
			queues = append(queues, protocol.QueueData{BrokerName: b, ReadQueueNums: 1, WriteQueueNums: 1, Perm: 6})
		}
		s.table.AddTopic(args[0], queues)
		return ""
	}
	s.t.Fatalf("no command %q", words[0])
	return ""
}

// register reads topics as name:perm[:sysFlag] with commas between.
func (s *story) register(named map[string]string) string {
	r := &Registration{Broker: s.broker(named), HaAddr: named["addr"] + "+1", Zone: named["zone"]}
	r.Topics.DataVersion = protocol.DataVersion{Counter: number(named["version"]), StateVersion: number(named["state"])}
	if a, ok := named["acting"]; ok {
		r.Acting = protocol.Some(a == "true")
	}
	if d, ok := named["timeout"]; ok {
		r.Timeout, _ = time.ParseDuration(d)
	}
	if name, ok := named["peer"]; ok {
		if s.peers[name] == nil {
			s.peers[name] = &peer{name: name}
		}
		r.Peer = s.peers[name]
	}
	if f, ok := named["filters"]; ok {
		r.Filters = strings.FieldsFunc(f, func(c rune) bool { return c == ',' })
	}
	r.Topics.TopicConfigTable = map[string]*topic.Config{}
	for _, spec := range strings.FieldsFunc(named["topics"], func(c rune) bool { return c == ',' }) {
		f := strings.Split(spec, ":")
		f = append(f, []string{"T", "6", "0"}[len(f):]...)
		r.Topics.TopicConfigTable[f[0]] = &topic.Config{Name: f[0], ReadQueueNums: 4, WriteQueueNums: 4, Perm: topic.Perm(number(f[1])), SysFlag: int32(number(f[2]))}
	}
	done, err := s.table.Register(s.now, r)
	var known *protocol.Error
	switch {
	case errors.As(err, &known):
		return fmt.Sprintf("refused %d %s\n", known.Code, known.Remark)
	case err != nil:
		s.t.Fatal(err)
	case done.Holder != "":
		return "ignored, " + done.Holder + " has it\n"
	}
	out := "ok"
	if done.New {
		out += " new"
	}
	if done.Replaced != "" {
		out += " instead of " + done.Replaced
	}
	if done.Rival != "" {
		out += " rival " + done.Rival
	}
	if done.MasterAddr != "" {
		out += " master " + done.MasterAddr + " ha " + done.HaServerAddr
	}
	return out + "\n" + notices(done.Notices)
}

func (s *story) broker(named map[string]string) Broker {
	cluster := named["cluster"]
	if cluster == "" {
		cluster = "C"
	}
	return Broker{Cluster: cluster, Name: named["name"], Addr: named["addr"], ID: number(named["id"])}
}

func gone(all []Gone, told []Notice) string {
	out := ""
	for _, g := range all {
		out += fmt.Sprintf("gone %s %d %s\n", g.Name, g.ID, g.Addr)
	}
	return out + notices(told)
}

func notices(all []Notice) string {
	out := ""
	for _, n := range all {
		out += fmt.Sprintf("notice %s min %d %s offline %q ha %q to %v\n", n.Name, n.MinID, n.MinAddr, n.OfflineAddr, n.HaAddr, n.To)
	}
	return out
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b) + "\n"
}

// peer is a connection that nothing goes over.
type peer struct{ name string }

func (p *peer) RemoteAddr() netip.AddrPort             { return netip.AddrPort{} }
func (p *peer) LocalAddr() netip.AddrPort              { return netip.AddrPort{} }
func (p *peer) LockOut() []byte                        { return nil }
func (p *peer) UnlockOut(*protocol.Turn, []byte)       {}
func (p *peer) Flush()                                 {}
func (p *peer) Post(func(*protocol.Turn))              {}
func (p *peer) Send(*protocol.Turn, *protocol.Command) {}
func (p *peer) Closed() bool                           { return false }
func (p *peer) Close()                                 {}
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	return nil, errors.New("nobody there")
}
