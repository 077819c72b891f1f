package store

// Transfer limits what one Get gives, beside the limits that the reader gives: of records that are taken to be in memory
// (Config.HotBytes), and of those behind. One record comes in any case. Source: Java MessageStoreConfig, maxTransfer*.
type Transfer struct {
	HotBytes, HotCount   int // maxTransferBytesOnMessageInMemory, maxTransferCountOnMessageInMemory
	ColdBytes, ColdCount int // maxTransferBytesOnMessageInDisk, maxTransferCountOnMessageInDisk
}

// DefaultTransfer has Java's values.
var DefaultTransfer = Transfer{HotBytes: 256 << 10, HotCount: 32, ColdBytes: 64 << 10, ColdCount: 8}

// maxTransferBytes bounds the memory that one Get may need, whatever is configured.
const maxTransferBytes = 16 << 20

// SetTransfer changes the limits from the next Get on.
func (s *Store) SetTransfer(t Transfer) {
	t.HotBytes, t.ColdBytes = min(t.HotBytes, maxTransferBytes), min(t.ColdBytes, maxTransferBytes)
	s.transfer.Store(&t)
}
