package protocol

import "fmt"

// Error is an answer that is not a success: a response code and a remark for people. A handler returns it, and
// dispatch turns it into the response. An error of any other type is answered with SystemError and logged.
type Error struct {
	Code   int32
	Remark string
}

func (e *Error) Error() string { return fmt.Sprintf("code %d: %s", e.Code, e.Remark) }

// Errorf makes an Error with a formatted remark.
func Errorf(code int32, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}
