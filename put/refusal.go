package put

import (
	"errors"

	"rocketd/protocol"
	"rocketd/store"
)

// ErrNotEnoughReplicas says that a message would wait for more replicas than there are, and was not stored.
var ErrNotEnoughReplicas = errors.New("in-sync replicas not enough")

// ErrCopy says that the log is the copy of another broker's and takes nothing else: this broker is a slave.
var ErrCopy = errors.New("this broker is a slave")

// Refusal turns the error of a refused record into the answer a client gets. Source: Java SendMessageProcessor.
func Refusal(err error) *protocol.Error {
	switch {
	case errors.Is(err, ErrNotEnoughReplicas):
		return protocol.Errorf(protocol.SystemError, "%v", err)
	case errors.Is(err, ErrCopy):
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: %v", err)
	case errors.Is(err, store.ErrDiskFull):
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: the disk is full, messages are refused until there is space again: %v", err)
	case errors.Is(err, store.ErrFenced):
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: the store takes no more writes after a failed write or sync: %v", err)
	case errors.Is(err, store.ErrIncomplete):
		return protocol.Errorf(protocol.MessageIllegal, "the message cannot be stored: %v", err)
	case errors.Is(err, store.ErrTooLarge):
		return protocol.Errorf(protocol.MessageIllegal, "the message or batch does not fit into one file of the commit log (mappedFileSizeCommitLog)")
	case errors.Is(err, store.ErrClosed):
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: the broker is stopping")
	}
	return protocol.Errorf(protocol.SystemError, "cannot store the message: %v", err)
}
