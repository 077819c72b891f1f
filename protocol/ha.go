package protocol

// HARuntimeInfo is how a log is copied, as seen from one of the two ends. Times are in ms. Source: Java HARuntimeInfo.
type HARuntimeInfo struct {
	Client          HAClientRuntimeInfo       `json:"haClientRuntimeInfo"` // of a slave; a master's is zero
	Connections     []HAConnectionRuntimeInfo `json:"haConnectionInfo"`    // of a master
	InSyncSlaves    int                       `json:"inSyncSlaveNums"`
	Master          bool                      `json:"master"`
	MasterLogOffset int64                     `json:"masterCommitLogMaxOffset"` // where the log ends
}

// HAConnectionRuntimeInfo is one slave.
type HAConnectionRuntimeInfo struct {
	Addr           string `json:"addr"`
	Diff           int64  `json:"diff"` // bytes that it lacks
	InSync         bool   `json:"inSync"`
	Ack            int64  `json:"slaveAckOffset"`
	From           int64  `json:"transferFromWhere"`
	BytesPerSecond int64  `json:"transferredByteInSecond"`
}

// HAClientRuntimeInfo is a slave's connection to its master.
type HAClientRuntimeInfo struct {
	LastRead          int64  `json:"lastReadTimestamp"`
	LastWrite         int64  `json:"lastWriteTimestamp"`
	MasterAddr        string `json:"masterAddr,omitempty"` // of its HA port
	MasterFlushOffset int64  `json:"masterFlushOffset"`
	MaxOffset         int64  `json:"maxOffset"` // of the slave's log
	BytesPerSecond    int64  `json:"transferredByteInSecond"`
}
