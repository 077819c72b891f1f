//go:build !linux

package remoting

import "context"

const haveEpoll = false

func (s *Server) runLoops(ctx context.Context) error { return s.runPerConn(ctx) }
