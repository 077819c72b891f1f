package remoting

import (
	"log/slog"
	"time"

	"rocketd/protocol"
)

// limits is what a connection bears from its other side.
type limits struct {
	idle      time.Duration
	maxFrame  int
	highWater int // bytes of unwritten answers above which the connection is not read
	hardCap   int // bytes of unwritten answers above which it is closed
	log       *slog.Logger
}

// Buffers that a connection keeps while it is busy; larger ones are given back at once, and all of them when the
// connection was quiet for a second or so.
const (
	minBuffer  = 1 << 10
	readBuffer = 128 << 10 // bytes read from one connection in one turn, unless one frame is larger
	keepBuffer = 1 << 20
)

func newLimits(idle time.Duration, maxFrame, highWater int, log *slog.Logger) limits {
	if idle <= 0 {
		idle = 120 * time.Second
	}
	if maxFrame <= 0 {
		maxFrame = protocol.MaxFrame
	}
	if highWater <= 0 {
		highWater = 8 << 20
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// What is pushed to a peer comes on top of the answers to what it asked, and it alone is not slowed down by the
	// high water mark; so the cap lies well above it.
	return limits{idle: idle, maxFrame: maxFrame, highWater: highWater, hardCap: 8*highWater + maxFrame, log: log}
}
