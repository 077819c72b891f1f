package broker

import (
	"context"
	"time"

	"rocketd/filter"
	"rocketd/meta"
)

// filtersPeriod is how often the table of filters is looked at. Source: Java BrokerController.
const filtersPeriod = 10 * time.Second

// runFilters keeps the table of filters by property that of the groups which are connected.
func (b *Broker) runFilters(ctx context.Context) error {
	return every(ctx, filtersPeriod, func(now time.Time) {
		b.filters.Follow(now, b.wantedFilters(), b.cfg.Settings.Duration("filterDataCleanTimeSpan"))
		if err := b.filters.Persist(); err != nil {
			b.log.Warn("consumer filters not saved", "err", err)
		}
	})
}

// wantedFilters is what connected groups want by property, of topics that exist.
func (b *Broker) wantedFilters() (want []meta.FilterData) {
	for _, g := range b.clients.Consumers.Groups() {
		for _, name := range g.Topics() {
			d := g.Data(name)
			if filter.IsTag(d.ExpressionType) || b.topics.Get([]byte(name)) == nil {
				continue
			}
			if sub, _ := g.Subscription([]byte(name)); sub.Filter == nil {
				continue
			}
			want = append(want, meta.FilterData{Topic: name, ConsumerGroup: g.Name, ExpressionType: d.ExpressionType, Expression: d.SubString, ClientVersion: d.SubVersion})
		}
	}
	return want
}

// filterBits are the groups that want a record that is appended, where enableCalcFilterBitMap is on.
func (b *Broker) filterBits(dst []byte, topic string, record []byte) []byte {
	if b.filters == nil || !b.live.filterBits.Load() { // the store is opened before
		return dst
	}
	return b.filters.Bits(dst, topic, record)
}

// mayWant rules messages out by the bits that are kept with enableConsumeQueueExt.
func (b *Broker) mayWant() func(group, topic []byte, version int64) func(storeMs int64, bits []byte) bool {
	if !b.cfg.Settings.Bool("enableConsumeQueueExt") {
		return nil
	}
	return b.filters.MayWant
}
