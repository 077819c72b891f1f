package meta

import (
	"sync"
	"sync/atomic"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
)

// requestModes says for each topic which groups pop. Source: Java MessageRequestModeSerializeWrapper.
type requestModes struct {
	Modes map[string]map[string]protocol.SetMessageRequestModeRequestBody `json:"messageRequestModeMap"` // by topic and group
}

// RequestModes is the table of Carried.RequestModes for who asks it and changes it. Its methods may be called from any
// goroutine.
type RequestModes struct {
	text  *Text
	read  atomic.Pointer[readModes]
	setMu sync.Mutex // one Set at a time
}

// readModes is a table with the text that it was read from.
type readModes struct {
	from *[]byte
	requestModes
}

// NewRequestModes looks at text, which may also change otherwise.
func NewRequestModes(text *Text) *RequestModes { return &RequestModes{text: text} }

// Get returns what was set for a group and a topic. It does not block.
func (r *RequestModes) Get(topic, group string) (mode protocol.SetMessageRequestModeRequestBody, ok bool) {
	mode, ok = r.current().Modes[topic][group]
	return mode, ok
}

// Set keeps a mode under its topic and group; it is durable when Set returns. It may block.
func (r *RequestModes) Set(mode protocol.SetMessageRequestModeRequestBody) error {
	r.setMu.Lock()
	defer r.setMu.Unlock()
	next := requestModes{clone(r.current().Modes)}
	next.Modes[mode.Topic] = clone(next.Modes[mode.Topic])
	next.Modes[mode.Topic][mode.ConsumerGroup] = mode
	wire, err := laxjson.Marshal(&next)
	if err != nil {
		return err
	}
	return r.text.Put(wire)
}

// current reads the text when it has become another one.
func (r *RequestModes) current() *readModes {
	from := r.text.current.Load()
	if read := r.read.Load(); read != nil && read.from == from {
		return read
	}
	read := &readModes{from: from}
	if err := laxjson.Unmarshal(*from, &read.requestModes); err != nil {
		panic(err) // Text has accepted it
	}
	r.read.Store(read)
	return read
}
