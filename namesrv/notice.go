package namesrv

import (
	"context"
	"strconv"
	"sync"
	"time"

	"rocketd/namesrv/route"
	"rocketd/protocol"
	"rocketd/remoting"
)

// tellTimeout is how long connecting and writing may take for one broker. Source: Java RouteInfoManager.
const tellTimeout = 300 * time.Millisecond

// notify hands notices over to tell, if they are wanted. It does not block.
func (s *Server) notify(notices []route.Notice) {
	if !s.opts.Load().notifyMinID {
		return
	}
	for _, n := range notices {
		select {
		case s.notices <- n:
		default:
			s.log.Warn("notice of a changed lowest broker id is lost, too many wait", "broker", n.Name)
		}
	}
}

// tell sends each notice to those whom it is for, one way. A broker that cannot be reached learns the same from its
// next look at the member group.
func (s *Server) tell(ctx context.Context, client *remoting.Client) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-s.notices:
			var wg sync.WaitGroup // so that one who is gone delays nobody
			for _, addr := range n.To {
				wg.Go(func() { s.tellOne(ctx, client, addr, n) })
			}
			wg.Wait()
		}
	}
}

func (s *Server) tellOne(ctx context.Context, client *remoting.Client, addr string, n route.Notice) {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	c := &protocol.Command{Code: protocol.NotifyMinBrokerIdChange, Language: protocol.LanguageGo, Version: protocol.Version}
	c.SetOneway()
	c.Set("minBrokerId", strconv.FormatInt(n.MinID, 10))
	for key, value := range map[string]string{"brokerName": n.Name, "minBrokerAddr": n.MinAddr, "offlineBrokerAddr": n.OfflineAddr, "haBrokerAddr": n.HaAddr} {
		if value != "" {
			c.Set(key, value)
		}
	}
	if err := client.Oneway(ctx, addr, c); err != nil {
		s.log.Warn("cannot tell a broker that the lowest id changed", "broker", n.Name, "addr", addr, "err", err)
	}
}
