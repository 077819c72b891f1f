package manage

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"

	"rocketd/protocol"
	"rocketd/topic"
)

// What a slave is answered looks as a Java master's answers do (recorded frames), also where there is nothing yet.
func TestService_Carried(t *testing.T) {
	test(t, func(f *fixture) {
		f.check(f.DelayOffsets, "", "", `{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795568627282},"offsetTable":{}}`)
		f.check(f.RequestModes, "", "", `{"messageRequestModeMap":{}}`)
		f.check(f.TimerMetrics, "", "", `{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795568627282},"timingCount":{}}`)
		none := f.ask(f.TimerCheckpoint, "", "")
		if got, want := hex.EncodeToString([]byte(none)), fmt.Sprintf("%016x%064x%016x%016x", 1795568627000, 0, 1795568627282, 0); got != want {
			t.Errorf("checkpoint of a broker without timers\n got %s\nwant %s", got, want)
		}

		put := func(text string, put func([]byte) error) {
			t.Helper()
			if err := put([]byte(text)); err != nil {
				t.Error(err)
			}
		}
		c := f.cfg.Carried
		put(`{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795568581083},"offsetTable":{1:2,3:1}}`, c.DelayOffsets.Put)
		f.check(f.DelayOffsets, "", "", `{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795568581083},"offsetTable":{1:2,3:1}}`)
		put(`{"messageRequestModeMap":{"FAT":{"FAG":{"consumerGroup":"FAG","mode":"POP","popShareQueueNum":2,"topic":"FAT"}}}}`, c.RequestModes.Put)
		f.check(f.RequestModes, "", "", `{"messageRequestModeMap":{"FAT":{"FAG":{"consumerGroup":"FAG","mode":"POP","popShareQueueNum":2,"topic":"FAT"}}}}`)
		put(`{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":1795568597192},"timingCount":{"FFT":{"count":0,"timeStamp":1795568597192}}}`, c.TimerMetrics.Put)
		f.check(f.TimerMetrics, "", "", `{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":1795568597192},"timingCount":{"FFT":{"count":0,"timeStamp":1795568597192}}}`)
	})
}

// A status is a Java broker's, byte by byte (recorded frame of mqadmin haStatus).
func TestService_HAStatus(t *testing.T) {
	test(t, func(f *fixture) {
		f.check(f.HAStatus, "", "", "1 Can not get HARuntimeInfo, may be duplicationEnable is true")
		f.cfg.HA = func() HARuntimeInfo {
			return HARuntimeInfo{Master: true, MasterLogOffset: 25735, InSyncSlaves: 1, Connections: []HAConnectionInfo{
				{Addr: "127.0.0.1:60938", InSync: true, Ack: 25735, From: 25735},
			}}
		}
		f.check(f.HAStatus, "", "", `{"haClientRuntimeInfo":{"lastReadTimestamp":0,"lastWriteTimestamp":0,"masterFlushOffset":0,"maxOffset":0,"transferredByteInSecond":0},"haConnectionInfo":[{"addr":"127.0.0.1:60938","diff":0,"inSync":true,"slaveAckOffset":25735,"transferFromWhere":25735,"transferredByteInSecond":0}],"inSyncSlaveNums":1,"master":true,"masterCommitLogMaxOffset":25735}`)
	})
}

// A host has the topics with other queues than plain ones when it has asked for all topics, and then for what only slaves
// ask for.
func TestService_Follows(t *testing.T) {
	test(t, func(f *fixture) {
		host := netip.MustParseAddr("192.0.2.20")
		check := func(want bool) {
			t.Helper()
			if got := f.Follows(host); got != want {
				t.Errorf("follows: %v, want %v", got, want)
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
		check(true) // there is no such topic
		batch("B1")
		check(false)
		f.ask(f.DelayOffsets, "", "")
		check(false) // it has not asked for topics
		f.ask(f.Topics, "topicSeq=0 maxTopicNum=1", "")
		f.ask(f.DelayOffsets, "", "")
		check(false) // that was the first of two pages
		f.ask(f.Topics, "topicSeq=1 maxTopicNum=1", "")
		check(false) // it may not have taken them yet
		f.ask(f.DelayOffsets, "", "")
		check(true)
		if f.Follows(netip.MustParseAddr("192.0.2.21")) {
			t.Error("another host follows too")
		}
		if err := f.cfg.Topics.Put(topic.NewConfig("plain", 1)); err != nil {
			t.Fatal(err)
		}
		check(true)
		batch("B2")
		check(false)
		f.ask(f.Topics, "", "")
		f.ask(f.DelayOffsets, "", "")
		check(true)

		f.peer = &peer{addr: "192.0.2.22:1", language: protocol.LanguageGo}
		host = netip.MustParseAddr("::ffff:192.0.2.22")
		f.ask(f.Topics, "", "")
		f.ask(f.DelayOffsets, "", "")
		batch("B3")
		check(true) // it learns
		f.peer.language = protocol.LanguageJava
		f.ask(f.DelayOffsets, "", "")
		check(false)

		for i := range maxFollowers + 10 { // the memory of who asked is bounded; who asks is not forgotten
			f.peer = &peer{addr: fmt.Sprintf("192.0.%d.%d:1", 3+i/200, i%200)}
			f.ask(f.Topics, "", "")
			f.peer = &peer{addr: "192.0.2.22:1"}
			f.ask(f.Topics, "", "")
			f.ask(f.DelayOffsets, "", "")
		}
		if n := len(f.followers.hosts); n != maxFollowers {
			t.Errorf("%d hosts are remembered", n)
		}
		check(true)
	})
}
