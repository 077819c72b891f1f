package remoting

import (
	"time"

	"rocketd/protocol"
)

// lane is what one I/O context needs for its turns: the handler, the turn, and one call that all frames are
// decoded into.
type lane struct {
	handler Handler
	turn    *protocol.Turn
	call    protocol.Call
}

// serve hands every whole frame of buf to the handler, in place, until the conn is full or dead. It returns how many
// bytes are done with, and how many the frame after them has in all, 0 if that is not known yet. After an error the
// stream is of no use.
func (l *lane) serve(c *conn, buf []byte) (used, need int, err error) {
	for len(buf)-used >= 4 && !c.full.Load() && !c.dead.Load() {
		need, err = protocol.FrameLength(buf[used:], c.limits.maxFrame)
		if err != nil {
			return used, 0, err
		}
		if len(buf)-used < need {
			return used, need, nil
		}
		frame := buf[used+4 : used+need : used+need]
		used += need
		if err := l.call.Decode(frame); err != nil {
			return used, 0, err
		}
		if l.call.IsResponse() {
			c.calls.deliver(&l.call.Command)
			continue
		}
		l.call.Peer, l.call.Turn = c, l.turn
		l.handler.Serve(&l.call)
	}
	return used, 0, nil
}

// begin starts a turn.
func (l *lane) begin() { l.turn.Now = time.Now() }

// end ends a turn and has written what it answered; own, if not nil, is flushed by the caller.
func (l *lane) end(own *conn) {
	l.handler.EndTurn(l.turn)
	for _, p := range l.turn.Touched() {
		if p != protocol.Peer(own) {
			p.Flush()
		}
	}
}
