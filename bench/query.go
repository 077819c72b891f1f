package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"rocketd/message"
	"rocketd/protocol"
)

// sampleKeys is how many messages are picked, whose unique keys are then asked for.
const sampleKeys = 1 << 16

// Query asks for messages by unique key and measures the answers. The keys are those of messages that are picked from all
// over the topic first.
func Query(ctx context.Context, cfg Config) (*Result, error) {
	r, err := newRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	keys, err := pickKeys(&cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot pick messages of topic %s at %s: %w", cfg.Topic, cfg.Addr, err)
	}
	rng := rand.New(rand.NewPCG(uint64(cfg.Queues), uint64(cfg.Size)))
	var check Check
	for range cfg.Conns {
		asked := make([][]byte, cfg.InFlight)
		if err := r.dial(cfg.Addr, newAsker(r, func(out []byte, slot int) []byte {
			asked[slot] = keys[rng.IntN(len(keys))]
			return appendQuery(out, &cfg, slot, asked[slot])
		}, func(slot int, res *response) error {
			found, err := hasKey(res.body, asked[slot])
			if !found {
				check.Missing++
			}
			return err
		})); err != nil {
			return nil, err
		}
	}
	if err := r.drive(); err != nil {
		return nil, err
	}
	res := r.result("query")
	res.Check = check
	res.Check.Unanswered = r.open
	return res, nil
}

func appendQuery(out []byte, cfg *Config, slot int, key []byte) []byte {
	w := protocol.NewFrame(out, cfg.Form, protocol.QueryMessage, int32(firstOpaque+slot), 0, "")
	w.Str("topic", cfg.Topic)
	w.Str("key", string(key))
	w.Int("maxNum", 32)
	w.Int("beginTimestamp", 0)
	w.Int("endTimestamp", 1<<62)
	w.Str("_UNIQUE_KEY_QUERY", "true")
	w.Body()
	return w.Finish()
}

// hasKey tells whether one of the records of an answer has the unique key.
func hasKey(body, key []byte) (bool, error) {
	for len(body) > 0 {
		rec, err := message.Decode(body)
		if err != nil {
			return false, fmt.Errorf("record in the answer to a query: %w", err)
		}
		if v, _ := message.Property(rec.Properties, message.PropUniqKey); bytes.Equal(v, key) {
			return true, nil
		}
		body = body[rec.Size:]
	}
	return false, nil
}

// pickKeys pulls single messages from random places and returns their unique keys.
func pickKeys(cfg *Config) ([][]byte, error) {
	c, err := dialSetup(cfg.Addr, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	ends, err := c.maxOffsets(cfg)
	if err != nil {
		return nil, err
	}
	var total int64
	for _, n := range ends {
		total += n
	}
	if total == 0 {
		return nil, errors.New("there are none")
	}
	one := *cfg
	one.Max = 1
	rng := rand.New(rand.NewPCG(1, uint64(total)))
	var keys [][]byte
	err = c.ask(int(min(sampleKeys, total)), func(out []byte, i int) []byte {
		queue, at := 0, rng.Int64N(total)
		for ; at >= ends[queue]; queue++ {
			at -= ends[queue]
		}
		return appendPull(out, &one, i, queue, at, cfg.Group, pullSubscription)
	}, func(_ int, frame []byte, r *response) error {
		if err := succeed(frame, r); err != nil {
			return err
		}
		rec, err := message.Decode(r.body)
		if err != nil {
			return err
		}
		if v, ok := message.Property(rec.Properties, message.PropUniqKey); ok {
			keys = append(keys, bytes.Clone(v))
		}
		return nil
	})
	if err == nil && len(keys) == 0 {
		err = errors.New("none has a unique key")
	}
	return keys, err
}
