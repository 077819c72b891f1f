// Package rpc makes outgoing calls with typed requests and answers, one file per callee: Namesrv for what a broker
// or a client asks a name server, Broker for what a client asks a broker. It knows how a question is put into a
// frame and what its answer means; connections belong to the Invoker that it is given.
//
// Every call waits for its answer or for its context. An answer with another code than the call allows is returned
// as *protocol.Error, so that callers ask with errors.As for the code.
package rpc

import (
	"context"
	"fmt"

	"rocketd/protocol"
)

// Invoker sends a request to an address and waits for its response; it sets the opaque. remoting.Client is one.
type Invoker interface {
	Invoke(ctx context.Context, addr string, c *protocol.Command) (*protocol.Command, error)
}

// header is a typed header that can read itself out of a response.
type header interface {
	Decode(fields []protocol.Field) error
}

// request builds a command from a typed header (nil: no fields) and a body.
func request(code int32, h protocol.Fielder, body []byte) (*protocol.Command, error) {
	w := protocol.NewFrame(nil, protocol.JSON, code, 0, 0, "")
	if h != nil {
		h.AppendFields(&w)
	}
	w.Body()
	c := new(protocol.Command)
	if err := c.Decode(w.Finish()[4:]); err != nil {
		return nil, fmt.Errorf("cannot build request %d: %w", code, err)
	}
	c.Body = body
	return c, nil
}

// invoke sends the request and returns the response if it has one of the allowed codes (none given: Success).
func invoke(ctx context.Context, inv Invoker, addr string, c *protocol.Command, allowed ...int32) (*protocol.Command, error) {
	r, err := inv.Invoke(ctx, addr, c)
	if err != nil {
		return nil, err
	}
	if r.Code == protocol.Success {
		return r, nil
	}
	for _, code := range allowed {
		if r.Code == code {
			return r, nil
		}
	}
	return nil, &protocol.Error{Code: r.Code, Remark: r.Remark}
}

// call is request, invoke and, if out is not nil, the decoding of the response's header.
func call(ctx context.Context, inv Invoker, addr string, code int32, in protocol.Fielder, body []byte, out header) (*protocol.Command, error) {
	c, err := request(code, in, body)
	if err != nil {
		return nil, err
	}
	r, err := invoke(ctx, inv, addr, c)
	if err != nil || out == nil {
		return r, err
	}
	if err := out.Decode(r.Fields); err != nil {
		return nil, fmt.Errorf("answer of %s to request %d: %w", addr, code, err)
	}
	return r, nil
}
