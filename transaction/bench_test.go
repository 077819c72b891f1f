package transaction

import (
	"fmt"
	"testing"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// BenchmarkService_End is END_TRANSACTION with a commit in a turn that ends 32 transactions, from the request's fields to the
// records in the log of a disk in memory. A half message of 256 bytes is stored for each, which is not counted.
func BenchmarkService_End(b *testing.B) {
	const each = 32
	w := newWorld(b)
	w.disk.Before = nil
	reqs := make([]*protocol.Command, each)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		for j := range reqs {
			at := w.prepared(fmt.Sprint(i, "-", j))
			reqs[j] = request(at, commit)
			reqs[j].SetOneway()
		}
		b.StartTimer()
		w.turn(func(t *protocol.Turn) {
			for _, r := range reqs {
				if err := w.svc.End(&protocol.Call{Command: *r, Peer: w.peer, Turn: t}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*each), "ns/transaction")
}

// prepared stores a half message of 256 bytes.
func (w *world) prepared(uniq string) (at place) {
	props := property("UNIQ_KEY=" + uniq + " PGROUP=P TRAN_MSG=true REAL_TOPIC=T REAL_QID=1 __transactionId__=" + uniq + " ")
	d := message.Draft{Topic: []byte(topic.TransHalf), Body: make([]byte, 256), Properties: props, BornMs: w.now.UnixMilli(), BornHost: host, StoreHost: host}
	w.turn(func(*protocol.Turn) {
		w.batch.Stage(w.store.Queue(topic.TransHalf, 0), &d, 0, false, nil, protocol.Ticket{Peer: w.peer}, func(_ *protocol.Turn, _ protocol.Ticket, o *put.Outcome) {
			at = place{offset: o.Offset, physical: o.Physical}
		})
	})
	return at
}
