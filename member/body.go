package member

import (
	"rocketd/internal/laxjson"
	"rocketd/protocol"
)

// read decodes the body of a request; none at all is an error too.
func read(c *protocol.Call, v any) error {
	if len(c.Body) == 0 {
		return protocol.Errorf(protocol.SystemError, "the %s request has no body", protocol.RequestName(c.Code))
	}
	if err := laxjson.Unmarshal(c.Body, v); err != nil {
		return protocol.Errorf(protocol.SystemError, "cannot read the body of the %s request: %v", protocol.RequestName(c.Code), err)
	}
	return nil
}

// answer sends a success with v as body; nil is none.
func answer(c *protocol.Call, v any) error {
	var body []byte
	if v != nil {
		var err error
		if body, err = laxjson.Marshal(v); err != nil {
			return err
		}
	}
	c.Ticket().Answer(c.Turn, protocol.Success, "", nil, body)
	return nil
}
