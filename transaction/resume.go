package transaction

import (
	"context"
	"errors"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// Resume serves RESUME_CHECK_HALF_MESSAGE (323): a half message is put back with no checks counted, so that its producers
// are asked from now on as if it were new. Fields: topic, and msgId, the id of a half message, or of one that was put aside
// to TRANS_CHECK_MAX_TIME_TOPIC. Source: Java AdminBrokerProcessor.resumeCheckHalfMessage; in other than Java, it must be
// one, and one that is open has no second copy then.
func (s *Service) Resume(ctx context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	if s.cfg.Slave() {
		return nil, nil, protocol.Errorf(protocol.SystemError, "the broker is a slave: half messages are put back at its master")
	}
	var req protocol.ResumeCheckHalfMessageRequest
	if err := req.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	_, physical, err := message.ParseOffsetID(req.MsgID)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "msgId: %v", err)
	}
	record, err := s.cfg.Store.Record(physical, nil)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "msgId %s: %v", req.MsgID, err)
	}
	h, err := parseAside(record)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "msgId %s: %v", req.MsgID, err)
	}
	if err := s.resume(ctx, &h, s.cfg.Now()); err != nil {
		var known *protocol.Error
		if !errors.As(err, &known) {
			known = put.Refusal(err)
		}
		return nil, nil, known
	}
	return nil, nil, nil
}

// parseAside is parseHalf that takes a message from TRANS_CHECK_MAX_TIME_TOPIC, too.
func parseAside(record []byte) (half, error) {
	h, err := parseHalf(record)
	if string(h.Topic) == topic.TransCheckMax {
		d := h.draft([]byte(topic.TransHalf), 0, h.Properties, h.StoreHost)
		if h, err = parseHalf(message.AppendRecord(nil, &d)); err == nil {
			h.QueueOffset = -1
		}
	}
	return h, err
}

// resume puts a half message back. If a copy of it is open, the new one takes its place.
func (s *Service) resume(ctx context.Context, h *half, now time.Time) error {
	s.courierMu.Lock()
	defer s.courierMu.Unlock()
	s.mu.Lock()
	from, loaded := h.QueueOffset, s.ledger != nil
	if loaded {
		from = s.ledger.latest(from, h.uniq).offset
	}
	s.mu.Unlock()
	if !loaded {
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: the open transactions are not known yet")
	}
	open := from >= 0 && s.move(from)
	d, tag := h.renewed(nil, 0, s.cfg.Host())
	s.courier.Stage(s.half, &d, tag)
	if open {
		s.stageOp(append([]int64{from}, s.older(string(h.uniq), from)...), now)
	}
	placed, err := s.courier.Commit(ctx, now)
	written := err == nil || errors.Is(err, put.ErrUnsafe)
	s.mu.Lock()
	defer s.mu.Unlock()
	if written {
		s.ledger.copied(string(h.uniq), place{offset: placed[0].Offset, physical: placed[0].Physical})
	}
	if open {
		if written {
			s.ledger.moved(from)
		} else {
			s.ledger.stay(from)
		}
		close(s.moved)
		s.moved = nil
	}
	if written {
		return nil
	}
	return err
}
