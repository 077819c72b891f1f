package message

// Bits of Record.SysFlag. Source: Java MessageSysFlag.
const (
	FlagCompressed  int32 = 1 << 0
	FlagMultiTags   int32 = 1 << 1
	FlagPrepared    int32 = 1 << 2
	FlagCommit      int32 = 2 << 2
	FlagRollback    int32 = 3 << 2 // both: also the mask of the transaction type
	FlagBornHostV6  int32 = 1 << 4
	FlagStoreHostV6 int32 = 1 << 5
	FlagNeedUnwrap  int32 = 1 << 6
	FlagInnerBatch  int32 = 1 << 7
)

// Compression types, bits 8 to 10 of SysFlag; they mean something with FlagCompressed only.
const (
	CompressionMask int32 = 7 << 8
	CompressionLZ4  int32 = 1 << 8
	CompressionZstd int32 = 2 << 8
	CompressionZlib int32 = 3 << 8 // old clients leave 0 for zlib
)

// HasQueue tells whether a record is found through its queue: prepared and rolled-back messages are only in the log.
func (r *Record) HasQueue() bool {
	t := r.SysFlag & FlagRollback
	return t == 0 || t == FlagCommit
}
