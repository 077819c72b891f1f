package protocol

// FrameWriter writes one frame at the end of a buffer, straight into the place that it leaves from: length word,
// header in either form, body. It is a value on the stack of whoever writes; nothing is allocated but the growth
// of the buffer.
type FrameWriter struct {
	peer   Peer // nil outside Ticket.Open
	buf    []byte
	start  int // where the frame's length word is
	ext    int // Binary: where the length of the ext block is; JSON: 1 once a field was written
	form   Form
	inBody bool
	remark string
	code   int32
	opaque int32
	flag   int32
}
