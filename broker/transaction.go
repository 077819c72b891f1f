package broker

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/meta"
	"rocketd/protocol"
	"rocketd/transaction"
)

// ruleKeys are the settings that limit open transactions. All of them may change at run time.
var ruleKeys = []string{"transactionTimeOut", "transactionCheckMax", "fileReservedTime"}

// newTransactions makes the service that ends transactions. Asking producers is the master's duty.
func (b *Broker) newTransactions() *transaction.Service {
	s := b.cfg.Settings
	var rules atomic.Pointer[transaction.Rules]
	set := func() {
		rules.Store(&transaction.Rules{
			Timeout: s.Duration("transactionTimeOut"), CheckMax: s.Int("transactionCheckMax"),
			Reserved: time.Duration(s.Int64("fileReservedTime")) * time.Hour,
		})
	}
	set()
	for _, key := range ruleKeys {
		s.OnChange(key, set)
	}
	maxOp := s.Int("transactionOpMsgMaxSize")
	t := transaction.New(transaction.Config{
		Store: b.store, Offsets: b.offsets, Producers: b.clients.Producers,
		Ensure: b.topics.Ensure, Courier: b.put.NewCourier, Divert: b.send.Place,
		Offload:  b.offload,
		Resume:   func(c *protocol.Call, run func(c *protocol.Call) error) { b.table.Resume(c, run) },
		Broker:   b.id.name,
		Host:     func() netip.AddrPort { return b.id.addr },
		Slave:    b.isSlave,
		Rules:    func() transaction.Rules { return *rules.Load() },
		Interval: func() time.Duration { return s.Duration("transactionCheckInterval") },
		MaxOp:    func() int { return maxOp },
		Now:      time.Now,
		Counts:   meta.NewOpenTransactions(meta.Config{FS: b.cfg.FS, Dir: newDirs(s).config, Log: b.component("transactions")}),
		Log:      b.component("transactions"),
	})
	b.duties.parts = append(b.duties.parts, rungroup.Part{Name: "transactions", Run: t.Run})
	return t
}

// loadTransactions learns which transactions are open, before the first message is taken. Where the disk does not let it,
// it is tried again with each check, and until then no transaction ends.
func (b *Broker) loadTransactions(ctx context.Context) {
	if err := b.transactions.Load(ctx); err != nil && ctx.Err() == nil {
		b.log.Error("cannot read which transactions are open", "err", err)
	}
}
