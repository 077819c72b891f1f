package route

import (
	"fmt"
	"testing"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// large is the body of a broker with 10,000 topics.
func large(b *testing.B) []byte {
	var r protocol.RegisterBrokerBody
	r.TopicConfigSerializeWrapper.TopicConfigTable = map[string]*topic.Config{}
	for i := range 10_000 {
		c := topic.NewConfig(fmt.Sprintf("TopicOfAnOrdinaryLength%05d", i), 8)
		r.TopicConfigSerializeWrapper.TopicConfigTable[c.Name] = c
	}
	body, err := laxjson.Marshal(&r)
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func BenchmarkDecodeBody_10000Topics(b *testing.B) {
	body := large(b)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := DecodeBody(body, protocol.Version, false, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// The time that routes wait for a registration which changed every topic's version.
func BenchmarkTable_Register_10000Topics(b *testing.B) {
	topics, _, err := DecodeBody(large(b), protocol.Version, false, 0)
	if err != nil {
		b.Fatal(err)
	}
	table, now := New(Config{}), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		topics.DataVersion.Counter++
		if _, err := table.Register(now, &Registration{Broker: Broker{"C", "a", "h:1", 0}, Topics: topics}); err != nil {
			b.Fatal(err)
		}
	}
}
