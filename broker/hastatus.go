package broker

import "rocketd/protocol"

// haStatus tells how the log is copied, for GET_BROKER_HA_STATUS. Source: Java DefaultHAService.getRuntimeInfo.
func (b *Broker) haStatus() protocol.HARuntimeInfo {
	end := b.store.MaxPhysical()
	info := protocol.HARuntimeInfo{Master: !b.isSlave(), MasterLogOffset: end, Connections: []protocol.HAConnectionRuntimeInfo{}}
	if b.isSlave() {
		st := b.copier.Status()
		info.MasterLogOffset = 0 // not known here
		info.Client = protocol.HAClientRuntimeInfo{
			LastRead: st.LastRead.UnixMilli(), LastWrite: st.LastWrite.UnixMilli(), MasterAddr: st.Master,
			MasterFlushOffset: b.masterFlush.Load(), MaxOffset: st.Max, BytesPerSecond: st.BytesPerSecond,
		}
		return info
	}
	gap := b.copies.gap.Load()
	for _, s := range b.ha.Slaves() {
		in := s.Ack >= 0 && end-s.Ack < gap
		if in {
			info.InSyncSlaves++
		}
		info.Connections = append(info.Connections, protocol.HAConnectionRuntimeInfo{
			Addr: s.Addr, Ack: s.Ack, Diff: end - s.Ack, InSync: in, From: s.Sent, BytesPerSecond: s.BytesPerSecond,
		})
	}
	return info
}
