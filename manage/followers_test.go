package manage

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"rocketd/protocol"
	"rocketd/topic"
)

// A Java slave has the topics with other queues than plain ones when it has asked for all topics and then goes on; an empty
// one since it has connected.
func TestService_Follows(t *testing.T) {
	test(t, func(f *fixture) {
		host := netip.MustParseAddr("192.0.2.20")
		check := func(empty bool, connected time.Time, want bool) {
			t.Helper()
			if got := f.Follows(host, empty, connected); got != want {
				t.Errorf("follows: %v, want %v (empty %v)", got, want, empty)
			}
		}
		batch := func(name string) {
			t.Helper()
			c := topic.NewConfig(name, 1)
			c.Attributes = map[string]string{"queue.type": "BatchCQ"}
			if err := f.cfg.Topics.Put(c); err != nil {
				t.Fatal(err)
			}
		}
		connected := time.Now()
		check(true, connected, true) // there is no such topic
		batch("B1")
		time.Sleep(time.Second)
		check(true, connected, false)
		check(false, connected, true) // nobody knows that it is Java's
		f.ask(f.AllOffsets, "", "")
		check(true, connected, false) // it has not asked for topics
		f.ask(f.Topics, "topicSeq=0 maxTopicNum=1", "")
		f.ask(f.Topics, "topicSeq=1 maxTopicNum=1", "")
		check(true, connected, false) // it may not have taken them yet
		f.ask(f.AllOffsets, "", "")
		check(true, connected, true)
		check(true, time.Now(), false) // another one
		check(false, time.Now(), true)
		if f.Follows(netip.MustParseAddr("192.0.2.21"), true, connected) {
			t.Error("another host follows too")
		}

		time.Sleep(time.Second)
		if err := f.cfg.Topics.Put(topic.NewConfig("plain", 1)); err != nil {
			t.Fatal(err)
		}
		check(false, time.Now(), true)
		batch("B2")
		check(false, time.Now(), false)
		f.ask(f.Topics, "topicSeq=1 maxTopicNum=1", "")
		f.ask(f.AllOffsets, "", "")
		check(false, time.Now(), false) // the rest of a table that it began to ask for before
		f.ask(f.Topics, "", "")
		f.ask(f.AllOffsets, "", "")
		check(false, time.Now(), true)

		f.peer = &peer{addr: "192.0.2.22:1", language: protocol.LanguageGo}
		host = netip.MustParseAddr("::ffff:192.0.2.22")
		f.ask(f.Topics, "", "")
		f.ask(f.AllOffsets, "", "")
		time.Sleep(time.Second)
		batch("B3")
		check(true, time.Now(), true) // it learns
		f.peer.language = protocol.LanguageJava
		f.ask(f.AllOffsets, "", "")
		check(true, connected, false)
	})
}

// Who asks is remembered, but of so many hosts only.
func TestService_FollowsBounded(t *testing.T) {
	test(t, func(f *fixture) {
		for i := range maxFollowers + 10 {
			f.peer = &peer{addr: fmt.Sprintf("192.0.%d.%d:1", 3+i/200, i%200)}
			f.ask(f.Topics, "", "")
			time.Sleep(time.Millisecond)
			f.peer = &peer{addr: "192.0.2.22:1"}
			f.ask(f.Topics, "", "")
		}
		if n := len(f.followers.hosts); n != maxFollowers {
			t.Errorf("%d hosts are remembered", n)
		}
		if f.followers.hosts[netip.MustParseAddr("192.0.2.22")] == nil {
			t.Error("one that still asks is forgotten")
		}
	})
}
