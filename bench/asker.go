package bench

import (
	"fmt"

	"rocketd/protocol"
)

// asker is one connection that asks questions and keeps as many of them open as the configuration says, or asks them one
// after the other at fixed times.
type asker struct {
	*run
	request func(out []byte, slot int) []byte // appends a question with the opaque firstOpaque + slot
	check   func(slot int, r *response) error // tells what is wrong with an answer
	issued  []int64                           // when the request in a slot left; 0: the slot is free
	free    []int
	pause   float64 // ns between two questions; 0 in a closed loop
	asked   int64   // questions so far
}

func newAsker(r *run, request func(out []byte, slot int) []byte, check func(slot int, r *response) error) *asker {
	a := &asker{run: r, request: request, check: check, issued: make([]int64, r.cfg.InFlight)}
	for i := range a.issued {
		a.free = append(a.free, i)
	}
	return a
}

func (a *asker) due() int64 {
	if !a.active || len(a.free) == 0 || a.left == 0 {
		return never
	}
	if a.pause == 0 {
		return 0
	}
	return a.began + int64(float64(a.asked)*a.pause)
}

func (a *asker) fill(out []byte, now int64) []byte {
	for at := a.due(); at <= now; at = a.due() {
		slot := a.free[len(a.free)-1]
		a.free = a.free[:len(a.free)-1]
		if a.pause == 0 {
			at = now
		}
		a.issued[slot] = max(at, 1)
		a.asked++
		a.open++
		if a.left > 0 {
			a.left--
		}
		out = a.request(out, slot)
	}
	return out
}

func (a *asker) answer(frame []byte, now int64) error {
	r, err := readResponse(frame)
	if err != nil {
		return err
	}
	slot := int(r.opaque) - firstOpaque
	if slot < 0 || slot >= len(a.issued) || a.issued[slot] == 0 {
		return fmt.Errorf("the server answered request %d, which is not open", r.opaque)
	}
	issued := a.issued[slot]
	a.issued[slot] = 0
	a.free = append(a.free, slot)
	a.open--
	a.progress = now
	if r.code != protocol.Success {
		return a.fail(r.code, frame)
	}
	if err := a.check(slot, &r); err != nil {
		return err
	}
	a.record(issued, now)
	if a.counting {
		a.messages++
		a.bytes += int64(len(r.body))
	}
	return nil
}
