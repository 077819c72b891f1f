package ha

import (
	"context"
	"fmt"
)

// divergence says that the master has something else at a position of the log, or nothing.
type divergence struct{ at int64 }

func (d *divergence) Error() string { return fmt.Sprintf("the log is not the master's at %d", d.at) }

// diverged makes the log one that can go on as the master's. Where a whole record at least is the same on both sides, what
// comes behind the last such record is cut off. Else the next connection looks further back; and if there is nothing
// further back, the two have nothing in common. What is older than all that the master has gives way to it.
func (c *copier) diverged(ctx context.Context, d *divergence) error {
	low := max(c.log.MinPhysical(), c.look.floor)
	from := c.from
	if from == 1 { // byte 0 stands for itself
		from = 0
	}
	cut, err := c.log.RecordStart(d.at)
	if err != nil {
		return err
	}
	if cut > from {
		last, err := c.log.RecordStart(cut - 1)
		if err != nil {
			return err
		}
		if last >= from {
			if err := c.log.CutLog(cut); err != nil {
				return err
			}
			c.look.back = firstLook
			return &lookAgain{"the end of the log was cut off"}
		}
	}
	if !c.got && c.s.cfg.MasterMin != nil {
		first, err := c.s.cfg.MasterMin(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("cannot ask the master where its log begins: %w", err)
		case first >= c.end:
			if err := c.log.RestartLog(first); err != nil {
				return err
			}
			return &lookAgain{"the log was dropped"}
		case first > from:
			c.look.floor = first
			return &lookAgain{"the master's log begins later"}
		}
	}
	if from <= low {
		return ErrForeign
	}
	c.look.back *= lookFactor
	return &lookAgain{"the logs differ, or the master's is shorter"}
}
