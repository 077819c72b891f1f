package manage

import (
	"encoding/hex"
	"fmt"
	"testing"

	"rocketd/protocol"
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
		f.cfg.HA = func() protocol.HARuntimeInfo {
			return protocol.HARuntimeInfo{Master: true, MasterLogOffset: 25735, InSyncSlaves: 1, Connections: []protocol.HAConnectionRuntimeInfo{
				{Addr: "127.0.0.1:60938", InSync: true, Ack: 25735, From: 25735},
			}}
		}
		f.check(f.HAStatus, "", "", `{"haClientRuntimeInfo":{"lastReadTimestamp":0,"lastWriteTimestamp":0,"masterFlushOffset":0,"maxOffset":0,"transferredByteInSecond":0},"haConnectionInfo":[{"addr":"127.0.0.1:60938","diff":0,"inSync":true,"slaveAckOffset":25735,"transferFromWhere":25735,"transferredByteInSecond":0}],"inSyncSlaveNums":1,"master":true,"masterCommitLogMaxOffset":25735}`)
	})
}
