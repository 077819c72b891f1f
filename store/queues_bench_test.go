package store

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"rocketd/store/consumequeue"
)

// BenchmarkQueues sends 128-byte messages, 16 in a batch, to random queues of 4, 1 k, 10 k and 100 k, with everything of
// Run at work. One op is one message; cpu-ns/op is that of all threads, the background's too. first-µs is what the
// first message to a queue costs, with the files of all queues made and synced; idle-B is the memory of one queue when it
// is idle again.
//
//	go test ./store -run '^$' -bench Queues -benchtime 20s
func BenchmarkQueues(b *testing.B) {
	for _, n := range []int{4, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchQueues(b, n) })
	}
}

func benchQueues(b *testing.B, n int) {
	base := heap()
	s := benchStore(b)
	qs := make([]*consumequeue.Queue, n)
	for i := range qs {
		qs[i] = s.Queue(fmt.Sprintf("topic-%05d", i/8), int32(i%8))
	}
	d := draft("topic-00000", 0, string(make([]byte, 128)))
	var batch Batch
	flush := func() {
		if err := s.Append(&batch, time.Now()); err != nil {
			b.Fatal(err)
		}
		batch.Reset()
	}
	start := time.Now()
	for i, q := range qs {
		d.Topic, d.QueueID = []byte(q.Topic()), q.ID()
		if batch.Add(q, d, 7); batch.Len() == 16 || i == n-1 {
			flush()
		}
	}
	s.writing.Lock()
	if err := s.syncAll(); err != nil {
		b.Fatal(err)
	}
	s.writing.Unlock()
	first := time.Since(start)

	rng := rand.New(rand.NewPCG(1, 1))
	cpu := cpuTime()
	b.SetBytes(128)
	for b.Loop() {
		q := qs[rng.IntN(n)]
		d.QueueID = q.ID()
		if batch.Add(q, d, 7); batch.Len() == 16 {
			flush()
		}
	}
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(first.Seconds()*1e6/float64(n), "first-µs")
	s.writing.Lock()
	if err := s.syncAll(); err != nil {
		b.Fatal(err)
	}
	for range quietRounds + 1 {
		s.coolDown()
	}
	s.writing.Unlock()
	batch = Batch{}
	b.ReportMetric(float64(heap()-base)/float64(n), "idle-B")
	runtime.KeepAlive(qs)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// cpuTime is what all threads have used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
