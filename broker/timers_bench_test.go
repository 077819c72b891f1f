package broker

import (
	"testing"

	"rocketd/protocol"
)

// A send with a delay, from its frame to the record in the timer topic and the answer with a recall handle; beside it a plain one.
func BenchmarkTurn_TimedSend(b *testing.B) {
	for name, delay := range map[string]string{"plain": "", "timed": "TIMER_DELAY_MS\x013600000\x02"} {
		b.Run(name, func(b *testing.B) {
			turns(b, protocol.JSON, 64, func(*Broker) {}, func(form protocol.Form) []byte {
				return request(form, protocol.SendMessageV2, make([]byte, 128), "a=P", "b=BenchmarkTest", "c=TBW102", "d=4", "e=0", "f=0", "g=1", "h=0",
					"i=UNIQ_KEY\x017F000001000012345678\x02WAIT\x01true\x02"+delay, "j=0", "k=false", "m=false")
			})
		})
	}
}
