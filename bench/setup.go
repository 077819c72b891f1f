package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"rocketd/protocol"
)

// setup is a plain connection for what comes before a run, where nothing is measured.
type setup struct {
	net.Conn
	in      *bufio.Reader
	timeout time.Duration
	out     []byte
}

func dialSetup(addr string, timeout time.Duration) (*setup, error) {
	nc, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	return &setup{Conn: nc, in: bufio.NewReaderSize(nc, readSize), timeout: timeout}, nil
}

// setupWindow is how many requests of a setup are open at the same time.
const setupWindow = 128

// ask sends n requests, each with the opaque firstOpaque + i, and hands over their answers, in the order in which they
// come.
func (s *setup) ask(n int, request func(out []byte, i int) []byte, answer func(i int, frame []byte, r *response) error) error {
	for from := 0; from < n; from += setupWindow {
		to := min(from+setupWindow, n)
		s.out = s.out[:0]
		for i := from; i < to; i++ {
			s.out = request(s.out, i)
		}
		_ = s.SetDeadline(time.Now().Add(s.timeout))
		if _, err := s.Write(s.out); err != nil {
			return err
		}
		for range to - from {
			frame, err := s.read()
			if err != nil {
				return fmt.Errorf("no answer: %w", err)
			}
			r, err := readResponse(frame)
			if err != nil {
				return err
			}
			i := int(r.opaque) - firstOpaque
			if i < from || i >= to {
				return fmt.Errorf("the broker answered request %d, which is not open", r.opaque)
			}
			if err := answer(i, frame, &r); err != nil {
				return err
			}
		}
	}
	return nil
}

// read returns the next frame without its length word.
func (s *setup) read() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(s.in, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxAnswer {
		return nil, errResponse
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(s.in, frame)
	return frame, err
}

// succeed is an error for every answer that is no success.
func succeed(frame []byte, r *response) error {
	if r.code != protocol.Success {
		return errors.New(explain(frame))
	}
	return nil
}

// createTopics creates the topics of a configuration with its number of queues, or changes them to it.
func (s *setup) createTopics(cfg *Config) error {
	return s.ask(cfg.Topics, func(out []byte, i int) []byte {
		w := protocol.NewFrame(out, cfg.Form, protocol.UpdateAndCreateTopic, int32(firstOpaque+i), 0, "")
		w.Str("topic", cfg.topic(i))
		w.Str("defaultTopic", "TBW102")
		w.Int("readQueueNums", int64(cfg.Queues))
		w.Int("writeQueueNums", int64(cfg.Queues))
		w.Int("perm", 6)
		w.Str("topicFilterType", "SINGLE_TAG")
		w.Int("topicSysFlag", 0)
		w.Bool("order", false)
		w.Body()
		return w.Finish()
	}, func(i int, frame []byte, r *response) error {
		if err := succeed(frame, r); err != nil {
			return fmt.Errorf("cannot create topic %s: %w", cfg.topic(i), err)
		}
		return nil
	})
}

// createGroup creates a consumer group, or leaves it as it is.
func (s *setup) createGroup(group string) error {
	err := s.ask(1, func(out []byte, i int) []byte {
		w := protocol.NewFrame(out, protocol.JSON, protocol.UpdateAndCreateSubscriptiongroup, int32(firstOpaque+i), 0, "")
		w.Body()
		w.Append([]byte(`{"groupName":"` + group + `","consumeEnable":true,"retryQueueNums":1,"retryMaxTimes":16}`))
		return w.Finish()
	}, func(_ int, frame []byte, r *response) error { return succeed(frame, r) })
	if err != nil {
		return fmt.Errorf("cannot create group %s: %w", group, err)
	}
	return nil
}

// maxOffsets asks for the end of each queue of the first topic.
func (s *setup) maxOffsets(cfg *Config) ([]int64, error) {
	ends, hint := make([]int64, cfg.Queues), 0
	err := s.ask(cfg.Queues, func(out []byte, i int) []byte {
		w := protocol.NewFrame(out, cfg.Form, protocol.GetMaxOffset, int32(firstOpaque+i), 0, "")
		w.Str("topic", cfg.Topic)
		w.Int("queueId", int64(i))
		w.Body()
		return w.Finish()
	}, func(i int, frame []byte, r *response) (err error) {
		if err = succeed(frame, r); err == nil {
			ends[i], _ = r.number("offset", &hint)
		}
		return err
	})
	return ends, err
}
