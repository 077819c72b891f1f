package namesrv

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// A thousand brokers with a thousand topics each register all at once, while a client asks for routes. Brokers,
// client and NameServer share the processors here, so the figures are worse than those of a real one. "own" gives
// each broker topics of its own, "shared" gives all of them the same.
func BenchmarkServer_Storm(b *testing.B) {
	const brokers, topics = 1000, 1000
	for _, kind := range []string{"own", "shared"} {
		b.Run(kind, func(b *testing.B) {
			for range b.N {
				storm(b, brokers, topics, kind == "shared")
			}
		})
	}
}

func storm(b *testing.B, brokers, topics int, shared bool) {
	b.StopTimer()
	s := start(b, nil)
	conns := make([]*client, brokers)
	frames := make([][]byte, brokers)
	for i := range conns {
		conns[i] = dial(b, s)
		frames[i] = registration(b, i, topics, shared)
	}
	asking := dial(b, s)
	stop := make(chan struct{})
	var waits []time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			began := time.Now()
			asking.request(protocol.GetRouteinfoByTopic, "", "topic", fmt.Sprint("topic-number-", n%topics))
			waits = append(waits, time.Since(began))
			time.Sleep(time.Millisecond)
		}
	})
	b.StartTimer()
	began := time.Now()
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() {
			if got := c.call(frames[i]); got.Code != protocol.Success {
				b.Error(got.Remark)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(time.Since(began).Seconds(), "s/storm")
	close(stop)
	wg.Wait()
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)*99/100])/1e6, "p99-ms/route")
	b.ReportMetric(float64(waits[len(waits)-1])/1e6, "max-ms/route")
	clear(frames)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MB-live")
	b.ReportMetric(float64(m.Sys)/(1<<20), "MB-sys")
	for _, c := range conns {
		c.conn.Close()
	}
}

func registration(b *testing.B, broker, topics int, shared bool) []byte {
	table := make(map[string]*topic.Config, topics)
	for i := range topics {
		name := fmt.Sprint("topic-number-", i)
		if !shared && i > 0 {
			name = fmt.Sprintf("topic-number-%d-of-broker-%d", i, broker)
		}
		table[name] = &topic.Config{Name: name, ReadQueueNums: 8, WriteQueueNums: 8, Perm: 6}
	}
	body, err := laxjson.Marshal(&protocol.RegisterBrokerBody{FilterServerList: []string{},
		TopicConfigSerializeWrapper: protocol.TopicConfigAndMappingSerializeWrapper{TopicConfigTable: table, DataVersion: protocol.DataVersion{Counter: 1}}})
	if err != nil {
		b.Fatal(err)
	}
	addr := (&net.TCPAddr{IP: net.IPv4(10, 0, byte(broker/250), byte(broker%250)), Port: 10911}).String()
	c := protocol.Command{Code: protocol.RegisterBroker, Version: protocol.Version, Body: body}
	for k, v := range map[string]string{"clusterName": "C", "brokerName": fmt.Sprint("broker-", broker), "brokerId": "0", "brokerAddr": addr, "haServerAddr": addr} {
		c.Set(k, v)
	}
	return c.Append(nil)
}
